package siptest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
)

// CarrierConfig says how a carrier is reached and who is behind it.
type CarrierConfig struct {
	// Listen is the address for SIP over UDP and TCP, such as "127.0.0.1:5090";
	// port 0 takes a free one. RTP goes over the same IP address.
	Listen string
	// TLS, when set, has the carrier listen for SIP over TLS too, on a free port
	// that TLSAddr tells.
	TLS *tls.Config
	// Population defaults to DefaultPopulation.
	Population *Population
	// Seed makes the run repeatable: the same seed, number and attempt always
	// meet the same behaviour.
	Seed uint64
	// Speed divides the times of ringing, talking and recording; 0 means 1.
	// Speech, the pause before hello and people's patience stay real.
	Speed float64
	// Script, when set, decides the behaviour of a number in place of the
	// population; false leaves it to the population.
	Script func(number string, attempt int) (Behaviour, bool)

	// User and Password challenge each INVITE when User is set, with status
	// Challenge: 401, the default, or 407.
	User, Password, Realm string
	Challenge             int
	// Allow refuses callers from elsewhere with 403; empty allows everyone.
	Allow []netip.Prefix

	// RTP limits the ports used for audio; zero leaves the choice to the
	// system.
	RTP PortRange
	// Message is the recording that a dialer plays to abandoned calls, so
	// that people recognise it; empty means the clip "abandoned".
	Message []int16

	// Ledger is a file to which JSON lines are appended; "" keeps none.
	Ledger string
	// Keep is how many records Calls holds at least; 0 means all.
	Keep int
	// OnEvent, when set, is told of each event with a copy of the record. It
	// must not block.
	OnEvent func(Event, CallRecord)
	// Logger defaults to none.
	Logger *slog.Logger
}

// A Carrier is a SIP carrier with a scripted population behind it.
type Carrier struct {
	cfg     CarrierConfig
	people  *Population
	conn    *net.UDPConn
	conns   *connections
	hearing sync.Mutex // one message at a time
	addr    netip.AddrPort
	parser  *sip.Parser
	auth    *authenticator
	pacer   *pacer
	ports   *ports
	ledger  *ledger
	message []float64
	log     *slog.Logger

	mu       sync.Mutex
	calls    map[string]*call
	attempts map[string]int
	scripts  sync.WaitGroup
}

// NewCarrier checks the configuration and takes the address; Run serves it and
// must be called once.
func NewCarrier(cfg CarrierConfig) (*Carrier, error) {
	if cfg.Population == nil {
		cfg.Population = DefaultPopulation()
	}
	if err := cfg.Population.Validate(); err != nil {
		return nil, err
	}
	if cfg.Speed == 0 {
		cfg.Speed = 1
	}
	if !(cfg.Speed > 0 && cfg.Speed <= 1000) {
		return nil, fmt.Errorf("speed %v is not above 0 and at most 1000", cfg.Speed)
	}
	if cfg.RTP != (PortRange{}) {
		if err := cfg.RTP.validate(); err != nil {
			return nil, err
		}
	}
	if cfg.Realm == "" {
		cfg.Realm = "carrier.example"
	}
	if cfg.Challenge == 0 {
		cfg.Challenge = sip.StatusUnauthorized
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if len(cfg.Message) == 0 {
		cfg.Message = clipSamples("abandoned")
	}
	message := contourOf(cfg.Message)
	if len(message) < contourLength {
		return nil, fmt.Errorf("the message to abandoned calls is too short to be known again: it needs %v of speech",
			contourLength*frameSamples*time.Second/8000)
	}
	at, err := net.ResolveUDPAddr("udp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen address %q: %w", cfg.Listen, err)
	}
	if at.IP == nil || at.IP.IsUnspecified() {
		return nil, fmt.Errorf("listen address %q: name one IP address, since it goes into Contact and SDP", cfg.Listen)
	}
	l, err := newLedger(cfg.Ledger, cfg.Keep, cfg.OnEvent)
	if err != nil {
		return nil, err
	}
	conn, conns, err := listen(at, cfg.TLS)
	if err != nil {
		return nil, errors.Join(err, l.close())
	}
	// A burst of 1000 INVITEs must not overflow; the system may grant less.
	_ = conn.SetReadBuffer(4 << 20)
	addr := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	c := &Carrier{
		cfg: cfg, people: cfg.Population.filled(), conn: conn, conns: conns, addr: addr,
		parser: sip.NewParser(), pacer: newPacer(), ledger: l, log: cfg.Logger,
		ports:   &ports{host: addr.Addr(), within: cfg.RTP},
		message: message,
		calls:   map[string]*call{}, attempts: map[string]int{},
	}
	if cfg.User != "" {
		c.auth = newAuthenticator(cfg.User, cfg.Password, cfg.Realm, cfg.Challenge)
	}
	return c, nil
}

// Addr is where the carrier takes calls.
func (c *Carrier) Addr() netip.AddrPort { return c.addr }

// TLSAddr is where it takes calls over TLS, if it does.
func (c *Carrier) TLSAddr() netip.AddrPort {
	if c.conns.tls == nil {
		return netip.AddrPort{}
	}
	return c.conns.tls.Addr().(*net.TCPAddr).AddrPort()
}

// Disconnect closes every TCP and TLS connection, as a carrier does that is
// restarted. Calls go on.
func (c *Carrier) Disconnect() { c.conns.drop() }

// Calls returns the records, oldest first.
func (c *Carrier) Calls() []CallRecord { return c.ledger.all() }

// Counts sums up all calls since the start.
func (c *Carrier) Counts() Counts { return c.ledger.sum() }

// Open is the number of calls that are ringing or up now.
func (c *Carrier) Open() int { return c.Counts().Open() }

// Await returns when the counts satisfy ok, or with ctx's error.
func (c *Carrier) Await(ctx context.Context, ok func(Counts) bool) error {
	return c.ledger.await(ctx, ok)
}

// Run serves until ctx is done, then ends the calls that are up and returns
// nil. It fails when the ledger could not be written.
func (c *Carrier) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var pacing sync.WaitGroup
	pacing.Go(func() { c.pacer.run(ctx) })
	pacing.Go(func() { c.conns.accept(ctx, c.conns.tcp, "TCP", c.hear) })
	if c.conns.tls != nil {
		pacing.Go(func() { c.conns.accept(ctx, c.conns.tls, "TLS", c.hear) })
	}
	unblock := context.AfterFunc(ctx, func() { _ = c.conn.SetReadDeadline(time.Now()) })
	defer unblock()
	err := c.serve(ctx)
	stop()
	c.scripts.Wait()
	c.conns.close()
	pacing.Wait()
	return errors.Join(err, c.conn.Close(), c.ledger.close())
}

func (c *Carrier) serve(ctx context.Context) error {
	buf := make([]byte, 65536)
	for {
		n, from, err := c.conn.ReadFromUDPAddrPort(buf)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading SIP: %w", err)
		}
		c.receive(ctx, buf[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))
	}
}

// receive takes one datagram. Whatever it holds, it must not stop the carrier.
func (c *Carrier) receive(ctx context.Context, data []byte, from netip.AddrPort) {
	defer func() {
		if p := recover(); p != nil {
			c.log.Warn("dropped a datagram that broke the parser", "from", from, "panic", p)
		}
	}()
	msg, err := c.parser.ParseSIP(data)
	if err != nil {
		c.log.Debug("dropped a datagram that is not SIP", "from", from, "bytes", len(data), "error", err)
		return
	}
	msg.SetTransport("UDP")
	c.hear(ctx, msg, from)
}

// hear takes one message.
func (c *Carrier) hear(ctx context.Context, msg sip.Message, from netip.AddrPort) {
	c.hearing.Lock()
	defer c.hearing.Unlock()
	if !complete(msg) {
		c.log.Debug("dropped a message without the headers that each must have", "from", from)
		return
	}
	msg.SetSource(from.String())
	switch m := msg.(type) {
	case *sip.Request:
		c.request(ctx, m, from)
	case *sip.Response:
		// To our BYE: the far side's tag stands in To.
		tag, _ := m.To().Params.Get("tag")
		if call := c.find(m.CallID().Value(), tag); call != nil {
			call.deliver(incoming{response: m, from: from})
		}
	}
}

func complete(msg sip.Message) bool {
	return msg.Via() != nil && msg.From() != nil && msg.To() != nil && msg.CallID() != nil && msg.CSeq() != nil
}

func key(callID, farTag string) string { return callID + "\x00" + farTag }

func (c *Carrier) find(callID, farTag string) *call {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls[key(callID, farTag)]
}

func (c *Carrier) request(ctx context.Context, req *sip.Request, from netip.AddrPort) {
	if !c.allowed(from.Addr()) {
		if !req.IsAck() {
			c.reply(req, from, sip.StatusForbidden, "Forbidden")
		}
		return
	}
	tag, _ := req.From().Params.Get("tag")
	if call := c.find(req.CallID().Value(), tag); call != nil {
		call.deliver(incoming{request: req, from: from})
		return
	}
	switch _, inDialog := req.To().Params.Get("tag"); {
	case req.IsAck():
		// Of a challenge, or of a call long gone.
	case req.IsInvite() && !inDialog:
		if c.auth != nil {
			if challenge := c.auth.check(req, time.Now()); challenge != nil {
				c.reply(req, from, c.auth.status, "Unauthorized", challenge)
				return
			}
		}
		c.invite(ctx, req, from, tag)
	case req.Method == sip.OPTIONS && !inDialog:
		c.reply(req, from, sip.StatusOK, "OK", sip.NewHeader("Allow", allow), sip.NewHeader("Accept", "application/sdp"))
	case inDialog || req.IsCancel():
		c.reply(req, from, sip.StatusCallTransactionDoesNotExists, "Call/Transaction Does Not Exist")
	default:
		c.reply(req, from, sip.StatusMethodNotAllowed, "Method Not Allowed", sip.NewHeader("Allow", allow))
	}
}

const allow = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE"

func (c *Carrier) allowed(host netip.Addr) bool {
	for _, p := range c.cfg.Allow {
		if p.Contains(host) {
			return true
		}
	}
	return len(c.cfg.Allow) == 0
}

// invite begins a call.
func (c *Carrier) invite(ctx context.Context, req *sip.Request, from netip.AddrPort, tag string) {
	number := req.Recipient.User
	c.mu.Lock()
	attempt := c.attempts[number]
	c.attempts[number]++
	c.mu.Unlock()
	var b Behaviour
	scripted := false
	if c.cfg.Script != nil {
		b, scripted = c.cfg.Script(number, attempt)
	}
	if !scripted {
		b = c.people.Behave(c.cfg.Seed, number, attempt)
	}
	call := newCall(c, req, from, b, attempt)
	c.mu.Lock()
	c.calls[key(req.CallID().Value(), tag)] = call
	c.mu.Unlock()
	c.ledger.add(call.record)
	c.scripts.Go(func() {
		call.run(ctx)
		c.mu.Lock()
		delete(c.calls, key(req.CallID().Value(), tag))
		c.mu.Unlock()
	})
}

// reply answers outside any call, without state.
func (c *Carrier) reply(req *sip.Request, from netip.AddrPort, status int, reason string, headers ...sip.Header) {
	res := sip.NewResponseFromRequest(req, status, reason, nil)
	for _, h := range headers {
		res.AppendHeader(h)
	}
	c.send([]byte(res.String()), responseTo(req, from))
}

// responseTo is where responses to a request go (RFC 3261 18.2.2, RFC 3581).
func responseTo(req *sip.Request, from netip.AddrPort) netip.AddrPort {
	via := req.Via()
	if req.Transport() != "UDP" {
		return from // over the connection
	}
	if via.Params.Has("rport") {
		return from
	}
	if via.Port == 0 {
		return netip.AddrPortFrom(from.Addr(), 5060)
	}
	return netip.AddrPortFrom(from.Addr(), uint16(via.Port))
}

func (c *Carrier) send(raw []byte, to netip.AddrPort) {
	if conn, ok := c.conns.at(to); ok {
		if _, err := conn.Write(raw); err != nil {
			c.log.Debug("could not send", "to", to, "error", err)
		}
		return
	}
	if _, err := c.conn.WriteToUDPAddrPort(raw, to); err != nil {
		// UDP loses datagrams; what matters is sent again.
		c.log.Debug("could not send", "to", to, "error", err)
	}
}

func (c *Carrier) scaled(d time.Duration) time.Duration {
	return time.Duration(float64(d) / c.cfg.Speed)
}
