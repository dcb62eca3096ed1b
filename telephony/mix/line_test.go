package mix

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// packet is 20 ms on its way.
type packet struct {
	at      time.Duration // media time
	arrives time.Duration
	samples *Frame
}

// sound is a signal by its sample number, the same every two seconds.
type sound func(n int64) float64

const again = 2 * rate

// frames renders two seconds.
func (s sound) frames() []Frame {
	out := make([]Frame, again/FrameSamples)
	for i := range again {
		out[i/FrameSamples][i%FrameSamples] = int16(s(int64(i)))
	}
	return out
}

// talk is n packets of a sound, one each 20 ms of a clock that is skew fast,
// that take 50 ms.
func talk(s sound, n int, skew float64) []packet {
	packets, frames := make([]packet, n), s.frames()
	for i := range packets {
		p := &packets[i]
		p.at = time.Duration(i) * FrameDuration
		p.arrives = time.Duration(float64(p.at)/(1+skew)) + 50*time.Millisecond
		p.samples = &frames[i%len(frames)]
	}
	return packets
}

// listen plays what arrives for as many ticks, each 20 ms, and gives every frame.
func listen(b *Buffer, packets []packet, ticks int, each func(tick int, f *Frame)) {
	slices.SortStableFunc(packets, func(a, b packet) int { return cmp.Compare(a.arrives, b.arrives) })
	var f Frame
	next := 0
	for tick := range ticks {
		now := time.Duration(tick)*FrameDuration + 3*time.Millisecond
		for ; next < len(packets) && packets[next].arrives <= now; next++ {
			b.Put(packets[next].samples[:], packets[next].at, packets[next].arrives)
		}
		b.Take(&f, now)
		each(tick, &f)
	}
}

// stall holds back what arrives in a time until its end.
func stall(packets []packet, from, length time.Duration) {
	for i := range packets {
		if p := &packets[i]; p.arrives > from && p.arrives < from+length {
			p.arrives = from + length
		}
	}
}

// jitter delays each packet by up to a time.
func jitter(packets []packet, most time.Duration, seed uint64) {
	r := rand.New(rand.NewPCG(seed, seed))
	for i := range packets {
		packets[i].arrives += time.Duration(r.Int64N(int64(most)))
	}
}

func tone(hz, level float64) sound {
	return func(n int64) float64 { return level * math.Sin(2*math.Pi*hz*float64(n)/rate) }
}

// counting lets a listener tell from any sample where in the talk it is.
func counting(n int64) float64 { return float64(n%again) + 1 }

// vowel is a voice: a gliding pitch with harmonics below three formants, and
// syllables of it.
func vowel(n int64) float64 {
	t := float64(n) / rate
	phase := 2 * math.Pi * (125*t + 3*math.Sin(math.Pi*t))
	v := 0.0
	for h := 1.0; h < 26; h++ {
		f := 125 * h
		weight := 0.0
		for _, formant := range [...]float64{650, 1100, 2500} {
			d := (f - formant) / 180
			weight += 1 / (1 + d*d)
		}
		v += weight * 6 / h * math.Sin(h*phase+h*h) // 6 dB an octave, as voices have it
	}
	syllable := 0.6 + 0.4*math.Sin(2*math.Pi*3.5*t)
	return 2500 * syllable * v
}

// pauses is a voice that rests 400 ms in every two seconds, with the noise of a
// quiet line.
func pauses(voice sound) sound {
	noise := rand.New(rand.NewPCG(3, 3))
	hiss := make([]float64, rate)
	for i := range hiss {
		hiss[i] = 20 * noise.NormFloat64()
	}
	return func(n int64) float64 {
		v := hiss[n%rate]
		if at := n % again; at < 16*rate/10 {
			v += voice(n) * min(1, float64(at)/400, float64(16*rate/10-at)/400)
		}
		return v
	}
}

func rms(x []int16) float64 {
	sum := 0.0
	for _, v := range x {
		sum += float64(v) * float64(v)
	}
	return math.Sqrt(sum / float64(len(x)))
}

// amplitude is that of one frequency (Goertzel).
func amplitude(x []int16, hz float64) float64 {
	c := 2 * math.Cos(2*math.Pi*hz/rate)
	var s1, s2 float64
	for _, v := range x {
		s1, s2 = float64(v)+c*s1-s2, s1
	}
	return 2 * math.Sqrt(max(0, s1*s1+s2*s2-c*s1*s2)) / float64(len(x))
}
