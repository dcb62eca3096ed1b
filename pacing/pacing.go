// Package pacing decides how many calls to place now: preview, progressive,
// power and predictive. It is pure: no clock, no I/O, no goroutines; the same
// snapshots give the same decisions.
//
// It does not choose leads or agents, and it does not know why a call may not be
// placed; that is for campaign and compliance.
//
// Entry points: New and Pacer.Decide; Floor for programs that have only events;
// Estimator for those that keep their own state; ErlangB, ErlangC, ErlangA and
// AgentsFor for staffing.
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

	// How likely an attempt is to reach a person, relative to the campaign's mean:
	// 2 is twice as likely. RingingChance goes with Ringing, NextChance with the
	// leads that would be called next, in their order. What is missing is 1.
	RingingChance, NextChance []float64

	// Laws as of Now; nil means that nothing is known.
	Laws *Laws

	// Answered and Abandoned are the legal figures of the campaign's current
	// window: calls answered by a person, and of these the abandoned.
	Answered, Abandoned int
	// Cap is the allowed abandoned share, 0.03 for 3 %.
	Cap float64

	Lines     int // calls that the trunks can take now
	LeadsLeft int // leads that may be called now
}

// A Decision is how many calls to place now, and why, for people.
type Decision struct {
	Dial   int
	Reason string // one sentence
	Limit  Limit  // what kept it from being more

	// AgentFirst asks that each of these calls has an agent held for it before it
	// is placed: nobody who answers may be left without one.
	AgentFirst bool

	// Figures behind the decision, for the log.
	Seen            Counts  // of the snapshot
	ExpectedFree    float64 // agents free when a call dialed now would be answered
	ExpectedAnswers float64 // persons expected from calls in flight
	ExpectedLoss    float64 // persons expected to find no agent, with the calls dialed now
	Threshold       float64 // loss per live answer that the next call might have caused
	Allowance       float64 // calls that may still be abandoned: Cap × Answered − Abandoned
}

// A Limit is what keeps a decision from dialing more.
type Limit string

// The limits.
const (
	LimitAgents        Limit = "agents"    // agents free, now or soon
	LimitWarmUp        Limit = "warm-up"   // too little has been seen yet
	LimitAllowance     Limit = "allowance" // no more calls may be abandoned
	LimitBurst         Limit = "burst"
	LimitLinesPerAgent Limit = "lines-per-agent"
	LimitLines         Limit = "lines"
	LimitLeads         Limit = "leads"
)

// Counts are what a snapshot holds, in figures.
type Counts struct {
	Ready, Held, Talking, WrapUp int // agents
	Ringing, Detecting, Waiting  int // calls without an agent
	Answered, Abandoned          int
	Cap                          float64
	Lines, LeadsLeft             int
}

func (s *Snapshot) counts() Counts {
	return Counts{
		Ready: s.Ready, Held: s.Held, Talking: len(s.Talking), WrapUp: len(s.WrapUp),
		Ringing: len(s.Ringing), Detecting: len(s.Detecting), Waiting: s.Waiting,
		Answered: s.Answered, Abandoned: s.Abandoned, Cap: s.Cap,
		Lines: s.Lines, LeadsLeft: s.LeadsLeft,
	}
}

// mostCounted is the greatest count that can be, and mostAnswered that of a window:
// beyond it sums would overflow.
const (
	mostCounted  = 1_000_000
	mostAnswered = 1_000_000_000
)

// plainCounts are the counts that are no lists, the legal ones last.
func (s *Snapshot) plainCounts() [plainCounts]*int {
	return [...]*int{&s.Ready, &s.Held, &s.Waiting, &s.Lines, &s.LeadsLeft, &s.Answered, &s.Abandoned}
}

const plainCounts = 7

// mostOf is the greatest that one of the plainCounts can be.
func mostOf(i int) int {
	if i >= plainCounts-2 {
		return mostAnswered
	}
	return mostCounted
}

// boundCounts replaces counts that cannot be by the nearest that can.
func (s *Snapshot) boundCounts() {
	for i, n := range s.plainCounts() {
		*n = min(max(*n, 0), mostOf(i))
	}
}

// agents is the number of agents at work.
func (s *Snapshot) agents() int { return s.Ready + s.Held + len(s.Talking) + len(s.WrapUp) }

// inFlight is the number of calls that have no agent yet.
func (s *Snapshot) inFlight() int { return len(s.Ringing) + len(s.Detecting) + s.Waiting }

// allowance is how many more calls may be abandoned in the window.
func (s *Snapshot) allowance() float64 {
	return s.Cap*float64(s.Answered) - float64(s.Abandoned)
}
