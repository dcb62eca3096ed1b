package pacing

import (
	"fmt"
	"math"
)

// leastDialed is the number of finished attempts below which nothing is known.
const leastDialed = 25

// safety is the share of the cap that is aimed at.
const safety = 0.98

// A forecast holds, for each step ahead, the law of the answers by then and of
// the agents free by then.
type forecast struct {
	answers []count
	free    []supply
	fresh   []float64 // chance that a call placed now is answered by the step
	before  count     // persons who wait already
}

// predictive dials the next call while the loss that it is expected to cause, per
// person it is expected to reach, is at most a threshold. At the optimum all
// decisions share that threshold; it follows the allowance that is left.
func (p pacer) predictive(s Snapshot) Decision {
	limit, why, safe := mustBeSafe(s)
	if need := max(leastDialed, s.agents()); !safe && s.Laws.Dialed < need {
		limit, safe = "warm-up", true
		why = fmt.Sprintf("%d attempts have ended, %d are needed to predict", s.Laws.Dialed, need)
	}
	if safe {
		d := oneToOne(s)
		d.Limit, d.Reason = limit, d.Reason+" ("+why+")"
		return d
	}
	law := newRingLaw(s.Laws, s.Ringing)
	f := look(s, law)
	live := f.fresh[len(f.fresh)-1]
	if !(live > 0) || s.agents() == 0 {
		d := oneToOne(s)
		d.Reason += " (no answer is expected)"
		return d
	}
	d := Decision{Limit: "agents"}
	last := len(f.free) - 1
	mid := min(int(s.Laws.RingMean.Seconds()/step), last)
	d.ExpectedFree = f.free[mid].mean
	d.ExpectedAnswers = f.answers[last].mean

	// One more than may be dialed is enough to see that a bound binds.
	most := max(min(s.Lines, s.LeadsLeft, p.burst(s), p.linesLeft(s)), 0) + 1
	allowed := threshold(s) * live
	for loss := f.loss(); d.Dial < most; d.Dial++ {
		f.addCall()
		more := f.loss()
		if more-loss > allowed {
			break
		}
		loss = more
	}
	d.Reason = fmt.Sprintf("%d of %d agents ready, %.1f expected within %.0f s; %d calls ringing, %.1f answers expected: dial %d",
		s.Ready, s.agents(), d.ExpectedFree, float64(mid+1)*step, len(s.Ringing), d.ExpectedAnswers, d.Dial)
	return d
}

// The threshold bends to the allowance. While more than reserve calls may still
// be abandoned, the surplus is spread over the next answers; below it the
// threshold falls steeply, so that the allowance hardly ever runs out. Running
// out costs most: calls then go out one per agent until people have answered.
const (
	reserve   = 5.0 // calls
	steepness = 2.0 // calls for a factor e
	spread    = 300 // answers
)

// threshold is the loss per live answer that the next call may cause. It starts
// from the cap and grows with the number of agents who share the chance of loss.
func threshold(s Snapshot) float64 {
	c := safety * s.Cap
	base := 1.6 * c * (1 + float64(s.agents())/150)
	left := c*float64(s.Answered) - float64(s.Abandoned)
	bend := min((left-reserve)/(c*spread), 0.7)
	if left < reserve {
		bend = (left - reserve) / steepness
	}
	return min(base*math.Exp(bend), 0.7)
}

// look predicts answers and free agents on the grid.
func look(s Snapshot, law ringLaw) *forecast {
	n := int(math.Ceil((ringEnd(s.Laws)+2)/step)) + 1
	f := &forecast{
		answers: make([]count, n), free: make([]supply, n),
		fresh: make([]float64, n), before: newCount(s.Waiting),
	}
	law.answeredBy(0, f.fresh)
	free := make([]count, n)
	for k := range n {
		f.answers[k] = newCount(s.Waiting)
		free[k] = newCount(s.Ready)
	}
	share := s.Laws.DetectedLive
	if !(share > 0) {
		share = 1
	}
	by := make([]float64, n)
	for range s.Detecting { // their detection ends within the first step
		for k := range n {
			f.answers[k].add(share)
		}
	}
	for _, age := range s.Ringing {
		law.answeredBy(age.Seconds(), by)
		for k, p := range by {
			f.answers[k].add(p)
		}
	}
	f.addBusy(s, free)
	for k := range n {
		f.free[k] = newSupply(free[k])
	}
	return f
}

// addBusy adds the agents who will have come free, given how long each has
// talked or wrapped up already. Step k looks from its middle as far as an answer
// can wait.
func (f *forecast) addBusy(s Snapshot, free []count) {
	n := len(free)
	talk, wrap := newSpan(s.Laws.TalkMean, s.Laws.TalkCV, priorTalk), newSpan(s.Laws.WrapMean, s.Laws.WrapCV, priorWrap)
	horizon := func(k int) float64 { return (float64(k)+0.5)*step + graceTime }
	by := make([]float64, n)
	for _, age := range s.WrapUp {
		wrap.endedBy(age.Seconds(), horizon, by)
		for k, p := range by {
			free[k].add(p)
		}
	}
	// A talk must end and its wrap-up too: the convolution of both on the grid.
	wrapped := make([]float64, n)
	wrap.endedBy(0, func(k int) float64 { return float64(k) * step }, wrapped)
	ends := make([]float64, n)
	for _, age := range s.Talking {
		talk.endedBy(age.Seconds(), horizon, ends)
		clear(by)
		previous := 0.0
		for i, p := range ends {
			for k := i; k < n; k++ {
				by[k] += (p - previous) * wrapped[k-i]
			}
			previous = p
		}
		for k, p := range by {
			free[k].add(p)
		}
	}
}

// addCall adds a call placed now.
func (f *forecast) addCall() {
	for k, p := range f.fresh {
		f.answers[k].add(p)
	}
}

// loss is the mean number of persons who will find no agent: at each step the
// answers that exceed the agents, less those that exceeded them before.
func (f *forecast) loss() float64 {
	sum, previous := 0.0, f.before
	for k, answers := range f.answers {
		sum += max(shortfall(answers, f.free[k])-shortfall(previous, f.free[k]), 0)
		previous = answers
	}
	return sum
}
