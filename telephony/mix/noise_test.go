package mix

import (
	"math"
	"testing"
)

func TestNoiseHasItsLevelAndTilt(t *testing.T) {
	for _, level := range []byte{30, 50, 70} {
		for _, tilt := range []float64{-0.5, 0, 0.8} {
			var n Noise
			n.Set(NoiseRMS(level), tilt)
			x := make([]int16, 8000)
			n.Fill(x)
			if got := NoiseLevel(rms(x)); math.Abs(float64(got)-float64(level)) > 1 {
				t.Errorf("noise of -%d dBov with tilt %.1f has -%d dBov", level, tilt, got)
			}
			var f Frame
			sum, frames := 0.0, 0
			for i := 0; i+FrameSamples <= len(x); i += FrameSamples {
				copy(f[:], x[i:])
				_, got := powerOf(&f)
				sum, frames = sum+got, frames+1
			}
			if got := sum / float64(frames); level < 70 && math.Abs(got-tilt) > 0.1 {
				t.Errorf("noise with tilt %.1f has %.2f", tilt, got)
			}
		}
	}
}

// RFC 3389 section 3: 0 is 0 dBov, the square wave at full scale.
func TestNoiseLevel(t *testing.T) {
	for _, c := range []struct {
		rms   float64
		level byte
	}{{32768, 0}, {3276.8, 20}, {32.768, 60}, {0.0001, 127}, {0, 127}, {1e9, 0}} {
		if got := NoiseLevel(c.rms); got != c.level {
			t.Errorf("%g is -%d dBov, want -%d", c.rms, got, c.level)
		}
	}
	for level := range byte(100) {
		if got := NoiseLevel(NoiseRMS(level)); got != level {
			t.Errorf("-%d dBov becomes -%d", level, got)
		}
	}
}

// The floor is what is left when nobody speaks.
func TestNoiseFloorIsFoundBelowSpeech(t *testing.T) {
	said := pauses(vowel).frames()
	var floor NoiseFloor
	silent, spoken := 0, 0
	for round := range 5 {
		for i := range said {
			quiet := floor.Hear(&said[i])
			switch {
			case round == 0:
			case quiet && i >= 82:
				silent++
			case quiet && i < 78:
				spoken++
			}
		}
	}
	if got := floor.RMS(); got < 12 || got > 35 {
		t.Errorf("the floor of a line with noise of 20 is found at %.1f", got)
	}
	if silent < 4*18*9/10 || spoken > 4*78/20 {
		t.Errorf("of 72 frames of rest %d are silence, of 312 of speech %d", silent, spoken)
	}
	before := floor.RMS()
	for range 100 {
		floor.Hear(&Frame{})
	}
	if floor.RMS() != before {
		t.Error("digital silence has changed the floor")
	}
}
