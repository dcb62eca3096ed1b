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
	return sequence(part{400 * time.Millisecond, noise}, part{greeting, speech})
}

// MachineGreeting is an answering machine: a long text, a beep, the recording.
func MachineGreeting(text time.Duration) Audio {
	return sequence(
		part{300 * time.Millisecond, noise}, part{text, speech},
		part{500 * time.Millisecond, noise}, part{400 * time.Millisecond, beep},
	)
}

// Fax is a fax machine: the answer tone of ITU-T T.30, 2100 Hz for 3 s.
func Fax() Audio {
	return sequence(part{1800 * time.Millisecond, noise}, part{3 * time.Second, faxTone})
}

// Tone is a steady tone.
func Tone(hz int) Audio { return sequence(part{math.MaxInt64, tone(hz)}) }

// A part is one second or more of samples, repeated for a time.
type part struct {
	length  time.Duration
	samples []int16
}

// sequence is the parts one after the other, then the noise of a quiet line.
func sequence(parts ...part) Audio {
	parts = append(parts, part{math.MaxInt64, noise})
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
