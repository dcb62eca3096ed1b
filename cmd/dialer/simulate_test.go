package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"flag"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"dialer/pacing/simulate"
)

var updateGolden = flag.Bool("update", false, "write the golden files of simulate")

// simulated runs dialer simulate.
func simulated(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = run(t.Context(), &terminal{out: &stdout, err: &stderr, env: noEnv}, append([]string{"simulate"}, args...))
	return code, stdout.String(), stderr.String()
}

// TestSimulateGolden: the policies in it are independent of how predictive is
// tuned, so these files change with the simulator or the output alone.
func TestSimulateGolden(t *testing.T) {
	lunch := writeConfig(t, "hours: 1\naway: [{share: 0.5, from: 20m, to: 40m}]\ntalk: {mean: 60s}\n")
	for name, args := range map[string][]string{
		"teams":    {"--agents", "2,4", "--hours", "0.5", "--seeds", "2", "--policy", "progressive,adaptive-average"},
		"list":     {"--agents", "3,6", "--hours", "1", "--seeds", "2", "--policy", "progressive", "--leads", "300", "--amd=off"},
		"caps":     {"--agents", "3", "--hours", "0.5", "--seeds", "2", "--cap", "1,5%", "--policy", "progressive", "--json"},
		"scenario": {"--scenario", lunch, "--seeds", "2", "--policy", "progressive,adaptive-hard"},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errs := simulated(t, args...)
			if code != 0 || errs != "" {
				t.Fatalf("exit %d: %s", code, errs)
			}
			file := filepath.Join("testdata", "simulate", name+".txt")
			if *updateGolden {
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(out), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if out != string(want) {
				t.Errorf("got\n%s\nwant\n%s", out, want)
			}
		})
	}
}

func TestSimulateJSON(t *testing.T) {
	code, out, errs := simulated(t, "--json", "--agents", "4", "--hours", "0.25", "--seeds", "2", "--policy", "progressive,predictive", "--amd")
	if code != 0 || errs != "" {
		t.Fatalf("exit %d: %s", code, errs)
	}
	want := []string{
		"abandon_rate", "abandon_rate_se", "agents", "dials_per_connect", "dials_per_connect_se", "policy", "seeds",
		"talk_min_per_hour", "talk_min_per_hour_se", "utilisation", "utilisation_se", "wait_s", "wait_s_se",
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d lines for two policies:\n%s", len(lines), out)
	}
	for _, line := range lines {
		var o map[string]any
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatal(err)
		}
		var keys []string
		for k := range o {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		if !slices.Equal(keys, want) {
			t.Errorf("keys %q, not %q", keys, want)
		}
	}
}

// TestHowManyAgents: with something to reach and no team, the command finds the
// teams around the one that is enough, and says which one it is.
func TestHowManyAgents(t *testing.T) {
	for _, c := range []struct {
		args []string
		goal string
		// enough is about how many agents it takes: 60 s of talk and 15 s of
		// wrap-up for 25 % of the leads, at an occupancy of some 60 %.
		least, most int
	}{
		{[]string{"--leads", "800"}, "800 leads", 5, 12},
		{[]string{"--talk-hours", "3"}, "3 h of talk", 5, 12},
	} {
		args := append([]string{"--hours", "1", "--seeds", "2", "--talk", "60", "--answer-rate", "25%", "--policy", "progressive"}, c.args...)
		code, out, errs := simulated(t, args...)
		if code != 0 {
			t.Fatalf("exit %d: %s", code, errs)
		}
		found := regexp.MustCompile(`(?m)^(\d+) agents are enough for ` + c.goal + ` within 1 h`).FindStringSubmatch(out)
		if found == nil {
			t.Fatalf("%q answers\n%s", c.args, out)
		}
		if n, _ := strconv.Atoi(found[1]); n < c.least || n > c.most {
			t.Errorf("%q: %d agents, want %d to %d:\n%s", c.args, n, c.least, c.most, out)
		}
		code, out, errs = simulated(t, append(args, "--json")...)
		if code != 0 {
			t.Fatalf("exit %d: %s", code, errs)
		}
		enough := map[bool]int{}
		for line := range strings.Lines(out) {
			var f simulate.Figures
			if err := json.Unmarshal([]byte(line), &f); err != nil || f.Enough == nil {
				t.Fatalf("%v: %s", err, line)
			}
			enough[*f.Enough]++
		}
		if enough[true] == 0 || enough[false] == 0 {
			t.Errorf("%q: teams that are enough and not: %v", c.args, enough)
		}
	}
}

// TestWhichCap: several caps are compared and each is said to be worth something.
func TestWhichCap(t *testing.T) {
	code, out, errs := simulated(t, "--agents", "5", "--hours", "0.5", "--seeds", "1", "--policy", "progressive", "--cap", "1%,3%")
	if code != 0 || !strings.Contains(out, "a cap of 3 % instead of 1 % is worth +0.0 minutes of talk an hour and agent") {
		t.Errorf("exit %d: %s\n%s", code, errs, out)
	}
}

// TestSavedScenarioIsRead: what --save writes is a scenario that reads as the same.
func TestSavedScenarioIsRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "saved.yaml")
	flags := []string{"--agents", "4,8", "--cap", "1%,5%", "--talk", "95.5", "--leads", "900", "--amd", "off", "--warm", "--save"}
	if code, out, errs := simulated(t, append(flags, file)...); code != 0 || out != "" {
		t.Fatalf("exit %d: %s%s", code, out, errs)
	}
	_, first, _ := simulated(t, append(flags, "-")...)
	code, again, errs := simulated(t, "--scenario", file, "--save", "-")
	if code != 0 || first != again {
		t.Errorf("exit %d %s\nsaved\n%s\nread\n%s", code, errs, first, again)
	}
	for _, want := range []string{"teams: [4, 8]", "mean: 95.5s", "amd: false", "breaks: {every: 50m, for: 5m}"} {
		if !strings.Contains(first, want) {
			t.Errorf("%q is not in\n%s", want, first)
		}
	}
}

func TestSimulatePlot(t *testing.T) {
	file := filepath.Join(t.TempDir(), "plot.svg")
	if code, _, errs := simulated(t, "--svg", file, "--agents", "3", "--hours", "0.5", "--seeds", "2", "--policy", "progressive,power-2"); code != 0 {
		t.Fatalf("exit %d: %s", code, errs)
	}
	svg, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(svg) > 100<<10 {
		t.Errorf("the plot has %d bytes", len(svg))
	}
	for d := xml.NewDecoder(bytes.NewReader(svg)); ; {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	for _, word := range []string{"power-2", "occupancy, %", "abandoned, %", "hours"} {
		if !strings.Contains(string(svg), word) {
			t.Errorf("the plot does not say %q", word)
		}
	}
	if strings.Contains(string(svg), "NaN") || strings.Contains(string(svg), "Inf") {
		t.Error("the plot has figures that are none")
	}
}

func TestSimulateRefuses(t *testing.T) {
	bad := writeConfig(t, `agents: 0
hours: 8
talkk: {mean: 60s}
`)
	worse := writeConfig(t, `agents: 3
answer_rate: 1.5
ring: {law: gama, mean: 12s}
wrap: {law: empirical, quantiles: [4s, 2s]}
away:
  - {share: 0.5, from: 2h, to: 1h}
policies: [progresive]
`)
	never := writeConfig(t, "hours: 1\nring: {law: gamma, mean: 12s, shape: 1000, max: 6s}\nshifts: [{agents: 5, from: 2h, to: 3h}]\n")
	long := writeConfig(t, strings.Repeat("# nothing\n", mostScenario/10+1))
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"--scenario", never}, []string{"line 2: ring: max 6 is too far below the mean 12", "line 3: shifts: none begins before the end"}},
		{[]string{"--scenario", long}, []string{"is larger than"}},
		{[]string{"--policy", "power:2"}, []string{"power-RATIO (power-2)"}},
		{[]string{"--agents", "0"}, []string{"--agents: 0 is not between 1 and 5000"}},
		{[]string{"--agents", "x"}, []string{"--agents"}},
		{[]string{"--answer-rate", "120%"}, []string{`--answer-rate`, `"120%" is not a share`}},
		{[]string{"--cap", "0"}, []string{"--cap: 0 is not a share above 0"}},
		{[]string{"--talk", "long"}, []string{`--talk`, `"long" is not a time such as 90s`}},
		{[]string{"--talk", "0"}, []string{"--talk: mean 0 is not above 0"}},
		{[]string{"--amd=maybe"}, []string{`"maybe" is neither on nor off`}},
		{[]string{"--hours=-1"}, []string{"--hours: -1 is not above 0"}},
		{[]string{"--policy", "fast"}, []string{"--policy", `"fast" is not one of preview, progressive`}},
		{[]string{"--policy", "power-99"}, []string{"ratio 99 is not between 1 and 20"}},
		{[]string{"--seeds", "0"}, []string{"--seeds: 0 is not between"}},
		{[]string{"--leads=-5"}, []string{"--leads: -5 is not between"}},
		{[]string{"--agents", "0", "--policy", "fast"}, []string{"--agents: 0", `"fast" is not one of`}},
		{[]string{"--scenario", "nowhere.yaml"}, []string{"nowhere.yaml: the file cannot be read"}},
		{[]string{"--scenario", bad}, []string{"line 3: talkk", `did you mean "talk"?`}},
		{[]string{"--scenario", worse}, []string{
			"line 2: answer_rate", "line 3: ring.law", "line 4: wrap", "line 6: away[0].to", "line 7: policies[0]",
		}},
	} {
		code, out, errs := simulated(t, c.args...)
		if code == 0 || out != "" {
			t.Errorf("%q: exit %d, printed %q", c.args, code, out)
		}
		for _, want := range c.want {
			if !strings.Contains(errs, want) {
				t.Errorf("%q says\n%s\nnot %q", c.args, errs, want)
			}
		}
	}
}

// TestPlotThatCannotBeWritten: what was simulated is printed all the same.
func TestPlotThatCannotBeWritten(t *testing.T) {
	code, out, errs := simulated(t, "--svg", "/nowhere/plot.svg", "--hours", "0.01", "--policy", "progressive")
	if code == 0 || !strings.Contains(out, "progressive") || !strings.Contains(errs, "the plot cannot be written") {
		t.Errorf("exit %d, printed %q, said %q", code, out, errs)
	}
}

// TestScenarioIsData: what the file says is what the world has; docs/pacing.md
// shows every setting.
func TestScenarioIsData(t *testing.T) {
	text, err := os.ReadFile("../../docs/pacing.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, found := strings.Cut(string(text), "```yaml\n")
	example, _, ended := strings.Cut(example, "```")
	if !found || !ended {
		t.Fatal("docs/pacing.md has no example")
	}
	s, l, problems := parseScenario([]byte(example), simulate.DefaultScenario())
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for _, key := range keysOf(reflect.TypeOf(s)) {
		if l.line[key] == 0 {
			t.Errorf("the example does not show %s", key)
		}
	}
	w, _ := s.World()
	if w.Team() != 20 || w.Away[0].To != 4.75*3600 || w.Answer.Steps[0].Share != 0.1 || w.Answer.Drift != -0.3 {
		t.Errorf("the example reads as %+v", w)
	}
}

func FuzzScenario(f *testing.F) {
	f.Add([]byte("agents: 3\nhours: 1\ntalk: {law: mixed, share: 0.5, first: {law: constant, mean: 1s}, second: {law: uniform, high: 9s}}\n"))
	f.Add([]byte("shifts: [{agents: 2, from: 1h, to: 0s}]\naway: [{share: 2}]\nanswer_rates: [{from: 1h, rate: .2}, {from: 0s}]"))
	f.Add([]byte("ring: {law: gamma, shape: -1, mean: -5s, max: 1ns}\ncap: NaN\nagents: 99999999999\n"))
	f.Add([]byte("- a\n- b: [\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, _, problems := parseScenario(data, simulate.DefaultScenario())
		if len(problems) > 0 {
			for _, p := range problems {
				if p.What == "" || p.Hint == "" {
					t.Errorf("a mistake without words: %+v", p)
				}
			}
			return
		}
		if err := s.Validate(); err != nil {
			t.Fatalf("accepted, and then not: %v", err)
		}
	})
}
