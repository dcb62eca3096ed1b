package media

import (
	"time"

	"dialer/telephony"
)

const (
	maxPayload = 1440 // bytes of one packet, 180 ms of G.711
	// reorderWindow is how many later packets a missing one is waited for.
	reorderWindow = 3
	// maxFill is the longest gap that is made up with frames: 500 ms.
	maxFill = 4000
	// clockJump is how far RTP time may be from the wall's before it is taken
	// as a new clock.
	clockJump = 2 * time.Second
	// silenceLag is how far made-up silence stays behind real time, so that it
	// never covers the first word that comes after it.
	silenceLag = 60 * time.Millisecond
)

// assembler turns packets into 20 ms frames in the order of RTP time. Packets
// of any length, late and doubled ones, gaps and silence suppression come out
// as one unbroken line of samples.
type assembler struct {
	emit func(f *telephony.Frame, at time.Time)

	started      bool
	nextSequence uint16
	held         [reorderWindow]held
	nHeld        int
	gapped       bool // packets are missing since the last samples
	quiet        bool // comfort noise: nothing will come until somebody speaks

	anchored        bool
	anchorTimestamp uint32
	anchorAt        time.Time
	nextTimestamp   uint32

	frame   telephony.Frame
	filled  int
	unknown int // samples of frame that are lost
}

type held struct {
	packet
	copied []byte
}

// restart forgets the stream: the next packet begins another clock.
func (a *assembler) restart() {
	a.started, a.anchored, a.nHeld = false, false, 0
	a.gapped, a.quiet = false, false
}

// skip follows the stream without making frames.
func (a *assembler) skip(p packet, now time.Time) {
	a.anchor(p.timestamp, now)
	a.started, a.nHeld, a.filled, a.unknown = false, 0, 0, 0
	a.quiet = p.kind == kindNoise
}

func (a *assembler) push(p packet, now time.Time) {
	if !a.started {
		a.started, a.gapped = true, false
		a.nextSequence = p.sequence
		a.anchor(p.timestamp, now)
		a.nextTimestamp = p.timestamp
		a.filled, a.unknown = 0, 0
	}
	switch d := int16(p.sequence - a.nextSequence); {
	case d < 0:
		return // too late, or a copy
	case d == 0:
		a.deliver(p, now)
	default:
		a.hold(p)
		if a.nHeld == reorderWindow {
			a.gapped = true
			a.nextSequence = a.held[0].sequence
		}
	}
	for a.nHeld > 0 && a.held[0].sequence == a.nextSequence {
		first := a.held[0]
		first.payload = first.copied
		copy(a.held[:], a.held[1:])
		a.nHeld--
		a.held[a.nHeld] = held{copied: first.copied}
		a.deliver(first.packet, now)
	}
}

// hold keeps a packet that came before its turn, in order of sequence.
func (a *assembler) hold(p packet) {
	i := 0
	for ; i < a.nHeld; i++ {
		switch d := int16(p.sequence - a.held[i].sequence); {
		case d == 0:
			return
		case d < 0:
			goto found
		}
	}
found:
	spare := a.held[a.nHeld].copied
	copy(a.held[i+1:a.nHeld+1], a.held[i:a.nHeld])
	a.held[i] = held{packet: p, copied: append(spare[:0], p.payload...)}
	a.nHeld++
}

// deliver takes the packet whose turn it is.
func (a *assembler) deliver(p packet, now time.Time) {
	a.nextSequence = p.sequence + 1
	if p.kind == kindEvent {
		return // the key's time is silence; the next audio packet shows how long
	}
	if a.anchor(p.timestamp, now) {
		a.nextTimestamp = p.timestamp
	}
	gap := int(int32(p.timestamp - a.nextTimestamp))
	if gap > 0 {
		a.fill(min(gap, maxFill), a.gapped)
		if gap > maxFill {
			a.cut()
			a.nextTimestamp = p.timestamp
		}
		gap = 0
	}
	a.gapped = false
	a.quiet = p.kind == kindNoise
	if a.quiet || -gap >= len(p.payload) {
		return // no samples of its own, or all of them known already
	}
	for _, b := range p.payload[-gap:] {
		a.sample(p.codec.sample(b), false)
	}
}

// anchor ties RTP time to the wall's, and anew when the far end's clock jumps.
func (a *assembler) anchor(timestamp uint32, now time.Time) (jumped bool) {
	if a.anchored && now.Sub(a.at(timestamp)).Abs() < clockJump {
		return false
	}
	jumped = a.anchored
	a.anchored, a.anchorTimestamp, a.anchorAt = true, timestamp, now
	if jumped {
		a.filled, a.unknown = 0, 0
	}
	return jumped
}

func (a *assembler) at(timestamp uint32) time.Time {
	// The anchor moves along so that the difference never wraps around.
	d := int32(timestamp - a.anchorTimestamp)
	at := a.anchorAt.Add(samples(int(d)))
	if d > 1<<24 {
		a.anchorTimestamp, a.anchorAt = timestamp, at
	}
	return at
}

func (a *assembler) fill(n int, lost bool) {
	for range n {
		a.sample(0, lost)
	}
}

func (a *assembler) sample(s int16, lost bool) {
	a.frame.Samples[a.filled] = s
	a.filled++
	a.nextTimestamp++
	if lost {
		a.unknown++
	}
	if a.filled == telephony.FrameSamples {
		a.frame.Lost = a.unknown > telephony.FrameSamples/2
		at := a.at(a.nextTimestamp - telephony.FrameSamples)
		a.filled, a.unknown = 0, 0
		a.emit(&a.frame, at)
	}
}

// cut completes a frame that has begun.
func (a *assembler) cut() {
	for a.filled > 0 {
		a.sample(0, false)
	}
}

// silence makes the silence that is due in discontinuous transmission and
// returns the time until more is, or 0 when packets are expected.
func (a *assembler) silence(now time.Time) time.Duration {
	if !a.quiet || !a.started {
		return 0
	}
	behind := now.Sub(a.at(a.nextTimestamp)) - silenceLag
	if behind > clockJump {
		// Nobody read for long: what is past is past.
		a.cut()
		skipped := behind.Truncate(telephony.FrameDuration) - telephony.FrameDuration
		a.nextTimestamp += uint32(skipped * 8000 / time.Second)
		behind -= skipped
	}
	for ; behind >= telephony.FrameDuration; behind -= telephony.FrameDuration {
		a.fill(telephony.FrameSamples, false)
	}
	return telephony.FrameDuration - behind
}

// samples is the length of n samples at 8 kHz.
func samples(n int) time.Duration { return time.Duration(n) * time.Second / 8000 }
