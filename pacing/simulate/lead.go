package simulate

import "math/rand/v2"

// A Lead is what comes of calling somebody. Times are in seconds.
type Lead struct {
	Person, Machine bool // who would answer
	// Answers within the ring timeout; then Ring is the time to the answer, else to
	// the end of the attempt, which Refused says was not ours.
	Answers, Refused bool
	Ring             float64

	// Of who answers: how long the greeting lasts, how long detection takes and
	// whether it says that it is a person, and how long an agent talks with them.
	Greeting, Detect float64
	Live             bool
	Talk             float64
}

// Leads are those of a world, in the order of calling. The n-th is the same
// whoever calls, and whatever came of those before.
type Leads struct {
	w      *World
	seed   uint64
	source *rand.PCG
	rand   *rand.Rand
}

// NewLeads returns the leads of a world that a seed gives.
func NewLeads(w *World, seed uint64) *Leads {
	source := rand.NewPCG(seed, 0)
	return &Leads{w, seed, source, rand.New(source)}
}

// Call is what comes of the n-th call, placed at a time of the shift.
func (l *Leads) Call(n uint64, now float64) Lead {
	w, r := l.w, l.rand
	l.source.Seed(l.seed, n)
	x, verdict := r.Float64(), r.Float64()
	p := w.Answer.at(now, w.length())
	rest := 1 - p
	lead := Lead{Person: x < p, Machine: x >= p && x < p+rest*w.Machines, Ring: w.RingTimeout}
	if !lead.Person && !lead.Machine {
		if x < p+rest*(w.Machines+w.Busy) {
			lead.Refused, lead.Ring = true, w.BusyAfter
		}
		return lead
	}
	law := w.Ring
	if lead.Machine && w.MachineRing != nil {
		law = w.MachineRing
	}
	ring := law.Draw(r)
	lead.Greeting = w.Greeting.Draw(r)
	lead.Talk = w.MachineTalk.Draw(r)
	if lead.Person {
		lead.Talk = w.Talk.Draw(r)
	}
	lead.Live = true
	if w.Detect != nil {
		lead.Detect = w.Detect.Draw(r)
		lead.Live = lead.Person && verdict >= w.FalsePositive || lead.Machine && verdict < w.FalseNegative
	}
	if ring < w.RingTimeout {
		lead.Answers, lead.Ring = true, ring
	}
	return lead
}
