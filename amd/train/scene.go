package train

import (
	"math"
	"math/rand/v2"
	"time"

	"dialer/amd/ear"
	"dialer/amd/evaluate"
)

// A Clip is a labelled recording, 8 kHz.
type Clip struct {
	evaluate.Row
	Samples []int16
}

// A scene is a call to learn from: what was heard, when somebody spoke, and who
// it was. lost tells of each packet whether it came.
type scene struct {
	class   int
	samples []int16
	speech  []evaluate.Span
	known   bool          // speech is known
	beep    evaluate.Span // none when it ends at 0
	lost    []bool
	weight  float64
}

// The classes of the decision, in the order of the model's scores.
const (
	human = iota
	machine
	screening
	ringing
	musical
	silent
	classes
	none = -1
)

func classOf(row *evaluate.Row) int {
	switch row.Label {
	case "human":
		return human
	case "machine":
		return machine
	case "screening":
		return screening
	case "silence":
		return silent
	case "music":
		return musical
	case "ringback":
		if row.Subtype == "music ringback" {
			return musical
		}
		return ringing
	}
	return none
}

// A studio makes new scenes of clips.
type studio struct {
	*rand.Rand
	spoken  []*Clip // clips of speech that is known
	clean   []*Clip // those without noise
	humans  []*Clip
	rooms   [][]float64 // noises that clips have, without speech
	melody  [][]float64
	onsets  map[string][]time.Duration
	scripts map[string][]*Clip
}

func samplesOf(d time.Duration) int { return int(d * rate / time.Second) }

func newStudio(clips []*Clip, seed uint64) *studio {
	s := &studio{Rand: rand.New(rand.NewPCG(seed, 7)), onsets: map[string][]time.Duration{}, scripts: map[string][]*Clip{}}
	for _, c := range clips {
		switch {
		case c.Label == "silence" && c.Subtype != "digital silence":
			s.rooms = append(s.rooms, floats(c.Samples))
		case classOf(&c.Row) == musical:
			s.melody = append(s.melody, floats(c.Samples))
		case len(c.Speech) > 0:
			s.spoken = append(s.spoken, c)
			if c.Noise == "" || c.Noise == "none" || c.SNR > 22 {
				s.clean = append(s.clean, c)
			} else if end := c.Speech[len(c.Speech)-1].End; c.Label == "human" {
				if from := samplesOf(c.GreetingEnd) + rate/10; from+rate < len(c.Samples) && end <= c.GreetingEnd+rate {
					s.rooms = append(s.rooms, floats(c.Samples[from:]))
				}
			}
			s.onsets[c.Label] = append(s.onsets[c.Label], c.SpeechStart)
			s.scripts[c.Label] = append(s.scripts[c.Label], c)
			if c.Label == "human" {
				s.humans = append(s.humans, c)
			}
		}
	}
	return s
}

func floats(samples []int16) []float64 {
	out := make([]float64, len(samples))
	for i, x := range samples {
		out[i] = float64(x) / 32768
	}
	return out
}

// between is uniform.
func (s *studio) between(a, b float64) float64 { return a + (b-a)*s.Float64() }

// chance is true with a probability.
func (s *studio) chance(p float64) bool { return s.Float64() < p }

// spoken is a length of somebody's speech, with the pauses within it cut out.
func (s *studio) voice(c *Clip, n int) []float64 {
	var all []float64
	for _, span := range c.Speech {
		from, to := samplesOf(span.Start), min(samplesOf(span.End), len(c.Samples))
		if from < to {
			all = append(all, floats(c.Samples[from:to])...)
		}
	}
	if len(all) == 0 {
		return make([]float64, n)
	}
	out := make([]float64, n)
	from := 0
	if len(all) > n {
		from = s.IntN(len(all) - n + 1)
		if s.chance(0.4) {
			from = 0
		}
	}
	for i := range out {
		out[i] = all[(from+i)%len(all)] * min(1, float64(i+1)/24, float64(n-i)/60)
	}
	return out
}

// faster plays at another speed.
func faster(x []float64, by float64) []float64 {
	out := make([]float64, int(float64(len(x))/by))
	for i := range out {
		p := float64(i) * by
		k := int(p)
		if k+1 < len(x) {
			out[i] = x[k] + (x[k+1]-x[k])*(p-float64(k))
		}
	}
	return out
}

// script is when somebody speaks, from a clip, varied.
func (s *studio) script(c *Clip) (spans []evaluate.Span, length time.Duration) {
	stretch := s.between(0.88, 1.15)
	spans = append(spans, c.Speech...)
	if c.Label == "machine" || c.Label == "screening" {
		switch {
		case len(spans) > 2 && s.chance(0.2): // it began before the answer
			spans = spans[1+s.IntN(len(spans)-2):]
		case s.chance(0.12):
			spans = spans[:1+s.IntN(len(spans))]
		}
	}
	onset := s.onsets[c.Label][s.IntN(len(s.onsets[c.Label]))]
	if s.chance(0.3) {
		onset = time.Duration(float64(onset) * s.between(0.3, 1.6))
	}
	at, end := onset, spans[0].Start
	out := make([]evaluate.Span, 0, len(spans)+1)
	if c.Label == "machine" && s.chance(0.06) { // hello ... you have reached
		h := s.humans[s.IntN(len(s.humans))]
		n := min(h.Speech[0].End-h.Speech[0].Start, 900*time.Millisecond)
		out = append(out, evaluate.Span{Start: at, End: at + n})
		at += n + time.Duration(s.between(0.4, 1.1)*float64(time.Second))
	}
	for _, span := range spans {
		gap := span.Start - end
		at += time.Duration(float64(gap) * stretch * s.between(0.8, 1.25))
		length := time.Duration(float64(span.End-span.Start) * stretch)
		out = append(out, evaluate.Span{Start: at, End: at + length})
		at += length
		end = span.End
	}
	return out, at
}

// call makes a new call after a clip of speech.
func (s *studio) call(c *Clip) *scene {
	if s.chance(0.3) {
		return s.replay(c)
	}
	spans, end := s.script(c)
	sc := &scene{class: classOf(&c.Row), speech: spans, known: true, weight: 1}
	speaker := c
	if s.chance(0.7) {
		speaker = s.clean[s.IntN(len(s.clean))]
	}
	speed := s.between(0.92, 1.1)
	tail := s.between(2.4, 3.4)
	if c.Label != "human" {
		tail = s.between(1.5, 3)
	}
	x := make([]float64, samplesOf(end)+int(tail*rate))
	var spoken []float64
	for _, span := range spans {
		n := samplesOf(span.End - span.Start)
		v := faster(s.voice(speaker, int(float64(n)*speed)+2), speed)
		copy(x[samplesOf(span.Start):], v[:min(n, len(v))])
		spoken = append(spoken, v...)
	}
	loud := math.Sqrt(power(spoken)) + 1e-6
	for i := range x {
		x[i] *= 0.1 / loud
	}
	if c.Label == "machine" && s.chance(0.75) || c.Label == "screening" && s.chance(0.25) {
		b := level(beepOf(s.Rand), 0.14*decibel(s.between(-10, 6)))
		from := samplesOf(end) + int(s.between(0.1, 1.6)*rate)
		for i, v := range b {
			if from+i < len(x) {
				x[from+i] += v
			}
		}
		at := time.Duration(from) * time.Second / rate
		sc.beep = evaluate.Span{Start: at, End: at + time.Duration(len(b))*time.Second/rate}
	}
	if from := samplesOf(spans[0].Start); s.chance(0.12) && from > rate/4 { // the end of a ring
		ring := signals[s.IntN(8)].render(s.Rand, 4*rate)
		n := min(int(s.between(0.1, 1.2)*rate), from-rate/8)
		for i, at := 0, s.IntN(rate); i < n; i++ {
			x[i] += 0.1 * ring[at+i]
		}
	}
	if s.chance(0.5) {
		s.add(x, s.background(len(x)), 0.1*decibel(-s.between(3, 32)))
	}
	s.finish(sc, x)
	return sc
}

// replay is the clip itself over another line.
func (s *studio) replay(c *Clip) *scene {
	delay := samplesOf(time.Duration(s.between(-1, 0.8) * float64(time.Second)))
	if first := samplesOf(c.SpeechStart); delay < 0 {
		delay = -min(-delay, max(first-rate/10, 0))
	}
	x := floats(c.Samples)
	if delay < 0 {
		x = x[-delay:]
	} else {
		lead := make([]float64, delay)
		for i := range lead {
			lead[i] = x[i%max(samplesOf(c.SpeechStart), 160)] // the room before the first word
		}
		x = append(lead, x...)
	}
	sc := &scene{class: classOf(&c.Row), known: true, weight: 1}
	by := time.Duration(delay) * time.Second / rate
	if c.BeepStart >= 0 {
		sc.beep = evaluate.Span{Start: c.BeepStart + by, End: c.BeepEnd + by}
	}
	for _, span := range c.Speech {
		sc.speech = append(sc.speech, evaluate.Span{Start: max(span.Start+by, 0), End: max(span.End+by, 0)})
	}
	if s.chance(0.3) {
		s.add(x, s.background(len(x)), math.Sqrt(power(x))*decibel(-s.between(6, 30)))
	}
	s.finish(sc, x)
	return sc
}

// add puts a background of a level behind a signal.
func (s *studio) add(x, background []float64, loud float64) {
	scale := loud / (math.Sqrt(power(background)) + 1e-9)
	for i := range x {
		x[i] += background[i] * scale
	}
}

// background is what goes on around a person.
func (s *studio) background(n int) []float64 {
	switch k := s.IntN(10); {
	case k < 3:
		return s.room(n)
	case k < 6: // people, or a television: one to six voices
		out := make([]float64, n)
		for range 1 + s.IntN(6) {
			for at := s.IntN(rate); at < n; {
				v := s.voice(s.clean[s.IntN(len(s.clean))], min(n-at, int(s.between(0.5, 3)*rate)))
				scale := s.between(0.4, 1) / (math.Sqrt(power(v)) + 1e-6)
				for i := range v {
					out[at+i] += v[i] * scale
				}
				at += len(v) + int(s.between(0, 1)*rate)
			}
		}
		return out
	case k == 6:
		return s.music(n)
	case k == 7:
		return pink(s.Rand, n)
	case k == 8:
		return hum(s.Rand, n)
	}
	return street(s.Rand, n)
}

func (s *studio) music(n int) []float64 {
	if len(s.melody) > 0 && s.chance(0.4) {
		m := s.melody[s.IntN(len(s.melody))]
		out, from := make([]float64, n), s.IntN(len(m))
		speed := s.between(0.8, 1.25)
		for i := range out {
			out[i] = m[(from+int(float64(i)*speed))%len(m)]
		}
		return out
	}
	return music(s.Rand, n)
}

// nobody is a call on which nobody speaks.
func (s *studio) nobody(class int) *scene {
	n := int(s.between(5, 8) * rate)
	sc := &scene{class: class, known: true, weight: 1}
	var x []float64
	switch class {
	case machine: // that only beeps
		x = make([]float64, n)
		b, from := level(beepOf(s.Rand), 0.3), int(s.between(0.3, 2)*rate)
		copy(x[from:], b)
		at := time.Duration(from) * time.Second / rate
		sc.beep = evaluate.Span{Start: at, End: at + time.Duration(len(b))*time.Second/rate}
		sc.weight = 0 // nothing in it but the beep says so
	case ringing:
		x = level(signals[s.IntN(len(signals))].render(s.Rand, n), 0.2)
	case musical:
		x = level(s.music(n), 0.3)
		if s.chance(0.4) { // it begins a little later
			clear(x[:s.IntN(rate)])
		}
	default:
		x = make([]float64, n)
		if s.chance(0.8) {
			room := [][]float64{pink(s.Rand, n), hum(s.Rand, n), street(s.Rand, n), s.room(n)}[s.IntN(4)]
			s.add(x, room, decibel(-s.between(35, 65)))
			s.line(sc, x)
			return sc
		}
	}
	s.finish(sc, x)
	return sc
}

// room is a noise that a clip has.
func (s *studio) room(n int) []float64 {
	if len(s.rooms) == 0 {
		return pink(s.Rand, n)
	}
	room := s.rooms[s.IntN(len(s.rooms))]
	out, from := make([]float64, n), s.IntN(len(room))
	for i := range out {
		out[i] = room[(from+i)%len(room)]
	}
	return out
}

// finish sets the level and sends the scene over a line.
func (s *studio) finish(sc *scene, x []float64) {
	level(x, decibel(-s.between(3, 28)))
	s.add(x, pink(s.Rand, len(x)), decibel(-s.between(60, 85)))
	s.line(sc, x)
}

// packet is what a lost packet takes away.
const packet = ear.FrameSize
