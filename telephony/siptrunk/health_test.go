package siptrunk

import (
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"dialer"
	"dialer/telephony"
)

var aTarget = target{transport: telephony.UDP, addr: netip.MustParseAddrPort("192.0.2.1:5060"), name: "192.0.2.1"}

// aLine is a line of one target, long up.
func aLine(now time.Time, change func(*telephony.Trunk)) *line {
	cfg := telephony.Trunk{ID: "trk_1", Address: "192.0.2.1", Channels: 100, CPS: 100, Enabled: true}
	if change != nil {
		change(&cfg)
	}
	l := newLine(cfg, now.Add(-time.Hour))
	l.located(cfg, []record{{targets: []target{aTarget}}}, nil, nil, now.Add(-time.Hour), time.Second)
	return l
}

// TestSilentPeerGoesDown: one that answers none of three calls gets no more,
// then one as a trial, and all again as soon as it says anything.
func TestSilentPeerGoesDown(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	l := aLine(now, nil)
	p := l.pulses[aTarget.addr]
	place := func(after time.Duration) (at time.Time) {
		t.Helper()
		now = now.Add(after)
		if _, _, why := l.take(now, 0); why != "" {
			t.Fatalf("no channel: %s", why)
		}
		if why := l.admits(aTarget, now); why != "" {
			t.Fatalf("no call: %s", why)
		}
		return now
	}
	down := func(why string) {
		t.Helper()
		if c := l.capacity(now); c.Up || c.Free() != 0 || c.Why != why {
			t.Fatalf("capacity %+v, want it down: %s", c, why)
		}
		if _, _, refused := l.take(now, 0); refused != why {
			t.Fatalf("take says %q, want %q", refused, why)
		}
	}
	calls := []time.Time{place(0), place(time.Second), place(time.Second), place(time.Second)}
	for _, placed := range calls[:2] {
		p.unheard(placed, now)
	}
	if c := l.capacity(now); !c.Up {
		t.Fatalf("down after two calls: %+v", c)
	}
	now = now.Add(4 * time.Second)
	if !p.unheard(calls[2], now) {
		t.Error("the third in a row was not told")
	}
	down("no answer from 192.0.2.1:5060: 3 calls in a row, nor ever before; next try in 6 s")
	p.unheard(calls[3], now) // one of before says nothing new
	down("no answer from 192.0.2.1:5060: 3 calls in a row, nor ever before; next try in 6 s")

	for i, wait := range []time.Duration{5, 10, 20, 40, 60, 60} {
		now = now.Add(wait*time.Second - time.Millisecond)
		if l.capacity(now).Up {
			t.Fatalf("up before %d s", wait)
		}
		now = now.Add(time.Millisecond)
		if c := l.capacity(now); !c.Up || c.Tokens != 1 || c.Free() != 1 || !strings.HasSuffix(c.Why, "one call tries it") {
			t.Fatalf("trial %d: capacity %+v, want one call", i, c)
		}
		trial := place(0)
		if c := l.capacity(now); c.Up || c.Free() != 0 {
			t.Fatalf("beside trial %d another may go: %+v", i, c)
		}
		now = now.Add(4 * time.Second)
		p.unheard(trial, now)
	}
	place(time.Minute)
	if back, _ := p.heard(100, now); !back {
		t.Error("that it is back was not told")
	}
	now = now.Add(time.Second)
	if c := l.capacity(now); !c.Up || c.Tokens < 2 || c.Why != "" {
		t.Errorf("after a response: %+v", c)
	}
	p.unheard(now, now)
	if !l.capacity(now).Up {
		t.Error("down again after a single silent call")
	}
}

// TestOptionsKeepAlive: three misses are down, two replies are up; every answer
// but 408 and 503 is a sign of life.
func TestOptionsKeepAlive(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	l := aLine(now, nil)
	p := l.pulses[aTarget.addr]
	for _, status := range []int{200, 403, 404, 405, 481, 500, 501} {
		p.missed(now)
		p.missed(now)
		if p.replied(status, now); p.misses != 0 {
			t.Errorf("%d is no sign of life", status)
		}
	}
	p.missed(now)
	p.replied(503, now)
	if !l.capacity(now).Up {
		t.Fatal("down after two misses")
	}
	if _, down := p.replied(408, now); !down {
		t.Error("the third miss was not told")
	}
	now = now.Add(time.Hour) // no call tries it: OPTIONS will tell
	if c := l.capacity(now); c.Up || c.Why != "no answer from 192.0.2.1:5060 to 3 OPTIONS in a row; no calls until it answers OPTIONS" {
		t.Fatalf("capacity %+v", c)
	}
	p.replied(200, now)
	p.missed(now)
	p.replied(200, now)
	if l.capacity(now).Up {
		t.Fatal("up after one reply in a row")
	}
	if back, _ := p.replied(200, now); !back || !l.capacity(now).Up || l.capacity(now).Tokens < 2 {
		t.Errorf("after two replies: %+v", l.capacity(now))
	}
}

// TestNoLeadIsSpentOnADeadPeer: one that used to answer OPTIONS and is silent to
// calls is not tried with a call before it answers OPTIONS again, and then with
// one only: it may answer these and nothing else.
func TestNoLeadIsSpentOnADeadPeer(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	l := aLine(now, nil)
	p := l.pulses[aTarget.addr]
	p.replied(200, now)
	for range silentCalls {
		p.unheard(now, now)
	}
	if _, due := l.dueOptions(now); len(due) != 1 {
		t.Error("it is not asked at once whether it is there")
	}
	now = now.Add(time.Hour)
	if c := l.capacity(now); c.Up {
		t.Fatalf("a call is spent on it: %+v", c)
	}
	p.replied(200, now)
	p.replied(200, now)
	if c := l.capacity(now); !c.Up || c.Free() != 1 {
		t.Fatalf("capacity %+v, want one call", c)
	}
	if l.admits(aTarget, now) != "" || l.admits(aTarget, now) == "" {
		t.Error("not one call, exactly")
	}
	p.unheard(now, now.Add(time.Second))
	if l.capacity(now.Add(time.Hour)).Up {
		t.Error("its old replies count again")
	}
	if back, _ := p.heard(180, now); !back || !l.capacity(now).Up {
		t.Error("a response to a call does not bring it back")
	}
}

// TestPeerThatIgnoresOptions takes calls all the same: a call tells.
func TestPeerThatIgnoresOptions(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	l := aLine(now, nil)
	p := l.pulses[aTarget.addr]
	for range missedOptions {
		p.missed(now)
	}
	if c := l.capacity(now); !c.Up || c.Free() != 1 {
		t.Fatalf("capacity %+v, want one call", c)
	}
	p.heard(180, now)
	for range 2 * missedOptions {
		p.missed(now)
	}
	if c := l.capacity(now); !c.Up || c.Free() < 2 {
		t.Errorf("capacity %+v", c)
	}
}

// TestNothingBut503: a peer that refuses five calls in a row gets none for a
// while; its 100s do not count, its OPTIONS do not either.
func TestNothingBut503(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	l := aLine(now, nil)
	p := l.pulses[aTarget.addr]
	refuse := func() {
		p.heard(100, now)
		p.heard(407, now)
		p.heard(503, now)
	}
	for range refusedCalls - 1 {
		refuse()
	}
	p.heard(486, now) // it does take calls
	for range refusedCalls {
		if !l.capacity(now).Up {
			t.Fatal("down too early")
		}
		refuse()
	}
	p.replied(200, now)
	p.replied(200, now)
	if c := l.capacity(now); c.Up || c.Why != "192.0.2.1:5060 answered 503 to 5 calls in a row; next try in 6 s" {
		t.Fatalf("capacity %+v", c)
	}
	now = now.Add(5 * time.Second)
	if l.admits(aTarget, now) != "" {
		t.Fatal("no trial")
	}
	refuse()
	now = now.Add(9 * time.Second)
	if l.capacity(now).Up {
		t.Error("the pause did not double")
	}
	now = now.Add(time.Second)
	if p.heard(180, now); !l.capacity(now).Up || l.capacity(now).Why != "" {
		t.Errorf("capacity %+v", l.capacity(now))
	}
}

// TestOptionsSwitchedOffWhileDown: what OPTIONS have taken down is tried by a call
// once there are no more of them, whatever is still on its way.
func TestOptionsSwitchedOffWhileDown(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	l := aLine(now, nil)
	p := l.pulses[aTarget.addr]
	p.replied(200, now)
	for range missedOptions {
		p.missed(now)
	}
	now = now.Add(time.Hour)
	if l.capacity(now).Up {
		t.Fatal("not down")
	}
	cfg := l.cfg
	cfg.OptionsSeconds = -1
	l.configure(cfg, now)
	l.asked(&Endpoint{log: slog.New(slog.DiscardHandler)}, aTarget, 200, nil, nil)
	if c := l.capacity(now); !c.Up || c.Free() != 1 {
		t.Fatalf("capacity %+v, want one call", c)
	}
	if l.admits(aTarget, now) != "" {
		t.Error("no trial")
	}
	if p.heard(180, now); l.capacity(now).Free() < 2 {
		t.Errorf("after a response: %+v", l.capacity(now))
	}
}

// TestTrunkIsDownWhenAllTargetsAre, and a corrected address is tried at once.
func TestTrunkIsDownWhenAllTargetsAre(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	l := aLine(now, nil)
	other := target{transport: telephony.UDP, addr: netip.MustParseAddrPort("192.0.2.2:5060"), name: "192.0.2.1"}
	l.located(l.cfg, []record{{targets: []target{aTarget}}, {tier: 1, targets: []target{other}}}, nil, nil, now, time.Second)
	for range silentCalls {
		l.pulses[aTarget.addr].unheard(now, now)
	}
	if c := l.capacity(now); !c.Up || c.Tokens < 2 || c.Why != "" {
		t.Errorf("with one of two down: %+v", c)
	}
	for range silentCalls {
		l.pulses[other.addr].unheard(now, now)
	}
	if c := l.capacity(now); c.Up || !strings.Contains(c.Why, "192.0.2.1:5060") || !strings.Contains(c.Why, "192.0.2.2:5060") {
		t.Errorf("with both down: %+v", c)
	}
	cfg := l.cfg
	cfg.Channels = 20
	if l.configure(cfg, now); l.capacity(now).Up {
		t.Error("more channels made the trunk answer")
	}
	cfg.Address = "192.0.2.9"
	if l.configure(cfg, now); !l.capacity(now).Up {
		t.Error("the new address is not tried")
	}
}

// TestOptionsOnTheWire: a peer that dies goes down by itself and comes back, with
// no call; it is asked with a well-formed OPTIONS.
func TestOptionsOnTheWire(t *testing.T) {
	t.Parallel()
	p := newRawPeer(t)
	tr := testTrunk(p)
	tr.OptionsSeconds = 1
	e := startEndpoint(t, func(c *Config) { c.second = 40 * time.Millisecond }, tr)
	first := p.expect("OPTIONS")
	if first.uri() != "sip:"+p.addr().String() || !strings.Contains(first.get("From"), ";tag=") || first.get("Contact") == "" || first.get("Accept") != "application/sdp" {
		t.Errorf("wrong OPTIONS: %+v", first)
	}
	alive := func(m *rawMessage) { p.reply(m, reply{status: "405 Method Not Allowed", tag: "x"}) }
	alive(first)
	awaitCapacity(t, e, func(c telephony.Capacity) bool { return !c.Up && strings.Contains(c.Why, "to 3 OPTIONS in a row") })
	p.serve.Store(&alive)
	awaitCapacity(t, e, func(c telephony.Capacity) bool { return c.Up })
}

func awaitCapacity(t *testing.T, e *Endpoint, want func(telephony.Capacity) bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !want(e.Capacity("trk_test")); time.Sleep(time.Millisecond) { // capacity has no event
		if time.Now().After(deadline) {
			t.Fatalf("capacity stays %+v", e.Capacity("trk_test"))
		}
	}
}

// TestTrunkThatCannotWorkIsDown: a peer that nothing can be sent to gets no call,
// and what is wrong is said: of the trunk and of each peer.
func TestTrunkThatCannotWorkIsDown(t *testing.T) {
	t.Parallel()
	w, other := newTLSWorld(t), newTLSWorld(t)
	settings := w.server("127.0.0.1", time.Now().Add(time.Hour))
	closed := newStreamPeer(t, nil)
	closed.on.Close()
	for name, tc := range map[string]struct {
		trunk func() telephony.Trunk
		why   string
	}{
		"wrong name": {func() telephony.Trunk {
			tr := w.trunk(newStreamPeer(t, settings))
			tr.ServerName = "other.example"
			return tr
		}, `its certificate is not for "other.example"`},
		"foreign ca": {func() telephony.Trunk {
			tr := w.trunk(newStreamPeer(t, settings))
			tr.CA = other.authority.PEM()
			return tr
		}, "its certificate is not signed by the trunk's ca"},
		"expired": {func() telephony.Trunk {
			return w.trunk(newStreamPeer(t, w.server("127.0.0.1", time.Now().Add(-time.Minute))))
		}, "its certificate has expired"},
		"refused":      {func() telephony.Trunk { tr := testTrunk(closed); tr.Transport = telephony.TCP; return tr }, "connection refused"},
		"no TLS there": {func() telephony.Trunk { return w.trunk(newHangUp(t)) }, "does it speak TLS?"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := tc.trunk()
			tr.OptionsSeconds = 1
			e := startEndpoint(t, func(c *Config) { c.second = 40 * time.Millisecond }, tr)
			awaitCapacity(t, e, func(c telephony.Capacity) bool { return !c.Up && strings.Contains(c.Why, tc.why) })
			peers := e.Peers("trk_test")
			if len(peers) != 1 || peers[0].State != telephony.PeerDown || !strings.Contains(peers[0].Why, tc.why) || peers[0].Transport != tr.Transport {
				t.Errorf("peers %+v", peers)
			}
			r := e.TestCall(t.Context(), telephony.TestCall{Call: dialer.NewCallID(), Trunk: "trk_test", To: "+4930123456", From: "+4940987654"})
			if !strings.Contains(r.Steps[0].What, tc.why) || !strings.Contains(r.Advice, tc.why) {
				t.Errorf("test call: %+v", r)
			}
		})
	}
}

// newHangUp is a peer that hangs up on whoever connects.
func newHangUp(t *testing.T) *rawPeer {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	})
	t.Cleanup(func() {
		l.Close()
		accepting.Wait()
	})
	return &rawPeer{t: t, on: &rawListener{Listener: l, via: "TLS"}}
}

// TestPeerStates: each word that is said of a peer.
func TestPeerStates(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	p := aLine(now, nil).pulses[aTarget.addr]
	is := func(word telephony.PeerWord, why string, until time.Time) {
		t.Helper()
		s := p.state(now)
		if s.State != word || s.Why != why || (s.Until == nil) != until.IsZero() || s.Until != nil && !s.Until.Equal(until) {
			t.Errorf("%+v, want %s: %s until %s", s, word, why, until)
		}
	}
	is(telephony.PeerUnproven, "it has not answered anything yet", time.Time{})
	p.heard(180, now)
	is(telephony.PeerUp, "", time.Time{})
	p.held = now.Add(9 * time.Second)
	is(telephony.PeerHeld, "192.0.2.1:5060 is overloaded and asked to wait until 22:13:29Z (503 Retry-After)", p.held)
	p.held = time.Time{}
	for range silentCalls {
		p.unheard(now, now)
	}
	is(telephony.PeerDown, "no answer from 192.0.2.1:5060: 3 calls in a row; next try in 6 s", now.Add(leastWait))
	now = now.Add(leastWait)
	is(telephony.PeerUnproven, "no answer from 192.0.2.1:5060: 3 calls in a row; one call tries it", time.Time{})
}
