package simtrunk

import (
	"context"
	"slices"
	"sync"
	"time"

	"dialer"
	"dialer/telephony"
)

// Stations are agents' phones in memory. Every extension has one, switched on.
// It is a telephony.Stations.
type Stations struct {
	mu          sync.Mutex
	answerAfter time.Duration
	hears       func(extension string, f telephony.Frame)
	off         map[string]bool
	up          map[string]*leg
	talks       []Talk
	open        map[string][]*leg // people a phone is relayed to
	inTwo       int
}

// A Talk is a time in which a phone's leg was relayed to a called person's.
type Talk struct {
	Extension string
	Call      dialer.CallID
	From, To  time.Time // To is zero while it goes on
}

// NewStations returns phones that answer at once.
func NewStations() *Stations {
	return &Stations{off: map[string]bool{}, up: map[string]*leg{}, open: map[string][]*leg{}}
}

// AnswerAfter sets how long phones ring.
func (s *Stations) AnswerAfter(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answerAfter = d
}

// Hear makes f hear each frame sent to a phone that is rung from now on. It
// must not block.
func (s *Stations) Hear(f func(extension string, fr telephony.Frame)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hears = f
}

// SwitchOff makes a phone unreachable; its leg, if up, is lost.
func (s *Stations) SwitchOff(extension string) {
	s.mu.Lock()
	s.off[extension] = true
	l := s.up[extension]
	s.mu.Unlock()
	if l != nil {
		l.end(telephony.Network, telephony.CauseMediaLost)
	}
}

// SwitchOn makes it reachable again.
func (s *Stations) SwitchOn(extension string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.off, extension)
}

// Hangup makes the agent hang the phone up.
func (s *Stations) Hangup(extension string) {
	s.mu.Lock()
	l := s.up[extension]
	s.mu.Unlock()
	if l != nil {
		l.end(telephony.Callee, telephony.CauseNormal)
	}
}

// Up returns how many phones have their leg up.
func (s *Stations) Up() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.up)
}

// Talks returns every talk so far, in the order of their beginning.
func (s *Stations) Talks() []Talk {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.talks)
}

// InTwoCalls returns how often a phone was given a second person while the
// first was still there. It must be 0.
func (s *Stations) InTwoCalls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inTwo
}

// name is the phone that a station means: its URI where it has one.
func name(st telephony.Station) string {
	if st.URI != "" {
		return st.URI
	}
	return st.Extension
}

// Reachable implements telephony.Stations.
func (s *Stations) Reachable(st telephony.Station) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.off[name(st)]
}

// Ring implements telephony.Stations. A phone that is in a call is busy.
func (s *Stations) Ring(ctx context.Context, st telephony.Station) (telephony.Leg, error) {
	phone := name(st)
	s.mu.Lock()
	wait := s.answerAfter
	s.mu.Unlock()
	placed := time.Now()
	fail := func(cause telephony.Cause, status int, reason string) error {
		return &telephony.DialError{Cause: cause, SIPStatus: status, Reason: reason, PlacedAt: placed, EndedAt: time.Now()}
	}
	if !sleep(ctx, wait) {
		return nil, fail(telephony.CauseCancelled, 487, "Request Terminated")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.off[phone]:
		return nil, fail(telephony.CauseUnreachable, 480, "Temporarily Unavailable")
	case s.up[phone] != nil:
		return nil, fail(telephony.CauseBusy, 486, "Busy Here")
	}
	var hears func(telephony.Frame)
	if h := s.hears; h != nil {
		hears = func(f telephony.Frame) { h(phone, f) }
	}
	l := newLeg(telephony.Info{PlacedAt: placed, RingingAt: placed, AnsweredAt: time.Now(), SIPStatus: 200, Reason: "OK"}, nil, hears)
	l.station = phone
	l.onTalk = func(other *leg) { s.begin(phone, other) }
	l.onPart = func(other *leg) { s.finish(phone, other) }
	l.onEnd = func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.up[phone] == l {
			delete(s.up, phone)
		}
	}
	s.up[phone] = l
	return l, nil
}

func (s *Stations) begin(phone string, other *leg) {
	if other.station != "" {
		return // two agents talk with each other
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.ContainsFunc(s.open[phone], (*leg).alive) {
		s.inTwo++
	}
	s.open[phone] = append(s.open[phone], other)
	s.talks = append(s.talks, Talk{Extension: phone, Call: other.info.Call, From: time.Now()})
}

func (s *Stations) finish(phone string, other *leg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[phone] = slices.DeleteFunc(s.open[phone], func(l *leg) bool { return l == other })
	for i := len(s.talks) - 1; i >= 0; i-- {
		if t := &s.talks[i]; t.Extension == phone && t.Call == other.info.Call && t.To.IsZero() {
			t.To = time.Now()
			return
		}
	}
}
