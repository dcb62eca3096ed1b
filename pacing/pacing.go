// Package pacing decides how many calls to place now: preview, progressive,
// power and predictive. It is pure: no clock, no I/O, no goroutines; the same
// snapshots give the same decisions.
//
// It does not choose leads or agents, and it does not know why a call may not be
// placed; that is for campaign and compliance.
//
// Entry points: New, Pacer.Decide, Estimator, ErlangB, ErlangC.
package pacing

import "time"

// A Pacer decides how many calls to place now. It keeps no clock and does no I/O.
type Pacer interface {
	Decide(Snapshot) Decision
}

// A Snapshot is all that a pacer knows when it decides. Durations are ages at
// Now: how long the agent has been in the state, how long ago the call was placed.
type Snapshot struct {
	Now time.Time

	Ready   int             // agents waiting for a call
	Held    int             // of the agents not Ready: reserved for a call not yet answered
	Talking []time.Duration // age of each talk
	WrapUp  []time.Duration // age of each wrap-up

	Ringing   []time.Duration // age of each attempt not yet answered, from INVITE
	Detecting []time.Duration // age of each answer whose detection is not done
	Waiting   int             // persons classified who have no agent yet

	Laws Laws

	// Answered and Abandoned are the legal figures of the campaign's current
	// window: calls answered by a person, and of these the abandoned.
	Answered, Abandoned int
	// Cap is the allowed abandoned share, 0.03 for 3 %.
	Cap float64

	Lines     int // calls that the trunks can take now
	LeadsLeft int // leads that may be called now
}

// Laws are what has been learned of this campaign; see Estimator.
type Laws struct {
	Dialed   int           // finished attempts behind the figures
	LiveRate float64       // share of attempts that a person answers
	RingMean time.Duration // INVITE to a person's answer
	RingMax  time.Duration // the campaign's ring timeout
	TalkMean time.Duration
	WrapMean time.Duration

	// TalkCV and WrapCV are standard deviation over mean; 0 means 1.
	TalkCV, WrapCV float64
	// DetectedLive is the share of detections that end with a person; 0 means
	// that it is not known, and every one is counted as a person.
	DetectedLive float64
	// Live and Other count finished attempts by the second of ring age at which
	// a person answered, or at which they ended in any other way. Without them a
	// shape around RingMean is used.
	Live, Other []float64
}

// A Decision is how many calls to place now, and why, for people.
type Decision struct {
	Dial   int
	Reason string // one sentence
	Limit  string // the binding limit: "agents", "allowance", "lines", "leads", "warm-up", …

	// Figures behind the decision, for the log.
	ExpectedFree    float64 // agents free when a call dialed now would be answered
	ExpectedAnswers float64 // persons expected from calls in flight
	Allowance       float64 // calls that may still be abandoned in this window
}
