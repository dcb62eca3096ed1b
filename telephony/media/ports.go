package media

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"dialer"
)

// portRest is how long a released port stays unused, so that a late packet of
// one call is never heard in the next.
const portRest = 5 * time.Second

// expedited is the DSCP of audio (RFC 3246, RFC 4594 section 4.1).
const expedited = 46

// Ports hands out the RTP ports of one address: even ports at random (a guessed
// port is worth nothing to a stranger), the odd one above each for RTCP.
type Ports struct {
	bind      netip.Addr
	low, high int
	rest      time.Duration
	dscp      int
	reader    reader

	mu      sync.Mutex
	free    []uint16
	resting []restingPort // in order of until
	inUse   int

	sessions map[*Session]struct{}
	stop     chan struct{} // ends the sweep, nil when there is none
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
	p := &Ports{
		bind: bind.Unmap(), low: low, high: high, rest: portRest, dscp: expedited, sessions: map[*Session]struct{}{},
	}
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
		s, err := p.open(port, log)
		switch {
		case err == nil:
			s.release = func() {
				p.release(port)
				p.forget(s)
			}
			p.keep(s)
			return s, nil
		case !errors.Is(err, syscall.EADDRINUSE):
			// Not the port's fault: another one would fail as well.
			p.release(port)
			return nil, dialer.Errorf(dialer.Unavailable, "no socket for RTP on %s: %v", p.bind, err)
		}
		// Another program sits on it; it rests like a released one.
		last = err
		p.release(port)
	}
}

// Close ends at once what waits a while for another session, when none is open.
func (p *Ports) Close() { p.reader.end() }

// sweepEvery is how often sessions are looked at for what no packet brings
// about: a report that is due, a key whose last packets were lost.
const sweepEvery = 200 * time.Millisecond

// keep puts a session under the sweep, which begins with the first one.
func (p *Ports) keep(s *Session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sessions[s] = struct{}{}
	if p.stop == nil {
		p.stop = make(chan struct{})
		go p.sweep(p.stop)
	}
}

// forget takes a session from the sweep, which ends with the last one.
func (p *Ports) forget(s *Session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.sessions, s)
	if len(p.sessions) == 0 && p.stop != nil {
		close(p.stop)
		p.stop = nil
	}
}

func (p *Ports) sweep(stop chan struct{}) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	var sessions []*Session
	for {
		select {
		case <-stop:
			return
		case now := <-tick.C:
			p.mu.Lock()
			sessions = slices.AppendSeq(sessions[:0], maps.Keys(p.sessions))
			p.mu.Unlock()
			for _, s := range sessions {
				s.in.letGo(now)
				s.keepReports(now)
			}
			clear(sessions)
		}
	}
}

// Mark sets the DSCP, 0 to 63, of what later sessions send: 46, expedited
// forwarding, unless it is called. It has no effect on systems without epoll, and
// none where the system refuses.
func (p *Ports) Mark(dscp int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dscp = dscp
}

// InUse is how many legs hold a port now.
func (p *Ports) InUse() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.inUse
}

func (p *Ports) mark() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dscp
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
