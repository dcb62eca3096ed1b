package forest

import (
	"math"
	"math/rand/v2"
	"slices"
)

// Examples are what trees grow on.
type Examples struct {
	X     [][]float32 // all of one length
	Class []int       // of Classes; with one class, 0 or 1
	// Weight of each example; nil is 1 for all.
	Weight []float32
}

// Options of Grow.
type Options struct {
	Classes   int // 1 is yes or no
	Rounds    int // trees of each class
	Depth     int
	Rate      float64 // what a tree may correct; 0.1
	Lambda    float64 // examples' worth of doubt in each leaf
	Rows      float64 // share of the examples that a tree sees
	Columns   float64 // share of the features
	Seed      uint64
	Progress  func(done, all int)
	Cancelled func() bool
}

// bins is how many values of a feature are told apart.
const bins = 64

// Grow boosts trees by Newton steps of the logistic or softmax loss (Friedman
// 2001; Chen and Guestrin 2016) on histograms of binned features.
func Grow(e Examples, o Options) *Forest {
	n, features := len(e.X), len(e.X[0])
	g := &grower{Options: o, n: n, features: features, random: rand.New(rand.NewPCG(o.Seed, 1))}
	g.hist = make([][bins]sum, 1<<(o.Depth-1))
	g.bin(e.X)
	f := &Forest{classes: o.Classes, features: features, depth: o.Depth, base: make([]float32, o.Classes)}
	weight := e.Weight
	if weight == nil {
		weight = slices.Repeat([]float32{1}, n)
	}
	scores := make([]float64, n*o.Classes)
	g.gradient, g.hessian = make([]float32, n), make([]float32, n)
	g.node = make([]uint8, n)
	p := make([]float64, n*o.Classes)
	for round := range o.Rounds {
		if o.Cancelled != nil && o.Cancelled() {
			break
		}
		for i := range n {
			row := p[i*o.Classes : (i+1)*o.Classes]
			copy(row, scores[i*o.Classes:])
			if o.Classes == 1 {
				row[0] = Logistic(row[0])
			} else {
				Softmax(row)
			}
		}
		g.sample()
		for c := range o.Classes {
			for i := range n {
				q, y := p[i*o.Classes+c], 0.0
				if o.Classes == 1 && e.Class[i] == 1 || o.Classes > 1 && e.Class[i] == c {
					y = 1
				}
				g.gradient[i] = weight[i] * float32(q-y)
				g.hessian[i] = weight[i] * float32(max(q*(1-q), 1e-6))
			}
			leaves := g.tree(f)
			for i := range n {
				scores[i*o.Classes+c] += float64(leaves[g.node[i]])
			}
		}
		if o.Progress != nil {
			o.Progress(round+1, o.Rounds)
		}
	}
	return f.ready()
}

type grower struct {
	Options
	n, features       int
	random            *rand.Rand
	binned            [][]uint8   // by feature
	edges             [][]float32 // by feature: the value that begins bin i+1
	gradient, hessian []float32
	node              []uint8 // of each example, within its level
	rows              []int32 // that this round sees
	columns           []int
	hist              [][bins]sum // of each node of a level
}

// bin cuts each feature at its quantiles.
func (g *grower) bin(x [][]float32) {
	g.binned, g.edges = make([][]uint8, g.features), make([][]float32, g.features)
	sorted := make([]float32, 0, 20000)
	step := max(g.n/20000, 1)
	for f := range g.features {
		sorted = sorted[:0]
		for i := 0; i < g.n; i += step {
			sorted = append(sorted, x[i][f])
		}
		slices.Sort(sorted)
		for b := 1; b < bins; b++ {
			edge := sorted[b*len(sorted)/bins]
			if k := len(g.edges[f]); edge > sorted[0] && (k == 0 || edge > g.edges[f][k-1]) {
				g.edges[f] = append(g.edges[f], edge)
			}
		}
		g.binned[f] = make([]uint8, g.n)
		for i := range g.n {
			at, found := slices.BinarySearch(g.edges[f], x[i][f])
			if found {
				at++
			}
			g.binned[f][i] = uint8(at)
		}
	}
}

// sample chooses the examples and features of a round.
func (g *grower) sample() {
	g.rows = g.rows[:0]
	for i := range g.n {
		if g.random.Float64() < g.Rows {
			g.rows = append(g.rows, int32(i))
		}
	}
	g.columns = g.random.Perm(g.features)[:max(int(g.Columns*float64(g.features)), 1)]
	slices.Sort(g.columns)
}

type sum struct{ g, h float64 }

// tree grows one tree behind f and returns its leaves; node is then the leaf of
// each example, sampled or not.
func (g *grower) tree(f *Forest) []float32 {
	clear(g.node)
	inner := 1<<g.Depth - 1
	feature, threshold := make([]uint8, inner), make([]float32, inner)
	for level := range g.Depth {
		width := 1 << level
		best := make([]float64, width)
		split := make([]uint8, width) // the first bin that goes right; 0: nothing to ask
		for _, c := range g.columns {
			hist := g.hist[:width]
			clear(hist)
			binned := g.binned[c]
			for _, i := range g.rows {
				s := &hist[g.node[i]][binned[i]]
				s.g += float64(g.gradient[i])
				s.h += float64(g.hessian[i])
			}
			for k := range width {
				g.cut(&hist[k], len(g.edges[c])+1, func(gain float64, at int) {
					if gain > best[k] {
						best[k], split[k] = gain, uint8(at)
						feature[width-1+k], threshold[width-1+k] = uint8(c), g.edges[c][at-1]
					}
				})
			}
		}
		for k := range width {
			if split[k] == 0 {
				threshold[width-1+k] = float32(math.Inf(1))
			}
		}
		for i, k := range g.node {
			right := uint8(0)
			if split[k] > 0 && g.binned[feature[width-1+int(k)]][i] >= split[k] {
				right = 1
			}
			g.node[i] = 2*k + right
		}
	}
	sums := make([]sum, inner+1)
	for _, i := range g.rows {
		s := &sums[g.node[i]]
		s.g += float64(g.gradient[i])
		s.h += float64(g.hessian[i])
	}
	leaves := make([]float32, inner+1)
	for k, s := range sums {
		leaves[k] = float32(-g.Rate * s.g / (s.h + g.Lambda))
	}
	f.feature = append(f.feature, feature...)
	f.threshold = append(f.threshold, threshold...)
	f.leaf = append(f.leaf, leaves...)
	return leaves
}

// cut tries every cut of a histogram.
func (g *grower) cut(hist *[bins]sum, n int, try func(gain float64, at int)) {
	var all, left sum
	for _, s := range hist[:n] {
		all.g, all.h = all.g+s.g, all.h+s.h
	}
	worth := func(s sum) float64 { return s.g * s.g / (s.h + g.Lambda) }
	for at := 1; at < n; at++ {
		left.g, left.h = left.g+hist[at-1].g, left.h+hist[at-1].h
		right := sum{all.g - left.g, all.h - left.h}
		if left.h < g.Lambda/4 || right.h < g.Lambda/4 {
			continue
		}
		if gain := worth(left) + worth(right) - worth(all); gain > 1e-6 {
			try(gain, at)
		}
	}
}
