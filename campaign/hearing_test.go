package campaign

import (
	"testing"
	"time"

	"dialer/amd"
	"dialer/telephony"
)

// notes is a detector that counts what it is given: lost and heard frames.
type notes struct{ lost, heard int }

func (n *notes) Events() []amd.Event { return nil }

func (n *notes) Write(frame []int16) (amd.Result, bool) {
	if frame == nil {
		n.lost++
	} else {
		n.heard++
	}
	at := time.Duration(n.lost+n.heard) * telephony.FrameDuration
	return amd.Result{SpeechStart: at, LastVoice: -1, GreetingEnd: at, Decided: at}, n.heard == 30
}

// What is heard is placed from the answer on: frames from before it do not
// count, and neither the time before the first packet nor a pause is lost.
func TestHearingCountsFromTheAnswer(t *testing.T) {
	const f = telephony.FrameDuration
	n := &notes{}
	h := newHearing(n)
	offset := -5 * f
	say := func(count int) (r amd.Result, done bool) {
		for range count {
			r, done = h.write(&telephony.Frame{Offset: offset})
			offset += f
		}
		return r, done
	}
	if r, _ := say(5); n.heard != 0 || r.SpeechStart >= 0 {
		t.Errorf("ringback is heard: %+v, %+v", n, r)
	}
	offset = 15*f + 3*time.Millisecond // the first packet comes 303 ms after the answer
	if r, _ := say(10); n.heard != 10 || n.lost != 0 || r.SpeechStart != 25*f+3*time.Millisecond || r.LastVoice >= 0 {
		t.Errorf("%+v, %+v", n, r)
	}
	offset += 50 * f // a second without a packet
	r, _ := say(1)
	if n.lost != 50 || r.Decided != offset {
		t.Errorf("after a pause %+v decided at %s, it is %s", n, r.Decided, offset)
	}
	if r, done := say(19); !done || r.GreetingEnd != offset {
		t.Errorf("%+v at %s, done %v", r, offset, done)
	}
}

// Whatever times a leg claims, a frame is a frame and a detector is not kept busy.
func TestHearingSurvivesAnyOffset(t *testing.T) {
	n := &notes{}
	h := newHearing(n)
	for _, offset := range []time.Duration{-1 << 62, -24 * time.Hour, 0, 1 << 62, -1 << 62, time.Hour, 0, 20e6, 1<<63 - 1, -1 << 63} {
		h.write(&telephony.Frame{Offset: offset})
	}
	if n.heard != 8 || n.lost > int(2*detectLimit/telephony.FrameDuration) {
		t.Errorf("%+v", n)
	}
	for range 100 { // all from before the answer: a leg whose clock is wrong is heard all the same
		h.write(&telephony.Frame{Offset: -time.Second})
	}
	if n.heard < 100 {
		t.Errorf("%+v", n)
	}
}
