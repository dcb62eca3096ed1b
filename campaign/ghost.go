package campaign

import (
	"cmp"
	"time"

	"dialer"
	"dialer/compliance"
	"dialer/telephony"
)

// Ghosted is an ended call of which the network says later that it was answered
// at a time, with the facts that tell of it. Somebody took the phone and was
// hung up on: abandoned, by any reading. The outcome stays what it was, because
// the lead has moved on by it.
func Ghosted(c Call, at time.Time) (Call, []dialer.Fact) {
	facts := []dialer.Fact{dialer.CallGhosted{}}
	c.Version++
	c.Ghost = true
	if !c.AnsweredAt.IsZero() {
		return c, facts // known as answered, and classed as such
	}
	c.AnsweredAt, c.EndedBy = at, telephony.Caller
	c.AnsweredBy, c.AnsweredBySource = cmp.Or(c.AnsweredBy, "unknown"), cmp.Or(c.AnsweredBySource, "none")
	if c.Class.Answered() || c.Class == compliance.ClassMachine {
		return c, facts
	}
	c.Class = compliance.ClassAbandonedSilent
	return c, append(facts, dialer.CallAbandoned{Class: string(c.Class)})
}
