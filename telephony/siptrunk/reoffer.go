package siptrunk

import (
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/emiago/sipgo/sip"

	"dialer/telephony"
	"dialer/telephony/media"
)

// An answer is our 2xx to a re-INVITE until it is ACKed.
type answer struct {
	cseq    uint32
	offered bool // we offered, so the ACK brings the answer
	acked   chan struct{}
}

// A refusal is a response that changes nothing.
type refusal struct {
	status int
	reason string
	header sip.Header // nil for none
}

// reoffer answers a re-INVITE or UPDATE: hold, a new address, another codec, a
// session refresh.
func (l *Leg) reoffer(req *sip.Request, tx sip.ServerTransaction) {
	sdp := sdpOf(req)
	body, remote, pending, no := l.agree(req, sdp)
	if no != nil {
		var headers []sip.Header
		if no.header != nil {
			headers = append(headers, no.header)
		}
		l.e.respond(tx, req, no.status, no.reason, headers...)
		return
	}
	if sdp != nil {
		l.setRemote(remote)
	}
	if l.d.retarget(req) {
		l.admit()
	}
	res := l.e.accepting(l.d.peer, req)
	l.timer.accept(req, res)
	if body != nil {
		setSDP(res, body)
	}
	l.e.write(tx, res)
	if pending != nil {
		l.e.goWork("repeating an answer", func() { l.repeat(res, tx, pending) })
	}
}

// accepting is a 200 to a re-INVITE or UPDATE.
func (e *Endpoint) accepting(p peer, req *sip.Request) *sip.Response {
	res := sip.NewResponseFromRequest(req, 200, "OK", nil)
	res.AppendHeader(e.contactFor(p, req.Recipient))
	res.AppendHeader(sip.NewHeader("Allow", allow))
	res.AppendHeader(sip.NewHeader("Supported", supported))
	return res
}

// agree decides on a re-INVITE or UPDATE and makes the SDP of the answer.
func (l *Leg) agree(req *sip.Request, sdp []byte) (body []byte, remote media.Remote, pending *answer, no *refusal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	exchange := sdp != nil || req.IsInvite() // an UPDATE without SDP only refreshes
	switch {
	case l.ended:
		return nil, remote, nil, &refusal{481, "Call/Transaction Does Not Exist", nil}
	case exchange && l.offering, // glare, RFC 3261 14.2
		exchange && l.answering != nil && !req.IsInvite() && l.answering.offered: // RFC 3311 5.2
		return nil, remote, nil, &refusal{491, "Request Pending", nil}
	case req.IsInvite() && l.answering != nil: // before the end of the last one
		wait := sip.NewHeader("Retry-After", strconv.Itoa(rand.IntN(11)))
		return nil, remote, nil, &refusal{500, "Server Internal Error", wait}
	case l.timer.tooSmall(req):
		return nil, remote, nil, &refusal{422, "Session Interval Too Small", sip.NewHeader("Min-SE", seconds(shortestSession))}
	}
	var err error
	switch {
	case sdp != nil:
		body, remote, err = l.sdp.Answer(sdp, l.direction)
	case req.IsInvite():
		body = l.sdp.Offer(l.direction)
	}
	if err != nil {
		return nil, remote, nil, &refusal{488, "Not Acceptable Here", nil}
	}
	if req.IsInvite() {
		pending = &answer{cseq: req.CSeq().SeqNo, offered: sdp == nil, acked: make(chan struct{})}
		l.answering = pending
	}
	return body, remote, pending, nil
}

// repeat sends our 2xx until it is ACKed; without an ACK for 32 s the call is
// over (RFC 3261 13.3.1.4).
func (l *Leg) repeat(res *sip.Response, tx sip.ServerTransaction, a *answer) {
	defer func() {
		l.mu.Lock()
		if l.answering == a {
			l.answering = nil
		}
		l.mu.Unlock()
	}()
	pause := sip.T1
	next := time.NewTimer(pause)
	defer next.Stop()
	lost := time.NewTimer(l.e.ackWait)
	defer lost.Stop()
	for {
		select {
		case <-a.acked:
			return
		case ack := <-tx.Acks(): // a peer that reuses the INVITE's branch
			l.acked(ack)
		case <-l.done:
			return
		case <-next.C:
			l.e.write(tx, res)
			pause = min(2*pause, sip.T2)
			next.Reset(pause)
		case <-lost.C:
			l.end(telephony.Network, telephony.CauseUnreachable, 0, "our answer to a re-INVITE was not acknowledged", true)
			return
		}
	}
}

// acked takes the ACK of our 2xx to a re-INVITE.
func (l *Leg) acked(req *sip.Request) {
	l.mu.Lock()
	a := l.answering
	if a == nil || a.cseq != req.CSeq().SeqNo {
		l.mu.Unlock()
		return
	}
	l.answering = nil
	l.mu.Unlock()
	close(a.acked)
	if sdp := sdpOf(req); a.offered && sdp != nil {
		l.takeAnswer(sdp)
	}
}

// retarget takes the Contact of a target refresh (RFC 3261 12.2.2) and reports
// whether it is another one.
func (d *dialog) retarget(msg interface{ Contact() *sip.ContactHeader }) bool {
	c := msg.Contact()
	if c == nil || c.Address.Wildcard || c.Address.Host == "" {
		return false
	}
	d.mu.Lock()
	same := d.target.String() == c.Address.String()
	d.target = *c.Address.Clone()
	d.mu.Unlock()
	if !same {
		d.locate()
	}
	return !same
}
