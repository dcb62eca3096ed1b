package simulate

import (
	"slices"

	"dialer/pacing"
)

// What an agent does.
type state uint8

const (
	away state = iota
	idle
	talking
	wrapping
)

type agent struct {
	from, to  float64 // at work
	state     state
	since     float64
	nextBreak float64
}

// restless is how long an agent waits for a call before a break that is due is
// taken from idleness; after a wrap-up it is taken at once.
const restless = 30

// becomes changes what an agent does and accounts for the time until now.
func (r *run) becomes(n int, s state) {
	a := &r.agents[n]
	d := r.now - a.since
	switch a.state {
	case away:
		r.res.Away += d
	case idle:
		r.res.Idle += d
	case talking:
		r.res.Talk += d
	case wrapping:
		r.res.Wrap += d
	}
	if a.state != away {
		r.spread(a.since, a.state == idle)
	}
	a.state, a.since = s, r.now
}

// spread shares out an agent's time since from among the slices.
func (r *run) spread(from float64, waits bool) {
	for from < r.now {
		i := min(int(from/SliceSeconds), len(r.res.Slices)-1)
		to := min(float64(i+1)*SliceSeconds, r.now)
		if to <= from {
			to = r.now
		}
		if s := &r.res.Slices[i]; waits {
			s.Idle += to - from
		} else {
			s.Busy += to - from
		}
		from = to
	}
}

// ready is where agents come from a wrap-up, from a break or to work.
func (r *run) ready(n int) {
	if r.leaves(n, true) {
		return
	}
	r.becomes(n, idle)
	r.free = append(r.free, n)
	r.tell(pacing.Event{Kind: pacing.AgentReady, Agent: uint64(n + 1)})
}

// release is where agents come whose call did not reach a person: to the place
// among the others that their wait gives them.
func (r *run) release(n int) {
	since := r.agents[n].since
	if r.leaves(n, r.now-since > restless) {
		return
	}
	i := len(r.free)
	for i > 0 && r.agents[r.free[i-1]].since > since {
		i--
	}
	r.free = slices.Insert(r.free, i, n)
}

// pauses lets agents who wait for a call leave.
func (r *run) pauses() {
	kept := r.free[:0]
	for _, n := range r.free {
		if !r.leaves(n, r.now-r.agents[n].since > restless) {
			kept = append(kept, n)
		}
	}
	r.free = kept
}

// leaves sends an agent away whose shift is over, whose lunch begins or, when
// rest allows, whose break is due; it reports whether it did.
func (r *run) leaves(n int, rest bool) bool {
	a, w := &r.agents[n], r.w
	until := r.now
	switch lunch := r.lunch(n); {
	case r.now >= a.to:
		until = r.end + 1
	case lunch > r.now:
		until = lunch
	case rest && w.BreakEvery > 0 && r.now >= a.nextBreak:
		until = r.now + w.BreakFor
		a.nextBreak = until + w.BreakEvery
	}
	if until <= r.now {
		return false
	}
	r.tell(pacing.Event{Kind: pacing.AgentPaused, Agent: uint64(n + 1)})
	r.becomes(n, away)
	if until <= r.end {
		r.after(until-r.now, back, 0, n)
	}
	return true
}

// lunch is when an agent's absence under way ends, or 0.
func (r *run) lunch(n int) float64 {
	for _, a := range r.w.Away {
		if r.now >= a.From && r.now < a.To && float64(n) < a.Share*float64(len(r.agents)) {
			return a.To
		}
	}
	return 0
}
