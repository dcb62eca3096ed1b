package campaign

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/states.md")

const (
	statesBegin = "<!-- call:begin -->\n"
	statesEnd   = "<!-- call:end -->\n"
)

// The picture in docs/states.md is drawn from the table.
func TestStatesDiagram(t *testing.T) {
	path := filepath.Join("..", "docs", "states.md")
	want := statesBegin + "```mermaid\n" + CallDiagram() + "```\n" + statesEnd
	old, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(old), statesBegin)
	_, after, closed := strings.Cut(rest, statesEnd)
	if *update {
		if !found {
			before += "\n## Call\n\nThe table is `next` in `campaign/moves.go`. Where a call is; what the network saw\nof it is its outcome, what the agent said its disposition.\n\n"
		}
		if err := os.WriteFile(path, []byte(before+want+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !found || !closed || !strings.Contains(string(old), want) {
		t.Errorf("docs/states.md does not show the table of calls: run go test ./campaign -run States -update")
	}
}

func TestMovesOnlyForward(t *testing.T) {
	states := CallStates()
	for i, from := range states {
		for j, to := range states {
			if CanMove(from, to) && j <= i {
				t.Errorf("a call may go back from %s to %s", from, to)
			}
		}
		if from != Ended && !CanMove(from, Ended) {
			t.Errorf("a call cannot end from %s", from)
		}
	}
}
