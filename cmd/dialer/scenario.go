package main

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"time"

	"dialer/pacing/simulate"
)

// A scenario is the file of dialer simulate; see docs/pacing.md. Times of day are
// counted from the beginning of the shift.
type scenario struct {
	Agents int             `yaml:"agents"`
	Hours  float64         `yaml:"hours"`
	Shifts []scenarioShift `yaml:"shifts"`
	Away   []scenarioAway  `yaml:"away"`
	Breaks struct {
		Every time.Duration `yaml:"every"`
		For   time.Duration `yaml:"for"`
	} `yaml:"breaks"`

	AnswerRate  float64        `yaml:"answer_rate"`
	AnswerRates []scenarioStep `yaml:"answer_rates"`
	Drift       float64        `yaml:"drift"`
	Machines    float64        `yaml:"machines"`
	Busy        float64        `yaml:"busy"`
	BusyAfter   time.Duration  `yaml:"busy_after"`
	Ring        scenarioLaw    `yaml:"ring"`
	RingTimeout time.Duration  `yaml:"ring_timeout"`

	AMD                 bool          `yaml:"amd"`
	Detection           scenarioLaw   `yaml:"detection"`
	FalsePositives      float64       `yaml:"false_positives"`
	FalseNegatives      float64       `yaml:"false_negatives"`
	CountFalsePositives bool          `yaml:"count_false_positives"`
	Greeting            scenarioLaw   `yaml:"greeting"`
	Window              time.Duration `yaml:"window"`
	Talk                scenarioLaw   `yaml:"talk"`
	Wrap                scenarioLaw   `yaml:"wrap"`
	MachineTalk         scenarioLaw   `yaml:"machine_talk"`

	Cap            float64  `yaml:"cap"`
	Lines          int      `yaml:"lines"`
	LinesPerAgent  float64  `yaml:"lines_per_agent"`
	CallsPerSecond float64  `yaml:"calls_per_second"`
	Leads          int      `yaml:"leads"`
	Policies       []string `yaml:"policies"`
	Seeds          int      `yaml:"seeds"`
}

type scenarioShift struct {
	Agents int           `yaml:"agents"`
	From   time.Duration `yaml:"from"`
	To     time.Duration `yaml:"to"`
}

type scenarioAway struct {
	Share float64       `yaml:"share"`
	From  time.Duration `yaml:"from"`
	To    time.Duration `yaml:"to"`
}

type scenarioStep struct {
	From time.Duration `yaml:"from"`
	Rate float64       `yaml:"rate"`
}

// A scenarioPart is a law that needs no other.
type scenarioPart struct {
	Law       string          `yaml:"law"`
	Mean      time.Duration   `yaml:"mean"`
	CV        float64         `yaml:"cv"`
	Shape     int             `yaml:"shape"`
	Max       time.Duration   `yaml:"max"`
	Low       time.Duration   `yaml:"low"`
	High      time.Duration   `yaml:"high"`
	Quantiles []time.Duration `yaml:"quantiles"`
}

type scenarioLaw struct {
	scenarioPart
	Share  float64      `yaml:"share"` // of first
	First  scenarioPart `yaml:"first"`
	Second scenarioPart `yaml:"second"`
}

const lawNames = "constant, exponential, lognormal, gamma, uniform, empirical"

// law returns what a part says, or what is wrong with it.
func (p scenarioPart) law() (simulate.Law, string) {
	mean := p.Mean.Seconds()
	switch p.Law {
	case "constant":
		return simulate.Constant(mean), ""
	case "exponential":
		return simulate.Exponential{Mean: mean}, ""
	case "lognormal":
		return simulate.Lognormal{Mean: mean, CV: p.CV}, ""
	case "gamma":
		return simulate.Gamma{Mean: mean, Shape: p.Shape, Max: p.Max.Seconds()}, ""
	case "uniform":
		return simulate.Uniform{Low: p.Low.Seconds(), High: p.High.Seconds()}, ""
	case "empirical":
		var q []float64
		for _, d := range p.Quantiles {
			q = append(q, d.Seconds())
		}
		return simulate.Empirical{Quantiles: q}, ""
	}
	return nil, fmt.Sprintf("%q is not a law", p.Law)
}

func (l scenarioLaw) law() (simulate.Law, string, string) {
	if l.Law != "mixed" {
		law, what := l.scenarioPart.law()
		return law, ".law", what
	}
	first, what := l.First.law()
	if what != "" {
		return nil, ".first.law", what
	}
	second, what := l.Second.law()
	return simulate.Mixed{First: first, Share: l.Share, Second: second}, ".second.law", what
}

// defaultScenario is the world in which pacers are compared.
func defaultScenario() scenario {
	s := scenario{
		Agents: 10, Hours: 8, AnswerRate: 0.2, Machines: 0.45, Busy: 0.05, BusyAfter: 2 * time.Second,
		RingTimeout: 25 * time.Second, AMD: true, FalsePositives: 0.01, FalseNegatives: 0.05, Window: 2 * time.Second,
		Cap: 0.03, Seeds: 4,
	}
	s.Breaks.Every, s.Breaks.For = 50*time.Minute, 5*time.Minute
	s.Ring.scenarioPart = scenarioPart{Law: "gamma", Mean: 12 * time.Second, Shape: 4, Max: 25 * time.Second}
	uniform := func(low, high time.Duration) scenarioLaw {
		return scenarioLaw{scenarioPart: scenarioPart{Law: "uniform", Low: low * time.Millisecond, High: high * time.Millisecond}}
	}
	s.Greeting, s.Detection, s.MachineTalk = uniform(500, 1500), uniform(300, 2500), uniform(4000, 8000)
	s.Talk.scenarioPart = scenarioPart{Law: "lognormal", Mean: 2 * time.Minute, CV: 1}
	s.Wrap.scenarioPart = scenarioPart{Law: "lognormal", Mean: 15 * time.Second, CV: 0.7}
	for _, p := range simulate.Policies() {
		s.Policies = append(s.Policies, p.Name)
	}
	return s
}

// readScenario reads a file over the defaults and returns every mistake, that it
// cannot be simulated among them.
func readScenario(file string) (scenario, *loaded, []Problem) {
	if file == "" {
		return parseScenario(nil)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		s, l, _ := parseScenario(nil)
		return s, l, []Problem{{Path: file, What: "the file cannot be read (" + errors.Unwrap(err).Error() + ")", Hint: "name a scenario; see docs/pacing.md"}}
	}
	return parseScenario(data)
}

func parseScenario(data []byte) (scenario, *loaded, []Problem) {
	s := defaultScenario()
	l := &loaded{source: map[string]string{}, line: map[string]int{}}
	if len(data) == 0 {
		return s, l, nil
	}
	problems := l.readYAML(data, reflect.ValueOf(&s).Elem())
	if len(problems) == 0 {
		_, problems = s.world()
	}
	problems = append(problems, s.policyProblems()...)
	for i := range problems {
		if problems[i].Line == 0 {
			problems[i].Line = l.lineOf(problems[i].Path)
		}
	}
	slices.SortStableFunc(problems, func(a, b Problem) int { return a.Line - b.Line })
	return s, l, problems
}

func (s *scenario) policyProblems() []Problem {
	var problems []Problem
	for i, name := range s.Policies {
		if _, err := simulate.ParsePolicy(name); err != nil {
			problems = append(problems, Problem{Path: fmt.Sprintf("policies[%d]", i), What: err.Error(), Hint: "choose among these"})
		}
	}
	if len(s.Policies) == 0 {
		problems = append(problems, Problem{Path: "policies", What: "names none", Hint: "choose among " + simulate.Names})
	}
	if s.Seeds < 1 || s.Seeds > 10000 {
		problems = append(problems, Problem{Path: "seeds", What: fmt.Sprintf("%d is not between 1 and 10,000", s.Seeds), Hint: "4 are enough for a first look"})
	}
	return problems
}

// world is the scenario as the simulator takes it, or what is wrong with it.
func (s *scenario) world() (simulate.World, []Problem) {
	w := simulate.World{
		Agents: s.Agents, Hours: s.Hours, BreakEvery: s.Breaks.Every.Seconds(), BreakFor: s.Breaks.For.Seconds(),
		Answer:   simulate.Answer{Share: s.AnswerRate, Drift: s.Drift},
		Machines: s.Machines, Busy: s.Busy, BusyAfter: s.BusyAfter.Seconds(), RingTimeout: s.RingTimeout.Seconds(),
		FalsePositive: s.FalsePositives, FalseNegative: s.FalseNegatives, CountFalsePositives: s.CountFalsePositives,
		Window: s.Window.Seconds(), Cap: s.Cap, Lines: s.Lines, LinesPerAgent: s.LinesPerAgent,
		CallsPerSecond: s.CallsPerSecond, Leads: s.Leads,
	}
	for _, x := range s.Shifts {
		w.Shifts = append(w.Shifts, simulate.Shift{Agents: x.Agents, From: x.From.Seconds(), To: x.To.Seconds()})
	}
	for _, x := range s.Away {
		w.Away = append(w.Away, simulate.Away{Share: x.Share, From: x.From.Seconds(), To: x.To.Seconds()})
	}
	for _, x := range s.AnswerRates {
		w.Answer.Steps = append(w.Answer.Steps, simulate.Step{From: x.From.Seconds(), Share: x.Rate})
	}
	var problems []Problem
	law := func(path string, l scenarioLaw, into *simulate.Law) {
		got, at, what := l.law()
		if what != "" {
			problems = append(problems, Problem{Path: path + at, What: what, Hint: "choose among " + lawNames + ", and mixed for two of these"})
			got = simulate.Constant(1) // what else is wrong is still found
		}
		*into = got
	}
	law("ring", s.Ring, &w.Ring)
	law("greeting", s.Greeting, &w.Greeting)
	law("talk", s.Talk, &w.Talk)
	law("wrap", s.Wrap, &w.Wrap)
	law("machine_talk", s.MachineTalk, &w.MachineTalk)
	if s.AMD {
		law("detection", s.Detection, &w.Detect)
	}
	return w, append(problems, faults(w.Validate())...)
}

// faults are the mistakes of a world, one by one.
func faults(err error) []Problem {
	switch err := err.(type) {
	case nil:
		return nil
	case interface{ Unwrap() []error }:
		var all []Problem
		for _, e := range err.Unwrap() {
			all = append(all, faults(e)...)
		}
		return all
	case *simulate.Fault:
		return []Problem{{Path: err.Field, What: err.Err.Error(), Hint: "correct the value"}}
	}
	return []Problem{{What: err.Error(), Hint: "correct the value"}}
}
