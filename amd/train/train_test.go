package train

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"dialer/amd"
	"dialer/amd/evaluate"
)

// clip is a recording of a buzzing voice at times, with a beep behind a machine.
func clip(n int, label string, spans ...evaluate.Span) *Clip {
	r := rand.New(rand.NewPCG(uint64(n), 9))
	c := &Clip{Row: evaluate.Row{
		File: fmt.Sprintf("%s%d.wav", label, n), Label: label, Group: fmt.Sprintf("speaker %d", n), Speech: spans,
		SpeechStart: -1, GreetingEnd: -1, BeepStart: -1, BeepEnd: -1,
	}}
	length := 4 * time.Second
	if len(spans) > 0 {
		c.SpeechStart, c.GreetingEnd = spans[0].Start, spans[len(spans)-1].End
		length = c.GreetingEnd + 2500*time.Millisecond
	}
	if label == "machine" {
		c.BeepStart, c.BeepEnd = c.GreetingEnd+500*time.Millisecond, c.GreetingEnd+900*time.Millisecond
	}
	pitch := 100 + 12*float64(n)
	for i := range samplesOf(length) {
		at, t := time.Duration(i)*time.Second/rate, float64(i)/rate
		x := 6 * r.NormFloat64()
		for _, s := range spans {
			if at >= s.Start && at < s.End {
				for h := 1; h < 12; h++ {
					x += 1500 / float64(h) * math.Sin(2*math.Pi*pitch*float64(h)*t) * (0.3 + math.Abs(math.Sin(13*t)))
				}
			}
		}
		if at >= c.BeepStart && at < c.BeepEnd {
			x += 6000 * math.Sin(2*math.Pi*900*t)
		}
		c.Samples = append(c.Samples, int16(max(min(x, 32767), -32767)))
	}
	return c
}

// corpus is people who say a word and machines that go on.
func corpus() (clips []*Clip) {
	const m = time.Millisecond
	for n := range 4 {
		from := time.Duration(300+100*n) * m
		clips = append(clips,
			clip(n, "human", evaluate.Span{Start: from, End: from + time.Duration(300+40*n)*m}),
			clip(n, "machine", evaluate.Span{Start: from, End: from + 1800*m}, evaluate.Span{Start: from + 2*time.Second, End: from + time.Duration(4000+200*n)*m}))
	}
	return append(clips, clip(20, "silence"))
}

// TestModel: the same clips and seed give the same model, and it has learned
// them.
func TestModel(t *testing.T) {
	clips := corpus()
	stages := map[string]bool{}
	o := Options{Seed: 3, Scenes: 1, rounds: 12, Progress: func(stage string, done, all int) { stages[stage] = done <= all }}
	m, err := Model(clips, o)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Model(clips, o)
	if err != nil || !bytes.Equal(m.Append(nil), again.Append(nil)) {
		t.Error("the same clips and seed give another model", err)
	}
	if len(stages) != 5 {
		t.Errorf("stages %v", stages)
	}
	var outcomes []evaluate.Outcome
	for _, c := range clips {
		out := evaluate.Listen(amd.New(amd.Config{Model: m}), c.Samples)
		out.Row = c.Row
		outcomes = append(outcomes, out)
	}
	r := evaluate.New(outcomes)
	if r.FalsePositives.K > 1 || r.FoundLate.K < 3 || r.Beeps.K < 3 {
		var text bytes.Buffer
		_ = r.Print(&text)
		t.Error(text.String())
	}
}

func TestModelRefuses(t *testing.T) {
	if _, err := Model([]*Clip{clip(1, "human", evaluate.Span{End: time.Second})}, Options{}); err == nil {
		t.Error("a model without machines")
	}
	if _, err := Model(corpus(), Options{Scenes: 1, Cancelled: func() bool { return true }}); !errors.Is(err, ErrCancelled) {
		t.Error(err)
	}
}

// TestSplit: no group is on two sides, and no clip is lost.
func TestSplit(t *testing.T) {
	var clips []*Clip
	for i := range 60 {
		group := fmt.Sprintf("g%d", i%7)
		if i%7 == 6 {
			group = ""
		}
		clips = append(clips, &Clip{Row: evaluate.Row{File: fmt.Sprint(i), Group: group}})
	}
	parts := Split(clips, 4)
	where, n := map[string]int{}, 0
	for i, p := range parts {
		n += len(p)
		for _, c := range p {
			if at, seen := where[c.Group]; seen && at != i && c.Group != "" {
				t.Errorf("group %q is in folds %d and %d", c.Group, at, i)
			}
			where[c.Group] = i
		}
	}
	if n != 60 || len(parts) != 4 {
		t.Errorf("%d clips in %d parts", n, len(parts))
	}
	if again := Split(clips, 4); !slices.EqualFunc(parts, again, func(a, b []*Clip) bool { return slices.Equal(a, b) }) {
		t.Error("another split of the same clips")
	}
}
