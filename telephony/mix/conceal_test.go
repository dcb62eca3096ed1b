package mix

import (
	"math"
	"math/rand/v2"
	"testing"
)

// lossy loses frames of a talk and returns what was said and what is played.
func lossy(said []Frame, lost func(i int) bool, fill func(c *Concealer, f *Frame)) (original, played []int16) {
	c := &Concealer{}
	for i := range said {
		f := said[i]
		if lost(i) {
			fill(c, &f)
		} else {
			c.Hear(f[:])
		}
		original = append(original, said[i][:]...)
		played = append(played, f[:]...)
	}
	return original, played
}

func conceal(c *Concealer, f *Frame) { c.Fill(f[:]) }

// substitute is what concealment is measured against: silence.
func substitute(c *Concealer, f *Frame) { *f = Frame{}; *c = Concealer{} }

// distance is how far the spectra of the lost frames are from what was said, on
// average and in dB: what an ear notices of a gap, whatever the phase. What is
// 50 dB below full scale counts as nothing.
func distance(a, b []int16, lost func(frame int) bool) float64 {
	sum, n := 0.0, 0
	for at := 0; at < len(a); at += FrameSamples {
		if !lost(at / FrameSamples) {
			continue
		}
		for hz := 100.0; hz < 3400; hz += 50 {
			level := func(x []int16) float64 { return 20 * math.Log10(amplitude(x[at:at+FrameSamples], hz)+100) }
			d := level(a) - level(b)
			sum += d * d
			n++
		}
	}
	return math.Sqrt(sum / float64(n))
}

// snr is the segmental signal to noise ratio over the lost frames, in dB.
func snr(original, played []int16, lost func(int) bool) float64 {
	sum, n := 0.0, 0
	for i := 0; i*FrameSamples < len(original); i++ {
		if !lost(i) {
			continue
		}
		var signal, noise float64
		for j := i * FrameSamples; j < (i+1)*FrameSamples; j++ {
			signal += float64(original[j]) * float64(original[j])
			d := float64(original[j]) - float64(played[j])
			noise += d * d
		}
		sum += math.Max(-10, math.Min(35, 10*math.Log10((signal+1)/(noise+1))))
		n++
	}
	return sum / float64(n)
}

func TestConcealedVoiceIsNearTheOriginal(t *testing.T) {
	said := sound(vowel).frames()
	for name, lost := range map[string]func(i int) bool{
		"one in ten":    func(i int) bool { return i > 10 && i%10 == 3 },
		"two of twelve": func(i int) bool { return i > 10 && i%12 < 2 },
	} {
		original, concealed := lossy(said, lost, conceal)
		_, silenced := lossy(said, lost, substitute)
		near, far := distance(original, concealed, lost), distance(original, silenced, lost)
		good, bad := snr(original, concealed, lost), snr(original, silenced, lost)
		t.Logf("%s: spectral distance %.1f dB (silence %.1f), segmental SNR %.1f dB (silence %.1f)", name, near, far, good, bad)
		if near > far/2 {
			t.Errorf("%s: the spectrum is %.1f dB off, with silence %.1f", name, near, far)
		}
		if good < bad+3 {
			t.Errorf("%s: segmental SNR is %.1f dB, with silence %.1f", name, good, bad)
		}
	}
}

// No loss of a steady tone is heard as a click, wherever it falls.
func TestConcealmentDoesNotClick(t *testing.T) {
	for _, hz := range []float64{70, 150, 313, 440, 1000} {
		s := tone(hz, 8000)
		said := s.frames()
		natural := 8000 * math.Pow(2*math.Pi*hz/rate, 2)
		for gap := 1; gap < 9; gap++ {
			_, played := lossy(said, func(i int) bool { return i >= 20 && i < 20+gap }, conceal)
			roughest := 0.0
			for i := 19 * FrameSamples; i < 40*FrameSamples; i++ {
				roughest = max(roughest, math.Abs(float64(played[i+1])-2*float64(played[i])+float64(played[i-1])))
			}
			if roughest > natural+200 {
				t.Errorf("%.0f Hz, %d frames lost: the curve bends by %.0f, the tone's by %.0f", hz, gap, roughest, natural)
			}
		}
	}
}

// The voice is gone after 60 ms; what stays is the line's noise.
func TestConcealmentFadesToNoise(t *testing.T) {
	said := sound(vowel).frames()
	c := &Concealer{}
	c.Noise.Set(40, 0)
	for i := range 20 {
		c.Hear(said[i][:])
	}
	before := rms(c.history[remembered-FrameSamples:])
	var levels []float64
	for range 20 {
		var f Frame
		c.Fill(f[:])
		levels = append(levels, rms(f[:]))
	}
	if levels[0] < before/2 || levels[0] > before*1.3 {
		t.Errorf("the first 20 ms are made up at %.0f, the voice was at %.0f", levels[0], before)
	}
	for i, l := range levels[3:] {
		if l < 30 || l > 50 {
			t.Errorf("after %d ms there is %.0f, want the line's noise of 40", 20*(i+3), l)
		}
	}
	f := said[50]
	c.Hear(f[:])
	if f != said[50] && rms(f[80:]) != rms(said[50][80:]) {
		t.Error("10 ms after the gap the voice is not what was heard")
	}
}

// A gap of any length at any place, in spans of any length.
func TestConcealerTakesAnySpans(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	c := &Concealer{}
	for range 20000 {
		x := make([]int16, r.IntN(400))
		switch r.IntN(4) {
		case 0:
			c.Fill(x)
		case 1:
			c.Splice()
		default:
			for i := range x {
				x[i] = int16(r.IntN(1 << 16))
			}
			c.Hear(x)
		}
	}
}

func BenchmarkConceal(b *testing.B) {
	said := sound(vowel).frames()
	c := &Concealer{}
	for i := range 20 {
		c.Hear(said[i][:])
	}
	var f Frame
	b.ReportAllocs()
	for b.Loop() {
		c.Fill(f[:])
		f = said[30]
		c.Hear(f[:])
	}
}
