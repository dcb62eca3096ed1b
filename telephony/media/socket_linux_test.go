//go:build linux && (amd64 || arm64)

package media

import (
	"net/netip"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dialer/telephony"
)

func files(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	return len(list)
}

// Ten thousand legs come and go: no socket, port or goroutine is left, and the
// range wraps round.
func TestTenThousandSessionsLeaveNothing(t *testing.T) {
	low := freePorts(t, 40)
	p, err := NewPorts(loopback, low, low+39)
	if err != nil {
		t.Fatal(err)
	}
	p.rest = 0
	fds, goroutines := files(t), runtime.NumGoroutine()
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() {
			for range 2000 {
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
	waitFor(t, func() bool { return files(t) <= fds && runtime.NumGoroutine() <= goroutines })
	if n := p.InUse(); n != 0 {
		t.Errorf("%d ports in use", n)
	}
	for i := range 20 {
		s, err := p.Open(discard())
		if err != nil {
			t.Fatalf("port %d of 20: %v", i+1, err)
		}
		defer s.Close()
	}
}

// Routers are told that it is audio.
func TestPacketsAreMarked(t *testing.T) {
	s := open(t)
	tos, err := unix.GetsockoptInt(s.rtp.fd, unix.IPPROTO_IP, unix.IP_TOS)
	if err != nil || tos>>2 != 46 {
		t.Errorf("DSCP %d, %v; want 46", tos>>2, err)
	}
}

// A leg may be closed while packets pour in, and none comes afterwards.
func TestCloseUnderFlood(t *testing.T) {
	for range 20 {
		s, w := open(t), newWire(t, "127.0.0.1:0")
		s.SetRemote(remoteAt(w.addr, PCMU))
		var mu sync.Mutex
		closed, heard := false, make(chan struct{}, 1)
		s.Tap(func(telephony.Frame, bool) {
			mu.Lock()
			defer mu.Unlock()
			if closed {
				t.Error("heard after the end")
			}
			select {
			case heard <- struct{}{}:
			default:
			}
		})
		stop, ended := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			for i := uint16(0); ; i++ {
				select {
				case <-stop:
					return
				default:
					_, _ = w.WriteToUDPAddrPort(packetOf(0, 1, i, uint32(i)*160, spoken(1000)), s.Local())
				}
			}
		}()
		select {
		case <-heard:
		case <-time.After(deadline):
			t.Fatal("nothing was heard")
		}
		s.Close()
		mu.Lock()
		closed = true
		mu.Unlock()
		close(stop)
		<-ended
	}
}

// A fault in a tap ends neither the process nor the reading of other legs.
func TestFaultyTap(t *testing.T) {
	c := newCall(t, PCMU, PCMU)
	c.legA.Tap(func(telephony.Frame, bool) { panic("a fault of whoever listens") })
	ear := listenTo(c.legB, false)
	for i := range 20 {
		speak(t, c.phoneA, tone(400, 1))
		speak(t, c.phoneB, []telephony.Frame{numbered(i)})
	}
	ear.wait(t, 20)
	waitFor(t, func() bool { return c.legA.Stats().PacketsIn == 20 })
}

// IPv6 goes both ways, and IPv4 on a socket for both.
func TestBothFamilies(t *testing.T) {
	var r reader
	for _, c := range []struct{ at, from string }{{"[::1]:0", "[::1]:0"}, {"[::]:0", "127.0.0.1:0"}, {"0.0.0.0:0", "127.0.0.1:0"}} {
		got := make(chan netip.AddrPort, 1)
		s, err := r.open(netip.MustParseAddrPort(c.at), 0, discard(), func(_ []byte, from netip.AddrPort, _ time.Time) { got <- from })
		if err != nil {
			t.Skipf("%s: %v", c.at, err)
		}
		defer s.close()
		back := make(chan netip.AddrPort, 1)
		peer, err := r.open(netip.MustParseAddrPort(c.from), 0, discard(), func(_ []byte, from netip.AddrPort, _ time.Time) { back <- from })
		if err != nil {
			t.Fatal(err)
		}
		defer peer.close()
		to := netip.AddrPortFrom(peer.local.Addr(), s.local.Port())
		if err := peer.send([]byte("hello"), to); err != nil {
			t.Fatal(err)
		}
		select {
		case from := <-got:
			if from != peer.local {
				t.Errorf("from %s, want %s", from, peer.local)
			}
			if err := s.send([]byte("hello"), from); err != nil {
				t.Fatal(err)
			}
		case <-time.After(deadline):
			t.Fatalf("%s: nothing came", c.at)
		}
		select {
		case <-back:
		case <-time.After(deadline):
			t.Fatalf("%s: nothing came back", c.at)
		}
	}
}
