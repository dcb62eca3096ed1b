package campaign

import (
	"testing"
	"time"

	"dialer/agents"
)

func TestRecycle(t *testing.T) {
	now := time.Date(2026, 3, 2, 15, 0, 0, 0, time.UTC)
	later := now.Add(26 * time.Hour)
	s := Settings{MaxAttempts: 6}.Defaulted()
	again := func(after time.Duration, why string) Next {
		return Next{State: Dialable, Due: now.Add(after), Why: why}
	}
	done := func(why string) Next { return Next{State: Done, Why: why} }
	ended := func(o Outcome, n int) Lead {
		return Lead{Owner: "agt_7", ByOutcome: map[Outcome]int{o: n}, Attempts: n}
	}
	for name, c := range map[string]struct {
		lead    Lead
		outcome Outcome
		said    *agents.Disposition
		want    Next
	}{
		"first busy":             {Lead{}, OutcomeBusy, nil, again(5*time.Minute, "busy")},
		"third busy":             {ended(OutcomeBusy, 2), OutcomeBusy, nil, again(5*time.Minute, "busy")},
		"fourth busy":            {ended(OutcomeBusy, 3), OutcomeBusy, nil, done("busy")},
		"busy after no answers":  {ended(OutcomeNoAnswer, 4), OutcomeBusy, nil, again(5*time.Minute, "busy")},
		"no answer":              {Lead{}, OutcomeNoAnswer, nil, again(time.Hour, "no-answer")},
		"machine":                {Lead{}, OutcomeMachine, nil, again(4*time.Hour, "machine")},
		"congestion":             {Lead{}, OutcomeCongestion, nil, again(time.Minute, "congestion")},
		"failed":                 {Lead{}, OutcomeFailed, nil, again(5*time.Minute, "failed")},
		"abandoned":              {Lead{}, OutcomeAbandoned, nil, again(72*time.Hour, "abandoned")},
		"abandoned twice":        {ended(OutcomeAbandoned, 1), OutcomeAbandoned, nil, done("abandoned")},
		"hung up":                {Lead{}, OutcomeCalleeEarly, nil, done("hung-up")},
		"invalid":                {Lead{}, OutcomeInvalid, nil, done("invalid")},
		"fax":                    {Lead{}, OutcomeFax, nil, done("fax")},
		"interrupted":            {Lead{}, OutcomeInterrupted, nil, again(time.Hour, "interrupted")},
		"no word from the agent": {Lead{}, OutcomeConnected, nil, done("connected")},
		"the last attempt":       {Lead{Attempts: 5}, OutcomeBusy, nil, done("attempts used up")},
		"sale":                   {Lead{}, OutcomeConnected, &agents.Disposition{Code: "SALE"}, done("SALE")},
		"unknown word":           {Lead{}, OutcomeConnected, &agents.Disposition{Code: "MAYBE"}, done("connected")},
		"do not call":            {Lead{}, OutcomeConnected, &agents.Disposition{Code: "DNC"}, done("dnc")},
		"agent heard a machine":  {Lead{}, OutcomeConnected, &agents.Disposition{Code: "ANSWERING_MACHINE"}, again(4*time.Hour, "ANSWERING_MACHINE")},
		"for the fourth time":    {ended(OutcomeConnected, 3), OutcomeConnected, &agents.Disposition{Code: "ANSWERING_MACHINE"}, done("ANSWERING_MACHINE")},
		"anyone's callback":      {ended("", 0), OutcomeConnected, &agents.Disposition{Code: "CALLBACK", Callback: later}, Next{State: Dialable, Due: later, Why: "callback"}},
		"own callback":           {ended("", 0), OutcomeConnected, &agents.Disposition{Code: "CALLBACK", Callback: later, Own: true}, Next{State: Dialable, Due: later, Owner: "agt_7", Why: "callback"}},
		"callback in the past":   {Lead{}, OutcomeConnected, &agents.Disposition{Code: "CALLBACK", Callback: now.Add(-time.Hour)}, again(time.Minute, "callback")},
		"callback, no attempts":  {Lead{Attempts: 5}, OutcomeConnected, &agents.Disposition{Code: "CALLBACK", Callback: later}, done("attempts used up")},
	} {
		if got := Recycle(s, c.lead, c.outcome, c.said, now); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}
