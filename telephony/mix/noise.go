package mix

import "math"

// NoiseLevel is the level of a root mean square as RFC 3389 section 3 has it,
// in -dBov: 0 is the loudest, 127 the quietest.
func NoiseLevel(rms float64) byte {
	if rms <= 0 {
		return 127
	}
	return byte(min(127, max(0, math.Round(-20*math.Log10(rms/32768)))))
}

// NoiseRMS is the root mean square of a level in -dBov (RFC 3389 section 3).
func NoiseRMS(level byte) float64 {
	return 32768 * math.Pow(10, -float64(level&0x7f)/20)
}

// Noise makes comfort noise. The zero value is silent until Set.
type Noise struct {
	state uint32
	gain  float64 // of the white noise that goes into the filter
	tilt  float64
	last  float64
}

// Set gives the noise a root mean square and a tilt, the correlation of each
// sample with the one before it: near 1 is a rumble, 0 white, below 0 a hiss.
func (n *Noise) Set(rms, tilt float64) {
	n.tilt = max(-0.95, min(0.95, tilt))
	// White noise in [-1, 1) has a variance of 1/3; the filter 1/(1-tilt²).
	n.gain = rms * math.Sqrt(3*(1-n.tilt*n.tilt))
}

// Fill writes noise to x.
func (n *Noise) Fill(x []int16) {
	for i := range x {
		x[i] = int16(n.next())
	}
}

// next returns one sample; it is within 16 bits.
func (n *Noise) next() float64 {
	if n.gain == 0 {
		return 0
	}
	if n.state == 0 {
		n.state = 0x9e3779b9
	}
	n.state ^= n.state << 13 // xorshift, G. Marsaglia 2003
	n.state ^= n.state >> 17
	n.state ^= n.state << 5
	white := float64(int32(n.state)) / (1 << 31)
	n.last = max(-32768, min(32767, n.tilt*n.last+n.gain*white))
	return n.last
}

const (
	// loudestFloor: what is louder than -40 dBov is no background, however long
	// it lasts, until something quieter has been heard.
	loudestFloor = 328.0 * 328.0
	// A floor rises by 2.5 dB a second at most, and falls at once.
	floorRise = 1.0116
	// What is less than 6 dB above the floor, or below -60 dBov, is silence.
	aboveFloor = 4.0
	inaudible  = 33.0 * 33.0
)

// NoiseFloor estimates the background noise of a line from what is heard: the
// quietest of the last seconds. The zero value has heard nothing.
type NoiseFloor struct {
	power float64 // mean square
	tilt  float64
}

// Hear takes a frame into account and reports whether it is silence. Digital
// silence says nothing of the background.
func (f *NoiseFloor) Hear(x *Frame) (silent bool) {
	power, tilt := powerOf(x)
	if power == 0 {
		return true
	}
	silent = power < max(inaudible, aboveFloor*f.power)
	switch {
	case f.power == 0:
		f.power, f.tilt = min(power, loudestFloor), tilt
	case power < f.power:
		f.power += (power - f.power) / 4
		f.tilt += (tilt - f.tilt) / 4
	default:
		f.power = min(f.power*floorRise, power, loudestFloor)
		if silent {
			f.tilt += (tilt - f.tilt) / 16
		}
	}
	return silent
}

// RMS is the floor's root mean square, 0 while unknown.
func (f *NoiseFloor) RMS() float64 { return math.Sqrt(f.power) }

// Tilt is how each sample of the background resembles the one before: see
// Noise.Set.
func (f *NoiseFloor) Tilt() float64 { return f.tilt }

// powerOf returns the mean square of a frame and its correlation at one sample.
func powerOf(x *Frame) (power, tilt float64) {
	var sum, next int64
	for i := range len(x) - 1 {
		v := int64(x[i])
		sum += v * v
		next += v * int64(x[i+1])
	}
	last := int64(x[len(x)-1])
	sum += last * last
	if sum == 0 {
		return 0, 0
	}
	return float64(sum) / FrameSamples, float64(next) / float64(sum)
}
