package pacing

import (
	"strings"
	"testing"
)

func TestParsePolicy(t *testing.T) {
	for name, want := range map[string]Config{
		"preview":      {Mode: Preview},
		" Progressive": {Mode: Progressive},
		"power-1":      {Mode: Power, Ratio: 1},
		"power-1.5":    {Mode: Power, Ratio: 1.5},
		"predictive":   {Mode: Predictive},
		"strict":       {Mode: Predictive, Strict: true},
	} {
		got, err := ParsePolicy(name)
		if err != nil || got != want {
			t.Errorf("ParsePolicy(%q) = %+v, %v, want %+v", name, got, err, want)
		}
		if again, err := ParsePolicy(got.Policy()); err != nil || again != got {
			t.Errorf("ParsePolicy(%q) = %+v, %v: its own name is not known", got.Policy(), again, err)
		}
	}
	for name, said := range map[string]string{
		"":            "is not one of preview, progressive, power-RATIO",
		"power":       "is not one of",
		"power:2":     "is not one of",
		"power-":      "is not a number",
		"power-x":     "is not a number",
		"power-nan":   "is not between 1 and 20",
		"power-0.5":   "is not between 1 and 20",
		"power-99":    "is not between 1 and 20",
		"strict-2":    "is not one of",
		"predictive1": "is not one of",
	} {
		if c, err := ParsePolicy(name); err == nil || !strings.Contains(err.Error(), said) {
			t.Errorf("ParsePolicy(%q) = %+v, %v, want an error with %q", name, c, err, said)
		}
	}
}
