package siptrunk

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"dialer"
	"dialer/telephony"
)

// A placing is one Dial: the peers that were asked, and those still to be asked,
// in order. It is used by Dial's goroutine and, while that one waits for a call,
// by the call's.
type placing struct {
	e     *Endpoint
	ctx   context.Context
	inv   telephony.Invite
	watch *trial // nil but for a test call

	trunks  []dialer.TrunkID // not yet looked at
	line    *line
	cfg     telephony.Trunk
	slot    *slot // of line, while its targets are tried
	targets []target

	asked   int
	first   time.Time // the first INVITE
	tries   []telephony.Try
	refused []string // why trunks and targets were passed over
	secured *turn    // by a call that has given its peer up

	inCall bool            // a call is asking, which must not wait for DNS
	later  <-chan struct{} // closed when the trunk that it stopped at was looked up
}

// A turn is the right to send an INVITE to one target, at a given time.
type turn struct {
	line   *line
	cfg    telephony.Trunk
	slot   *slot // shared: the call's own
	target target
	peer   peer
	at     time.Time
}

// Dial calls a number over a trunk and blocks until it is answered. A call that
// is not answered returns a *telephony.DialError.
//
// RingTimeout runs from the INVITE and again in full from the first 18x.
//
// A peer that does not take the call is followed by the next: the other
// addresses of the trunk, in the order of DNS and settings, then the trunks of
// inv.Backups. That is one which stays silent for NoResponse, whose connection
// fails, or which refuses for itself and not for the person (see failsOver), and
// only while nothing has rung: one person never has two calls at once. What a
// peer that was given up sends after all is answered with CANCEL, or with ACK
// and BYE and told to OnGhost; its INVITE is not repeated any more.
//
// When no other peer is left, giving up is not returning: Dial waits for the last
// peer's final word, at most until the transaction ends (32 s after an INVITE
// that nobody heard, 40 s after a CANCEL), so that its result is complete and
// the caller does not take a number for free that may still ring.
func (e *Endpoint) Dial(ctx context.Context, inv telephony.Invite) (telephony.Leg, error) {
	return e.dial(ctx, nil, inv)
}

// dial is Dial; watch, which may be nil, is told what happens.
func (e *Endpoint) dial(ctx context.Context, watch *trial, inv telephony.Invite) (telephony.Leg, error) {
	if why := refuse(inv); why != "" {
		return nil, notSent("%s", why)
	}
	d := &placing{e: e, ctx: ctx, inv: inv, watch: watch, trunks: trunksOf(inv)}
	defer d.leave()
	defer d.release()
	var last *telephony.DialError
	for last == nil || d.failsOver(last) {
		t := d.secured
		if d.secured = nil; t == nil {
			t = d.next()
		}
		if t == nil {
			break
		}
		leg, err := d.place(t, last)
		if err == nil {
			return leg, nil
		}
		if err.Cause == telephony.CauseNotSent && last != nil {
			// This one was not sent, but those before it were.
			if ctx.Err() != nil {
				err.Cause, last = telephony.CauseCancelled, err
			}
			break
		}
		last = err
	}
	if last == nil {
		last = notSent("%s", strings.Join(d.refused[:min(len(d.refused), 4)], "; "))
	}
	last.Tries = d.tries
	if !d.first.IsZero() {
		last.PlacedAt = d.first
	}
	return nil, last
}

// trunksOf are the trunks that may be asked, each once, in order.
func trunksOf(inv telephony.Invite) []dialer.TrunkID {
	var all []dialer.TrunkID
	for _, id := range append([]dialer.TrunkID{inv.Trunk}, inv.Backups...) {
		if !slices.Contains(all, id) {
			all = append(all, id)
		}
	}
	return all
}

// next returns the next peer that takes the call, nil when there is none.
func (d *placing) next() *turn {
	for {
		if t := d.nextTarget(); t != nil {
			return t
		}
		d.leave()
		if len(d.trunks) > 0 && d.inCall {
			if d.later = d.e.findOut(d.ctx, d.trunks[0]); d.later != nil {
				return nil
			}
		}
		if len(d.trunks) == 0 || d.ctx.Err() != nil {
			if d.ctx.Err() != nil && d.asked == 0 {
				d.refused = append(d.refused, context.Cause(d.ctx).Error())
			}
			return nil
		}
		id := d.trunks[0]
		d.trunks = d.trunks[1:]
		if why := d.enter(id); why != "" {
			if id != d.inv.Trunk {
				why = string(id) + ": " + why
			}
			d.refused = append(d.refused, why)
		}
	}
}

// enter takes a channel of a trunk, or says why there is none.
func (d *placing) enter(id dialer.TrunkID) (why string) {
	l, draining := d.e.line(id)
	switch {
	case draining:
		return "the dialer is draining"
	case l == nil:
		return fmt.Sprintf("there is no trunk %s", id)
	}
	if why := barred(l.settings(), d.inv); why != "" {
		return why
	}
	if d.cfg, d.slot, why = l.take(time.Now(), d.patience()); why != "" {
		return why
	}
	d.line = l
	if d.asked == 0 && d.inv.OnAdmitted != nil {
		d.inv.OnAdmitted()
		d.inv.OnAdmitted = nil
	}
	var err error
	if d.targets, err = d.e.targets(d.ctx, l); err != nil {
		return err.Error()
	}
	return ""
}

// patience is how long the first INVITE may wait for the trunk's turn: the pacer
// counts with calls that leave at once, and whoever tests a trunk would rather
// wait than try again.
func (d *placing) patience() time.Duration {
	if d.watch != nil {
		return testTurn
	}
	return 0
}

// leave gives the trunk's channel back, as far as Dial has it.
func (d *placing) leave() {
	d.slot.release()
	d.line, d.slot, d.targets = nil, nil, nil
}

// nextTarget returns the trunk's next target that takes calls. The first has the
// turn that came with the channel, each further one waits for its own: a carrier
// counts INVITEs, not calls.
func (d *placing) nextTarget() *turn {
	for len(d.targets) > 0 {
		t := d.targets[0]
		d.targets = d.targets[1:]
		now := time.Now()
		if why := d.line.admits(t, now); why != "" {
			d.refused = append(d.refused, why)
			continue
		}
		p, err := d.e.trunkPeer(d.cfg, t, d.inv)
		if err != nil {
			d.refused = append(d.refused, err.Error())
			continue
		}
		at := d.slot.at
		if n := len(d.tries); n > 0 && d.tries[n-1].Trunk == d.cfg.ID {
			var ok bool
			if at, ok = d.line.again(now, d.e.cfg.NoResponse); !ok {
				d.refused = append(d.refused, fmt.Sprintf("the trunk takes %g calls a second", d.cfg.CPS))
				return nil
			}
		}
		return &turn{line: d.line, cfg: d.cfg, slot: d.slot.share(), target: t, peer: p, at: at}
	}
	return nil
}

// place sends the INVITE of a turn and waits for what comes of it. last is what
// came of the one before.
func (d *placing) place(t *turn, last *telephony.DialError) (*Leg, *telephony.DialError) {
	if wait := time.Until(t.at); wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-d.e.stopping:
		case <-d.ctx.Done():
			t.slot.release()
			return nil, notSent("%s", context.Cause(d.ctx))
		}
	}
	d.asked++
	now := time.Now()
	if d.first.IsZero() {
		d.first = now
	}
	before := len(d.tries)
	if before > 0 {
		d.tries[before-1].Why = why(last)
		d.watch.step("%s was given up: %s", d.tries[before-1].Peer, why(last))
	}
	d.tries = append(d.tries, telephony.Try{Trunk: t.cfg.ID, Peer: t.target.String(), At: now})
	leg, failed := d.e.place(d.ctx, t.peer, d.inv, func(c *call) {
		c.line, c.target, c.slot = t.line, t.target, t.slot
		c.follow, c.watch = d, d.watch
	})
	try := &d.tries[len(d.tries)-1]
	switch {
	case failed == nil:
		try.Status = 200
		leg.mu.Lock()
		leg.info.Tries, leg.info.PlacedAt = d.tries, d.first
		leg.mu.Unlock()
	case failed.Cause == telephony.CauseNotSent:
		if d.tries = d.tries[:before]; before > 0 {
			d.tries[before-1].Why = ""
		}
	default:
		try.Status = failed.SIPStatus
	}
	return leg, failed
}

// secure finds the peer that follows one which stays silent. The call asks it
// before it gives its peer up; see follower.
func (d *placing) secure() (found bool, later <-chan struct{}) {
	if d.secured == nil {
		d.inCall, d.later = true, nil
		d.secured = d.next()
		d.inCall = false
	}
	return d.secured != nil, d.later
}

// release gives back what was secured: the peer may be asked later on.
func (d *placing) release() {
	t := d.secured
	if t == nil {
		return
	}
	d.secured = nil
	t.slot.release()
	if n := len(d.tries); n > 0 && d.tries[n-1].Trunk == t.cfg.ID {
		d.targets = append([]target{t.target}, d.targets...)
		return
	}
	d.leave() // its channel is for calls that use it
	d.trunks = append([]dialer.TrunkID{t.cfg.ID}, d.trunks...)
}

// failsOver reports whether another peer may be asked after a failure: when
// nothing has rung and it was the peer that failed, not the person called.
//
// RFC 3263 4.3 names silence, a failed transport and 503. The other 5xx tell of
// the server that answers (RFC 3261 21.5) and the next may do better, except
// those about the request itself, which it would refuse as well: 501, 505, 513,
// 555 and 580. A 5xx that carries the network's word on the person (Q.850 busy,
// no such number, …) is that word. 4xx and 6xx are about the person or the
// request, 3xx is the trunk's to follow.
func (d *placing) failsOver(err *telephony.DialError) bool {
	if !err.RingingAt.IsZero() || err.Ghost {
		return false
	}
	if err.SIPStatus == 0 {
		return d.secured != nil || err.Cause == telephony.CauseUnreachable
	}
	switch err.SIPStatus {
	case 501, 505, 513, 555, 580:
		return false
	}
	if err.SIPStatus < 500 || err.SIPStatus > 599 {
		return false
	}
	return err.Cause == telephony.CauseCongestion || err.Cause == telephony.CauseFailed || err.Cause == telephony.CauseUnreachable
}

func why(err *telephony.DialError) string {
	if err.SIPStatus != 0 {
		return strings.TrimSpace(fmt.Sprintf("%d %s", err.SIPStatus, err.Reason))
	}
	return err.Reason
}
