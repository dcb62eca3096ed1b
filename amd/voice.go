package amd

import "math"

// voiceActivity tells loud frames from the noise of the line, whose level it
// follows: down at once, up slowly.
type voiceActivity struct {
	floor   float64 // noise in dB of full scale
	started bool
}

// Levels in dB. A telephone line's noise is below quietest, speech above faintest.
const (
	quietest    = -65.0
	loudestHum  = -30.0
	faintest    = -48.0
	aboveNoise  = 9.0
	floorUp     = 0.12 // per frame: 6 dB a second
	floorDown   = 0.5  // share of the difference
	fullScale   = 32768.0
	preEmphasis = 0.5 // takes away hum and rumble
)

// hear reports whether the frame is loud enough for speech.
func (v *voiceActivity) hear(frame []int16) bool {
	level := decibels(frame)
	if !v.started {
		v.started, v.floor = true, min(max(level, quietest), faintest)
	}
	threshold := max(v.floor+aboveNoise, faintest)
	switch {
	case level < v.floor:
		v.floor = max(v.floor+(level-v.floor)*floorDown, quietest)
	case level < threshold:
		v.floor += (level - v.floor) * 0.05
	default:
		v.floor = min(v.floor+floorUp, loudestHum)
	}
	return level >= threshold
}

// decibels is the level of a frame without its offset and hum.
func decibels(frame []int16) float64 {
	mean := 0.0
	for _, s := range frame {
		mean += float64(s)
	}
	mean /= float64(len(frame))
	sum, previous := 0.0, float64(frame[0])-mean
	for _, s := range frame {
		x := float64(s) - mean
		y := x - preEmphasis*previous
		previous = x
		sum += y * y
	}
	return 10 * math.Log10(sum/float64(len(frame))/(fullScale*fullScale)+1e-10)
}
