package telephony

import (
	"context"
	"fmt"
	"testing"
	"time"

	"dialer/telephony/mix"
)

// silentLeg says what its buffer is given and keeps nothing.
type silentLeg struct{ Leg }

func (silentLeg) ReadFrame(ctx context.Context) (Frame, error) {
	<-ctx.Done()
	return Frame{}, ctx.Err()
}
func (silentLeg) WriteFrame(Frame) error { return nil }

// conferenceOf returns a conference whose clock is turned by hand: a frame of
// each party in, a frame to each out.
func conferenceOf(tb testing.TB, n int) (frame func()) {
	c := NewConference()
	for range n {
		if _, err := c.Join(silentLeg{}, Person); err != nil {
			tb.Fatal(err)
		}
	}
	tb.Cleanup(c.end)
	var x mix.Frame
	for i := range x {
		x[i] = int16(i * 50)
	}
	at := time.Duration(0)
	return func() {
		// What the readers do, and then the tick. The clock is what it is: the
		// frames follow each other faster than they would.
		for _, m := range c.members {
			m.buffer.Put(x[:], at, at)
		}
		c.began = time.Now().Add(-at)
		c.tick()
		at += FrameDuration
	}
}

func TestConferenceAllocatesNothing(t *testing.T) {
	frame := conferenceOf(t, 3)
	for range 100 {
		frame()
	}
	if n := testing.AllocsPerRun(500, frame); n != 0 {
		t.Errorf("%v allocations a frame", n)
	}
}

// BenchmarkConference is one 20 ms frame of a conference, without sockets; a
// second of it has fifty.
func BenchmarkConference(b *testing.B) {
	for _, n := range []int{2, 3, 5} {
		b.Run(fmt.Sprintf("%d parties", n), func(b *testing.B) {
			frame := conferenceOf(b, n)
			b.ReportAllocs()
			for b.Loop() {
				frame()
			}
		})
	}
}
