package simulate

import (
	"context"
	"math/rand/v2"
	"time"

	"dialer/pacing"
)

// A call is drawn whole when it is placed, from a source of its own lead: so all
// pacers meet the same people.
type call struct {
	Lead
	agent            int // held for it, counted from 1; 0: none
	deadline         float64
	waiting, talking bool
}

// Pacers decide every second, and on events no more often than this.
const decideEvery = 0.2

// run is a shift under way.
type run struct {
	w       *World
	pacer   pacing.Pacer
	floor   *pacing.Floor
	leads   *Leads
	staff   *rand.Rand
	now     float64
	end     float64
	start   time.Time
	todo    agenda
	turn    uint64
	calls   map[uint64]*call
	queue   []uint64
	up      int // calls that hold a line
	agents  []agent
	free    []int // agents, longest idle first
	tokens  float64
	filled  float64
	decided float64
	put     bool // a decision is put off

	// What the dialer counts, machines taken for persons included.
	answered, abandoned int
	people              []outcome
	res                 Result
}

// Run runs one shift. est holds what the pacer knows beforehand and, afterwards,
// what it has learned; nil means a cold start.
func Run(w World, p pacing.Pacer, est *pacing.Estimator, seed uint64) Result {
	return runShift(context.Background(), &w, p, est, seed)
}

func runShift(ctx context.Context, w *World, p pacing.Pacer, est *pacing.Estimator, seed uint64) Result {
	r := newRun(w, p, seed)
	if est != nil {
		ringMax := r.floor.Estimator.RingMax
		r.floor.Estimator = *est
		r.floor.Estimator.RingMax = ringMax
	}
	r.after(0, tick, 0, 0)
	for ctx.Err() == nil && len(r.todo) > 0 && r.todo[0].at <= r.end {
		e := r.todo.next()
		r.now = e.at
		r.handle(e)
		if w.Leads > 0 && r.res.Dialed == w.Leads && r.up == 0 {
			r.res.Finished, r.end = r.now, r.now
		}
	}
	r.close()
	if est != nil {
		*est = r.floor.Estimator
	}
	return r.res
}

func newRun(w *World, p pacing.Pacer, seed uint64) *run {
	r := &run{
		w: w, pacer: p, leads: NewLeads(w, seed), staff: rand.New(rand.NewPCG(seed, 1<<63)),
		end: w.length(), start: time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC),
		floor: pacing.NewFloor(time.Duration(w.RingTimeout * float64(time.Second))),
		calls: map[uint64]*call{}, tokens: w.CallsPerSecond, decided: -1,
	}
	shifts := w.Shifts
	if len(shifts) == 0 {
		shifts = []Shift{{w.Agents, 0, r.end + 1}}
	}
	for _, s := range shifts {
		for range s.Agents {
			a := agent{from: s.From, to: s.To, state: away}
			a.nextBreak = s.From + w.BreakEvery*(0.2+0.8*r.staff.Float64())
			r.agents = append(r.agents, a)
			r.after(s.From, back, 0, len(r.agents)-1)
		}
	}
	r.res.Agents = len(r.agents)
	r.res.Slices = make([]Slice, int((r.end-1e-9)/SliceSeconds)+1)
	return r
}

// close counts what was under way at the end.
func (r *run) close() {
	r.now = r.end
	for a := range r.agents {
		r.becomes(a, away)
	}
	for _, c := range r.calls {
		if !c.talking {
			r.res.Open++
		}
	}
	r.res.Length = r.end
	r.res.Slices = r.res.Slices[:min(len(r.res.Slices), int((r.end-1e-9)/SliceSeconds)+1)]
	r.res.WorstHour = worst(r.people)
}

func (r *run) after(d float64, what what, call uint64, n int) {
	r.turn++
	r.todo.add(event{r.now + d, r.turn, what, call, n})
}

func (r *run) at() time.Time { return r.start.Add(time.Duration(r.now * float64(time.Second))) }

func (r *run) tell(e pacing.Event) {
	e.At = r.at()
	r.floor.Observe(e)
}

func (r *run) handle(e event) {
	switch e.what {
	case tick:
		r.pauses()
		r.decide()
		r.after(1, tick, 0, 0)
		return
	case decide:
		r.put = false
		r.decide()
		return
	case ended:
		r.res.NoAnswer++
		r.hangUp(e.call)
	case answered:
		c := r.calls[e.call]
		if c.Person {
			r.res.Answered++
		}
		c.deadline = r.now + c.Greeting + r.w.Window
		r.tell(pacing.Event{Kind: pacing.CallAnswered, Call: e.call})
		r.after(c.Detect, classified, e.call, 0)
		return
	case classified:
		r.classified(e.call)
	case expired:
		c := r.calls[e.call]
		if c == nil || !c.waiting {
			return
		}
		r.abandon(e.call, c)
	case talked:
		r.hangUp(e.call)
		r.tell(pacing.Event{Kind: pacing.AgentWrapUp, Agent: uint64(e.n + 1)})
		r.becomes(e.n, wrapping)
		r.after(r.w.Wrap.Draw(r.staff), wrapped, 0, e.n)
	case wrapped, back:
		r.ready(e.n)
	}
	r.serve()
	r.soon()
}

// classified is the end of detection.
func (r *run) classified(id uint64) {
	c := r.calls[id]
	r.tell(pacing.Event{Kind: pacing.CallClassified, Call: id, Live: c.Live})
	switch {
	case c.Live && c.agent > 0:
		r.connect(id, c, c.agent-1)
		return
	case c.Live:
		c.waiting = true
		r.queue = append(r.queue, id)
		r.after(max(c.deadline-r.now, 0), expired, id, 0)
		return
	case c.Person:
		r.res.FalsePositives++
		r.person(r.w.CountFalsePositives)
	default:
		r.res.Machines++
	}
	r.forget(id)
}

// abandon hangs up on someone who has waited for as long as is allowed.
func (r *run) abandon(id uint64, c *call) {
	r.answered++
	r.abandoned++
	if c.Person {
		r.res.Abandoned++
		r.person(true)
	} else {
		r.res.Machines++
	}
	r.hangUp(id)
}

func (r *run) hangUp(id uint64) {
	r.tell(pacing.Event{Kind: pacing.CallEnded, Call: id})
	r.forget(id)
}

// forget gives back what a call had: its line, and the agent held for it.
func (r *run) forget(id uint64) {
	if c := r.calls[id]; c.agent > 0 && !c.talking {
		r.release(c.agent - 1)
	}
	delete(r.calls, id)
	r.up--
}

// person counts a person who answered and is served or lost now.
func (r *run) person(lost bool) {
	r.people = append(r.people, outcome{r.now, lost})
	s := &r.res.Slices[min(int(r.now/SliceSeconds), len(r.res.Slices)-1)]
	s.Answered++
	if lost {
		r.res.Counted++
		s.Abandoned++
	}
}

// serve connects who waits with who is free, both in their order.
func (r *run) serve() {
	for len(r.free) > 0 && len(r.queue) > 0 {
		id := r.queue[0]
		r.queue = r.queue[1:]
		c := r.calls[id]
		if c == nil || !c.waiting {
			continue
		}
		a := r.free[0]
		r.free = r.free[1:]
		r.connect(id, c, a)
	}
}

func (r *run) connect(id uint64, c *call, agent int) {
	c.waiting, c.talking = false, true
	r.answered++
	r.res.Connected++
	if c.Person {
		r.person(false)
	}
	r.tell(pacing.Event{Kind: pacing.CallConnected, Call: id, Agent: uint64(agent + 1)})
	r.becomes(agent, talking)
	r.after(c.Talk, talked, id, agent)
}

// soon decides now, or when it is time again.
func (r *run) soon() {
	switch wait := decideEvery - (r.now - r.decided); {
	case wait <= 0:
		r.decide()
	case !r.put:
		r.put = true
		r.after(wait, decide, 0, 0)
	}
}

func (r *run) decide() {
	r.decided = r.now
	lines, leads := r.room(), 1<<20
	if r.w.Leads > 0 {
		leads = r.w.Leads - r.res.Dialed
	}
	d := r.pacer.Decide(r.floor.Snapshot(r.at(), pacing.Outside{
		Answered: r.answered, Abandoned: r.abandoned, Cap: r.w.Cap, Lines: lines, LeadsLeft: leads,
	}))
	r.res.Decisions++
	place := max(min(d.Dial, lines, leads), 0)
	r.res.Excess += max(d.Dial, 0) - place
	if d.AgentFirst {
		place = min(place, len(r.free))
	}
	for range place {
		if d.AgentFirst {
			r.place(r.free[0] + 1)
			r.free = r.free[1:]
		} else {
			r.place(0)
		}
	}
}

// room is how many calls lines and rate allow now.
func (r *run) room() int {
	w, room := r.w, float64(1<<20)
	if w.Lines > 0 {
		room = min(room, float64(w.Lines-r.up))
	}
	if w.LinesPerAgent > 0 {
		at := 0
		for i := range r.agents {
			if r.agents[i].state != away {
				at++
			}
		}
		room = min(room, w.LinesPerAgent*float64(at)-float64(r.up))
	}
	if w.CallsPerSecond > 0 {
		r.tokens = min(r.tokens+(r.now-r.filled)*w.CallsPerSecond, max(w.CallsPerSecond, 1))
		r.filled = r.now
		room = min(room, r.tokens)
	}
	return int(max(room, 0))
}

// place dials the next lead, for an agent who is held for it unless that is 0.
func (r *run) place(agent int) {
	r.res.Dialed++
	r.tokens--
	r.up++
	id := uint64(r.res.Dialed)
	c := &call{Lead: r.leads.Call(id, r.now), agent: agent}
	r.calls[id] = c
	r.tell(pacing.Event{Kind: pacing.CallPlaced, Call: id, Agent: uint64(agent)})
	if c.Answers {
		r.after(c.Ring, answered, id, 0)
	} else {
		r.after(c.Ring, ended, id, 0)
	}
}
