package siptrunk

import (
	"bytes"
	"cmp"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"

	"dialer/telephony"
)

// A guard stands before sipgo: what it lets in comes from a known host, is
// small, parses, and has the headers that every message must have. Strangers may
// only register; anything else of theirs gets no answer. REGISTER never reaches
// sipgo, whose transactions would keep 32 s of memory for each.
type guard struct {
	e      *Endpoint
	peers  *peers
	limit  *limiter // of REGISTER
	other  *limiter // of requests that belong to no call
	parser *sip.Parser

	dropped atomic.Int64
	said    atomic.Int64 // when a drop was last logged, Unix seconds
}

const maxHeaders = 100

func newGuard(e *Endpoint) *guard {
	return &guard{
		e:      e,
		peers:  &peers{trunks: map[netip.Addr]bool{}, others: map[netip.Addr]int{}},
		limit:  newLimiter(registerBurst, registerRate),
		other:  newLimiter(otherBurst, otherRate),
		parser: sip.NewParser(),
	}
}

// An origin is where a message came from, and the way back.
type origin struct {
	transport telephony.Transport
	local     netip.AddrPort
	addr      netip.AddrPort
	stream    *stream // nil for UDP
}

// A ruling is what the guard makes of a message.
type ruling int

const (
	refused ruling = iota
	taken          // and dealt with: sipgo is not to see it
	passed         // on to sipgo
)

// admit decides on one message and returns what is to be passed on; what RFC 3261
// allows and the parser does not understand is rewritten in place.
func (g *guard) admit(data []byte, o origin) (pass []byte, r ruling) {
	from := o.addr
	defer func() {
		if p := recover(); p != nil { // a bug of the parser must cost one message
			pass, r = nil, refused
			g.drop(from, "the parser panicked")
		}
	}()
	if len(bytes.Trim(data, "\r\n\x00")) == 0 {
		return nil, refused // keep-alive
	}
	known := g.peers.known(from.Addr())
	register := bytes.HasPrefix(data, []byte("REGISTER "))
	switch {
	case !known && !register:
		g.drop(from, "not from a trunk or a registered phone")
		return nil, refused
	case len(data) > maxDatagram:
		g.drop(from, "larger than 16 kB")
		return nil, refused
	case register && !g.limit.allow(from.Addr(), known, time.Now()):
		g.drop(from, "too many REGISTERs")
		return nil, refused
	}
	g.e.wire(false, o.transport, o.local, from, data)
	data = data[:copy(data, tidy(data))]
	msg, err := g.parse(data, o)
	if err != nil {
		g.refuse(data, o, "does not parse")
		return nil, refused
	}
	msg.SetTransport(upper(o.transport))
	msg.SetSource(from.String())
	if why := malformed(msg); why != "" {
		g.refuse(data, o, why)
		return nil, refused
	}
	switch msg := msg.(type) {
	case *sip.Request:
		leg := g.e.legOf(msg)
		ofCall := leg != nil || g.e.ringing(msg) != nil
		if !ofCall { // a live call is not lost over a comma
			if status, _ := readHead(data).fault(); status != 0 {
				g.refuse(data, o, "")
				return nil, refused
			}
		}
		if register {
			g.e.reg.queue(msg, o)
			return nil, taken
		}
		if msg.IsAck() {
			// In wire order, so that a re-INVITE right behind it is not met by
			// an unfinished one before it. sipgo hears of it as well: it may be
			// the ACK of a refusal.
			if leg != nil && leg.d.from(msg) {
				leg.acked(msg)
			}
		}
		// Each costs sipgo a transaction of 32 s, and a source can be forged.
		if !msg.IsAck() && !ofCall && !g.other.allow(from.Addr(), true, time.Now()) {
			g.drop(from, "too many requests that belong to no call")
			return nil, refused
		}
		if !ofCall && legacy(msg) && toTag(msg) == "" {
			if status, reason, headers := verdict(msg); status != 0 {
				g.answer(msg, o, status, reason, headers...)
			}
			return nil, taken
		}
	case *sip.Response:
		if g.e.heard(msg) {
			return nil, taken
		}
	}
	return data, passed
}

// parse reads a message. One of a stream is read as sipgo will read it, and must
// be one message for it: what hides behind the end that we saw would pass
// unseen.
func (g *guard) parse(data []byte, o origin) (sip.Message, error) {
	if o.stream == nil {
		return g.parser.ParseSIP(data) // which keeps nothing of it
	}
	var msg sip.Message
	n := 0
	p := g.parser.NewSIPStream()
	err := p.ParseSIPStream(data, func(m sip.Message) { msg, n = m, n+1 })
	if err == nil && (n != 1 || p.Buffer().Len() != 0) {
		err = errors.New("not one message")
	}
	return msg, err
}

// malformed says what is wrong with the headers that every message must have.
func malformed(msg sip.Message) string {
	var from, to, callID, cseq, vias int
	all := headers(msg)
	if len(all) > maxHeaders {
		return "has more than 100 headers"
	}
	for _, h := range all {
		switch h.(type) {
		case *sip.FromHeader:
			from++
		case *sip.ToHeader:
			to++
		case *sip.CallIDHeader:
			callID++
		case *sip.CSeqHeader:
			cseq++
		case *sip.ViaHeader:
			vias++
		}
	}
	if from != 1 || to != 1 || callID != 1 || cseq != 1 {
		return "needs exactly one From, To, Call-ID and CSeq"
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
		if msg.StatusCode < 100 || msg.StatusCode > 699 {
			return "has no status of SIP"
		}
		if vias != 1 {
			return "went astray: the Via of another is below ours" // RFC 3261 8.1.3.3
		}
	}
	return ""
}

// refuse drops a message and, when it is a request of somebody we know, says why
// (RFC 3261 8.2, 16.3). An ACK is never answered.
func (g *guard) refuse(data []byte, o origin, why string) {
	h := readHead(data)
	status, fault := h.fault()
	g.drop(o.addr, cmp.Or(fault, why))
	method := h.method()
	if method == "" || method == "ACK" || !g.peers.known(o.addr.Addr()) && method != "REGISTER" {
		return
	}
	if text := g.e.refusal(h, o.addr, cmp.Or(status, 400)); text != "" {
		g.write([]byte(text), o, h.sentBy(o.addr))
	}
}

// answer sends a response without a transaction.
func (g *guard) answer(req *sip.Request, to origin, status int, reason string, headers ...sip.Header) {
	res := sip.NewResponseFromRequest(req, status, reason, nil)
	for _, h := range headers {
		res.AppendHeader(h)
	}
	at := to.addr
	if via := req.Via(); via != nil && !via.Params.Has("rport") && via.Port > 0 && via.Port < 1<<16 {
		at = netip.AddrPortFrom(at.Addr(), uint16(via.Port)) // RFC 3261 18.2.2
	}
	g.write([]byte(res.String()), to, at)
}

// write sends a response back over the connection, or over UDP to an address.
func (g *guard) write(data []byte, to origin, at netip.AddrPort) {
	var err error
	if to.stream != nil {
		_, err = to.stream.Write(data)
	} else {
		_, err = g.e.sock.WriteToUDPAddrPort(data, at)
	}
	if err != nil {
		g.e.log.Debug("cannot answer", "peer", to.addr.String(), "err", err)
	}
}

// drop counts a refused message and logs at most one a second.
func (g *guard) drop(from netip.AddrPort, why string) {
	n := g.dropped.Add(1)
	now := time.Now().Unix()
	if last := g.said.Load(); now > last && g.said.CompareAndSwap(last, now) {
		g.e.log.Warn("SIP message dropped", "from", from.String(), "why", why, "dropped", n)
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
// phones behind one address may start at once while a guesser is silenced. Known
// hosts are kept apart from strangers, whose addresses can be forged by the
// thousand.
type limiter struct {
	burst, rate float64 // requests, requests a second

	mu               sync.Mutex
	known, strangers map[netip.Addr]*allowance
	swept            time.Time
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
	return &limiter{burst: burst, rate: rate, known: map[netip.Addr]*allowance{}, strangers: map[netip.Addr]*allowance{}}
}

func (l *limiter) allow(a netip.Addr, known bool, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	sources := l.strangers
	if known {
		sources = l.known // no more than the guard has let in
	}
	s := sources[a]
	if s == nil {
		if len(sources) >= maxSources && now.Sub(l.swept) >= time.Second {
			l.swept = now // a sweep costs more than a datagram does its sender
			l.forget(now)
		}
		if len(sources) >= maxSources && !known {
			return false // a flood of forged sources: hear no new ones
		}
		s = &allowance{left: l.burst, at: now}
		sources[a] = s
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
	for _, sources := range [...]map[netip.Addr]*allowance{l.known, l.strangers} {
		if s := sources[a]; s != nil {
			s.left = min(l.burst, s.left+registerCredit)
		}
	}
}

// forget drops the sources whose allowance is full again.
func (l *limiter) forget(now time.Time) {
	for _, sources := range [...]map[netip.Addr]*allowance{l.known, l.strangers} {
		for a, s := range sources {
			if s.left+now.Sub(s.at).Seconds()*l.rate >= l.burst {
				delete(sources, a)
			}
		}
	}
}
