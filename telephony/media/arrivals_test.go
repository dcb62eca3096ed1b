package media

import (
	"slices"
	"testing"
	"time"

	"dialer/telephony"
)

// Packets are handed over as they come, each at its place in time.
func TestArrivals(t *testing.T) {
	leg, phone := open(t), newWire(t, "127.0.0.1:0")
	leg.SetRemote(remoteAt(phone.addr, PCMU))
	type arrival struct {
		value int16
		at    time.Duration
	}
	var heard []arrival
	var first time.Duration
	stop := leg.Arrivals(func(samples []int16, at time.Duration) {
		if heard == nil {
			first = at
		}
		if len(samples) != telephony.FrameSamples {
			t.Errorf("%d samples", len(samples))
		}
		heard = append(heard, arrival{(samples[80] + 500) / 1000 * 1000, at - first})
	})
	now := time.Now()
	put := func(payloadType uint8, ssrc uint32, sequence uint16, timestamp uint32, payload []byte) {
		leg.receive(packetOf(payloadType, ssrc, sequence, timestamp, payload), phone.addr, now)
		now = now.Add(telephony.FrameDuration)
	}
	start := uint32(1<<32 - 200) // the timestamp wraps around
	say := func(ssrc uint32, n int, value int16) {
		put(0, ssrc, uint16(65534+n), start+uint32(160*n), spoken(value))
	}
	say(7, 0, 1000)
	say(7, 2, 3000) // 1 comes late, twice
	say(7, 1, 2000)
	say(7, 1, 2000)
	put(101, 7, 1, start+3*160, []byte{5, 0x8a, 0, 160}) // a key is no audio
	put(13, 7, 2, start+4*160, []byte{50})               // nobody speaks
	say(7, 60, 5000)
	now = now.Add(time.Second) // another stream, another clock
	put(0, 8, 100, 99, spoken(6000))
	put(0, 8, 101, 99+160, spoken(7000))
	const f = telephony.FrameDuration
	want := []arrival{{1000, 0}, {3000, 2 * f}, {2000, f}, {2000, f}, {0, 4 * f}, {5000, 60 * f}}
	if len(heard) != 8 || !slices.Equal(heard[:6], want) {
		t.Fatalf("heard %v, want %v and two more", heard, want)
	}
	if a, b := heard[6], heard[7]; a.value != 6000 || b.value != 7000 || b.at-a.at != f {
		t.Errorf("of another stream: %v, %v", a, b)
	}
	stop()
	put(0, 8, 102, 99+320, spoken(8000))
	if len(heard) != 8 {
		t.Error("heard after stop")
	}
	put(0, 8, 103, 99+480, spoken(9000))
	if frame, err := leg.ReadFrame(soon(t)); err != nil || (frame.Samples[80]+500)/1000 != 8 {
		t.Errorf("a reader that comes after: %d, %v", frame.Samples[80], err)
	}
}

// A later listener takes over; the end of the earlier one leaves it alone.
func TestArrivalsTakenOver(t *testing.T) {
	leg, phone := open(t), newWire(t, "127.0.0.1:0")
	leg.SetRemote(remoteAt(phone.addr, PCMU))
	var a, b int
	stopA := leg.Arrivals(func([]int16, time.Duration) { a++ })
	stopB := leg.Arrivals(func([]int16, time.Duration) { b++ })
	stopA()
	packet := packetOf(0, 1, 0, 0, spoken(1000))
	if n := testing.AllocsPerRun(100, func() { leg.receive(next(packet), phone.addr, time.Now()) }); n != 0 {
		t.Errorf("%v allocations a packet", n)
	}
	if a != 0 || b != 101 {
		t.Errorf("the first hears %d packets, the second %d", a, b)
	}
	stopB()
}
