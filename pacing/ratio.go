package pacing

import "fmt"

// oneToOne places a call for each agent who is ready and has none in flight:
// preview, progressive, and what the others fall back to. An agent held for a
// call in flight is not counted twice.
func oneToOne(s Snapshot) Decision {
	free := s.Ready + s.Held - s.inFlight()
	dial := max(min(free, s.Ready), 0)
	return Decision{
		Dial:  dial,
		Limit: "agents",
		Reason: fmt.Sprintf("%d of %d agents ready, %d calls in flight, one call per agent: dial %d",
			s.Ready, s.agents(), s.inFlight(), dial),
		ExpectedFree: float64(s.Ready),
	}
}

// mustBeSafe reports whether every call needs an agent of its own, and why.
func mustBeSafe(s Snapshot) (limit, why string, safe bool) {
	if s.allowance() >= 1 {
		return "", "", false
	}
	if s.Abandoned == 0 {
		return "warm-up", fmt.Sprintf("%d people have answered, too few for one abandoned call within %.3g %%",
			s.Answered, s.Cap*100), true
	}
	return "allowance", fmt.Sprintf("%d of %d answered were abandoned, no more are allowed at %.3g %%",
		s.Abandoned, s.Answered, s.Cap*100), true
}

// power places Ratio calls per free agent.
func (p pacer) power(s Snapshot) Decision {
	if limit, why, safe := mustBeSafe(s); safe && s.Cap > 0 {
		d := oneToOne(s)
		d.Limit, d.Reason = limit, d.Reason+" ("+why+")"
		return d
	}
	free := s.Ready + s.Held
	dial := max(int(p.Ratio*float64(free))-s.inFlight(), 0)
	return Decision{
		Dial:  dial,
		Limit: "agents",
		Reason: fmt.Sprintf("%d of %d agents ready, %d calls in flight, %.3g calls per agent: dial %d",
			s.Ready, s.agents(), s.inFlight(), p.Ratio, dial),
		ExpectedFree: float64(s.Ready),
	}
}
