package media

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/rtcp"

	"dialer/telephony"
)

// Whoever is not the far end is not heard, relayed or answered.
func TestStrangersAreRejected(t *testing.T) {
	phone, leg := open(t), open(t)
	connect(phone, leg, PCMU)
	ear := listenTo(leg, false)
	speak(t, phone, tone(400, 5))
	ear.wait(t, 5)

	before := leg.Stats().Rejected
	const each = 20
	for _, addr := range []string{"127.0.0.2:0", "127.0.0.1:0"} {
		stranger := newWire(t, addr)
		for i := range uint16(each) {
			if _, err := stranger.WriteToUDPAddrPort(packetOf(0, 99, i, uint32(i)*160, spoken(20000)), leg.Local()); err != nil {
				t.Fatal(err)
			}
		}
	}
	speak(t, phone, tone(400, 5))
	frames := ear.wait(t, 10)
	waitFor(t, func() bool { return leg.Stats().Rejected-before == 2*each })
	for i, f := range frames {
		for _, v := range f.Samples {
			if v > 9000 {
				t.Fatalf("frame %d holds the stranger's voice", i)
			}
		}
	}
	// What we say still goes to the phone.
	back := listenTo(phone, false)
	speak(t, leg, tone(1000, 3))
	back.wait(t, 3)
}

// waitFor polls a counter that has no event of its own.
func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(deadline); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatal("it did not come about in time")
		}
	}
}

func TestWrongPacketsAreRejected(t *testing.T) {
	good := packetOf(0, 1, 5, 800, spoken(1000))
	change := func(f func(b []byte) []byte) []byte { return f(append([]byte(nil), good...)) }
	for name, b := range map[string][]byte{
		"empty":                  {},
		"short":                  good[:11],
		"no payload":             good[:12],
		"version 1":              change(func(b []byte) []byte { b[0] = 0x40; return b }),
		"payload type not ours":  change(func(b []byte) []byte { b[1] = 18; return b }),
		"codec not agreed":       change(func(b []byte) []byte { b[1] = 8; return b }),
		"RTCP":                   change(func(b []byte) []byte { b[1] = 200; return b }),
		"padding beyond payload": change(func(b []byte) []byte { b[0] |= 0x20; b[len(b)-1] = 255; return b }),
		"more CSRC than bytes":   change(func(b []byte) []byte { b[0] |= 0x0f; return b[:20] }),
		"extension beyond end":   change(func(b []byte) []byte { b[0] |= 0x10; b[14], b[15] = 0xff, 0xff; return b }),
		"huge payload":           packetOf(0, 1, 5, 800, make([]byte, 1441)),
		"short key press":        packetOf(101, 1, 5, 800, []byte{1, 2, 3}),
	} {
		t.Run(name, func(t *testing.T) {
			l := newListener(t)
			l.receive(b, l.from, l.now)
			if s := l.Stats(); s.Rejected != 1 || s.PacketsIn != 0 {
				t.Errorf("rejected %d, taken %d; want 1 and 0", s.Rejected, s.PacketsIn)
			}
		})
	}
}

// A far end behind NAT sends from another port than it said: believed once,
// soon after the answer, after three packets in a row, from the same address.
func TestLatch(t *testing.T) {
	agreed := netip.MustParseAddrPort("127.0.0.9:4000")
	other := netip.MustParseAddrPort("127.0.0.9:5000")
	third := netip.MustParseAddrPort("127.0.0.9:6000")
	away := netip.MustParseAddrPort("127.0.0.8:4000")
	send := func(s *Session, from netip.AddrPort, ssrc uint32, first uint16, n int, now time.Time) (taken int64) {
		before := s.Stats().PacketsIn
		for i := range n {
			s.receive(packetOf(0, ssrc, first+uint16(i), uint32(i)*160, spoken(1000)), from, now)
		}
		return s.Stats().PacketsIn - before
	}
	start := func(t *testing.T) (*Session, time.Time) {
		s, now := open(t), time.Now()
		s.SetRemote(remoteAt(agreed, PCMU))
		s.Answered(now)
		return s, now
	}
	t.Run("once", func(t *testing.T) {
		s, now := start(t)
		if got := send(s, other, 1, 10, 5, now); got != 3 {
			t.Errorf("of five packets %d were taken, want the last 3", got)
		}
		if got := send(s, third, 2, 10, 10, now.Add(time.Second)); got != 0 {
			t.Errorf("a second port was believed: %d packets", got)
		}
		s.out.mu.Lock()
		defer s.out.mu.Unlock()
		if s.out.peer != other {
			t.Errorf("we send to %s, want %s", s.out.peer, other)
		}
	})
	t.Run("not another address", func(t *testing.T) {
		s, now := start(t)
		if got := send(s, away, 1, 10, 10, now); got != 0 {
			t.Errorf("%d packets of a stranger were taken", got)
		}
	})
	t.Run("not late", func(t *testing.T) {
		s, now := start(t)
		if got := send(s, other, 1, 10, 10, now.Add(6*time.Second)); got != 0 {
			t.Errorf("%d packets were taken 6 s after the answer", got)
		}
	})
	t.Run("not while the agreed port is heard", func(t *testing.T) {
		s, now := start(t)
		send(s, agreed, 1, 10, 1, now)
		if got := send(s, other, 2, 10, 10, now); got != 0 {
			t.Errorf("%d packets of another port were taken", got)
		}
	})
	t.Run("not out of order", func(t *testing.T) {
		s, now := start(t)
		for i := range 10 {
			if got := send(s, other, 1, uint16(i*7), 1, now); got != 0 {
				t.Fatal("a packet out of order was taken")
			}
		}
	})
	t.Run("kept over a re-INVITE with the same address", func(t *testing.T) {
		s, now := start(t)
		send(s, other, 1, 10, 5, now)
		s.SetRemote(remoteAt(agreed, PCMU))
		if got := send(s, other, 1, 15, 1, now); got != 1 {
			t.Error("the latch was lost")
		}
	})
	t.Run("anew with another address", func(t *testing.T) {
		s, now := start(t)
		send(s, other, 1, 10, 5, now)
		s.SetRemote(remoteAt(away, PCMU))
		if got := send(s, other, 1, 15, 3, now); got != 0 {
			t.Error("the old far end is still heard")
		}
		if got := send(s, away, 2, 0, 5, now.Add(time.Second)); got != 5 {
			t.Errorf("of the new far end's five packets %d were taken", got)
		}
	})
	peerOf := func(s *Session) netip.AddrPort {
		s.out.mu.Lock()
		defer s.out.mu.Unlock()
		return s.out.peer
	}
	t.Run("lost and found", func(t *testing.T) {
		s, now := start(t)
		send(s, agreed, 1, 10, 5, now)
		now = now.Add(3 * time.Second)
		if got := send(s, third, 2, 15, 10, now); got != 0 {
			t.Errorf("%d packets of another stream were taken when the far end was lost", got)
		}
		if got := send(s, third, 1, 5000, 10, now); got != 0 {
			t.Errorf("%d packets far from the stream were taken", got)
		}
		if got := send(s, other, 1, 20, 5, now); got != 3 {
			t.Errorf("of five packets that go on with the stream %d were taken, want the last 3", got)
		}
		if got := peerOf(s); got != other {
			t.Errorf("we send to %s, want %s", got, other)
		}
		if got := send(s, third, 1, 25, 10, now); got != 0 {
			t.Errorf("%d packets of a third port were taken while the second is heard", got)
		}
	})
	t.Run("allowed networks", func(t *testing.T) {
		s, now := start(t)
		r := remoteAt(agreed, PCMU)
		r.Sources = []netip.Prefix{netip.MustParsePrefix("127.0.0.8/30")}
		s.SetRemote(r)
		if got := send(s, away, 1, 10, 5, now); got != 3 {
			t.Errorf("of five packets from an allowed network %d were taken, want the last 3", got)
		}
		if got := peerOf(s); got != agreed {
			t.Errorf("we send to %s, which the far end did not name", got)
		}
		inside := netip.MustParseAddrPort("127.0.0.10:7000")
		if got := send(s, inside, 1, 15, 10, now); got != 0 {
			t.Errorf("%d packets were heard of another host of that network", got)
		}
		now = now.Add(latchWindow + time.Second)
		send(s, away, 1, 15, 1, now)
		if got := send(s, agreed, 3, 15, 10, now); got != 0 {
			t.Errorf("%d packets of a second source were heard", got)
		}
		now = now.Add(300 * time.Millisecond)
		if got := send(s, agreed, 3, 25, 5, now); got != 3 {
			t.Errorf("of five packets from the agreed address %d were taken, want the last 3", got)
		}
	})
}

// Who sends from another port of the far end's address before it does may be
// believed; the far end itself is believed as soon as it speaks, however much the
// other one sends, and nothing of that is heard any more.
func TestAgreedAddressWinsTheLineBack(t *testing.T) {
	for _, c := range []struct {
		name  string
		after time.Duration // the answer
		want  bool
	}{{"soon after the answer", 100 * time.Millisecond, true}, {"late", latchWindow + time.Second, false}} {
		t.Run(c.name, func(t *testing.T) {
			l := newListener(t)
			thief := netip.MustParseAddrPort("127.0.0.9:4444")
			steal := func(i int) {
				l.receive(packetOf(0, 0xbad, uint16(i), uint32(i)*160, spoken(9000)), thief, l.now)
			}
			i := 0
			for end := l.now.Add(c.after); l.now.Before(end); i++ {
				steal(i)
				l.now = l.now.Add(telephony.FrameDuration)
			}
			if l.out.peer != thief {
				t.Fatalf("we send to %s, want the one who was first", l.out.peer)
			}
			heard(t, l.Session)
			for n := range 2 * latchPackets {
				steal(i + n)
				l.put(uint16(n), uint32(n)*160, 1000)
			}
			heard(t, l.Session)
			for n := range 5 {
				steal(i + 2*latchPackets + n)
				l.put(uint16(2*latchPackets+n), uint32(2*latchPackets+n)*160, 1000)
			}
			want, peer := int16(1000), l.from
			if !c.want {
				want, peer = 9000, thief
			}
			got, _ := heard(t, l.Session)
			if len(got) == 0 || l.out.peer != peer {
				t.Errorf("heard %v, we send to %s, want %s", got, l.out.peer, peer)
			}
			for _, v := range got {
				if v < want-400 || v > want+400 {
					t.Errorf("heard %v, want %d alone", got, want)
					break
				}
			}
		})
	}
}

// Whatever an attacker tries who cannot use the far end's own address and port,
// nothing of it is heard, and nothing goes to it.
func TestInjectedAudioIsNeverHeard(t *testing.T) {
	for seed := range uint64(30) {
		random := rand.New(rand.NewPCG(seed, 7))
		l := newListener(t)
		r := remoteAt(l.from, PCMU)
		r.Mux = seed%2 == 0
		l.SetRemote(r)
		var attackers []netip.AddrPort
		for _, a := range []string{"127.0.0.9:4001", "127.0.0.9:4002", "127.0.0.9:65535", "127.0.0.8:4000", "10.0.0.1:4000"} {
			attackers = append(attackers, netip.MustParseAddrPort(a))
		}
		loud := spoken(30000)
		for i := range uint16(200) {
			l.put(i, uint32(i)*160, 1000)
			for range random.IntN(4) {
				from := attackers[random.IntN(len(attackers))]
				ssrc, sequence, timestamp := uint32(1), i+uint16(random.IntN(3)), uint32(i+1)*160
				if random.IntN(3) == 0 {
					ssrc = random.Uint32()
				}
				b := packetOf(0, ssrc, sequence, timestamp, loud)
				switch random.IntN(5) {
				case 0:
					b = packetOf(101, ssrc, sequence, timestamp, []byte{7, 0x8a, 1, 0x40})
				case 1:
					b, _ = rtcp.Marshal([]rtcp.Packet{&rtcp.ReceiverReport{SSRC: 1}, &rtcp.Goodbye{Sources: []uint32{1}}})
				}
				if random.IntN(2) == 0 {
					l.receive(b, from, l.now)
				} else {
					l.receiveControl(b, from, l.now)
				}
			}
			values, _ := heard(t, l.Session)
			for _, v := range values {
				if v > 2000 || v < 0 {
					t.Fatalf("seed %d: %d was heard at packet %d", seed, v, i)
				}
			}
		}
		if in := l.Stats().PacketsIn; in != 200 {
			t.Errorf("seed %d: %d packets were taken, the far end sent 200", seed, in)
		}
		if l.out.peer != l.from {
			t.Errorf("seed %d: we send to %s", seed, l.out.peer)
		}
		select {
		case d := <-l.Digits():
			t.Errorf("seed %d: the key %c was heard", seed, d.Key)
		default:
		}
	}
}

// A forged packet of another stream does not break into a live one.
func TestLiveStreamIsKept(t *testing.T) {
	l := newListener(t)
	for i := range uint16(10) {
		l.put(i, uint32(i)*160, 1000)
		l.receive(packetOf(0, 666, i*50, 0, spoken(20000)), l.from, l.now)
		l.receive(packetOf(0, 1, i+5000, 0, spoken(20000)), l.from, l.now)
	}
	got, _ := heard(t, l.Session)
	for _, v := range got {
		if v > 2000 {
			t.Fatalf("the other stream was heard: %v", got)
		}
	}
	if len(got) != 10 || l.Stats().Rejected != 20 {
		t.Errorf("%d frames, %d rejected; want 10 and 20", len(got), l.Stats().Rejected)
	}
}
