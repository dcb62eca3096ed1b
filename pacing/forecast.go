package pacing

import (
	"math"
	"slices"
	"time"
)

// A forecast holds, for each step ahead, the law of the answers by then and of
// the agents free by then.
type forecast struct {
	answers []count
	free    []supply
	fresh   []float64 // chance that a call placed now is answered by the step
	before  count     // persons who wait already
	ages    []int     // how many are of an age, while they are counted
	// doubt is the standard deviation of the level of answers, relative to it. It
	// is the same for all calls: what is true of one is true of a thousand.
	doubt float64
}

// resize makes room for n steps; what it holds is void.
func (f *forecast) resize(n int) {
	if cap(f.answers) < n {
		f.answers, f.free, f.fresh = make([]count, n), make([]supply, n), make([]float64, n)
	}
	f.answers, f.free, f.fresh = f.answers[:n], f.free[:n], f.fresh[:n]
}

// look predicts answers and free agents on the grid. Calls and agents of one age
// are as likely as each other, and so are counted together.
func (f *forecast) look(s *Snapshot) {
	l := s.Laws
	f.resize(len(l.ringBy[0]))
	// Only where agents are few are the laws of both sums needed.
	few := s.agents()-s.Held <= exactUpTo
	f.before.be(s.Waiting, few)
	for k := range f.answers {
		f.answers[k].be(s.Waiting, few && s.inFlight() <= exactUpTo)
		f.free[k].be(s.Ready, few)
	}
	// Few answers seen: the live share may be higher than it seems.
	unsure := 1 / math.Sqrt(1+l.liveSeen)
	f.doubt = levelDoubt * unsure
	higher := 1 + unsure
	for k, p := range l.ringBy[0] {
		f.fresh[k] = min(p*higher, 1)
	}
	share := l.DetectedLive
	if !(share > 0) {
		share = 1
	}
	for k := range f.answers { // their detection ends within the first step
		f.answers[k].add(len(s.Detecting), share)
	}
	f.ringing(s, higher)
	f.comeFree(s.WrapUp, l.wrapBy)
	f.comeFree(s.Talking, l.talkBy)
	for k := range f.free {
		f.free[k].close()
	}
}

// ringing counts the answers of calls in flight.
func (f *forecast) ringing(s *Snapshot, higher float64) {
	by := s.Laws.ringBy
	f.tally(len(by))
	for i, age := range s.Ringing {
		second := min(max(int(age.Seconds()+0.5), 0), len(by)-1)
		chance := chanceOf(s.RingingChance, i)
		if chance == 1 {
			f.ages[second]++
			continue
		}
		for k, p := range by[second] {
			f.answers[k].add(1, p*higher*chance)
		}
	}
	for second, n := range f.ages {
		if n == 0 {
			continue
		}
		for k, p := range by[second] {
			f.answers[k].add(n, p*higher)
		}
	}
}

// comeFree counts agents who have been busy for some time.
func (f *forecast) comeFree(busy []time.Duration, by [][]float64) {
	f.tally(len(by))
	for _, age := range busy {
		f.ages[spanBin(age.Seconds())]++
	}
	for bin, n := range f.ages {
		if n == 0 {
			continue
		}
		for k, p := range by[bin] {
			f.free[k].add(n, p)
		}
	}
}

// tally makes ages n zeros.
func (f *forecast) tally(n int) {
	f.ages = slices.Grow(f.ages[:0], n)[:n]
	clear(f.ages)
}

// addCall adds a call placed now, to a lead of the given relative chance.
func (f *forecast) addCall(chance float64) {
	for k, p := range f.fresh {
		f.answers[k].add(1, p*chance)
	}
}

// loss is the mean number of persons who will find no agent: at each step the
// answers that exceed the agents, less those that exceeded them before.
func (f *forecast) loss() float64 {
	sum, previous := 0.0, &f.before
	for k := range f.answers {
		sum += max(f.shortfall(&f.answers[k], &f.free[k])-f.shortfall(previous, &f.free[k]), 0)
		previous = &f.answers[k]
	}
	return sum
}

// levelDoubt is how many standard errors of a level learned from independent
// answers it is taken to be off by: the laws' shapes are learned as well.
const levelDoubt = 2.0

// exactUpTo is the number of calls or agents up to which their sums are
// computed exactly; beyond it they are taken as normal.
const exactUpTo = 24

// A count is the law of a sum of independent yes-or-no events: its mean, its
// variance and, where it is asked for and the events are at most exactUpTo, the
// chance of every value.
type count struct {
	mean, variance float64
	n              int
	asked          bool
	pmf            [exactUpTo + 1]float64 // to n, while exact
}

// be makes c certain.
func (c *count) be(n int, exact bool) {
	c.mean, c.variance, c.n, c.asked = float64(n), 0, n, exact
	if c.exact() {
		c.pmf = [exactUpTo + 1]float64{}
		c.pmf[n] = 1
	}
}

func (c *count) exact() bool { return c.asked && c.n <= exactUpTo }

// add counts n more events of chance p.
func (c *count) add(n int, p float64) {
	p = min(max(p, 0), 1)
	c.mean += float64(n) * p
	c.variance += float64(n) * p * (1 - p)
	if !c.asked || c.n+n > exactUpTo {
		c.n += n
		return
	}
	c.convolve(n, p)
}

// convolve is add for the law.
func (c *count) convolve(n int, p float64) {
	for range n {
		c.n++
		for i := c.n; i > 0; i-- {
			c.pmf[i] = c.pmf[i]*(1-p) + c.pmf[i-1]*p
		}
		c.pmf[0] *= 1 - p
	}
}

// A supply is the law of the agents that will have come free.
type supply struct {
	count
	// missing[d] is the mean shortfall E(d-S)+ for a demand of exactly d.
	missing [exactUpTo + 1]float64
}

// close computes missing when every agent is counted.
func (s *supply) close() {
	if !s.exact() {
		return
	}
	below := 0.0 // P(S < d)
	for d := 1; d < len(s.missing); d++ {
		if d-1 <= s.n {
			below += s.pmf[d-1]
		}
		s.missing[d] = s.missing[d-1] + below
	}
}

// shortfall is the mean number of answers that find no agent, E(D-S)+: exact, or
// by the normal law s·φ(m/s) + m·Φ(m/s) of the difference's mean m and standard
// deviation s, which holds what is not known of the level of answers.
func (f *forecast) shortfall(demand *count, s *supply) float64 {
	if demand.exact() && s.exact() {
		sum := 0.0
		for d, p := range demand.pmf[:demand.n+1] {
			sum += p * s.missing[d]
		}
		return sum
	}
	m, v := demand.mean-s.mean, demand.variance+s.variance
	level := f.doubt * (demand.mean - f.before.mean)
	v += level * level
	if v < 1e-12 {
		return max(m, 0)
	}
	sd := math.Sqrt(v)
	return sd * normalLoss(m/sd)
}

// normalLoss is φ(z) + z·Φ(z), the mean of a standard normal law above -z, to
// 1e-11. Decisions ask for it thousands of times: it is a Taylor series about the
// nearest of some places where it is known.
func normalLoss(z float64) float64 {
	switch {
	case z < -lossEnd:
		return 0
	case z > lossEnd:
		return z
	}
	i := int((z+lossEnd)*lossPlaces + 0.5)
	c, h := &lossSeries[i], z+lossEnd-float64(i)/lossPlaces
	return c[0] + h*(c[1]+h*(c[2]+h*(c[3]+h*(c[4]+h*c[5]))))
}

// Beyond lossEnd standard deviations nothing is left to chance, to the last digit.
const (
	lossEnd    = 8
	lossPlaces = 16 // for each standard deviation
)

// lossSeries are the coefficients at each place: the derivatives of Φ are Hermite
// polynomials times φ.
var lossSeries = func() (c [2*lossEnd*lossPlaces + 1][6]float64) {
	for i := range c {
		z := float64(i)/lossPlaces - lossEnd
		density, below := math.Exp(-z*z/2)/math.Sqrt(2*math.Pi), math.Erfc(-z/math.Sqrt2)/2
		c[i] = [6]float64{density + z*below, below, density / 2, -z * density / 6, (z*z - 1) * density / 24, (3*z - z*z*z) * density / 120}
	}
	return c
}()
