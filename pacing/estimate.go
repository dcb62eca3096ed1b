package pacing

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"
)

// An Estimator learns the laws of one campaign from what happens. The zero value
// knows nothing. Its JSON form, stored and read back by ReadEstimator, is a warm
// start. It is not safe for concurrent use.
//
// Older figures fade: attempts over the last 1,500 or so, more when many calls
// are in flight, talks and wrap-ups over the last 600. The memory is counted in
// attempts and not in time, since a short one would be biased towards attempts
// that end quickly.
type Estimator struct {
	RingMax  time.Duration `json:"ring_max_ns"`
	Attempts int           `json:"attempts"`        // finished, never faded
	Live     []float64     `json:"live,omitempty"`  // by second of ring age, faded
	Other    []float64     `json:"other,omitempty"` // likewise
	Talk     Spans         `json:"talk"`
	Wrap     Spans         `json:"wrap"`
	Detect   Share         `json:"detect"`
	// Leaves are the agents who went on a break instead of back to ready.
	Leaves Share `json:"leaves"`

	inFlight   int
	level      levelTest
	laws       *Laws
	builtAt    time.Time
	builtOf    int // attempts behind laws
	lookedAt   time.Time
	suppliedAt time.Time
	suppliedOf float64
}

// ReadEstimator reads what an Estimator has written as JSON. It fails when the
// figures cannot be counts, or are those of another version.
func ReadEstimator(data []byte) (Estimator, error) {
	var e Estimator
	if err := json.Unmarshal(data, &e); err != nil {
		return Estimator{}, fmt.Errorf("pacing: reading an estimator: %w", err)
	}
	fresh := len(e.Live)+len(e.Other) == 0
	if e.Attempts < 0 || !fresh && !(counts(e.Live) && counts(e.Other)) ||
		!e.Talk.sound() || !e.Wrap.sound() || !e.Detect.sound() || !e.Leaves.sound() {
		return Estimator{}, errors.New("pacing: reading an estimator: its figures are no counts")
	}
	return e, nil
}

// Share is a faded count of yes among all.
type Share struct {
	N   float64 `json:"n"`
	Yes float64 `json:"yes"`
}

func (s *Share) add(yes bool, memory float64) {
	if !s.sound() {
		*s = Share{}
	}
	keep := 1 - 1/memory
	s.N, s.Yes = s.N*keep+1, s.Yes*keep
	if yes {
		s.Yes++
	}
}

func (s *Share) sound() bool { return s.Yes >= 0 && s.Yes <= s.N && s.N < 1e12 }

// Memory and limits of what is learned.
const (
	attemptMemory = 1500.0
	flightMemory  = 20.0
	talkMemory    = 600.0
	longestRing   = 120 // seconds; later ends count as the last
	rebuildEvery  = 10 * time.Second
	supplyEvery   = 30 * time.Second
)

// Ended tells how an attempt ended: live if a person answered, after which ring
// time in either case. For an answering machine it is the time of its answer.
func (e *Estimator) Ended(live bool, ring time.Duration) {
	e.Attempts++
	if !counts(e.Live) || !counts(e.Other) {
		e.Live, e.Other = make([]float64, longestRing), make([]float64, longestRing)
	}
	keep := 1 - 1/max(attemptMemory, flightMemory*float64(e.inFlight))
	for i := range e.Live {
		e.Live[i] *= keep
		e.Other[i] *= keep
	}
	into := e.Other
	if live {
		into = e.Live
		e.level.answers++
	}
	into[min(max(int(ring/time.Second), 0), longestRing-1)]++
}

// counts reports whether these can be counts by second of ring age.
func counts(by []float64) bool {
	for _, n := range by {
		if !(n >= 0 && n < 1e12) {
			return false
		}
	}
	return len(by) == longestRing
}

// Detected tells whether the detection of an answered call ended with a person.
func (e *Estimator) Detected(live bool) { e.Detect.add(live, talkMemory) }

// Talked tells how long an agent and a person talked.
func (e *Estimator) Talked(d time.Duration) { e.Talk.add(d.Seconds(), talkMemory) }

// Wrapped tells how long a wrap-up took, and whether the agent then left.
func (e *Estimator) Wrapped(d time.Duration, left bool) {
	e.Wrap.add(d.Seconds(), talkMemory)
	e.Leaves.add(left, talkMemory)
}

// Laws returns what has been learned, as of s.Now and knowing what is under way
// in s. It is to be asked at every decision: what rings without being answered
// is knowledge too.
func (e *Estimator) Laws(s *Snapshot) *Laws {
	e.inFlight = len(s.Ringing)
	if e.laws != nil {
		e.expect(s)
	}
	if e.laws == nil || s.Now.Sub(e.builtAt) >= rebuildEvery || s.Now.Before(e.builtAt) || e.Attempts >= e.builtOf+5+e.builtOf/8 {
		e.laws, e.builtAt, e.builtOf = e.build(s), s.Now, e.Attempts
	}
	return e.laws
}

// What is believed before anything was seen, and how many observations it weighs.
const (
	priorAttempts = 12.0
	priorLive     = 0.25
	priorRing     = 12.0 // seconds
	priorTalks    = 3.0
	priorTalk     = 120.0
	priorWrap     = 20.0
)

func (e *Estimator) build(s *Snapshot) *Laws {
	l := &Laws{Dialed: e.Attempts, RingMax: e.RingMax}
	live, ring, all := 0.0, 0.0, 0.0
	if !counts(e.Live) || !counts(e.Other) {
		e.Live, e.Other = nil, nil
	}
	for i, n := range e.Live {
		live += n
		ring += n * (float64(i) + 0.5)
		all += n + e.Other[i]
	}
	l.LiveRate = (live + priorAttempts*priorLive) / (all + priorAttempts)
	l.RingMean = seconds((ring + priorTalks*priorRing) / (live + priorTalks))
	l.liveSeen = live
	if e.Detect.N >= 10 && e.Detect.sound() {
		l.DetectedLive = e.Detect.Yes / e.Detect.N
	}
	l.ring = newRingLaw(l, e.Live, e.Other, s.Ringing)
	l.answers()
	if old := e.laws; old != nil && s.Now.Sub(e.suppliedAt) < supplyEvery && !s.Now.Before(e.suppliedAt) &&
		(e.Talk.N > 30 || e.Talk.N == e.suppliedOf) {
		l.TalkMean, l.WrapMean, l.Leaving, l.talkBy, l.wrapBy = old.TalkMean, old.WrapMean, old.Leaving, old.talkBy, old.wrapBy
		return l
	}
	e.suppliedAt, e.suppliedOf = s.Now, e.Talk.N
	if e.Talk.sound() {
		l.talkSeen = e.Talk.N
	}
	if e.Leaves.sound() {
		l.Leaving = (e.Leaves.Yes + 0.1) / (e.Leaves.N + 5)
	}
	talk, wrap := e.Talk.law(s.Talking, priorTalk), e.Wrap.law(s.WrapUp, priorWrap)
	l.TalkMean, l.WrapMean = seconds(talk.mean), seconds(wrap.mean)
	l.supplies(talk, wrap)
	return l
}

func seconds(x float64) time.Duration {
	if !(x > 0) {
		return 0
	}
	return time.Duration(math.Round(min(x, 1e6) * float64(time.Second)))
}
