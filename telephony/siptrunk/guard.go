package siptrunk

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"

	"dialer/telephony"
)

// A socket is the SIP socket with the guard in front: what it hands to sipgo
// comes from a known host, is small, parses, and has the headers that every
// message must have. Strangers may only register; anything else of theirs gets
// no answer. REGISTER never reaches sipgo, whose transactions would keep 32 s
// of memory for each.
//
// One goroutine reads, so what the guard tells the calls is in wire order.
type socket struct {
	*net.UDPConn
	e      *Endpoint
	peers  *peers
	limit  *limiter // of REGISTER
	other  *limiter // of requests that belong to no call
	parser *sip.Parser

	served sync.Once
	up     chan struct{} // closed once sipgo reads, and so can send

	dropped atomic.Int64
	said    atomic.Int64 // when a drop was last logged, Unix seconds
}

const (
	readBuffer = 4 << 20
	maxHeaders = 100
)

func newSocket(conn *net.UDPConn, e *Endpoint) *socket {
	return &socket{
		UDPConn: conn, e: e,
		peers:  &peers{trunks: map[netip.Addr]bool{}, others: map[netip.Addr]int{}},
		limit:  newLimiter(registerBurst, registerRate),
		other:  newLimiter(otherBurst, otherRate),
		parser: sip.NewParser(),
		up:     make(chan struct{}),
	}
}

// ReadFrom returns the next datagram that passed the guard.
func (s *socket) ReadFrom(b []byte) (int, net.Addr, error) {
	s.served.Do(func() { close(s.up) })
	for failures := 0; ; {
		n, from, err := s.ReadFromUDPAddrPort(b)
		if err != nil {
			// The kernel reports other hosts' ICMP errors here; only a closed
			// socket, or one that does nothing but fail, is the end.
			if failures++; errors.Is(err, net.ErrClosed) || failures > 100 {
				return 0, nil, err
			}
			continue
		}
		failures = 0
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		if n = s.admit(b[:n], from); n > 0 {
			return n, net.UDPAddrFromAddrPort(from), nil
		}
	}
}

// WriteTo sends what sipgo sends.
func (s *socket) WriteTo(b []byte, to net.Addr) (int, error) {
	return s.WriteToUDPAddrPort(b, to.(*net.UDPAddr).AddrPort())
}

// WriteToUDPAddrPort sends a message.
func (s *socket) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	s.e.wire(true, telephony.UDP, s.e.Addr(), to, b)
	return s.UDPConn.WriteToUDPAddrPort(b, to)
}

// await blocks until the socket is served: sipgo would send what comes earlier
// from a socket of its own.
func (s *socket) await(ctx context.Context) error {
	select {
	case <-s.up:
		return nil
	default:
	}
	select {
	case <-s.up:
		return nil
	case <-s.e.stopping:
		return errors.New("SIP is shut down")
	case <-ctx.Done():
		return fmt.Errorf("SIP is not up: %w", context.Cause(ctx))
	}
}

// admit decides on one datagram and returns how much of it is to be passed on;
// what RFC 3261 allows and the parser does not understand is rewritten in place.
func (s *socket) admit(data []byte, from netip.AddrPort) (n int) {
	defer func() {
		if p := recover(); p != nil { // a bug of the parser must cost one datagram
			n = 0
			s.drop(from, "the parser panicked")
		}
	}()
	if len(bytes.Trim(data, "\r\n\x00")) == 0 {
		return 0 // keep-alive
	}
	known := s.peers.known(from.Addr())
	register := bytes.HasPrefix(data, []byte("REGISTER "))
	switch {
	case !known && !register:
		s.drop(from, "not from a trunk or a registered phone")
		return 0
	case len(data) > maxDatagram:
		s.drop(from, "larger than 16 kB")
		return 0
	case register && !s.limit.allow(from.Addr(), time.Now()):
		s.drop(from, "too many REGISTERs")
		return 0
	}
	s.e.wire(false, telephony.UDP, s.e.Addr(), from, data)
	n = copy(data, tidy(data))
	data = data[:n]
	msg, err := s.parser.ParseSIP(bytes.Clone(data))
	if err != nil {
		s.refuse(data, from, "does not parse")
		return 0
	}
	msg.SetTransport("UDP")
	msg.SetSource(from.String())
	if why := malformed(msg); why != "" {
		s.refuse(data, from, why)
		return 0
	}
	switch msg := msg.(type) {
	case *sip.Request:
		leg := s.e.legOf(msg)
		if leg == nil { // a live call is not lost over a comma
			if status, _ := readHead(data).fault(); status != 0 {
				s.refuse(data, from, "")
				return 0
			}
		}
		if register {
			s.e.reg.queue(msg, from)
			return 0
		}
		if msg.IsAck() {
			// In wire order, so that a re-INVITE right behind it is not met by
			// an unfinished one before it. sipgo hears of it as well: it may be
			// the ACK of a refusal.
			if leg != nil && leg.ours(msg) {
				leg.acked(msg)
			}
		}
		// Each costs sipgo a transaction of 32 s, and a source can be forged.
		if !msg.IsAck() && leg == nil && !s.other.allow(from.Addr(), time.Now()) {
			s.drop(from, "too many requests that belong to no call")
			return 0
		}
		if leg == nil && legacy(msg) && toTag(msg) == "" {
			if status, reason, headers := verdict(msg); status != 0 {
				s.answer(msg, from, status, reason, headers...)
			}
			return 0
		}
	case *sip.Response:
		s.e.heard(msg)
	}
	return n
}

// malformed says what is wrong with the headers that every message must have.
func malformed(msg sip.Message) string {
	for _, names := range [...][2]string{{"from", "f"}, {"to", "t"}, {"call-id", "i"}, {"cseq", ""}} {
		n := len(msg.GetHeaders(names[0]))
		if names[1] != "" {
			n += len(msg.GetHeaders(names[1]))
		}
		if n != 1 {
			return "needs exactly one " + names[0] + " header"
		}
	}
	switch {
	case msg.From() == nil, msg.To() == nil, msg.CallID() == nil, msg.CSeq() == nil, msg.Via() == nil:
		return "has an unreadable From, To, Call-ID, CSeq or Via"
	case msg.CallID().Value() == "" || len(msg.CallID().Value()) > 512:
		return "has an empty or endless Call-ID"
	case msg.CSeq().SeqNo > 1<<31-1:
		return "has a CSeq beyond 2^31"
	}
	switch msg := msg.(type) {
	case *sip.Request:
		if len(msg.Headers()) > maxHeaders {
			return "has more than 100 headers"
		}
		if msg.SipVersion != "SIP/2.0" {
			return "is not SIP/2.0"
		}
		if !strings.EqualFold(string(msg.CSeq().MethodName), string(msg.Method)) {
			return "has a CSeq of another method"
		}
		if msg.Recipient.Host == "" {
			return "has no host in its URI"
		}
	case *sip.Response:
		if len(msg.Headers()) > maxHeaders {
			return "has more than 100 headers"
		}
		if msg.StatusCode < 100 || msg.StatusCode > 699 {
			return "has no status of SIP"
		}
		if len(msg.GetHeaders("via")) != 1 {
			return "went astray: the Via of another is below ours" // RFC 3261 8.1.3.3
		}
	}
	return ""
}

// refuse drops a datagram and, when it is a request of somebody we know, says
// why (RFC 3261 8.2, 16.3). An ACK is never answered.
func (s *socket) refuse(data []byte, from netip.AddrPort, why string) {
	h := readHead(data)
	status, fault := h.fault()
	s.drop(from, cmp.Or(fault, why))
	method := h.method()
	if method == "" || method == "ACK" || !s.peers.known(from.Addr()) && method != "REGISTER" {
		return
	}
	if text := s.e.refusal(h, from, cmp.Or(status, 400)); text != "" {
		if _, err := s.WriteToUDPAddrPort([]byte(text), h.sentBy(from)); err != nil {
			s.e.log.Debug("cannot answer", "peer", from.String(), "err", err)
		}
	}
}

// answer sends a response without a transaction.
func (s *socket) answer(req *sip.Request, to netip.AddrPort, status int, reason string, headers ...sip.Header) {
	res := sip.NewResponseFromRequest(req, status, reason, nil)
	for _, h := range headers {
		res.AppendHeader(h)
	}
	if via := req.Via(); via != nil && !via.Params.Has("rport") && via.Port > 0 && via.Port < 1<<16 {
		to = netip.AddrPortFrom(to.Addr(), uint16(via.Port)) // RFC 3261 18.2.2
	}
	if _, err := s.WriteToUDPAddrPort([]byte(res.String()), to); err != nil {
		s.e.log.Debug("cannot answer", "peer", to.String(), "err", err)
	}
}

// drop counts a refused datagram and logs at most one a second.
func (s *socket) drop(from netip.AddrPort, why string) {
	n := s.dropped.Add(1)
	now := time.Now().Unix()
	if last := s.said.Load(); now > last && s.said.CompareAndSwap(last, now) {
		s.e.log.Warn("SIP datagram dropped", "from", from.String(), "why", why, "dropped", n)
	}
}

// peers are the hosts that may speak to us beside registering: trunks, and by
// count, registered phones and the far ends of calls.
type peers struct {
	mu     sync.RWMutex
	trunks map[netip.Addr]bool
	others map[netip.Addr]int
}

func (p *peers) known(a netip.Addr) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.trunks[a] || p.others[a] > 0
}

func (p *peers) setTrunks(addrs []netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.trunks)
	for _, a := range addrs {
		p.trunks[a] = true
	}
}

// add admits a host until the returned function has been called.
func (p *peers) add(a netip.Addr) (remove func()) {
	p.mu.Lock()
	p.others[a]++
	p.mu.Unlock()
	return sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.others[a]--; p.others[a] <= 0 {
			delete(p.others, a)
		}
	})
}

// A limiter gives each source a burst of requests and a rate beyond it. A
// REGISTER with good credentials gives its two back, so an office full of
// phones behind one address may start at once while a guesser is silenced.
type limiter struct {
	burst, rate float64 // requests, requests a second

	mu      sync.Mutex
	sources map[netip.Addr]*allowance
	swept   time.Time
}

type allowance struct {
	left float64
	at   time.Time
}

const (
	registerBurst  = 50
	registerRate   = 25
	otherBurst     = 200
	otherRate      = 100
	maxSources     = 10_000
	registerCredit = 2 // the challenged REGISTER and the one with credentials
)

func newLimiter(burst, rate float64) *limiter {
	return &limiter{burst: burst, rate: rate, sources: map[netip.Addr]*allowance{}}
}

func (l *limiter) allow(a netip.Addr, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sources[a]
	if s == nil {
		if len(l.sources) >= maxSources && now.Sub(l.swept) >= time.Second {
			l.swept = now // a sweep costs more than a datagram does its sender
			l.forget(now)
		}
		if len(l.sources) >= maxSources {
			return false // a flood of forged sources: hear no new ones
		}
		s = &allowance{left: l.burst, at: now}
		l.sources[a] = s
	}
	s.left = min(l.burst, s.left+now.Sub(s.at).Seconds()*l.rate)
	s.at = now
	if s.left < 1 {
		return false
	}
	s.left--
	return true
}

func (l *limiter) credit(a netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.sources[a]; s != nil {
		s.left = min(l.burst, s.left+registerCredit)
	}
}

// forget drops the sources whose allowance is full again.
func (l *limiter) forget(now time.Time) {
	for a, s := range l.sources {
		if s.left+now.Sub(s.at).Seconds()*l.rate >= l.burst {
			delete(l.sources, a)
		}
	}
}
