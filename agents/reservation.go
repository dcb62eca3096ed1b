package agents

import (
	"context"
	"errors"
	"math"
	"time"

	"dialer"
	"dialer/telephony"
)

// ErrGone says that a reservation has no agent any more: their phone or
// session ended, or the reservation was released.
var ErrGone = errors.New("agents: the agent is gone")

// A reservation implements Reservation. Its fields are guarded by the
// registry's mutex; the session's res points to it until it is spent.
type reservation struct {
	s     *Session
	agent Agent
	call  dialer.CallID
	leg   telephony.Leg

	pop        any
	previewing bool      // the agent is asked
	previewed  bool      // the agent said to dial
	decideBy   time.Time // zero: no limit
	answer     chan bool // the agent's word on the preview

	machine               bool // the detector hears one
	hung, left, said      bool // their channels are closed
	hangupRequested, gone chan struct{}
	machineSaid           chan struct{}
	spent                 chan struct{} // closed when the agent is free again
	disposition           Disposition   // set before spent is closed
	disposed              bool          // there is one
	wrapping              bool          // the holder waits for it
}

func newReservation(s *Session, call dialer.CallID) *reservation {
	return &reservation{
		s: s, agent: s.agent, call: call, leg: s.leg,
		answer:          make(chan bool, 1),
		hangupRequested: make(chan struct{}),
		gone:            make(chan struct{}),
		machineSaid:     make(chan struct{}),
		spent:           make(chan struct{}),
	}
}

func (v *reservation) Agent() Agent                     { return v.agent }
func (v *reservation) Leg() telephony.Leg               { return v.leg }
func (v *reservation) HangupRequested() <-chan struct{} { return v.hangupRequested }
func (v *reservation) Gone() <-chan struct{}            { return v.gone }
func (v *reservation) MachineSaid() <-chan struct{}     { return v.machineSaid }

func (v *reservation) TellMachine(reason string) {
	v.s.r.mu.Lock()
	defer v.s.r.mu.Unlock()
	if v.held() && !v.machine {
		v.machine = true
		v.s.publish(Message{Kind: MachineHeard, Call: v.call, Reason: reason})
	}
}

// held reports whether the reservation still has its agent.
func (v *reservation) held() bool { return v.s.res == v }

// hangup tells the holder that the agent wants the call to end.
func (v *reservation) hangup() {
	if !v.hung {
		v.hung = true
		close(v.hangupRequested)
	}
}

// leave tells the holder that the agent cannot go on.
func (v *reservation) leave() {
	if !v.left {
		v.left = true
		close(v.gone)
	}
}

func (v *reservation) spend() { close(v.spent) }

func (v *reservation) Offer(pop any) {
	v.s.r.mu.Lock()
	defer v.s.r.mu.Unlock()
	if v.held() {
		v.pop = pop
		v.s.publish(Message{Kind: Offer, Call: v.call, Pop: pop})
	}
}

func (v *reservation) Preview(ctx context.Context) (dial bool, err error) {
	r := v.s.r
	r.mu.Lock()
	if !v.held() || v.left {
		r.mu.Unlock()
		return false, ErrGone
	}
	v.previewing = true
	v.decideBy, _ = ctx.Deadline()
	v.s.publish(Message{Kind: PreviewAsked, Call: v.call, Until: v.decideBy})
	r.mu.Unlock()

	select {
	case dial = <-v.answer:
		return dial, nil
	case <-v.gone:
		err = ErrGone
	case <-v.spent:
		err = ErrGone
	case <-ctx.Done():
		err = ctx.Err()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	v.previewing = false
	select {
	case dial = <-v.answer: // said in the same instant
		if v.held() && !v.left {
			return dial, nil
		}
	default:
	}
	return false, err
}

func (v *reservation) Talk() error {
	r := v.s.r
	r.mu.Lock()
	if !v.held() || v.left || v.s.state != Reserved || !v.s.phone() {
		r.mu.Unlock()
		return ErrGone
	}
	v.s.move(Talking, "connected")
	tone := r.cfg.ConnectTone
	r.mu.Unlock()
	if tone {
		v.beep()
	}
	return nil
}

// beep plays the connect tone, 440 Hz for 200 ms at a quarter of full scale. A
// phone that dies meanwhile is seen by Gone.
func (v *reservation) beep() {
	tone := telephony.Clip{Name: "connect tone", Samples: make([]int16, 1600)}
	for i := range tone.Samples {
		tone.Samples[i] = int16(math.MaxInt16 / 4 * math.Sin(2*math.Pi*440*float64(i)/8000))
	}
	if _, err := telephony.Play(v.s.ctx, v.leg, tone); err != nil {
		v.s.r.log.Debug("the connect tone was cut short", "agent", v.agent.ID, "err", err)
	}
}

func (v *reservation) WrapUp(ctx context.Context, limit time.Duration) (Disposition, bool) {
	s, r := v.s, v.s.r
	r.mu.Lock()
	if !v.held() {
		defer r.mu.Unlock()
		return v.disposition, v.disposed
	}
	switch s.state {
	case Talking:
		s.endTalk("call ended")
	case WrapUp: // by the registry: the phone was lost, or the talk too long
	default: // nothing was said, there is nothing to wrap up
		s.free("call ended")
		r.match(s)
		r.mu.Unlock()
		return Disposition{}, false
	}
	v.wrapping = true
	if end := time.Now().Add(limit); limit > 0 && end.Before(s.until) {
		s.until = end
		s.publish(Message{Kind: WrapUpLimited, Call: v.call, Until: end})
		r.plan(end)
	}
	r.mu.Unlock()

	select {
	case <-v.spent:
	case <-ctx.Done():
		v.Release("call ended")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return v.disposition, v.disposed
}

func (v *reservation) Release(reason string) {
	r := v.s.r
	r.mu.Lock()
	defer r.mu.Unlock()
	if v.held() {
		v.s.free(reason)
		r.match(v.s)
	}
}
