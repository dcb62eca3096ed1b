package amd

import "math"

// A toneKind is what a pure tone is used for.
type toneKind int

const (
	noTone toneKind = iota
	ringTone
	beepTone
	faxTone
	sitFirst // the three tones follow one another
	sitSecond
	sitThird
)

// A tone is what the last frames have in common: one frequency for run frames.
// The zero tone is no tone.
type tone struct {
	kind toneKind
	hz   float64
	run  int
}

// toneMeter measures with a bank of Goertzel filters whether nearly all the
// energy of a frame stands at one or two neighbouring frequencies.
type toneMeter struct {
	last   tone
	missed bool // the last frame did not show the tone
}

// realTone is the run from which a pure sound is no vowel any more.
const realTone = 4

// The bank: 40 filters every 50 Hz, which is the resolution of a 20 ms frame.
const (
	lowestHz  = 300
	spacingHz = 50
	filters   = 40
	pure      = 0.80 // share of the energy
)

// coefficients of the filters, 2 cos(2 pi f / 8000).
var coefficients = func() (c [filters]float64) {
	for i := range c {
		c[i] = 2 * math.Cos(2*math.Pi*float64(lowestHz+i*spacingHz)/8000)
	}
	return c
}()

// hear measures a frame and returns the tone that it continues or begins. One
// frame in which two tones cancel out, or which a tone only half fills, does not
// end a real tone.
func (m *toneMeter) hear(frame []int16, loud bool) tone {
	hz, ok := 0.0, false
	if loud && len(frame) == frameSize {
		hz, ok = pitch(frame)
	}
	kind := kindOf(hz)
	switch {
	case ok && kind == m.last.kind && (kind == ringTone || math.Abs(hz-m.last.hz) < spacingHz):
		m.last.run++
		m.last.hz += (hz - m.last.hz) / 4
	case m.last.run >= realTone && !m.missed:
		m.missed = true
		return m.last
	case ok:
		m.last = tone{kind: kind, hz: hz, run: 1}
	default:
		m.last = tone{}
	}
	m.missed = false
	return m.last
}

func kindOf(hz float64) toneKind {
	switch {
	case hz < 520 || hz > 570 && hz < 640: // 400-480 and 425; 480+620 leans to 620
		return ringTone
	case hz > 880 && hz < 1010:
		return sitFirst
	case hz > 1070 && hz < 1130 || hz > 2060 && hz < 2140:
		return faxTone
	case hz > 1330 && hz < 1460:
		return sitSecond
	case hz > 1740 && hz < 1840:
		return sitThird
	}
	return beepTone
}

// pitch returns the frequency of a frame that holds one tone, or two closer
// together than can be told apart, or the lower of a busy tone.
func pitch(frame []int16) (hz float64, ok bool) {
	var x [frameSize]float64
	total, mean := 0.0, 0.0
	for _, s := range frame {
		mean += float64(s)
	}
	mean /= frameSize
	for i := range x {
		x[i] = float64(frame[i]) - mean
		total += x[i] * x[i]
	}
	if total == 0 {
		return 0, false
	}
	var power [filters]float64
	best := 0
	for i := 0; i < filters; i += 4 { // four at a time do not wait for each other
		c := (*[4]float64)(coefficients[i:])
		var a1, a2, b1, b2, c1, c2, d1, d2 float64
		for _, s := range x {
			a1, a2 = s+c[0]*a1-a2, a1
			b1, b2 = s+c[1]*b1-b2, b1
			c1, c2 = s+c[2]*c1-c2, c1
			d1, d2 = s+c[3]*d1-d2, d1
		}
		power[i] = a1*a1 + a2*a2 - c[0]*a1*a2
		power[i+1] = b1*b1 + b2*b2 - c[1]*b1*b2
		power[i+2] = c1*c1 + c2*c2 - c[2]*c1*c2
		power[i+3] = d1*d1 + d2*d2 - c[3]*d1*d2
	}
	for i, p := range power {
		if p > power[best] {
			best = i
		}
	}
	// A sine of the filter's own frequency has power total*N/2. The two tones of
	// ringback beat against each other and need a wider look.
	wide := 1
	if best <= (520-lowestHz)/spacingHz {
		wide = 2
	}
	sum, weighted := 0.0, 0.0
	for i := max(best-wide, 0); i <= min(best+wide, filters-1); i++ {
		sum += power[i]
		weighted += power[i] * float64(lowestHz+i*spacingHz)
	}
	least := pure * total * frameSize / 2
	if sum >= least {
		return weighted / sum, true
	}
	// The North American busy tone, 480 and 620 Hz.
	low, high := power[3]+power[4], power[6]+power[7]
	return 480, low+high >= least && min(low, high) > least/4
}
