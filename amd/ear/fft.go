package ear

import (
	"math"
	"math/bits"
)

// window is the length of a spectrum, 32 ms at 8 kHz.
const window = 256

const half = window / 2

// The tables of the transform.
var (
	hann     [window]float64
	twiddle  [half]complex128 // of the complex transform of half the length: those of each stage in a row
	unpack   [half]complex128 // from it to the spectrum of real samples
	reversed [half]uint8
)

func init() {
	for i := range hann {
		hann[i] = 0.5 - 0.5*math.Cos(2*math.Pi*float64(i)/window)
	}
	root := func(k, n int) complex128 {
		s, c := math.Sincos(-2 * math.Pi * float64(k) / float64(n))
		return complex(c, s)
	}
	for size := 2; size <= half; size *= 2 {
		for k := range size / 2 {
			twiddle[size/2+k] = root(k, size)
		}
	}
	for i := range unpack {
		unpack[i] = root(i, window)
		reversed[i] = uint8(bits.Reverse8(uint8(i)) >> 1)
	}
}

// transform is a Fourier transform of half values whose order is bit reversed.
func transform(x *[half]complex128) {
	for i := 0; i < half; i += 4 { // the first two stages turn by 1 and -i only
		a, b, c, d := x[i]+x[i+1], x[i]-x[i+1], x[i+2]+x[i+3], x[i+2]-x[i+3]
		d = complex(imag(d), -real(d))
		x[i], x[i+1], x[i+2], x[i+3] = a+c, b+d, a-c, b-d
	}
	for q := 4; 4*q <= half; q *= 4 { // two stages at once: a quarter has q values
		w1, w2 := twiddle[q:2*q], twiddle[2*q:3*q]
		for from := 0; from < half; from += 4 * q {
			x0, x1, x2, x3 := x[from:from+q], x[from+q:from+2*q], x[from+2*q:from+3*q], x[from+3*q:from+4*q]
			x0, x1, x2, x3, w2 = x0[:len(w1)], x1[:len(w1)], x2[:len(w1)], x3[:len(w1)], w2[:len(w1)]
			for k, w := range w1 {
				a1, a3 := times(x1[k], w), times(x3[k], w)
				b0, b1 := x0[k]+a1, x0[k]-a1
				b2, b3 := times(x2[k]+a3, w2[k]), times(x2[k]-a3, w2[k])
				b3 = complex(imag(b3), -real(b3))
				x0[k], x1[k], x2[k], x3[k] = b0+b2, b1+b3, b0-b2, b1-b3
			}
		}
	}
	low, high := x[:half/2], x[half/2:]
	for k, w := range twiddle[half/2:] { // and the last
		a, b := low[k], times(high[k], w)
		low[k], high[k] = a+b, a-b
	}
}

// times multiplies without the care for infinities that the operator takes.
func times(a, b complex128) complex128 {
	return complex(real(a)*real(b)-imag(a)*imag(b), real(a)*imag(b)+imag(a)*real(b))
}

// powers gives the power of each frequency, 31.25 Hz apart, of a full window.
func powers(samples *[window]int16, power *[half + 1]float64) {
	var x [half]complex128
	for i := range half {
		x[reversed[i]] = complex(hann[2*i]*float64(samples[2*i]), hann[2*i+1]*float64(samples[2*i+1]))
	}
	transform(&x)
	for k := 1; k < half; k++ {
		a, b := x[k], x[half-k]
		even := complex((real(a)+real(b))/2, (imag(a)-imag(b))/2)
		odd := complex((imag(a)+imag(b))/2, (real(b)-real(a))/2)
		w := unpack[k]
		re := real(even) + real(odd)*real(w) - imag(odd)*imag(w)
		im := imag(even) + real(odd)*imag(w) + imag(odd)*real(w)
		power[k] = re*re + im*im
	}
	sum, diff := real(x[0])+imag(x[0]), real(x[0])-imag(x[0])
	power[0], power[half] = sum*sum, diff*diff
}

// periodicity is how much a voiced sound repeats itself after 2.5 to 14 ms: the
// largest autocorrelation, from the power spectrum up to 1.5 kHz.
func periodicity(power *[half + 1]float64) float64 {
	const top = 48
	var x [half]complex128
	total := 0.0
	for k := 4; k < top; k++ {
		total += power[k]
		x[reversed[k]] = complex(power[k], 0)
	}
	if total < 1 {
		return 0
	}
	transform(&x) // half as long as the window: a step is two samples
	best, rising := 0.0, false
	for lag := 9; lag <= 56; lag++ {
		if r := real(x[lag]); r > real(x[lag-1]) {
			rising = true
			if r > best {
				best = r
			}
		}
	}
	if !rising {
		return 0
	}
	return best / total
}
