package agents

import (
	"slices"
	"strings"
)

// next lists the moves an agent may make. Any other move is a bug.
var next = map[State][]State{
	LoggedOut: {NotReady},
	NotReady:  {Ready, LoggedOut},
	Ready:     {Reserved, NotReady, LoggedOut},
	Reserved:  {Talking, Ready, NotReady},
	Talking:   {WrapUp},
	WrapUp:    {Ready, NotReady, LoggedOut},
}

// States lists every state, in the order of a working day.
func States() []State {
	return []State{LoggedOut, NotReady, Ready, Reserved, Talking, WrapUp}
}

// CanMove reports whether an agent may go from one state to another.
func CanMove(from, to State) bool { return slices.Contains(next[from], to) }

// Diagram draws the moves as a Mermaid state diagram, for docs/states.md.
func Diagram() string {
	var b strings.Builder
	b.WriteString("stateDiagram-v2\n    [*] --> " + string(LoggedOut) + "\n")
	for _, from := range States() {
		for _, to := range next[from] {
			b.WriteString("    " + string(from) + " --> " + string(to) + "\n")
		}
	}
	return b.String()
}
