// Package forest holds gradient boosted trees of one depth: predicted without
// allocations, grown from examples, and stored in a few kilobytes. It is pure.
//
// Entry points: Grow, Forest.Scores, Read.
package forest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// A Forest gives each class a score; a tree adds to the score of one class.
// Trees are complete: a node that has nothing to ask goes left always.
type Forest struct {
	classes, features, depth int
	feature                  []uint8   // of the inner nodes, tree after tree
	threshold                []float32 // left below it
	leaf                     []float32
	base                     []float32 // scores without any tree
	nodes                    []node    // feature and threshold side by side
}

// A node sends what is above below to the right.
type node struct {
	below   float32 // the number before the threshold
	feature uint32
}

// ready lays the nodes out for Scores.
func (f *Forest) ready() *Forest {
	f.nodes = make([]node, len(f.feature))
	for i := range f.nodes {
		f.nodes[i] = node{below: math.Nextafter32(f.threshold[i], float32(math.Inf(-1))), feature: uint32(f.feature[i])}
		if math.IsInf(float64(f.threshold[i]), 1) {
			f.nodes[i].below = f.threshold[i]
		}
	}
	return f
}

// Classes is how many scores there are.
func (f *Forest) Classes() int { return f.classes }

// Features is how long an example is.
func (f *Forest) Features() int { return f.features }

// Trees is how many trees there are, of all classes.
func (f *Forest) Trees() int { return len(f.leaf) >> f.depth }

// Scores adds up the trees for an example x of Features values. Trees take turns
// at the classes.
func (f *Forest) Scores(x []float32, scores []float64) {
	for c := range f.classes {
		scores[c] = float64(f.base[c])
	}
	inner, leaves := 1<<f.depth-1, 1<<f.depth
	class, trees := 0, f.Trees()
	add := func(leaf int) {
		scores[class] += float64(f.leaf[leaf])
		if class++; class == f.classes {
			class = 0
		}
	}
	t := 0
	for ; t+1 < trees; t += 2 { // two at a time do not wait for each other
		a, b := f.nodes[t*inner:(t+1)*inner], f.nodes[(t+1)*inner:(t+2)*inner]
		i, j := 0, 0
		for range f.depth { // the sign of a difference is no branch to guess
			n, m := &a[i], &b[j]
			i = 2*i + 1 + int(math.Float32bits(n.below-x[n.feature])>>31)
			j = 2*j + 1 + int(math.Float32bits(m.below-x[m.feature])>>31)
		}
		add(t*leaves + i - inner)
		add((t+1)*leaves + j - inner)
	}
	if t < trees {
		a, i := f.nodes[t*inner:], 0
		for range f.depth {
			i = 2*i + 1 + int(math.Float32bits(a[i].below-x[a[i].feature])>>31)
		}
		add(t*leaves + i - inner)
	}
}

// Logistic makes a score of one class a probability.
func Logistic(score float64) float64 { return 1 / (1 + math.Exp(-score)) }

// Softmax makes scores probabilities, in place.
func Softmax(scores []float64) {
	most := math.Inf(-1)
	for _, s := range scores {
		most = max(most, s)
	}
	sum := 0.0
	for i, s := range scores {
		scores[i] = math.Exp(s - most)
		sum += scores[i]
	}
	for i := range scores {
		scores[i] /= sum
	}
}

// Append stores the forest behind b.
func (f *Forest) Append(b []byte) []byte {
	b = append(b, byte(f.classes), byte(f.features), byte(f.depth))
	b = binary.LittleEndian.AppendUint16(b, uint16(f.Trees()))
	b = append(b, f.feature...)
	for _, list := range [][]float32{f.threshold, f.leaf, f.base} {
		for _, x := range list {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
		}
	}
	return b
}

// Read takes a forest from the front of b and returns what stands behind it.
func Read(b []byte) (*Forest, []byte, error) {
	const header = 5
	if len(b) < header {
		return nil, nil, errors.New("the forest is cut off")
	}
	f := &Forest{classes: int(b[0]), features: int(b[1]), depth: int(b[2])}
	trees := int(binary.LittleEndian.Uint16(b[3:]))
	if f.classes == 0 || f.features == 0 || f.depth == 0 || f.depth > 8 {
		return nil, nil, fmt.Errorf("a forest of %d classes, %d features and depth %d", f.classes, f.features, f.depth)
	}
	inner, leaves := trees*(1<<f.depth-1), trees<<f.depth
	if len(b) < header+inner+4*(inner+leaves+f.classes) {
		return nil, nil, errors.New("the forest is cut off")
	}
	b = b[header:]
	f.feature, b = append([]uint8{}, b[:inner]...), b[inner:]
	for _, x := range f.feature {
		if int(x) >= f.features {
			return nil, nil, fmt.Errorf("feature %d of %d", x, f.features)
		}
	}
	take := func(n int) []float32 {
		list := make([]float32, n)
		for i := range list {
			list[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
		}
		b = b[4*n:]
		return list
	}
	f.threshold, f.leaf, f.base = take(inner), take(leaves), take(f.classes)
	return f.ready(), b, nil
}
