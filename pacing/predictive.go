package pacing

import (
	"fmt"
	"math"
)

// leastDialed is the number of finished attempts below which nothing is known; a
// larger team waits until its first calls, one an agent, have run their course.
const leastDialed = 25

// predictive dials the next call while the loss that it is expected to cause, per
// person it is expected to reach, is at most a threshold: equal marginals are what
// the most conversations for a given share of abandoned calls asks for
// (Lagrange). The threshold follows the allowance that is left. Agents who are
// free get a call in any case.
func (p *pacer) predictive(s *Snapshot) Decision {
	if d, spent := p.spent(s); spent {
		return d
	}
	safe := oneToOne(s)
	if need := max(min(leastDialed, 3*s.agents()), s.agents()); s.Laws.Dialed < need {
		safe.Limit = LimitWarmUp
		safe.Reason += fmt.Sprintf(" (%d attempts have ended, %d are needed to predict)", s.Laws.Dialed, need)
		return safe
	}
	f := &p.forecast
	f.look(s)
	last := len(f.free) - 1
	if !(f.fresh[last] > 0) || s.agents() == 0 {
		safe.Reason += " (no answer is expected)"
		return safe
	}
	mid := min(int(s.Laws.RingMean.Seconds()/step), last)
	d := Decision{
		Limit:           LimitAgents,
		ExpectedFree:    f.free[mid].mean,
		ExpectedAnswers: f.answers[last].mean,
		ExpectedLoss:    f.loss(),
	}
	d.Threshold = p.threshold(s, d)
	// One more than may be dialed is enough to see that a bound binds.
	most := max(min(s.Lines, s.LeadsLeft, p.burst(s), p.linesLeft(s)), 0) + 1
	for ; d.Dial < most; d.Dial++ {
		chance := chanceOf(s.NextChance, d.Dial)
		f.addCall(chance)
		loss := f.loss()
		if d.Dial >= safe.Dial && loss-d.ExpectedLoss > d.Threshold*min(f.fresh[last]*chance, 1) {
			break
		}
		d.ExpectedLoss = loss
	}
	d.Reason = fmt.Sprintf("%d of %d agents ready, %.1f expected within %.0f s; %d calls ringing, %.1f answers expected: dial %d",
		s.Ready, s.agents(), d.ExpectedFree, float64(mid+1)*step, len(s.Ringing), d.ExpectedAnswers, d.Dial)
	return d
}

// chanceOf is the relative chance of the i-th attempt, within what can be.
func chanceOf(chances []float64, i int) float64 {
	if i >= len(chances) || math.IsNaN(chances[i]) {
		return 1
	}
	return min(max(chances[i], 0.05), 20)
}

// How the threshold bends to the allowance, in calls that may still be abandoned.
// While more than the reserve is left, the surplus is spread over the next
// answers; below it the threshold falls steeply, since running out costs most:
// calls then go out one per agent until people have answered. Losses come in
// clumps that grow with the team, and so do reserve and slope.
const (
	gain        = 1.6 // threshold at the reserve, over the cap
	pooling     = 150 // agents who double it
	leastSpare  = 1.0 // reserve in calls
	agentSpare  = 0.13
	leastSlope  = 1.0 // calls for a factor e
	agentSlope  = 0.065
	spread      = 300 // answers
	mostSurplus = 0.7
	// mostThreshold: beyond it every call would pass, whoever is there to take it.
	mostThreshold = 0.7
)

// threshold is the loss per live answer that the next call may cause.
func (p *pacer) threshold(s *Snapshot, d Decision) float64 {
	share := p.target(s)
	if share <= 0 {
		return 0
	}
	team := float64(s.agents())
	// What is in flight will be answered, and lost, without another call.
	left := share*(float64(s.Answered)+d.ExpectedAnswers) - float64(s.Abandoned) - d.ExpectedLoss
	if p.Strict {
		left--
	}
	spare := left - (leastSpare + agentSpare*min(team, 100))
	bend := min(spare/(share*spread), mostSurplus)
	if spare < 0 {
		bend = spare / (leastSlope + agentSlope*min(team, 100))
	}
	return min(gain*share*(1+team/pooling)*math.Exp(bend), mostThreshold)
}

// target is the share of abandoned calls that is aimed at. People whom detection
// took for machines count as abandoned without being seen; without detection
// machines count as people who were served, which flatters what is seen.
func (p *pacer) target(s *Snapshot) float64 {
	share := 0.98
	switch {
	case p.Undetected:
		share = 0.85
	case p.Strict:
		share = 0.90
	}
	return max(share*(s.Cap-p.FalsePositives), 0)
}
