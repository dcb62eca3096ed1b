package pacing

import (
	"math/rand/v2"
	"testing"
	"time"
)

// answering feeds a level test a second at a time, with answers that come at a
// share of what is expected, and says after how many seconds a change was told.
func answering(t *levelTest, random *rand.Rand, perSecond, share float64, seconds int) (told []int) {
	for i := range seconds {
		// Poisson: as many as fit before the sum of exponentials passes the mean.
		for sum := random.ExpFloat64(); sum < perSecond*share; sum += random.ExpFloat64() {
			t.answers++
		}
		t.expected += perSecond
		t.seconds++
		if t.expected >= 1 {
			if f := t.mark(1000); f != 1 {
				told = append(told, i)
			}
		}
	}
	return told
}

// A team of any size is not alarmed by chance, and told soon of half the answers.
func TestLevelOfLargeAndSmallTeams(t *testing.T) {
	for _, c := range []struct {
		perSecond float64 // answers: of about 20, 100 and 500 agents
		soon      time.Duration
	}{{0.15, 12 * time.Minute}, {0.75, 3 * time.Minute}, {3.7, 45 * time.Second}} {
		random := rand.New(rand.NewPCG(7, uint64(c.perSecond*100)))
		alarms := 0
		for range 40 { // ten shifts of eight hours, in stretches of two
			alarms += len(answering(new(levelTest), random, c.perSecond, 1, 7200))
		}
		if alarms > 3 {
			t.Errorf("%g answers a second: %d false alarms in ten shifts", c.perSecond, alarms)
		}
		late := 0
		for range 100 {
			var l levelTest
			answering(&l, random, c.perSecond, 1, 600)
			told := answering(&l, random, c.perSecond, 0.5, int(2*c.soon.Seconds()))
			if len(told) == 0 || told[0] > int(c.soon.Seconds()) {
				late++
			}
		}
		if late > 10 {
			t.Errorf("%g answers a second: half of them are missed for longer than %s in %d of 100 cases", c.perSecond, c.soon, late)
		}
	}
}

// Answers whose detection goes on are not missed: those that a burst of calls
// brings are all in detection for a moment.
func TestLevelCountsDetection(t *testing.T) {
	e := Estimator{RingMax: 25 * time.Second}
	e.Detect = Share{N: 100, Yes: 40}
	now := time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)
	e.Laws(&Snapshot{Now: now.Add(-time.Second)})
	e.Laws(&Snapshot{Now: now})
	e.Laws(&Snapshot{Now: now.Add(time.Second), Detecting: make([]time.Duration, 50)})
	if e.level.answers != 20 {
		t.Errorf("50 answers in detection, 40 %% persons, count as %g", e.level.answers)
	}
	for i := range 50 {
		e.Ended(i < 20, 10*time.Second)
	}
	e.Laws(&Snapshot{Now: now.Add(2 * time.Second)})
	if e.level.answers != 20 {
		t.Errorf("when it is done they count as %g", e.level.answers)
	}
}
