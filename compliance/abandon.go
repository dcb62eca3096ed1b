package compliance

import "time"

// Times are the moments of one attempt; the zero time means that it did not
// happen. All come from one clock.
type Times struct {
	Answer       time.Time // 200 OK
	SpeechStart  time.Time // the called person begins to speak
	GreetingEnd  time.Time // and has greeted
	Agent        time.Time // two-way audio with an agent
	MessageStart time.Time // the abandoned-call message begins
	MessageEnd   time.Time
	End          time.Time // the call is over
}

// A ClockStart is the event from which the connect deadline counts.
type ClockStart string

// The clock starts: Canada counts from the answer, the UK from the start of
// speech, the US from the end of the greeting.
const (
	FromAnswer      ClockStart = "answer"
	FromSpeechStart ClockStart = "speech_start"
	FromGreetingEnd ClockStart = "greeting_end"
)

// Valid reports whether c is one of the three.
func (c ClockStart) Valid() bool {
	return c == FromAnswer || c == FromSpeechStart || c == FromGreetingEnd
}

// Start returns when the connect deadline begins to run. Where nobody was heard
// to speak, or the end of a greeting is not known, it is the answer, which is
// the strictest reading.
func (c ClockStart) Start(t Times) time.Time {
	at := time.Time{}
	switch c {
	case FromSpeechStart:
		at = t.SpeechStart
	case FromGreetingEnd:
		at = t.GreetingEnd
	}
	if at.IsZero() {
		return t.Answer
	}
	return at
}

// A Class is what an attempt counts as in law.
type Class string

// The classes. Late and both kinds of abandoned are the numerator of the
// abandoned-call rate; these, connected and callee-early are the denominator.
const (
	ClassConnected       Class = "connected"        // an agent in time
	ClassLate            Class = "late"             // an agent too late: abandoned, even if a sale follows
	ClassAbandonedMsg    Class = "abandoned_msg"    // no agent, the message began in time
	ClassAbandonedSilent Class = "abandoned_silent" // no agent, no message in time
	ClassCalleeEarly     Class = "callee_early"     // the person hung up before the deadline
	ClassMachine         Class = "machine"
	ClassNoAnswer        Class = "no_answer"
	ClassBusy            Class = "busy"
	ClassInvalid         Class = "invalid"
	ClassFailed          Class = "failed"
)

// Classes lists every class, in the order of reports.
func Classes() []Class {
	return []Class{
		ClassConnected, ClassLate, ClassAbandonedMsg, ClassAbandonedSilent, ClassCalleeEarly,
		ClassMachine, ClassNoAnswer, ClassBusy, ClassInvalid, ClassFailed,
	}
}

// Answered reports whether a call of this class was answered by a person.
func (c Class) Answered() bool {
	return c == ClassConnected || c == ClassCalleeEarly || c.Abandoned()
}

// Abandoned reports whether a call of this class is in the numerator.
func (c Class) Abandoned() bool {
	return c == ClassLate || c == ClassAbandonedMsg || c == ClassAbandonedSilent
}

// Who answered a call, as Classify understands it. Every other word, and
// "unknown" above all, counts as a person.
const (
	AnsweredByPerson  = "person"
	AnsweredByMachine = "machine"
	AnsweredByFax     = "fax"
)

// Who ended a call.
const (
	EndedByCaller  = "caller"
	EndedByCallee  = "callee"
	EndedByNetwork = "network"
)

// MessageGrace is how long after the deadline the abandoned-call message may
// begin and still count as played in time ("promptly", 16 CFR 310.4(b)(4)(iii)).
const MessageGrace = 500 * time.Millisecond

// Classify says what an attempt counts as. answeredBy is person, machine, fax
// or unknown, as the agent said or else the detector; endedBy is caller, callee
// or network. The deadline is inclusive and times are compared in whole
// milliseconds: 2,000 ms is "within two seconds".
//
// A call that was not answered is no_answer; the caller of Classify, who has the
// network's cause, replaces it by busy, invalid or failed.
func Classify(t Times, answeredBy, endedBy string, deadline time.Duration, clock ClockStart) Class {
	if t.Answer.IsZero() {
		return ClassNoAnswer
	}
	if answeredBy == AnsweredByMachine || answeredBy == AnsweredByFax {
		return ClassMachine
	}
	start, limit := clock.Start(t), deadline.Milliseconds()
	since := func(at time.Time) int64 { return at.UnixMilli() - start.UnixMilli() }
	switch {
	case !t.Agent.IsZero() && since(t.Agent) <= limit:
		return ClassConnected
	case !t.Agent.IsZero():
		return ClassLate
	case !t.MessageStart.IsZero() && since(t.MessageStart) <= limit+MessageGrace.Milliseconds():
		return ClassAbandonedMsg
	case endedBy == EndedByCallee && !t.End.IsZero() && since(t.End) < limit:
		return ClassCalleeEarly
	default:
		return ClassAbandonedSilent
	}
}
