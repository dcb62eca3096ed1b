package pacing

import (
	"math"
	"time"
)

// Laws are what is known of a campaign at one moment; see Estimator.
type Laws struct {
	Dialed   int           // finished attempts behind the figures
	LiveRate float64       // share of attempts that a person answers
	RingMean time.Duration // INVITE to a person's answer
	RingMax  time.Duration // the campaign's ring timeout
	TalkMean time.Duration
	WrapMean time.Duration
	// DetectedLive is the share of detections that end with a person; 0 means
	// that it is not known, and every one is counted as a person.
	DetectedLive float64
	// Leaving is the share of wrap-ups after which the agent takes a break.
	Leaving float64

	liveSeen float64 // live answers behind the figures, faded
	talkSeen float64 // talks likewise
	ring     ringLaw
	// ringBy[age][k] is the chance that an attempt is answered by a person
	// within k+1 steps; talkBy[bin][k] and wrapBy[bin][k] that an agent is free
	// by the middle of step k and the grace.
	ringBy, talkBy, wrapBy [][]float64
}

// step is the grid of the forecast in seconds, and graceTime how long after an
// answer an agent may still come free: the greeting and the connect deadline.
const (
	step      = 2.0
	graceTime = 3.0
)

// rows is a table of count rows, one column a step.
func (l *Laws) rows(count int) [][]float64 {
	n := int(math.Ceil((ringEnd(l)+2)/step)) + 1
	cells := make([]float64, count*n)
	r := make([][]float64, count)
	for i := range r {
		r[i] = cells[i*n : (i+1)*n : (i+1)*n]
	}
	return r
}

// answers computes the chances of answers that every decision looks up.
func (l *Laws) answers() {
	l.ringBy = l.rows(len(l.ring.live) + 1)
	for age := range l.ringBy {
		l.ring.answeredBy(float64(age), l.ringBy[age])
	}
}

// supplies computes those of agents who come free.
func (l *Laws) supplies(talk, wrap spanLaw) {
	bins := len(spanEdges) - 1
	l.talkBy, l.wrapBy = l.rows(bins), l.rows(bins)
	n := len(l.talkBy[0])
	// Until talks have ended, how long they last is a belief: agents who are
	// busy are counted on by and by.
	stays := (1 - l.Leaving) * l.talkSeen / (l.talkSeen + 4)
	horizon := func(k int) float64 { return (float64(k)+0.5)*step + graceTime }
	talks, wraps := talk.seconds(), wrap.seconds()
	over := func(by []float64, x int) float64 { return by[min(x, len(by)-1)] }
	// A talk must end and its wrap-up too: the convolution of both, by seconds.
	m := int(horizon(n-1)) + 2
	wrapped := make([]float64, m)
	for i := range wrapped {
		wrapped[i] = 1 - (over(wraps, i)+over(wraps, i+1))/2
	}
	ends := make([]float64, m)
	for b := range bins {
		age := int(spanEdges[b]+spanEdges[b+1]) / 2
		if now := over(wraps, age); now > 1e-9 {
			for k := range n {
				l.wrapBy[b][k] = stays * (1 - over(wraps, age+int(horizon(k)))/now)
			}
		}
		now := over(talks, age)
		if now <= 1e-9 {
			continue
		}
		last := now
		for i := range ends {
			next := over(talks, age+i+1)
			ends[i], last = (last-next)/now, next
		}
		for k := range n {
			sum, until := 0.0, int(horizon(k))
			for i, end := range ends[:until] {
				sum += end * wrapped[until-1-i]
			}
			l.talkBy[b][k] = stays * sum
		}
	}
}

// A ringLaw says by when an attempt of a given ring age will be answered by a
// person: hazards of the two ways to end, per second of age.
type ringLaw struct {
	live, other []float64
	survive     []float64 // share not ended at the beginning of each second
}

// newRingLaw learns the hazards from finished attempts and from those in
// flight, which are exposed without having ended; leaving them out would take
// the quick ends of a growing dial rate for a better answer rate.
func newRingLaw(l *Laws, lives, others []float64, ringing []time.Duration) ringLaw {
	end := ringEnd(l)
	n := int(math.Ceil(end)) + 1
	live, other := make([]float64, n), make([]float64, n)
	believe(l, live, other, end)
	for i, x := range lives {
		live[min(i, n-1)] += max(x, 0)
	}
	for i, x := range others {
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

// hazard is the chance per second that a person answers now.
func (r ringLaw) hazard(age float64) float64 {
	return r.live[min(max(int(age), 0), len(r.live)-1)]
}

// ringEnd is the age in seconds at which nothing rings any more.
func ringEnd(l *Laws) float64 {
	end := l.RingMax.Seconds()
	if !(end > 0) {
		end = 25
	}
	return min(end, longestRing)
}

// believe fills in what a campaign looks like before it is known: answers around
// RingMean, half of the others ending early, half at the ring timeout.
func believe(l *Laws, live, other []float64, end float64) {
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
	sum := 0.0
	shape := make([]float64, len(live))
	for i := range shape { // gamma with shape 4
		x := (float64(i) + 0.5) / (mean / 4)
		shape[i] = x * x * x * math.Exp(-x)
		sum += shape[i]
	}
	for i := range shape {
		live[i] = priorAttempts * p * shape[i] / sum
		other[i] = priorAttempts * (1 - p) / 2 * shape[i] / sum
	}
	other[len(other)-1] += priorAttempts * (1 - p) / 2
}

// answeredBy fills out[k] with the chance that an attempt of the given age is
// answered by a person within (k+1) steps from now.
func (r ringLaw) answeredBy(age float64, out []float64) {
	n := len(r.live)
	i := int(min(max(age, 0), float64(n)))
	if i >= n || r.survive[i] <= 0 {
		clear(out)
		return
	}
	left, done := 1.0, 0.0
	next := 0
	for sec := i; sec < n && next < len(out); sec++ {
		done += left * r.live[sec]
		left *= max(1-(r.live[sec]+r.other[sec]), 0)
		for next < len(out) && float64(sec+1-i) >= step*float64(next+1)-0.5 {
			out[next] = min(done, 1)
			next++
		}
	}
	for ; next < len(out); next++ {
		out[next] = min(done, 1)
	}
}
