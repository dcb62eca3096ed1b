package agents

import (
	"time"

	"dialer/telephony"
)

// silenceEvery is the pause between two frames of silence to a phone whose agent
// is not talking. Nothing else is sent then, and phones, NATs and session border
// controllers end a leg without media: RFC 6263 wants a packet at least every
// 15 s, phones with an RTP timeout wait 10 to 60 s. One a second bridges the
// loss of several in a row; the fifty of unbroken audio would cost each idle
// agent the bandwidth and the work of a talk and keep nothing longer alive.
const silenceEvery = time.Second

// holdPhone keeps the phone's leg alive until it ends or the session does.
func (s *Session) holdPhone(leg telephony.Leg) {
	tick := time.NewTicker(silenceEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-leg.Done():
			return
		case <-tick.C:
		}
		if s.talking() { // the person's voice keeps it alive
			continue
		}
		if err := leg.WriteFrame(telephony.Frame{}); err != nil {
			s.r.log.Debug("silence could not be sent to an agent's phone", "agent", s.agent.ID, "err", err)
		}
	}
}

// talking reports whether somebody else writes to the phone. A frame of silence
// that was on its way at the begin of a talk is lost in it: 20 ms, and none when
// the legs are relayed.
func (s *Session) talking() bool {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	return s.state == Talking
}
