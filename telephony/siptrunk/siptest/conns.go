package siptest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/emiago/sipgo/sip"
)

// connections are those that callers have opened by TCP and TLS. What goes to
// the address of one goes over it.
type connections struct {
	tcp, tls net.Listener // tls is nil without a certificate

	mu   sync.Mutex
	open map[netip.AddrPort]connection
	work sync.WaitGroup
}

type connection struct {
	net.Conn
	transport string
}

// listen takes one port for UDP and TCP, and any free one for TLS.
func listen(at *net.UDPAddr, settings *tls.Config) (conn *net.UDPConn, c *connections, err error) {
	for tries := 0; ; tries++ {
		if conn, err = net.ListenUDP("udp", at); err != nil {
			return nil, nil, fmt.Errorf("listening for SIP: %w", err)
		}
		c = &connections{open: map[netip.AddrPort]connection{}}
		local := conn.LocalAddr().(*net.UDPAddr)
		if c.tcp, err = net.ListenTCP("tcp", &net.TCPAddr{IP: local.IP, Port: local.Port}); err == nil {
			break
		}
		conn.Close()
		if at.Port != 0 || tries == 10 {
			return nil, nil, fmt.Errorf("listening for SIP over TCP: %w", err)
		}
	}
	if settings == nil {
		return conn, c, nil
	}
	if c.tls, err = tls.Listen("tcp", (&net.TCPAddr{IP: at.IP}).String(), settings); err != nil {
		c.tcp.Close()
		conn.Close()
		return nil, nil, fmt.Errorf("listening for SIP over TLS: %w", err)
	}
	return conn, c, nil
}

func (c *connections) close() {
	c.tcp.Close()
	if c.tls != nil {
		c.tls.Close()
	}
	c.drop()
	c.work.Wait()
}

// drop closes every connection.
func (c *connections) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.open {
		conn.Close()
	}
}

func (c *connections) at(to netip.AddrPort) (connection, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	conn, ok := c.open[to]
	return conn, ok
}

// accept serves a listener until it is closed.
func (c *connections) accept(ctx context.Context, l net.Listener, transport string, receive func(context.Context, sip.Message, netip.AddrPort)) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		at := conn.RemoteAddr().(*net.TCPAddr).AddrPort()
		at = netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
		c.mu.Lock()
		c.open[at] = connection{conn, transport}
		c.mu.Unlock()
		c.work.Go(func() {
			defer func() {
				conn.Close()
				c.mu.Lock()
				delete(c.open, at)
				c.mu.Unlock()
			}()
			parser := sip.NewParser().NewSIPStream()
			buf := make([]byte, 65536)
			for {
				n, err := conn.Read(buf)
				if err != nil {
					return
				}
				err = parser.ParseSIPStream(buf[:n], func(msg sip.Message) {
					msg.SetTransport(transport)
					receive(ctx, msg, at)
				})
				if err != nil && !errors.Is(err, sip.ErrParseSipPartial) {
					return
				}
			}
		})
	}
}
