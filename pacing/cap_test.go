package pacing

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestCapHolds: whoever answers whichever call in whatever order, the share of
// the abandoned never passes the cap. The adversary of this small world chooses
// each next event; people wait for nobody, so each answer that finds no agent
// is abandoned.
func TestCapHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, err := New(Config{
			Mode:  rapid.SampledFrom([]Mode{Power, Predictive}).Draw(t, "mode"),
			Ratio: float64(rapid.IntRange(1, 20).Draw(t, "ratio")),
		})
		if err != nil {
			t.Fatal(err)
		}
		limit := rapid.SampledFrom([]float64{0.01, 0.03, 0.10, 0.33, 1}).Draw(t, "cap")
		free := rapid.IntRange(1, 6).Draw(t, "agents")
		answered := rapid.IntRange(0, 120).Draw(t, "answered before")
		flight, talking, abandoned := 0, 0, 0
		for range rapid.IntRange(1, 80).Draw(t, "events") {
			switch rapid.SampledFrom([]string{"decide", "decide", "answer", "answer", "answer", "ring out", "hang up"}).Draw(t, "event") {
			case "decide":
				flight += p.Decide(Snapshot{
					Ready: free, Talking: ages(talking, 10*time.Second), Ringing: ages(flight, time.Second),
					Answered: answered, Abandoned: abandoned, Cap: limit, Lines: 1000, LeadsLeft: 1000,
					Laws: Laws{
						Dialed: 5000, LiveRate: 0.05, RingMean: 10 * time.Second, RingMax: 25 * time.Second,
						TalkMean: 20 * time.Second, WrapMean: time.Second,
					},
				}).Dial
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
			if float64(abandoned) > limit*float64(answered) {
				t.Fatalf("%d of %d answered were abandoned, the cap is %g", abandoned, answered, limit)
			}
		}
	})
}

// TestCapOfOneAgent: ratio 3 and a cap of 10 % once cost one agent's campaign 2
// of 15, since one call that may be abandoned let two go out beyond the agent.
func TestCapOfOneAgent(t *testing.T) {
	s := known()
	s.Ready, s.Cap, s.Answered, s.Abandoned = 1, 0.10, 13, 0
	d := pacerOf(t, Config{Mode: Power, Ratio: 3}).Decide(s)
	if d.Dial != 2 || d.Limit != "allowance" {
		t.Errorf("dials %d (limit %s: %s), want the agent's call and the one that may be abandoned", d.Dial, d.Limit, d.Reason)
	}
	s.Ringing = ages(1, time.Second)
	if d := pacerOf(t, Config{Mode: Power, Ratio: 3}).Decide(s); d.Dial != 1 {
		t.Errorf("dials %d more beside the one in flight, want 1", d.Dial)
	}
}
