// Package mix makes even audio of what a network delivers, and one sound of
// what several parties say: a play-out buffer with concealment and comfort
// noise, and a mixer with a gain for each pair of parties. It works on frames
// of 20 ms at 8 kHz, 16 bit linear.
//
// It is pure: no clock, no goroutine, no packet; whoever keeps the 20 ms tick
// passes the time in. telephony.Conference is what drives it. It neither
// decodes nor sends, and knows nothing of legs.
//
// Entry points: Buffer, Mixer, Concealer, Noise, NoiseFloor.
package mix

import "time"

const (
	// FrameSamples is the number of samples in a Frame.
	FrameSamples = 160
	// FrameDuration is its length.
	FrameDuration = 20 * time.Millisecond

	rate = 8000 // samples a second
)

// A Frame is 20 ms of audio.
type Frame [FrameSamples]int16

// samplesIn is the length of d, rounded down.
func samplesIn(d time.Duration) int64 {
	const one = time.Second / rate
	n := int64(d / one)
	if d%one < 0 {
		n--
	}
	return n
}

// durationOf is the length of n samples.
func durationOf(n int64) time.Duration { return time.Duration(n) * (time.Second / rate) }
