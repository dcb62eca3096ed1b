// Package siptrunk carries calls over real SIP and RTP. It places calls to
// trunks and rings agents' phones, and it is the registrar those phones
// register with. It stands on sipgo's transport and transactions; the INVITE
// machine, the dialog and the registrar are its own, because a dialer must know
// of every answer, also of one that crosses its CANCEL: an answered call that
// nobody counts is a call to a person who hears nothing.
//
// It does not take inbound calls. Over UDP, TCP and TLS.
//
// Entry points: New, Endpoint.Run, Endpoint.SetTrunks, Endpoint.Dial,
// Endpoint.Ring.
//
// Goroutines: Run owns the readers of the socket and of each connection, the
// acceptors, two registrar workers, one that keeps the trunks and one that looks
// after every answered leg; each lookup for a trunk, OPTIONS and REGISTER has one
// until it is answered; each INVITE
// has one until its transaction is over; each request inside a dialog has one
// until it is answered. Run waits for all of them.
package siptrunk

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"

	"dialer"
	"dialer/telephony"
	"dialer/telephony/media"
)

// Config says where an Endpoint listens and how long it waits.
type Config struct {
	// Listen is the UDP address for SIP; port 0 takes any free one.
	Listen netip.AddrPort
	// TCP listens on TCP as well, on the same address and port.
	TCP bool
	// TLSListen is the address for SIP over TLS, with the certificate and key
	// (PEM files) that peers are shown, and carriers that ask for a client's. No
	// certificate, no listener. Files that change are read again.
	TLSListen       netip.AddrPort
	TLSCert, TLSKey string
	// External stands in Contact, Via and SDP. The zero Addr means the address
	// of Listen or, when that is unspecified, of the route to the peer.
	External netip.Addr
	// RTPLow and RTPHigh bound the ports for audio, both inclusive.
	RTPLow, RTPHigh int
	// Realm is what agents' phones are challenged with.
	Realm string
	// Key names the INVITEs of calls. With the same one, the next process of this
	// node can cancel what this one leaves ringing; empty is a random one.
	Key []byte
	Log *slog.Logger
	// NoResponse is how long a peer may stay silent, without even 100 Trying,
	// before the call is given up; zero means 4 s.
	NoResponse time.Duration
	// SIPMark and RTPMark are the DSCP (RFC 2474), 0 to 63, of what is sent; a
	// system that does not let us set them is no error.
	SIPMark, RTPMark int
	// MediaTimeout is how long an answered leg that is not on hold may stay
	// without RTP; zero means 10 s.
	MediaTimeout time.Duration
	// MaxCall ends the longest calls of trunks; zero means no limit. Agents'
	// legs stay up for a shift and have none.
	MaxCall time.Duration
	// Credentials looks up an agent's phone: ha1 is the hexadecimal MD5 of
	// "user:realm:password". Nil refuses every REGISTER.
	Credentials func(ctx context.Context, username string) (ha1 string, ok bool, err error)
	// Bindings keeps registrations over a restart; nil keeps them in memory.
	Bindings BindingStore
	// OnGhost hears of a call that was answered when no Dial waited for it any
	// more: long after its transaction, behind a refusal, at a second phone
	// beside the one that has it, or one of a process that died. The
	// answer was ACKed and BYEd. A ghost that Dial knows of is in its
	// DialError instead. It must not block.
	OnGhost func(call dialer.CallID, at time.Time)
	// OnMessage hears every SIP message that the guard lets in, or that is about
	// to be sent, in wire order. It must not block; nil costs nothing.
	OnMessage func(Message)
	// Resolver finds peers by name; nil is that of the system.
	Resolver *net.Resolver

	second time.Duration // of keep-alive and registrations; tests shorten it
}

// A Message is one SIP message as it is on the wire; its Data is there only until
// OnMessage returns.
type Message = telephony.SIPMessage

// DefaultConfig listens on 0.0.0.0:5080, with a certificate also on port 5061,
// and uses the ports 20000 to 29999.
func DefaultConfig() Config {
	return Config{
		Listen:       netip.MustParseAddrPort("0.0.0.0:5080"),
		TCP:          true,
		TLSListen:    netip.MustParseAddrPort("0.0.0.0:5061"),
		RTPLow:       20000,
		RTPHigh:      29999,
		Realm:        "dialer",
		NoResponse:   4 * time.Second,
		MediaTimeout: 10 * time.Second,
		SIPMark:      24, // CS3
		RTPMark:      46, // EF
		MaxCall:      time.Hour,
	}
}

// Validate returns the first mistake as an Invalid *dialer.Error, or nil.
func (c Config) Validate() error {
	switch {
	case !c.Listen.IsValid():
		return dialer.Fieldf("listen", "is not set: give ip:port, for example 0.0.0.0:5080")
	case c.External.IsValid() && c.External.IsUnspecified():
		return dialer.Fieldf("external", "%s cannot be reached: give the address that peers send to, or leave it out", c.External)
	case (c.TLSCert == "") != (c.TLSKey == ""):
		return dialer.Fieldf("tls", "cert and key go together: give both, or neither for no SIP over TLS")
	case c.TLSCert != "" && !c.TLSListen.IsValid():
		return dialer.Fieldf("tls.listen", "is not set: give ip:port, for example 0.0.0.0:5061")
	case c.TLSCert != "" && c.TLSListen.Addr().Is4() != c.Listen.Addr().Is4():
		return dialer.Fieldf("tls.listen", "is not of the same IP version as listen")
	case c.RTPLow < 1024 || c.RTPHigh > 65535 || c.RTPHigh-c.RTPLow < 3:
		return dialer.Fieldf("rtp_ports", "%d-%d is not a range of at least two port pairs between 1024 and 65535", c.RTPLow, c.RTPHigh)
	case c.Realm == "" || !headerSafe(c.Realm):
		return dialer.Fieldf("realm", "is empty or has a character that may not stand in a SIP header")
	case c.SIPMark < 0 || c.SIPMark > 63 || c.RTPMark < 0 || c.RTPMark > 63:
		return dialer.Fieldf("dscp", "%d for SIP, %d for RTP: a DSCP is 0 to 63", c.SIPMark, c.RTPMark)
	case c.NoResponse < 0 || c.MediaTimeout < 0 || c.MaxCall < 0:
		return dialer.Fieldf("no_response", "no_response, media_timeout and max_call may not be negative")
	}
	return nil
}

// Endpoint is one SIP user agent: telephony.Carrier, telephony.Stations and
// telephony.OrphanReaper. Create one with New and run it.
type Endpoint struct {
	cfg    Config
	log    *slog.Logger
	guard  *guard
	sock   *socket
	conns  *conns
	laddr  sip.Addr
	ua     *sipgo.UserAgent
	client *sipgo.Client
	ports  *media.Ports
	names  *resolver
	route  *router
	reg    *registrar
	pace   *gate // paces CANCEL
	key    []byte
	macs   *macs // of key

	// onLost hears of connections that we opened and lost; nil for nobody.
	onLost func(route)

	// finalWait is how long a cancelled INVITE may stay without its final
	// response: 64*T1 and some time for the pacing of CANCEL.
	finalWait time.Duration
	referWait time.Duration
	leaveWait time.Duration        // for the answers to BYE and CANCEL at the end
	ackWait   time.Duration        // for the ACK of an answer of ours
	glareWait func() time.Duration // before a request that met one of theirs is sent again

	mu       sync.Mutex
	lines    map[dialer.TrunkID]*line
	dialogs  map[string]*Leg  // by Call-ID and local tag
	calls    map[string]*call // by the branch of the INVITE in flight
	early    map[string]*call // by Call-ID and local tag, until it is decided
	strays   map[string]time.Time
	finals   finals
	draining bool

	kick     chan struct{} // capacity 1: something may be due for a trunk
	stopping chan struct{}
	work     tasks
}

var (
	_ telephony.Carrier      = (*Endpoint)(nil)
	_ telephony.Stations     = (*Endpoint)(nil)
	_ telephony.OrphanReaper = (*Endpoint)(nil)
)

// maxDatagram lifts sipgo's limit of 1,300 bytes: an INVITE with a few extra
// headers is larger, and IP fragments it where it must.
const maxDatagram = 16 << 10

// init sets sipgo's limit, a package variable, before any goroutine reads it. What
// sipgo says of connections outside the logger that it is given is of no use to
// anyone: that a connection was closed twice.
func init() {
	sip.UDPMTUSize = maxDatagram + 200
	sip.SetDefaultLogger(slog.New(slog.DiscardHandler))
}

// New opens the socket. Nothing is read from it before Run.
func New(cfg Config) (*Endpoint, error) {
	cfg.NoResponse = cmp.Or(cfg.NoResponse, 4*time.Second)
	cfg.MediaTimeout = cmp.Or(cfg.MediaTimeout, 10*time.Second)
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	e := &Endpoint{
		cfg:       cfg,
		log:       cfg.Log,
		key:       make([]byte, 32),
		finalWait: 40 * time.Second,
		pace:      &gate{every: time.Second / cancelsPerSecond, burst: 20},
		lines:     map[dialer.TrunkID]*line{},
		dialogs:   map[string]*Leg{},
		calls:     map[string]*call{},
		early:     map[string]*call{},
		glareWait: glareWait,
		leaveWait: shutdownWait,
		ackWait:   64 * sip.T1,
		referWait: referWait,
		strays:    map[string]time.Time{},
		kick:      make(chan struct{}, 1),
		stopping:  make(chan struct{}),
	}
	rand.Read(e.key) // never fails
	if len(cfg.Key) > 0 {
		e.key = slices.Clone(cfg.Key)
	}
	e.macs = newMACs(e.key)

	e.guard = newGuard(e)
	e.conns = newConns(e, e.guard)
	if err := e.listen(); err != nil {
		return nil, err
	}
	e.names = newResolver(cfg)
	e.route = newRouter(cfg, e.names)
	e.reg = newRegistrar(e)

	var err error
	e.ports, err = media.NewPorts(cfg.Listen.Addr(), cfg.RTPLow, cfg.RTPHigh)
	if err == nil {
		e.ports.Mark(cfg.RTPMark)
		err = e.openUA()
	}
	if err != nil {
		e.sock.Close()
		e.conns.close()
		return nil, fmt.Errorf("siptrunk: %w", err)
	}
	return e, nil
}

// listen opens the listeners. TCP has the port of UDP; where any free one was
// asked for, one that both can have.
func (e *Endpoint) listen() error {
	if e.cfg.TLSCert != "" {
		var err error
		if e.conns.certs, err = loadCertificates(e.cfg.TLSCert, e.cfg.TLSKey); err != nil {
			return fmt.Errorf("siptrunk: cannot load the certificate for SIP over TLS: %w", err)
		}
		if err := e.conns.listen(telephony.TLS, e.cfg.TLSListen); err != nil {
			return fmt.Errorf("siptrunk: cannot listen for SIP over TLS on %s: %w", e.cfg.TLSListen, err)
		}
	}
	network := "udp"
	if e.cfg.Listen.Addr().Is4() {
		network = "udp4" // "udp" would make 0.0.0.0 a dual-stack [::]
	}
	for tries := 0; ; tries++ {
		conn, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(e.cfg.Listen))
		if err != nil {
			e.conns.close()
			return fmt.Errorf("siptrunk: cannot listen for SIP on %s: %w", e.cfg.Listen, err)
		}
		local := conn.LocalAddr().(*net.UDPAddr)
		if e.cfg.TCP {
			at := netip.AddrPortFrom(e.cfg.Listen.Addr(), uint16(local.Port))
			if err := e.conns.listen(telephony.TCP, at); err != nil {
				conn.Close()
				if e.cfg.Listen.Port() == 0 && tries < 10 {
					continue
				}
				e.conns.close()
				return fmt.Errorf("siptrunk: cannot listen for SIP over TCP on %s: %w", at, err)
			}
		}
		if raw, err := conn.SyscallConn(); err == nil {
			mark(raw, e.cfg.SIPMark)
		}
		if err := conn.SetReadBuffer(readBuffer); err != nil {
			e.log.Warn("cannot enlarge the SIP read buffer", "err", err)
		}
		e.laddr = sip.Addr{IP: local.IP, Port: local.Port}
		e.sock = newSocket(conn, e.guard)
		return nil
	}
}

// openUA puts sipgo's layers over the socket.
func (e *Endpoint) openUA() error {
	quiet := slog.New(quietHandler{e.log.Handler()})
	ua, err := sipgo.NewUA(
		sipgo.WithUserAgent("dialer"),
		sipgo.WithUserAgentTransportLayerOptions(sip.WithTransportLayerLogger(quiet), sip.WithTransportLayerTransports(noDialling())),
		sipgo.WithUserAgentTransactionLayerOptions(
			sip.WithTransactionLayerLogger(quiet),
			sip.WithTransactionLayerUnhandledResponseHandler(e.strayResponse),
		),
	)
	if err != nil {
		return err
	}
	server, err := sipgo.NewServer(ua, sipgo.WithServerLogger(quiet))
	if err != nil {
		return err
	}
	server.OnNoRoute(e.handle)
	e.ua = ua
	e.client, err = sipgo.NewClient(ua, sipgo.WithClientLogger(quiet))
	return err
}

// Addr returns the address that SIP is heard on.
func (e *Endpoint) Addr() netip.AddrPort {
	a := e.sock.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// wire tells OnMessage of one message. Every transport calls it.
func (e *Endpoint) wire(sent bool, transport telephony.Transport, local, remote netip.AddrPort, data []byte) {
	if e.cfg.OnMessage != nil {
		e.cfg.OnMessage(Message{Sent: sent, Transport: transport, Local: local, Remote: remote, At: time.Now(), Data: data})
	}
}

// TLSAddr returns the address that SIP over TLS is heard on; it is not valid
// without a listener.
func (e *Endpoint) TLSAddr() netip.AddrPort {
	if l := e.conns.listeners[telephony.TLS]; l != nil {
		return addrPort(l.Addr())
	}
	return netip.AddrPort{}
}

// tlsAt is TLSAddr for people.
func (e *Endpoint) tlsAt() string {
	if a := e.TLSAddr(); a.IsValid() {
		return a.String()
	}
	return "off"
}

// shutdownWait bounds how long Run waits for peers that do not answer BYE or
// CANCEL once its context has ended.
const shutdownWait = 5 * time.Second

// lastCancelWait is how long at least the last of the CANCELs, which leave one by
// one, has for its answer.
const lastCancelWait = 2 * time.Second

// Run serves until ctx ends; then it hangs up every leg, cancels every call,
// waits for the answers for at most five seconds, or longer when more than a
// thousand phones ring, and closes the sockets. It does not
// wait for a peer that has been silent for NoResponse: nothing can be said to it
// (RFC 3261 9.1), and what it answers late is hung up by the next process.
func (e *Endpoint) Run(ctx context.Context) error {
	defer e.sock.Close()
	defer e.conns.close()
	if err := e.reg.load(ctx); err != nil {
		close(e.stopping)
		return fmt.Errorf("siptrunk: cannot load phone registrations: %w", err)
	}
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var own sync.WaitGroup
	served := make(chan error, 1)
	own.Go(func() { served <- e.ua.TransportLayer().ServeUDP(e.sock) })
	own.Go(e.conns.run)
	own.Go(func() { e.reg.work(work) })
	own.Go(func() { e.reg.work(work) })
	own.Go(func() { e.keepAlive(work) })
	own.Go(func() { e.supervise(work) })
	e.log.Info("SIP is up", "listen", e.Addr().String(), "tcp", e.cfg.TCP, "tls", e.tlsAt())

	var err error
	select {
	case <-ctx.Done():
	case err = <-served:
		err = fmt.Errorf("siptrunk: the SIP socket failed: %w", cmp.Or(err, errors.New("closed")))
	}
	e.shutdown()
	stop()
	e.ua.Close()
	e.sock.Close()
	e.conns.close()
	own.Wait()
	<-e.work.idle() // closing the user agent has ended every transaction
	e.ports.Close()
	return err
}

// shutdown hangs up and cancels everything and waits for the answers.
func (e *Endpoint) shutdown() {
	e.work.close() // first, so that no leg begins that is not in the list
	e.mu.Lock()
	e.draining = true
	legs := slices.Collect(maps.Values(e.dialogs))
	wait := max(e.leaveWait, time.Duration(len(e.early))*e.pace.every+lastCancelWait)
	e.mu.Unlock()
	close(e.stopping)
	for _, l := range e.allLines() {
		e.unregister(l)
	}
	for _, l := range legs {
		l.Hangup(telephony.CauseNormal)
	}
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	select {
	case <-e.work.idle():
	case <-timeout.C:
		e.log.Warn("some SIP peers did not answer while hanging up")
	}
}

// Drain makes every later Dial and Ring fail with CauseNotSent. Calls that are
// up go on.
func (e *Endpoint) Drain() {
	e.mu.Lock()
	e.draining = true
	e.mu.Unlock()
}
