package pacing

import (
	"math"
	"time"
)

// A levelTest notices that the share of live answers has changed. Answers seen
// less answers expected of what rang is a martingale, whatever was dialed when:
// it may not stray far while the hazards are right. Shares of ended attempts
// would mislead, since busy numbers end before people answer.
type levelTest struct {
	answers  float64 // seen since the last mark
	expected float64 // since the last mark
	seconds  float64 // since the last mark
	pending  float64 // answers whose detection is not done, by their share of persons
	watched  float64 // seconds in all
	marks    [levelMarks]levelMark
	n, next  int
}

type levelMark struct{ answers, expected, seconds float64 }

const (
	levelMarks = 300
	// levelLimit is what no chance explains: the deviance of 4.2 sigma, met by
	// chance once in some 10,000 independent looks.
	levelLimit = 17.6
	// A large team sees ten answers in a breath and would look so often that
	// chance is met: beyond levelRate answers a second the limit grows, and
	// nothing shorter than leastWindow seconds counts.
	levelRate   = 0.2
	leastMark   = 1.0
	leastWindow = 15.0
)

// levelWindows are looked back over, in expected answers.
var levelWindows = [...]float64{10, 25, 60, 120, 250}

// expect counts the answers expected of what rings, since the last look.
func (e *Estimator) expect(s *Snapshot) {
	dt := s.Now.Sub(e.lookedAt).Seconds()
	e.lookedAt = s.Now
	if !(dt > 0) || dt > 30 {
		return
	}
	sum := 0.0
	for _, age := range s.Ringing {
		// The hazard around the middle of the time since the last look.
		sum += e.laws.ring.hazard(age.Seconds()-min(dt, age.Seconds())/2) * min(dt, age.Seconds())
	}
	e.level.expected += sum
	// Answers that are being listened to were expected when they rang.
	share := e.laws.DetectedLive
	if !(share > 0) {
		share = 1
	}
	pending := share * float64(len(s.Detecting))
	e.level.answers += pending - e.level.pending
	e.level.pending = pending
	e.level.seconds += dt
	e.level.watched += dt
	if e.level.expected >= 1 && e.level.seconds >= leastMark {
		if f := e.level.mark(e.laws.liveSeen); f != 1 && e.settled() {
			for i := range e.Live {
				e.Live[i] *= f
			}
			e.builtAt = time.Time{}
		}
	}
}

// settled reports that the laws are known well enough to be doubted.
func (e *Estimator) settled() bool {
	return e.Attempts >= 200 && e.laws.liveSeen >= 30 && e.level.watched >= 3*ringEnd(e.laws)
}

// mark closes an interval of one expected answer and returns the factor by which
// the level of live answers has changed, 1 for none.
func (t *levelTest) mark(known float64) float64 {
	t.marks[t.next] = levelMark{t.answers, t.expected, t.seconds}
	t.next = (t.next + 1) % levelMarks
	t.n = min(t.n+1, levelMarks)
	t.answers, t.expected, t.seconds = 0, 0, 0
	seen, expected, span, w := 0.0, 0.0, 0.0, 0
	for i := 1; i <= t.n && w < len(levelWindows); i++ {
		m := t.marks[(t.next-i+levelMarks)%levelMarks]
		seen, expected, span = seen+m.answers, expected+m.expected, span+m.seconds
		if expected < levelWindows[w] || span < leastWindow {
			continue
		}
		for w < len(levelWindows) && expected >= levelWindows[w] {
			w++
		}
		limit := levelLimit + 2*math.Log(max(expected/span/levelRate, 1))
		if change(seen, expected)/(1+expected/max(known, 1)) > limit {
			t.n = 0
			return min(max((seen+1)/(expected+1), 0.4), 3)
		}
	}
	return 1
}

// change is the deviance of a Poisson count from its mean: the square of the
// number of standard deviations, right also where the mean is small.
func change(seen, expected float64) float64 {
	d := expected - seen
	if seen > 0 {
		d += seen * math.Log(seen/expected)
	}
	return 2 * d
}
