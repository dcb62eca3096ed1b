package media

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"dialer"
)

// portRest is how long a released port stays unused, so that a late packet of
// one call is never heard in the next.
const portRest = 5 * time.Second

// Ports hands out the RTP ports of one address: even ports at random (a guessed
// port is worth nothing to a stranger), the odd one above each for RTCP.
type Ports struct {
	bind      netip.Addr
	low, high int
	rest      time.Duration

	mu      sync.Mutex
	free    []uint16
	resting []restingPort // in order of until
	inUse   int
}

type restingPort struct {
	port  uint16
	until time.Time
}

// NewPorts returns the free list of the even ports between low and high.
func NewPorts(bind netip.Addr, low, high int) (*Ports, error) {
	if !bind.IsValid() {
		return nil, dialer.Fieldf("bind", "is empty: give the address on which RTP arrives")
	}
	if low < 1024 || high > 65535 || high <= low {
		return nil, dialer.Fieldf("rtp_ports", "%d-%d is not a range of ports between 1024 and 65535", low, high)
	}
	p := &Ports{bind: bind.Unmap(), low: low, high: high, rest: portRest}
	for port := low + low%2; port+1 <= high; port += 2 {
		p.free = append(p.free, uint16(port))
	}
	if len(p.free) == 0 {
		return nil, dialer.Fieldf("rtp_ports", "%d-%d holds no even port with its odd neighbour", low, high)
	}
	return p, nil
}

// Open opens the RTP port of one leg. The error is an Unavailable *dialer.Error
// when none is free.
func (p *Ports) Open(log *slog.Logger) (*Session, error) {
	var last error
	for {
		port, ok := p.take(time.Now())
		if !ok {
			return nil, p.exhausted(last)
		}
		conn, err := listen(p.bind, port)
		if err != nil {
			// Another program sits on it; it rests like a released one.
			last = err
			p.release(port)
			continue
		}
		control, err := listen(p.bind, port+1)
		if err != nil {
			last = err
			_ = conn.Close()
			p.release(port)
			continue
		}
		return newSession(conn, control, func() { p.release(port) }, log), nil
	}
}

// InUse is how many legs hold a port now.
func (p *Ports) InUse() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.inUse
}

func (p *Ports) take(now time.Time) (uint16, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rested(now)
	if len(p.free) == 0 {
		return 0, false
	}
	i, end := rand.IntN(len(p.free)), len(p.free)-1
	port := p.free[i]
	p.free[i] = p.free[end]
	p.free = p.free[:end]
	p.inUse++
	return port, true
}

// rested frees the ports that have rested. The caller holds p.mu.
func (p *Ports) rested(now time.Time) {
	n := 0
	for n < len(p.resting) && !p.resting[n].until.After(now) {
		p.free = append(p.free, p.resting[n].port)
		n++
	}
	p.resting = append(p.resting[:0], p.resting[n:]...)
}

func (p *Ports) release(port uint16) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inUse--
	p.resting = append(p.resting, restingPort{port, time.Now().Add(p.rest)})
}

func (p *Ports) exhausted(last error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	why := ""
	if last != nil {
		why = fmt.Sprintf(", %v", last)
	}
	return dialer.Errorf(dialer.Unavailable,
		"no free RTP port on %s between %d and %d (%d in use, %d resting%s): widen the range of RTP ports",
		p.bind, p.low, p.high, p.inUse, len(p.resting), why)
}

func listen(addr netip.Addr, port uint16) (*net.UDPConn, error) {
	network := "udp"
	if addr.Is4() {
		network = "udp4"
	}
	return net.ListenUDP(network, net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, port)))
}
