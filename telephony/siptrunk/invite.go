package siptrunk

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/emiago/sipgo/sip"

	"dialer"
	"dialer/telephony"
	"dialer/telephony/media"
)

// A call is one INVITE from its sending to the end of its transaction. Its
// goroutine alone decides how it ends, so that of an answer and a reason to
// give up, in whatever order they cross, exactly one wins and the other is
// cleaned up: a 2xx after giving up is ACKed and BYEd and told as a ghost.
type call struct {
	e       *Endpoint
	peer    peer
	id      dialer.CallID
	log     *slog.Logger
	session *media.Session
	sdp     *media.Negotiation
	ring    time.Duration

	onProgress func(telephony.Progress)
	onAnswer   func(dialog []byte)
	onEarly    func(telephony.Frame)

	// Over a trunk; all zero when a phone is called.
	line      *line // learns what the target answers
	target    target
	slot      *slot       // the channel
	try       int         // which INVITE of its Dial, from 1
	another   func() bool // secures the peer that follows when this one is silent
	abandoned bool        // it follows: nobody waits for this call any more

	invite   *sip.Request
	tx       sip.ClientTransaction
	lost     <-chan struct{} // closed with the connection of tx
	attempts int             // challenges answered

	heard inbox // provisional responses in wire order

	placedAt, ringingAt time.Time
	provisional         bool              // of this transaction
	early               map[string][]byte // SDP of 18x by To tag
	stopEarly           func()
	gaveUp              telephony.Cause // empty while we want the answer
	why                 string
	cancelled           bool
	attestation         string
	pickedUp            bool // a 2xx came; without a leg somebody heard nothing

	result   chan result
	reported bool
	over     chan struct{} // closed when no response is awaited any more

	answers *answers
}

type result struct {
	leg *Leg
	err *telephony.DialError
}

// maxEarly is how many forks' SDP is kept.
const maxEarly = 8

// start sends the INVITE and returns what comes of it, once the transaction is
// decided.
func (c *call) start(ctx context.Context) (*Leg, *telephony.DialError) {
	c.result = make(chan result, 1)
	c.over = make(chan struct{})
	c.early = map[string][]byte{}
	c.answers = &answers{e: c.e, peer: c.peer, acks: map[string]*sip.Request{}}
	c.heard.signal = make(chan struct{}, 1)
	c.placedAt = time.Now()
	if !c.e.goWork("an INVITE", func() { c.run(ctx) }) {
		c.session.Close()
		c.slot.release()
		return nil, notSent("the dialer is shutting down")
	}
	r := <-c.result
	return r.leg, r.err
}

func notSent(format string, args ...any) *telephony.DialError {
	now := time.Now()
	return &telephony.DialError{
		Cause: telephony.CauseNotSent, Reason: fmt.Sprintf(format, args...), PlacedAt: now, EndedAt: now,
	}
}

// run is the INVITE machine.
func (c *call) run(ctx context.Context) {
	admitted := c.e.sock.peers.add(c.peer.addr.Addr())
	defer admitted()
	defer close(c.over)
	leg := false
	defer func() {
		c.forget()
		if !leg {
			c.report(c.failed(telephony.CauseFailed, 0, "the call handler failed", 0))
			c.hush()
			c.session.Close()
			c.slot.release()
		}
	}()

	local := netip.AddrPortFrom(c.peer.ours, c.session.Local().Port())
	c.sdp = media.NewNegotiation(local, c.peer.codecs, c.peer.srtp)
	if err := c.e.reach(ctx, &c.peer); err != nil {
		cause := telephony.CauseUnreachable
		if ctx.Err() != nil {
			cause = telephony.CauseCancelled
		} else {
			c.trunkSilent()
		}
		c.report(c.failed(cause, 0, err.Error(), 0))
		return
	}
	c.answers.peer = c.peer
	c.invite = c.e.newInvite(c.peer, c.e.callID(c.id, c.try), c.sdp.Offer(media.SendRecv))
	c.attested(c.invite)
	if err := c.transact(ctx); err != nil {
		c.trunkSilent()
		c.report(c.failed(telephony.CauseUnreachable, 0, err.Error(), 0))
		return
	}
	ring := time.NewTimer(c.ring)
	defer ring.Stop()
	silent := time.NewTimer(c.e.cfg.NoResponse)
	defer silent.Stop()
	final := time.NewTimer(0)
	defer final.Stop()
	<-final.C
	done, stopping := ctx.Done(), c.e.stopping

	giveUp := func(cause telephony.Cause, why string) {
		if c.gaveUp == "" {
			c.gaveUp, c.why = cause, why
		}
		if c.provisional && !c.cancelled { // never before a provisional, RFC 3261 9.1
			c.cancelled = true
			final.Reset(c.e.finalWait)
			c.cancel()
		}
	}
	provisionals := func() {
		for _, res := range c.heard.take() {
			first := c.ringingAt.IsZero()
			c.provisional = true
			c.trunkSpoke(res.StatusCode)
			func() { // nothing in an SDP may leave the INVITE without its machine
				defer c.e.survive("a provisional response")
				c.progress(res)
			}()
			silent.Stop()
			if first && !c.ringingAt.IsZero() {
				ring.Reset(c.ring) // the person is given the whole time
			}
			if c.gaveUp != "" {
				giveUp(c.gaveUp, c.why)
			}
		}
	}
	for {
		select {
		case <-c.heard.signal:
			provisionals()
		case res := <-c.tx.Responses():
			provisionals() // those that came before it on the wire
			if res.IsProvisional() {
				continue // heard by the guard, in order
			}
			c.trunkSpoke(res.StatusCode)
			if isChallenge(res) && c.gaveUp == "" && c.retry(ctx, res) {
				c.provisional = false
				silent.Reset(c.e.cfg.NoResponse)
				continue
			}
			leg = c.decide(res)
			return
		case <-silent.C:
			if c.provisional {
				continue
			}
			c.trunkSilent()
			wanted := c.gaveUp == ""
			giveUp(telephony.CauseUnreachable, "no response")
			if wanted {
				c.abandon()
			}
		case <-ring.C:
			giveUp(telephony.CauseNoAnswer, "rang out")
		case <-done:
			done = nil
			giveUp(telephony.CauseCancelled, context.Cause(ctx).Error())
		case <-stopping:
			stopping = nil
			giveUp(telephony.CauseCancelled, "the dialer is shutting down")
		case <-final.C:
			c.tx.Terminate()
			c.report(c.failed(c.gaveUp, 0, c.why+"; CANCEL was not answered", 0))
			return
		case <-c.lost:
			c.lost = nil
			if c.provisional {
				continue // the far end answers over a connection of its own
			}
			c.tx.Terminate() // an answer that comes all the same is a stray one
			c.trunkSilent()
			c.report(c.failed(cmp.Or(c.gaveUp, telephony.CauseUnreachable), 0, cmp.Or(c.why, "the connection to the peer was lost"), 0))
			return
		case <-c.tx.Done():
			if c.gaveUp == "" && !c.provisional {
				c.trunkSilent()
			}
			cause := cmp.Or(c.gaveUp, telephony.CauseUnreachable)
			c.report(c.failed(cause, 0, cmp.Or(c.why, errText(c.tx.Err())), 0))
			return
		}
	}
}

// abandon lets Dial go on with another peer, if there is one, while this
// goroutine stays with the INVITE until nothing can come of it any more.
func (c *call) abandon() {
	if c.another == nil || !c.another() {
		return
	}
	c.report(c.failed(c.gaveUp, 0, c.why, 0))
	c.abandoned = true
	c.slot.release()
	c.slot = nil
}

// transact sends c.invite as a transaction of its own.
func (c *call) transact(ctx context.Context) error {
	branch, _ := c.invite.Via().Params.Get("branch")
	c.e.mu.Lock()
	c.e.calls[branch] = c
	c.e.mu.Unlock()
	tx, lost, err := c.e.begin(ctx, c.peer, c.invite)
	if err != nil {
		return err
	}
	c.tx, c.lost = tx, lost
	invite, answers := c.invite, c.answers
	tx.OnRetransmission(func(res *sip.Response) {
		defer answers.e.survive("a repeated answer")
		if res.IsSuccess() {
			answers.repeated(invite, res)
		}
	})
	return nil
}

// forget ends the hearing of provisionals.
func (c *call) forget() {
	if c.invite == nil {
		return
	}
	branch, _ := c.invite.Via().Params.Get("branch")
	c.e.mu.Lock()
	delete(c.e.calls, branch)
	c.e.mu.Unlock()
}

// heard hands a provisional response to its call, in wire order: sipgo's
// transactions deliver each message in a goroutine of its own.
func (e *Endpoint) heard(res *sip.Response) {
	if !res.IsProvisional() || res.CSeq().MethodName != sip.INVITE {
		return
	}
	branch, _ := res.Via().Params.Get("branch")
	e.mu.Lock()
	c := e.calls[branch]
	e.mu.Unlock()
	if c != nil {
		c.heard.put(res)
	}
}

// progress takes note of one provisional response.
func (c *call) progress(res *sip.Response) {
	if res.StatusCode <= 100 || c.gaveUp != "" {
		return
	}
	c.attested(res)
	now := time.Now()
	if c.ringingAt.IsZero() {
		c.ringingAt = now
	}
	sdp := sdpOf(res)
	if tag := toTag(res); sdp != nil && len(c.early) < maxEarly {
		c.early[tag] = sdp
		c.listen(sdp)
	}
	if c.onProgress != nil {
		c.onProgress(telephony.Progress{Status: res.StatusCode, Media: sdp != nil, At: now})
	}
}

// listen hears early media. An SDP that is wrong does not end the call: the
// answer brings its own.
func (c *call) listen(sdp []byte) {
	remote, err := c.sdp.Accept(sdp)
	if err != nil {
		c.log.Debug("early media not usable", "err", err)
		return
	}
	c.session.SetRemote(c.peer.audio(remote))
	if c.onEarly != nil && c.stopEarly == nil {
		hear := c.onEarly
		c.stopEarly = c.session.Tap(func(f telephony.Frame, sent bool) {
			if !sent {
				hear(f)
			}
		})
	}
}

func (c *call) hush() {
	if stop := c.stopEarly; stop != nil {
		c.stopEarly = nil // once, whatever comes of it
		stop()
	}
}

// retry answers a challenge with a new INVITE, at most twice.
func (c *call) retry(ctx context.Context, res *sip.Response) bool {
	if c.attempts == 2 {
		return false
	}
	next := c.e.again(c.invite, c.peer, c.invite.CSeq().SeqNo+1)
	if err := authorize(c.peer, next, res); err != nil {
		c.log.Warn("challenge not answered", "trunk", c.peer.name, "err", err)
		return false
	}
	c.attempts++
	c.forget()
	before := c.invite
	c.invite = next
	if err := c.transact(ctx); err != nil {
		c.log.Warn("cannot send again", "err", err)
		c.forget()
		c.invite = before
		return false
	}
	return true
}

// decide handles the final response and reports whether it became a leg.
func (c *call) decide(res *sip.Response) (leg bool) {
	if !res.IsSuccess() {
		cause, q850 := telephony.CauseOf(res.StatusCode, headerValues(res, "reason"))
		if res.StatusCode == 408 && c.ringingAt.IsZero() {
			cause = telephony.CauseUnreachable
		}
		if wait := retryAfter(res); wait > 0 && res.StatusCode == 503 && c.line != nil {
			c.line.hold(c.target, time.Duration(wait)*time.Second, time.Now())
		}
		reason := plain(res.Reason, 128)
		if c.gaveUp != "" {
			cause, reason = c.gaveUp, c.why
		}
		c.report(c.failed(cause, res.StatusCode, reason, q850))
		return false
	}
	c.pickedUp = true
	if c.gaveUp != "" {
		d := c.e.newDialog(context.Background(), c.peer, c.invite, res)
		c.answers.ack(d, c.invite)
		c.report(c.failed(c.gaveUp, res.StatusCode, c.why+"; answered after that", 0))
		if c.abandoned {
			c.e.ghost(c.id, time.Now())
		}
		c.e.hangUp(d, telephony.CauseNormal, byeWait)
		return false
	}
	return c.answered(res)
}

// answered turns a 2xx into a leg, or ends it when it carries no usable audio.
func (c *call) answered(res *sip.Response) (leg bool) {
	answeredAt := time.Now()
	c.attested(res)
	d := c.e.newDialog(context.Background(), c.peer, c.invite, res)
	defer func() { // also when the SDP makes the parser panic
		if !leg {
			c.answers.ack(d, c.invite)
			c.e.hangUp(d, telephony.CauseFailed, byeWait)
		}
	}()
	c.hush()
	sdp := sdpOf(res)
	if sdp == nil {
		sdp = c.early[toTag(res)]
	}
	remote, err := media.Remote{}, errors.New("answered without SDP")
	if sdp != nil {
		remote, err = c.sdp.Accept(sdp)
	}
	if err != nil {
		c.report(c.failed(telephony.CauseFailed, res.StatusCode, err.Error(), 0))
		return false
	}
	c.session.SetRemote(c.peer.audio(remote))
	c.session.Answered(answeredAt)
	l := c.e.newLeg(c, d, remote, res, answeredAt)
	if c.onAnswer != nil {
		c.onAnswer(l.Dialog())
	}
	c.answers.ack(d, c.invite) // when the leg is known: BYE may follow at once
	c.report(result{leg: l})
	return true
}

// cancel sends CANCEL when its turn comes, unless the call is decided first.
func (c *call) cancel() {
	req := c.e.newCancel(c.invite)
	turn := c.e.pace.wait(time.Now())
	c.e.goEnd("a CANCEL", func() {
		if turn > 0 {
			t := time.NewTimer(turn)
			defer t.Stop()
			select {
			case <-c.over:
				return
			case <-t.C:
			}
		}
		if _, err := c.e.do(context.Background(), c.peer, req); err != nil {
			c.log.Debug("CANCEL was not answered", "err", err)
		}
	})
}

// report gives Dial its result; only the first one counts.
func (c *call) report(r any) {
	if c.reported {
		return
	}
	c.reported = true
	switch r := r.(type) {
	case result:
		c.result <- r
	case *telephony.DialError:
		c.result <- result{err: r}
	}
}

func (c *call) failed(cause telephony.Cause, status int, reason string, q850 int) *telephony.DialError {
	return &telephony.DialError{
		Cause: cause, SIPStatus: status, Q850: q850, Reason: reason,
		PlacedAt: c.placedAt, RingingAt: c.ringingAt, EndedAt: time.Now(), Ghost: c.pickedUp,
	}
}

func errText(err error) string {
	if err == nil {
		return "the transaction ended"
	}
	return err.Error()
}
