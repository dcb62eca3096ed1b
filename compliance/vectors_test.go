package compliance

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
)

// vectors are the rows of the shared file that concern this package; the figures
// of most stand in the tables of the other tests too.
type vectors struct {
	Rate []struct {
		ID        string
		Cap       int `yaml:"cap_pct"`
		Abandoned int
		Answered  int
		Expect    string
	}
	Class []struct {
		ID         string
		Clock      ClockStart
		DeadlineMS int  `yaml:"deadline_ms"`
		GreetEnd   *int `yaml:"t_greet_end"`
		Agent      *int `yaml:"t_agent"`
		Hangup     *int `yaml:"t_callee_hangup"`
		Expect     Class
	}
}

func TestSharedVectors(t *testing.T) {
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	var data []byte
	for {
		if data, err = os.ReadFile(filepath.Join(dir, "..", "shared", "compliance", "vectors.yaml")); err == nil {
			break
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Skip("SKIPPED: there is no ../shared/compliance/vectors.yaml")
		}
		dir = up
	}
	var v vectors
	if err := yaml.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	for _, r := range v.Rate {
		tl := tally(r.Answered, r.Abandoned)
		_, _, rate := tl.Rate()
		got := "fail"
		switch {
		case rate == nil:
			got = "undefined"
		case tl.WithinCap(float64(r.Cap) / 100):
			got = "pass"
		}
		if got != r.Expect {
			t.Errorf("%s: %s, want %s", r.ID, got, r.Expect)
		}
	}
	for _, c := range v.Class {
		ms := func(x *int) int {
			if x == nil {
				return -1
			}
			return *x
		}
		end, by := 600_000, "caller"
		if c.Hangup != nil {
			end, by = *c.Hangup, "callee"
		}
		times := moments(300, ms(c.GreetEnd), ms(c.Agent), -1, end)
		if got := Classify(times, "person", by, time.Duration(c.DeadlineMS)*time.Millisecond, c.Clock); got != c.Expect {
			t.Errorf("%s: %s, want %s", c.ID, got, c.Expect)
		}
	}
	if len(v.Rate) == 0 || len(v.Class) == 0 {
		t.Error("the file has no vectors of rates or classes")
	}
}
