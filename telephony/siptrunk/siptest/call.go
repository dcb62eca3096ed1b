package siptest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
)

// Timers of RFC 3261 17.1.1.1: the round trip, the longest interval between
// retransmissions, and how long a network may hold a message.
const (
	t1     = 500 * time.Millisecond
	t2     = 4 * time.Second
	t4     = 5 * time.Second
	giveUp = 64 * t1
)

// How a call leaves its script.
var (
	errCancelled = errors.New("cancelled by the caller")
	errHungUp    = errors.New("hung up by the caller")
	errUnacked   = errors.New("the answer was never acknowledged")
	errStopped   = errors.New("the carrier stops")
)

type incoming struct {
	request  *sip.Request
	response *sip.Response
	from     netip.AddrPort
}

// A call is one INVITE and the dialog that may come of it. Its one goroutine
// runs the script and handles each message between the script's steps.
type call struct {
	carrier *Carrier
	b       Behaviour
	invite  *sip.Request
	from    netip.AddrPort
	tag     string // ours
	record  *CallRecord
	inbox   chan incoming
	timer   *time.Timer
	random  *rand.Rand
	done    <-chan struct{}

	stream *stream
	far    session
	lateSD bool // our 200 offers, the ACK answers

	responded []byte // the last response to the INVITE
	final     bool
	answered  bool
	acked     chan struct{}      // closed by the ACK of our answer
	again     map[string]*resend // by what stops it
	outbox    []delayed
	cseq      uint32
	reinvite  struct {
		cseq  uint32
		reply []byte
	}
}

// A resend repeats a message until something comes back.
type resend struct {
	raw     []byte
	to      netip.AddrPort
	next    time.Time
	every   time.Duration
	until   time.Time
	expired error // ends the script when it is never stopped
}

type delayed struct {
	raw []byte
	to  netip.AddrPort
	at  time.Time
}

func newCall(c *Carrier, req *sip.Request, from netip.AddrPort, b Behaviour, attempt int) *call {
	caller := ""
	if f := req.From(); f != nil {
		caller = f.Address.User
	}
	r := &CallRecord{
		CallID: req.CallID().Value(), To: req.Recipient.User, From: caller, Source: from.String(),
		Attempt: attempt, Group: b.Group, Kind: b.Kind, Audio: b.Audio, Faults: b.faults(),
		ArrivedAt: time.Now(), Headers: map[string]string{},
	}
	for _, h := range req.Headers() {
		if name := h.Name(); strings.HasPrefix(strings.ToUpper(name), "X-") || strings.EqualFold(name, "P-Asserted-Identity") {
			r.Headers[name] = h.Value()
		}
	}
	t := time.NewTimer(time.Hour)
	t.Stop()
	return &call{
		carrier: c, b: b, invite: req, from: from, record: r,
		tag: fmt.Sprintf("%016x", rand.Uint64()), inbox: make(chan incoming, 32), timer: t,
		acked:  make(chan struct{}),
		random: source(c.cfg.Seed, req.Recipient.User, "talk", attempt),
		again:  map[string]*resend{}, cseq: uint32(rand.IntN(1 << 16)),
	}
}

// deliver never blocks: a call that is flooded loses datagrams, as UDP does.
func (c *call) deliver(m incoming) {
	select {
	case c.inbox <- m:
	default:
	}
}

// run plays the script to its end and then stays long enough to answer what is
// still under way.
func (c *call) run(ctx context.Context) {
	c.done = ctx.Done()
	defer c.timer.Stop()
	err := c.script()
	if errors.Is(err, errCancelled) {
		err = c.afterCancel()
	}
	switch {
	case err == nil, errors.Is(err, errRefused):
	case errors.Is(err, errCancelled):
		c.end("caller", sip.StatusRequestTerminated)
		c.respond(sip.StatusRequestTerminated, "Request Terminated", nil)
	case errors.Is(err, errHungUp):
		if !c.final {
			c.respond(sip.StatusRequestTerminated, "Request Terminated", nil)
		}
	default: // unacknowledged, or the carrier stops
		c.end("network", 0)
		if c.answered {
			c.bye()
		} else if !c.final {
			c.respond(sip.StatusServiceUnavailable, "Service Unavailable", nil)
		}
	}
	if c.stream != nil {
		c.carrier.pacer.remove(c.stream)
		c.stream.conn.Close()
	}
	c.linger()
}

// linger answers retransmissions until nothing more can come.
func (c *call) linger() {
	for {
		_, err := c.wait(t4, nil)
		if errors.Is(err, errStopped) {
			return
		}
		if len(c.again) == 0 && err == nil {
			return
		}
	}
}

// end closes the record. It comes before the message that tells the caller, so
// that who has been told finds it in the ledger.
func (c *call) end(by string, status int) {
	if !c.record.Open() {
		return
	}
	c.carrier.ledger.note(c.record, Ended, func(r *CallRecord) {
		r.EndedAt, r.EndedBy, r.Status = time.Now(), by, status
		if c.stream != nil {
			_, _, r.MessageAt, r.PacketsIn = c.stream.ear.state()
			c.stream.mu.Lock()
			r.PacketsOut = c.stream.sent
			c.stream.mu.Unlock()
		}
	})
}

func (c *call) note(change func(*CallRecord)) { c.carrier.ledger.note(c.record, "", change) }

// wait lets d pass, or less when wake fires first, and handles what comes in
// meanwhile. It fails when the caller ends the call.
func (c *call) wait(d time.Duration, wake <-chan struct{}) (woken bool, err error) {
	until := time.Now().Add(d)
	for {
		c.timer.Reset(time.Until(c.nextSend(until)))
		select {
		case m := <-c.inbox:
			if err := c.handle(m); err != nil {
				return false, err
			}
		case <-wake:
			return true, nil
		case <-c.timer.C:
			if err := c.sendDue(time.Now()); err != nil {
				return false, err
			}
		case <-c.done:
			return false, errStopped
		}
		if !time.Now().Before(until) {
			return false, nil
		}
	}
}

func (c *call) nextSend(until time.Time) time.Time {
	for _, r := range c.again {
		if r.next.Before(until) {
			until = r.next
		}
	}
	for _, d := range c.outbox {
		if d.at.Before(until) {
			until = d.at
		}
	}
	return until
}

func (c *call) sendDue(now time.Time) error {
	c.outbox = slices.DeleteFunc(c.outbox, func(d delayed) bool {
		if now.Before(d.at) {
			return false
		}
		c.carrier.send(d.raw, d.to)
		return true
	})
	for name, r := range c.again {
		if now.Before(r.next) {
			continue
		}
		if !now.Before(r.until) {
			delete(c.again, name)
			if r.expired != nil {
				return r.expired
			}
			continue
		}
		c.carrier.send(r.raw, r.to)
		r.every = min(2*r.every, t2)
		r.next = now.Add(r.every)
	}
	return nil
}

// repeat sends again until "what" is deleted from c.again.
func (c *call) repeat(what string, raw []byte, to netip.AddrPort, delay time.Duration, expired error) {
	now := time.Now().Add(delay)
	c.again[what] = &resend{raw: raw, to: to, next: now.Add(t1), every: t1, until: now.Add(giveUp), expired: expired}
}

// transmit sends a response with the faults that were drawn.
func (c *call) transmit(raw []byte, to netip.AddrPort) {
	delay := c.b.ResponseDelay
	if delay == 0 {
		c.carrier.send(raw, to)
	} else {
		c.outbox = append(c.outbox, delayed{raw, to, time.Now().Add(delay)})
	}
	if c.b.Retransmit {
		c.outbox = append(c.outbox, delayed{raw, to, time.Now().Add(delay + 15*time.Millisecond)})
	}
}

// respond answers the INVITE.
func (c *call) respond(status int, reason string, body []byte, headers ...sip.Header) {
	res := c.response(c.invite, status, reason, body, headers...)
	raw, to := []byte(res.String()), responseTo(c.invite, c.from)
	c.responded = raw
	c.transmit(raw, to)
	if status < 200 {
		return
	}
	c.final = true
	var unacked error
	if status < 300 {
		c.answered, unacked = true, errUnacked
	}
	c.repeat("ack", raw, to, c.b.ResponseDelay, unacked)
}

// response builds a response with our tag, Contact and body.
func (c *call) response(req *sip.Request, status int, reason string, body []byte, headers ...sip.Header) *sip.Response {
	res := sip.NewResponseFromRequest(req, status, reason, body)
	if to := res.To(); status > 100 {
		to.Params.Remove("tag")
		to.Params.Add("tag", c.tag)
	}
	if req.IsInvite() && status > 100 && status < 300 {
		res.AppendHeader(c.contact())
		res.AppendHeader(sip.NewHeader("Allow", allow))
	}
	if len(body) > 0 {
		res.AppendHeader(sip.NewHeader("Content-Type", "application/sdp"))
	}
	for _, h := range headers {
		res.AppendHeader(h)
	}
	return res
}

func (c *call) contact() sip.Header {
	at, param := c.here()
	return sip.NewHeader("Contact", fmt.Sprintf("<sip:carrier@%s%s>", at, param))
}

// handle takes one message of this call.
func (c *call) handle(m incoming) error {
	if m.response != nil {
		if m.response.CSeq().MethodName == sip.BYE && m.response.StatusCode >= 200 {
			delete(c.again, "bye")
		}
		return nil
	}
	req := m.request
	switch req.Method {
	case sip.INVITE:
		return c.handleInvite(m)
	case sip.ACK:
		return c.handleAck(req)
	case sip.CANCEL:
		c.reply(m, sip.StatusOK, "OK")
		if c.final {
			return nil
		}
		c.note(func(r *CallRecord) { r.CancelledAt = time.Now() })
		return errCancelled
	case sip.BYE:
		wasUp := c.record.Open()
		c.end("caller", sip.StatusOK)
		if !c.b.NoByeAnswer {
			c.reply(m, sip.StatusOK, "OK")
		}
		delete(c.again, "ack")
		if !wasUp {
			return nil
		}
		return errHungUp
	case sip.UPDATE:
		return c.handleOffer(m)
	case sip.OPTIONS, sip.INFO:
		c.reply(m, sip.StatusOK, "OK")
	default:
		c.reply(m, sip.StatusMethodNotAllowed, "Method Not Allowed", sip.NewHeader("Allow", allow))
	}
	return nil
}

// reply answers another request than the INVITE.
func (c *call) reply(m incoming, status int, reason string, headers ...sip.Header) {
	res := c.response(m.request, status, reason, nil, headers...)
	c.transmit([]byte(res.String()), responseTo(m.request, m.from))
}

func (c *call) handleInvite(m incoming) error {
	switch seq := m.request.CSeq().SeqNo; {
	case seq == c.invite.CSeq().SeqNo:
		if c.responded != nil {
			c.transmit(c.responded, responseTo(c.invite, c.from))
		}
	case seq == c.reinvite.cseq:
		c.transmit(c.reinvite.reply, responseTo(m.request, m.from))
	case !m.request.To().Params.Has("tag"):
		c.reply(m, sip.StatusLoopDetected, "Merged Request")
	case !c.answered || !c.record.Open():
		c.reply(m, sip.StatusRequestPending, "Request Pending")
	default:
		return c.handleOffer(m)
	}
	return nil
}

// handleOffer follows a re-INVITE or UPDATE, such as a hold.
func (c *call) handleOffer(m incoming) error {
	if len(m.request.Body()) > 0 {
		far, err := parseSession(m.request.Body())
		if err != nil {
			c.reply(m, sip.StatusNotAcceptableHere, "Not Acceptable Here")
			return nil
		}
		c.far = far
		if c.stream != nil {
			c.stream.negotiate(far)
		}
	}
	var body []byte
	if c.stream != nil && (m.request.IsInvite() || len(m.request.Body()) > 0) {
		body = c.far.answer(c.stream.local, 2)
	}
	res := c.response(m.request, sip.StatusOK, "OK", body)
	raw, to := []byte(res.String()), responseTo(m.request, m.from)
	if m.request.IsInvite() {
		c.reinvite.cseq, c.reinvite.reply = m.request.CSeq().SeqNo, raw
		c.repeat("reinvite", raw, to, c.b.ResponseDelay, nil)
	}
	c.transmit(raw, to)
	return nil
}

func (c *call) handleAck(req *sip.Request) error {
	if req.CSeq().SeqNo == c.reinvite.cseq && c.reinvite.reply != nil {
		delete(c.again, "reinvite")
		return nil
	}
	delete(c.again, "ack")
	if !c.answered || !c.record.AckedAt.IsZero() {
		return nil
	}
	close(c.acked)
	c.note(func(r *CallRecord) { r.AckedAt = time.Now() })
	if far, err := parseSession(req.Body()); c.lateSD && err == nil {
		c.far = far
		c.stream.negotiate(far)
	}
	return nil
}

// here is our address on the call's transport, and how a URI names that.
func (c *call) here() (at netip.AddrPort, param string) {
	switch c.invite.Transport() {
	case "TCP":
		return c.carrier.addr, ";transport=tcp"
	case "TLS":
		return c.carrier.TLSAddr(), ";transport=tls"
	}
	return c.carrier.addr, ""
}

// bye ends the dialog from our side.
func (c *call) bye() {
	target := c.invite.From().Address
	if contact := c.invite.Contact(); contact != nil {
		target = contact.Address
	}
	req := sip.NewRequest(sip.BYE, *target.Clone())
	at, _ := c.here()
	req.AppendHeader(sip.NewHeader("Via", fmt.Sprintf("SIP/2.0/%s %s;branch=%s;rport", c.invite.Transport(), at, sip.GenerateBranchN(16))))
	hop := target
	for i, route := range c.invite.GetHeaders("Record-Route") {
		if rr, ok := route.(*sip.RecordRouteHeader); ok && i == 0 {
			hop = rr.Address
		}
		req.AppendHeader(sip.NewHeader("Route", route.Value()))
	}
	c.cseq++
	req.AppendHeader(sip.NewHeader("From", fmt.Sprintf("<%s>;tag=%s", c.invite.To().Address.String(), c.tag)))
	req.AppendHeader(sip.NewHeader("To", c.invite.From().Value()))
	req.AppendHeader(sip.NewHeader("Call-ID", c.invite.CallID().Value()))
	req.AppendHeader(sip.NewHeader("CSeq", fmt.Sprintf("%d BYE", c.cseq)))
	req.AppendHeader(sip.NewHeader("Max-Forwards", "70"))
	req.SetBody(nil)
	to := c.from
	if host, err := netip.ParseAddr(hop.Host); err == nil && c.invite.Transport() == "UDP" {
		port := uint16(hop.Port)
		if port == 0 {
			port = 5060
		}
		to = netip.AddrPortFrom(host, port)
	}
	delete(c.again, "ack")
	raw := []byte(req.String())
	c.carrier.send(raw, to)
	c.repeat("bye", raw, to, 0, nil)
}

// media opens the audio of this call, for early media or the answer. It
// returns our SDP.
func (c *call) media() ([]byte, error) {
	if c.stream != nil {
		return c.far.answer(c.stream.local, 1), nil
	}
	c.lateSD = len(c.invite.Body()) == 0
	if !c.lateSD {
		far, err := parseSession(c.invite.Body())
		if err != nil {
			return nil, err
		}
		c.far = far
	}
	conn, err := c.carrier.ports.open()
	if err != nil {
		return nil, err
	}
	local := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	s := &stream{
		conn: conn, local: netip.AddrPortFrom(local.Addr().Unmap(), local.Port()),
		ear: newEar(c.carrier.message), level: c.b.Level, noise: c.b.Noise, loss: c.b.Loss,
		random: rand.New(rand.NewPCG(c.random.Uint64(), 1)),
		seq:    uint16(rand.Uint32()), ssrc: rand.Uint32(), base: rand.Uint32(),
	}
	if s.level <= 0 || s.level > 1 {
		s.level = 1
	}
	s.noise = max(0, min(1000, s.noise))
	s.negotiate(c.far)
	c.stream = s
	c.carrier.scripts.Go(s.listen)
	if !c.b.NoMedia {
		c.carrier.pacer.add(s)
	}
	return c.far.answer(s.local, 1), nil
}
