package simtrunk

import (
	"math"
	"math/rand/v2"
	"time"

	"dialer/telephony"
)

// Audio fills in the frame that begins at an offset from its start. It is
// called once for each frame that somebody hears, in order, from one goroutine
// at a time.
type Audio func(offset time.Duration, f *telephony.Frame)

// Say is the clip, then silence.
func Say(c telephony.Clip) Audio {
	return func(offset time.Duration, f *telephony.Frame) {
		if at := samples(offset); at < len(c.Samples) {
			copy(f.Samples[:], c.Samples[at:])
		}
	}
}

// Human is a person who answers with a greeting of this length ("Hello?") after
// 400 ms, and then listens.
func Human(greeting time.Duration) Audio {
	return Script(Quiet(400*time.Millisecond), Speech(greeting))
}

// MachineGreeting is an answering machine: a long text, a beep, the recording.
func MachineGreeting(text time.Duration) Audio {
	return Script(Quiet(300*time.Millisecond), Speech(text), Quiet(500*time.Millisecond), Part{400 * time.Millisecond, beep})
}

// Fax is a fax machine: the answer tone of ITU-T T.30, 2100 Hz for 3 s.
func Fax() Audio {
	return Script(Quiet(1800*time.Millisecond), Part{3 * time.Second, faxTone})
}

// Tone is a steady tone.
func Tone(hz int) Audio { return Script(Beep(hz, math.MaxInt64)) }

// A Part is one sound for a time: a second or more of samples, repeated.
type Part struct {
	length  time.Duration
	samples []int16
}

// Quiet is the noise of a quiet line.
func Quiet(d time.Duration) Part { return Part{d, noise} }

// Speech is what to a detector is like speech.
func Speech(d time.Duration) Part { return Part{d, speech} }

// Beep is a steady tone.
func Beep(hz int, d time.Duration) Part { return Part{d, tone(hz)} }

// Script is the parts one after the other, then the noise of a quiet line.
func Script(parts ...Part) Audio {
	parts = append(parts, Quiet(math.MaxInt64))
	return func(offset time.Duration, f *telephony.Frame) {
		for _, p := range parts {
			if offset >= p.length {
				offset -= p.length
				continue
			}
			at := samples(offset) % len(p.samples)
			copy(f.Samples[copy(f.Samples[:], p.samples[at:]):], p.samples)
			return
		}
	}
}

func samples(d time.Duration) int { return int(d / (time.Second / 8000)) }

// What is heard is computed once: a shift has millions of frames.
var (
	noise   = makeNoise()
	speech  = makeSpeech()
	beep    = tone(1000)
	faxTone = tone(2100)
)

// makeNoise is a second of a quiet line, about -70 dBFS.
func makeNoise() []int16 {
	r := rand.New(rand.NewPCG(1, 1))
	out := make([]int16, 8000)
	for i := range out {
		out[i] = int16(r.IntN(21) - 10)
	}
	return out
}

// makeSpeech is four seconds of something that, to a detector, is like speech:
// syllables of a buzzing voice and hiss, four and a half a second, in phrases
// with a breath of 300 ms after 1.7 s.
func makeSpeech() []int16 {
	const (
		syllable = 0.22 // s
		phrase   = 2.0
		breath   = 0.3
	)
	r := rand.New(rand.NewPCG(2, 2))
	out := make([]int16, 4*8000)
	for i := range out {
		t := float64(i) / 8000
		if math.Mod(t, phrase) > phrase-breath {
			out[i] = noise[i%len(noise)]
			continue
		}
		in := math.Mod(t, syllable) / syllable
		level := math.Max(0, math.Sin(math.Pi*math.Min(1, in/0.8)))
		pitch := 120 + 25*math.Sin(2*math.Pi*t/1.3)
		var v float64
		for h, weight := range [...]float64{0.5, 1, 0.8, 0.6, 0.3, 0.2, 0.15, 0.1} {
			v += weight * math.Sin(2*math.Pi*pitch*float64(h+1)*t)
		}
		out[i] = int16(level * (2200*v + 600*r.NormFloat64()))
	}
	return out
}

// tone is a second of a tone.
func tone(hz int) []int16 {
	out := make([]int16, 8000)
	for i := range out {
		out[i] = int16(8000 * math.Sin(2*math.Pi*float64(hz)*float64(i)/8000))
	}
	return out
}
