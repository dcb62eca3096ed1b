package siptest

import (
	"encoding/binary"
	"math"
	"sync"
	"time"
)

// loud is the level (RMS of 16 bit samples, about -44 dB below full scale)
// above which a frame counts as a voice.
const loud = 200

// An ear listens to one call's audio from the far side.
type ear struct {
	message []float64     // contour of the message to abandoned calls
	voice   chan struct{} // told once, at the first voice after open
	judged  chan struct{} // told once, when enough was heard to know a message

	mu       sync.Mutex
	session  session
	opened   bool
	heardAt  time.Time // first voice
	loudAt   time.Time // last voice
	stamp    uint32
	packets  int64
	quiet    int       // frames since the last voice, by RTP time
	contour  []float64 // levels of the frames since the last voice began
	messages time.Time // when the message was recognised
}

// contourLength is how much of a message is compared: 1.2 s. A voice begins
// anew after pause of silence: 0.5 s.
const (
	contourLength = 60
	pause         = 25
)

func newEar(message []float64) *ear {
	return &ear{message: message, voice: make(chan struct{}, 1), judged: make(chan struct{}, 1), quiet: pause}
}

func (e *ear) follow(far session) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.session = far
}

// open begins to count: the call is answered.
func (e *ear) open() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.opened = true
}

// state tells when a voice was first and last heard, and whether and when the
// message was recognised.
func (e *ear) state() (first, last, message time.Time, packets int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.heardAt, e.loudAt, e.messages, e.packets
}

// packet takes one datagram as it came.
func (e *ear) packet(p []byte, now time.Time) {
	pt, stamp, payload, ok := splitRTP(p)
	e.mu.Lock()
	defer e.mu.Unlock()
	if !ok || e.session.law == nil || pt != e.session.pt {
		return
	}
	e.packets++
	if !e.opened {
		return
	}
	// Time is told by the stamps, since packets may come late. A lost frame
	// keeps its place in the contour; a jump is a pause.
	switch lost := int32(stamp-e.stamp)/frameSamples - 1; {
	case e.packets == 1:
	case lost < -10 || lost > pause:
		e.quiet = pause
	default:
		for range lost {
			e.level(0, now)
		}
	}
	e.stamp = stamp
	var frame [frameSamples]int16
	for len(payload) > 0 {
		n := min(len(payload), frameSamples)
		e.level(rms(e.session.law.decode(frame[:0], payload[:n])), now)
		payload = payload[n:]
	}
}

func (e *ear) level(level float64, now time.Time) {
	e.quiet++
	if level > loud {
		if e.heardAt.IsZero() {
			e.heardAt = now
			e.voice <- struct{}{}
		}
		if e.quiet > pause {
			e.contour = e.contour[:0]
		}
		e.quiet, e.loudAt = 0, now
	}
	if e.loudAt.IsZero() || len(e.contour) >= contourLength {
		return
	}
	e.contour = append(e.contour, decibel(level))
	if len(e.contour) < contourLength {
		return
	}
	if e.messages.IsZero() && alike(e.contour, e.message) {
		e.messages = now
	}
	select {
	case e.judged <- struct{}{}:
	default:
	}
}

// contourOf is the course of a clip's level from its first loud frame on.
func contourOf(samples []int16) []float64 {
	var out []float64
	for len(samples) >= frameSamples && len(out) < contourLength {
		level := rms(samples[:frameSamples])
		if len(out) > 0 || level > loud {
			out = append(out, decibel(level))
		}
		samples = samples[frameSamples:]
	}
	return out
}

func decibel(level float64) float64 { return 20 * math.Log10(max(level, 50)) }

// alike correlates two contours, at up to two frames' shift.
func alike(a, b []float64) bool {
	for shift := -2; shift <= 2; shift++ {
		x, y := a[max(0, shift):], b[min(len(b), max(0, -shift)):]
		n := min(len(x), len(y))
		if n >= contourLength-4 && correlation(x[:n], y[:n]) > 0.85 {
			return true
		}
	}
	return false
}

func correlation(x, y []float64) float64 {
	var mx, my, sxy, sxx, syy float64
	for i := range x {
		mx += x[i] / float64(len(x))
		my += y[i] / float64(len(y))
	}
	for i := range x {
		sxy += (x[i] - mx) * (y[i] - my)
		sxx += (x[i] - mx) * (x[i] - mx)
		syy += (y[i] - my) * (y[i] - my)
	}
	if sxx == 0 || syy == 0 {
		return 0
	}
	return sxy / math.Sqrt(sxx*syy)
}

// splitRTP takes a packet of RFC 3550 apart.
func splitRTP(p []byte) (pt uint8, stamp uint32, payload []byte, ok bool) {
	if len(p) < 12 || p[0]>>6 != 2 {
		return 0, 0, nil, false
	}
	at := 12 + 4*int(p[0]&0x0f)
	if p[0]&0x10 != 0 { // extension
		if len(p) < at+4 {
			return 0, 0, nil, false
		}
		at += 4 + 4*int(binary.BigEndian.Uint16(p[at+2:]))
	}
	end := len(p)
	if p[0]&0x20 != 0 { // padding
		end -= int(p[len(p)-1])
	}
	if at > end {
		return 0, 0, nil, false
	}
	return p[1] & 0x7f, binary.BigEndian.Uint32(p[4:]), p[at:end], true
}
