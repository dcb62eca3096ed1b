package siptrunk

import (
	"strings"
	"testing"
	"time"

	"dialer/telephony"
)

// TestSilentTrunkGoesDown: a trunk that answers none of three calls gets no
// more, then one as a trial, and all again as soon as it says anything.
func TestSilentTrunkGoesDown(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	l := newLine(telephony.Trunk{Address: "192.0.2.1", Channels: 100, CPS: 100, Enabled: true}, now.Add(-time.Hour))
	place := func(after time.Duration) (at time.Time) {
		t.Helper()
		now = now.Add(after)
		if _, why := l.take(now); why != "" {
			t.Fatalf("no call: %s", why)
		}
		return now
	}
	down := func(why string) {
		t.Helper()
		if c := l.capacity(now); c.Up || c.Free() != 0 || c.Why != why {
			t.Fatalf("capacity %+v, want it down: %s", c, why)
		}
		if _, refused := l.take(now); refused != why {
			t.Fatalf("take says %q, want %q", refused, why)
		}
	}
	calls := []time.Time{place(0), place(time.Second), place(time.Second), place(time.Second)}
	for _, placed := range calls[:2] {
		l.unheard(placed, now)
	}
	if c := l.capacity(now); !c.Up {
		t.Fatalf("down after two calls: %+v", c)
	}
	now = now.Add(4 * time.Second)
	if !l.unheard(calls[2], now) {
		t.Error("the third in a row was not told")
	}
	down("no answer from 192.0.2.1:5060: 3 calls in a row; next try in 6 s")
	l.unheard(calls[3], now) // one of before says nothing new
	down("no answer from 192.0.2.1:5060: 3 calls in a row; next try in 6 s")

	for i, wait := range []time.Duration{5, 10, 20, 40, 60, 60} {
		now = now.Add(wait*time.Second - time.Millisecond)
		if l.capacity(now).Up {
			t.Fatalf("up before %d s", wait)
		}
		now = now.Add(time.Millisecond)
		if c := l.capacity(now); !c.Up || c.Tokens != 1 || c.Free() != 1 {
			t.Fatalf("trial %d: capacity %+v, want one call", i, c)
		}
		trial := place(0)
		if c := l.capacity(now); c.Up || c.Free() != 0 {
			t.Fatalf("beside trial %d another may go: %+v", i, c)
		}
		now = now.Add(4 * time.Second)
		l.unheard(trial, now)
	}
	place(time.Minute)
	if !l.heard() {
		t.Error("that it is back was not told")
	}
	now = now.Add(time.Second)
	if c := l.capacity(now); !c.Up || c.Tokens < 2 || c.Why != "" {
		t.Errorf("after a response: %+v", c)
	}
	l.unheard(now, now)
	if !l.capacity(now).Up {
		t.Error("down again after a single silent call")
	}
}

// TestTrunkMovedIsTrusted: a corrected address is tried at once.
func TestTrunkMovedIsTrusted(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	cfg := telephony.Trunk{Address: "192.0.2.1", Channels: 10, CPS: 100, Enabled: true}
	l := newLine(cfg, now)
	for range silentCalls {
		l.unheard(now, now)
	}
	cfg.Channels = 20
	if l.configure(cfg, now); l.capacity(now).Up {
		t.Error("more channels made the trunk answer")
	}
	cfg.Address = "192.0.2.2"
	if l.configure(cfg, now); !l.capacity(now).Up {
		t.Error("the new address is not tried")
	}
}

// TestDeadPort: calls to a peer that says nothing take the trunk down within
// the time to wait for a response, and its first word brings it back.
func TestDeadPort(t *testing.T) {
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
