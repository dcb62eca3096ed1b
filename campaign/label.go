package campaign

import (
	"slices"
	"strings"
	"time"

	"dialer"
	"dialer/compliance"
)

// Labels are the words with which people say who answered a call whose seconds
// they heard.
func Labels() []string {
	return []string{"human", "machine", "screening", "fax", "sit", "ringback", "silence", "music"}
}

// Labelled is a call that ended, with what somebody who heard its seconds says. A
// person who was hung up on as a machine was abandoned, and from now on counts as
// such.
func Labelled(c Call, label, by string, now time.Time) (Call, []dialer.Fact, error) {
	switch {
	case !slices.Contains(Labels(), label):
		return c, nil, dialer.Fieldf("label", "%q is not known: use %s", clip(label, 40), strings.Join(Labels(), ", "))
	case c.State != Ended:
		return c, nil, dialer.Errorf(dialer.Conflict, "the call is %s: label it when it has ended", c.State)
	case c.Heard.Kept == "":
		return c, nil, dialer.Errorf(dialer.Conflict, "no seconds of the call are kept: nobody can have heard who it was")
	}
	c.Version++
	c.Heard.Label, c.Heard.LabelBy, c.Heard.LabelledAt = label, by, now.UTC()
	if c.AnsweredBySource != "agent" && c.ConnectedAt.IsZero() {
		c.AnsweredBy, c.AnsweredBySource = "unknown", "label"
		switch label {
		case "human":
			c.AnsweredBy = compliance.AnsweredByPerson
			if c.Class == compliance.ClassMachine {
				c.Class = compliance.ClassAbandonedSilent
			}
		case "machine", "screening", "sit":
			c.AnsweredBy = compliance.AnsweredByMachine
		case "fax":
			c.AnsweredBy = compliance.AnsweredByFax
		}
	}
	return c, []dialer.Fact{dialer.CallLabelled{Label: label, By: by}}, nil
}

// CountOf is what one call adds to the counts of the detector; false for one that
// it has not judged after an answer.
func CountOf(c Call) (compliance.DetectorCount, bool) {
	if c.Verdict == "" || c.AnsweredAt.IsZero() {
		return compliance.DetectorCount{}, false
	}
	n := compliance.DetectorCount{
		Trunk: c.Trunk, Verdict: c.Verdict, Sampled: c.Heard.Agent.Taken() || c.Heard.Kept != "",
		Truth: c.Heard.Label, Late: !c.Heard.LateMachineAt.IsZero(), Calls: 1,
	}
	if n.Truth == "" && c.AnsweredBySource == "agent" {
		n.Truth = c.AnsweredBy
	}
	return n, true
}
