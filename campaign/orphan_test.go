package campaign_test

import (
	"testing"
	"time"

	"dialer/campaign"
	"dialer/compliance"
)

// What is on record of a call decides what it counts as when its process died.
func TestInterruptedCallsCountByTheirRecord(t *testing.T) {
	now := time.Now()
	for name, in := range map[string]struct {
		call campaign.Call
		want compliance.Class
	}{
		"committed":            {campaign.Call{State: campaign.Placed}, compliance.ClassFailed},
		"it rang":              {campaign.Call{State: campaign.Ringing, RingingAt: now}, compliance.ClassFailed},
		"the dialog is saved":  {campaign.Call{State: campaign.Ringing, RingingAt: now, Dialog: []byte("d")}, compliance.ClassAbandonedSilent},
		"dialog without rings": {campaign.Call{State: campaign.Placed, Dialog: []byte("d")}, compliance.ClassAbandonedSilent},
		"answered":             {campaign.Call{State: campaign.Answered, AnsweredAt: now}, compliance.ClassAbandonedSilent},
		"a machine":            {campaign.Call{State: campaign.Answered, AnsweredAt: now, AnsweredBy: "machine"}, compliance.ClassMachine},
		"a talk that was late": {campaign.Call{State: campaign.Connected, AnsweredAt: now, ConnectedAt: now, Class: compliance.ClassLate}, compliance.ClassLate},
		"the message played":   {campaign.Call{State: campaign.Queued, AnsweredAt: now, Class: compliance.ClassAbandonedMsg}, compliance.ClassAbandonedMsg},
	} {
		c, _ := campaign.Interrupt(in.call, now.Add(time.Minute))
		if c.Class != in.want || c.State != campaign.Ended || c.Outcome != campaign.OutcomeInterrupted {
			t.Errorf("%s: class %s, %s %s; want class %s", name, c.Class, c.State, c.Outcome, in.want)
		}
	}
}
