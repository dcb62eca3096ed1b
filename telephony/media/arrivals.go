package media

import (
	"time"

	"dialer/telephony"
)

// arrivals is somebody with a play-out buffer of their own, who hears packets as
// they come.
type arrivals struct {
	hear       func(samples []int16, at time.Duration)
	generation uint32 // of the stream
	timestamp  uint32 // of the last packet
	at         int64  // its place, in samples
	samples    [maxPayload]int16
}

// Arrivals makes f hear the audio of each packet at once and in the order of
// arrival, lost and late ones and copies as they are, until stop; the last call
// wins. Comfort noise is a frame of digital silence. at counts from anywhere;
// another stream of the far end may count from elsewhere. f is called by one
// goroutine at a time. It must not block, nor call the Session, nor keep samples.
// ReadFrame has nothing meanwhile.
func (s *Session) Arrivals(f func(samples []int16, at time.Duration)) (stop func()) {
	a := &arrivals{hear: f}
	s.in.setArrivals(nil, a)
	return func() { s.in.setArrivals(a, nil) }
}

func (in *inbound) setArrivals(old, a *arrivals) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if a != nil || in.arrivals == old {
		in.arrivals, in.n = a, 0 // what waits to be read is of before
	}
}

// take tells of one packet. The caller holds the session's mu.
func (a *arrivals) take(p packet, generation uint32, sinceOpened time.Duration) {
	if generation != a.generation {
		a.at = int64(sinceOpened * 8000 / time.Second)
	} else {
		a.at += int64(int32(p.timestamp - a.timestamp))
	}
	a.generation, a.timestamp = generation, p.timestamp
	at := time.Duration(a.at) * (time.Second / 8000)
	switch p.kind {
	case kindAudio:
		a.hear(p.codec.Decode(a.samples[:0], p.payload), at)
	case kindNoise:
		quiet := a.samples[:telephony.FrameSamples]
		clear(quiet)
		a.hear(quiet, at)
	}
}
