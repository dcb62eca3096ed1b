package compliance

// WeeklyHours are the hours of each weekday in which calls may be placed.
type WeeklyHours struct {
	days [7][]interval // by time.Weekday, in order, not overlapping
}

// An interval is half-open, in minutes from midnight.
type interval struct{ from, to int }

// A ClockStart is the event from which the connect deadline counts.
type ClockStart string

// The clock starts: Canada counts from the answer, the UK from the start of
// speech, the US from the end of the greeting.
const (
	FromAnswer      ClockStart = "answer"
	FromSpeechStart ClockStart = "speech_start"
	FromGreetingEnd ClockStart = "greeting_end"
)

// A Class is what an attempt counts as in law.
type Class string

// The classes.
const (
	ClassConnected       Class = "connected"
	ClassLate            Class = "late"
	ClassAbandonedMsg    Class = "abandoned_msg"
	ClassAbandonedSilent Class = "abandoned_silent"
	ClassCalleeEarly     Class = "callee_early"
	ClassMachine         Class = "machine"
	ClassNoAnswer        Class = "no_answer"
	ClassBusy            Class = "busy"
	ClassInvalid         Class = "invalid"
	ClassFailed          Class = "failed"
)

// A Tally counts attempts by class.
type Tally struct {
	ByClass map[Class]int
}
