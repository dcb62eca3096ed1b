//go:build linux && (amd64 || arm64)

package media

import (
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// reader reads the sockets of all sessions with a few goroutines, which live
// while a socket is open and a little longer: calls that come one after the other
// would make and end all of them each time. A goroutine, a stack and a buffer for each socket would
// cost more than all that the sessions keep.
type reader struct {
	mu      sync.Mutex
	pollers []*poller
	next    int
	sockets int
	idle    *time.Timer // ends the pollers; nil while a socket is open
}

// pollersRest is how long the pollers wait for another socket.
const pollersRest = 2 * time.Second

// pollersPerCore: on a host that is too busy, what one of them still has to do
// waits for its turn, and so should few legs only; nor may a tap that blocks
// against the rules hold up more than those.
const (
	pollersPerCore = 8
	maxPollers     = 64
)

// poller is one goroutine that reads what its epoll instance says is there.
type poller struct {
	fd    int
	file  *os.File // of fd, so that the runtime's own poller wakes us
	ended chan struct{}

	mu      sync.Mutex
	sockets map[int32]*socket
}

// socket is one UDP port. heard is called for each datagram, which it must not
// keep, one at a time.
type socket struct {
	poller *poller
	reader *reader
	heard  func(datagram []byte, from netip.AddrPort, at time.Time)
	log    *slog.Logger
	local  netip.AddrPort

	reading sync.Mutex // held while heard runs
	sending sync.Mutex // taken after reading
	fd      int        // -1 when closed; changed under both
}

// open opens a port on addr and reads it. dscp marks what it sends (RFC 2474).
func (r *reader) open(addr netip.AddrPort, dscp int, log *slog.Logger,
	heard func([]byte, netip.AddrPort, time.Time)) (*socket, error) {
	fd, local, err := bind(addr)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: "udp", Addr: net.UDPAddrFromAddrPort(addr), Err: err}
	}
	mark(fd, addr.Addr(), dscp)
	s := &socket{reader: r, heard: heard, log: log, local: local, fd: fd}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.start(); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	if r.idle != nil {
		r.idle.Stop()
		r.idle = nil
	}
	r.sockets++
	r.next++
	s.poller = r.pollers[r.next%len(r.pollers)]
	if err := s.poller.add(s); err != nil {
		_ = unix.Close(fd)
		r.drop()
		return nil, err
	}
	return s, nil
}

// start makes the pollers when there are none. The caller holds r.mu.
func (r *reader) start() error {
	for len(r.pollers) < min(pollersPerCore*runtime.GOMAXPROCS(0), maxPollers) {
		if r.sockets > 0 {
			return nil
		}
		p, err := newPoller()
		if err != nil {
			r.stop()
			return err
		}
		r.pollers = append(r.pollers, p)
	}
	return nil
}

// drop counts a socket less; the pollers end some time after the last. The caller
// holds r.mu.
func (r *reader) drop() {
	if r.sockets--; r.sockets == 0 {
		r.idle = time.AfterFunc(pollersRest, r.end)
	}
}

// end ends the pollers unless there is a socket again.
func (r *reader) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sockets > 0 {
		return
	}
	if r.idle != nil {
		r.idle.Stop()
	}
	r.stop()
}

func (r *reader) stop() {
	for _, p := range r.pollers {
		_ = p.file.Close()
		<-p.ended
	}
	r.pollers = nil
}

// close ends the port. It returns when heard will not be called any more, and
// must not be called by it.
func (s *socket) close() {
	s.reading.Lock()
	s.sending.Lock()
	fd := s.fd
	if fd >= 0 {
		s.poller.remove(int32(fd)) // before its number can be another's
		s.fd = -1
		_ = unix.Close(fd)
	}
	s.sending.Unlock()
	s.reading.Unlock()
	if fd < 0 {
		return
	}
	s.reader.mu.Lock()
	s.reader.drop()
	s.reader.mu.Unlock()
}

func newPoller() (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	// An epoll instance can be waited for like any other file, once it says that
	// it does not block.
	_ = unix.SetNonblock(fd, true)
	p := &poller{
		fd: fd, file: os.NewFile(uintptr(fd), "epoll"), ended: make(chan struct{}), sockets: map[int32]*socket{},
	}
	raw, err := p.file.SyscallConn()
	if err == nil {
		err = p.file.SetDeadline(time.Time{}) // fails where the runtime does not wait for it
	}
	if err != nil {
		_ = p.file.Close()
		return nil, err
	}
	go p.run(raw)
	return p, nil
}

func (p *poller) add(s *socket) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sockets[int32(s.fd)] = s
	err := unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, s.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(s.fd)})
	if err != nil {
		delete(p.sockets, int32(s.fd))
	}
	return os.NewSyscallError("epoll_ctl", err)
}

func (p *poller) remove(fd int32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.sockets, fd)
	_ = unix.EpollCtl(p.fd, unix.EPOLL_CTL_DEL, int(fd), nil) // closing does it as well
}

// run reads until the file is closed. One datagram is taken from each socket in
// turn, so that a flood on one does not hold up the others.
func (p *poller) run(raw syscall.RawConn) {
	defer close(p.ended)
	events := make([]unix.EpollEvent, 128)
	d := datagram{bytes: make([]byte, 2048)}
	_ = raw.Read(func(fd uintptr) (done bool) {
		for {
			n, err := unix.EpollWait(int(fd), events, 0)
			switch {
			case errors.Is(err, unix.EINTR):
				continue
			case err != nil:
				return true
			case n == 0:
				return false // wait
			}
			for i := range events[:n] {
				p.mu.Lock()
				s := p.sockets[events[i].Fd]
				p.mu.Unlock()
				if s != nil {
					s.read(&d)
				}
			}
		}
	})
}

// read hands on one datagram. A fault in what becomes of it ends neither the
// process nor the reading of the other sockets.
func (s *socket) read(d *datagram) {
	s.reading.Lock()
	defer s.reading.Unlock()
	if s.fd < 0 {
		return
	}
	n, from, ok := d.receive(s.fd)
	if !ok {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("RTP handler panicked", "local", s.local, "panic", p, "stack", string(debug.Stack()))
		}
	}()
	s.heard(d.bytes[:n], from, time.Now())
}

// send sends one datagram, or fails: it never waits.
func (s *socket) send(b []byte, to netip.AddrPort) error {
	s.sending.Lock()
	defer s.sending.Unlock()
	if s.fd < 0 {
		return net.ErrClosed
	}
	var sa unix.RawSockaddrInet6 // large enough for both
	length := uintptr(unix.SizeofSockaddrInet6)
	if s.local.Addr().Is4() {
		if !to.Addr().Is4() {
			return unix.EAFNOSUPPORT
		}
		four := (*unix.RawSockaddrInet4)(unsafe.Pointer(&sa))
		four.Family, four.Addr = unix.AF_INET, to.Addr().As4()
		binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&four.Port))[:], to.Port())
		length = unix.SizeofSockaddrInet4
	} else {
		sa.Family, sa.Addr = unix.AF_INET6, to.Addr().As16()
		binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&sa.Port))[:], to.Port())
	}
	_, _, errno := syscall.Syscall6(unix.SYS_SENDTO, uintptr(s.fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))),
		uintptr(len(b)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, uintptr(unsafe.Pointer(&sa)), length)
	if errno != 0 {
		return errno
	}
	return nil
}

// datagram is where a poller reads to.
type datagram struct {
	bytes  []byte
	from   unix.RawSockaddrInet6
	length uint32
}

func (d *datagram) receive(fd int) (n int, from netip.AddrPort, ok bool) {
	d.length = unix.SizeofSockaddrInet6
	r, _, errno := syscall.Syscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(d.bytes))),
		uintptr(len(d.bytes)), unix.MSG_DONTWAIT, uintptr(unsafe.Pointer(&d.from)), uintptr(unsafe.Pointer(&d.length)))
	if errno != 0 {
		return 0, from, false
	}
	switch d.from.Family {
	case unix.AF_INET:
		four := (*unix.RawSockaddrInet4)(unsafe.Pointer(&d.from))
		port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&four.Port))[:])
		return int(r), netip.AddrPortFrom(netip.AddrFrom4(four.Addr), port), true
	case unix.AF_INET6:
		port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&d.from.Port))[:])
		return int(r), netip.AddrPortFrom(netip.AddrFrom16(d.from.Addr).Unmap(), port), true
	}
	return 0, from, false
}

// bind opens a socket that does not block.
func bind(addr netip.AddrPort) (fd int, local netip.AddrPort, err error) {
	domain := unix.AF_INET6
	var at unix.Sockaddr = &unix.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16()}
	if addr.Addr().Is4() {
		domain, at = unix.AF_INET, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}
	}
	fd, err = unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, local, os.NewSyscallError("socket", err)
	}
	if domain == unix.AF_INET6 {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0) // [::] hears IPv4 too
	}
	if err := unix.Bind(fd, at); err != nil {
		_ = unix.Close(fd)
		return -1, local, os.NewSyscallError("bind", err)
	}
	if addr.Port() != 0 {
		return fd, addr, nil
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		_ = unix.Close(fd)
		return -1, local, os.NewSyscallError("getsockname", err)
	}
	port := addr.Port()
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		port = uint16(sa.Port)
	case *unix.SockaddrInet6:
		port = uint16(sa.Port)
	}
	return fd, netip.AddrPortFrom(addr.Addr(), port), nil
}

// mark sets the DSCP of what a socket sends. A host that does not let us is not
// worth losing a call for.
func mark(fd int, addr netip.Addr, dscp int) {
	if addr.Is6() {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_TCLASS, dscp<<2)
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TOS, dscp<<2)
}
