package agents

import (
	"dialer"
	"dialer/telephony"
)

// SetReady makes the agent ready for calls, after the call and its wrap-up if
// there is one. It needs the phone and a desktop.
func (r *Registry) SetReady(agent dialer.AgentID) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, err := r.session(agent)
	if err != nil {
		return err
	}
	if s.state == NotReady || s.state == Ready {
		switch {
		case !s.phone():
			s.ringNow()
			return dialer.Errorf(dialer.Conflict, "your phone is not connected: answer it, then set yourself Ready")
		case s.desktop == nil:
			return dialer.Errorf(dialer.Conflict, "your desktop is not connected: open it, then set yourself Ready")
		}
	}
	switch s.state {
	case NotReady:
		s.move(Ready, "")
		r.match(s)
	case Reserved, Talking, WrapUp:
		s.ask(Ready, "")
	case Ready, LoggedOut:
	}
	return nil
}

// SetNotReady gives the agent a pause, after the call and its wrap-up if there
// is one. For an agent who has a pause already it changes what they and the
// supervisors see as its reason; that is not a move and is not saved.
func (r *Registry) SetNotReady(agent dialer.AgentID, reason string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, err := r.session(agent)
	if err != nil {
		return err
	}
	switch s.state {
	case NotReady:
		s.reason = reason
		s.publish(Message{Kind: StateChanged, From: NotReady, State: NotReady, Reason: reason})
	case Ready:
		s.move(NotReady, reason)
	case Reserved, Talking, WrapUp:
		s.ask(NotReady, reason)
	case LoggedOut:
	}
	return nil
}

// ask remembers where the agent wants to be after the call.
func (s *Session) ask(to State, reason string) {
	s.asked, s.askedReason = to, reason
	s.publish(Message{Kind: Asked, State: to, Reason: reason, Call: s.res.call})
}

// Hangup asks for the end of the agent's call, or of the ringing that follows a
// previewed lead. Asking twice is one.
func (r *Registry) Hangup(agent dialer.AgentID) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, err := r.session(agent)
	if err != nil {
		return err
	}
	if s.state != Talking && (s.state != Reserved || !s.res.previewed) {
		return dialer.Errorf(dialer.Conflict, "there is no call to hang up: you are %s", s.state.words())
	}
	s.res.hangup()
	return nil
}

// Machine says that the agent talks to a machine: it frees them at once, without
// a wrap-up. What the campaign does with machines follows. Saying it twice is one.
func (r *Registry) Machine(agent dialer.AgentID, call dialer.CallID) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, err := r.session(agent)
	if err != nil {
		return err
	}
	if s.state != Talking || s.res.call != call {
		return dialer.Errorf(dialer.Conflict, "there is no talk to leave to a machine: you are %s", s.state.words())
	}
	if !s.res.said {
		s.res.said = true
		close(s.res.machineSaid)
	}
	return nil
}

// Dispose ends the wrap-up of a call with what the agent says of it; then is
// Ready, NotReady, or empty for what the agent asked for before. Saying the
// same again is no mistake; something else, or after the wrap-up limit, is a
// Conflict.
func (r *Registry) Dispose(agent dialer.AgentID, call dialer.CallID, d Disposition, then State) error {
	if then != "" && then != Ready && then != NotReady {
		return dialer.Fieldf("then", "%q is not ready or not_ready", then)
	}
	if d.Code == "" {
		return dialer.Fieldf("code", "is empty: choose a disposition")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s, err := r.session(agent)
	if err != nil {
		return err
	}
	if call != "" && s.disposed == call {
		if s.disposedWith.same(d) {
			return nil
		}
		return dialer.Errorf(dialer.Conflict, "call %s has its disposition already: %s", call, s.disposedWith.Code)
	}
	if s.res == nil || s.res.call != call {
		return dialer.Errorf(dialer.Conflict, "call %s is not yours any more: its wrap-up time is over", call)
	}
	if s.state == WrapUp && !s.res.wrapping {
		// The agent's phone was lost: the person is looked after first, and
		// another agent may be given their call.
		return dialer.Errorf(dialer.Conflict, "call %s is being ended: say it again in a moment", call)
	}
	if !s.res.wrapping {
		return dialer.Errorf(dialer.Conflict, "call %s has not ended: hang up first", call)
	}
	s.res.disposition, s.res.disposed = d, true
	s.disposed, s.disposedWith = call, d
	switch {
	case then == NotReady && s.asked != NotReady:
		s.asked, s.askedReason = NotReady, ""
	case then == Ready:
		s.asked = Ready
	}
	s.free("disposed")
	r.match(s)
	return nil
}

func (d Disposition) same(e Disposition) bool {
	return d.Code == e.Code && d.Note == e.Note && d.Own == e.Own && d.Callback.Equal(e.Callback)
}

// PreviewDial says that the lead shown is to be dialed.
func (r *Registry) PreviewDial(agent dialer.AgentID, call dialer.CallID) error {
	return r.preview(agent, call, true)
}

// PreviewSkip says that the lead shown is not to be dialed.
func (r *Registry) PreviewSkip(agent dialer.AgentID, call dialer.CallID) error {
	return r.preview(agent, call, false)
}

func (r *Registry) preview(agent dialer.AgentID, call dialer.CallID, dial bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, err := r.session(agent)
	if err != nil {
		return err
	}
	v := s.res
	if v == nil || v.call != call || !v.previewing {
		return dialer.Errorf(dialer.Conflict, "there is no lead to preview for call %s: it was decided, or the time for it is over", call)
	}
	v.previewing, v.previewed = false, dial
	v.answer <- dial // has room: previewing is true once for each answer
	return nil
}

// Logout ends the session and hangs up the phone. While a call is coming or up
// it is a Conflict, unless forced: then the call ends with it.
func (r *Registry) Logout(agent dialer.AgentID, force bool) error {
	r.mu.Lock()
	s, err := r.session(agent)
	if err == nil && !force && (s.state == Reserved || s.state == Talking) {
		err = dialer.Errorf(dialer.Conflict, "you are %s: end the call first, or force the logout", s.state.words())
	}
	if err != nil {
		r.mu.Unlock()
		return err
	}
	reason := "logged out"
	if force {
		reason = "logged out by force"
	}
	leg := s.leg
	s.end(reason)
	r.mu.Unlock()
	if leg != nil { // now, so that the phone is free for the next login
		leg.Hangup(telephony.CauseNormal)
	}
	return nil
}

// words is the state as it stands in a sentence.
func (s State) words() string {
	switch s {
	case LoggedOut:
		return "logged out"
	case NotReady:
		return "not ready"
	case Ready:
		return "ready"
	case Reserved:
		return "reserved for a call"
	case Talking:
		return "in a call"
	case WrapUp:
		return "in wrap-up"
	}
	return string(s)
}
