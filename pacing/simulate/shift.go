package simulate

import (
	"container/heap"
	"math/rand/v2"
	"time"

	"dialer/pacing"
)

// A Result is what came of a shift.
type Result struct {
	Dialed, Answered, Connected, Abandoned int
	Busy, Idle                             float64 // agent seconds
	Decisions                              int
	WorstHour                              float64
	byTime                                 []outcome
}

type outcome struct {
	at   float64
	lost bool
}

// Utilisation is busy over busy and idle time, breaks left out.
func (r Result) Utilisation() float64 { return r.Busy / max(r.Busy+r.Idle, 1e-9) }

// AbandonRate is the share of persons who answered and found no agent.
func (r Result) AbandonRate() float64 { return float64(r.Abandoned) / float64(max(r.Answered, 1)) }

// Wait is an agent's mean wait for a call, in seconds.
func (r Result) Wait() float64 { return r.Idle / float64(max(r.Connected, 1)) }

type what uint8

const (
	tick     what = iota
	ended         // busy, rang out
	answered      // a person
	machine       // a machine
	classified
	window
	talked
	wrapped
	back
)

type event struct {
	at   float64
	turn int
	what what
	id   uint64
	n    int // agent, or live
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

type person struct {
	live    bool // really
	window  float64
	waiting bool
	wait    int
}

type run struct {
	w        World
	r, lead  *rand.Rand
	now      float64
	todo     agenda
	turn     int
	calls    map[uint64]*person
	queue    []uint64
	free     []int // agents, longest idle first
	idleFrom []float64
	nextBrk  []float64
	away     []bool
	lastCall uint64
	up       int
	floor    *pacing.Floor
	pacer    pacing.Pacer
	res      Result
	legalA   int // abandoned as the dialer sees
	legalH   int
	decided  float64
	start    time.Time
}

// Run runs one shift.
func Run(w World, pacer pacing.Pacer, est *pacing.Estimator, seed uint64) Result {
	r := &run{
		w: w, pacer: pacer, r: rand.New(rand.NewPCG(seed, 1)), lead: rand.New(rand.NewPCG(seed, 2)),
		calls: map[uint64]*person{}, floor: pacing.NewFloor(time.Duration(w.RingTimeout) * time.Second),
		idleFrom: make([]float64, w.Agents), nextBrk: make([]float64, w.Agents), away: make([]bool, w.Agents),
		decided: -1, start: time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC),
	}
	if est != nil {
		r.floor.Estimator = *est
	}
	for a := range w.Agents {
		r.nextBrk[a] = w.BreakEvery * (0.2 + 0.8*r.r.Float64())
		r.ready(a)
	}
	r.after(0, tick, 0, 0)
	end := w.Hours * 3600
	for len(r.todo) > 0 && r.todo[0].at <= end {
		e := heap.Pop(&r.todo).(event)
		r.now = e.at
		r.handle(e)
	}
	r.now = end
	for _, a := range r.free {
		r.res.Idle += end - r.idleFrom[a]
	}
	if est != nil {
		*est = r.floor.Estimator
	}
	r.res.WorstHour = worst(r.res.byTime)
	r.res.byTime = nil
	return r.res
}

func worst(o []outcome) float64 {
	most, lost, from := 0.0, 0, 0
	for i, x := range o {
		if x.lost {
			lost++
		}
		for o[from].at < x.at-3600 {
			if o[from].lost {
				lost--
			}
			from++
		}
		if x.at >= 3600 || i == len(o)-1 {
			most = max(most, float64(lost)/float64(i-from+1))
		}
	}
	return most
}

func (r *run) after(d float64, what what, id uint64, n int) {
	r.turn++
	heap.Push(&r.todo, event{r.now + d, r.turn, what, id, n})
}

func (r *run) at() time.Time { return r.start.Add(time.Duration(r.now * float64(time.Second))) }

func (r *run) tell(kind pacing.Kind, call uint64, agent int, live bool) {
	r.floor.Observe(pacing.Event{At: r.at(), Kind: kind, Call: call, Agent: uint64(agent + 1), Live: live})
}

func (r *run) ready(a int) {
	if r.w.BreakEvery > 0 && r.now >= r.nextBrk[a] {
		r.nextBrk[a] = r.now + r.w.BreakFor + r.w.BreakEvery
		r.tell(pacing.AgentPaused, 0, a, false)
		r.after(r.w.BreakFor, back, 0, a)
		return
	}
	if r.w.Lunch != nil && r.w.Lunch(a, r.now) {
		r.tell(pacing.AgentPaused, 0, a, false)
		r.after(60, back, 0, a)
		return
	}
	r.idleFrom[a] = r.now
	r.free = append(r.free, a)
	r.tell(pacing.AgentReady, 0, a, false)
}

func (r *run) handle(e event) {
	w := &r.w
	switch e.what {
	case tick:
		r.pauses()
		r.decide(true)
		r.after(1, tick, 0, 0)
		return
	case ended:
		delete(r.calls, e.id)
		r.up--
		r.tell(pacing.CallEnded, e.id, 0, false)
	case answered, machine:
		c := r.calls[e.id]
		c.live = e.what == answered
		if c.live {
			r.res.Answered++
		}
		r.tell(pacing.CallAnswered, e.id, 0, false)
		greeting := w.Greeting.Draw(r.r)
		c.window = r.now + greeting + w.Window
		verdict, detect := c.live, 0.0
		if w.Detect != nil {
			detect = w.Detect.Draw(r.r)
			if c.live && r.r.Float64() < w.FalsePositive {
				verdict = false
			}
			if !c.live && r.r.Float64() < w.FalseNegative {
				verdict = true
			}
		} else {
			verdict = true
		}
		n := 0
		if verdict {
			n = 1
		}
		r.after(detect, classified, e.id, n)
		return
	case classified:
		c := r.calls[e.id]
		r.tell(pacing.CallClassified, e.id, 0, e.n == 1)
		if e.n == 0 {
			if c.live && w.CountFalse {
				r.res.Abandoned++
				r.lost(true)
			}
			delete(r.calls, e.id)
			r.up--
			break
		}
		c.waiting = true
		r.queue = append(r.queue, e.id)
		r.after(max(c.window-r.now, 0), window, e.id, 0)
	case window:
		c := r.calls[e.id]
		if c == nil || !c.waiting {
			return
		}
		if len(r.free) > 0 {
			r.serve()
			return
		}
		if c.live {
			r.res.Abandoned++
			r.lost(true)
		}
		r.legalH++
		r.legalA++
		delete(r.calls, e.id)
		r.up--
		r.tell(pacing.CallEnded, e.id, 0, false)
	case talked:
		r.up--
		delete(r.calls, e.id)
		r.tell(pacing.CallEnded, e.id, 0, false)
		r.tell(pacing.AgentWrapUp, 0, e.n, false)
		d := w.Wrap.Draw(r.r)
		r.res.Busy += d
		r.after(d, wrapped, 0, e.n)
	case wrapped, back:
		r.ready(e.n)
	}
	r.serve()
	r.decide(false)
}

// pauses lets ready agents begin their break, but not the last ones for whom
// calls are under way.
func (r *run) pauses() {
	kept := r.free[:0]
	for _, a := range r.free {
		due := r.w.BreakEvery > 0 && r.now >= r.nextBrk[a] && r.now-r.idleFrom[a] > 30
		lunch := r.w.Lunch != nil && r.w.Lunch(a, r.now)
		if due || lunch {
			r.res.Idle += r.now - r.idleFrom[a]
			r.tell(pacing.AgentPaused, 0, a, false)
			if due {
				r.nextBrk[a] = r.now + r.w.BreakFor + r.w.BreakEvery
				r.after(r.w.BreakFor, back, 0, a)
			} else {
				r.after(60, back, 0, a)
			}
			continue
		}
		kept = append(kept, a)
	}
	r.free = kept
}

func (r *run) lost(lost bool) { r.res.byTime = append(r.res.byTime, outcome{r.now, lost}) }

func (r *run) serve() {
	for len(r.free) > 0 && len(r.queue) > 0 {
		id := r.queue[0]
		r.queue = r.queue[1:]
		c := r.calls[id]
		if c == nil || !c.waiting {
			continue
		}
		c.waiting = false
		a := r.free[0]
		r.free = r.free[1:]
		r.res.Idle += r.now - r.idleFrom[a]
		r.res.Connected++
		r.legalH++
		if c.live {
			r.lost(false)
		}
		r.tell(pacing.CallConnected, id, a, true)
		d := r.w.MachineTalk.Draw(r.r)
		if c.live {
			d = r.w.Talk.Draw(r.r)
		}
		r.res.Busy += d
		r.after(d, talked, id, a)
	}
}

func (r *run) decide(must bool) {
	if !must && r.now-r.decided < 0.2 {
		return
	}
	r.decided = r.now
	lines := 1 << 20
	if r.w.Lines > 0 {
		lines = r.w.Lines - r.up
	}
	if r.w.LinesPerTeam > 0 {
		lines = min(lines, int(r.w.LinesPerTeam*float64(r.w.Agents))-r.up)
	}
	s := r.floor.Snapshot(r.at(), pacing.Outside{
		Answered: r.legalH, Abandoned: r.legalA, Cap: r.w.Cap, Lines: max(lines, 0), LeadsLeft: 1 << 20,
	})
	d := r.pacer.Decide(s)
	r.res.Decisions++
	for range d.Dial {
		r.place()
	}
}

func (r *run) place() {
	w := &r.w
	r.lastCall++
	id := r.lastCall
	r.calls[id] = &person{}
	r.up++
	r.res.Dialed++
	r.tell(pacing.CallPlaced, id, -1, false)
	x := r.lead.Float64()
	p := w.Answer(r.now)
	switch rest := 1 - p; {
	case x < p:
		r.after(w.Ring.Draw(r.lead), answered, id, 0)
	case x < p+rest*w.Machines:
		r.after(w.Ring.Draw(r.lead), machine, id, 0)
	case x < p+rest*(w.Machines+w.Busy):
		r.after(w.BusyAfter, ended, id, 0)
	default:
		r.after(w.RingTimeout, ended, id, 0)
	}
}
