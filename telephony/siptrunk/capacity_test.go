package siptrunk

import (
	"strings"
	"testing"
	"time"

	"dialer/telephony"
)

// TestDeadPort: calls to a peer that says nothing take the trunk down within
// the time to wait for a response, and its first word brings it back.
func TestDeadPort(t *testing.T) {
	t.Parallel()
	p := newRawPeer(t)
	e := startEndpoint(t, func(c *Config) { c.NoResponse = 50 * time.Millisecond }, testTrunk(p))
	awaitUp := func(up bool) telephony.Capacity {
		t.Helper()
		for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) { // capacity has no event
			if c := e.Capacity("trk_test"); c.Up == up {
				return c
			}
			if time.Now().After(deadline) {
				t.Fatalf("capacity stays %+v", e.Capacity("trk_test"))
			}
		}
	}
	awaitTokens(t, e, 3)
	calls := []*dialed{
		dial(t, t.Context(), e, invite()), dial(t, t.Context(), e, invite()), dial(t, t.Context(), e, invite()),
	}
	first := p.expect("INVITE")
	if c := awaitUp(false); !strings.HasPrefix(c.Why, "no answer from "+p.addr().String()+": 3 calls in a row; next try in ") {
		t.Errorf("why %q", c.Why)
	}
	if err := dial(t, t.Context(), e, invite()).failed(); err.Cause != telephony.CauseNotSent {
		t.Errorf("a call to the dead trunk: %+v", err)
	}
	p.reply(first, reply{status: "486 Busy Here", tag: "x"})
	awaitUp(true)
	select {
	case <-calls[0].done:
	case <-calls[1].done:
	case <-calls[2].done:
	case <-time.After(patience):
		t.Error("the refused call did not end")
	}
}
