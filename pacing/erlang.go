package pacing

import "math"

// Erlang's formulas say how a team of agents copes with calls that come at random
// (Poisson) and last exponentially. Load is the traffic offered in erlangs: calls
// a second times mean handling time in seconds. They hold for inbound calls and
// for dialing at a constant rate; predictive pacing does better than they say,
// since it knows the state of the floor, and so they are its lower bound.
//
// None of them fails: a load or a duration that cannot be gives NaN, no agents
// lose or delay every call.

// ErlangB is the share of calls lost when there is no queue: A. K. Erlang, 1917.
// The recursion in 1/B, 1/B(n) = 1 + n/a · 1/B(n-1), is stable for any number of
// agents (Jagerman, Bell System Technical Journal 53(3), 1974).
func ErlangB(load float64, agents int) float64 {
	switch {
	case math.IsNaN(load) || load < 0:
		return math.NaN()
	case agents <= 0:
		return 1
	case load == 0:
		return 0
	case math.IsInf(load, 1):
		return 1
	}
	inverse := 1.0
	for n := 1; n <= agents; n++ {
		inverse = 1 + inverse*float64(n)/load
		if math.IsInf(inverse, 1) {
			return 0
		}
	}
	return 1 / inverse
}

// ErlangC is the share of calls that have to wait when all of them may: with
// B = ErlangB and r = load/agents it is B / (1 - r(1-B)) (Erlang, 1917). It is 1
// when the load is not below the number of agents: the queue then grows for ever.
func ErlangC(load float64, agents int) float64 {
	switch {
	case math.IsNaN(load) || load < 0:
		return math.NaN()
	case agents <= 0 || load >= float64(agents):
		return 1
	}
	b := ErlangB(load, agents)
	return b / (1 - load/float64(agents)*(1-b))
}

// ErlangCWait is the mean wait of all calls, in the unit of handling, the mean
// handling time: C · handling/(agents - load). It is +Inf when the queue grows.
func ErlangCWait(load float64, agents int, handling float64) float64 {
	if !(handling >= 0) || math.IsInf(handling, 1) || math.IsNaN(load) || load < 0 {
		return math.NaN()
	}
	if agents <= 0 || load >= float64(agents) {
		return math.Inf(1)
	}
	return ErlangC(load, agents) * handling / (float64(agents) - load)
}

// ErlangCService is the service level: the share of calls that wait no longer
// than within, 1 - C · exp(-(agents-load) · within/handling). Both durations are
// in one unit.
func ErlangCService(load float64, agents int, handling, within float64) float64 {
	switch {
	case !(handling > 0) || math.IsInf(handling, 1) || !(within >= 0) || math.IsNaN(load) || load < 0:
		return math.NaN()
	case agents <= 0 || load >= float64(agents):
		return 0
	}
	return 1 - ErlangC(load, agents)*math.Exp(-(float64(agents)-load)*within/handling)
}

// A Queue is what comes of calls that wait for an agent as long as they have
// patience.
type Queue struct {
	Wait    float64 // share of calls that have to wait
	Abandon float64 // share of calls that give up
	// MeanWait is that of all calls, served or not, in the unit of patience.
	MeanWait float64
	Busy     float64 // share of their time that agents are busy
}

// ErlangA is Palm's model M/M/n+M: calls that have waited give up after an
// exponential patience. handling and patience are means in one unit; the queue is
// stable at any load (Palm 1957; Mandelbaum and Zeltyn, "Service engineering in
// action: the Palm/Erlang-A queue", 2007). The stationary law of the calls in the
// system is summed relative to that of all agents just busy, so that nothing
// overflows.
func ErlangA(load float64, agents int, handling, patience float64) Queue {
	nan := Queue{math.NaN(), math.NaN(), math.NaN(), math.NaN()}
	positive := func(x float64) bool { return x > 0 && !math.IsInf(x, 1) }
	switch {
	case !(load >= 0) || math.IsInf(load, 1) || !positive(handling) || !positive(patience):
		return nan
	case load == 0:
		return Queue{}
	case agents <= 0:
		return Queue{Wait: 1, Abandon: 1, MeanWait: patience}
	}
	n := float64(agents)
	// Weights relative to n calls in the system: all agents busy, none waiting.
	// Those of fewer calls, n and itself left out, are 1/B - 1 by Erlang's recursion.
	b := ErlangB(load, agents)
	if b == 0 { // no call ever waits, to the last digit
		return Queue{Busy: load / n}
	}
	below := 1/b - 1
	full, waiting := 1.0, 0.0 // of all states with every agent busy; of the calls that wait in them
	giveUp := handling / patience
	weight := 1.0
	for k := 1.0; ; k++ {
		weight *= load / (n + k*giveUp)
		full += weight
		waiting += k * weight
		if math.IsInf(full, 1) || math.IsInf(waiting, 1) {
			return overload(load, n, patience)
		}
		if ratio := load / (n + (k+1)*giveUp); ratio < 1 && weight*(k+1)/(1-ratio) < 1e-13*full {
			break
		}
		if k > 2e6 { // patience of a year and more, at the load of all agents
			return overload(load, n, patience)
		}
	}
	all := below + full
	// In a steady state as many give up as wait times the rate of giving up.
	abandon := min(waiting/all*giveUp/load, 1)
	return Queue{Wait: full / all, Abandon: abandon, MeanWait: abandon * patience, Busy: min(load*(1-abandon)/n, 1)}
}

// overload is the limit of ErlangA when calls are so many that the agents are
// never idle: those that they cannot take give up.
func overload(load, agents, patience float64) Queue {
	abandon := max(1-agents/load, 0)
	return Queue{Wait: 1, Abandon: abandon, MeanWait: abandon * patience, Busy: min(load*(1-abandon)/agents, 1)}
}

// AgentsFor is the least number of agents, up to most, with whom good holds; it
// is to hold for every greater number too. It is most+1 when not even most do.
func AgentsFor(most int, good func(agents int) bool) int {
	low, high := 0, max(most, 0)+1
	for low < high {
		if mid := low + (high-low)/2; good(mid) {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return low
}
