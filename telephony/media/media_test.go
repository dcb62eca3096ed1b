package media

import (
	"context"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtp"

	"dialer/telephony"
)

var loopback = netip.MustParseAddr("127.0.0.1")

// deadline is how long a test waits for what must come.
const deadline = 5 * time.Second

var testPorts = sync.OnceValues(func() (*Ports, error) {
	p, err := NewPorts(loopback, 21000, 23999)
	if p != nil {
		p.rest = 0
	}
	return p, err
})

func open(t testing.TB) *Session {
	t.Helper()
	ports, err := testPorts()
	if err != nil {
		t.Fatal(err)
	}
	s, err := ports.Open(discard())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func remoteAt(addr netip.AddrPort, c Codec) Remote {
	return Remote{Addr: addr, Codec: c, DTMF: 101, Send: true, Receive: true}
}

// connect makes two sessions each other's far end.
func connect(a, b *Session, c Codec) {
	a.SetRemote(remoteAt(b.Local(), c))
	b.SetRemote(remoteAt(a.Local(), c))
	a.Answered(time.Now())
	b.Answered(time.Now())
}

// call is two phones, each on a leg of ours.
type call struct{ phoneA, legA, legB, phoneB *Session }

func newCall(t testing.TB, codecA, codecB Codec) call {
	c := call{open(t), open(t), open(t), open(t)}
	connect(c.phoneA, c.legA, codecA)
	connect(c.legB, c.phoneB, codecB)
	return c
}

// ear collects what a session hears.
type ear struct {
	mu     sync.Mutex
	frames []telephony.Frame
	times  []time.Time
	more   chan struct{}
}

func listenTo(s *Session, sent bool) *ear {
	e := &ear{more: make(chan struct{}, 1)}
	s.Tap(func(f telephony.Frame, out bool) {
		if out != sent {
			return
		}
		e.mu.Lock()
		e.frames, e.times = append(e.frames, f), append(e.times, time.Now())
		e.mu.Unlock()
		select {
		case e.more <- struct{}{}:
		default:
		}
	})
	return e
}

// wait returns the frames once there are n.
func (e *ear) wait(t testing.TB, n int) []telephony.Frame {
	t.Helper()
	timeout := time.After(deadline)
	for {
		e.mu.Lock()
		got := e.frames
		e.mu.Unlock()
		if len(got) >= n {
			return got
		}
		select {
		case <-e.more:
		case <-timeout:
			t.Fatalf("heard %d frames in %s, want %d", len(got), deadline, n)
		}
	}
}

// tone is n frames of a sine.
func tone(hz float64, n int) []telephony.Frame {
	frames := make([]telephony.Frame, n)
	for i := range n * telephony.FrameSamples {
		frames[i/telephony.FrameSamples].Samples[i%telephony.FrameSamples] =
			int16(8000 * math.Sin(2*math.Pi*hz*float64(i)/8000))
	}
	return frames
}

// level is the amplitude of hz (Goertzel) in the middle one of the frames: a
// frame or two of silence, which a busy machine may cause, does not count.
func level(frames []telephony.Frame, hz float64) float64 {
	coefficient := 2 * math.Cos(2*math.Pi*hz/8000)
	levels := make([]float64, len(frames))
	for i, f := range frames {
		var s1, s2 float64
		for _, x := range f.Samples {
			s1, s2 = float64(x)+coefficient*s1-s2, s1
		}
		levels[i] = 2 * math.Sqrt(max(0, s1*s1+s2*s2-coefficient*s1*s2)) / telephony.FrameSamples
	}
	slices.Sort(levels)
	return levels[len(levels)/2]
}

func speak(t testing.TB, s *Session, frames []telephony.Frame) {
	t.Helper()
	for _, f := range frames {
		if err := s.WriteFrame(f); err != nil {
			t.Fatal(err)
		}
	}
}

// wire is a bare socket that sees the packets themselves.
type wire struct {
	*net.UDPConn
	addr netip.AddrPort
}

func newWire(t testing.TB, addr string) wire {
	t.Helper()
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
	if err != nil {
		t.Skipf("no socket on %s here: %v", addr, err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return wire{c, c.LocalAddr().(*net.UDPAddr).AddrPort()}
}

func (w wire) read(t testing.TB) *rtp.Packet {
	t.Helper()
	b := make([]byte, 2000)
	_ = w.SetReadDeadline(time.Now().Add(deadline))
	n, err := w.Read(b)
	if err != nil {
		t.Fatalf("no packet came: %v", err)
	}
	p := new(rtp.Packet)
	if err := p.Unmarshal(b[:n]); err != nil {
		t.Fatalf("what came is not RTP: %v", err)
	}
	return p
}

func packetOf(payloadType uint8, ssrc uint32, sequence uint16, timestamp uint32, payload []byte) []byte {
	p := rtp.Packet{
		Header:  rtp.Header{Version: 2, PayloadType: payloadType, SSRC: ssrc, SequenceNumber: sequence, Timestamp: timestamp},
		Payload: payload,
	}
	b, err := p.Marshal()
	if err != nil {
		panic(err)
	}
	return b
}

// spoken is a frame's payload whose samples all have one value.
func spoken(value int16) []byte {
	b := make([]byte, telephony.FrameSamples)
	for i := range b {
		b[i] = telephony.EncodeULaw(value)
	}
	return b
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	t.Cleanup(cancel)
	return ctx
}
