package pacing

import (
	"math"
	"time"
)

// step is the grid of the forecast in seconds, and graceTime how long after an
// answer an agent may still come free: the greeting and the connect deadline.
const (
	step      = 2.0
	graceTime = 2.0
)

// A ringLaw says by when an attempt of a given ring age will be answered by a
// person: hazards of the two ways to end, per second of age.
type ringLaw struct {
	live, other []float64
	survive     []float64 // share not ended at the beginning of each second
}

// newRingLaw learns the hazards from finished attempts and from those in
// flight, which are exposed without having ended; leaving them out would take
// the quick ends of a growing dial rate for a better answer rate.
func newRingLaw(l Laws, ringing []time.Duration) ringLaw {
	end := ringEnd(l)
	n := int(math.Ceil(end)) + 1
	live, other := make([]float64, n), make([]float64, n)
	believe(l, live, other, end)
	for i, x := range l.Live {
		live[min(i, n-1)] += max(x, 0)
	}
	for i, x := range l.Other {
		other[min(i, n-1)] += max(x, 0)
	}
	exposed := make([]float64, n+1)
	for _, age := range ringing {
		exposed[min(max(int(age.Seconds()), 0), n)]++
	}
	r := ringLaw{live: live, other: other, survive: make([]float64, n+1)}
	atRisk := exposed[n]
	for i := n - 1; i >= 0; i-- {
		ended := live[i] + other[i]
		atRisk += ended
		if total := atRisk + exposed[i]/2; total > 0 {
			r.live[i], r.other[i] = live[i]/total, other[i]/total
		}
		atRisk += exposed[i]
	}
	r.survive[0] = 1
	for i := range n {
		r.survive[i+1] = r.survive[i] * max(1-r.live[i]-r.other[i], 0)
	}
	return r
}

// ringEnd is the age in seconds at which nothing rings any more.
func ringEnd(l Laws) float64 {
	end := l.RingMax.Seconds()
	if !(end > 0) {
		end = 25
	}
	return min(end, longestRing)
}

// believe fills in what a campaign looks like before it is known: answers around
// RingMean, half of the others ending early, half at the ring timeout.
func believe(l Laws, live, other []float64, end float64) {
	p := l.LiveRate
	if !(p >= 0) { // unknown, or not a number
		p = priorLive
	}
	p = min(max(p, 0.001), 0.999)
	mean := l.RingMean.Seconds()
	if !(mean > 0) {
		mean = 12
	}
	mean = min(mean, end)
	weight := priorAttempts
	if l.Live == nil && l.Other == nil {
		weight = max(priorAttempts, float64(l.Dialed))
	}
	sum := 0.0
	shape := make([]float64, len(live))
	for i := range shape { // gamma with shape 4
		x := (float64(i) + 0.5) / (mean / 4)
		shape[i] = x * x * x * math.Exp(-x)
		sum += shape[i]
	}
	for i := range shape {
		live[i] = weight * p * shape[i] / sum
		other[i] = weight * (1 - p) / 2 * shape[i] / sum
	}
	other[len(other)-1] += weight * (1 - p) / 2
}

// answeredBy fills out[k] with the chance that an attempt of the given age is
// answered by a person within (k+1) steps from now.
func (r ringLaw) answeredBy(age float64, out []float64) {
	n := len(r.live)
	at := min(max(age, 0), float64(n))
	i := int(at)
	if i >= n || r.survive[i] <= 0 {
		clear(out)
		return
	}
	left, done := 1.0, 0.0
	next := 0
	for sec := i; sec < n && next < len(out); sec++ {
		part := 1.0
		if sec == i {
			part = float64(i+1) - at // what is left of the second
		}
		done += left * r.live[sec] * part
		left *= max(1-(r.live[sec]+r.other[sec])*part, 0)
		for next < len(out) && float64(sec+1)-at >= step*float64(next+1)-0.5 {
			out[next] = min(done, 1)
			next++
		}
	}
	for ; next < len(out); next++ {
		out[next] = min(done, 1)
	}
}

// A span is a lognormal law of a duration in seconds.
type span struct{ mu, sigma float64 }

func newSpan(mean time.Duration, cv, otherwise float64) span {
	m := mean.Seconds()
	if !(m > 0) {
		m = otherwise
	}
	if !(cv > 0) {
		cv = 1
	}
	s2 := math.Log(1 + min(cv, 3)*min(cv, 3))
	return span{mu: math.Log(m) - s2/2, sigma: max(math.Sqrt(s2), 0.05)}
}

// over is the chance to last longer than x seconds.
func (l span) over(x float64) float64 {
	if x <= 0 {
		return 1
	}
	return math.Erfc((math.Log(x)-l.mu)/(l.sigma*math.Sqrt2)) / 2
}

// endedBy fills out[k] with the chance that what has lasted age seconds ends
// within x(k) seconds from now. Far out in the tail, where the law says nothing,
// an end is no longer expected soon.
func (l span) endedBy(age float64, x func(k int) float64, out []float64) {
	now := l.over(age)
	for k := range out {
		if now < 1e-9 {
			out[k] = 0
			continue
		}
		out[k] = 1 - l.over(age+x(k))/now
	}
}
