package agents

import (
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/states.md")

func TestCanMove(t *testing.T) {
	// Rows are from, columns to, in the order of States.
	want := map[State]string{
		LoggedOut: ".x....",
		NotReady:  "x.x...",
		Ready:     "xx.x..",
		Reserved:  ".xx.x.",
		Talking:   ".....x",
		WrapUp:    "xxx...",
	}
	for _, from := range States() {
		for i, to := range States() {
			if got := CanMove(from, to); got != (want[from][i] == 'x') {
				t.Errorf("CanMove(%s, %s) = %v", from, to, got)
			}
		}
	}
	if CanMove("asleep", Ready) || CanMove(Ready, "asleep") {
		t.Error("an unknown state may move")
	}
}

func TestEveryStateHasAWayInAndOut(t *testing.T) {
	for _, s := range States() {
		in := false
		for _, from := range States() {
			in = in || CanMove(from, s)
		}
		if !in || len(next[s]) == 0 {
			t.Errorf("%s: in %v, out %v", s, in, next[s])
		}
		if s.words() == "" {
			t.Errorf("%s has no words", s)
		}
	}
}

// The picture in docs/states.md is drawn from the table: go test -update.
func TestDiagramIsCurrent(t *testing.T) {
	const (
		path  = "../docs/states.md"
		begin = "<!-- agent:begin -->\n"
		end   = "<!-- agent:end -->\n"
	)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(data), begin)
	got, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no %s … %s", path, strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	want := "```mermaid\n" + Diagram() + "```\n"
	if got == want {
		return
	}
	if !*update {
		t.Fatalf("%s does not show the table; run go test ./agents -update\ngot:\n%s\nwant:\n%s", path, got, want)
	}
	if err := os.WriteFile(path, []byte(before+begin+want+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
