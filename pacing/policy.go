package pacing

import (
	"fmt"
	"strconv"
	"strings"
)

// Policies describes the names that ParsePolicy knows.
const Policies = "preview, progressive, power-RATIO (power-2), predictive, strict"

// ParsePolicy returns the mode, and in it the ratio or strictness, that a name
// stands for; whatever else a Config has is left at zero.
func ParsePolicy(name string) (Config, error) {
	name = strings.ToLower(strings.TrimSpace(name))
	switch name {
	case string(Preview), string(Progressive), string(Predictive):
		return Config{Mode: Mode(name)}, nil
	case "strict":
		return Config{Mode: Predictive, Strict: true}, nil
	}
	number, ok := strings.CutPrefix(name, "power-")
	if !ok {
		return Config{}, fmt.Errorf("policy %q is not one of %s", name, Policies)
	}
	ratio, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return Config{}, fmt.Errorf("policy %q: %q is not a number of calls per free agent", name, number)
	}
	c := Config{Mode: Power, Ratio: ratio}
	if err := c.Validate(); err != nil {
		return Config{}, fmt.Errorf("policy %q: %w", name, err)
	}
	return c, nil
}

// Policy is the name that ParsePolicy knows the configuration by.
func (c Config) Policy() string {
	switch {
	case c.Mode == Power:
		return "power-" + strconv.FormatFloat(c.Ratio, 'g', -1, 64)
	case c.Mode == Predictive && c.Strict:
		return "strict"
	}
	return string(c.Mode)
}
