package pacing

import "math"

// ErlangB returns the share of calls lost when traffic of the given load, in
// erlangs, is offered to agents without a queue. It is 1 with no agents and NaN
// for a load that is negative or not a number.
//
// The recursion in 1/B is stable for any number of agents (A. K. Erlang, 1917;
// Jagerman 1974).
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

// ErlangC returns the share of calls that have to wait when they may queue. It
// is 1 when the load is not below the number of agents.
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
