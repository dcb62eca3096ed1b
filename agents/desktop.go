package agents

import (
	"slices"
	"strings"
	"time"

	"dialer"
)

// A Kind says what a Message tells.
type Kind string

// The kinds.
const (
	Current       Kind = "current"       // first of all: Snapshot
	StateChanged  Kind = "state"         // From, State, Reason, Call, Until
	Asked         Kind = "asked"         // State and Reason that follow the call
	Offer         Kind = "offer"         // Call, Pop: the screen pop
	PreviewAsked  Kind = "preview"       // Call, Until: dial or skip
	CallEnded     Kind = "call_ended"    // Call, Reason, Until: say the disposition
	WrapUpLimited Kind = "wrap_up_limit" // Call, Until
	MachineHeard  Kind = "machine"       // Call, Reason: what talks is a machine; the command machine frees the agent
	Notice        Kind = "notice"        // Reason: a sentence for the agent
	Replaced      Kind = "replaced"      // another desktop took over; the last message
)

// A Message is something an agent's desktop must know.
type Message struct {
	// Seq grows by one with each message of a session; Current repeats the
	// last one given, so that a client that missed some sees it.
	Seq      int64         `json:"seq"`
	At       time.Time     `json:"at"`
	Kind     Kind          `json:"kind"`
	From     State         `json:"from,omitempty"`
	State    State         `json:"state,omitempty"`
	Reason   string        `json:"reason,omitempty"`
	Call     dialer.CallID `json:"call_id,omitempty"`
	Pop      any           `json:"pop,omitempty"`
	Until    time.Time     `json:"until,omitzero"`
	Snapshot *Snapshot     `json:"snapshot,omitempty"`
}

// A Snapshot is an agent as they are this moment.
type Snapshot struct {
	Agent     dialer.AgentID      `json:"agent_id"`
	Name      string              `json:"name"`
	Extension string              `json:"extension,omitempty"`
	Campaigns []dialer.CampaignID `json:"campaign_ids"`
	State     State               `json:"state"`
	Since     time.Time           `json:"since,omitzero"` // zero for LoggedOut
	Until     time.Time           `json:"until,omitzero"` // end of the longest stay
	Reason    string              `json:"reason,omitempty"`
	// Asked is where the agent goes after the call, if they said so.
	Asked    State         `json:"asked,omitempty"`
	Call     dialer.CallID `json:"call_id,omitempty"`
	Pop      any           `json:"pop,omitempty"`
	Preview  bool          `json:"preview,omitempty"` // dial or skip is awaited
	DecideBy time.Time     `json:"decide_by,omitzero"`
	Machine  bool          `json:"machine,omitempty"` // the detector hears one in this call
	Phone    bool          `json:"phone"`             // its leg is up
	Desktop  bool          `json:"desktop"`           // one is attached
	Version  int           `json:"version"`
	Seq      int64         `json:"seq"` // of the last message
}

func (s *Session) snapshot() Snapshot {
	snap := Snapshot{
		Agent: s.agent.ID, Name: s.agent.Name, Extension: s.agent.Extension,
		Campaigns: slices.Clone(s.agent.Campaigns),
		State:     s.state, Since: s.since, Until: s.until, Reason: s.reason, Asked: s.asked,
		Phone: s.phone(), Desktop: s.desktop != nil, Version: s.version, Seq: s.seq,
	}
	if v := s.res; v != nil {
		snap.Call, snap.Pop, snap.Preview, snap.Machine = v.call, v.pop, v.previewing, v.machine
		if v.previewing {
			snap.DecideBy = v.decideBy
		}
	}
	return snap
}

// State returns how an agent is; one who is not logged in is LoggedOut.
func (r *Registry) State(agent dialer.AgentID) Snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.sessions[agent]; s != nil {
		return s.snapshot()
	}
	return Snapshot{Agent: agent, State: LoggedOut}
}

// List returns every agent logged in, by id.
func (r *Registry) List() []Snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]Snapshot, 0, len(r.sessions))
	for _, s := range r.sessions {
		if s.state != LoggedOut {
			all = append(all, s.snapshot())
		}
	}
	slices.SortFunc(all, func(a, b Snapshot) int { return strings.Compare(string(a.Agent), string(b.Agent)) })
	return all
}

// watchRoom is how many messages may wait for one reader. More mean that it has
// stalled: it is dropped, and takes a fresh Snapshot when it comes back.
const watchRoom = 64

// A watch is one reader of a session's messages.
type watch struct{ messages chan Message }

func (s *Session) watch() *watch {
	w := &watch{messages: make(chan Message, watchRoom)}
	snap := s.snapshot()
	w.messages <- Message{Seq: s.seq, At: time.Now(), Kind: Current, Snapshot: &snap}
	s.watches[w] = struct{}{}
	return w
}

// drop closes a reader's channel. If it was the desktop, that is gone.
func (s *Session) drop(w *watch) {
	if _, ok := s.watches[w]; !ok {
		return
	}
	delete(s.watches, w)
	close(w.messages)
	if s.desktop != nil && s.desktop.watch == w {
		s.desktop, s.left = nil, time.Now()
		s.r.plan(s.due())
		s.changed()
	}
}

// publish tells every reader, and drops those that are full.
func (s *Session) publish(m Message) {
	s.seq++
	m.Seq, m.At = s.seq, time.Now()
	for w := range s.watches {
		select {
		case w.messages <- m:
		default:
			s.r.log.Warn("a reader of an agent's messages stalled: dropped", "agent", s.agent.ID)
			s.drop(w)
		}
	}
}

// Subscribe returns an agent's messages, the first of kind Current, until stop
// is called or the agent is logged out; then the channel is closed. So it is,
// too, when 64 messages wait unread: nobody waits for a slow reader. A
// subscriber only watches; it does not count as the agent's desktop.
func (r *Registry) Subscribe(agent dialer.AgentID) (messages <-chan Message, stop func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, err := r.session(agent)
	if err != nil {
		closed := make(chan Message)
		close(closed)
		return closed, func() {}
	}
	w := s.watch()
	return w.messages, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		s.drop(w)
	}
}

// A Desktop is the screen at which an agent works: a websocket, mostly. An
// agent has at most one; without one they get no call, and after 5 s they are
// NotReady. A talk goes on without it.
type Desktop struct {
	s     *Session
	watch *watch
}

// Attach makes a new desktop the agent's. A desktop attached before is sent
// Replaced as its last message.
func (r *Registry) Attach(agent dialer.AgentID) (*Desktop, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, err := r.session(agent)
	if err != nil {
		return nil, err
	}
	if old := s.desktop; old != nil {
		select {
		case old.watch.messages <- Message{Seq: s.seq, At: time.Now(), Kind: Replaced, Reason: "You opened the desktop somewhere else. This one is not in use any more."}:
		default: // its closed channel must do
		}
		s.desktop = nil // so that the agent is not without one for an instant
		s.drop(old.watch)
	}
	d := &Desktop{s: s}
	s.desktop = d
	d.watch = s.watch()
	s.ringNow()
	s.changed()
	r.match(s)
	return d, nil
}

// Messages is as the channel of Subscribe. When it is closed the desktop is
// detached already.
func (d *Desktop) Messages() <-chan Message { return d.watch.messages }

// Attached reports whether this is the agent's desktop still: not after a
// logout, nor when another one has taken over.
func (d *Desktop) Attached() bool {
	d.s.r.mu.Lock()
	defer d.s.r.mu.Unlock()
	return d.s.desktop == d
}

// Detach says that the desktop is gone. It is idempotent, and harmless after
// another desktop has taken over.
func (d *Desktop) Detach() {
	d.s.r.mu.Lock()
	defer d.s.r.mu.Unlock()
	d.s.drop(d.watch)
}
