package simulate

import (
	"reflect"
	"testing"

	"dialer/pacing"
)

// shift runs a shift with the pacer of a configuration.
func shift(t *testing.T, w World, c pacing.Config, seed uint64) Result {
	t.Helper()
	p, err := pacing.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return Run(w, p, nil, seed)
}

// TestShifts: predictive keeps agents busier than one call per agent does, by
// more the larger the team, and within the cap over a few shifts.
func TestShifts(t *testing.T) {
	for _, c := range []struct {
		agents int
		hours  float64
		seeds  uint64
		gain   float64 // least, of utilisation over progressive
	}{{5, 8, 3, 0.08}, {20, 8, 1, 0.20}, {100, 2, 1, 0.28}} {
		answered, abandoned, gain := 0, 0, 0.0
		for seed := range c.seeds {
			w := Base(c.agents, 0.2, 120, c.hours)
			one := shift(t, w, pacing.Config{Mode: pacing.Progressive}, seed)
			many := shift(t, w, pacing.Config{Mode: pacing.Predictive}, seed)
			answered, abandoned = answered+many.Answered, abandoned+many.Abandoned
			gain += (many.Utilisation() - one.Utilisation()) / float64(c.seeds)
			if rate := one.AbandonRate(); rate > 0.01 {
				t.Errorf("%d agents: %.1f %% abandoned although each call had an agent", c.agents, 100*rate)
			}
		}
		rate := float64(abandoned) / float64(answered)
		t.Logf("%d agents: %.1f points above progressive, %.2f %% of %d abandoned", c.agents, 100*gain, 100*rate, answered)
		if gain < c.gain || rate > 0.032 {
			t.Errorf("%d agents: %.1f points above progressive at %.2f %% abandoned", c.agents, 100*gain, 100*rate)
		}
	}
}

// TestSameSeed: a shift is the same each time.
func TestSameSeed(t *testing.T) {
	w := Base(10, 0.2, 120, 1)
	one, two := shift(t, w, pacing.Config{Mode: pacing.Predictive}, 7), shift(t, w, pacing.Config{Mode: pacing.Predictive}, 7)
	if !reflect.DeepEqual(one, two) {
		t.Errorf("one seed gave\n%+v and\n%+v", one, two)
	}
}
