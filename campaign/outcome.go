package campaign

import (
	"dialer/amd"
	"dialer/compliance"
	"dialer/telephony"
)

// Outcomes lists every outcome, in the order of reports.
func Outcomes() []Outcome {
	return []Outcome{
		OutcomeConnected, OutcomeAbandoned, OutcomeCalleeEarly, OutcomeMachine, OutcomeMessage, OutcomeFax, OutcomeBusy,
		OutcomeNoAnswer, OutcomeRejected, OutcomeInvalid, OutcomeCongestion, OutcomeFailed, OutcomeCancelled,
		OutcomeInterrupted,
	}
}

// outcomeOf is what a call that was not answered comes to.
func outcomeOf(c telephony.Cause) Outcome {
	switch c {
	case telephony.CauseBusy:
		return OutcomeBusy
	case telephony.CauseNoAnswer:
		return OutcomeNoAnswer
	case telephony.CauseRejected:
		return OutcomeRejected
	case telephony.CauseInvalid:
		return OutcomeInvalid
	case telephony.CauseCongestion, telephony.CauseNotSent:
		return OutcomeCongestion
	case telephony.CauseCancelled:
		return OutcomeCancelled
	}
	return OutcomeFailed
}

// classOf is what a call that was not answered counts as in law.
func classOf(o Outcome) compliance.Class {
	switch o {
	case OutcomeBusy:
		return compliance.ClassBusy
	case OutcomeInvalid:
		return compliance.ClassInvalid
	case OutcomeCongestion, OutcomeFailed, OutcomeInterrupted:
		return compliance.ClassFailed
	}
	return compliance.ClassNoAnswer
}

// answeredBy is who a verdict says has answered.
func answeredBy(r amd.Result) string {
	switch r.Verdict {
	case amd.Human:
		return compliance.AnsweredByPerson
	case amd.Fax:
		return compliance.AnsweredByFax
	case amd.Machine, amd.Screening, amd.SIT:
		return compliance.AnsweredByMachine
	case amd.Ringback:
		if r.Code == amd.Busy {
			return compliance.AnsweredByMachine // the tone of a line with nobody
		}
	}
	return "unknown"
}

// outcomeOfVerdict is what a call that no agent should have comes to.
func outcomeOfVerdict(r amd.Result) Outcome {
	switch r.Verdict {
	case amd.Fax:
		return OutcomeFax
	case amd.SIT:
		if r.Code == amd.NoCircuit || r.Code == amd.ReorderSIT {
			return OutcomeCongestion // the network's trouble, not the number's
		}
		return OutcomeInvalid
	case amd.Ringback:
		if r.Code == amd.Busy {
			return OutcomeBusy
		}
		return OutcomeNoAnswer
	case amd.Machine, amd.Screening:
		return OutcomeMachine
	}
	return OutcomeFailed // not said to be a machine: closed makes it abandoned
}
