package siptrunk

import (
	"math"
	"sort"
	"sync"
	"time"
)

// A rate lets calls leave: cps of them a second, and in no second more than cps.
// Its bucket begins empty: a restart in mid-campaign must not add a burst to the
// calls that the process before has just placed. It is guarded by its owner.
type rate struct {
	cps    float64
	tokens float64 // below zero while calls wait that have been promised a turn
	filled time.Time
	recent []time.Time // the last ceil(cps) turns, a ring
	oldest int
}

// burst is how many calls may leave at once: a fifth of a second's worth, so
// that they are spread over the second, and at least one.
func burst(cps float64) float64 { return max(1, cps/5) }

// set changes the rate; tokens earned so far were earned at the old one.
func (r *rate) set(cps float64, now time.Time) {
	if cps == r.cps {
		return
	}
	r.fill(now)
	n := max(1, int(math.Ceil(cps)))
	var turns []time.Time
	for i := range r.recent {
		turns = append(turns, r.recent[(r.oldest+i)%len(r.recent)])
	}
	if len(turns) > n {
		turns = turns[len(turns)-n:]
	}
	r.recent = append(make([]time.Time, n-len(turns)), turns...)
	r.oldest = 0
	r.cps, r.tokens = cps, min(r.tokens, burst(cps))
}

func (r *rate) fill(now time.Time) {
	if d := now.Sub(r.filled); d > 0 {
		r.tokens = min(burst(r.cps), r.tokens+d.Seconds()*r.cps)
		r.filled = now
	}
}

// next is when the next call may leave, now or later.
func (r *rate) next(now time.Time) time.Time {
	r.fill(now)
	at := now
	if missing := 1 - r.tokens; missing > 0 {
		at = now.Add(time.Duration(math.Ceil(missing / r.cps * float64(time.Second))))
	}
	if free := r.recent[r.oldest].Add(time.Second); free.After(at) {
		at = free
	}
	return at
}

// turn takes the next turn, which is at.
func (r *rate) turn(at time.Time) {
	r.tokens--
	r.recent[r.oldest] = at
	r.oldest = (r.oldest + 1) % len(r.recent)
}

// free is how many calls may leave now.
func (r *rate) free(now time.Time) int {
	r.fill(now)
	n := sort.Search(len(r.recent), func(i int) bool {
		return now.Sub(r.recent[(r.oldest+i)%len(r.recent)]) < time.Second
	})
	return max(0, min(n, int(math.Floor(r.tokens))))
}

// A gate lets events pass at a steady rate. CANCELs go through one, since a
// thousand at once overflow the socket buffers of both sides.
type gate struct {
	every time.Duration
	burst int

	mu   sync.Mutex
	next time.Time
}

const cancelsPerSecond = 400

// wait returns how long to wait before the next event may pass.
func (g *gate) wait(now time.Time) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if earliest := now.Add(-time.Duration(g.burst) * g.every); g.next.Before(earliest) {
		g.next = earliest
	}
	g.next = g.next.Add(g.every)
	return max(0, g.next.Sub(now))
}
