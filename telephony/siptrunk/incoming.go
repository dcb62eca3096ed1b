package siptrunk

import (
	"slices"
	"strings"

	"github.com/emiago/sipgo/sip"

	"dialer/telephony"
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
	if e.legOf(req) == nil {
		a := arrival{req: req, tx: tx, answered: make(chan struct{})}
		if c := e.ringing(req); c != nil && c.inbox.put(a) {
			<-a.answered // sipgo ends a transaction whose handler has returned
			return
		}
	}
	e.handleInside(req, tx)
}

// handleInside answers a request of the far end of an answered call.
func (e *Endpoint) handleInside(req *sip.Request, tx sip.ServerTransaction) {
	l := e.legOf(req)
	if l == nil || !l.d.from(req) {
		if !req.IsAck() {
			e.respond(tx, req, 481, "Call/Transaction Does Not Exist")
		}
		return
	}
	if e.acceptable(l.d, req, tx) {
		l.handle(req, tx)
	}
}

// acceptable refuses a request that is out of order or wants more than we know.
func (e *Endpoint) acceptable(d *dialog, req *sip.Request, tx sip.ServerTransaction) bool {
	if req.IsAck() || req.IsCancel() {
		return true
	}
	if !d.inOrder(req.CSeq().SeqNo) {
		e.respond(tx, req, 500, "CSeq Out Of Order")
		return false
	}
	if unknown := unsupported(req); unknown != "" && req.Method != sip.BYE {
		e.respond(tx, req, 420, "Bad Extension", sip.NewHeader("Unsupported", unknown))
		return false
	}
	if encoding := headerValues(req, "content-encoding"); encoding != "" && !strings.EqualFold(strings.TrimSpace(encoding), "identity") && req.Method != sip.BYE {
		e.respond(tx, req, 415, "Unsupported Media Type", sip.NewHeader("Accept-Encoding", "identity"))
		return false
	}
	return true
}

// legOf returns the leg that a request of the far end names, or nil.
func (e *Endpoint) legOf(req *sip.Request) *Leg {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.dialogs[dialogKey(req.CallID().Value(), toTag(req))]
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
			sip.NewHeader("Allow", allow), sip.NewHeader("Accept", "application/sdp"), sip.NewHeader("Supported", supported),
		}
	}
	if len(req.Body()) > 0 && !readable(req) {
		return 415, "Unsupported Media Type", []sip.Header{sip.NewHeader("Accept", "application/sdp")}
	}
	if accept := headerValues(req, "accept"); accept != "" && !acceptsSDP(accept) {
		return 406, "Not Acceptable", nil
	}
	return 403, "Forbidden", nil
}

// understood are the extensions that a request may require. What 100rel asks of
// us, reliable provisionals, is met by sending none.
var understood = []string{"timer", "100rel"}

// unsupported are the extensions of a Require that we do not know.
func unsupported(req *sip.Request) string {
	var unknown []string
	for _, tag := range optionTags(req, "require") {
		if !slices.Contains(understood, tag) {
			unknown = append(unknown, tag)
		}
	}
	return strings.Join(unknown, ", ")
}

// readable reports whether SDP can be in a request's body.
func readable(req *sip.Request) bool {
	contentType, _ := contentType(req)
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
	switch req.Method {
	case sip.BYE:
		l.e.respond(tx, req, 200, "OK")
		l.hungUp(req)
	case sip.INVITE, sip.UPDATE:
		l.reoffer(req, tx)
	case sip.ACK: // the guard has told the leg, in wire order
	case sip.INFO:
		l.e.inform(l.session, req, tx)
	case sip.NOTIFY:
		l.notified(req, tx)
	case sip.PRACK, sip.CANCEL: // of what we never sent, or of what is long answered
		l.e.respond(tx, req, 481, "Call/Transaction Does Not Exist")
	default:
		l.e.handleAny(req, tx)
	}
}

// hungUp ends the leg as a BYE of the far end says.
func (l *Leg) hungUp(bye *sip.Request) {
	reason := headerValues(bye, "reason")
	cause, q850 := telephony.CauseOf(0, reason)
	if cause != telephony.CauseMediaLost {
		cause = telephony.CauseNormal // it was answered: whoever hangs up, the call was a call
	}
	l.end(telephony.Callee, cause, q850, plain(reason, 128), false)
}

// handleAny answers what needs no call.
func (e *Endpoint) handleAny(req *sip.Request, tx sip.ServerTransaction) {
	status, reason, headers := verdict(req)
	e.respond(tx, req, status, reason, headers...)
}
