//go:build !linux || !(amd64 || arm64)

package media

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"time"

	"dialer/telephony"
)

// reader reads each socket with a goroutine of its own; socket_linux.go does it
// for less.
type reader struct{}

// end has nothing to end: each goroutine ends with its socket.
func (r *reader) end() {}

// socket is one UDP port. heard is called for each datagram, which it must not
// keep, one at a time.
type socket struct {
	conn    *net.UDPConn
	heard   func(datagram []byte, from netip.AddrPort, at time.Time)
	log     *slog.Logger
	local   netip.AddrPort
	closed  chan struct{}
	closing sync.Once
	running sync.WaitGroup
}

// open opens a port on addr and reads it. What it sends is not marked: how that
// is done differs from system to system.
func (r *reader) open(addr netip.AddrPort, _ int, log *slog.Logger,
	heard func([]byte, netip.AddrPort, time.Time)) (*socket, error) {
	network := "udp"
	if addr.Addr().Is4() {
		network = "udp4"
	}
	conn, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return nil, err
	}
	port := conn.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	s := &socket{
		conn: conn, heard: heard, log: log, local: netip.AddrPortFrom(addr.Addr(), port), closed: make(chan struct{}),
	}
	s.running.Go(s.read)
	return s, nil
}

// close ends the port. It returns when heard will not be called any more, and
// must not be called by it.
func (s *socket) close() {
	s.closing.Do(func() {
		close(s.closed)
		_ = s.conn.Close()
	})
	s.running.Wait()
}

func (s *socket) read() {
	b := make([]byte, 2048)
	for {
		n, from, err := s.conn.ReadFromUDPAddrPort(b)
		switch {
		case err == nil:
			s.take(b[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))
		case errors.Is(err, net.ErrClosed):
			return
		default: // an ICMP error of an earlier send; the socket itself is sound
			select {
			case <-s.closed:
				return
			case <-time.After(telephony.FrameDuration):
			}
		}
	}
}

// take hands on one datagram. A fault in what becomes of it does not end the
// process.
func (s *socket) take(b []byte, from netip.AddrPort) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("RTP handler panicked", "local", s.local, "panic", p, "stack", string(debug.Stack()))
		}
	}()
	s.heard(b, from, time.Now())
}

// send sends one datagram or fails.
func (s *socket) send(b []byte, to netip.AddrPort) error {
	_, err := s.conn.WriteToUDPAddrPort(b, to)
	return err
}
