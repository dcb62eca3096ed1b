package media

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"dialer"
)

// freePorts returns an even port from which on n ports are free now: other
// programs use this machine too.
func freePorts(t *testing.T, n int) (low int) {
	t.Helper()
next:
	for range 100 {
		low = 10000 + 2*rand.IntN(4000)
		for port := low; port < low+n; port++ {
			c, err := listen(loopback, uint16(port))
			if err != nil {
				continue next
			}
			_ = c.Close()
		}
		return low
	}
	t.Fatalf("no %d free ports in a row", n)
	return 0
}

// listen takes a port as another program would.
func listen(addr netip.Addr, port uint16) (*net.UDPConn, error) {
	return net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, port)))
}

func TestPortsAreEvenAndInRange(t *testing.T) {
	low := freePorts(t, 10)
	p, err := NewPorts(loopback, low+1, low+9)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[uint16]bool{}
	for range 4 {
		s, err := p.Open(discard())
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		port := s.Local().Port()
		if port%2 != 0 || int(port) < low+2 || int(port) > low+8 || seen[port] {
			t.Errorf("port %d is odd, out of range or given twice", port)
		}
		seen[port] = true
	}
	if _, err := p.Open(discard()); dialer.CodeOf(err) != dialer.Unavailable {
		t.Errorf("a fifth port of four: %v, want Unavailable", err)
	}
}

func TestReleasedPortsRest(t *testing.T) {
	p, err := NewPorts(loopback, 20020, 20021)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	port, ok := p.take(now)
	if !ok {
		t.Fatal("no port")
	}
	p.release(port)
	if _, ok := p.take(time.Now().Add(portRest - 200*time.Millisecond)); ok {
		t.Error("a port was given again before it had rested")
	}
	if _, ok := p.take(time.Now().Add(portRest)); !ok {
		t.Error("a port that had rested was not given again")
	}
}

// A port on which another program sits is passed over, not lost for good.
func TestTakenPortIsPassedOver(t *testing.T) {
	low := freePorts(t, 4)
	busy, err := listen(loopback, uint16(low+1))
	if err != nil {
		t.Skip(err)
	}
	p, err := NewPorts(loopback, low, low+3)
	if err != nil {
		t.Fatal(err)
	}
	p.rest = time.Hour
	for range 20 {
		s, err := p.Open(discard())
		if err != nil {
			t.Fatal(err)
		}
		if int(s.Local().Port()) != low+2 {
			t.Fatalf("got port %d, whose neighbour is taken", s.Local().Port())
		}
		s.Close()
		p.rested(time.Now().Add(2 * time.Hour))
	}
	_ = busy.Close()
	first, err := p.Open(discard())
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	second, err := p.Open(discard())
	if err != nil {
		t.Fatalf("the port is free again: %v", err)
	}
	defer second.Close()
}

func TestPortsUnderChurn(t *testing.T) {
	low := freePorts(t, 40)
	p, err := NewPorts(loopback, low, low+39)
	if err != nil {
		t.Fatal(err)
	}
	p.rest = 0
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			for range 30 {
				s, err := p.Open(discard())
				if err != nil {
					t.Error(err)
					return
				}
				s.Close()
			}
		})
	}
	all.Wait()
	if p.InUse() != 0 {
		t.Errorf("%d ports in use after all were closed", p.InUse())
	}
	for i := range 20 {
		s, err := p.Open(discard())
		if err != nil {
			t.Fatalf("port %d of 20 leaked: %v", i+1, err)
		}
		defer s.Close()
	}
}

func TestPortRangesRefused(t *testing.T) {
	for name, c := range map[string]struct {
		bind      netip.Addr
		low, high int
	}{
		"no address": {netip.Addr{}, 20000, 21000},
		"privileged": {loopback, 80, 21000},
		"too high":   {loopback, 20000, 70000},
		"reversed":   {loopback, 21000, 20000},
		"no pair":    {loopback, 20001, 20002},
	} {
		if _, err := NewPorts(c.bind, c.low, c.high); dialer.CodeOf(err) != dialer.Invalid {
			t.Errorf("%s: %v, want Invalid", name, err)
		}
	}
}
