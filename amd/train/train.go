// Package train learns the model of the detector from labelled recordings, and
// from calls that it makes of them: other speakers in the same cadence, other
// delays, levels, noises, codecs and losses. It is pure and gives the same model
// for the same clips and seed.
//
// Entry points: Model, Folds, Split.
package train

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"dialer/amd"
	"dialer/amd/ear"
	"dialer/amd/evaluate"
	"dialer/amd/forest"
)

// Options of a training.
type Options struct {
	Seed uint64
	// Scenes is how many calls are made of each recording; 6.
	Scenes int
	// Progress tells how much of a stage is done.
	Progress func(stage string, done, all int)
	// Cancelled ends the training early.
	Cancelled func() bool

	rounds int // at most, of each forest; 0 is all: tests have no time
}

// of is how many rounds there are instead of n.
func (o *Options) of(n int) int {
	if o.rounds > 0 {
		return min(o.rounds, n)
	}
	return n
}

// ErrCancelled is what a cancelled training gives.
var ErrCancelled = errors.New("the training was cancelled")

// The shape of the forests, and how many examples they grow on.
const (
	voiceRounds, voiceDepth = 60, 5
	beepRounds, beepDepth   = 40, 4
	callRounds, callDepth   = 70, 5
	voiceScenes             = 1500
	voiceEvery              = 9 // frames, about
	callEvery               = 5
)

// Model learns from clips.
func Model(clips []*Clip, o Options) (*amd.Model, error) {
	if o.Scenes <= 0 {
		o.Scenes = 6
	}
	if o.Progress == nil {
		o.Progress = func(string, int, int) {}
	}
	if o.Cancelled == nil {
		o.Cancelled = func() bool { return false }
	}
	plan, err := newPlan(clips, o)
	if err != nil {
		return nil, err
	}
	var frames examples
	for i := range min(voiceScenes, len(plan.takes)) {
		o.Progress("hearing speech", i+1, min(voiceScenes, len(plan.takes)))
		plan.voices(plan.scene(i), &frames)
		if o.Cancelled() {
			return nil, ErrCancelled
		}
	}
	voice := forest.Grow(frames.Examples, forest.Options{
		Classes: 1, Rounds: o.of(voiceRounds), Depth: voiceDepth, Rate: 0.15, Lambda: 20, Rows: 0.5, Columns: 0.6, Seed: o.Seed,
		Progress: func(done, all int) { o.Progress("learning speech", done, all) }, Cancelled: o.Cancelled,
	})
	var calls, tones examples
	for i := range plan.takes {
		o.Progress("hearing calls", i+1, len(plan.takes))
		plan.cadence(voice, plan.scene(i), &calls, &tones)
		if o.Cancelled() {
			return nil, ErrCancelled
		}
	}
	beep := forest.Grow(tones.Examples, forest.Options{
		Classes: 1, Rounds: o.of(beepRounds), Depth: beepDepth, Rate: 0.15, Lambda: 5, Rows: 0.6, Columns: 0.6, Seed: o.Seed + 2,
		Progress: func(done, all int) { o.Progress("learning beeps", done, all) }, Cancelled: o.Cancelled,
	})
	call := forest.Grow(calls.Examples, forest.Options{
		Classes: len(amd.Classes), Rounds: o.of(callRounds), Depth: callDepth, Rate: 0.12, Lambda: 10, Rows: 0.4, Columns: 0.5, Seed: o.Seed + 1,
		Progress: func(done, all int) { o.Progress("learning calls", done, all) }, Cancelled: o.Cancelled,
	})
	if o.Cancelled() {
		return nil, ErrCancelled
	}
	return amd.NewModel(voice, beep, call)
}

type examples struct {
	forest.Examples
}

func (e *examples) add(x []float32, class int, weight float64) {
	e.X = append(e.X, x)
	e.Class = append(e.Class, class)
	e.Weight = append(e.Weight, float32(weight))
}

// A plan is every scene of a training: each is made when it is needed, twice.
type plan struct {
	*studio
	seed  uint64
	takes []take
}

// A take is a clip as it is, a call made of it, or a call on which nobody speaks.
type take struct {
	clip  *Clip
	class int
	asIs  bool
}

func newPlan(clips []*Clip, o Options) (*plan, error) {
	p := &plan{studio: newStudio(clips, o.Seed), seed: o.Seed}
	if len(p.humans) == 0 || len(p.clean) == 0 || len(p.scripts["machine"]) == 0 {
		return nil, errors.New("training needs recordings of people and of machines, with speech_segments, some of them without noise")
	}
	spoken := 0
	for _, c := range clips {
		class := classOf(&c.Row)
		if class == none {
			continue
		}
		p.takes = append(p.takes, take{clip: c, class: class, asIs: true})
		if len(c.Speech) == 0 {
			continue
		}
		times := o.Scenes
		if class == machine {
			times += times / 3
		}
		for range times {
			p.takes = append(p.takes, take{clip: c, class: class})
			spoken++
		}
	}
	for class, share := range map[int]int{machine: 25, ringing: 10, musical: 14, silent: 14} {
		for range spoken / share {
			p.takes = append(p.takes, take{class: class})
		}
	}
	// A map has no order; the takes have one.
	r := rand.New(rand.NewPCG(o.Seed, 3))
	sortTakes(p.takes)
	r.Shuffle(len(p.takes), func(i, j int) { p.takes[i], p.takes[j] = p.takes[j], p.takes[i] })
	return p, nil
}

// scene makes the scene of a take: the same each time.
func (p *plan) scene(i int) *scene {
	t := p.takes[i]
	p.studio.Rand = rand.New(rand.NewPCG(p.seed, uint64(i)+100))
	switch {
	case t.clip == nil:
		return p.nobody(t.class)
	case t.asIs:
		sc := &scene{class: t.class, samples: t.clip.Samples, speech: t.clip.Speech, known: t.class != none, weight: 2}
		if t.clip.BeepStart >= 0 {
			sc.beep = evaluate.Span{Start: t.clip.BeepStart, End: t.clip.BeepEnd}
		}
		if t.class == machine && len(sc.speech) == 0 {
			sc.weight = 0 // nothing in it but the beep says so
		}
		return sc
	}
	return p.call(t.clip)
}

// play feeds a scene to an ear.
func (s *scene) play(e *ear.Ear, each func(at time.Duration, lost bool)) {
	for k := 0; (k+1)*packet <= len(s.samples); k++ {
		lost := s.lost != nil && s.lost[k]
		if lost {
			e.Hear(nil)
		} else {
			e.Hear(s.samples[k*packet : (k+1)*packet])
		}
		each(e.Now(), lost)
	}
}

// voices takes frames of a scene, with whether they are speech.
func (p *plan) voices(s *scene, to *examples) {
	e := ear.New(nil)
	s.play(e, func(at time.Duration, lost bool) {
		if lost || p.IntN(voiceEvery) != 0 {
			return
		}
		middle, class := at-16*time.Millisecond, 0
		for _, span := range s.speech {
			if middle >= span.Start && middle < span.End {
				class = 1
			}
		}
		x := make([]float32, ear.VoiceFeatures)
		copy(x, e.Sound.Features[:])
		to.add(x, class, 1)
	})
}

// cadence takes moments of a scene, with who it is, and its tones, with whether
// they are beeps.
func (p *plan) cadence(voice *forest.Forest, s *scene, calls, tones *examples) {
	e := ear.New(voice)
	from := len(calls.X)
	k := p.IntN(callEvery)
	var x [ear.Features]float32
	var y [ear.BeepFeatures]float32
	s.play(e, func(time.Duration, bool) {
		if t := &e.Tones.Current; t.Hops >= 5 && t.Hops < 20 && t.Hz > 350 {
			e.DescribeTone(&y)
			class := 0
			if t.Start > s.beep.Start-50*time.Millisecond && t.Start < s.beep.End {
				class = 1
			}
			tones.add(append([]float32(nil), y[:]...), class, 1)
		}
		if k++; k%callEvery != 0 {
			return
		}
		e.Cadence.Describe(&x)
		calls.add(append([]float32(nil), x[:]...), s.class, 0)
	})
	for i := from; i < len(calls.X); i++ {
		calls.Weight[i] = float32(s.weight * 50 / float64(len(calls.X)-from))
	}
}

// Fold is a model of all groups but some, and the clips of those.
type Fold struct {
	Model *amd.Model
	Clips []*Clip
}

// Folds cross-validates: each clip is in one fold, whose model has heard nothing
// of its group.
func Folds(clips []*Clip, n int, o Options) ([]Fold, error) {
	parts := Split(clips, n)
	var out []Fold
	for i, part := range parts {
		var others []*Clip
		for j, p := range parts {
			if j != i {
				others = append(others, p...)
			}
		}
		told := o
		if o.Progress != nil {
			told.Progress = func(stage string, done, all int) {
				o.Progress(fmt.Sprintf("fold %d of %d: %s", i+1, len(parts), stage), done, all)
			}
		}
		m, err := Model(others, told)
		if err != nil {
			return nil, err
		}
		out = append(out, Fold{Model: m, Clips: part})
	}
	return out, nil
}
