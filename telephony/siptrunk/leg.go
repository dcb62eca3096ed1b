package siptrunk

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"

	"dialer/telephony"
	"dialer/telephony/media"
)

// A Leg is one answered call.
type Leg struct {
	e       *Endpoint
	d       *dialog
	session *media.Session
	log     *slog.Logger
	release func() // gives the channel back

	answeredAt time.Time
	done       chan struct{}
	timer      sessionTimer
	asking     chan struct{} // held by the one exchange of ours at a time

	// liveSince is when RTP was last expected to begin, Unix nanoseconds: the
	// answer or the end of a hold; 0 while on hold.
	liveSince atomic.Int64

	mu        sync.Mutex
	info      telephony.Info
	sdp       *media.Negotiation
	direction string    // what we do with audio: sendrecv, or sendonly while it holds
	offering  bool      // our own re-INVITE or UPDATE is in flight
	answering *answer   // the re-INVITE whose ACK is awaited
	transfer  *transfer // our REFER that is not decided
	probed    time.Time // when a held far end was last asked whether it is there
	ended     bool
	leave     []func() // take the far end off the list of known hosts
}

var (
	_ telephony.Leg       = (*Leg)(nil)
	_ telephony.Relayer   = (*Leg)(nil)
	_ telephony.Arriver   = (*Leg)(nil)
	_ telephony.KeySender = (*Leg)(nil)
	_ telephony.Holder    = (*Leg)(nil)
	_ telephony.Referrer  = (*Leg)(nil)
)

// newLeg makes the leg of an answered call; supervise looks after it from now on.
func (e *Endpoint) newLeg(c *call, d *dialog, remote media.Remote, res *sip.Response, at time.Time) *Leg {
	l := &Leg{
		e: e, d: d, session: c.session, log: c.log, sdp: c.sdp, release: c.slot.release,
		answeredAt: at, direction: media.SendRecv,
		asking: make(chan struct{}, 1),
		done:   make(chan struct{}),
		info: telephony.Info{
			Call: c.id, Trunk: c.peer.trunk,
			PlacedAt: c.placedAt, RingingAt: c.ringingAt, AnsweredAt: at, Attestation: c.attestation,
		},
	}
	l.timer.init(res, c.retries.least)
	l.live(remote, at)
	d.onMove(l.admit)
	l.admit()
	e.mu.Lock()
	e.dialogs[dialogKey(d.callID, d.localTag)] = l
	e.mu.Unlock()
	if e.work.over() {
		l.Hangup(telephony.CauseCancelled)
	}
	return l
}

func dialogKey(callID, localTag string) string { return callID + "\x00" + localTag }

// admit lets the guard pass what the far end sends from where it is now.
func (l *Leg) admit() {
	var leave []func()
	for _, host := range l.d.hosts() {
		leave = append(leave, l.e.sock.peers.add(host))
	}
	l.mu.Lock()
	if !l.ended {
		l.leave, leave = leave, l.leave
	}
	l.mu.Unlock()
	for _, f := range leave {
		f()
	}
}

// live notes whether RTP is to be expected from now on.
func (l *Leg) live(r media.Remote, now time.Time) {
	if !r.Send || !r.Receive {
		l.liveSince.Store(0)
		return
	}
	l.liveSince.CompareAndSwap(0, now.UnixNano())
}

// supervise looks after every leg until ctx ends: one goroutine for all of them.
func (e *Endpoint) supervise(ctx context.Context) {
	tick := time.NewTicker(min(time.Second, e.cfg.MediaTimeout/4))
	defer tick.Stop()
	var legs []*Leg
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			e.mu.Lock()
			legs = slices.AppendSeq(legs[:0], maps.Values(e.dialogs))
			e.mu.Unlock()
			for _, l := range legs {
				l.check(now)
			}
			clear(legs)
		}
	}
}

// check hangs up a leg whose media or time has run out, and keeps its session
// timer.
func (l *Leg) check(now time.Time) {
	defer l.e.survive("a leg")
	longest := l.e.cfg.MaxCall
	switch {
	case l.silent(now):
		l.end(telephony.Network, telephony.CauseMediaLost, 0, "no RTP", true)
	case longest > 0 && !l.d.peer.phone() && now.Sub(l.answeredAt) >= longest:
		l.end(telephony.Caller, telephony.CauseNormal, 0, "the longest call was reached", true)
	default:
		l.keepSession(now)
		l.keepHeld(now)
	}
}

func (l *Leg) silent(now time.Time) bool {
	since := l.liveSince.Load()
	if since == 0 {
		return false
	}
	idle := min(l.session.Idle(), now.Sub(time.Unix(0, since)))
	return idle > l.e.cfg.MediaTimeout
}

// ReadFrame returns the next 20 ms heard.
func (l *Leg) ReadFrame(ctx context.Context) (telephony.Frame, error) {
	return l.session.ReadFrame(ctx)
}

// WriteFrame sends 20 ms.
func (l *Leg) WriteFrame(f telephony.Frame) error { return l.session.WriteFrame(f) }

// Digits delivers key presses, by RTP (RFC 4733) and by INFO.
func (l *Leg) Digits() <-chan telephony.Digit { return l.session.Digits() }

// Tap hears what ReadFrame hears and what is sent.
func (l *Leg) Tap(f func(fr telephony.Frame, sent bool)) (stop func()) { return l.session.Tap(f) }

// Relay joins both directions with another leg of this package.
func (l *Leg) Relay(to telephony.Leg) (stop func(), ok bool) {
	other, ok := to.(*Leg)
	if !ok {
		return nil, false
	}
	return l.session.Relay(other.session), true
}

// Arrivals makes f hear each packet's audio as it comes, until stop.
func (l *Leg) Arrivals(f func(samples []int16, at time.Duration)) (stop func()) {
	return l.session.Arrivals(f)
}

// Done is closed when either side has hung up.
func (l *Leg) Done() <-chan struct{} { return l.done }

// Info says what is known of the leg.
func (l *Leg) Info() telephony.Info {
	l.mu.Lock()
	defer l.mu.Unlock()
	info := l.info
	select {
	case <-l.done:
	default:
		info.Media = l.session.Stats()
	}
	return info
}

// Dialog returns what EndOrphan needs to end the call from another process.
func (l *Leg) Dialog() []byte {
	l.mu.Lock()
	answered, ended := l.info.AnsweredAt, l.ended
	l.mu.Unlock()
	if ended {
		return nil
	}
	return l.d.save(answered)
}

// Hangup ends the leg.
func (l *Leg) Hangup(cause telephony.Cause) {
	side := telephony.Caller
	if cause == telephony.CauseMediaLost || cause == telephony.CauseUnreachable {
		side = telephony.Network
	}
	l.end(side, cause, 0, "", true)
}

// end ends the leg once. With bye the far end is told; its answer is awaited in
// the background, and the channel counts as used until then.
func (l *Leg) end(by telephony.Side, cause telephony.Cause, q850 int, reason string, bye bool) {
	l.mu.Lock()
	if l.ended {
		l.mu.Unlock()
		return
	}
	l.ended = true
	l.info.EndedAt, l.info.EndedBy = time.Now(), by
	l.info.Cause, l.info.Q850, l.info.Reason = cause, q850, reason
	l.info.SIPStatus = 200
	l.mu.Unlock()
	l.e.goEnd("hanging up", func() {
		// Not in the caller's goroutine: it may be a tap's, which runs inside
		// the session.
		stats := l.session.Stats()
		l.mu.Lock()
		l.info.Media = stats
		l.mu.Unlock()
		close(l.done)
		l.session.Close()
		forget := sync.OnceFunc(l.forget)
		defer forget()
		if bye {
			late := time.AfterFunc(byeWait, forget)
			defer late.Stop()
			l.e.sendBye(l.d, cause)
		}
	})
}

// forget takes the leg off the endpoint's lists and gives its channel back.
func (l *Leg) forget() {
	l.e.mu.Lock()
	delete(l.e.dialogs, dialogKey(l.d.callID, l.d.localTag))
	l.e.mu.Unlock()
	l.mu.Lock()
	leave := l.leave
	l.leave = nil
	l.mu.Unlock()
	for _, f := range leave {
		f()
	}
	l.release()
}

// byeWait is how long a leg's channel counts as used while its BYE is not
// answered; the BYE itself is repeated for 32 s.
const byeWait = 2 * time.Second

// hangUp sends BYE and waits for the answer, but no longer than wait; the
// transaction goes on without us.
func (e *Endpoint) hangUp(d *dialog, cause telephony.Cause, wait time.Duration) {
	answered := make(chan struct{})
	e.goEnd("a BYE", func() {
		defer close(answered)
		e.sendBye(d, cause)
	})
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-answered:
	case <-t.C:
	}
}

// bye hangs up in the background.
func (e *Endpoint) bye(d *dialog, cause telephony.Cause) {
	e.goEnd("a BYE", func() { e.sendBye(d, cause) })
}

func (e *Endpoint) sendBye(d *dialog, cause telephony.Cause) {
	req := d.build(sip.BYE, 0)
	for _, host := range d.hosts() {
		defer e.sock.peers.add(host)()
	}
	req.AppendHeader(reasonHeader(cause))
	res, err := d.do(context.Background(), req)
	switch call := string(callOf(d.callID)); {
	case err != nil:
		e.log.Warn("BYE was not answered", "trunk", d.peer.name, "call", call, "err", err)
	case !res.IsSuccess() && res.StatusCode != 481:
		e.log.Warn("BYE was refused", "trunk", d.peer.name, "call", call, "status", res.StatusCode)
	}
}
