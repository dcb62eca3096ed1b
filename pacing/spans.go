package pacing

import (
	"math"
	"time"
)

// Spans are faded sums of durations: how many ended in each bin of age, beside
// the moments that a lognormal law is fitted to.
type Spans struct {
	N    float64   `json:"n"`
	Sum  float64   `json:"sum"` // seconds
	Log  float64   `json:"log"` // sums of ln and ln²
	Log2 float64   `json:"log2"`
	Ends []float64 `json:"ends,omitempty"` // by spanBin
}

// spanEdges bound the bins of ages in seconds: two seconds wide at first, then
// growing by a fifteenth.
var spanEdges = func() []float64 {
	edges := []float64{0}
	for x := 0.0; x < 5400; {
		x += max(2, x/15)
		edges = append(edges, x)
	}
	return edges
}()

// spanBins is the bin of each whole second.
var spanBins = func() []uint8 {
	last := len(spanEdges) - 2
	bins := make([]uint8, int(spanEdges[last])+1)
	b := 0
	for second := range bins {
		for b < last && spanEdges[b+1] <= float64(second) {
			b++
		}
		bins[second] = uint8(b)
	}
	return bins
}()

func spanBin(age float64) int {
	switch {
	case !(age > 0):
		return 0
	case age >= float64(len(spanBins)):
		return len(spanEdges) - 2
	}
	b := int(spanBins[int(age)])
	if b < len(spanEdges)-2 && spanEdges[b+1] <= age {
		b++ // bins are at least a second wide
	}
	return b
}

func (s *Spans) add(x, memory float64) {
	x = min(max(x, 0), spanEdges[len(spanEdges)-1]-1)
	if !s.sound() {
		*s = Spans{}
	}
	if s.Ends == nil {
		s.Ends = make([]float64, len(spanEdges)-1)
	}
	keep := 1 - 1/memory
	for i := range s.Ends {
		s.Ends[i] *= keep
	}
	ln := math.Log(max(x, 0.5))
	s.N, s.Sum, s.Log, s.Log2 = s.N*keep+1, s.Sum*keep+x, s.Log*keep+ln, s.Log2*keep+ln*ln
	s.Ends[spanBin(x)]++
}

// sound reports whether the sums can be those of durations: a warm start may come
// from another version or an edited file.
func (s *Spans) sound() bool {
	if s.Ends != nil && len(s.Ends) != len(spanEdges)-1 {
		return false
	}
	count := func(x float64) bool { return x >= 0 && x < 1e12 }
	for _, x := range s.Ends {
		if !count(x) {
			return false
		}
	}
	return count(s.N) && count(s.Sum) && count(s.Log2) && math.Abs(s.Log) < 1e12
}

// A spanLaw is the law of a duration: the share that lasts beyond each edge.
type spanLaw struct {
	mean    float64
	survive []float64 // by spanEdges
}

// fitted is how many observations the fitted lognormal law weighs against the
// counts themselves: it speaks where they are few.
const fitted = 40.0

// law returns the law of what has ended and of what still lasts, whose ages are
// known to be exceeded.
func (s *Spans) law(running []time.Duration, prior float64) spanLaw {
	if !s.sound() {
		s = new(Spans)
	}
	// A prior of priorTalks observations around the prior's mean with a CV of 1.
	n := s.N + priorTalks
	sigma0 := math.Sqrt(math.Ln2)
	mu0 := math.Log(prior) - math.Ln2/2
	mu := (s.Log + priorTalks*mu0) / n
	variance := max((s.Log2+priorTalks*(mu0*mu0+sigma0*sigma0))/n-mu*mu, 0.05)
	// What still lasts has no end to be averaged: it lengthens the mean as it
	// would that of an exponential law, by its age for each end seen.
	over := 0.0
	for _, age := range running {
		over += age.Seconds()
	}
	mean := (s.Sum + priorTalks*prior + over) / n
	if len(running) > 0 && s.N < talkMemory/2 {
		mu += math.Log(mean * n / (mean*n - over))
	}
	l := spanLaw{mean: mean, survive: make([]float64, len(spanEdges))}
	sigma := math.Sqrt(variance)
	fit := func(x float64) float64 {
		if x <= 0 {
			return 1
		}
		return math.Erfc((math.Log(x)-mu)/(sigma*math.Sqrt2)) / 2
	}
	// Those at risk at the beginning of each bin, from the last bin back.
	bins := len(spanEdges) - 1
	started := make([]float64, bins) // running, by bin of age
	for _, age := range running {
		started[spanBin(age.Seconds())]++
	}
	atRisk := 0.0
	risk, ends := make([]float64, bins), make([]float64, bins)
	for b := bins - 1; b >= 0; b-- {
		if s.Ends != nil {
			ends[b] = s.Ends[b]
		}
		risk[b] = atRisk + ends[b] + started[b]/2
		atRisk += ends[b] + started[b]
	}
	l.survive[0] = 1
	for b := range bins {
		now, then := fit(spanEdges[b]), fit(spanEdges[b+1])
		e, r := ends[b]+fitted*(now-then), risk[b]+fitted*now
		h := 0.0
		if r > 1e-12 {
			h = min(e/r, 1)
		}
		l.survive[b+1] = l.survive[b] * (1 - h)
	}
	return l
}

// seconds returns the share that lasts beyond each second.
func (l spanLaw) seconds() []float64 {
	out := make([]float64, int(spanEdges[len(spanEdges)-1])+1)
	x := 0
	for b := range len(spanEdges) - 1 {
		lo, hi := spanEdges[b], spanEdges[b+1]
		from, change := l.survive[b], l.survive[b+1]-l.survive[b]
		for ; x < len(out) && (float64(x) < hi || b == len(spanEdges)-2); x++ {
			f := (float64(x) - lo) / (hi - lo)
			out[x] = from + f*change
		}
	}
	return out
}
