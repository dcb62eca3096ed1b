package simulate

import (
	"testing"
	"time"

	"dialer/pacing"
)

// watch shows an adaptive pacer the same floor for a while and returns its level
// and the calls that it wanted.
func watch(a *Adaptive, s pacing.Snapshot, to time.Duration) (level float64, dialed int) {
	start := time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)
	a.moved, a.minute = start, start
	for t := time.Duration(0); t < to; t += time.Second / 2 {
		s.Now = start.Add(t)
		dialed += a.Decide(s).Dial
	}
	return a.level, dialed
}

func floor(ready, talking, waiting, answered, abandoned int) pacing.Snapshot {
	return pacing.Snapshot{
		Ready: ready, Talking: make([]time.Duration, talking), Waiting: waiting,
		Answered: answered, Abandoned: abandoned, Cap: 0.03, Lines: 1000, LeadsLeft: 1000,
	}
}

func TestAdaptiveLevel(t *testing.T) {
	day := time.Date(2026, 1, 5, 17, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name string
		a    Adaptive
		s    pacing.Snapshot
		to   time.Duration
		want float64
	}{
		{"first step waits 15 s", Adaptive{}, floor(5, 5, 0, 0, 0), 14 * time.Second, 1},
		{"half the agents wait: half more", Adaptive{}, floor(5, 5, 0, 0, 0), 16 * time.Second, 1.5},
		{"twice", Adaptive{}, floor(5, 5, 0, 0, 0), 31 * time.Second, 2.25},
		{"never beyond the most", Adaptive{}, floor(5, 5, 0, 0, 0), 10 * time.Minute, 3},
		{"another most", Adaptive{MostLevel: 8}, floor(5, 5, 0, 0, 0), 10 * time.Minute, 8},
		{"calls wait", Adaptive{level: 2}, floor(0, 10, 2, 0, 0), 16 * time.Second, 1.6},
		{"never below one", Adaptive{level: 2}, floor(0, 10, 9, 0, 0), time.Minute, 1},
		{"intensity", Adaptive{Intensity: 2}, floor(2, 8, 0, 0, 0), 16 * time.Second, 1.4},
		{"difference", Adaptive{level: 2, Difference: 2}, floor(1, 9, 0, 0, 0), 16 * time.Second, 1.8},
		{"over the limit: hard", Adaptive{Limit: Hard, level: 3}, floor(5, 5, 0, 60, 6), 76 * time.Second, 1},
		{"over the limit: average", Adaptive{Limit: Average, level: 3}, floor(5, 5, 0, 60, 6), 61 * time.Second, 1.5},
		{"over the limit: tapered by the hours left", Adaptive{Limit: Tapered, level: 3, Until: day}, floor(5, 5, 0, 60, 6), 61 * time.Second, 2.397},
		{"over the limit past the day", Adaptive{Limit: Tapered, level: 3, Until: day.Add(-9 * time.Hour)}, floor(5, 5, 0, 60, 6), 61 * time.Second, 1},
		{"too few answers for a limit", Adaptive{Limit: Hard, level: 3}, floor(5, 5, 0, 49, 6), 76 * time.Second, 3},
		{"many lost in a minute", Adaptive{Limit: Hard, level: 3}, floor(5, 5, 0, 30, 20), 61 * time.Second, 1.5},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := c.a
			if got, _ := watch(&a, c.s, c.to); got < c.want-0.001 || got > c.want+0.001 {
				t.Errorf("level %.3f, not %.3f", got, c.want)
			}
		})
	}
}

func TestAdaptiveLines(t *testing.T) {
	for _, c := range []struct {
		name string
		a    Adaptive
		s    pacing.Snapshot
		want int
	}{
		{"two lines an agent, four taken", Adaptive{level: 2}, floor(6, 4, 0, 0, 0), 16},
		{"only for those who wait", Adaptive{level: 2, ReadyOnly: true}, floor(6, 4, 0, 0, 0), 12},
		{"agents in wrap-up do not count", Adaptive{level: 2}, func() pacing.Snapshot {
			s := floor(6, 4, 0, 0, 0)
			s.WrapUp = make([]time.Duration, 9)
			return s
		}(), 16},
		{"lines in use", Adaptive{level: 1}, floor(0, 4, 3, 0, 0), 0},
	} {
		a := c.a
		if _, n := watch(&a, c.s, time.Second); n != c.want {
			t.Errorf("%s: %d calls, not %d", c.name, n, c.want)
		}
	}
}
