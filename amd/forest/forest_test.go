package forest

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// rings are points whose class is how far out they lie, with a feature that says nothing.
func rings(n int, seed uint64) (e Examples) {
	r := rand.New(rand.NewPCG(seed, 0))
	for range n {
		x, y := r.NormFloat64(), r.NormFloat64()
		class := 0
		if d := x*x + y*y; d > 2.5 {
			class = 2
		} else if d > 0.8 {
			class = 1
		}
		e.X = append(e.X, []float32{float32(x), float32(y), r.Float32()})
		e.Class = append(e.Class, class)
	}
	return e
}

func options(classes int) Options {
	return Options{Classes: classes, Rounds: 40, Depth: 4, Rate: 0.2, Lambda: 1, Rows: 0.7, Columns: 1, Seed: 5}
}

func TestGrow(t *testing.T) {
	f := Grow(rings(4000, 1), options(3))
	test, right := rings(2000, 2), 0
	scores := make([]float64, 3)
	for i, x := range test.X {
		f.Scores(x, scores)
		Softmax(scores)
		if s := scores[0] + scores[1] + scores[2]; s < 0.999 || s > 1.001 {
			t.Fatalf("probabilities add up to %v", s)
		}
		best := 0
		for c, s := range scores {
			if s > scores[best] {
				best = c
			}
		}
		if best == test.Class[i] {
			right++
		}
	}
	if right < 1850 {
		t.Errorf("%d of 2000 right", right)
	}
	if f.Trees() != 120 || f.Classes() != 3 || f.Features() != 3 {
		t.Errorf("%d trees, %d classes, %d features", f.Trees(), f.Classes(), f.Features())
	}
}

func TestTwoClassesAreOneScore(t *testing.T) {
	e := rings(3000, 3)
	for i, c := range e.Class {
		e.Class[i] = min(c, 1)
	}
	f := Grow(e, options(1))
	var score [1]float64
	f.Scores([]float32{0, 0, 0}, score[:])
	if p := Logistic(score[0]); p > 0.1 {
		t.Errorf("the middle is outside with %v", p)
	}
	f.Scores([]float32{2, 2, 0}, score[:])
	if p := Logistic(score[0]); p < 0.9 {
		t.Errorf("the rim is outside with %v", p)
	}
}

// TestReproducible: the same examples and seed give the same bytes, which read back.
func TestReproducible(t *testing.T) {
	a, b := Grow(rings(1000, 1), options(3)).Append(nil), Grow(rings(1000, 1), options(3)).Append(nil)
	if !bytes.Equal(a, b) {
		t.Error("two trainings differ")
	}
	f, rest, err := Read(append(a, 7))
	if err != nil || len(rest) != 1 || !bytes.Equal(f.Append(nil), a) {
		t.Error(err, len(rest))
	}
	if _, _, err := Read(a[:len(a)-1]); err == nil {
		t.Error("a forest that is cut off was read")
	}
}

func TestScoresAllocatesNothing(t *testing.T) {
	f := Grow(rings(1000, 1), options(3))
	x, scores := []float32{1, 1, 1}, make([]float64, 3)
	if n := testing.AllocsPerRun(100, func() { f.Scores(x, scores); Softmax(scores) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzRead: whatever is read can be asked.
func FuzzRead(f *testing.F) {
	f.Add(Grow(rings(200, 1), Options{Classes: 2, Rounds: 2, Depth: 2, Rate: 0.1, Lambda: 1, Rows: 1, Columns: 1}).Append(nil))
	f.Add([]byte{1, 1, 1, 255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		forest, _, err := Read(b)
		if err != nil {
			return
		}
		forest.Scores(make([]float32, forest.Features()), make([]float64, forest.Classes()))
	})
}
