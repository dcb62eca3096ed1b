package telephony

import (
	"fmt"
	"time"
)

// A Cause says in one word how a call attempt or a leg ended. SIP status and
// Q.850 cause are evidence; engine code reads only the Cause.
type Cause string

// The causes.
const (
	CauseNormal      Cause = "normal"      // hung up by either side
	CauseBusy        Cause = "busy"        // 486, 600, Q.850 17
	CauseNoAnswer    Cause = "no-answer"   // rang out, 480, 408 after ringing
	CauseRejected    Cause = "rejected"    // 603, 403 by the callee
	CauseInvalid     Cause = "invalid"     // 404, 410, 484, 604, Q.850 1, 22, 28
	CauseCongestion  Cause = "congestion"  // 503, Q.850 34, 42
	CauseUnreachable Cause = "unreachable" // no response, transport error
	CauseFailed      Cause = "failed"      // anything else that is not our doing
	CauseCancelled   Cause = "cancelled"   // we gave up before the answer
	CauseMediaLost   Cause = "media-lost"  // no RTP for too long
	CauseNotSent     Cause = "not-sent"    // never left us (capacity, draining)
)

// A DialError is a call that was not answered.
type DialError struct {
	Cause     Cause
	SIPStatus int
	Q850      int
	Reason    string
	PlacedAt  time.Time
	RingingAt time.Time // zero when it never rang
	EndedAt   time.Time
	// Ghost: the far end answered all the same, after we had given up or with
	// no audio that we can use; the answer was ACKed and BYEd. Who answered
	// heard nothing: the carrier bills it and the law may count it.
	Ghost bool
	Tries []Try // the peers that were asked, in order
	// Attestation is Info.Attestation of a call that was not answered.
	Attestation string
}

func (e *DialError) Error() string {
	if e.SIPStatus != 0 {
		return fmt.Sprintf("call not answered: %s (SIP %d %s)", e.Cause, e.SIPStatus, e.Reason)
	}
	return fmt.Sprintf("call not answered: %s (%s)", e.Cause, e.Reason)
}
