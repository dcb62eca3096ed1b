package media

import (
	"encoding/binary"
	"net/netip"
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
			for i := range 40 {
				speak(t, c.phoneA, tone(400, 40)[i:i+1])
				speak(t, c.phoneB, tone(1000, 40)[i:i+1])
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

// The reader of the leg stands still for 300 ms while the phone talks on, as
// when the process is stopped. Afterwards the delay must be as before.
func TestStallLeavesNoDelay(t *testing.T) {
	c := newCall(t, PCMU, PCMU)
	defer c.legA.Relay(c.legB)()
	heard := listenTo(c.phoneB, false)

	const frames, stallAt, stallEnd = 50, 10, 25
	sent := make([]time.Time, frames)
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
		speak(t, c.phoneA, tone(400, 1))
	}
	heard.wait(t, frames)
	for i := frames - 20; i < frames; i++ {
		if delay := heard.times[i].Sub(sent[i]); delay > 40*time.Millisecond {
			t.Errorf("frame %d, %d ms after the stall, is %s late", i, (i-stallEnd)*20, delay)
		}
	}
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
