package pacing

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var kinds = []Kind{CallPlaced, CallAnswered, CallClassified, CallConnected, CallEnded, AgentReady, AgentWrapUp, AgentPaused, "nonsense"}

// FuzzFloor: whatever events come in whatever order, at whatever times, nothing
// panics, decisions stay within their bounds and the same stream gives the same.
func FuzzFloor(f *testing.F) {
	f.Add([]byte{5, 1, 1, 5, 2, 1, 0, 1, 3, 1, 1, 9, 2, 1, 1, 3, 1, 1, 6, 1, 30, 4, 1, 1, 5, 1, 200})
	f.Add([]byte{4, 1, 1, 3, 1, 1, 0, 0, 0, 0, 1, 255, 1, 1, 254, 7, 1, 3})
	f.Fuzz(func(t *testing.T, stream []byte) {
		if len(stream) > 300 {
			return // a long stream is many short ones, and slow
		}
		one, two := fuzzed(t, stream), fuzzed(t, stream)
		if !slices.Equal(one, two) {
			t.Fatalf("one stream gave %+v and %+v", one, two)
		}
	})
}

// past is what 300 attempts have taught.
var past = func() func() Estimator {
	stored, err := json.Marshal(history(300))
	return func() Estimator {
		e, failed := ReadEstimator(stored)
		if err := errors.Join(err, failed); err != nil {
			panic(err)
		}
		return e
	}
}()

func fuzzed(t *testing.T, stream []byte) []Decision {
	f, p := NewFloor(25*time.Second), pacerOf(t, Config{Mode: Predictive})
	f.Estimator = past()
	now := time.Unix(1e9, 0)
	var all []Decision
	for i := 0; i+2 < len(stream); i += 3 {
		// Time goes back now and then.
		now = now.Add(time.Duration(int(stream[i+2])-20) * 300 * time.Millisecond)
		id := uint64(stream[i+1] % 32)
		f.Observe(Event{At: now, Kind: kinds[int(stream[i])%len(kinds)], Call: id, Agent: id % 8, Live: stream[i]&64 > 0})
		s := f.Snapshot(now, Outside{Answered: int(stream[i+1]), Abandoned: int(stream[i]) / 40, Cap: 0.03, Lines: 9, LeadsLeft: 8})
		d := p.Decide(s)
		if d.Dial < 0 || d.Dial > 8 || s.agents() == 0 && d.Dial > 0 || s.agents() > 8 || s.inFlight() > 32 {
			t.Fatalf("%+v of %+v", d, s)
		}
		all = append(all, d)
	}
	return all
}

// TestMoreAllowanceNeverDialsLess: all else equal.
func TestMoreAllowanceNeverDialsLess(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, s := configs.Draw(t, "config"), snapshots.Draw(t, "snapshot")
		p, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		less := p.Decide(s)
		s.Abandoned = rapid.IntRange(0, max(s.Abandoned, 0)).Draw(t, "fewer abandoned")
		if more := p.Decide(s); more.Dial < less.Dial {
			t.Fatalf("with an allowance of %.2f it dials %d, with %.2f %d:\n%s\n%s",
				less.Allowance, less.Dial, more.Allowance, more.Dial, less.Reason, more.Reason)
		}
	})
}

// TestLikelierLeads: fewer are dialed of leads who are likelier to answer.
func TestLikelierLeads(t *testing.T) {
	p, s := pacerOf(t, Config{Mode: Predictive, Burst: 100}), known()
	s.Ready, s.Talking = 4, ages(16, 10*time.Second)
	before := 1000
	for _, chance := range []float64{0.25, 1, 3} {
		s.NextChance = slices.Repeat([]float64{chance}, 100)
		d := p.Decide(s)
		if d.Dial >= before {
			t.Errorf("dials %d of leads %g times as likely to answer, %d of less likely ones", d.Dial, chance, before)
		}
		before = d.Dial
	}
}
