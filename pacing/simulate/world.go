// Package simulate runs virtual shifts: calls, people and agents as events in
// order, seeded, with the pacers of production deciding.
package simulate

import (
	"math"
	"math/rand/v2"
)

// A Law draws durations in seconds.
type Law interface {
	Draw(r *rand.Rand) float64
}

// Lognormal has the given mean and coefficient of variation.
type Lognormal struct{ Mean, CV float64 }

// Draw implements Law.
func (l Lognormal) Draw(r *rand.Rand) float64 {
	s2 := math.Log(1 + l.CV*l.CV)
	return math.Exp(math.Log(l.Mean) - s2/2 + math.Sqrt(s2)*r.NormFloat64())
}

// Gamma with an integer shape, cut off at Max by drawing again.
type Gamma struct {
	Mean  float64
	Shape int
	Max   float64
}

// Draw implements Law.
func (g Gamma) Draw(r *rand.Rand) float64 {
	for {
		x := 0.0
		for range g.Shape {
			x += r.ExpFloat64()
		}
		x *= g.Mean / float64(g.Shape)
		if g.Max <= 0 || x < g.Max {
			return x
		}
	}
}

// Uniform draws between its bounds.
type Uniform struct{ Low, High float64 }

// Draw implements Law.
func (u Uniform) Draw(r *rand.Rand) float64 { return u.Low + (u.High-u.Low)*r.Float64() }

// Mixed draws from one law or another.
type Mixed struct {
	First  Law
	Share  float64 // of First
	Second Law
}

// Draw implements Law.
func (m Mixed) Draw(r *rand.Rand) float64 {
	if r.Float64() < m.Share {
		return m.First.Draw(r)
	}
	return m.Second.Draw(r)
}

// A World is what a shift meets. Times are seconds.
type World struct {
	Agents int
	Hours  float64
	// Answer is the share of attempts that a person answers, at a time of the
	// shift in seconds.
	Answer func(at float64) float64
	// Machines is the share of machines among the attempts that no person
	// answers, Busy that of busy and invalid numbers; the rest ring out.
	Machines, Busy float64
	Ring           Law
	RingTimeout    float64
	BusyAfter      float64
	Greeting       Law
	// Detection of persons and machines; Detect nil means that there is none.
	Detect                       Law
	FalsePositive, FalseNegative float64
	// Window is how long after the greeting a person may wait for an agent.
	Window     float64
	Talk, Wrap Law
	// MachineTalk is how long an agent takes to see that it is a machine.
	MachineTalk  Law
	BreakEvery   float64
	BreakFor     float64
	Lunch        func(agent int, at float64) bool // the agent is away
	Lines        int
	LinesPerTeam float64
	Cap          float64
	CountFalse   bool // people called machine count as abandoned
}

// Base is the world in which the figures of the literature page are given.
func Base(agents int, p, talk, hours float64) World {
	return World{
		Agents: agents, Hours: hours, Answer: func(float64) float64 { return p },
		Machines: 0.45, Busy: 0.05, Ring: Gamma{12, 4, 25}, RingTimeout: 25, BusyAfter: 2,
		Greeting: Uniform{0.5, 1.5}, Detect: Uniform{0.3, 2.5}, FalsePositive: 0.01, FalseNegative: 0.05,
		Window: 2, Talk: Lognormal{talk, 1}, Wrap: Lognormal{15, 0.7}, MachineTalk: Uniform{4, 8},
		BreakEvery: 3000, BreakFor: 300, Cap: 0.03,
	}
}
