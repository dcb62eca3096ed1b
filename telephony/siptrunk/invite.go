package siptrunk

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync/atomic"
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
	slot      *slot // the channel
	follow    follower
	watch     *trial // nil but for a test call
	abandoned bool   // another peer follows: nobody waits for this call any more

	invite  *sip.Request
	tx      sip.ClientTransaction
	lost    <-chan struct{} // closed with the connection of tx
	retries retries

	inbox inbox
	forks map[string]*fork // by To tag, of this transaction

	admitted []func() // take hosts off the list of known ones

	placedAt, ringingAt time.Time
	provisional         bool // of this transaction
	stopEarly           func()
	gaveUp              telephony.Cause // empty while we want the answer
	why                 string
	cancelled           bool
	attestation         string
	pickedUp            bool        // a 2xx came; without a leg somebody heard nothing
	quiet               atomic.Bool // the INVITE is not repeated any more

	result   chan result
	reported bool
	over     chan struct{} // closed when no response is awaited any more

	answers *answers
}

type result struct {
	leg *Leg
	err *telephony.DialError
}

// start sends the INVITE and returns what comes of it, once the transaction is
// decided.
func (c *call) start(ctx context.Context) (*Leg, *telephony.DialError) {
	c.result = make(chan result, 1)
	c.over = make(chan struct{})
	c.forks = map[string]*fork{}
	c.answers = newAnswers(c.e, c.peer)
	c.inbox.signal = make(chan struct{}, 1)
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
	c.admit(c.peer.addr.Addr())
	defer func() {
		for _, leave := range c.admitted {
			leave()
		}
	}()
	defer close(c.over)
	leg := false
	defer func() {
		c.forget()
		c.leaveForks()
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
			c.trunkSilent(err)
		}
		c.report(c.failed(cause, 0, err.Error(), 0))
		return
	}
	c.answers.peer = c.peer
	c.invite = c.e.newInvite(c.peer, c.e.callID(c.id, c.peer.trunk, route{c.peer.transport, c.peer.addr}), c.sdp.Offer(media.SendRecv))
	c.retries.session = askedSession(c.peer.opts)
	setSession(c.invite, c.retries.session, 0)
	c.attested(c.invite)
	c.hearForks()
	if err := c.transact(ctx); err != nil {
		c.trunkSilent(err)
		c.report(c.failed(telephony.CauseUnreachable, 0, err.Error(), 0))
		return
	}
	ring := time.NewTimer(c.ring)
	defer ring.Stop()
	silent := listenFor(c.e.cfg.NoResponse)
	defer silent.Stop()
	var lookedUp <-chan struct{} // closed when the follower may have a peer
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
	arrivals := func() {
		for _, a := range c.inbox.take() {
			if a.req != nil {
				c.answer(a)
				continue
			}
			if a.moved != nil {
				c.admit(a.moved.hosts()...)
				continue
			}
			first := c.ringingAt.IsZero()
			c.provisional = true
			c.trunkSpoke(a.res.StatusCode)
			func() { // nothing in an SDP may leave the INVITE without its machine
				defer c.e.survive("a provisional response")
				c.progress(a.res)
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
	unheard := false // no response came for as long as one is waited for
	for {
		if unheard && stopping == nil && !c.provisional {
			c.tx.Terminate() // nobody stays to hear what may yet come
			c.report(c.failed(c.gaveUp, 0, c.why, 0))
			return
		}
		select {
		case <-c.inbox.signal:
			arrivals()
		case res := <-c.tx.Responses():
			arrivals() // those that came before it on the wire
			if res.IsProvisional() {
				continue // heard by the guard, in order
			}
			c.trunkSpoke(res.StatusCode)
			if c.gaveUp == "" && c.retry(ctx, res) {
				c.provisional = false
				silent.restart(c.e.cfg.NoResponse)
				continue
			}
			leg = c.decide(res)
			return
		case <-silent.C:
			if silent.overslept(time.Now()) {
				continue
			}
			if arrivals(); c.provisional {
				continue
			}
			unheard = true
			c.trunkSilent(nil)
			wanted := c.gaveUp == ""
			giveUp(telephony.CauseUnreachable, "no response")
			if wanted {
				lookedUp = c.abandon(arrivals)
			}
		case <-lookedUp:
			arrivals()
			lookedUp = c.abandon(arrivals)
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
			c.watch.unanswered()
			c.report(c.failed(c.gaveUp, 0, c.why+"; CANCEL was not answered", 0))
			return
		case <-c.lost:
			c.lost = nil
			c.watch.disconnected(c.target)
			if c.provisional {
				continue // the far end answers over a connection of its own
			}
			c.tx.Terminate() // an answer that comes all the same is a stray one
			c.trunkSilent(errLost)
			c.report(c.failed(cmp.Or(c.gaveUp, telephony.CauseUnreachable), 0, cmp.Or(c.why, "the connection to the peer was lost"), 0))
			return
		case <-c.tx.Done():
			if c.gaveUp == "" && !c.provisional {
				c.trunkSilent(nil)
			}
			cause := cmp.Or(c.gaveUp, telephony.CauseUnreachable)
			c.report(c.failed(cause, 0, cmp.Or(c.why, errText(c.tx.Err())), 0))
			return
		}
	}
}

// A follower has the peers that may follow one which is silent.
type follower interface {
	// secure finds the next, and reports whether there is one. It does not wait
	// for DNS: it returns what is closed when it is worth asking again.
	secure() (found bool, later <-chan struct{})
	// release gives back what was secured.
	release()
}

// abandon lets Dial go on with another peer, if there is one, while this
// goroutine stays with the INVITE until nothing can come of it any more. It does
// so only while nothing was heard: one person never has two calls at once. later
// is closed when it is to be tried again; arrivals takes what has come.
func (c *call) abandon(arrivals func()) (later <-chan struct{}) {
	if c.follow == nil || c.provisional || !c.ringingAt.IsZero() {
		return nil
	}
	found, later := c.follow.secure()
	if !found && (c.watch == nil || later != nil) { // nobody takes the number of a test for free
		return later
	}
	if arrivals(); c.provisional {
		c.follow.release()
		return nil
	}
	c.quiet.Store(true)
	c.report(c.failed(c.gaveUp, 0, c.why, 0))
	c.abandoned = true
	c.slot.release()
	c.slot = nil
	return nil
}

// A silence is the time in which a peer must have spoken.
type silence struct {
	*time.Timer
	wait time.Duration
	due  time.Time
}

func listenFor(wait time.Duration) *silence {
	return &silence{time.NewTimer(wait), wait, time.Now().Add(wait)}
}

func (s *silence) restart(wait time.Duration) {
	s.due = time.Now().Add(wait)
	s.Reset(wait)
}

// What a timer that is late tells of is the process, which was stopped or had no
// processor: what the peer has said meanwhile waits in the socket.
const (
	mostLate = 100 * time.Millisecond
	catchUp  = 500 * time.Millisecond // for the reader of the socket
)

// overslept reports whether the silence cannot be believed because its timer was
// late; it then goes on.
func (s *silence) overslept(now time.Time) bool {
	if now.Sub(s.due) < mostLate {
		return false
	}
	s.restart(min(s.wait, catchUp))
	return true
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
	invite, answers, over := c.invite, c.answers, c.over
	tx.OnRetransmission(func(res *sip.Response) {
		defer answers.e.survive("a repeated answer")
		if res.IsSuccess() {
			select { // a copy of the answer may overtake our looking at it
			case <-answers.first:
			case <-over:
			}
			answers.repeated(invite, res)
		}
	})
	return nil
}

// hearForks lets requests of forks come to the call.
func (c *call) hearForks() {
	c.e.mu.Lock()
	defer c.e.mu.Unlock()
	c.e.early[dialogKey(c.invite.CallID().Value(), fromTag(c.invite))] = c
}

// leaveForks ends that; what is left goes to the leg, if there is one.
func (c *call) leaveForks() {
	if c.invite != nil {
		c.e.mu.Lock()
		delete(c.e.early, dialogKey(c.invite.CallID().Value(), fromTag(c.invite)))
		c.e.mu.Unlock()
	}
	for _, a := range c.inbox.close() {
		if a.req != nil {
			func() {
				defer close(a.answered)
				defer c.e.survive("a request")
				c.e.handleInside(a.req, a.tx)
			}()
		}
	}
}

// answer answers a request of a fork.
func (c *call) answer(a arrival) {
	defer close(a.answered)
	defer c.e.survive("a request of a ringing phone")
	c.asked(a.req, a.tx)
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
