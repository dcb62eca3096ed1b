package compliance

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"dialer"
)

// A Violation is something that the log shows and that must never happen.
type Violation struct {
	Rule   string // stable, one of the constants below
	Detail string // one sentence
	Event  dialer.Event
}

// String is for a terminal.
func (v Violation) String() string {
	return fmt.Sprintf("event %d: %s: %s", v.Event.Seq, v.Rule, v.Detail)
}

// What Audit looks for.
const (
	PlacedTwice     = "placed-twice"        // one attempt, two call.placed
	NoEnd           = "call-without-end"    // call.placed and no call.ended
	EndedTwice      = "ended-twice"         //
	EndWithoutCall  = "end-without-call"    // call.ended and no call.placed
	LeadTwice       = "lead-in-two-calls"   // two open calls to one lead
	NumberTwice     = "number-in-two-calls" // two open calls to one number
	AgentTwice      = "agent-in-two-calls"  // an agent offered or given a second call
	ConnectedTwice  = "connected-twice"     //
	NotAnswered     = "connected-unanswered"
	NotPlaced       = "fact-without-call" // ringing, answered or connected, never placed
	AfterEnd        = "fact-after-end"    // ringing, answered or connected after the end
	TimeBackwards   = "time-backwards"    // an event of a call is older than the one before
	ClassNotReached = "class-without-agent"
)

// Audit checks a whole log, in the order of Seq, and returns every violation in
// that order; calls without an end are reported at their call.placed. Calls that
// are still up when the log was read are therefore reported too: read the log
// after the campaign has come to rest.
//
// An agent is in a call from agent.offered or call.connected until call.ended,
// call.dispositioned or a change of state to one without a call.
func Audit(events []dialer.Event) []Violation {
	a := audit{
		calls:   map[dialer.CallID]*auditedCall{},
		leads:   map[dialer.LeadID]dialer.CallID{},
		numbers: map[dialer.Number]dialer.CallID{},
		agents:  map[dialer.AgentID]dialer.CallID{},
	}
	for _, e := range events {
		a.see(e)
	}
	for _, c := range a.calls {
		if c.placed != nil && !c.ended {
			a.report(*c.placed, NoEnd, "call %s was placed and has no end", c.placed.Call)
		}
	}
	slices.SortStableFunc(a.found, func(v, w Violation) int { return cmp.Compare(v.Event.Seq, w.Event.Seq) })
	return a.found
}

type audit struct {
	calls   map[dialer.CallID]*auditedCall
	leads   map[dialer.LeadID]dialer.CallID // open calls
	numbers map[dialer.Number]dialer.CallID // open calls
	agents  map[dialer.AgentID]dialer.CallID
	found   []Violation
}

type auditedCall struct {
	placed                     *dialer.Event
	to                         dialer.Number
	answered, connected, ended bool
	last                       time.Time
}

func (a *audit) report(e dialer.Event, rule, format string, args ...any) {
	a.found = append(a.found, Violation{Rule: rule, Detail: fmt.Sprintf(format, args...), Event: e})
}

func (a *audit) see(e dialer.Event) {
	if f, ok := e.Fact.(dialer.AgentStateChanged); ok {
		// With a call are reserved, previewing, talking and wrapping up.
		if f.To == "ready" || f.To == "not_ready" || f.To == "logged_out" {
			delete(a.agents, e.Agent)
		}
		return
	}
	if e.Call == "" {
		return
	}
	c := a.calls[e.Call]
	if c == nil {
		c = &auditedCall{}
		a.calls[e.Call] = c
	}
	if _, beside := e.Fact.(dialer.CallGhosted); beside {
		return // the network's word on a call that was given up: no step of the call
	}
	if e.At.Before(c.last) {
		a.report(e, TimeBackwards, "%s of call %s is %v older than what came before", kind(e), e.Call, c.last.Sub(e.At))
	} else {
		c.last = e.At
	}
	switch f := e.Fact.(type) {
	case dialer.CallPlaced:
		a.placed(e, c, f)
	case dialer.CallRinging:
		a.inCall(e, c)
	case dialer.CallAnswered:
		a.inCall(e, c)
		c.answered = true
	case dialer.AgentOffered:
		a.hold(e)
	case dialer.CallConnected:
		a.connected(e, c)
	case dialer.CallEnded:
		a.ended(e, c, f)
	case dialer.CallDispositioned:
		a.release(e.Call)
	}
}

func kind(e dialer.Event) string {
	if e.Fact == nil {
		return "a fact"
	}
	return e.Fact.Kind()
}

func (a *audit) placed(e dialer.Event, c *auditedCall, f dialer.CallPlaced) {
	if c.placed != nil {
		a.report(e, PlacedTwice, "call %s was placed before", e.Call)
		return
	}
	c.placed, c.to = &e, f.To
	if other, open := a.leads[e.Lead]; open && e.Lead != "" {
		a.report(e, LeadTwice, "lead %s is in call %s already", e.Lead, other)
	}
	if other, open := a.numbers[f.To]; open && f.To != "" {
		a.report(e, NumberTwice, "number %s is in call %s already", f.To.Masked(), other)
	}
	a.leads[e.Lead], a.numbers[f.To] = e.Call, e.Call
}

// inCall checks that the call is open.
func (a *audit) inCall(e dialer.Event, c *auditedCall) {
	switch {
	case c.placed == nil:
		a.report(e, NotPlaced, "%s of call %s, which was never placed", kind(e), e.Call)
	case c.ended:
		a.report(e, AfterEnd, "%s after the end of call %s", kind(e), e.Call)
	}
}

func (a *audit) connected(e dialer.Event, c *auditedCall) {
	a.inCall(e, c)
	if !c.answered {
		a.report(e, NotAnswered, "call %s was connected and never answered", e.Call)
	}
	if c.connected {
		a.report(e, ConnectedTwice, "call %s was connected before", e.Call)
	}
	c.connected = true
	a.hold(e)
}

// hold gives a call to an agent.
func (a *audit) hold(e dialer.Event) {
	if e.Agent == "" {
		return
	}
	if other, busy := a.agents[e.Agent]; busy && other != e.Call {
		a.report(e, AgentTwice, "agent %s is in call %s already", e.Agent, other)
	}
	a.agents[e.Agent] = e.Call
}

// release takes a call from whichever agent has it.
func (a *audit) release(call dialer.CallID) {
	for agent, held := range a.agents {
		if held == call {
			delete(a.agents, agent)
		}
	}
}

func (a *audit) ended(e dialer.Event, c *auditedCall, f dialer.CallEnded) {
	switch {
	case c.placed == nil:
		a.report(e, EndWithoutCall, "call %s ended and was never placed", e.Call)
	case c.ended:
		a.report(e, EndedTwice, "call %s ended before", e.Call)
		return
	}
	if class := Class(f.Class); (class == ClassConnected || class == ClassLate) && !c.connected {
		a.report(e, ClassNotReached, "call %s counts as %s and no agent was connected", e.Call, class)
	}
	c.ended = true
	if c.placed != nil {
		if a.leads[c.placed.Lead] == e.Call {
			delete(a.leads, c.placed.Lead)
		}
		if a.numbers[c.to] == e.Call {
			delete(a.numbers, c.to)
		}
	}
	a.release(e.Call)
}
