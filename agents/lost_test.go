package agents_test

import (
	"strings"
	"testing"
	"time"

	"dialer"
	"dialer/agents"
)

// An agent whose phone dies in a talk may still say what came of it: the wrap-up
// goes on without the phone, and they are ready again when they say so only.
func TestPhoneLostInATalkKeepsTheWrapUp(t *testing.T) {
	const limit = 30 * time.Second
	sale := agents.Disposition{Code: "sale"}
	tests := map[string]struct {
		does   func(*floor)
		ok     bool
		state  agents.State
		reason string
	}{
		"says it without the phone": {func(f *floor) {
			time.Sleep(limit - 1)
			f.must(f.r.Dispose("ann", "c", sale, agents.Ready))
		}, true, agents.NotReady, "phone gone"},
		"says nothing": {func(f *floor) { time.Sleep(limit) }, false, agents.NotReady, "phone gone"},
		"says it with the phone back": {func(f *floor) {
			f.phones.SwitchOn("ann")
			time.Sleep(limit - 1)
			f.must(f.r.Dispose("ann", "c", sale, ""))
		}, true, agents.NotReady, "phone gone"},
		"says nothing, the phone back": {func(f *floor) {
			f.phones.SwitchOn("ann")
			time.Sleep(limit)
		}, false, agents.NotReady, "phone gone"},
		"wants to be ready, the phone back": {func(f *floor) {
			f.phones.SwitchOn("ann")
			time.Sleep(limit - 1)
			f.must(f.r.SetReady("ann"))
			f.must(f.r.Dispose("ann", "c", sale, ""))
		}, true, agents.Ready, "disposed"},
		"wants to be ready without a phone": {func(f *floor) {
			f.must(f.r.SetReady("ann"))
			f.must(f.r.Dispose("ann", "c", sale, ""))
		}, true, agents.NotReady, "phone gone"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				f := openFloor(t, agents.Config{})
				f.ready(agent("ann"))
				res := f.talking("c")
				f.phones.SwitchOff("ann")
				f.is("ann", agents.WrapUp, "phone gone")
				// The person is looked after first; it is told so.
				time.Sleep(time.Second)
				err := f.r.Dispose("ann", "c", sale, "")
				f.refused(err, dialer.Conflict)
				if !strings.Contains(err.Error(), "in a moment") {
					t.Errorf("too early, and told %q", err)
				}
				done := wrapUp(t.Context(), res, limit)
				f.is("ann", agents.WrapUp, "phone gone")
				tt.does(f)
				f.is("ann", tt.state, tt.reason)
				if got := <-done; got.ok != tt.ok || got.ok && got.d != sale {
					t.Errorf("the holder was told %+v", got)
				}
				f.phones.SwitchOn("ann")
				time.Sleep(2 * time.Minute)
				f.must(f.r.SetReady("ann"))
				f.is("ann", agents.Ready, f.r.State("ann").Reason)
			})
		})
	}
}
