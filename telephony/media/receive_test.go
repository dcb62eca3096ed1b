package media

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

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
	r.Formats = []Format{{0, PCMU}, {8, PCMA}}
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
