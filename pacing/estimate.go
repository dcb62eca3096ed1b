package pacing

import (
	"math"
	"time"
)

// An Estimator learns the laws of one campaign from what happens. The zero value
// knows nothing. It is a plain value: its JSON form, stored and read back, is a
// warm start. It is not safe for concurrent use.
//
// Older figures fade: attempts over the last 1,500 or so, more when many calls
// are in flight, talks and wrap-ups over the last 600. The memory is counted in
// attempts and not in time, since a short one would be biased towards attempts
// that end quickly.
type Estimator struct {
	RingMax  time.Duration `json:"ring_max_ns"`
	Attempts int           `json:"attempts"` // finished, never faded
	InFlight int           `json:"-"`
	Live     []float64     `json:"live,omitempty"`  // by second of ring age, faded
	Other    []float64     `json:"other,omitempty"` // likewise
	Talk     Moments       `json:"talk"`
	Wrap     Moments       `json:"wrap"`
	Detect   Share         `json:"detect"`
}

// Moments are faded sums of a duration in seconds.
type Moments struct {
	N   float64 `json:"n"`
	Sum float64 `json:"sum"`
	Sq  float64 `json:"sq"`
}

// Share is a faded count of yes among all.
type Share struct {
	N   float64 `json:"n"`
	Yes float64 `json:"yes"`
}

// Memory and limits of what is learned.
const (
	attemptMemory = 1500.0
	flightMemory  = 20.0
	talkMemory    = 600.0
	longestRing   = 120 // seconds; later ends count as the last
	longestTalk   = 4 * time.Hour
)

// Placed tells of a new attempt.
func (e *Estimator) Placed() { e.InFlight++ }

// Ended tells how an attempt ended: live if a person answered, after which ring
// time in either case. For an answering machine it is the time of its answer.
func (e *Estimator) Ended(live bool, ring time.Duration) {
	e.InFlight = max(e.InFlight-1, 0)
	e.Attempts++
	if e.Live == nil {
		e.Live, e.Other = make([]float64, longestRing), make([]float64, longestRing)
	}
	keep := 1 - 1/max(attemptMemory, flightMemory*float64(e.InFlight))
	for i := range e.Live {
		e.Live[i] *= keep
	}
	for i := range e.Other {
		e.Other[i] *= keep
	}
	into := e.Other
	if live {
		into = e.Live
	}
	into[min(max(int(ring/time.Second), 0), len(into)-1)]++
}

// Detected tells whether the detection of an answered call ended with a person.
func (e *Estimator) Detected(live bool) {
	keep := 1 - 1/talkMemory
	e.Detect.N = e.Detect.N*keep + 1
	e.Detect.Yes *= keep
	if live {
		e.Detect.Yes++
	}
}

// Talked tells how long an agent and a person talked.
func (e *Estimator) Talked(d time.Duration) { e.Talk.add(d) }

// Wrapped tells how long a wrap-up took.
func (e *Estimator) Wrapped(d time.Duration) { e.Wrap.add(d) }

func (m *Moments) add(d time.Duration) {
	x := min(max(d, 0), longestTalk).Seconds()
	keep := 1 - 1/talkMemory
	m.N, m.Sum, m.Sq = m.N*keep+1, m.Sum*keep+x, m.Sq*keep+x*x
}

// with adds n pretended observations of mean seconds with a CV of 1.
func (m Moments) with(n, mean float64) Moments {
	return Moments{m.N + n, m.Sum + n*mean, m.Sq + n*2*mean*mean}
}

func (m Moments) mean() time.Duration { return seconds(m.Sum / m.N) }

func (m Moments) cv() float64 {
	mean := m.Sum / m.N
	return math.Sqrt(max(m.Sq/m.N-mean*mean, 0)) / mean
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

// Laws returns what has been learned, so far as it has mixed with mild beliefs.
func (e *Estimator) Laws() Laws {
	live, ring, all := 0.0, 0.0, 0.0
	for i, n := range e.Live {
		live += n
		ring += n * (float64(i) + 0.5)
		all += n
	}
	for _, n := range e.Other {
		all += n
	}
	talk, wrap := e.Talk.with(priorTalks, priorTalk), e.Wrap.with(priorTalks, priorWrap)
	l := Laws{
		Dialed:   e.Attempts,
		LiveRate: (live + priorAttempts*priorLive) / (all + priorAttempts),
		RingMean: seconds((ring + priorTalks*priorRing) / (live + priorTalks)),
		RingMax:  e.RingMax,
		TalkMean: talk.mean(), TalkCV: talk.cv(),
		WrapMean: wrap.mean(), WrapCV: wrap.cv(),
	}
	if e.Attempts > 0 {
		l.Live, l.Other = append([]float64(nil), e.Live...), append([]float64(nil), e.Other...)
	}
	if e.Detect.N >= 10 {
		l.DetectedLive = e.Detect.Yes / e.Detect.N
	}
	return l
}

func seconds(x float64) time.Duration {
	if !(x > 0) {
		return 0
	}
	return time.Duration(min(x, 1e6) * float64(time.Second))
}
