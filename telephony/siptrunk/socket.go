package siptrunk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"dialer/telephony"
)

// A socket is the UDP socket with the guard in front.
//
// One goroutine reads, so what the guard tells the calls is in wire order.
type socket struct {
	*net.UDPConn
	*guard

	served sync.Once
	up     chan struct{} // closed once sipgo reads, and so can send
}

const readBuffer = 4 << 20

func newSocket(conn *net.UDPConn, g *guard) *socket {
	return &socket{UDPConn: conn, guard: g, up: make(chan struct{})}
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
		o := origin{transport: telephony.UDP, local: s.e.Addr(), addr: from}
		if data, r := s.admit(b[:n], o); r == passed {
			return len(data), net.UDPAddrFromAddrPort(from), nil
		}
	}
}

// WriteTo sends what sipgo sends, which repeats an INVITE for as long as nothing
// is heard of it: not that of a call which was given up.
func (s *socket) WriteTo(b []byte, to net.Addr) (int, error) {
	if bytes.HasPrefix(b, []byte("INVITE ")) && s.e.isQuiet(branchOf(b)) {
		return len(b), nil
	}
	return s.WriteToUDPAddrPort(b, to.(*net.UDPAddr).AddrPort())
}

// branchOf returns the branch of a message that we wrote.
func branchOf(b []byte) string {
	_, rest, _ := bytes.Cut(b, []byte(";branch="))
	if end := bytes.IndexAny(rest, ";,\r\n "); end >= 0 {
		rest = rest[:end]
	}
	return string(rest)
}

// isQuiet reports whether the INVITE of a branch is not to be repeated.
func (e *Endpoint) isQuiet(branch string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.calls[branch]
	return c != nil && c.quiet.Load()
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
