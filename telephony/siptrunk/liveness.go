package siptrunk

import (
	"context"
	"time"

	"github.com/emiago/sipgo/sip"

	"dialer/telephony"
)

// probeEvery is how often the far end of a held leg is asked whether the call is
// still up, when there is no session timer: no RTP is missed then, so that a BYE
// that was lost would leave the leg for ever.
const probeEvery = time.Minute

// keepHeld asks the far end when that is due.
func (l *Leg) keepHeld(now time.Time) {
	l.timer.mu.Lock()
	timed := l.timer.interval > 0
	l.timer.mu.Unlock()
	watched := timed || l.liveSince.Load() != 0
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case watched:
		l.probed = time.Time{}
	case l.probed.IsZero():
		l.probed = now
	case now.Sub(l.probed) >= probeEvery:
		l.probed = now
		l.e.goWork("asking a held phone", l.probe)
	}
}

// probe sends OPTIONS. Any answer but one that says that there is no such call is
// good; none ends the leg.
func (l *Leg) probe() {
	ctx, cancel := context.WithTimeout(context.Background(), askWait)
	defer cancel()
	_, _ = l.request(ctx, l.d.build(sip.OPTIONS, 0)) // it ends the leg by itself
	if ctx.Err() != nil {
		l.end(telephony.Network, telephony.CauseUnreachable, 0, "OPTIONS was not answered", true)
	}
}
