package siptrunk

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"dialer/telephony"
	"dialer/telephony/media"
)

// An arrival is what comes for a call that is not decided: a provisional
// response, or a request of one of its forks with the transaction to answer in.
// It is one of res, moved and req.
type arrival struct {
	res      *sip.Response
	moved    *dialog // of a fork: it has another address
	req      *sip.Request
	tx       sip.ServerTransaction
	answered chan struct{} // closed when the request is
}

// An inbox holds arrivals, in wire order, until the call's goroutine takes them.
type inbox struct {
	signal chan struct{}

	mu     sync.Mutex
	queue  []arrival
	closed bool
}

// maxQueued bounds what a peer can make us keep; what it sends repeats.
const maxQueued = 256

// put reports false when nobody will take it.
func (b *inbox) put(a arrival) bool {
	b.mu.Lock()
	ok := !b.closed && len(b.queue) < maxQueued
	if ok {
		b.queue = append(b.queue, a)
	}
	b.mu.Unlock()
	select {
	case b.signal <- struct{}{}:
	default:
	}
	return ok
}

func (b *inbox) take() []arrival {
	b.mu.Lock()
	defer b.mu.Unlock()
	q := b.queue
	b.queue = nil
	return q
}

// close refuses what comes from now on and returns what was left.
func (b *inbox) close() []arrival {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	return b.take()
}

// heard hands a provisional response to its call, in wire order: sipgo's
// transactions deliver each message in a goroutine of its own. It reports whether
// the response is dealt with: that is an answer behind a refusal, see finals.
func (e *Endpoint) heard(res *sip.Response) (taken bool) {
	if res.CSeq().MethodName != sip.INVITE {
		return false
	}
	branch, _ := res.Via().Params.Get("branch")
	e.mu.Lock()
	c := e.calls[branch]
	if !res.IsProvisional() {
		now, refused := time.Now(), false
		if c != nil {
			refused = e.finals.note(branch, !res.IsSuccess(), now)
		} else {
			refused, _ = e.finals.first(branch, now)
		}
		taken = refused && res.IsSuccess()
	}
	e.mu.Unlock()
	switch {
	case taken:
		e.goEnd("an answer behind a refusal", func() { e.strayResponse(res) })
	case c != nil && res.IsProvisional():
		c.inbox.put(arrival{res: res})
	}
	return taken
}

// ringing returns the undecided call that a request of a fork belongs to, or nil.
func (e *Endpoint) ringing(req *sip.Request) *call {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.early[dialogKey(req.CallID().Value(), toTag(req))]
}

// A fork is one far end that has answered our INVITE provisionally: an early
// dialog (RFC 3261 12.1).
type fork struct {
	first  *sip.Response
	d      *dialog // made when it is needed
	sdp    []byte  // its answer to our offer, nil: none so far
	rseq   uint32  // of the last reliable provisional, 0: none so far
	remote *media.Remote
	gone   bool // it has hung up
}

// maxForks is how many forks of a call are kept apart; more than that ring as
// well, but are not heard before they answer.
const maxForks = 32

// forkOf returns the fork that sent a provisional response, or nil.
func (c *call) forkOf(res *sip.Response) *fork {
	tag := toTag(res)
	f := c.forks[tag]
	if f == nil && tag != "" && len(c.forks) < maxForks {
		f = &fork{first: res}
		c.forks[tag] = f
	}
	return f
}

// dialog returns the fork's dialog.
func (f *fork) dialog(c *call) *dialog {
	if f.d == nil {
		f.d = c.e.newDialog(c.peer, c.invite, f.first)
		f.d.onMove(func() { c.inbox.put(arrival{moved: f.d}) })
		c.admit(f.d.hosts()...)
	}
	return f.d
}

// progress takes note of one provisional response.
func (c *call) progress(res *sip.Response) {
	if res.StatusCode <= 100 {
		return
	}
	now := time.Now()
	if c.ringingAt.IsZero() { // also when it was given up: nobody else is asked any more
		c.ringingAt = now
	}
	f := c.forkOf(res)
	if f != nil && !c.acknowledge(f, res) || c.gaveUp != "" {
		return
	}
	c.attested(res)
	sdp := sdpOf(res)
	if sdp != nil && f != nil && f.remote == nil {
		f.sdp = sdp
		c.listen(sdp)
	}
	if c.onProgress != nil {
		c.onProgress(telephony.Progress{Status: res.StatusCode, Media: sdp != nil, At: now})
	}
}

// acknowledge confirms a reliable provisional by PRACK (RFC 3262 section 4). It
// reports false for one that is repeated or comes before its turn, which is not
// to be looked at.
func (c *call) acknowledge(f *fork, res *sip.Response) bool {
	required := false
	for _, tag := range optionTags(res, "require") {
		required = required || tag == "100rel"
	}
	rseq, err := strconv.ParseUint(strings.TrimSpace(headerValues(res, "rseq")), 10, 32)
	if !required || err != nil || rseq == 0 {
		return true
	}
	if f.rseq != 0 && rseq != uint64(f.rseq)+1 {
		return false
	}
	f.rseq = uint32(rseq)
	d := f.dialog(c)
	req := d.build(sip.PRACK, 0)
	req.AppendHeader(sip.NewHeader("RAck", fmt.Sprintf("%d %d INVITE", rseq, c.invite.CSeq().SeqNo)))
	begin := sync.OnceValues(func() (sent, error) { return d.begin(context.Background(), req) })
	if c.e.connected(req) {
		_, _ = begin() // here, so that PRACKs leave in order
	}
	c.e.goEnd("a PRACK", func() {
		var res *sip.Response
		sent, err := begin()
		if err == nil {
			res, err = d.finish(context.Background(), sent)
		}
		if err != nil || !res.IsSuccess() {
			c.log.Debug("PRACK was not accepted", "response", fmt.Sprint(res), "err", err)
		}
	})
	return true
}

// asked answers a request of a fork.
func (c *call) asked(req *sip.Request, tx sip.ServerTransaction) {
	f := c.forks[fromTag(req)]
	if f == nil || !f.dialog(c).from(req) {
		if !req.IsAck() {
			c.e.respond(tx, req, 481, "Call/Transaction Does Not Exist")
		}
		return
	}
	if !c.e.acceptable(f.d, req, tx) {
		return
	}
	switch req.Method {
	case sip.ACK:
	case sip.UPDATE:
		c.updated(f, req, tx)
	case sip.INFO:
		c.e.inform(c.session, req, tx)
	case sip.INVITE: // ours is not answered yet
		c.e.respond(tx, req, 491, "Request Pending")
	case sip.BYE: // right behind an answer that is still to be looked at
		c.e.respond(tx, req, 200, "OK")
		f.gone = true
	case sip.PRACK, sip.CANCEL, sip.NOTIFY:
		c.e.respond(tx, req, 481, "Call/Transaction Does Not Exist")
	default:
		c.e.handleAny(req, tx)
	}
}

// updated takes an UPDATE of a fork (RFC 3311). What it agrees on stands: the
// SDP in the 2xx of the INVITE is that of the first answer once more.
func (c *call) updated(f *fork, req *sip.Request, tx sip.ServerTransaction) {
	var body []byte
	if sdp := sdpOf(req); sdp != nil {
		if f.sdp == nil { // our own offer is not answered
			c.e.respond(tx, req, 491, "Request Pending")
			return
		}
		answer, remote, err := c.sdp.Answer(sdp, media.SendRecv)
		if err != nil {
			c.e.respond(tx, req, 488, "Not Acceptable Here")
			return
		}
		body, f.remote = answer, &remote
		c.session.SetRemote(c.peer.audio(remote))
	}
	if f.d.retarget(req) {
		c.admit(f.d.hosts()...)
	}
	res := c.e.accepting(c.peer, req)
	if body != nil {
		setSDP(res, body)
	}
	c.e.write(tx, res)
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
