package pacing

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestCapHolds: whoever answers whichever call in whatever order, the cap is
// passed by no call that was placed when the allowance was spent. So
// the abandoned never exceed the allowance by more than the calls that were in
// flight, without an agent, when it was spent. The adversary of this small world
// chooses each next event; people wait for nobody, so each answer that finds no
// agent is abandoned.
func TestCapHolds(t *testing.T) {
	laws := history(5000).Laws(&Snapshot{})
	rapid.Check(t, func(t *rapid.T) {
		p, err := New(Config{
			Mode:  rapid.SampledFrom([]Mode{Power, Predictive}).Draw(t, "mode"),
			Ratio: float64(rapid.IntRange(1, 20).Draw(t, "ratio")), Strict: rapid.Bool().Draw(t, "strict"),
		})
		if err != nil {
			t.Fatal(err)
		}
		limit := rapid.SampledFrom([]float64{0.01, 0.03, 0.10, 0.33, 1}).Draw(t, "cap")
		free := rapid.IntRange(1, 6).Draw(t, "agents")
		answered := rapid.IntRange(0, 120).Draw(t, "answered before")
		flight, talking, abandoned, beyond := 0, 0, 0, 0
		for range rapid.IntRange(1, 80).Draw(t, "events") {
			switch rapid.SampledFrom([]string{"decide", "decide", "answer", "answer", "answer", "ring out", "hang up"}).Draw(t, "event") {
			case "decide":
				d := p.Decide(Snapshot{
					Ready: free, Talking: ages(talking, 10*time.Second), Ringing: ages(flight, time.Second),
					Answered: answered, Abandoned: abandoned, Cap: limit, Lines: 1000, LeadsLeft: 1000,
					Laws: laws,
				})
				flight += d.Dial
				if !d.AgentFirst {
					beyond = max(flight-free, 0) // the most that may now be lost
				} else if d.Dial > 0 && flight > free {
					t.Fatalf("%d calls in flight for %d agents with no allowance left", flight, free)
				}
			case "answer":
				if flight == 0 {
					continue
				}
				flight--
				answered++
				if free > 0 {
					free, talking = free-1, talking+1
				} else {
					abandoned++
				}
			case "ring out":
				flight = max(flight-1, 0)
			case "hang up":
				if talking > 0 {
					free, talking = free+1, talking-1
				}
			}
			if over := float64(abandoned) - limit*float64(answered); over > float64(beyond)+1e-6 {
				t.Fatalf("%d of %d answered were abandoned, the cap is %g and %d calls were in flight beyond the agents",
					abandoned, answered, limit, beyond)
			}
		}
	})
}
