package simulate

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"dialer/pacing"
)

// A Policy is a way to pace, by name.
type Policy struct {
	Name string
	New  func(w *World) (pacing.Pacer, error)
}

// Names describes the policies that ParsePolicy knows.
const Names = pacing.Policies + ", adaptive-hard, adaptive-average, adaptive-tapered " +
	"(each with -LEVEL for the most lines an agent, adaptive-tapered-4)"

// Policies are those that are compared unless others are named.
func Policies() []Policy {
	var all []Policy
	for _, name := range []string{"progressive", "power-1.5", "power-2", "adaptive-tapered", "predictive"} {
		p, err := ParsePolicy(name)
		if err != nil {
			panic(err) // the names are constants
		}
		all = append(all, p)
	}
	return all
}

// ParsePolicy returns the policy of a name: one of pacing.ParsePolicy, or an
// adaptive one to compare with.
func ParsePolicy(name string) (Policy, error) {
	config, err := pacing.ParsePolicy(name)
	if err == nil {
		return production(config), nil
	}
	name = strings.ToLower(strings.TrimSpace(name))
	switch kind, rest, _ := strings.Cut(name, "-"); kind {
	case "adaptive":
		return parseAdaptive(name, rest)
	case "power":
		return Policy{}, err
	}
	return Policy{}, fmt.Errorf("policy %q is not one of %s", name, Names)
}

func parseAdaptive(name, rest string) (Policy, error) {
	limit, level, leveled := strings.Cut(rest, "-")
	if limit == "" {
		limit, name = string(Tapered), "adaptive-tapered"
	}
	most := 3.0
	if leveled {
		x, err := strconv.ParseFloat(level, 64)
		if err != nil || !(x >= 1 && x <= 100) {
			return Policy{}, fmt.Errorf("policy %q: %q is not a level between 1 and 100 lines an agent", name, level)
		}
		most = x
	}
	switch l := Limit(limit); l {
	case Hard, Average, Tapered:
		return Policy{name, func(w *World) (pacing.Pacer, error) {
			until := time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC).Add(time.Duration(w.Hours * float64(time.Hour)))
			return &Adaptive{Limit: l, MostLevel: most, Until: until}, nil
		}}, nil
	}
	return Policy{}, fmt.Errorf("policy %q is not one of %s", name, Names)
}

// production is a pacer of production, set up for the world as an operator would:
// with the errors of detection that count, and without detection accordingly.
func production(c pacing.Config) Policy {
	return Policy{c.Policy(), func(w *World) (pacing.Pacer, error) {
		c := c
		c.Cap = w.Cap
		c.Undetected = w.Detect == nil
		if w.CountFalsePositives && w.Detect != nil {
			c.FalsePositives = w.FalsePositive
		}
		return pacing.New(c)
	}}
}
