package pacing

import (
	"time"
)

// A Kind says what an Event tells.
type Kind string

// The kinds. Agents are told of by Agent, calls by Call.
const (
	CallPlaced     Kind = "call-placed"     // INVITE sent; Agent when one is held for it
	CallAnswered   Kind = "call-answered"   // somebody or something picked up
	CallClassified Kind = "call-classified" // detection is done: Live or not
	CallConnected  Kind = "call-connected"  // Agent talks with the person
	CallEnded      Kind = "call-ended"      // for whatever reason, from any state
	AgentReady     Kind = "agent-ready"     // waits for a call
	AgentWrapUp    Kind = "agent-wrap-up"
	AgentPaused    Kind = "agent-paused" // also by logging off
)

// An Event is one thing that a dialer sees.
type Event struct {
	At    time.Time
	Kind  Kind
	Call  uint64
	Agent uint64
	Live  bool
}

// A Floor turns the events of a dialer into Snapshots and learns from them. It
// takes any order of events: what makes no sense is as if it had not been told.
type Floor struct {
	Estimator Estimator
	calls     map[uint64]*call
	agents    map[uint64]*agent
	order     []*call
	team      []*agent
	snap      Snapshot
}

type call struct {
	id     uint64
	kind   Kind // the last event
	since  time.Time
	placed time.Time
	ring   time.Duration
	agent  uint64 // held
	place  int    // in Floor.order
}

type agent struct {
	kind  Kind // AgentReady, AgentWrapUp, CallConnected
	since time.Time
	place int
}

// NewFloor returns a floor without calls or agents. ringMax is the campaign's
// ring timeout.
func NewFloor(ringMax time.Duration) *Floor {
	return &Floor{
		Estimator: Estimator{RingMax: ringMax},
		calls:     map[uint64]*call{}, agents: map[uint64]*agent{},
	}
}

// Observe takes one event.
func (f *Floor) Observe(e Event) {
	switch e.Kind {
	case CallPlaced:
		if f.calls[e.Call] == nil {
			c := &call{id: e.Call, kind: CallPlaced, since: e.At, placed: e.At, agent: e.Agent, place: len(f.order)}
			f.calls[e.Call] = c
			f.order = append(f.order, c)
		}
	case AgentReady, AgentWrapUp, AgentPaused:
		f.agentIs(e)
	default:
		if c := f.calls[e.Call]; c != nil {
			f.callIs(c, e)
		}
	}
}

func (f *Floor) callIs(c *call, e Event) {
	switch e.Kind {
	case CallAnswered:
		if c.kind == CallPlaced {
			c.kind, c.since, c.ring = CallAnswered, e.At, e.At.Sub(c.placed)
		}
	case CallClassified:
		if c.kind != CallPlaced && c.kind != CallAnswered {
			return
		}
		if c.kind == CallPlaced {
			c.ring = e.At.Sub(c.placed)
		} else {
			f.Estimator.Detected(e.Live)
		}
		f.Estimator.Ended(e.Live, c.ring)
		c.kind, c.since = CallClassified, e.At
		if !e.Live {
			f.drop(c)
		}
	case CallConnected:
		if c.kind == CallPlaced || c.kind == CallAnswered {
			f.callIs(c, Event{At: e.At, Kind: CallClassified, Call: e.Call, Live: true})
		}
		if c.kind == CallClassified {
			c.kind, c.since = CallConnected, e.At
			if a := f.agents[e.Agent]; a != nil {
				a.kind, a.since = CallConnected, e.At
			}
		}
	case CallEnded:
		switch c.kind {
		case CallPlaced:
			f.Estimator.Ended(false, e.At.Sub(c.placed))
		case CallAnswered:
			f.Estimator.Ended(false, c.ring)
		case CallConnected:
			f.Estimator.Talked(e.At.Sub(c.since))
		}
		f.drop(c)
	}
}

func (f *Floor) drop(c *call) {
	delete(f.calls, c.id)
	last := f.order[len(f.order)-1]
	f.order[c.place], last.place = last, c.place
	f.order = f.order[:len(f.order)-1]
}

func (f *Floor) agentIs(e Event) {
	a := f.agents[e.Agent]
	if a != nil && a.kind == AgentWrapUp && e.Kind != AgentWrapUp {
		f.Estimator.Wrapped(e.At.Sub(a.since), e.Kind == AgentPaused)
	}
	switch {
	case e.Kind == AgentPaused:
		if a != nil {
			delete(f.agents, e.Agent)
			last := f.team[len(f.team)-1]
			f.team[a.place], last.place = last, a.place
			f.team = f.team[:len(f.team)-1]
		}
		return
	case a == nil:
		a = &agent{place: len(f.team)}
		f.agents[e.Agent] = a
		f.team = append(f.team, a)
	case a.kind == e.Kind:
		return
	}
	a.kind, a.since = e.Kind, e.At
}

// Outside is what a floor cannot know of itself.
type Outside struct {
	// Answered and Abandoned are the campaign's legal figures of the window, and
	// Cap the allowed share.
	Answered, Abandoned int
	Cap                 float64
	Lines, LeadsLeft    int
}

// Snapshot is what is known at now. It may be used until the next one is taken.
func (f *Floor) Snapshot(now time.Time, o Outside) Snapshot {
	s := &f.snap
	*s = Snapshot{
		Now: now, Answered: o.Answered, Abandoned: o.Abandoned, Cap: o.Cap, Lines: o.Lines, LeadsLeft: o.LeadsLeft,
		Talking: s.Talking[:0], WrapUp: s.WrapUp[:0], Ringing: s.Ringing[:0], Detecting: s.Detecting[:0],
	}
	for _, a := range f.team {
		switch a.kind {
		case AgentReady:
			s.Ready++
		case AgentWrapUp:
			s.WrapUp = append(s.WrapUp, now.Sub(a.since))
		case CallConnected:
			s.Talking = append(s.Talking, now.Sub(a.since))
		}
	}
	for _, c := range f.order {
		switch c.kind {
		case CallPlaced:
			s.Ringing = append(s.Ringing, now.Sub(c.placed))
		case CallAnswered:
			s.Detecting = append(s.Detecting, now.Sub(c.since))
		case CallClassified:
			s.Waiting++
		default:
			continue
		}
		if c.agent != 0 {
			s.Held++
		}
	}
	s.Held = min(s.Held, s.Ready)
	s.Ready -= s.Held
	s.Laws = f.Estimator.Laws(s)
	return *s
}
