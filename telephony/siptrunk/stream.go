package siptrunk

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"dialer/telephony"
)

// A stream is a TCP or TLS connection with the guard in front. It takes the
// stream apart into messages itself, so that sipgo is given whole messages that
// passed the guard, one with each Read, and nothing else.
type stream struct {
	net.Conn // for TLS, the *tls.Conn
	conns    *conns
	from     origin
	dialled  bool    // by us
	tls      tlsPeer // whom it was checked against, when we dialled

	in    *bufio.Reader
	buf   []byte
	first []byte    // a message that was read before sipgo had the connection
	heard time.Time // when the last whole message of a known host came, or the connection

	waiting bool // a stranger's that nobody has registered over; guarded by conns.mu

	served chan struct{} // closed once sipgo reads, and so has the connection in its pool
	serve  sync.Once

	gone chan struct{} // closed when the connection is lost or closed
	over sync.Once
}

// Limits of a stream.
const (
	messageWait = 15 * time.Second // for the rest of a message, and for a stranger to register
	writeWait   = 5 * time.Second
)

func newStream(c *conns, conn net.Conn, transport telephony.Transport) *stream {
	s := &stream{
		Conn: conn, conns: c, in: bufio.NewReaderSize(conn, 4096), heard: time.Now(),
		served: make(chan struct{}), gone: make(chan struct{}),
	}
	s.from = origin{transport: transport, local: addrPort(conn.LocalAddr()), addr: addrPort(conn.RemoteAddr()), stream: s}
	return s
}

func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	at := tcp.AddrPort()
	return netip.AddrPortFrom(at.Addr().Unmap().WithZone(""), at.Port())
}

// RemoteAddr is what sipgo knows the connection by.
func (s *stream) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(s.from.addr) }

// Read returns the next message that passed the guard. However the connection
// ends, sipgo sees its end and not an error, which it would log.
func (s *stream) Read(b []byte) (int, error) {
	s.serve.Do(func() { close(s.served) })
	if first := s.first; first != nil {
		s.first = nil
		return copy(b, first), nil
	}
	for {
		data, r, err := s.next()
		if err != nil {
			s.end(err)
			return 0, io.EOF
		}
		if r == passed {
			return copy(b, data), nil
		}
	}
}

// Write sends a message. A peer that does not take it for a while has lost the
// connection: half a message would spoil all that follow.
func (s *stream) Write(b []byte) (int, error) {
	s.conns.e.wire(true, s.from.transport, s.from.local, s.from.addr, b)
	return s.write(b)
}

func (s *stream) write(b []byte) (int, error) {
	err := s.Conn.SetWriteDeadline(time.Now().Add(writeWait))
	n := 0
	if err == nil {
		n, err = s.Conn.Write(b)
	}
	if err != nil {
		s.end(err)
	}
	return n, err
}

// Close closes the connection.
func (s *stream) Close() error {
	s.end(nil)
	return nil
}

// end closes the connection once; nil is our own wish.
func (s *stream) end(why error) {
	s.over.Do(func() {
		s.conns.forget(s)
		close(s.gone)
		s.Conn.Close()
		if why != nil {
			s.conns.lost(s, why)
		}
	})
}

// The ways in which a peer spoils a stream.
var (
	errStranger = errors.New("not from a trunk or a registered phone")
	errIdle     = errors.New("no message in 15 s")
	errLarge    = errors.New("a message larger than 16 kB")
)

// next reads the next message and asks the guard. A stranger's connection ends
// with the first message that is refused.
func (s *stream) next() (data []byte, r ruling, err error) {
	if data, err = s.frame(); err != nil {
		return nil, refused, err
	}
	data, r = s.conns.guard.admit(data, s.from)
	switch known := s.known(); {
	case known:
		s.heard = time.Now()
		s.conns.trust(s)
	case r == refused:
		return nil, r, errStranger
	}
	return data, r, nil
}

// frame reads one message: its headers to the empty line and as many bytes as
// its one Content-Length says (RFC 3261 18.3). Between messages it answers the
// keep-alives of RFC 5626.
func (s *stream) frame() ([]byte, error) {
	if err := s.start(); err != nil {
		return nil, err
	}
	if err := s.SetReadDeadline(s.deadline(time.Now())); err != nil {
		return nil, err
	}
	head := s.buf[:0]
	for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
		line, err := s.in.ReadSlice('\n')
		if len(head)+len(line) > maxDatagram {
			return nil, errLarge
		}
		head = append(head, line...)
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, s.late(err)
		}
	}
	s.buf = head
	n, why := readHead(head).length()
	if why != "" {
		s.conns.guard.refuse(head, s.from, why)
		return nil, errors.New(why)
	}
	if len(head)+n > maxDatagram {
		return nil, errLarge
	}
	s.buf = append(head, make([]byte, n)...)
	if _, err := io.ReadFull(s.in, s.buf[len(head):]); err != nil {
		return nil, s.late(err)
	}
	return s.buf, nil
}

// deadline is when a message that begins now must be complete.
func (s *stream) deadline(now time.Time) time.Time {
	wait := s.conns.messageWait
	if s.known() {
		return now.Add(wait)
	}
	return s.heard.Add(wait)
}

func (s *stream) known() bool { return s.conns.guard.peers.known(s.from.addr.Addr()) }

func (s *stream) late(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errIdle
	}
	return err
}

// start waits for the first byte of a message and answers pings. Known peers may
// be silent for as long as they like: the kernel finds those that are gone.
func (s *stream) start() error {
	blank := 0 // CR and LF in a row
	for {
		now := time.Now()
		until := s.deadline(now)
		if !until.After(now) {
			return errIdle
		}
		if err := s.SetReadDeadline(until); err != nil {
			return err
		}
		b, err := s.in.Peek(1)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && s.known():
			continue // look again whether it still is
		case err != nil:
			return s.late(err)
		case b[0] != '\r' && b[0] != '\n':
			return nil
		}
		if _, err := s.in.Discard(1); err != nil {
			return err
		}
		if blank++; blank == 4 { // CRLF CRLF is a ping
			blank = 0
			if s.known() {
				if _, err := s.write([]byte("\r\n")); err != nil {
					return err
				}
			}
		}
	}
}

// length is the one Content-Length that a message on a stream must have.
func (h head) length() (n int, why string) {
	values := h.all("content-length")
	if len(values) == 0 {
		return 0, "has no Content-Length"
	}
	for _, v := range values {
		if len(v) > 6 || v != values[0] || v == "" || strings.Trim(v, "0123456789") != "" {
			return 0, "has no single Content-Length"
		}
	}
	n, _ = strconv.Atoi(values[0]) // up to six digits
	return n, ""
}
