package campaign

import (
	"cmp"
	"time"

	"dialer"
	"dialer/compliance"
	"dialer/telephony"
)

// longestRing is how long after its placing a call may still ring: no carrier
// lets one ring for longer.
const longestRing = 5 * time.Minute

// MayRing reports whether a call whose process has died may still ring: as far as
// is known, it was not answered.
func (c Call) MayRing(now time.Time) bool {
	return len(c.Dialog) == 0 && c.AnsweredAt.IsZero() && now.Sub(c.PlacedAt) < longestRing
}

// Interrupt closes an attempt whose process died, with the facts that tell of
// it. What was answered by a person, or by nobody knows whom, and has no agent
// on record counts as abandoned: a crash never lowers the count.
//
// A dialog on record is an answer: it is saved before the ACK. A phone that only
// rang, as far as is on record, counts as failed. Most of those are not answered
// later, and none is known to be; counting them all as abandoned would stop a
// campaign for a month after each crash. What this misses are answers in a time
// without a database that the process did not outlive.
func Interrupt(c Call, now time.Time) (Call, []dialer.Fact) {
	var facts []dialer.Fact
	if c.AnsweredAt.IsZero() && len(c.Dialog) > 0 {
		// Killed between the answer and its record; nobody knows when it was.
		c.AnsweredAt = now
	}
	switch {
	case c.AnsweredAt.IsZero():
		c.Class = compliance.ClassFailed
	case !c.ConnectedAt.IsZero():
		c.Class = cmp.Or(c.Class, compliance.ClassConnected)
	case c.AnsweredBy == compliance.AnsweredByMachine || c.AnsweredBy == compliance.AnsweredByFax:
		c.Class = compliance.ClassMachine
	default:
		if !c.Class.Abandoned() {
			c.Class = compliance.ClassAbandonedSilent
			facts = append(facts, dialer.CallAbandoned{Class: string(c.Class)})
		}
		c.AnsweredBy = cmp.Or(c.AnsweredBy, "unknown")
		c.AnsweredBySource = cmp.Or(c.AnsweredBySource, "none")
	}
	c.Version++
	c.State, c.Outcome = Ended, OutcomeInterrupted
	c.EndedAt, c.EndedBy, c.Cause = now, telephony.Caller, telephony.CauseFailed
	end := dialer.CallEnded{
		Outcome: string(c.Outcome), EndedBy: string(c.EndedBy), Class: string(c.Class),
	}
	if !c.ConnectedAt.IsZero() {
		end.TalkMS = max(0, now.Sub(c.ConnectedAt).Milliseconds())
	}
	return c, append(facts, end)
}

// AfterInterrupt says what becomes of the lead of an interrupted attempt. l is
// the lead while the attempt is open, so the attempt is counted in it.
func AfterInterrupt(s Settings, l Lead, now time.Time) Next {
	l.Attempts--
	return Recycle(s.Defaulted(), l, OutcomeInterrupted, nil, now)
}
