package media

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/rtcp"

	"dialer/telephony"
)

// heard drains what waits to be read, by the value of its first sample.
func heard(t *testing.T, s *Session) (values []int16, frames []telephony.Frame) {
	t.Helper()
	for {
		f, ok, _ := s.in.nextFrame(time.Now())
		if !ok {
			return values, frames
		}
		frames = append(frames, f)
		if f.Lost {
			values = append(values, -1)
		} else {
			values = append(values, f.Samples[0])
		}
	}
}

// listener is a leg and the far end from which packets are made up.
type listener struct {
	*Session
	from netip.AddrPort
	now  time.Time
}

func newListener(t testing.TB) *listener {
	s := open(t)
	l := &listener{s, netip.MustParseAddrPort("127.0.0.9:4000"), time.Now()}
	s.SetRemote(remoteAt(l.from, PCMU))
	s.Answered(l.now)
	return l
}

// put hands in a frame whose samples are all value.
func (l *listener) put(sequence uint16, timestamp uint32, value int16) {
	l.receive(packetOf(0, 1, sequence, timestamp, spoken(value)), l.from, l.now)
	l.now = l.now.Add(telephony.FrameDuration)
}

func equal(t *testing.T, what string, got []int16, want ...int16) {
	t.Helper()
	same := len(got) == len(want)
	for i := 0; same && i < len(got); i++ {
		// µ-law is coarse.
		same = got[i] == want[i] || got[i]-want[i] < 40 && want[i]-got[i] < 40 && got[i] >= 0 && want[i] > 0
	}
	if !same {
		t.Errorf("%s: heard %v, want %v (-1 is lost)", what, got, want)
	}
}

func TestFramesFollowRTPTime(t *testing.T) {
	type packet struct {
		sequence  uint16
		timestamp uint32
		value     int16
	}
	for name, c := range map[string]struct {
		packets []packet
		want    []int16
	}{
		"in order":        {[]packet{{1, 0, 100}, {2, 160, 200}, {3, 320, 300}}, []int16{100, 200, 300}},
		"sequence wraps":  {[]packet{{65535, 0, 100}, {0, 160, 200}, {1, 320, 300}}, []int16{100, 200, 300}},
		"timestamp wraps": {[]packet{{1, 1<<32 - 160, 100}, {2, 0, 200}}, []int16{100, 200}},
		"swapped":         {[]packet{{1, 0, 100}, {3, 320, 300}, {2, 160, 200}, {4, 480, 400}}, []int16{100, 200, 300, 400}},
		"two late":        {[]packet{{1, 0, 100}, {3, 320, 300}, {4, 480, 400}, {2, 160, 200}}, []int16{100, 200, 300, 400}},
		"doubled":         {[]packet{{1, 0, 100}, {1, 0, 100}, {2, 160, 200}, {2, 160, 200}}, []int16{100, 200}},
		"one lost":        {[]packet{{1, 0, 100}, {3, 320, 300}, {4, 480, 400}, {5, 640, 500}}, []int16{100, -1, 300, 400, 500}},
		"too late":        {[]packet{{1, 0, 100}, {3, 320, 300}, {4, 480, 400}, {5, 640, 500}, {2, 160, 200}}, []int16{100, -1, 300, 400, 500}},
		"pause":           {[]packet{{1, 0, 100}, {2, 480, 400}}, []int16{100, 0, 0, 400}},
	} {
		t.Run(name, func(t *testing.T) {
			l := newListener(t)
			for _, p := range c.packets {
				l.put(p.sequence, p.timestamp, p.value)
			}
			got, _ := heard(t, l.Session)
			equal(t, name, got, c.want...)
		})
	}
}

// Packets of other lengths come out as 20 ms too.
func TestFramesFromOtherPacketTimes(t *testing.T) {
	for _, length := range []int{80, 240, 320, 480} {
		l := newListener(t)
		const total = 960
		for i := 0; i*length < total; i++ {
			payload := make([]byte, length)
			for j := range payload {
				payload[j] = telephony.EncodeULaw(int16(1000 + 100*((i*length+j)/160)))
			}
			l.receive(packetOf(0, 1, uint16(i), uint32(i*length), payload), l.from, l.now)
			l.now = l.now.Add(samples(length))
		}
		got, _ := heard(t, l.Session)
		if len(got) != total/160 {
			t.Fatalf("packets of %d samples: %d frames, want %d", length, len(got), total/160)
		}
		for i, v := range got {
			if want := int16(1000 + 100*i); v < want-40 || v > want+40 {
				t.Errorf("packets of %d samples: frame %d is %d, want %d", length, i, v, want)
			}
		}
	}
}

// A long loss is made up for 500 ms and no longer; RTP time says the rest.
func TestLongLossIsBounded(t *testing.T) {
	l := newListener(t)
	ear := listenTo(l.Session, false)
	l.put(0, 0, 100)
	l.now = l.now.Add(time.Second)
	for i := uint16(50); i < 60; i++ {
		l.put(i, uint32(i)*160, 100)
	}
	frames := ear.wait(t, 36)
	lost := 0
	for _, f := range frames {
		if f.Lost {
			lost++
		}
	}
	if lost != 25 || len(frames) != 36 {
		t.Errorf("%d frames of which %d lost, want 36 and 25", len(frames), lost)
	}
	if d := frames[35].Offset - frames[0].Offset; d != 59*telephony.FrameDuration {
		t.Errorf("the last frame is %s after the first, want 1.18s", d)
	}
	if s := l.Stats(); s.Lost != 49 {
		t.Errorf("Stats.Lost = %d, want 49", s.Lost)
	}
}

// The reader finds at most 200 ms waiting, and the newest.
func TestQueueDropsTheOldest(t *testing.T) {
	l := newListener(t)
	for i := range uint16(50) {
		l.put(i, uint32(i)*160, int16(1000+100*int16(i)))
	}
	got, _ := heard(t, l.Session)
	if len(got) != 10 || got[9] < 5700 || got[9] > 6100 {
		t.Errorf("after a stall %d frames wait, the last %v; want 10 ending in 5900", len(got), got)
	}
}

// With comfort noise nothing comes for seconds: the reader hears silence at
// pace, not nothing, and not loss.
func TestComfortNoiseIsSilence(t *testing.T) {
	l := newListener(t)
	l.put(1, 0, 1000)
	l.receive(packetOf(comfortNoise, 1, 2, 160, []byte{60}), l.from, time.Now())
	start := time.Now()
	for i := range 6 {
		f, err := l.ReadFrame(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		if f.Lost || i > 0 && f.Samples != [160]int16{} {
			t.Fatalf("frame %d in silence: lost %v, samples %v", i, f.Lost, f.Samples[:3])
		}
	}
	if took := time.Since(start); took < 60*time.Millisecond || took > time.Second {
		t.Errorf("five frames of silence took %s", took)
	}
	// Speech again: all of it is heard.
	l.now = time.Now()
	l.receive(packetOf(0, 1, 3, 160+uint32(l.now.Sub(start).Seconds()*8000), spoken(3000)), l.from, l.now)
	l.receive(packetOf(0, 1, 4, 320+uint32(l.now.Sub(start).Seconds()*8000), spoken(3000)), l.from, l.now)
	loud := 0
	_, frames := heard(t, l.Session)
	for _, f := range frames {
		for _, s := range f.Samples {
			if s > 2500 {
				loud++
			}
		}
	}
	if loud < 160 {
		t.Errorf("after silence %d loud samples were heard, want 160 or more", loud)
	}
}

// Early media has negative offsets, time zero is the answer.
func TestOffsetsCountFromTheAnswer(t *testing.T) {
	s := open(t)
	from := netip.MustParseAddrPort("127.0.0.9:4000")
	s.SetRemote(remoteAt(from, PCMU))
	now := time.Now()
	s.receive(packetOf(0, 1, 1, 0, spoken(100)), from, now)
	s.Answered(now.Add(30 * time.Millisecond))
	s.receive(packetOf(0, 1, 2, 160, spoken(100)), from, now.Add(20*time.Millisecond))
	s.receive(packetOf(0, 1, 3, 320, spoken(100)), from, now.Add(90*time.Millisecond))
	_, frames := heard(t, s)
	if len(frames) != 3 || frames[0].Offset >= 0 {
		t.Fatalf("early frames: %d, first offset %v", len(frames), frames[0].Offset)
	}
	if frames[1].Offset != -10*time.Millisecond || frames[2].Offset != 10*time.Millisecond {
		t.Errorf("offsets %s, %s by RTP time, want -10ms and 10ms", frames[1].Offset, frames[2].Offset)
	}
}

// Whoever is not the far end is not heard, relayed or answered.
func TestStrangersAreRejected(t *testing.T) {
	phone, leg, out := open(t), open(t), newWire(t, "127.0.0.1:0")
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
	_ = out
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
	t.Run("sources", func(t *testing.T) {
		s, now := start(t)
		r := remoteAt(agreed, PCMU)
		r.Sources = []netip.Prefix{netip.MustParsePrefix("127.0.0.8/30")}
		s.SetRemote(r)
		if got := send(s, away, 1, 10, 2, now); got != 2 {
			t.Errorf("of two packets from an allowed network %d were taken", got)
		}
	})
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

// The far end's gateway changes: after three packets the new stream is heard.
func TestNewStreamTakesOver(t *testing.T) {
	l := newListener(t)
	l.put(1, 0, 1000)
	for i := range uint16(5) {
		l.receive(packetOf(0, 2, 900+i, 5_000_000+uint32(i)*160, spoken(3000)), l.from, l.now)
		l.now = l.now.Add(telephony.FrameDuration)
	}
	got, frames := heard(t, l.Session)
	equal(t, "take-over", got, 1000, 3000, 3000, 3000)
	if d := frames[1].Offset - frames[0].Offset; d != 60*time.Millisecond {
		t.Errorf("the new stream begins %s after the old one, want 60ms", d)
	}
}

func TestHold(t *testing.T) {
	a, b := open(t), open(t)
	connect(a, b, PCMU)
	ear := listenTo(b, false)
	speak(t, a, tone(400, 3))
	ear.wait(t, 3)
	held := remoteAt(b.Local(), PCMU)
	held.Send = false
	a.SetRemote(held)
	speak(t, a, tone(400, 3))
	if out := a.Stats().PacketsOut; out != 3 {
		t.Errorf("%d packets sent on hold, want none beyond the first 3", out-3)
	}
	a.SetRemote(remoteAt(b.Local(), PCMU))
	speak(t, a, tone(400, 3))
	ear.wait(t, 6)
}

func TestCloseEndsEverything(t *testing.T) {
	s := open(t)
	failed := make(chan error, 1)
	go func() {
		_, err := s.ReadFrame(context.Background())
		failed <- err
	}()
	s.Close()
	s.Close()
	select {
	case err := <-failed:
		if !errors.Is(err, ErrClosed) {
			t.Errorf("ReadFrame: %v, want ErrClosed", err)
		}
	case <-time.After(deadline):
		t.Fatal("ReadFrame did not end")
	}
	if err := s.WriteFrame(telephony.Frame{}); !errors.Is(err, ErrClosed) {
		t.Errorf("WriteFrame: %v, want ErrClosed", err)
	}
	if _, open := <-s.Digits(); open {
		t.Error("the digits are not closed")
	}
	if err := s.SendDigits(soon(t), "1"); !errors.Is(err, ErrClosed) {
		t.Errorf("SendDigits: %v, want ErrClosed", err)
	}
}

// Whoever hears a frame may ask the leg about itself.
func TestTapMayCallItsSession(t *testing.T) {
	l := newListener(t)
	calls := 0
	var stop func()
	stop = l.Tap(func(f telephony.Frame, sent bool) {
		if sent {
			return
		}
		calls++
		l.Stats()
		l.SetRemote(remoteAt(l.from, PCMU))
		_ = l.WriteFrame(f)
		stop()
	})
	l.put(1, 0, 100)
	l.put(2, 160, 100)
	if calls != 1 {
		t.Errorf("the tap was called %d times, want once before it was stopped", calls)
	}
}

// A leg that ends while others are joined to it leaves them usable.
func TestCloseWhileRelayed(t *testing.T) {
	c := newCall(t, PCMU, PCMU)
	stop := c.legA.Relay(c.legB)
	c.legA.Close()
	ear := listenTo(c.phoneB, false)
	speak(t, c.legB, tone(400, 3)) // the clip that says goodbye
	ear.wait(t, 3)
	speak(t, c.phoneB, tone(400, 3))
	stop()
	stop()
}

func TestReadFrameEndsWithContext(t *testing.T) {
	s := open(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.ReadFrame(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("ReadFrame: %v, want canceled", err)
	}
}

// RTCP tells the far end how it is heard.
func TestReports(t *testing.T) {
	l := newListener(t)
	for i := range uint16(20) {
		if i%4 != 3 {
			l.put(i, uint32(i)*160, 1000)
		}
	}
	var before reported
	r := l.in.reception(heardReport{ssrc: 1, ntp: 42, at: l.now.Add(-time.Second)}, &before, l.now)
	if len(r) != 1 {
		t.Fatalf("%d reports, want 1", len(r))
	}
	if r[0].SSRC != 1 || r[0].TotalLost != 4 || r[0].FractionLost != 53 || r[0].LastSenderReport != 42 || r[0].Delay != 65536 {
		t.Errorf("report %+v: want SSRC 1, 4 lost, fraction 53/256, LSR 42, DLSR 65536", r[0])
	}
	if r := l.in.reception(heardReport{}, &before, l.now.Add(time.Minute)); r != nil {
		t.Error("a stream that has ended is reported")
	}
}

// Our sender report says what we sent, by both clocks, one port above the RTP.
func TestSenderReportOnTheWire(t *testing.T) {
	s, w := open(t), newWire(t, "127.0.0.1:0")
	s.SetRemote(remoteAt(netip.AddrPortFrom(w.addr.Addr(), w.addr.Port()-1), PCMU))
	speak(t, s, tone(400, 3))
	now := time.Now()
	s.report(heardReport{}, &reported{}, now)
	b := make([]byte, 1500)
	_ = w.SetReadDeadline(time.Now().Add(deadline))
	n, from, err := w.ReadFromUDPAddrPort(b)
	if err != nil {
		t.Fatal(err)
	}
	packets, err := rtcp.Unmarshal(b[:n])
	if err != nil {
		t.Fatal(err)
	}
	sr, ok := packets[0].(*rtcp.SenderReport)
	if !ok || len(packets) != 2 {
		t.Fatalf("got %v, want a sender report and a source description", packets)
	}
	if from.Port() != s.Local().Port()+1 || sr.PacketCount != 3 || sr.OctetCount != 480 || sr.SSRC != s.out.ssrc {
		t.Errorf("from port %d: %+v", from.Port(), sr)
	}
	if seconds := int64(sr.NTPTime>>32) - ntpEpoch; seconds != now.Unix() {
		t.Errorf("NTP time %d s, want %d", seconds, now.Unix())
	}
}

func FuzzPacket(f *testing.F) {
	f.Add(packetOf(0, 1, 5, 800, spoken(1000)), packetOf(0, 1, 9, 1440, spoken(1000)))
	f.Add(packetOf(101, 1, 6, 960, []byte{5, 0x8a, 0, 160}), packetOf(13, 1, 7, 1120, []byte{60}))
	f.Add(packetOf(8, 2, 60000, 1<<31, spoken(1)), []byte{0x9f, 0, 0, 1})
	ports, err := NewPorts(loopback, 24000, 24999)
	if err != nil {
		f.Fatal(err)
	}
	ports.rest = 0
	leg, err := ports.Open(discard())
	if err != nil {
		f.Fatal(err)
	}
	out, err := ports.Open(discard())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(leg.Close)
	f.Cleanup(out.Close)
	sink, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = sink.Close() })
	from := netip.MustParseAddrPort("127.0.0.9:4000")
	r := remoteAt(from, PCMU)
	r.Codecs = []Codec{PCMU, PCMA}
	leg.SetRemote(r)
	out.SetRemote(remoteAt(sink.LocalAddr().(*net.UDPAddr).AddrPort(), PCMA))
	leg.Relay(out)
	leg.Tap(func(telephony.Frame, bool) {})
	now := time.Now()
	f.Fuzz(func(_ *testing.T, a, b []byte) {
		for _, p := range [][]byte{a, b, a} {
			leg.receive(p, from, now)
			now = now.Add(telephony.FrameDuration)
		}
		for len(leg.digits) > 0 {
			<-leg.digits
		}
	})
}
