package simulate

import (
	"errors"
	"fmt"
)

// A Scenario is a world and what to compare in it, in the words of a file or of a
// request; docs/pacing.md shows all of them. Times are counted from the beginning
// of the shift.
type Scenario struct {
	Agents int     `json:"agents,omitempty" doc:"0: ten or, with leads or talk_hours, the teams around the one that is enough"`
	Teams  []int   `json:"teams,omitempty" maxItems:"20" doc:"Teams to compare, instead of agents and shifts"`
	Hours  float64 `json:"hours,omitempty" doc:"Length of the shift; 8 when absent"`
	Shifts []Turn  `json:"shifts,omitempty" maxItems:"200" doc:"Who works from when to when, instead of agents"`
	Away   []Lunch `json:"away,omitempty" maxItems:"100"`
	Breaks Breaks  `json:"breaks"`

	AnswerRate  float64    `json:"answer_rate,omitempty" doc:"Share of attempts that a person answers; 0.2 when absent"`
	AnswerRates []RateFrom `json:"answer_rates,omitempty" maxItems:"1000" doc:"From a time on"`
	Drift       float64    `json:"drift,omitempty" doc:"Relative change of the answer rate that is reached at the end"`
	Machines    float64    `json:"machines" doc:"Share of machines among what no person answers"`
	Busy        float64    `json:"busy" doc:"Share of busy and invalid numbers, likewise"`
	BusyAfter   Span       `json:"busy_after"`
	Ring        LawText    `json:"ring,omitzero" doc:"To an answer"`
	MachineRing LawText    `json:"machine_ring,omitzero" doc:"To the answer of a machine; as ring when absent"`
	RingTimeout Span       `json:"ring_timeout,omitempty"`

	AMD                 bool    `json:"amd" doc:"Detection of answering machines"`
	Detection           LawText `json:"detection,omitzero"`
	FalsePositives      float64 `json:"false_positives" doc:"Share of persons taken for machines"`
	FalseNegatives      float64 `json:"false_negatives" doc:"Share of machines taken for persons"`
	CountFalsePositives bool    `json:"count_false_positives,omitempty" doc:"Persons taken for machines count as abandoned"`
	Greeting            LawText `json:"greeting,omitzero"`
	Window              Span    `json:"window" doc:"How long after the greeting a person may wait"`
	Talk                LawText `json:"talk,omitzero"`
	Wrap                LawText `json:"wrap,omitzero"`
	MachineTalk         LawText `json:"machine_talk,omitzero" doc:"How long an agent takes to see that it is a machine"`

	Cap            float64   `json:"cap,omitempty" doc:"Allowed abandoned share; 0.03 when absent"`
	Caps           []float64 `json:"caps,omitempty" maxItems:"20" doc:"Caps to compare, instead of cap"`
	Lines          int       `json:"lines,omitempty" doc:"Calls at once; 0: no bound"`
	LinesPerAgent  float64   `json:"lines_per_agent,omitempty" doc:"0: no bound"`
	CallsPerSecond float64   `json:"calls_per_second,omitempty" doc:"0: no bound"`
	Leads          int       `json:"leads,omitempty" doc:"Leads on the list; 0: it never ends"`
	TalkHours      float64   `json:"talk_hours,omitempty" doc:"Hours of talk that the team should come to in the shift; 0: none"`
	Policies       []string  `json:"policies,omitempty" maxItems:"20"`
	Seeds          int       `json:"seeds,omitempty" doc:"Shifts for each policy; 4 when absent"`
	Warm           bool      `json:"warm,omitempty" doc:"Begin with what a shift before has taught"`
}

// A Turn is a part of the team at work.
type Turn struct {
	Agents int  `json:"agents"`
	From   Span `json:"from"`
	To     Span `json:"to"`
}

// A Lunch takes a share of the team from work at the same time.
type Lunch struct {
	Share float64 `json:"share"`
	From  Span    `json:"from"`
	To    Span    `json:"to"`
}

// Breaks are how often and for how long each agent rests.
type Breaks struct {
	Every Span `json:"every"`
	For   Span `json:"for"`
}

// A RateFrom is an answer rate from a time on.
type RateFrom struct {
	From Span    `json:"from"`
	Rate float64 `json:"rate"`
}

// A LawPart is a law that needs no other.
type LawPart struct {
	Law       string  `json:"law,omitempty" doc:"constant, exponential, lognormal, gamma, uniform, empirical or mixed"`
	Mean      Span    `json:"mean,omitempty"`
	CV        float64 `json:"cv,omitempty" doc:"Coefficient of variation, of lognormal"`
	Shape     int     `json:"shape,omitempty" doc:"Of gamma"`
	Max       Span    `json:"max,omitempty" doc:"Of gamma"`
	Low       Span    `json:"low,omitempty" doc:"Of uniform"`
	High      Span    `json:"high,omitempty" doc:"Of uniform"`
	Quantiles []Span  `json:"quantiles,omitempty" maxItems:"1001" doc:"Of empirical: at equal distances, least and greatest included"`
}

// A LawText is a Law in words.
type LawText struct {
	LawPart
	Share  float64 `json:"share,omitempty" doc:"Of first, when mixed"`
	First  LawPart `json:"first,omitzero"`
	Second LawPart `json:"second,omitzero"`
}

// LawNames are the laws that a scenario can name.
const LawNames = "constant, exponential, lognormal, gamma, uniform, empirical"

// law returns what a part says, or a Fault below path.
func (p *LawPart) law(path string) (Law, error) {
	mean := p.Mean.Seconds()
	switch p.Law {
	case "constant":
		return Constant(mean), nil
	case "exponential":
		return Exponential{Mean: mean}, nil
	case "lognormal":
		return Lognormal{Mean: mean, CV: p.CV}, nil
	case "gamma":
		return Gamma{Mean: mean, Shape: p.Shape, Max: p.Max.Seconds()}, nil
	case "uniform":
		return Uniform{Low: p.Low.Seconds(), High: p.High.Seconds()}, nil
	case "empirical":
		var q []float64
		for _, d := range p.Quantiles {
			q = append(q, d.Seconds())
		}
		return Empirical{Quantiles: q}, nil
	}
	return nil, &Fault{path + ".law", fmt.Errorf("%q is not a law; choose among %s, and mixed for two of these", p.Law, LawNames)}
}

func (l *LawText) law(path string) (Law, error) {
	if l.Law != "mixed" {
		return l.LawPart.law(path)
	}
	first, err := l.First.law(path + ".first")
	if err != nil {
		return nil, err
	}
	second, err := l.Second.law(path + ".second")
	return Mixed{First: first, Share: l.Share, Second: second}, err
}

func (l *LawText) none() bool { return l.Law == "" }

// DefaultScenario is the world in which pacers are compared.
func DefaultScenario() Scenario {
	s := Scenario{
		Hours: 8, AnswerRate: 0.2, Machines: 0.45, Busy: 0.05, BusyAfter: Secs(2),
		RingTimeout: Secs(25), AMD: true, FalsePositives: 0.01, FalseNegatives: 0.05, Window: Secs(2), Cap: 0.03, Seeds: 4,
		Breaks: Breaks{Every: Secs(3000), For: Secs(300)},
	}
	s.Ring.LawPart = LawPart{Law: "gamma", Mean: Secs(12), Shape: 4, Max: Secs(25)}
	uniform := func(low, high float64) LawText {
		return LawText{LawPart: LawPart{Law: "uniform", Low: Secs(low), High: Secs(high)}}
	}
	s.Greeting, s.Detection, s.MachineTalk = uniform(0.5, 1.5), uniform(0.3, 2.5), uniform(4, 8)
	s.Talk.LawPart = LawPart{Law: "lognormal", Mean: Secs(120), CV: 1}
	s.Wrap.LawPart = LawPart{Law: "lognormal", Mean: Secs(15), CV: 0.7}
	for _, p := range Policies() {
		s.Policies = append(s.Policies, p.Name)
	}
	return s
}

// defaultTeam is the team of a scenario that says nothing of one.
const defaultTeam = 10

// World is the scenario as Run takes it, for the first of its teams and caps. The
// error joins a Fault for each mistake.
func (s *Scenario) World() (World, error) {
	w := World{
		Agents: s.Agents, Hours: s.Hours, BreakEvery: s.Breaks.Every.Seconds(), BreakFor: s.Breaks.For.Seconds(),
		Answer:   Answer{Share: s.AnswerRate, Drift: s.Drift},
		Machines: s.Machines, Busy: s.Busy, BusyAfter: s.BusyAfter.Seconds(), RingTimeout: s.RingTimeout.Seconds(),
		FalsePositive: s.FalsePositives, FalseNegative: s.FalseNegatives, CountFalsePositives: s.CountFalsePositives,
		Window: s.Window.Seconds(), Cap: s.Cap, Lines: s.Lines, LinesPerAgent: s.LinesPerAgent,
		CallsPerSecond: s.CallsPerSecond, Leads: s.Leads,
	}
	switch {
	case len(s.Teams) > 0:
		w.Agents = s.Teams[0]
	case s.Agents == 0:
		w.Agents = defaultTeam
	}
	if len(s.Caps) > 0 {
		w.Cap = s.Caps[0]
	}
	for _, x := range s.Shifts {
		if len(s.Teams) == 0 {
			w.Shifts = append(w.Shifts, Shift{Agents: x.Agents, From: x.From.Seconds(), To: x.To.Seconds()})
		}
	}
	for _, x := range s.Away {
		w.Away = append(w.Away, Away{Share: x.Share, From: x.From.Seconds(), To: x.To.Seconds()})
	}
	for _, x := range s.AnswerRates {
		w.Answer.Steps = append(w.Answer.Steps, Step{From: x.From.Seconds(), Share: x.Rate})
	}
	var errs []error
	law := func(path string, l *LawText, into *Law) {
		got, err := l.law(path)
		if err != nil {
			errs = append(errs, err)
			got = Constant(1) // what else is wrong is still found
		}
		*into = got
	}
	law("ring", &s.Ring, &w.Ring)
	law("greeting", &s.Greeting, &w.Greeting)
	law("talk", &s.Talk, &w.Talk)
	law("wrap", &s.Wrap, &w.Wrap)
	law("machine_talk", &s.MachineTalk, &w.MachineTalk)
	if !s.MachineRing.none() {
		law("machine_ring", &s.MachineRing, &w.MachineRing)
	}
	if s.AMD {
		law("detection", &s.Detection, &w.Detect)
	}
	return w, errors.Join(append(errs, w.Validate())...)
}

// Bounds of what is compared.
const (
	mostSeeds     = 10_000
	mostTalkHours = 1e7
)

// Validate returns every Fault of the scenario, joined, or nothing.
func (s *Scenario) Validate() error {
	_, err := s.World()
	errs := []error{err}
	add := func(field string, format string, args ...any) {
		errs = append(errs, &Fault{field, fmt.Errorf(format, args...)})
	}
	for i, n := range s.Teams {
		if i > 0 && (n < 1 || n > MostAgents) {
			add(fmt.Sprintf("teams[%d]", i), "%d is not between 1 and %d agents", n, MostAgents)
		}
	}
	for i, c := range s.Caps {
		if i > 0 && !(c > 0 && c <= 1) {
			add(fmt.Sprintf("caps[%d]", i), "%g is not a share above 0 (3%% is 0.03)", c)
		}
	}
	for i, name := range s.Policies {
		if _, err := ParsePolicy(name); err != nil {
			add(fmt.Sprintf("policies[%d]", i), "%w", err)
		}
	}
	if len(s.Policies) == 0 {
		add("policies", "names none: choose among "+Names)
	}
	if s.Seeds < 1 || s.Seeds > mostSeeds {
		add("seeds", "%d is not between 1 and %d: 4 are enough for a first look", s.Seeds, mostSeeds)
	}
	if !(s.TalkHours >= 0 && s.TalkHours <= mostTalkHours) {
		add("talk_hours", "%g is not between 0 and %g hours", s.TalkHours, mostTalkHours)
	}
	return errors.Join(errs...)
}

// Faults are the mistakes in what Validate returned, one by one.
func Faults(err error) []*Fault {
	switch err := err.(type) {
	case nil:
		return nil
	case interface{ Unwrap() []error }:
		var all []*Fault
		for _, e := range err.Unwrap() {
			all = append(all, Faults(e)...)
		}
		return all
	case *Fault:
		return []*Fault{err}
	}
	return []*Fault{{"", err}}
}
