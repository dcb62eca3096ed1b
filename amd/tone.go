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
type tone struct {
	kind toneKind
	hz   float64
	run  int
}

// toneMeter measures with a bank of Goertzel filters whether nearly all the
// energy of a frame stands at one or two neighbouring frequencies.
type toneMeter struct {
	last tone
}

// The bank: filters every 50 Hz, which is the resolution of a 20 ms frame.
const (
	lowestHz  = 300
	highestHz = 2300
	spacingHz = 50
	filters   = (highestHz-lowestHz)/spacingHz + 1
	pure      = 0.80 // share of the energy
)

// coefficients of the filters, 2 cos(2 pi f / 8000).
var coefficients = func() (c [filters]float64) {
	for i := range c {
		c[i] = 2 * math.Cos(2*math.Pi*float64(lowestHz+i*spacingHz)/8000)
	}
	return c
}()

// hear measures a frame and returns the tone that it continues or begins.
func (m *toneMeter) hear(frame []int16, loud bool) tone {
	hz, ok := 0.0, false
	if loud && len(frame) == frameSize {
		hz, ok = pitch(frame)
	}
	if !ok {
		m.last = tone{}
		return m.last
	}
	kind := kindOf(hz)
	if m.last.kind == kind && math.Abs(hz-m.last.hz) < spacingHz {
		m.last.run++
		m.last.hz += (hz - m.last.hz) / 4
	} else {
		m.last = tone{kind: kind, hz: hz, run: 1}
	}
	// A vowel can be pure for a moment; only what lasts is a tone.
	if m.last.run < 4 {
		return tone{}
	}
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
// together than can be told apart.
func pitch(frame []int16) (hz float64, ok bool) {
	total, mean := 0.0, 0.0
	for _, s := range frame {
		mean += float64(s)
	}
	mean /= float64(len(frame))
	for _, s := range frame {
		total += (float64(s) - mean) * (float64(s) - mean)
	}
	if total == 0 {
		return 0, false
	}
	var power [filters]float64
	best := 0
	for i, c := range coefficients {
		var s1, s2 float64
		for _, s := range frame {
			s1, s2 = float64(s)-mean+c*s1-s2, s1
		}
		power[i] = s1*s1 + s2*s2 - c*s1*s2
		if power[i] > power[best] {
			best = i
		}
	}
	// A sine of the filter's own frequency has power total*N/2.
	sum, weighted := 0.0, 0.0
	for i := max(best-1, 0); i <= min(best+1, filters-1); i++ {
		sum += power[i]
		weighted += power[i] * float64(lowestHz+i*spacingHz)
	}
	if sum < pure*total*float64(len(frame))/2 {
		return 0, false
	}
	return weighted / sum, true
}
