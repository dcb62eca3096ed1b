package siptrunk

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/emiago/sipgo/sip"

	"dialer/telephony"
)

// conns are the TCP and TLS connections. All of them are accepted or dialled
// here, and sipgo is given those that may speak to it: it has no dialling of its
// own. There is one connection to a peer's address; it is kept, and when it is
// lost the next request opens it again.
type conns struct {
	e     *Endpoint
	guard *guard
	certs *certificates // ours; nil without

	listeners map[telephony.Transport]net.Listener
	feeds     map[telephony.Transport]*feed

	// messageWait bounds how long a message may be on its way.
	messageWait time.Duration

	mu      sync.Mutex
	open    map[*stream]struct{}
	hosts   map[netip.Addr]tally // of those accepted
	all     tally
	peers   map[route]*stream
	dialing map[route]*dialing
	closed  bool
	said    time.Time // when a failed handshake was last logged
	closing chan struct{}
	work    tasks
}

// A route is the way to a peer.
type route struct {
	transport telephony.Transport
	addr      netip.AddrPort
}

// A tlsPeer is whom a TLS connection must lead to: somebody with a certificate
// for name, signed by one of the authorities in ca (PEM; "" is the system's).
type tlsPeer struct{ ca, name string }

// A tally counts accepted connections.
type tally struct{ open, waiting int } // waiting: of them, those that no known host and no phone has made its own

// A dialing is a connection that is being made, and then what came of it.
type dialing struct {
	done chan struct{}
	s    *stream
	err  error
}

// Limits of the connections.
const (
	maxConns    = 2048 // accepted; strangers get half of them
	hostConns   = 256  // accepted from one host
	maxWaiting  = 256  // accepted from strangers who have not registered
	hostWaiting = 32   // the same from one host
	dialWait    = 5 * time.Second
)

func newConns(e *Endpoint, g *guard) *conns {
	c := &conns{
		e: e, guard: g, messageWait: messageWait,
		listeners: map[telephony.Transport]net.Listener{},
		feeds:     map[telephony.Transport]*feed{},
		open:      map[*stream]struct{}{},
		hosts:     map[netip.Addr]tally{},
		peers:     map[route]*stream{},
		dialing:   map[route]*dialing{},
		closing:   make(chan struct{}),
	}
	for _, t := range []telephony.Transport{telephony.TCP, telephony.TLS} {
		c.feeds[t] = &feed{addr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.IPv4Unspecified(), 0)), in: make(chan net.Conn), closed: make(chan struct{})}
	}
	return c
}

// listen opens the listener of a transport.
func (c *conns) listen(t telephony.Transport, at netip.AddrPort) error {
	network := "tcp"
	if at.Addr().Is4() {
		network = "tcp4" // "tcp" would make 0.0.0.0 a dual-stack [::]
	}
	lc := net.ListenConfig{KeepAliveConfig: keepAlive, Control: c.prepare}
	l, err := lc.Listen(context.Background(), network, at.String())
	if err != nil {
		return err
	}
	c.listeners[t] = l
	return nil
}

// prepare sets up a socket before it is used. What a listener accepts is marked
// as the listener is.
func (c *conns) prepare(network, address string, raw syscall.RawConn) error {
	mark(raw, c.e.cfg.SIPMark)
	return noticeLoss(network, address, raw)
}

// keepAlive finds a silent peer gone within half a minute.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}

// port is where a transport is listened on, or 0.
func (c *conns) port(t telephony.Transport) int {
	if t == telephony.UDP {
		return c.e.laddr.Port
	}
	if l := c.listeners[t]; l != nil {
		return l.Addr().(*net.TCPAddr).Port
	}
	return 0
}

// run serves until the connections are closed.
func (c *conns) run() {
	for t, l := range c.listeners {
		c.spawn(func() { c.accept(t, l) })
	}
	tl := c.e.ua.TransportLayer()
	c.spawn(func() { _ = tl.ServeTCP(c.feeds[telephony.TCP]) }) // ends when the feed does
	c.spawn(func() { _ = tl.ServeTLS(c.feeds[telephony.TLS]) })
	<-c.closing
	<-c.work.idle()
}

// close ends everything that run started.
func (c *conns) close() {
	c.mu.Lock()
	if !c.closed {
		c.closed = true
		close(c.closing)
		c.work.close()
	}
	var open []*stream
	for s := range c.open {
		open = append(open, s)
	}
	c.mu.Unlock()
	for _, l := range c.listeners {
		l.Close()
	}
	for _, f := range c.feeds {
		f.Close()
	}
	var closing sync.WaitGroup
	for _, s := range open {
		closing.Go(func() { s.Close() }) // TLS may wait to say goodbye
	}
	closing.Wait()
}

// accept takes connections until the listener is closed.
func (c *conns) accept(t telephony.Transport, l net.Listener) {
	for {
		conn, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // out of file descriptors, perhaps
			c.e.log.Warn("cannot accept a SIP connection", "transport", string(t), "err", err)
			select {
			case <-c.e.stopping:
				return
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		s, why := c.admit(conn, t)
		if why != "" {
			c.guard.drop(addrPort(conn.RemoteAddr()), why)
			conn.Close()
			continue
		}
		c.spawn(func() { c.greet(s) })
	}
}

// admit takes a connection on, unless there are too many or the host has no
// business here.
func (c *conns) admit(conn net.Conn, t telephony.Transport) (s *stream, why string) {
	from := addrPort(conn.RemoteAddr())
	known := c.guard.peers.known(from.Addr())
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return nil, "SIP is shut down"
	case !known && c.e.cfg.Credentials == nil:
		return nil, "a connection that is not from a trunk"
	case c.all.open >= maxConns || c.hosts[from.Addr()].open >= hostConns:
		return nil, "too many connections"
	case !known && (c.all.open >= maxConns/2 || c.all.waiting >= maxWaiting || c.hosts[from.Addr()].waiting >= hostWaiting):
		return nil, "too many connections"
	case c.peers[route{t, from}] != nil && c.peers[route{t, from}].dialled:
		return nil, "a second connection from a port that we are connected to"
	}
	if t == telephony.TLS {
		conn = tls.Server(conn, c.certs.server())
	}
	s = newStream(c, conn, t)
	s.waiting = true
	c.open[s] = struct{}{}
	c.count(from.Addr(), 1, 1)
	return s, ""
}

// count is called with mu held.
func (c *conns) count(host netip.Addr, open, waiting int) {
	t := c.hosts[host]
	t.open, t.waiting = t.open+open, t.waiting+waiting
	c.all.open, c.all.waiting = c.all.open+open, c.all.waiting+waiting
	if c.hosts[host] = t; t == (tally{}) {
		delete(c.hosts, host)
	}
}

// greet waits for the first good message of a connection that was made to us,
// and then gives it to sipgo.
func (c *conns) greet(s *stream) {
	err := s.handshake()
	if err != nil && s.known() { // what strangers do is told as dropped
		c.insecure(route{s.from.transport, s.from.addr}, err)
	}
	for err == nil {
		var data []byte
		var r ruling
		if data, r, err = s.next(); err == nil && r != refused {
			if r == passed {
				s.first = append([]byte(nil), data...)
			}
			break
		}
	}
	c.mu.Lock()
	if err == nil && !c.closed {
		c.peers[route{s.from.transport, s.from.addr}] = s
	}
	c.mu.Unlock()
	if err != nil {
		s.end(err)
		return
	}
	c.serve(s)
}

// insecure tells, at most once a second, of a trunk or phone that TLS did not come
// about with: whoever set up the certificates has to know why.
func (c *conns) insecure(r route, why error) {
	now := time.Now()
	c.mu.Lock()
	tell := !c.closed && now.Sub(c.said) >= time.Second
	if tell {
		c.said = now
	}
	c.mu.Unlock()
	if tell {
		c.e.log.Warn("no TLS with a peer", "peer", r.addr.String(), "err", why)
	}
}

// trust takes a connection from the strangers': its host is known, or a phone has
// registered over it.
func (c *conns) trust(s *stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.waiting {
		s.waiting = false
		c.count(s.from.addr.Addr(), 0, -1)
	}
}

// handshake is TLS's, within the time of a message.
func (s *stream) handshake() error {
	conn, ok := s.Conn.(*tls.Conn)
	if !ok {
		return nil
	}
	if err := conn.SetDeadline(s.heard.Add(s.conns.messageWait)); err != nil {
		return err
	}
	if err := conn.Handshake(); err != nil {
		return fmt.Errorf("TLS: %w", err)
	}
	return conn.SetDeadline(time.Time{})
}

// serve gives a connection to sipgo and waits until it can send over it.
func (c *conns) serve(s *stream) {
	f := c.feeds[s.from.transport]
	select {
	case f.in <- s:
	case <-f.closed:
		s.Close()
		return
	}
	select {
	case <-s.served:
	case <-f.closed:
	}
}

// spawn runs f in a goroutine that run waits for.
func (c *conns) spawn(f func()) bool {
	if !c.work.add(false) {
		return false
	}
	go func() {
		defer c.work.done()
		defer c.e.survive("a SIP connection")
		f()
	}()
	return true
}

// to returns the connection to a peer and opens it when there is none. It is nil
// for UDP, which has none.
func (c *conns) to(ctx context.Context, r route, who tlsPeer) (*stream, error) {
	if r.transport == telephony.UDP {
		return nil, nil
	}
	for {
		c.mu.Lock()
		s, d := c.peers[r], c.dialing[r]
		starts := s == nil && d == nil
		if starts {
			d = &dialing{done: make(chan struct{})}
			c.dialing[r] = d
		}
		c.mu.Unlock()
		if starts && !c.spawn(func() { c.dial(r, who, d) }) {
			return nil, errors.New("SIP is shut down")
		}
		if s != nil {
			select {
			case <-s.served:
				return s, s.proven(who)
			case <-s.gone:
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
			continue
		}
		select {
		case <-d.done:
			if d.err != nil {
				return nil, d.err
			}
			return d.s, d.s.proven(who)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// proven says why a connection may not be used for a peer.
func (s *stream) proven(who tlsPeer) error {
	switch {
	case s.from.transport != telephony.TLS || s.tls == who:
		return nil
	case s.dialled:
		return fmt.Errorf("another trunk is connected to %s and wants another certificate authority or name", s.from.addr)
	default:
		return fmt.Errorf("%s is connected to us and has shown no certificate", s.from.addr)
	}
}

// find returns the connection to a peer, or nil.
func (c *conns) find(r route) *stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.peers[r]
}

// dial opens a connection. A TLS peer must prove who it is.
func (c *conns) dial(r route, who tlsPeer, d *dialing) {
	s, err := c.connect(r, who)
	if err == nil {
		c.serve(s)
	}
	c.mu.Lock()
	delete(c.dialing, r)
	c.mu.Unlock()
	d.s, d.err = s, err
	close(d.done)
}

func (c *conns) connect(r route, who tlsPeer) (*stream, error) {
	ctx, cancel := context.WithTimeout(context.Background(), dialWait)
	defer cancel()
	dialer := net.Dialer{KeepAliveConfig: keepAlive, Control: c.prepare}
	if a := c.e.cfg.Listen.Addr(); !a.IsUnspecified() {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(a, 0))
	}
	conn, err := dialer.DialContext(ctx, "tcp", r.addr.String())
	if err != nil {
		return nil, fmt.Errorf("cannot connect to %s over %s: %w", r.addr, upper(r.transport), err)
	}
	if r.transport == telephony.TLS {
		if conn, err = c.secure(ctx, conn, r.addr, who); err != nil {
			c.insecure(r, err)
			return nil, err
		}
	}
	s := newStream(c, conn, r.transport)
	s.dialled, s.tls = true, who
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		conn.Close()
		return nil, errors.New("SIP is shut down")
	}
	c.open[s] = struct{}{}
	c.peers[r] = s
	return s, nil
}

// forget takes a connection off the books.
func (c *conns) forget(s *stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.open[s]; !ok {
		return
	}
	delete(c.open, s)
	if r := (route{s.from.transport, s.from.addr}); c.peers[r] == s {
		delete(c.peers, r)
	}
	if !s.dialled {
		waiting := 0
		if s.waiting {
			s.waiting, waiting = false, 1
		}
		c.count(s.from.addr.Addr(), -1, -waiting)
	}
}

// lost tells of a connection that ended and not by us.
func (c *conns) lost(s *stream, why error) {
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	switch {
	case closed:
	case s.dialled:
		c.e.log.Warn("SIP connection lost", "transport", string(s.from.transport), "peer", s.from.addr.String(), "err", why)
		c.e.connectionFailed(route{s.from.transport, s.from.addr})
	case !s.known():
		c.guard.drop(s.from.addr, why.Error())
	default:
		c.e.log.Debug("SIP connection ended", "transport", string(s.from.transport), "peer", s.from.addr.String(), "err", why)
	}
}

// A feed is the listener that sipgo accepts our connections from.
type feed struct {
	addr   net.Addr
	in     chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// Accept returns the next connection.
func (f *feed) Accept() (net.Conn, error) {
	select {
	case c := <-f.in:
		return c, nil
	case <-f.closed:
		return nil, net.ErrClosed
	}
}

// Addr is not that of any connection.
func (f *feed) Addr() net.Addr { return f.addr }

// Close ends Accept.
func (f *feed) Close() error {
	f.once.Do(func() { close(f.closed) })
	return nil
}

// noDialling are sipgo's transports, unable to open connections that the guard
// would not see.
func noDialling() sip.TransportsConfig {
	refuse := func(net.Addr) net.Dialer {
		return net.Dialer{Control: func(string, string, syscall.RawConn) error { return errors.New("the connection is lost") }}
	}
	return sip.TransportsConfig{
		TCP: &sip.TransportTCP{DialerCreate: refuse},
		TLS: &sip.TransportTLS{TransportTCP: &sip.TransportTCP{DialerCreate: refuse}},
	}
}
