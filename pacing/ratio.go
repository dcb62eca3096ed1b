package pacing

import "fmt"

// oneToOne places a call for each agent who is ready and has none in flight. An
// agent held for a call in flight is not counted twice.
func oneToOne(s *Snapshot) Decision {
	dial := min(max(s.Ready+s.Held-s.inFlight(), 0), s.Ready)
	return Decision{
		Dial:  dial,
		Limit: LimitAgents,
		Reason: fmt.Sprintf("%d of %d agents ready, %d calls in flight, one call per agent: dial %d",
			s.Ready, s.agents(), s.inFlight(), dial),
		ExpectedFree: float64(s.Ready),
	}
}

// agentFirst is preview and progressive, which differ in who starts the call, and
// what the others fall back to.
func agentFirst(s *Snapshot) Decision {
	d := oneToOne(s)
	d.AgentFirst = true
	return d
}

// epsilon covers what a product of a share and a count is off by.
const epsilon = 1e-9

// spent reports whether nobody more may be abandoned now, and decides then. Calls
// that are held back until an agent is there cannot be abandoned for the lack of
// one; so whatever goes past the cap was placed before.
func (p *pacer) spent(s *Snapshot) (Decision, bool) {
	if s.allowance() > epsilon {
		return Decision{}, false
	}
	d := agentFirst(s)
	d.Limit = LimitAllowance
	why := fmt.Sprintf("%d of %d answered were abandoned, no more are allowed at %.3g %%", s.Abandoned, s.Answered, s.Cap*100)
	if s.Abandoned == 0 {
		d.Limit = LimitWarmUp
		why = fmt.Sprintf("%d people have answered, too few for one abandoned call within %.3g %%", s.Answered, s.Cap*100)
	}
	d.Reason += " (" + why + ")"
	return d, true
}

// power places Ratio calls per free agent. With no cap it does so always.
func (p *pacer) power(s *Snapshot) Decision {
	if d, spent := p.spent(s); spent && s.Cap > 0 {
		return d
	}
	dial := max(int(p.Ratio*float64(s.Ready+s.Held))-s.inFlight(), 0)
	return Decision{
		Dial:  dial,
		Limit: LimitAgents,
		Reason: fmt.Sprintf("%d of %d agents ready, %d calls in flight, %.3g calls per agent: dial %d",
			s.Ready, s.agents(), s.inFlight(), p.Ratio, dial),
		ExpectedFree: float64(s.Ready),
	}
}
