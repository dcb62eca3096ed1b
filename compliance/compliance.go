// Package compliance says whether a number may be called now, and what an
// answered call counts as in law. It is pure: every function takes now, and all
// are safe for concurrent use.
//
// It keeps no list of numbers and counts no calls by itself; it is handed what is
// known and fails closed on what is not.
//
// Entry points: Check (may we call), Classify and Tally (abandoned calls),
// ParseNumber (E.164), Zones (where a number may be), Audit (does the log show
// what must never happen).
package compliance

import (
	"time"

	"dialer"
)

// A Candidate is a call that is about to be placed.
type Candidate struct {
	Number dialer.Number
	// NumberRead says that Check has read Number in this process: what kind of
	// number it is does not change, and to find out is most of the work.
	NumberRead bool
	// Zone is the lead's own IANA zone when known; else the zones of the number
	// are used, all of them.
	Zone string
	// Hours are the campaign's calling hours in the called person's zone.
	Hours WeeklyHours
	// MaxPerDay and MaxAttempts cap the attempts of one lead; 0 means no cap.
	MaxPerDay, MaxAttempts int
	// Attempts is the number of attempts so far; Recent are the times of those
	// in the last 48 hours.
	Attempts int
	Recent   []time.Time
	// OnDNC names the do-not-call list that holds the number, or is empty.
	OnDNC string
}

// A Verdict says whether a call may be placed.
type Verdict struct {
	Allowed bool
	Rule    string    // "dnc", "window", "zone", "day-cap", "attempt-cap", "number"
	Reason  string    // one sentence for people
	NextAt  time.Time // when to ask again; zero means never
}
