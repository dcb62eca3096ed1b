package siptrunk

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"dialer/telephony"
	"dialer/telephony/siptrunk/siptest"
)

// A rawListener is the TCP or TLS of a rawPeer.
type rawListener struct {
	net.Listener
	via      string
	accepted chan net.Conn

	mu    sync.Mutex
	conns map[netip.AddrPort]net.Conn
}

// send writes to the connection that a message came by.
func (l *rawListener) send(t *testing.T, to netip.AddrPort, text string) {
	l.mu.Lock()
	conn := l.conns[to]
	l.mu.Unlock()
	if conn == nil {
		t.Errorf("no connection to %s", to)
		return
	}
	if _, err := io.WriteString(conn, text); err != nil {
		t.Errorf("send: %v", err)
	}
}

// drop closes the connections, as a peer does that is restarted.
func (l *rawListener) drop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for at, conn := range l.conns {
		conn.Close()
		delete(l.conns, at)
	}
}

// newStreamPeer is a rawPeer that listens on TCP, or with settings on TLS.
func newStreamPeer(t *testing.T, settings *tls.Config) *rawPeer {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return acceptRaw(t, l, settings)
}

// acceptRaw is a peer on a listener.
func acceptRaw(t *testing.T, l net.Listener, settings *tls.Config) *rawPeer {
	on := &rawListener{Listener: l, via: "TCP", accepted: make(chan net.Conn, 1024), conns: map[netip.AddrPort]net.Conn{}}
	if settings != nil {
		on.Listener, on.via = tls.NewListener(l, settings), "TLS"
	}
	p := &rawPeer{t: t, on: on, in: make(chan *rawMessage, 8192)}
	var reading sync.WaitGroup
	reading.Go(func() {
		for {
			conn, err := on.Accept()
			if err != nil {
				return
			}
			at := addrPort(conn.RemoteAddr())
			on.mu.Lock()
			on.conns[at] = conn
			on.mu.Unlock()
			on.accepted <- conn
			reading.Go(func() { p.readStream(conn) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		on.drop()
		reading.Wait()
	})
	return p
}

// readStream hands over what comes by a connection, until it ends.
func (p *rawPeer) readStream(conn net.Conn) {
	in := bufio.NewReader(conn)
	for {
		var text strings.Builder
		for !strings.HasSuffix(text.String(), "\r\n\r\n") {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			if text.Len() > 0 || line != "\r\n" {
				text.WriteString(line)
			}
		}
		m := parseRaw(text.String())
		n, err := strconv.Atoi(m.get("Content-Length"))
		if err != nil {
			p.t.Errorf("a message on a stream without Content-Length: %s", m.start)
			return
		}
		body := make([]byte, n)
		if _, err := io.ReadFull(in, body); err != nil {
			return
		}
		m.body, m.from = string(body), addrPort(conn.RemoteAddr())
		if f := p.serve.Load(); f != nil {
			(*f)(m)
			continue
		}
		select {
		case p.in <- m:
		default:
		}
	}
}

// connected returns the next connection that was made to the peer.
func (p *rawPeer) connected() net.Conn {
	p.t.Helper()
	select {
	case conn := <-p.on.accepted:
		return conn
	case <-time.After(patience):
		p.t.Fatal("nobody connected")
		return nil
	}
}

// connect opens a connection to the endpoint and hears what comes by it.
func (p *rawPeer) connect(host string, to netip.AddrPort, settings *tls.Config) net.Conn {
	p.t.Helper()
	var reading sync.WaitGroup
	conn := openStream(p.t, host, to, settings)
	p.on.mu.Lock()
	p.on.conns[to] = conn
	p.on.mu.Unlock()
	reading.Go(func() { p.readStream(conn) })
	p.t.Cleanup(func() {
		conn.Close()
		reading.Wait()
	})
	return conn
}

func openStream(t *testing.T, host string, to netip.AddrPort, settings *tls.Config) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(host)}, Timeout: patience}
	conn, err := d.Dial("tcp4", to.String())
	if err != nil {
		t.Fatal(err)
	}
	if settings != nil {
		conn = tls.Client(conn, settings)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// A tlsWorld is an authority and what it makes trust.
type tlsWorld struct {
	authority *siptest.Authority
	t         *testing.T
}

func newTLSWorld(t *testing.T) tlsWorld {
	t.Helper()
	a, err := siptest.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	return tlsWorld{a, t}
}

// server is TLS with a certificate for a host.
func (w tlsWorld) server(host string, until time.Time) *tls.Config {
	w.t.Helper()
	cert, err := w.authority.Issue(host, until)
	if err != nil {
		w.t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}}
}

// listening gives an endpoint a listener for TLS.
func (w tlsWorld) listening(c *Config) {
	w.t.Helper()
	cert, key, err := w.authority.IssueFiles(w.t.TempDir(), "127.0.0.1", time.Now().Add(time.Hour))
	if err != nil {
		w.t.Fatal(err)
	}
	c.TLSListen, c.TLSCert, c.TLSKey = netip.MustParseAddrPort("127.0.0.1:0"), cert, key
}

// client trusts whatever it meets.
func (w tlsWorld) client() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }

// trunk leads to a peer.
func (w tlsWorld) trunk(p *rawPeer) telephony.Trunk {
	tr := testTrunk(p)
	tr.Transport = telephony.Transport(strings.ToLower(p.via()))
	if tr.Transport == telephony.TLS {
		tr.CA = w.authority.PEM()
	}
	return tr
}
