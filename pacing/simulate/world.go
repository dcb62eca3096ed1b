// Package simulate runs virtual shifts: calls, people and agents as events in
// order, seeded, with the pacers of production deciding on what production
// shows them. The same world, pacer and seed give the same shift.
//
// What it leaves out: agents who differ in speed, congestion of carriers, answers
// that depend on one another.
//
// Entry points: World, Base, Run, Compare, Policies, Draw.
package simulate

import (
	"errors"
	"fmt"
	"slices"
)

// A World is what a shift meets. Times are seconds, from its beginning.
type World struct {
	Agents int // when there are no Shifts
	Hours  float64
	Shifts []Shift // who works from when to when; none: all agents, all the time
	Away   []Away  // lunch and the like

	Answer Answer
	// Machines is the share of machines among the attempts that no person
	// answers, Busy that of busy and invalid numbers; the rest ring out.
	Machines, Busy float64
	Ring           Law // to an answer
	MachineRing    Law // to that of a machine; nil: as Ring
	RingTimeout    float64
	BusyAfter      float64
	Greeting       Law // what the person says first
	// Detect is how long it takes to tell a person from a machine; nil means
	// that nothing does and machines reach the agents too.
	Detect Law
	// FalsePositive is the share of persons who are taken for machines and hung
	// up on, FalseNegative that of machines taken for persons.
	FalsePositive, FalseNegative float64
	// CountFalsePositives counts these persons as abandoned, as Ofcom does.
	CountFalsePositives bool
	// Window is how long after the greeting a person may wait for an agent.
	Window      float64
	Talk, Wrap  Law
	MachineTalk Law // how long an agent takes to see that it is a machine

	BreakEvery, BreakFor float64 // 0: no breaks

	Cap            float64 // allowed share of abandoned calls, 0.03 for 3 %
	Lines          int     // calls at once, talks included; 0: no bound
	LinesPerAgent  float64 // likewise, by agent
	CallsPerSecond float64 // 0: no bound
	Leads          int     // 0: the list never ends
}

// A Shift is a part of the team at work.
type Shift struct {
	Agents   int
	From, To float64
}

// Away takes a share of the team from work at the same time, each after the call
// that is theirs.
type Away struct{ Share, From, To float64 }

// Answer is the share of attempts that a person answers.
type Answer struct {
	Share float64
	// Steps replace the share from a time on, in order.
	Steps []Step
	// Drift is the relative change that is reached, evenly, at the end: -0.5
	// halves the share.
	Drift float64
}

// A Step is a share from a time on.
type Step struct{ From, Share float64 }

// at is the share at a time of a shift of the given length.
func (a *Answer) at(now, length float64) float64 {
	p := a.Share
	for _, s := range a.Steps {
		if s.From > now {
			break
		}
		p = s.Share
	}
	return min(max(p*(1+a.Drift*now/length), 0), 1)
}

// Base is the world in which pacers are compared: nearly half of what no person
// answers are machines, detection takes up to 2.5 s, people wait 2 s, agents rest
// five minutes after fifty.
func Base(agents int, answer, talk, hours float64) World {
	return World{
		Agents: agents, Hours: hours, Answer: Answer{Share: answer},
		Machines: 0.45, Busy: 0.05, Ring: Gamma{12, 4, 25}, RingTimeout: 25, BusyAfter: 2,
		Greeting: Uniform{0.5, 1.5}, Detect: Uniform{0.3, 2.5}, FalsePositive: 0.01, FalseNegative: 0.05,
		Window: 2, Talk: Lognormal{talk, 1}, Wrap: Lognormal{15, 0.7}, MachineTalk: Uniform{4, 8},
		BreakEvery: 3000, BreakFor: 300, Cap: 0.03,
	}
}

// Team is the number of agents, of all shifts together.
func (w *World) Team() int {
	if len(w.Shifts) == 0 {
		return w.Agents
	}
	n := 0
	for _, s := range w.Shifts {
		n += s.Agents
	}
	return n
}

// length is the end of the shift in seconds.
func (w *World) length() float64 { return w.Hours * 3600 }

// A Fault is a field of a world that cannot be, by the name that a scenario file
// has for it.
type Fault struct {
	Field string
	Err   error
}

func (f *Fault) Error() string { return f.Field + ": " + f.Err.Error() }

// Unwrap returns what is wrong.
func (f *Fault) Unwrap() error { return f.Err }

// Bounds of a world that can be simulated.
const (
	MostAgents = 5000
	MostHours  = 24 * 31
)

// Validate returns every Fault of the world, joined, or nothing.
func (w *World) Validate() error {
	var faults []error
	add := func(field string, err error) {
		if err != nil {
			faults = append(faults, &Fault{field, err})
		}
	}
	law := func(field string, l Law) {
		if l == nil {
			add(field, errors.New("has no law"))
			return
		}
		add(field, l.validate())
	}
	if n := w.Team(); n < 1 || n > MostAgents {
		field := "agents"
		if len(w.Shifts) > 0 {
			field = "shifts"
		}
		add(field, fmt.Errorf("%d is not between 1 and %d agents", n, MostAgents))
	}
	if !(w.Hours > 0 && w.Hours <= MostHours) {
		add("hours", fmt.Errorf("%g is not above 0 and at most %d hours", w.Hours, MostHours))
	}
	for i, s := range w.Shifts {
		field := fmt.Sprintf("shifts[%d]", i)
		if s.Agents < 1 {
			add(field+".agents", fmt.Errorf("%d is not at least 1", s.Agents))
		}
		add(field+".to", span(s.From, s.To))
	}
	begins := func(s Shift) bool { return s.From < w.length() }
	if len(w.Shifts) > 0 && w.Hours > 0 && !slices.ContainsFunc(w.Shifts, begins) {
		add("shifts", fmt.Errorf("none begins before the end, after %g hours", w.Hours))
	}
	for i, a := range w.Away {
		field := fmt.Sprintf("away[%d]", i)
		add(field+".share", share("", a.Share))
		add(field+".to", span(a.From, a.To))
	}
	add("answer_rate", share("", w.Answer.Share))
	for i, s := range w.Answer.Steps {
		field := fmt.Sprintf("answer_rates[%d]", i)
		add(field+".rate", share("", s.Share))
		add(field+".from", positive("", s.From, true))
		if i > 0 && s.From <= w.Answer.Steps[i-1].From {
			add(field+".from", errors.New("is not after the one before"))
		}
	}
	if !(w.Answer.Drift >= -1 && w.Answer.Drift <= 10) {
		add("drift", fmt.Errorf("%g is not between -1 and 10", w.Answer.Drift))
	}
	add("machines", share("", w.Machines))
	add("busy", share("", w.Busy))
	if w.Machines+w.Busy > 1 {
		add("busy", fmt.Errorf("%g and machines of %g are more than all", w.Busy, w.Machines))
	}
	law("ring", w.Ring)
	if w.MachineRing != nil {
		law("machine_ring", w.MachineRing)
	}
	add("ring_timeout", positive("", w.RingTimeout, false))
	add("busy_after", positive("", w.BusyAfter, true))
	law("greeting", w.Greeting)
	if w.Detect != nil {
		law("detection", w.Detect)
	}
	add("false_positives", share("", w.FalsePositive))
	add("false_negatives", share("", w.FalseNegative))
	add("window", positive("", w.Window, true))
	law("talk", w.Talk)
	law("wrap", w.Wrap)
	law("machine_talk", w.MachineTalk)
	add("breaks.every", positive("", w.BreakEvery, true))
	add("breaks.for", positive("", w.BreakFor, true))
	if !(w.Cap > 0 && w.Cap <= 1) {
		add("cap", fmt.Errorf("%g is not a share above 0 (3%% is 0.03)", w.Cap))
	}
	add("lines", positive("", float64(w.Lines), true))
	add("lines_per_agent", positive("", w.LinesPerAgent, true))
	add("calls_per_second", positive("", w.CallsPerSecond, true))
	if w.Leads < 0 || w.Leads > 1e9 {
		add("leads", fmt.Errorf("%d is not between 0 and a thousand million", w.Leads))
	}
	return errors.Join(faults...)
}

func span(from, to float64) error {
	if !(from >= 0 && to > from) {
		return fmt.Errorf("%g is not after from (%g)", to, from)
	}
	return nil
}
