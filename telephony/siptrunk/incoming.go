package siptrunk

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"dialer/telephony"
	"dialer/telephony/media"
)

// handle is the one entry of requests that passed the guard.
func (e *Endpoint) handle(req *sip.Request, tx sip.ServerTransaction) {
	if !e.work.add(true) {
		return
	}
	defer e.work.done()
	defer e.survive("a request")
	if toTag(req) == "" {
		e.handleOutside(req, tx)
		return
	}
	l := e.legOf(req)
	if l == nil || !l.ours(req) {
		if !req.IsAck() {
			e.respond(tx, req, 481, "Call/Transaction Does Not Exist")
		}
		return
	}
	if !req.IsAck() && !req.IsCancel() && !l.d.inOrder(req.CSeq().SeqNo) {
		e.respond(tx, req, 500, "CSeq Out Of Order")
		return
	}
	l.handle(req, tx)
}

// legOf returns the leg that a request of the far end names, or nil.
func (e *Endpoint) legOf(req *sip.Request) *Leg {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.dialogs[dialogKey(req.CallID().Value(), toTag(req))]
}

// ours reports whether a request comes from the leg's far end.
func (l *Leg) ours(req *sip.Request) bool {
	return fromTag(req) == l.d.tag && slices.Contains(l.d.hosts(), sourceOf(req).Addr())
}

// handleOutside answers requests outside dialogs.
func (e *Endpoint) handleOutside(req *sip.Request, tx sip.ServerTransaction) {
	if status, reason, headers := verdict(req); status != 0 {
		e.respond(tx, req, status, reason, headers...)
	}
}

// verdict says what a request outside of dialogs gets, in the order of RFC 3261
// 8.2: method, extensions, content, and then that we take no calls. 0 is no
// answer.
func verdict(req *sip.Request) (status int, reason string, headers []sip.Header) {
	switch req.Method {
	case sip.ACK:
		return 0, "", nil
	case sip.CANCEL, sip.BYE:
		return 481, "Call/Transaction Does Not Exist", nil
	case sip.INVITE, sip.OPTIONS:
	case sip.REFER, sip.SUBSCRIBE, sip.NOTIFY, sip.MESSAGE, sip.PUBLISH, sip.PRACK, sip.INFO, sip.UPDATE:
		return 405, "Method Not Allowed", []sip.Header{sip.NewHeader("Allow", allow)}
	default:
		return 501, "Not Implemented", []sip.Header{sip.NewHeader("Allow", allow)}
	}
	if unknown := unsupported(req); unknown != "" {
		return 420, "Bad Extension", []sip.Header{sip.NewHeader("Unsupported", unknown)}
	}
	if req.Method == sip.OPTIONS {
		return 200, "OK", []sip.Header{
			sip.NewHeader("Allow", allow), sip.NewHeader("Accept", "application/sdp"), sip.NewHeader("Supported", "timer"),
		}
	}
	if len(req.Body()) > 0 && !readable(contentType(req)) {
		return 415, "Unsupported Media Type", []sip.Header{sip.NewHeader("Accept", "application/sdp")}
	}
	if accept := headerValues(req, "accept"); accept != "" && !acceptsSDP(accept) {
		return 406, "Not Acceptable", nil
	}
	return 403, "Forbidden", nil
}

// unsupported are the extensions of a Require that we do not know.
func unsupported(req *sip.Request) string {
	var unknown []string
	for tag := range strings.SplitSeq(headerValues(req, "require"), ",") {
		if tag = strings.TrimSpace(tag); tag != "" && !strings.EqualFold(tag, "timer") {
			unknown = append(unknown, tag)
		}
	}
	return strings.Join(unknown, ", ")
}

// readable reports whether SDP can be in a body of a type.
func readable(contentType string) bool {
	return contentType == "" || contentType == "application/sdp" || strings.HasPrefix(contentType, "multipart/")
}

// acceptsSDP reports whether an Accept lets us answer with SDP.
func acceptsSDP(accept string) bool {
	for kind := range strings.SplitSeq(accept, ",") {
		kind, _, _ = strings.Cut(kind, ";")
		switch strings.ToLower(strings.TrimSpace(kind)) {
		case "application/sdp", "application/*", "*/*", "":
			return true
		}
	}
	return false
}

func (e *Endpoint) respond(tx sip.ServerTransaction, req *sip.Request, status int, reason string, headers ...sip.Header) {
	res := sip.NewResponseFromRequest(req, status, reason, nil)
	for _, h := range headers {
		res.AppendHeader(h)
	}
	e.write(tx, res)
}

func (e *Endpoint) write(tx sip.ServerTransaction, res *sip.Response) {
	if err := tx.Respond(res); err != nil {
		e.log.Debug("cannot answer", "status", res.StatusCode, "err", err)
	}
}

// inOrder takes a request's CSeq; one that is not above the last is refused
// (RFC 3261 12.2.2). Retransmissions never come here.
func (d *dialog) inOrder(cseq uint32) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.heardCSeq && cseq <= d.remoteCSeq {
		return false
	}
	d.heardCSeq, d.remoteCSeq = true, cseq
	return true
}

// handle answers a request inside the leg's dialog.
func (l *Leg) handle(req *sip.Request, tx sip.ServerTransaction) {
	if unknown := headerValues(req, "require"); unknown != "" && !strings.EqualFold(strings.TrimSpace(unknown), "timer") &&
		req.Method != sip.ACK && req.Method != sip.BYE {
		l.e.respond(tx, req, 420, "Bad Extension", sip.NewHeader("Unsupported", unknown))
		return
	}
	switch req.Method {
	case sip.BYE:
		l.e.respond(tx, req, 200, "OK")
		reason := headerValues(req, "reason")
		cause, q850 := telephony.CauseOf(0, reason)
		if cause != telephony.CauseMediaLost {
			cause = telephony.CauseNormal // it was answered: whoever hangs up, the call was a call
		}
		l.end(telephony.Callee, cause, q850, plain(reason, 128), false)
	case sip.INVITE, sip.UPDATE:
		l.reoffer(req, tx)
	case sip.ACK: // the guard has told the leg, in wire order
	case sip.INFO:
		l.inform(req, tx)
	case sip.OPTIONS:
		l.e.respond(tx, req, 200, "OK", sip.NewHeader("Allow", allow), sip.NewHeader("Accept", "application/sdp"))
	case sip.CANCEL:
		l.e.respond(tx, req, 481, "Call/Transaction Does Not Exist")
	default:
		l.e.respond(tx, req, 405, "Method Not Allowed", sip.NewHeader("Allow", allow))
	}
}

// inform takes a key press that comes as INFO.
func (l *Leg) inform(req *sip.Request, tx sip.ServerTransaction) {
	if len(req.Body()) == 0 {
		l.e.respond(tx, req, 200, "OK")
		return
	}
	d, ok := infoDigit(contentType(req), string(req.Body()))
	if !ok {
		l.e.respond(tx, req, 415, "Unsupported Media Type", sip.NewHeader("Accept", "application/dtmf-relay"))
		return
	}
	l.session.Press(d)
	l.e.respond(tx, req, 200, "OK")
}

// infoDigit reads application/dtmf-relay ("Signal=5\r\nDuration=160") and
// application/dtmf ("5").
func infoDigit(contentType, body string) (telephony.Digit, bool) {
	d := telephony.Digit{Duration: 160 * time.Millisecond}
	key := ""
	switch contentType {
	case "application/dtmf":
		key = strings.TrimSpace(body)
	case "application/dtmf-relay":
		for line := range strings.SplitSeq(body, "\n") {
			name, value, _ := strings.Cut(line, "=")
			switch value = strings.TrimSpace(value); strings.ToLower(strings.TrimSpace(name)) {
			case "signal":
				key = value
			case "duration":
				if ms, err := strconv.Atoi(value); err == nil && ms > 0 && ms <= 10_000 {
					d.Duration = time.Duration(ms) * time.Millisecond
				}
			}
		}
	}
	switch key = strings.ToUpper(key); key {
	case "10":
		key = "*"
	case "11":
		key = "#"
	}
	if len(key) != 1 || !strings.Contains("0123456789*#ABCD", key) {
		return telephony.Digit{}, false
	}
	d.Key = rune(key[0])
	return d, true
}

// An answer is our 2xx to a re-INVITE until it is ACKed.
type answer struct {
	cseq    uint32
	offered bool // we offered, so the ACK brings the answer
	acked   chan struct{}
}

// reoffer answers a re-INVITE or UPDATE: hold, a new address, another codec, a
// session refresh.
func (l *Leg) reoffer(req *sip.Request, tx sip.ServerTransaction) {
	l.mu.Lock()
	status, reason := 0, ""
	switch {
	case l.ended:
		status, reason = 481, "Call/Transaction Does Not Exist"
	case l.offering: // glare, RFC 3261 14.2
		status, reason = 491, "Request Pending"
	case l.answering != nil && req.IsInvite():
		status, reason = 491, "Request Pending"
	}
	if status != 0 {
		l.mu.Unlock()
		l.e.respond(tx, req, status, reason)
		return
	}
	sdp := sdpOf(req)
	var body []byte
	var remote media.Remote
	var err error
	switch {
	case sdp != nil:
		body, remote, err = l.sdp.Answer(sdp, media.SendRecv)
	case req.IsInvite():
		body = l.sdp.Offer(media.SendRecv)
	}
	if err != nil {
		l.mu.Unlock()
		l.e.respond(tx, req, 488, "Not Acceptable Here")
		return
	}
	var pending *answer
	if req.IsInvite() {
		pending = &answer{cseq: req.CSeq().SeqNo, offered: sdp == nil, acked: make(chan struct{})}
		l.answering = pending
	}
	l.mu.Unlock()

	if sdp != nil {
		l.setRemote(remote)
	}
	if l.d.retarget(req) {
		l.admit()
	}
	res := sip.NewResponseFromRequest(req, 200, "OK", nil)
	res.AppendHeader(&sip.ContactHeader{Address: l.e.contact(l.d.peer)})
	res.AppendHeader(sip.NewHeader("Allow", allow))
	res.AppendHeader(sip.NewHeader("Supported", "timer"))
	if h := l.timer.accept(req); h != nil {
		res.AppendHeader(sip.NewHeader("Require", "timer"))
		res.AppendHeader(h)
	}
	if body != nil {
		setSDP(res, body)
	}
	l.e.write(tx, res)
	if pending != nil {
		l.e.goWork("repeating an answer", func() { l.repeat(res, tx, pending) })
	}
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
	lost := time.NewTimer(64 * sip.T1)
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
func (d *dialog) retarget(req *sip.Request) bool {
	c := req.Contact()
	if c == nil || c.Address.Wildcard || c.Address.Host == "" {
		return false
	}
	d.mu.Lock()
	same := d.target.String() == c.Address.String()
	d.target = *c.Address.Clone()
	d.mu.Unlock()
	if !same {
		d.locate(context.Background())
	}
	return !same
}
