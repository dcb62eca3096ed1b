package agents

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"dialer"
	"dialer/telephony"
)

// A Session is an agent's shift, from login to logout. Its fields are guarded
// by the registry's mutex.
type Session struct {
	r      *Registry
	ctx    context.Context // ends with the session
	cancel context.CancelFunc

	agent   Agent
	state   State
	since   time.Time // begin of this state
	until   time.Time // end of its longest stay; zero when it has none
	reason  string
	version int
	// idle is when the agent last became Ready after a call or a pause. A
	// reservation that came to nothing does not change it.
	idle time.Time

	// asked is where the agent goes after the call.
	asked       State
	askedReason string

	leg   telephony.Leg // nil while the phone is lost
	lost  time.Time     // when it was
	hurry chan struct{} // the agent is there: ring now; room for one
	res   *reservation  // the call the agent is held for

	// The last disposition, so that the same said again is no mistake.
	disposed     dialer.CallID
	disposedWith Disposition

	desktop *Desktop  // nil while no desktop is attached
	left    time.Time // when the last desktop went, or the login
	watches map[*watch]struct{}
	seq     int64
}

func newSession(r *Registry, a Agent) *Session {
	ctx, cancel := context.WithCancel(context.Background())
	return &Session{
		r: r, ctx: ctx, cancel: cancel, agent: a,
		state: LoggedOut, since: time.Now(), left: time.Now(),
		watches: map[*watch]struct{}{}, hurry: make(chan struct{}, 1),
	}
}

// begin makes the agent NotReady once the phone is answered; ringing is how the
// ringing ended.
func (s *Session) begin(leg telephony.Leg, ringing error) error {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	if s.ctx.Err() != nil {
		ringing = errClosing
	}
	if ringing != nil {
		s.cancel()
		delete(s.r.sessions, s.agent.ID)
		return ringing
	}
	s.leg, s.left = leg, time.Now()
	s.join(s.agent.Campaigns)
	s.move(NotReady, "logged in")
	return nil
}

// Done is closed when the agent is logged out.
func (s *Session) Done() <-chan struct{} { return s.ctx.Done() }

// Agent returns who is logged in.
func (s *Session) Agent() Agent {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	return s.agent
}

// available reports whether the agent can be given a call now. An agent whose
// desktop is gone for a moment keeps their state but would not see the lead.
func (s *Session) available() bool {
	return s.state == Ready && s.phone() && s.desktop != nil
}

// phone reports whether the phone is up. A leg may have ended this instant,
// before the session's goroutine has seen it.
func (s *Session) phone() bool {
	if s.leg == nil {
		return false
	}
	select {
	case <-s.leg.Done():
		return false
	default:
		return true
	}
}

// move changes the state and tells everybody. The caller sees to it that the
// table allows the move; one that it does not allow is logged and not made.
func (s *Session) move(to State, reason string) {
	from := s.state
	if !CanMove(from, to) {
		s.r.log.Error("an agent may not move so: please report this as a bug", "agent", s.agent.ID, "from", from, "to", to, "reason", reason)
		return
	}
	now := time.Now()
	s.state, s.since, s.until, s.reason = to, now, time.Time{}, reason
	s.version++
	var call dialer.CallID
	if s.res != nil {
		call = s.res.call
	}
	switch to {
	case Ready:
		if from != Reserved {
			s.idle = now
		}
	case Reserved:
		s.until = now.Add(s.r.cfg.MaxReserved)
	case Talking:
		s.until = now.Add(s.r.cfg.MaxTalk)
	case WrapUp:
		s.until = now.Add(s.r.cfg.MaxWrapUp)
	case NotReady, LoggedOut:
	}
	if s.r.cfg.Saver != nil {
		s.r.cfg.Saver.SaveAgentState(s.agent.ID, from, to, s.version, reason, call)
	}
	s.r.log.Debug("agent moved", "agent", s.agent.ID, "from", from, "to", to, "reason", reason, "call", call)
	s.publish(Message{Kind: StateChanged, From: from, State: to, Reason: reason, Call: call, Until: s.until})
	s.r.plan(s.due())
	s.changed()
}

// due is when expire has something to do; zero means never.
func (s *Session) due() time.Time {
	due := s.until
	if s.desktop == nil && (s.state == Ready || s.state == Reserved) {
		if end := s.left.Add(s.r.cfg.DesktopGrace); due.IsZero() || end.Before(due) {
			due = end
		}
	}
	if end := s.forgotten(); !end.IsZero() && (due.IsZero() || end.Before(due)) {
		due = end
	}
	return due
}

// forgotten is when an agent who went home without a logout is logged out: one
// with neither phone nor desktop and no call; zero means not at all.
func (s *Session) forgotten() time.Time {
	if s.state != NotReady || s.leg != nil || s.desktop != nil {
		return time.Time{}
	}
	since := s.lost
	if s.left.After(since) {
		since = s.left
	}
	return since.Add(s.r.cfg.Forgotten)
}

// expire ends what is over: the stay without a desktop, or in a state.
func (s *Session) expire(now time.Time) {
	if end := s.forgotten(); !end.IsZero() && !end.After(now) {
		s.r.log.Info("an agent has neither phone nor desktop any more: logged out", "agent", s.agent.ID)
		s.end(reasonForgotten)
		return
	}
	if s.deserted(now) {
		switch s.state {
		case Ready:
			s.move(NotReady, reasonDesktop)
		case Reserved:
			s.res.leave()
			s.free(reasonDesktop)
		}
	}
	if s.until.IsZero() || s.until.After(now) {
		return
	}
	switch s.state {
	case Reserved:
		s.r.log.Warn("no call came of a reservation: agent freed", "agent", s.agent.ID, "call", s.res.call)
		s.res.leave()
		s.free("reserved too long")
	case Talking:
		s.r.log.Warn("the longest talk is over: call ended", "agent", s.agent.ID, "call", s.res.call)
		s.res.hangup()
		s.endTalk("talked too long")
	case WrapUp:
		s.free("wrap-up limit")
	case LoggedOut, NotReady, Ready:
	}
	s.r.match(s)
}

// Reasons that the registry itself gives.
const (
	reasonPhone     = "phone gone"
	reasonDesktop   = "desktop gone"
	reasonForgotten = "phone and desktop gone"
)

// deserted reports whether the agent is without a desktop for too long.
func (s *Session) deserted(now time.Time) bool {
	return s.desktop == nil && !now.Before(s.left.Add(s.r.cfg.DesktopGrace))
}

// endTalk moves from Talking to WrapUp.
func (s *Session) endTalk(reason string) {
	s.move(WrapUp, reason)
	s.publish(Message{Kind: CallEnded, Call: s.res.call, Reason: reason, Until: s.until})
}

// free ends the reservation, wherever the call is, and sends the agent where
// they asked to be: Ready, unless they said otherwise or cannot take a call.
func (s *Session) free(reason string) {
	if s.state == Talking {
		s.endTalk(reason)
	}
	to := Ready
	switch {
	case !s.phone():
		to, reason = NotReady, reasonPhone
	case s.asked == NotReady:
		to, reason = NotReady, s.askedReason
	case s.deserted(time.Now()):
		to, reason = NotReady, reasonDesktop
	}
	s.move(to, reason)
	s.asked, s.askedReason = "", ""
	res := s.res
	s.res = nil
	res.spend()
}

// end logs the agent out, whatever they do.
func (s *Session) end(reason string) {
	if s.res != nil {
		s.res.hangup()
		s.res.leave()
		s.asked, s.askedReason = NotReady, reason
		s.free(reason)
	}
	if s.state != LoggedOut { // else the phone still rings for the first time
		s.move(LoggedOut, reason)
		delete(s.r.sessions, s.agent.ID)
		s.join(nil)
	}
	s.desktop = nil
	for w := range s.watches {
		s.drop(w)
	}
	s.cancel()
}

func (s *Session) update(a Agent) {
	s.agent.Name, s.agent.Extension, s.agent.URI = a.Name, a.Extension, a.URI
	s.join(a.Campaigns)
	s.r.match(s)
}

// station is the agent's phone.
func (s *Session) station() telephony.Station {
	a := s.Agent()
	return telephony.Station{Extension: a.Extension, URI: a.URI}
}

// ring calls the agent's phone once.
func (s *Session) ring(ctx context.Context) (telephony.Leg, error) {
	station := s.station()
	phone := station.Extension
	if station.URI != "" {
		phone = station.URI
	}
	if !s.r.cfg.Stations.Reachable(station) {
		return nil, dialer.Errorf(dialer.Unavailable, "phone %s is not registered: switch it on, check its account and log in again", phone)
	}
	ctx, cancel := context.WithTimeout(ctx, s.r.cfg.RingFor)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)() // a logout stops the ringing
	leg, err := s.r.cfg.Stations.Ring(ctx, station)
	if err == nil {
		return leg, nil
	}
	var de *telephony.DialError
	if errors.As(err, &de) || errors.Is(err, context.DeadlineExceeded) {
		return nil, dialer.Errorf(dialer.Unavailable, "phone %s did not answer (%v): answer it to log in", phone, err)
	}
	return nil, fmt.Errorf("agents: ring %s: %w", phone, err)
}

// keepPhone watches the phone's leg and rings again when it is lost, until the
// session ends. It is the session's goroutine.
func (s *Session) keepPhone(leg telephony.Leg) {
	pause := s.r.cfg.RingAgain
	for {
		up := time.Now()
		select {
		case <-leg.Done():
		case <-s.ctx.Done():
		}
		if s.ctx.Err() != nil {
			leg.Hangup(telephony.CauseNormal)
			return
		}
		if time.Since(up) >= s.r.cfg.RingSeldom { // else it was no real answer
			pause = s.r.cfg.RingAgain
		}
		s.phoneLost(leg)
		leg, pause = s.ringAgain(pause)
		if leg == nil {
			return
		}
		if !s.phoneBack(leg) {
			leg.Hangup(telephony.CauseNormal)
			return
		}
	}
}

// ringAgain rings until the phone is answered or the session ends, ever less
// often: a phone hung up for the night is left in peace. One that is switched
// off is looked for at the usual pace, which nobody hears. It returns the pause
// before the ring after that.
func (s *Session) ringAgain(pause time.Duration) (telephony.Leg, time.Duration) {
	wait := time.NewTimer(pause)
	defer wait.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return nil, 0
		case <-wait.C:
			pause = min(2*pause, s.r.cfg.RingSeldom)
		case <-s.hurry:
			pause = s.r.cfg.RingAgain
		}
		if !s.r.cfg.Stations.Reachable(s.station()) {
			pause = s.r.cfg.RingAgain
			wait.Reset(pause)
			continue
		}
		leg, err := s.ring(s.ctx)
		if err == nil {
			return leg, pause
		}
		s.r.log.Debug("an agent's phone is still lost", "agent", s.agent.ID, "err", err)
		wait.Reset(pause)
	}
}

// ringNow makes a lost phone ring without more ado, for the agent is there.
func (s *Session) ringNow() {
	if s.leg != nil {
		return
	}
	select {
	case s.hurry <- struct{}{}:
	default:
	}
}

func (s *Session) phoneLost(leg telephony.Leg) {
	r := s.r
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.state == LoggedOut {
		return
	}
	s.leg, s.lost = nil, time.Now()
	info := leg.Info()
	r.log.Info("an agent's phone is lost", "agent", s.agent.ID, "ended_by", info.EndedBy, "cause", info.Cause)
	if s.res != nil {
		s.res.leave()
		s.asked, s.askedReason = NotReady, reasonPhone
	}
	switch s.state {
	case Ready:
		s.move(NotReady, reasonPhone)
	case Reserved:
		s.free(reasonPhone)
	case Talking: // whoever holds the reservation has the person
		s.endTalk(reasonPhone)
	case NotReady, WrapUp, LoggedOut:
	}
	s.r.plan(s.due())
	s.publish(Message{Kind: Notice, Reason: "Your phone hung up. It is being called again: answer it and set yourself Ready."})
}

// phoneBack reports whether the session still wants the phone.
func (s *Session) phoneBack(leg telephony.Leg) bool {
	r := s.r
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.state == LoggedOut {
		return false
	}
	s.leg = leg
	select {
	case <-s.hurry: // it is about the ringing that is over
	default:
	}
	s.publish(Message{Kind: Notice, Reason: "Your phone is connected again."})
	return true
}

// join makes the agent a member of exactly these campaigns.
func (s *Session) join(campaigns []dialer.CampaignID) {
	s.changed()
	for _, id := range s.agent.Campaigns {
		if p := s.r.pool(id); !slices.Contains(campaigns, id) {
			p.members = slices.DeleteFunc(p.members, func(m *Session) bool { return m == s })
		}
	}
	s.agent.Campaigns = slices.Clone(campaigns)
	for _, id := range campaigns {
		if p := s.r.pool(id); !slices.Contains(p.members, s) {
			p.members = append(p.members, s)
		}
	}
	s.changed()
}

// changed signals every campaign of the agent.
func (s *Session) changed() {
	for _, id := range s.agent.Campaigns {
		s.r.pool(id).signal()
	}
}
