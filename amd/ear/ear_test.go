package ear

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// sine is a tone of a peak between two times, over a faint noise.
func sine(length, from, to time.Duration, peak float64, hz ...float64) []int16 {
	r := rand.New(rand.NewPCG(1, 2))
	out := make([]int16, int(length*8/time.Millisecond))
	for i := range out {
		x := 5 * r.NormFloat64()
		if at := time.Duration(i) * time.Second / 8000; at >= from && at < to {
			for _, f := range hz {
				x += peak / float64(len(hz)) * math.Sin(2*math.Pi*f*float64(i)/8000)
			}
		}
		out[i] = int16(x)
	}
	return out
}

func TestPowers(t *testing.T) {
	var x [window]int16
	r := rand.New(rand.NewPCG(3, 4))
	for i := range x {
		x[i] = int16(8000*math.Sin(2*math.Pi*1000*float64(i)/8000) + 500*r.NormFloat64())
	}
	var power [half + 1]float64
	powers(&x, &power)
	for _, k := range []int{0, 1, 7, 31, 32, 33, 64, 100, 127, 128} {
		var re, im float64
		for i, v := range x {
			re += hann[i] * float64(v) * math.Cos(2*math.Pi*float64(k*i)/window)
			im += hann[i] * float64(v) * math.Sin(2*math.Pi*float64(k*i)/window)
		}
		if want := re*re + im*im; math.Abs(power[k]-want) > 1e-6*want+1 {
			t.Errorf("line %d: %g, want %g", k, power[k], want)
		}
	}
}

// TestTones: where tones begin and end, and what they are.
func TestTones(t *testing.T) {
	const m = time.Millisecond
	for name, c := range map[string]struct {
		peak float64
		hz   []float64
		low  bool
	}{
		"a beep":          {6000, []float64{1000}, false},
		"a faint one":     {300, []float64{1400}, false},
		"between lines":   {6000, []float64{1015}, false},
		"two at once":     {6000, []float64{700, 1000}, false},
		"ringback":        {6000, []float64{440, 480}, true},
		"busy":            {6000, []float64{480, 620}, true},
		"European":        {6000, []float64{425}, true},
		"answering a fax": {20000, []float64{2100}, false},
	} {
		t.Run(name, func(t *testing.T) {
			e := New(nil)
			x := sine(1500*m, 503*m, 911*m, c.peak, c.hz...)
			ends := 0
			for ; len(x) >= FrameSize; x = x[FrameSize:] {
				e.Hear(x[:FrameSize])
				if e.Tones.Ending {
					ends++
				}
			}
			tone := e.Tones.Ended
			if ends != 1 || (tone.Start-503*m).Abs() > 15*m || (tone.End-911*m).Abs() > 15*m || tone.Low() != c.low {
				t.Fatalf("%d ends: %+v", ends, tone)
			}
			low, high := tone.Hz, tone.Second()
			if len(c.hz) == 2 {
				low, high = min(low, high), max(low, high)
			}
			if name != "ringback" && (math.Abs(low-c.hz[0]) > 8 || len(c.hz) == 2 && math.Abs(high-c.hz[1]) > 8) {
				t.Errorf("%v Hz, %v Hz", low, high)
			}
		})
	}
}

// TestLostFrames: what was not heard is neither silence nor the end of a tone.
func TestLostFrames(t *testing.T) {
	e := New(nil)
	x := sine(time.Second, 200*time.Millisecond, 900*time.Millisecond, 6000, 1000)
	for k := 0; (k+1)*FrameSize <= len(x); k++ {
		if k == 20 || k == 30 {
			silence := e.Cadence.All.Silence
			e.Hear(nil)
			if e.Cadence.All.Silence != silence {
				t.Error("a lost frame is silence")
			}
			continue
		}
		e.Hear(x[k*FrameSize : (k+1)*FrameSize])
	}
	if l := e.Tones.Ended.Length(); l < 660*time.Millisecond {
		t.Errorf("a tone of 700 ms lasted %v", l)
	}
	if e.Lost() != 2 || e.Now() != time.Second {
		t.Error(e.Lost(), e.Now())
	}
}

func TestWords(t *testing.T) {
	w := Words{Onset: -1}
	frame := 0
	say := func(voice bool, frames int) {
		for range frames {
			frame++
			w.hear(voice, frame)
		}
	}
	say(false, 20)
	say(true, 2) // a click
	say(false, 20)
	if w.Onset >= 0 || w.Count != 0 {
		t.Errorf("a click is a word: %+v", w)
	}
	say(true, 20)
	say(false, 5) // within a word
	say(true, 10)
	say(false, 30)
	say(true, 12)
	say(false, 40)
	want := Words{Onset: 42, Voiced: 42, Silence: 40, Count: 2, Longest: 35, First: 35, Gap: 30, Last: 12, LastGap: 30, MaxGap: 30, Since: 107, End: 119}
	if w != want {
		t.Errorf("%+v\nwant %+v", w, want)
	}
}

func TestHearAllocatesNothing(t *testing.T) {
	e := New(nil)
	x := sine(20*time.Millisecond, 0, time.Second, 6000, 700)
	if n := testing.AllocsPerRun(500, func() { e.Hear(x); e.Hear(nil) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkHear(b *testing.B) {
	e := New(nil)
	x := sine(2*time.Second, 0, time.Second, 6000, 700)
	b.ReportAllocs()
	for i := 0; b.Loop(); i = (i + FrameSize) % (len(x) - FrameSize) {
		e.Hear(x[i : i+FrameSize])
	}
}
