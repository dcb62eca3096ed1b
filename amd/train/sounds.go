package train

import (
	"math"
	"math/rand/v2"
)

const rate = 8000

// pink is noise of about 3 dB less an octave (Kellet's filter).
func pink(r *rand.Rand, n int) []float64 {
	out := make([]float64, n)
	var a, b, c float64
	for i := range out {
		w := r.NormFloat64()
		a = 0.99765*a + w*0.0990460
		b = 0.96300*b + w*0.2965164
		c = 0.57000*c + w*1.0526913
		out[i] = a + b + c + w*0.1848
	}
	return out
}

// hum is the mains and its harmonics.
func hum(r *rand.Rand, n int) []float64 {
	out := make([]float64, n)
	f := 50 + 10*float64(r.IntN(2))
	for h := 1; h <= 8; h++ {
		level, phase := r.Float64()/float64(h), 2*math.Pi*r.Float64()
		for i := range out {
			out[i] += level * math.Sin(2*math.Pi*f*float64(h)*float64(i)/rate+phase)
		}
	}
	return out
}

// street is noise that swells and fades, low in pitch.
func street(r *rand.Rand, n int) []float64 {
	out := pink(r, n)
	low, swell, target := 0.0, 1.0, 1.0
	for i := range out {
		if i%2000 == 0 {
			target = math.Exp(r.NormFloat64() * 0.8)
		}
		swell += (target - swell) / 3000
		low += (out[i] - low) * 0.3
		out[i] = low * swell
	}
	return out
}

// music is chords, a bass and a beat: nothing that anybody wrote.
func music(r *rand.Rand, n int) []float64 {
	out := make([]float64, n)
	beat := int(rate * (0.25 + 0.4*r.Float64()))
	root := 110 * math.Pow(2, r.Float64())
	scale := []float64{0, 2, 4, 5, 7, 9, 11, 12, 14, 16}
	drums, sweep := r.Float64() < 0.6, r.Float64() < 0.5
	bright := 2 + r.IntN(6)
	for at := 0; at < n; at += beat {
		length := min(beat*(1+r.IntN(3)), n-at)
		for range 1 + r.IntN(3) {
			f := root * math.Pow(2, scale[r.IntN(len(scale))]/12)
			decay := float64(rate) * (0.1 + r.Float64())
			for h := 1; h <= bright; h++ {
				phase, level := 2*math.Pi*r.Float64(), 1/float64(h)
				for i := range length {
					t := float64(i) / rate
					vibrato := 0.0
					if sweep {
						vibrato = 0.004 * math.Sin(2*math.Pi*5*t)
					}
					out[at+i] += level * math.Exp(-float64(i)/decay) * min(float64(i)/80, 1) * math.Sin(2*math.Pi*f*float64(h)*t*(1+vibrato)+phase)
				}
			}
		}
		if drums {
			for i := range min(800, n-at) {
				out[at+i] += 1.5 * r.NormFloat64() * math.Exp(-float64(i)/150)
			}
		}
	}
	return out
}

// A signal is a tone of exchanges: frequencies, and times on and off in ms.
// ITU-T E.180 supplement 2.
type signal struct {
	hz      []float64
	by      float64 // modulated by this frequency, 0 not
	cadence []int
}

var signals = []signal{
	{hz: []float64{440, 480}, cadence: []int{2000, 4000}},
	{hz: []float64{440, 480}, cadence: []int{1000, 500, 1000, 3500}},
	{hz: []float64{425}, cadence: []int{1000, 4000}},
	{hz: []float64{425}, cadence: []int{1500, 3500}},
	{hz: []float64{425}, cadence: []int{1200, 4650}},
	{hz: []float64{400, 450}, cadence: []int{400, 200, 400, 2000}},
	{hz: []float64{400}, by: 17, cadence: []int{400, 200, 400, 2000}},
	{hz: []float64{400}, by: 25, cadence: []int{400, 200, 400, 2000}},
	{hz: []float64{400}, by: 20, cadence: []int{1000, 2000}},
	{hz: []float64{384, 416}, cadence: []int{1000, 2000}},
	{hz: []float64{440}, cadence: []int{1660, 3340}},
	{hz: []float64{450}, cadence: []int{1000, 4000}},
	{hz: []float64{480, 620}, cadence: []int{500, 500}},
	{hz: []float64{480, 620}, cadence: []int{250, 250}},
	{hz: []float64{425}, cadence: []int{500, 500}},
	{hz: []float64{425}, cadence: []int{250, 250}},
	{hz: []float64{425}, cadence: []int{480, 480}},
	{hz: []float64{400}, cadence: []int{375, 375}},
	{hz: []float64{400}, cadence: []int{500, 500}},
	{hz: []float64{350, 440}, cadence: []int{10000, 0}},
	{hz: []float64{440}, cadence: []int{100, 4900}},
	{hz: []float64{425}, cadence: []int{200, 600, 1000, 5000}},
	{hz: []float64{425}, cadence: []int{10000, 0}},
}

func (s signal) render(r *rand.Rand, n int) []float64 {
	out := make([]float64, n)
	bend := 1 + 0.01*r.NormFloat64()
	stretch := 1 + 0.05*r.NormFloat64()
	at := 0
	if r.Float64() < 0.5 {
		at = -r.IntN(rate) // the answer came within it
	} else {
		at = r.IntN(rate)
	}
	for step := 0; at < n; step++ {
		length := int(float64(s.cadence[step%len(s.cadence)]) * stretch * rate / 1000)
		if step%2 == 0 {
			for i := max(at, 0); i < min(at+length, n); i++ {
				t := float64(i) / rate
				for _, hz := range s.hz {
					x := math.Sin(2 * math.Pi * hz * bend * t)
					if s.by > 0 {
						x *= 0.6 + 0.4*math.Sin(2*math.Pi*s.by*t)
					}
					out[i] += x / float64(len(s.hz))
				}
			}
		}
		at += length
	}
	return out
}

// beepOf is a machine's beep: one frequency or two, steady or dying away, once or
// twice.
func beepOf(r *rand.Rand) []float64 {
	n := int(rate * (0.09 + 0.5*r.Float64()))
	if r.Float64() < 0.1 {
		n = int(rate * (0.6 + 0.5*r.Float64()))
	}
	hz := []float64{400, 440, 700, 800, 900, 950, 1000, 1330, 1400, 2000, 620, 750}[r.IntN(12)]
	if r.Float64() < 0.6 {
		hz = 400 * math.Pow(5.2, r.Float64())
	}
	second := 0.0
	if r.Float64() < 0.15 {
		second = hz * (1.2 + r.Float64()/2)
	}
	harmonic, decay := 0.0, 0.0
	if r.Float64() < 0.3 {
		harmonic = 0.5 * r.Float64()
	}
	if r.Float64() < 0.3 {
		decay = 6 * r.Float64()
	}
	out := make([]float64, n)
	for i := range out {
		t := float64(i) / rate
		out[i] = math.Sin(2*math.Pi*hz*t) + harmonic*math.Sin(4*math.Pi*hz*t)
		if second > 0 {
			out[i] = (out[i] + math.Sin(2*math.Pi*second*t)) / 2
		}
		out[i] *= min(1, float64(i)/40, float64(n-i)/40) * math.Exp(-decay*t)
	}
	if r.Float64() < 0.1 {
		out = append(append(out, make([]float64, int(rate*(0.1+0.2*r.Float64())))...), out...)
	}
	return out
}

// level scales to a peak.
func level(x []float64, peak float64) []float64 {
	most := 1e-9
	for _, v := range x {
		most = max(most, math.Abs(v))
	}
	for i := range x {
		x[i] *= peak / most
	}
	return x
}

// power is the mean square.
func power(x []float64) float64 {
	sum := 0.0
	for _, v := range x {
		sum += v * v
	}
	return sum / float64(max(len(x), 1))
}

// decibel is a factor of amplitude.
func decibel(db float64) float64 { return math.Pow(10, db/20) }
