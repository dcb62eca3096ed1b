package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"

	"dialer/pacing/simulate"
)

// mostScenario is the size of the largest file read, in bytes: YAML takes many times
// its size in memory.
const mostScenario = 256 << 10

// readScenario reads a file over the scenario given and returns every mistake,
// that it cannot be simulated among them.
func readScenario(file string, over simulate.Scenario) (simulate.Scenario, *loaded, []Problem) {
	if file == "" {
		return parseScenario(nil, over)
	}
	refuse := func(what string) (simulate.Scenario, *loaded, []Problem) {
		s, l, _ := parseScenario(nil, over)
		return s, l, []Problem{{Path: file, What: what, Hint: "name a scenario; see docs/pacing.md"}}
	}
	f, err := os.Open(file)
	if err != nil {
		return refuse("the file cannot be read (" + errors.Unwrap(err).Error() + ")")
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, mostScenario+1))
	switch {
	case err != nil:
		return refuse("the file cannot be read (" + errors.Unwrap(err).Error() + ")")
	case len(data) > mostScenario:
		return refuse(fmt.Sprintf("the file is larger than %d kB", mostScenario>>10))
	}
	return parseScenario(data, over)
}

func parseScenario(data []byte, s simulate.Scenario) (simulate.Scenario, *loaded, []Problem) {
	l := &loaded{source: map[string]string{}, line: map[string]int{}}
	if len(data) == 0 {
		return s, l, nil
	}
	problems := l.readYAML(data, reflect.ValueOf(&s).Elem())
	if len(problems) == 0 {
		problems = scenarioProblems(&s)
	}
	for i := range problems {
		if problems[i].Line == 0 {
			problems[i].Line = l.lineOf(problems[i].Path)
		}
	}
	slices.SortStableFunc(problems, func(a, b Problem) int { return a.Line - b.Line })
	return s, l, problems
}

// scenarioProblems are the mistakes of a scenario.
func scenarioProblems(s *simulate.Scenario) []Problem {
	var problems []Problem
	for _, f := range simulate.Faults(s.Validate()) {
		problems = append(problems, Problem{Path: f.Field, What: f.Err.Error(), Hint: "correct the value"})
	}
	return problems
}

// writeScenario writes a scenario as the file that it can be read from, a comment
// behind each setting that is as it was found in a campaign.
func writeScenario(out io.Writer, s *simulate.Scenario, head string, from simulate.Fitted) error {
	var b strings.Builder
	if head != "" {
		fmt.Fprintf(&b, "# %s\n", head)
	}
	v, found := reflect.ValueOf(s).Elem(), reflect.ValueOf(&from.Scenario).Elem()
	for _, f := range settings(v.Type()) {
		value := v.FieldByIndex(f.Index)
		if value.IsZero() && strings.Contains(f.Tag.Get("json"), ",omit") {
			continue
		}
		line := f.key + ": " + flowOf(value)
		if r := from.Remarks[f.key]; r != "" && flowOf(found.FieldByIndex(f.Index)) == flowOf(value) {
			line += " # " + r
		}
		b.WriteString(line + "\n")
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// flowOf writes a value of a scenario in one line of YAML.
func flowOf(v reflect.Value) string {
	var parts []string
	switch x := v.Interface().(type) {
	case simulate.Span:
		text, _ := x.MarshalText() // never fails
		return string(text)
	}
	switch v.Kind() {
	case reflect.Slice:
		for i := range v.Len() {
			parts = append(parts, flowOf(v.Index(i)))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case reflect.Struct:
		for _, f := range settings(v.Type()) {
			value := v.FieldByIndex(f.Index)
			if value.IsZero() && strings.Contains(f.Tag.Get("json"), ",omit") {
				continue
			}
			parts = append(parts, f.key+": "+flowOf(value))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	}
	return fmt.Sprint(v.Interface())
}
