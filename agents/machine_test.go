package agents_test

import (
	"testing"

	"dialer"
	"dialer/agents"
)

// An agent is told of a machine once, and their word goes to the holder of the
// call, who frees them without a wrap-up.
func TestMachine(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := openFloor(t, agents.Config{})
		f.refused(f.r.Machine("ann", "c"), dialer.NotFound)
		f.ready(agent("ann"))
		f.refused(f.r.Machine("ann", "c"), dialer.Conflict)
		res := f.reserve("c")
		f.refused(f.r.Machine("ann", "c"), dialer.Conflict)
		f.must(res.Talk())
		messages, stop := f.r.Subscribe("ann")
		defer stop()
		<-messages // how it is
		res.TellMachine("beep")
		res.TellMachine("beep again")
		if m := <-messages; m.Kind != agents.MachineHeard || m.Call != "c" || m.Reason != "beep" || !f.r.State("ann").Machine {
			t.Errorf("told %+v", m)
		}
		f.refused(f.r.Machine("ann", "another"), dialer.Conflict)
		if closed(res.MachineSaid()) {
			t.Fatal("a word that nobody gave")
		}
		f.must(f.r.Machine("ann", "c"))
		f.must(f.r.Machine("ann", "c"))
		if !closed(res.MachineSaid()) || closed(res.HangupRequested()) || closed(res.Gone()) {
			t.Error("the holder does not know")
		}
		res.Release("left to a machine")
		f.is("ann", agents.Ready, "left to a machine")
		if len(messages) != 3 { // wrap-up, the end of the call, ready: not told of the machine again
			t.Errorf("%d messages", len(messages))
		}
	})
}
