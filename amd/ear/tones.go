package ear

import (
	"math"
	"time"
)

// A Tone is a steady frequency, or two at once.
type Tone struct {
	Hz         float64 // the stronger of two
	Start, End time.Duration
	Hops       int // spectra, 10 ms apart, that have shown it

	second     float64 // the other of two
	pairs      int     // spectra that have shown both
	drift      float64 // mean change of frequency between spectra, Hz
	share      float64 // mean share of the power, and the least
	least      float64
	wobble     float64 // mean change of level between spectra, dB
	before     float64 // level before it, dB
	peak, last float64 // power: the largest, fading; that of the last spectrum
}

// Second is the weaker of two frequencies, 0 when there is one.
func (t *Tone) Second() float64 {
	if 2*t.pairs < t.Hops {
		return 0
	}
	return t.second
}

// Length is how long the tone has lasted.
func (t *Tone) Length() time.Duration { return t.End - t.Start }

// Low reports a tone of exchanges: ringback, busy, dial tone.
func (t *Tone) Low() bool {
	second := t.Second()
	return t.Hz < lowHz || second > 300 && second < lowHz
}

// Tones follows the tone of a leg.
type Tones struct {
	Current Tone // Hops is 0 when there is none
	Ended   Tone // the last one that lasted
	Ending  bool // Ended has ended in the last frame

	share  float64 // of the power in the strongest line and its harmonics
	steady float64 // spectra for which the strongest line has not moved
	line   float64
	gap    int     // spectra that did not show the tone
	level  float64 // of what was no tone, dB, smoothed
	ended  int     // tones so far
}

const (
	// Shares of the power that begin a tone and keep it going through bad codecs.
	pureShare = 0.80
	keepShare = 0.55
	pairShare = 0.90 // vowels have two strong lines too
	// A tone moves by less than this between spectra; the two of a ringback tone
	// beat against each other.
	steadyHz  = 14.0
	beatingHz = 40.0
	lowHz     = 520.0
	// RealTone is the number of spectra behind which a pure sound is called a tone.
	RealTone = 4
	// Where its power is a quarter of its peak, half of the window lies in the tone.
	fallen = 0.25
	// The lines looked at: from 250 to 3500 Hz.
	lowest = 8
	top    = 112
	// quietest is a power of all lines, about -62 dB, below which there is nothing to hear.
	quietest = 3e6
	// fading is what the peak of a tone loses in 10 ms: a bell's fades so.
	fading = 0.93
	middle = window * time.Second / 8000 / 2
)

func (t *Tones) init() { *t = Tones{Ended: Tone{Start: -1, End: -1}, level: -80} }

// miss notes a lost frame: what was there goes on for a while.
func (t *Tones) miss() {
	t.Ending = false
	t.skip()
	t.skip()
}

// skip notes a spectrum that there is not.
func (t *Tones) skip() {
	if t.gap++; t.gap > 8 {
		t.finish(t.Current.last)
	}
}

// hear takes the spectrum whose window ends at a time.
func (t *Tones) hear(power *[half + 1]float64, at time.Duration) {
	if at%FrameTime != 0 {
		t.Ending = false
	}
	total, best := 0.0, lowest
	for k := lowest; k < top; k++ {
		total += power[k]
		if power[k] > power[best] {
			best = k
		}
	}
	if total < quietest {
		t.share, t.steady = 0, 0
		t.finish(0)
		smooth(&t.level, -70, 4)
		return
	}
	first, hz := line(power, best), 31.25*center(power, best)
	for h := 2.0; h <= 4; h++ {
		if k := int(hz*h/31.25 + 0.5); k+1 < top {
			first += power[k-1] + power[k] + power[k+1]
		}
	}
	t.share = min(first/total, 1)
	if math.Abs(hz-t.line) < 8 {
		t.steady++
	} else {
		t.steady = 0
	}
	t.line = hz
	share, pair := t.share, 0.0
	if second, strength := other(power, best); strength > first*0.1 && (first+strength)/total > max(share, pairShare) {
		share, pair = (first+strength)/total, second
	}
	c, level := &t.Current, loudness(total)
	if c.Hops > 0 && t.goes(on{hz: hz, pair: pair, share: share, own: line(power, int(c.Hz/31.25+0.5))}, at-middle) {
		return
	}
	if share >= pureShare {
		*c = Tone{Hz: hz, second: pair, Start: at - middle, End: at - middle, Hops: 1, share: share, least: share, before: t.level}
		if pair > 0 {
			c.pairs = 1
		}
		c.last = line(power, int(hz/31.25+0.5))
		c.peak = c.last
		return
	}
	smooth(&t.level, level, 4)
}

// loudness is a power in dB of a sine of full scale.
func loudness(power float64) float64 {
	return 10 * math.Log10(power/(32768.0*32768*window*window/16)+1e-9)
}

// on is how a spectrum shows the tone there is.
type on struct{ hz, pair, share, own float64 }

// goes reports whether the tone goes on; it ends it otherwise.
func (t *Tones) goes(o on, at time.Duration) bool {
	c := &t.Current
	near := steadyHz
	if c.Low() {
		near = beatingHz
	}
	hz := o.hz
	if math.Abs(hz-c.Hz) > near && o.pair > 0 && math.Abs(o.pair-c.Hz) < near { // the other is stronger now
		hz, o.pair = o.pair, o.hz
	}
	there := o.own >= c.peak*fallen
	switch {
	case there && math.Abs(hz-c.Hz) <= near && o.share >= keepShare:
		n := min(float64(c.Hops+1), 8)
		if c.Hops >= RealTone { // its beginning is not clean
			c.drift += (math.Abs(hz-c.Hz) - c.drift) / n
			c.share += (o.share - c.share) / n
			c.least = min(c.least, o.share)
			c.wobble += (math.Abs(10*math.Log10(o.own/c.last)) - c.wobble) / n
		} else {
			c.share, c.least = o.share, o.share
		}
		c.Hz += (hz - c.Hz) / n
		if o.pair > 0 {
			c.pairs++
			c.second = o.pair
		}
		c.Hops++
		if c.Hops <= RealTone && c.last < o.own*fallen { // it began half a window ago, not before
			c.Start = at
		}
		c.peak, c.last = max(c.peak*fading, o.own), o.own
		c.End = at
		t.gap = 0
		return true
	case there && c.Hops >= RealTone && t.gap < 2: // a codec's hiccup
		t.gap++
		return true
	}
	t.finish(o.own)
	return false
}

// finish ends the tone, whose last spectrum has a power of own left: its end lies
// between the last two, where a quarter of the power was left.
func (t *Tones) finish(own float64) {
	if c := &t.Current; c.Hops >= RealTone {
		if own < c.peak*fallen && t.gap == 0 {
			was, is, end := math.Sqrt(c.last), math.Sqrt(own), math.Sqrt(c.peak*fallen)
			c.End += time.Duration(float64(hopTime) * (was - end) / max(was-is, 1))
		}
		t.Ended, t.Ending = *c, true
		t.ended++
	}
	t.Current = Tone{}
	t.gap = 0
}

// line is the power around a line, of those looked at.
func line(power *[half + 1]float64, k int) float64 {
	sum := power[k] + power[k+1] + power[k+2]
	if k > lowest {
		sum += power[k-1]
	}
	if k > lowest+1 {
		sum += power[k-2]
	}
	return sum
}

// center is the frequency of a line between its neighbours, by the parabola of
// their logarithms.
func center(power *[half + 1]float64, k int) float64 {
	a, b, c := math.Log(power[k-1]+1), math.Log(power[k]+1), math.Log(power[k+1]+1)
	if d := a - 2*b + c; d < 0 {
		return float64(k) + max(min(0.5*(a-c)/d, 0.5), -0.5)
	}
	return float64(k)
}

// other finds the strongest line apart from the best.
func other(power *[half + 1]float64, best int) (hz, strength float64) {
	at := 0
	for k := lowest; k < top; k++ {
		if (k < best-3 || k > best+3) && (at == 0 || power[k] > power[at]) {
			at = k
		}
	}
	if at == 0 {
		return 0, 0
	}
	for k := max(at-2, 0); k <= at+2; k++ {
		if k < best-2 || k > best+2 {
			strength += power[k]
		}
	}
	return 31.25 * center(power, at), strength
}

// BeepFeatures is how many numbers describe a tone that may be a beep.
const BeepFeatures = 14

// DescribeTone fills in the features of the present tone: what a beep, a note of
// music and a vowel differ in.
func (e *Ear) DescribeTone(x *[BeepFeatures]float32) {
	t, c := &e.Tones.Current, &e.Cadence
	now := loudness(t.last)
	speech := 0.0
	if c.All.Onset >= 0 {
		speech = now - c.speech
	}
	*x = [BeepFeatures]float32{
		float32(t.Hz), float32(t.Second()), float32(t.Hops), float32(t.drift), float32(t.share), float32(t.least),
		float32(t.wobble), float32(now), float32(now - t.before), float32(now - c.noise), float32(speech), float32(now - loudness(t.peak)),
		float32(min(c.All.Silence, 50)), float32(min(e.Tones.ended, 20)),
	}
}
