package pacing

import "math"

// exactUpTo is the number of calls or agents up to which their sums are
// computed exactly; beyond it they are taken as normal.
const exactUpTo = 24

// A count is the law of a sum of independent yes-or-no events: its mean, its
// variance and, while small, the chance of every value.
type count struct {
	mean, variance float64
	pmf            []float64 // nil when too large
	n              int
}

func newCount(certain int) count {
	c := count{mean: float64(certain), n: certain}
	if certain <= exactUpTo {
		c.pmf = make([]float64, certain+1, exactUpTo+2)
		c.pmf[certain] = 1
	}
	return c
}

// add counts one more event of chance p.
func (c *count) add(p float64) {
	p = min(max(p, 0), 1)
	c.mean += p
	c.variance += p * (1 - p)
	c.n++
	if c.pmf == nil {
		return
	}
	if c.n > exactUpTo {
		c.pmf = nil
		return
	}
	c.pmf = append(c.pmf, 0)
	for i := len(c.pmf) - 1; i > 0; i-- {
		c.pmf[i] = c.pmf[i]*(1-p) + c.pmf[i-1]*p
	}
	c.pmf[0] *= 1 - p
}

// A supply is the law of the agents that will have come free, with the chance
// that they are at most i.
type supply struct {
	count
	// missing[d] is the mean shortfall E(d-S)+ for a demand of exactly d.
	missing []float64
}

func newSupply(c count) supply {
	s := supply{count: c}
	if c.pmf == nil {
		return s
	}
	s.missing = make([]float64, exactUpTo+2)
	below := 0.0 // P(S < d)
	for d := 1; d < len(s.missing); d++ {
		if d-1 < len(c.pmf) {
			below += c.pmf[d-1]
		}
		s.missing[d] = s.missing[d-1] + below
	}
	return s
}

// shortfall is the mean number of answers that find no agent, E(D-S)+.
func shortfall(demand count, s supply) float64 {
	if demand.pmf != nil && s.missing != nil {
		sum := 0.0
		for d, p := range demand.pmf {
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
