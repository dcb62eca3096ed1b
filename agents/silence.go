package agents

import (
	"context"
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

// keepAlive sends silence to the phones of all who do not talk, until ctx ends.
func (r *Registry) keepAlive(ctx context.Context) {
	tick := time.NewTicker(silenceEvery)
	defer tick.Stop()
	var quiet []telephony.Leg
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		quiet = r.quiet(quiet[:0])
		for _, leg := range quiet {
			if err := leg.WriteFrame(telephony.Frame{}); err != nil {
				r.log.Debug("silence could not be sent to an agent's phone", "err", err)
			}
		}
		clear(quiet) // keeps no leg that has ended
	}
}

// quiet appends the phones to which nobody else writes: in a talk the person's
// voice keeps them alive. A frame of silence that was on its way at the begin of
// a talk is lost in it: 20 ms, and none when the legs are relayed.
func (r *Registry) quiet(legs []telephony.Leg) []telephony.Leg {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.sessions {
		if s.state != Talking && s.state != LoggedOut && s.phone() {
			legs = append(legs, s.leg)
		}
	}
	return legs
}
