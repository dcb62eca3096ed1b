package campaign

import (
	"slices"
	"strings"
)

// next lists the moves that a call may make. Any other move is a bug. A saved
// state may skip those that were too short to be saved.
var next = map[CallState][]CallState{
	Placed:    {Ringing, Answered, Ended},
	Ringing:   {Answered, Ended},
	Answered:  {Queued, Connected, Ended},
	Queued:    {Connected, Ended},
	Connected: {Ended},
}

// CallStates lists every state of a call, in order.
func CallStates() []CallState {
	return []CallState{Placed, Ringing, Answered, Queued, Connected, Ended}
}

// CanMove reports whether a call may go from one state to another.
func CanMove(from, to CallState) bool { return slices.Contains(next[from], to) }

// CallDiagram draws the moves as a Mermaid state diagram, for docs/states.md.
func CallDiagram() string {
	var b strings.Builder
	b.WriteString("stateDiagram-v2\n    [*] --> " + string(Placed) + "\n")
	for _, from := range CallStates() {
		for _, to := range next[from] {
			b.WriteString("    " + string(from) + " --> " + string(to) + "\n")
		}
	}
	b.WriteString("    " + string(Ended) + " --> [*]\n")
	return b.String()
}
