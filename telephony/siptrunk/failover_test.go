package siptrunk

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"dialer"
	"dialer/telephony"
)

// testBackups is a trunk with a peer and further ones.
func testBackups(first *rawPeer, more ...*rawPeer) telephony.Trunk {
	tr := testTrunk(first)
	for _, p := range more {
		tr.Backups = append(tr.Backups, p.addr().String())
	}
	return tr
}

func quick(c *Config) { c.NoResponse = 50 * time.Millisecond }

// TestFailsOverWhenPeerFails: what the next peer is asked after, and what not.
func TestFailsOverWhenPeerFails(t *testing.T) {
	for _, tc := range []struct {
		status string
		reason string
		next   bool
	}{
		{"500 Server Internal Error", "", true},
		{"502 Bad Gateway", "", true},
		{"503 Service Unavailable", "", true},
		{"504 Server Time-out", "", true},
		{"503 Service Unavailable", "Q.850;cause=34", true}, // no circuit: another has one
		{"500 Server Internal Error", "Q.850;cause=17", false},
		{"503 Service Unavailable", "Q.850;cause=1", false},
		{"501 Not Implemented", "", false},
		{"505 Version Not Supported", "", false},
		{"513 Message Too Large", "", false},
		{"403 Forbidden", "", false},
		{"404 Not Found", "", false},
		{"408 Request Timeout", "", false},
		{"486 Busy Here", "", false},
		{"302 Moved Temporarily", "", false},
		{"603 Decline", "", false},
	} {
		t.Run(tc.status+" "+tc.reason, func(t *testing.T) {
			t.Parallel()
			a, b := newRawPeer(t), newRawPeer(t)
			e := startEndpoint(t, nil, testBackups(a, b))
			d := dial(t, t.Context(), e, invite())
			r := reply{status: tc.status, tag: "x"}
			if tc.reason != "" {
				r.headers = []string{"Reason: " + tc.reason}
			}
			first := a.expect("INVITE")
			a.reply(first, r)
			if !tc.next {
				if err := d.failed(); len(err.Tries) != 1 || err.Tries[0].Why != "" || err.SIPStatus == 0 {
					t.Errorf("got %+v", err)
				}
				b.silent("INVITE", 20*time.Millisecond)
				return
			}
			m := b.expect("INVITE")
			if m.get("Call-ID") == first.get("Call-ID") || callOf(m.get("Call-ID")) != callOf(first.get("Call-ID")) {
				t.Errorf("Call-ID %s after %s", m.get("Call-ID"), first.get("Call-ID"))
			}
			b.reply(m, answerSDP)
			info := d.answered().Info()
			if info.Trunk != "trk_test" || len(info.Tries) != 2 || !info.PlacedAt.Equal(info.Tries[0].At) {
				t.Fatalf("info %+v", info)
			}
			want := []telephony.Try{
				{Trunk: "trk_test", Peer: "udp:" + a.addr().String(), Why: tc.status},
				{Trunk: "trk_test", Peer: "udp:" + b.addr().String(), Status: 200},
			}
			for i, try := range info.Tries {
				if try.Peer != want[i].Peer || try.Trunk != want[i].Trunk || try.Why != want[i].Why {
					t.Errorf("try %d: %+v, want %+v", i, try, want[i])
				}
			}
			if got := info.Tries[0].Status; tc.status[:3] != (map[int]string{500: "500", 502: "502", 503: "503", 504: "504"})[got] {
				t.Errorf("the first try ended with %d", got)
			}
			if c := e.Capacity("trk_test"); c.InUse != 1 {
				t.Errorf("%d channels for one call", c.InUse)
			}
		})
	}
}

// TestNothingRingsTwice: once anything has rung, a failure is the call's end.
func TestNothingRingsTwice(t *testing.T) {
	t.Parallel()
	a, b := newRawPeer(t), newRawPeer(t)
	e := startEndpoint(t, nil, testBackups(a, b))
	d := dial(t, t.Context(), e, invite())
	m := a.expect("INVITE")
	a.reply(m, reply{status: "180 Ringing", tag: "x"})
	a.reply(m, reply{status: "503 Service Unavailable", tag: "x"})
	if err := d.failed(); err.SIPStatus != 503 || len(err.Tries) != 1 || err.RingingAt.IsZero() {
		t.Errorf("got %+v", err)
	}
	b.silent("INVITE", 30*time.Millisecond)
}

// TestSilentPeerIsLeftAtOnce: the next peer is asked after NoResponse. What the
// silent one sends after all is cancelled, or hung up and told, and counts as a
// channel while it is there.
func TestSilentPeerIsLeftAtOnce(t *testing.T) {
	for _, late := range []string{"never", "rings", "answers"} {
		t.Run(late, func(t *testing.T) {
			t.Parallel()
			a, b := newRawPeer(t), newRawPeer(t)
			ghosts := make(chan dialer.CallID, 1)
			e := startEndpoint(t, func(c *Config) {
				quick(c)
				c.OnGhost = func(id dialer.CallID, _ time.Time) { ghosts <- id }
			}, testBackups(a, b))
			inv := invite()
			d := dial(t, t.Context(), e, inv)
			lost := a.expect("INVITE")
			m := b.expect("INVITE")
			b.reply(m, reply{status: "180 Ringing", tag: "b"})
			b.reply(m, answerSDP)
			leg := d.answered()
			if info := leg.Info(); len(info.Tries) != 2 || info.Tries[0].Why != "no response" || info.Tries[0].Status != 0 {
				t.Errorf("tries %+v", info.Tries)
			}
			if c := e.Capacity("trk_test"); c.InUse != 1 {
				t.Errorf("%d channels for one call", c.InUse)
			}
			switch late {
			case "rings":
				a.reply(lost, reply{status: "180 Ringing", tag: "a"})
				cancel := a.expect("CANCEL")
				if c := e.Capacity("trk_test"); c.InUse != 2 {
					t.Errorf("%d channels while the lost call rings", c.InUse)
				}
				a.ok(cancel)
				a.reply(lost, reply{status: "487 Request Terminated", tag: "a"})
				a.expect("ACK")
			case "answers":
				a.reply(lost, reply{status: "200 OK", tag: "a", body: sdp(someSDPPort)})
				a.expect("ACK")
				a.ok(a.expect("BYE"))
				select {
				case id := <-ghosts:
					if id != inv.Call {
						t.Errorf("ghost of %s", id)
					}
				case <-time.After(patience):
					t.Error("the late answer was not told")
				}
			}
			select {
			case <-leg.Done():
				t.Error("the leg did not survive")
			default:
			}
			leg.Hangup(telephony.CauseNormal)
			b.ok(b.expect("BYE"))
			for deadline := time.Now().Add(patience); e.Capacity("trk_test").InUse > 0; time.Sleep(time.Millisecond) { // capacity has no event
				if time.Now().After(deadline) {
					t.Fatalf("%+v", e.Capacity("trk_test"))
				}
			}
		})
	}
}

// TestBackupTrunks: other trunks follow, with settings and channels of their own.
func TestBackupTrunks(t *testing.T) {
	t.Parallel()
	a, b, c := newRawPeer(t), newRawPeer(t), newRawPeer(t)
	full, small := testTrunk(b), testTrunk(c)
	full.ID, full.Channels = "trk_full", 1
	small.ID, small.Prefix, small.Channels = "trk_small", "99", 1
	e := startEndpoint(t, nil, testTrunk(a), full, small)
	fill := invite()
	fill.Trunk = "trk_full"
	awaitTokens(t, e, 1)
	holding := dial(t, t.Context(), e, fill)
	held := b.expect("INVITE")
	b.reply(held, reply{status: "100 Trying"})

	inv := invite()
	inv.Backups = []dialer.TrunkID{"trk_full", "trk_none", "trk_small"}
	admitted := 0
	inv.OnAdmitted = func() { admitted++ }
	d := dial(t, t.Context(), e, inv)
	a.reply(a.expect("INVITE"), reply{status: "503 Service Unavailable", tag: "x"})
	m := c.expect("INVITE")
	if !strings.HasPrefix(m.uri(), "sip:99+4930123456@") {
		t.Errorf("INVITE to %s", m.uri())
	}
	c.reply(m, answerSDP)
	leg := d.answered()
	if info := leg.Info(); info.Trunk != "trk_small" || len(info.Tries) != 2 || info.Tries[1].Trunk != "trk_small" {
		t.Errorf("info %+v", info)
	}
	if admitted != 1 {
		t.Errorf("admitted %d times", admitted)
	}
	for id, want := range map[dialer.TrunkID]int{"trk_test": 0, "trk_full": 1, "trk_small": 1} {
		for deadline := time.Now().Add(patience); e.Capacity(id).InUse != want; time.Sleep(time.Millisecond) { // capacity has no event
			if time.Now().After(deadline) {
				t.Fatalf("%s: %d channels in use, want %d", id, e.Capacity(id).InUse, want)
			}
		}
	}
	b.silent("INVITE", 20*time.Millisecond)

	// All full: the call was not sent, and says why for each.
	last := invite()
	last.Trunk, last.Backups = "trk_small", []dialer.TrunkID{"trk_full"}
	if err := dial(t, t.Context(), e, last).failed(); err.Cause != telephony.CauseNotSent || !strings.Contains(err.Reason, "trk_full: all 1 channels") {
		t.Errorf("got %+v", err)
	}
	leg.Hangup(telephony.CauseNormal)
	c.ok(c.expect("BYE"))
	b.reply(held, reply{status: "486 Busy Here", tag: "x"})
	holding.failed()
}

// TestLastPeersFinalWordIsAwaited: with nobody left to ask, Dial stays until it
// is known that the number does not ring.
func TestLastPeersFinalWordIsAwaited(t *testing.T) {
	t.Parallel()
	a, b := newRawPeer(t), newRawPeer(t)
	e := startEndpoint(t, quick, testBackups(a, b))
	d := dial(t, t.Context(), e, invite())
	a.expect("INVITE")
	m := b.expect("INVITE")
	select {
	case <-d.done:
		t.Fatal("Dial returned while the number might still ring")
	case <-time.After(150 * time.Millisecond): // three times NoResponse
	}
	b.reply(m, reply{status: "200 OK", tag: "b", body: sdp(someSDPPort)})
	b.expect("ACK")
	b.ok(b.expect("BYE"))
	if err := d.failed(); !err.Ghost || len(err.Tries) != 2 || err.Cause != telephony.CauseUnreachable {
		t.Errorf("got %+v", err)
	}
}

// TestStopDoesNotWaitForSilentPeers: CANCEL may not be sent to a peer that has said
// nothing (RFC 3261 9.1), so there is nothing to wait for.
func TestStopDoesNotWaitForSilentPeers(t *testing.T) {
	t.Parallel()
	p := newRawPeer(t)
	e := newEndpoint(t, quick, testTrunk(p))
	e.leaveWait = time.Hour
	stop := runEndpoint(t, e)
	d := dial(t, t.Context(), e, invite())
	p.expect("INVITE")
	stop()
	if err := d.failed(); err.Cause != telephony.CauseCancelled && err.Cause != telephony.CauseUnreachable {
		t.Errorf("got %+v", err)
	}
	if m := p.await("CANCEL", 20*time.Millisecond); m != nil {
		t.Errorf("sent %v", m)
	}
}

// TestFurtherInvitesKeepTheRate: a carrier counts INVITEs, so each peer that is
// asked has its turn, and a Dial that is cancelled while it waits is over.
func TestFurtherInvitesKeepTheRate(t *testing.T) {
	t.Parallel()
	a, b := newRawPeer(t), newRawPeer(t)
	tr := testBackups(a, b)
	tr.CPS = 2
	e := startEndpoint(t, nil, tr)
	d := dial(t, t.Context(), e, invite())
	first := time.Now()
	a.reply(a.expect("INVITE"), reply{status: "503 Service Unavailable", tag: "x"})
	m := b.expect("INVITE")
	if gap := time.Since(first); gap < 400*time.Millisecond {
		t.Errorf("the second INVITE came after %s, at 2 calls a second", gap)
	}
	b.reply(m, reply{status: "486 Busy Here", tag: "x"})
	d.failed()

	ctx, cancel := context.WithCancel(t.Context())
	d = dial(t, ctx, e, invite())
	a.reply(a.expect("INVITE"), reply{status: "503 Service Unavailable", tag: "x"})
	a.expect("ACK")
	cancel()
	if err := d.failed(); len(err.Tries) != 1 {
		t.Errorf("got %+v", err)
	}
	b.silent("INVITE", 20*time.Millisecond)
	awaitFree(t, e)
}

// TestRetryAfterHoldsOneTarget: the peer that asked for it gets no calls, the
// others do; a trunk whose only peer it is says so.
func TestRetryAfterHoldsOneTarget(t *testing.T) {
	t.Parallel()
	a, b := newRawPeer(t), newRawPeer(t)
	alone := testTrunk(a)
	e := startEndpoint(t, nil, testBackups(a, b))
	d := dial(t, t.Context(), e, invite())
	a.reply(a.expect("INVITE"), reply{status: "503 Service Unavailable", tag: "x", headers: []string{"Retry-After: 20 (maintenance)"}})
	b.reply(b.expect("INVITE"), reply{status: "486 Busy Here", tag: "x"})
	d.failed()
	d = dial(t, t.Context(), e, invite())
	b.reply(b.expect("INVITE"), reply{status: "486 Busy Here", tag: "x"})
	if err := d.failed(); len(err.Tries) != 1 {
		t.Errorf("tries %+v", err.Tries)
	}
	a.expect("ACK")
	a.silent("INVITE", 20*time.Millisecond)
	if c := e.Capacity("trk_test"); !c.Up {
		t.Errorf("capacity %+v", c)
	}

	e.SetTrunks([]telephony.Trunk{alone}) // the address is new, so it is trusted
	awaitTokens(t, e, 1)
	d = dial(t, t.Context(), e, invite())
	a.reply(a.expect("INVITE"), reply{status: "503 Service Unavailable", tag: "x", headers: []string{"Retry-After: 20"}})
	if err := d.failed(); err.SIPStatus != 503 {
		t.Errorf("got %+v", err)
	}
	if c := e.Capacity("trk_test"); c.Up || !strings.Contains(c.Why, "Retry-After") {
		t.Errorf("capacity %+v", c)
	}
}

// TestCapsHoldUnderFailover: many calls at once, a peer that refuses, one that is
// silent, one that answers, and never more legs than channels at the carrier.
func TestCapsHoldUnderFailover(t *testing.T) {
	t.Parallel()
	const channels = 5
	refusing, silent, good := newRawPeer(t), newRawPeer(t), newRawPeer(t)
	var mu sync.Mutex
	up, most := map[string]bool{}, 0 // by Call-ID: a busy machine repeats INVITEs
	serve := func(p *rawPeer, f func(m *rawMessage)) { p.serve.Store(&f) }
	serve(refusing, func(m *rawMessage) {
		if m.method() == "INVITE" {
			refusing.reply(m, reply{status: "500 Server Error", tag: "x"})
		}
	})
	serve(silent, func(*rawMessage) {})
	serve(good, func(m *rawMessage) {
		switch m.method() {
		case "INVITE":
			mu.Lock()
			up[m.get("Call-ID")] = true
			most = max(most, len(up))
			mu.Unlock()
			good.reply(m, answerSDP)
		case "BYE":
			mu.Lock()
			delete(up, m.get("Call-ID"))
			mu.Unlock()
			good.ok(m)
		}
	})
	tr := testBackups(refusing, silent, good)
	tr.Channels, tr.CPS = channels, 50
	e := startEndpoint(t, quick, tr)
	var calls sync.WaitGroup
	answered := 0
	for range 40 {
		calls.Go(func() {
			for t.Context().Err() == nil {
				leg, err := e.Dial(t.Context(), invite())
				if err != nil {
					time.Sleep(5 * time.Millisecond) // no channel, no token: an event for neither
					mu.Lock()
					enough := answered >= 25
					mu.Unlock()
					if enough {
						return
					}
					continue
				}
				mu.Lock()
				answered++
				mu.Unlock()
				leg.Hangup(telephony.CauseNormal)
				return
			}
		})
	}
	calls.Wait()
	mu.Lock()
	defer mu.Unlock()
	if most > channels || most == 0 {
		t.Errorf("%d legs at once on %d channels", most, channels)
	}
}
