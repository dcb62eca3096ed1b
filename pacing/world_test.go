package pacing

import (
	"container/heap"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// A world is a virtual shift: calls, people and agents as events in order, so
// that a pacer can be judged without a clock. Times are seconds.
type world struct {
	agents     int
	answerRate float64
	talk, wrap float64
	limit      float64
	hours      float64
	seed       uint64
}

// A shift is what came of it.
type shift struct {
	placed, answered, abandoned int
	busy, all                   float64 // agent seconds
}

func (s shift) utilisation() float64 { return s.busy / s.all }
func (s shift) abandonRate() float64 { return float64(s.abandoned) / float64(max(s.answered, 1)) }

type event struct {
	at   float64
	do   func()
	turn int // keeps the order of events at one time
}

type agenda []event

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	return a[i].at < a[j].at || a[i].at == a[j].at && a[i].turn < a[j].turn
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)   { *a = append(*a, x.(event)) }
func (a *agenda) Pop() any {
	old := *a
	last := old[len(old)-1]
	*a = old[:len(old)-1]
	return last
}

// since are the times at which things in one state began, by id.
type since map[int]float64

// ages are in the order of ids, so that a shift is the same each time.
func (s since) ages(now float64) []time.Duration {
	out := make([]time.Duration, 0, len(s))
	for _, id := range slices.Sorted(maps.Keys(s)) {
		out = append(out, time.Duration((now-s[id])*float64(time.Second)))
	}
	return out
}

func (w world) run(t testing.TB, p Pacer) shift {
	r := rand.New(rand.NewPCG(w.seed, 1))
	logn := func(mean float64) float64 { // with a CV of 1
		return math.Exp(math.Log(mean) - math.Ln2/2 + math.Sqrt(math.Ln2)*r.NormFloat64())
	}
	ringTime := func() float64 {
		for {
			x := 0.0
			for range 4 {
				x += 3 * r.ExpFloat64()
			}
			if x < 25 {
				return x
			}
		}
	}
	var (
		now      float64
		todo     agenda
		turn     int
		result   shift
		laws     = Estimator{RingMax: 25 * time.Second}
		free     = w.agents
		talking  = since{}
		wrapping = since{}
		ringing  = since{}
		testing  = since{}
		waiting  []int // calls
		gone     = map[int]bool{}
		calls    int
		lastID   int
	)
	after := func(d float64, do func()) {
		turn++
		heap.Push(&todo, event{now + d, do, turn})
	}
	dur := func(x float64) time.Duration { return time.Duration(x * float64(time.Second)) }
	var decide func()
	connect := func() {
		free--
		lastID++
		id := lastID
		length := logn(w.talk)
		talking[id] = now
		after(length, func() {
			delete(talking, id)
			laws.Talked(dur(length))
			work := logn(w.wrap)
			wrapping[id] = now
			result.busy += length + work
			after(work, func() {
				delete(wrapping, id)
				laws.Wrapped(dur(work))
				free++
				decide()
			})
		})
	}
	serve := func() {
		for free > 0 && len(waiting) > 0 {
			id := waiting[0]
			waiting = waiting[1:]
			if !gone[id] {
				gone[id] = true
				result.answered++
				connect()
			}
		}
	}
	place := func() {
		calls++
		id := calls
		result.placed++
		laws.Placed()
		ringing[id] = now
		ends := func(live bool, ring float64) {
			delete(ringing, id)
			laws.Ended(live, dur(ring))
		}
		switch x := r.Float64(); {
		case x < w.answerRate:
			ring, greeting := ringTime(), 0.5+r.Float64()
			after(ring, func() {
				ends(true, ring)
				testing[id] = now
				after(greeting+0.3, func() {
					delete(testing, id)
					waiting = append(waiting, id)
					laws.Detected(true)
					after(1.7, func() { // two seconds after the greeting
						if !gone[id] {
							gone[id] = true
							result.answered++
							result.abandoned++
						}
					})
					decide()
				})
			})
		case x < w.answerRate+(1-w.answerRate)*0.45: // a machine
			ring, detect := ringTime(), 0.3+2.2*r.Float64()
			after(ring, func() {
				ends(false, ring)
				testing[id] = now
				after(detect, func() { delete(testing, id); laws.Detected(false); decide() })
			})
		case x < w.answerRate+(1-w.answerRate)*0.6: // busy or invalid
			after(2, func() { ends(false, 2); decide() })
		default:
			after(25, func() { ends(false, 25); decide() })
		}
	}
	last := -1.0
	decide = func() {
		serve()
		if now-last < 0.5 {
			return
		}
		last = now
		alive := 0
		for _, id := range waiting {
			if !gone[id] {
				alive++
			}
		}
		s := Snapshot{
			Ready: free, Talking: talking.ages(now), WrapUp: wrapping.ages(now),
			Ringing: ringing.ages(now), Detecting: testing.ages(now), Waiting: alive,
			Laws: laws.Laws(), Answered: result.answered, Abandoned: result.abandoned, Cap: w.limit,
			Lines: 10000, LeadsLeft: 10000,
		}
		for range p.Decide(s).Dial {
			place()
		}
	}
	var tick func()
	tick = func() { decide(); after(1, tick) }
	after(0, tick)
	end := w.hours * 3600
	for len(todo) > 0 {
		e := heap.Pop(&todo).(event)
		if e.at > end {
			break
		}
		now = e.at
		e.do()
	}
	result.all = float64(w.agents) * end
	return result
}

func pacerOf(t testing.TB, c Config) Pacer {
	t.Helper()
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestShift: at 20 agents predictive must be worth its risk.
func TestShift(t *testing.T) {
	w := world{agents: 20, answerRate: 0.25, talk: 120, wrap: 15, limit: 0.03, hours: 8, seed: 7}
	predictive := w.run(t, pacerOf(t, Config{Mode: Predictive}))
	w.hours = 2 // the others settle at once
	progressive := w.run(t, pacerOf(t, Config{Mode: Progressive}))
	power := w.run(t, pacerOf(t, Config{Mode: Power, Ratio: 2}))
	for _, r := range []struct {
		name string
		shift
	}{{"predictive", predictive}, {"progressive", progressive}, {"power 2:1", power}} {
		t.Logf("%-11s utilisation %.1f %%, %d placed, %d answered, %d abandoned (%.2f %%)", r.name,
			100*r.utilisation(), r.placed, r.answered, r.abandoned, 100*r.abandonRate())
	}
	if predictive.abandonRate() > w.limit {
		t.Errorf("predictive abandoned %.2f %% of the answered, the cap is %.0f %%", 100*predictive.abandonRate(), 100*w.limit)
	}
	if got, least := predictive.utilisation(), progressive.utilisation()+0.10; got < least {
		t.Errorf("predictive utilisation %.1f %%, want at least %.1f %%", 100*got, 100*least)
	}
	if progressive.abandoned > 0 {
		t.Errorf("progressive abandoned %d calls; each had an agent", progressive.abandoned)
	}
}
