package media

import (
	"context"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"dialer/telephony"
)

// Each side hears the other's tone and not its own, whatever the codecs.
func TestRelayCarriesToneBothWays(t *testing.T) {
	for _, codecs := range [][2]Codec{{PCMU, PCMU}, {PCMA, PCMA}, {PCMU, PCMA}, {PCMA, PCMU}} {
		t.Run(codecs[0].Name()+"-"+codecs[1].Name(), func(t *testing.T) {
			t.Parallel()
			c := newCall(t, codecs[0], codecs[1])
			defer c.legA.Relay(c.legB)()
			earA, earB := listenTo(c.phoneA, false), listenTo(c.phoneB, false)
			low, high := tone(400, 40), tone(1000, 40)
			for i := range 40 {
				speak(t, c.phoneA, low[i:i+1])
				speak(t, c.phoneB, high[i:i+1])
			}
			for _, heard := range []struct {
				name      string
				frames    []telephony.Frame
				want, not float64
			}{
				{"B", earB.wait(t, 40), 400, 1000},
				{"A", earA.wait(t, 40), 1000, 400},
			} {
				if got := level(heard.frames, heard.want); got < 7000 || got > 9000 {
					t.Errorf("%s hears %.0f Hz at %.0f, want 8000", heard.name, heard.want, got)
				}
				if got := level(heard.frames, heard.not); got > 200 {
					t.Errorf("%s hears its own %.0f Hz at %.0f", heard.name, heard.not, got)
				}
			}
		})
	}
}

// A tap on a relayed leg hears both sides.
func TestTapHearsRelay(t *testing.T) {
	c := newCall(t, PCMU, PCMA)
	defer c.legA.Relay(c.legB)()
	heard, sent := listenTo(c.legA, false), listenTo(c.legA, true)
	speak(t, c.phoneA, tone(400, 20))
	speak(t, c.phoneB, tone(1000, 20))
	if got := level(heard.wait(t, 20), 400); got < 7000 {
		t.Errorf("the tap hears the leg's own 400 Hz at %.0f", got)
	}
	if got := level(sent.wait(t, 20), 1000); got < 7000 {
		t.Errorf("the tap hears the 1000 Hz sent at %.0f", got)
	}
	for _, f := range append(heard.wait(t, 20), sent.wait(t, 20)...) {
		if f.Offset < -time.Second || f.Offset > time.Minute {
			t.Fatalf("a tapped frame has offset %s, which is not near the answer", f.Offset)
		}
	}
}

// plainLeg is a leg that can only be bridged frame by frame.
type plainLeg struct {
	telephony.Leg
	s *Session
}

func (l plainLeg) ReadFrame(ctx context.Context) (telephony.Frame, error) { return l.s.ReadFrame(ctx) }
func (l plainLeg) WriteFrame(f telephony.Frame) error                     { return l.s.WriteFrame(f) }
func (l plainLeg) Done() <-chan struct{}                                  { return l.s.closed }

// The leg's reader stands still for 300 ms while the phone talks on, as when
// the process is stopped. Afterwards the delay must be as before, relayed or
// bridged frame by frame.
func TestStallLeavesNoDelay(t *testing.T) {
	for name, join := range map[string]func(c call) (stop func()){
		"relay": func(c call) func() { return c.legA.Relay(c.legB) },
		"frames": func(c call) func() {
			ctx, cancel := context.WithCancel(context.Background())
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				_ = telephony.Bridge(ctx, plainLeg{s: c.legA}, plainLeg{s: c.legB})
			}()
			return func() { cancel(); <-ended }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCall(t, PCMU, PCMU)
			defer join(c)()
			heard := listenTo(c.phoneB, false)

			const frames, stallAt, stallEnd, late = 60, 10, 25, 20
			sent := make(map[int]time.Time)
			tick := time.NewTicker(telephony.FrameDuration)
			defer tick.Stop()
			for i := range frames {
				<-tick.C
				switch i {
				case stallAt:
					c.legA.in.mu.Lock()
				case stallEnd:
					c.legA.in.mu.Unlock()
				}
				sent[i] = time.Now()
				speak(t, c.phoneA, []telephony.Frame{numbered(i)})
			}
			var delays []time.Duration
			timeout := time.After(deadline)
			for len(delays) < late*3/4 { // a bridge that catches up may leave some out
				select {
				case <-heard.more:
				case <-timeout:
					t.Fatalf("of the last %d frames only %d were heard", late, len(delays))
				}
				delays = nil
				heard.mu.Lock()
				for i, f := range heard.frames {
					if n := number(f); n >= frames-late {
						delays = append(delays, heard.times[i].Sub(sent[n]))
					}
				}
				heard.mu.Unlock()
			}
			slices.Sort(delays)
			// The middle one: a busy machine may hold up one frame or another.
			if d := delays[len(delays)/2]; d > 40*time.Millisecond {
				t.Errorf("300 ms after a stall of 300 ms the delay is %s: %v", d, delays)
			}
		})
	}
}

// numbered is a frame that is known again after G.711: one loud sample for each
// bit of n.
func numbered(n int) (f telephony.Frame) {
	for bit := range 16 {
		if n>>bit&1 != 0 {
			f.Samples[bit] = 20000
		}
	}
	return f
}

func number(f telephony.Frame) (n int) {
	for bit := range 16 {
		if f.Samples[bit] > 10000 {
			n |= 1 << bit
		}
	}
	return n
}

// A clip, then the relay, then a clip again: the far end sees one stream.
func TestOneStreamAcrossModes(t *testing.T) {
	phone, legA, legB := open(t), open(t), open(t)
	connect(phone, legA, PCMA)
	w := newWire(t, "127.0.0.1:0")
	legB.SetRemote(remoteAt(w.addr, PCMU))

	var packets int
	var ssrc, timestamp uint32
	var sequence uint16
	expect := func(what string, n int) {
		t.Helper()
		for i := range n {
			p := w.read(t)
			if packets > 0 {
				if p.SSRC != ssrc {
					t.Fatalf("%s: SSRC changed", what)
				}
				if p.SequenceNumber != sequence+1 {
					t.Fatalf("%s: sequence %d after %d", what, p.SequenceNumber, sequence)
				}
				if d := int32(p.Timestamp - timestamp); d < 160 || d > 8000 || d != 160 && i > 0 {
					t.Fatalf("%s: timestamp moved by %d", what, d)
				}
			}
			if p.Marker != (i == 0) {
				t.Errorf("%s: packet %d has marker %v", what, i, p.Marker)
			}
			if p.PayloadType != 0 {
				t.Errorf("%s: payload type %d", what, p.PayloadType)
			}
			ssrc, sequence, timestamp = p.SSRC, p.SequenceNumber, p.Timestamp
			packets++
		}
	}
	speak(t, legB, tone(400, 5))
	expect("clip", 5)
	stop := legA.Relay(legB)
	speak(t, phone, tone(400, 5))
	expect("relay", 5)
	speak(t, legB, tone(400, 5)) // has not the line: dropped
	stop()
	speak(t, legB, tone(400, 5))
	expect("second clip", 5)
	legA.Relay(legB)
	speak(t, phone, tone(400, 5))
	expect("second relay", 5)
}

// Loss stays loss, a pause stays a pause, a foreign stream joins without a seam.
func TestRelayKeepsGaps(t *testing.T) {
	leg, out, w := open(t), open(t), newWire(t, "127.0.0.1:0")
	phone := newWire(t, "127.0.0.1:0")
	leg.SetRemote(remoteAt(phone.addr, PCMU))
	out.SetRemote(remoteAt(w.addr, PCMU))
	leg.Relay(out)
	now := time.Now()
	put := func(ssrc uint32, sequence uint16, timestamp uint32) {
		leg.receive(packetOf(0, ssrc, sequence, timestamp, spoken(100)), phone.addr, now)
		now = now.Add(telephony.FrameDuration)
	}
	put(7, 65534, 1000)
	put(7, 65535, 1160)
	put(7, 2, 1640) // two lost
	put(7, 3, 9640) // one second of silence
	first := w.read(t)
	for i, want := range []struct {
		sequence  uint16
		timestamp uint32
	}{{1, 160}, {4, 640}, {5, 8640}} {
		p := w.read(t)
		if p.SequenceNumber-first.SequenceNumber != want.sequence || p.Timestamp-first.Timestamp != want.timestamp {
			t.Errorf("packet %d: sequence +%d, timestamp +%d; want +%d, +%d", i+1,
				p.SequenceNumber-first.SequenceNumber, p.Timestamp-first.Timestamp, want.sequence, want.timestamp)
		}
	}
	now = now.Add(time.Second) // the old stream is silent: a new one counts at once
	put(8, 500, 77)
	if p := w.read(t); p.SequenceNumber-first.SequenceNumber != 6 || p.SSRC != first.SSRC {
		t.Errorf("another SSRC: sequence +%d, want +6 in the same stream", p.SequenceNumber-first.SequenceNumber)
	}
}

func TestRelayAllocatesNothing(t *testing.T) {
	leg, packet, from := relayOfOne(t)
	now := time.Now()
	allocs := testing.AllocsPerRun(500, func() { leg.receive(next(packet), from, now) })
	if allocs != 0 {
		t.Errorf("%.1f allocations a packet, want 0", allocs)
	}
}

func BenchmarkRelay(b *testing.B) {
	leg, packet, from := relayOfOne(b)
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		leg.receive(next(packet), from, now)
	}
}

func relayOfOne(t testing.TB) (leg *Session, packet []byte, from netip.AddrPort) {
	leg, out, sink, phone := open(t), open(t), newWire(t, "127.0.0.1:0"), newWire(t, "127.0.0.1:0")
	leg.SetRemote(remoteAt(phone.addr, PCMU))
	out.SetRemote(remoteAt(sink.addr, PCMU))
	leg.Relay(out)
	return leg, packetOf(0, 1, 0, 0, spoken(1000)), phone.addr
}

// next makes the packet the following one of its stream.
func next(packet []byte) []byte {
	binary.BigEndian.PutUint16(packet[2:], binary.BigEndian.Uint16(packet[2:])+1)
	binary.BigEndian.PutUint32(packet[4:], binary.BigEndian.Uint32(packet[4:])+160)
	return packet
}
