package siptest

import (
	"math"
	"time"
)

// A tone is a sum of sines; no Hz is silence.
type tone struct {
	hz     []float64
	length time.Duration
}

// tones are the signals of the network and of machines, with the cadence of
// North America (ITU-T E.180) where countries differ.
func tones() map[string][]int16 {
	return map[string][]int16{
		// Special information tone, ITU-T E.180: three tones of 330 ms.
		"sit": render(
			tone{[]float64{950}, 330 * time.Millisecond},
			tone{[]float64{1400}, 330 * time.Millisecond},
			tone{[]float64{1800}, 330 * time.Millisecond},
			tone{nil, 500 * time.Millisecond}),
		"beep": render(tone{[]float64{1000}, 400 * time.Millisecond}),
		// Called tone of a fax, ITU-T T.30: 2100 Hz for 2.6 to 4 s.
		"fax-ced": render(tone{[]float64{2100}, 3 * time.Second}),
		// Calling tone of a fax, ITU-T T.30: 1100 Hz, half a second in 3.5.
		"fax-cng":  render(tone{[]float64{1100}, 500 * time.Millisecond}, tone{nil, 3 * time.Second}),
		"ringback": render(tone{[]float64{440, 480}, 2 * time.Second}, tone{nil, 4 * time.Second}),
		"busy":     render(tone{[]float64{480, 620}, 500 * time.Millisecond}, tone{nil, 500 * time.Millisecond}),
	}
}

// Tone renders a sine at a comfortable level, with soft ends.
func Tone(hz float64, length time.Duration) []int16 { return render(tone{[]float64{hz}, length}) }

func render(parts ...tone) []int16 {
	const peak, ramp = 9000.0, 40 // 5 ms in and out
	var out []int16
	for _, p := range parts {
		n := int(p.length.Seconds() * 8000)
		for i := range n {
			v := 0.0
			for _, hz := range p.hz {
				v += math.Sin(2 * math.Pi * hz * float64(i) / 8000)
			}
			soft := min(1, float64(i)/ramp, float64(n-1-i)/ramp)
			out = append(out, int16(v*soft*peak/float64(max(1, len(p.hz)))))
		}
	}
	return out
}

// Power is the share of a signal's power that lies at a frequency, from 0 to
// 1, by the Goertzel algorithm. Silence has 0.
func Power(samples []int16, hz float64) float64 {
	w := 2 * math.Pi * hz / 8000
	c := 2 * math.Cos(w)
	var s1, s2, total float64
	for _, x := range samples {
		v := float64(x)
		total += v * v
		s1, s2 = v+c*s1-s2, s1
	}
	if total < float64(len(samples)) {
		return 0
	}
	power := s1*s1 + s2*s2 - c*s1*s2
	return min(1, 2*power/(total*float64(len(samples))))
}

// rms is the root mean square of a frame.
func rms(samples []int16) float64 {
	if len(samples) == 0 {
		return 0
	}
	sum := 0.0
	for _, x := range samples {
		sum += float64(x) * float64(x)
	}
	return math.Sqrt(sum / float64(len(samples)))
}
