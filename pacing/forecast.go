package pacing

import "math"

// A forecast holds, for each step ahead, the law of the answers by then and of
// the agents free by then.
type forecast struct {
	answers []count
	free    []supply
	fresh   []float64 // chance that a call placed now is answered by the step
	before  count     // persons who wait already
}

// resize makes room for n steps; what it holds is void.
func (f *forecast) resize(n int) {
	if cap(f.answers) < n {
		f.answers, f.free, f.fresh = make([]count, n), make([]supply, n), make([]float64, n)
	}
	f.answers, f.free, f.fresh = f.answers[:n], f.free[:n], f.fresh[:n]
}

// look predicts answers and free agents on the grid.
func (f *forecast) look(s *Snapshot) {
	l := s.Laws
	f.resize(len(l.ringBy[0]))
	f.before.be(s.Waiting)
	for k := range f.answers {
		f.answers[k].be(s.Waiting)
		f.free[k].be(s.Ready)
	}
	// Few answers seen: the live share may be higher than it seems.
	doubt := 1 + 1/math.Sqrt(1+l.liveSeen)
	for k, p := range l.ringBy[0] {
		f.fresh[k] = min(p*doubt, 1)
	}
	share := l.DetectedLive
	if !(share > 0) {
		share = 1
	}
	for range s.Detecting { // their detection ends within the first step
		for k := range f.answers {
			f.answers[k].add(share)
		}
	}
	for i, age := range s.Ringing {
		chance := doubt * chanceOf(s.RingingChance, i)
		for k, p := range l.ringBy[min(max(int(age.Seconds()+0.5), 0), len(l.ringBy)-1)] {
			f.answers[k].add(p * chance)
		}
	}
	for _, age := range s.WrapUp {
		for k, p := range l.wrapBy[spanBin(age.Seconds())] {
			f.free[k].add(p)
		}
	}
	for _, age := range s.Talking {
		for k, p := range l.talkBy[spanBin(age.Seconds())] {
			f.free[k].add(p)
		}
	}
	for k := range f.free {
		f.free[k].close()
	}
}

// addCall adds a call placed now, to a lead of the given relative chance.
func (f *forecast) addCall(chance float64) {
	for k, p := range f.fresh {
		f.answers[k].add(p * chance)
	}
}

// loss is the mean number of persons who will find no agent: at each step the
// answers that exceed the agents, less those that exceeded them before.
func (f *forecast) loss() float64 {
	sum, previous := 0.0, &f.before
	for k := range f.answers {
		sum += max(shortfall(&f.answers[k], &f.free[k])-shortfall(previous, &f.free[k]), 0)
		previous = &f.answers[k]
	}
	return sum
}

// exactUpTo is the number of calls or agents up to which their sums are
// computed exactly; beyond it they are taken as normal.
const exactUpTo = 24

// A count is the law of a sum of independent yes-or-no events: its mean, its
// variance and, up to exactUpTo events, the chance of every value.
type count struct {
	mean, variance float64
	n              int
	pmf            [exactUpTo + 1]float64 // to n, while exact
}

// be makes c certain.
func (c *count) be(n int) {
	c.mean, c.variance, c.n = float64(n), 0, n
	if c.exact() {
		c.pmf = [exactUpTo + 1]float64{}
		c.pmf[n] = 1
	}
}

func (c *count) exact() bool { return c.n <= exactUpTo }

// add counts one more event of chance p.
func (c *count) add(p float64) {
	p = min(max(p, 0), 1)
	c.mean += p
	c.variance += p * (1 - p)
	c.n++
	if !c.exact() {
		return
	}
	for i := c.n; i > 0; i-- {
		c.pmf[i] = c.pmf[i]*(1-p) + c.pmf[i-1]*p
	}
	c.pmf[0] *= 1 - p
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
// deviation s.
func shortfall(demand *count, s *supply) float64 {
	if demand.exact() && s.exact() {
		sum := 0.0
		for d, p := range demand.pmf[:demand.n+1] {
			sum += p * s.missing[d]
		}
		return sum
	}
	m, v := demand.mean-s.mean, demand.variance+s.variance
	if v < 1e-12 {
		return max(m, 0)
	}
	sd := math.Sqrt(v)
	z := m / sd
	return sd*math.Exp(-z*z/2)/math.Sqrt(2*math.Pi) + m*math.Erfc(-z/math.Sqrt2)/2
}
