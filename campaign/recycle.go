package campaign

import (
	"time"

	"dialer/agents"
)

// Recycle says what becomes of a lead after an attempt. lead is as it was when
// it was claimed: the attempt that ends is not counted in it yet. disp is what
// the agent said, nil when nobody did. The agent of an own callback is
// lead.Owner, which the caller has set to the one who talked.
//
// Caps come last: an agreed callback too is an attempt.
func Recycle(s Settings, lead Lead, outcome Outcome, disp *agents.Disposition, now time.Time) Next {
	next := Next{State: Done, Why: string(outcome)}
	rule, ended := s.Retry[outcome], lead.ByOutcome[outcome]+1
	again := ended <= rule.Max
	if again {
		next = Next{State: Dialable, Due: now.Add(time.Duration(rule.AfterS) * time.Second), Why: string(outcome)}
	}
	if disp != nil {
		next = recycleDisposition(s, lead, outcome, *disp, now)
	}
	if next.State == Dialable && s.MaxAttempts > 0 && lead.Attempts+1 >= s.MaxAttempts {
		return Next{State: Done, Why: "attempts used up"}
	}
	return next
}

// callbackRest is the soonest that a person is called back.
const callbackRest = time.Minute

// recycleDisposition goes by the agent's word. The rules for machines count
// by outcome when the detector heard the machine and by disposition else, so a
// disposition's rule counts the attempts that ended as this one did.
func recycleDisposition(s Settings, lead Lead, outcome Outcome, said agents.Disposition, now time.Time) Next {
	d, known := s.Disposition(said.Code)
	switch {
	case !known:
		return Next{State: Done, Why: string(outcome)}
	case d.DNC:
		return Next{State: Done, Why: "dnc"}
	case d.Callback:
		next := Next{State: Dialable, Due: said.Callback, Why: "callback"}
		if soonest := now.Add(callbackRest); next.Due.Before(soonest) {
			next.Due = soonest
		}
		if said.Own {
			next.Owner = lead.Owner
		}
		return next
	case d.Retry != nil && lead.ByOutcome[outcome]+1 <= d.Retry.Max:
		return Next{State: Dialable, Due: now.Add(time.Duration(d.Retry.AfterS) * time.Second), Why: d.Code}
	}
	return Next{State: Done, Why: d.Code}
}
