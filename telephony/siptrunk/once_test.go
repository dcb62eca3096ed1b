package siptrunk

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"dialer"
	"dialer/telephony"
)

// A heldResolver is DNS that answers nothing before it is let go.
func heldResolver(ns *nameServer) (r *net.Resolver, letGo func()) {
	held, stop := context.WithCancel(context.Background())
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		select {
		case <-held.Done():
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		var d net.Dialer
		return d.DialContext(ctx, "udp", ns.conn.LocalAddr().String())
	}}, stop
}

// awaitSilent waits until a call to p has found it silent.
func awaitSilent(t *testing.T, e *Endpoint, p *rawPeer) {
	t.Helper()
	l, _ := e.line("trk_test")
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) { // a pulse has no event
		l.mu.Lock()
		silent := l.pulses[p.addr()].silent
		l.mu.Unlock()
		if silent > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the peer was not found silent")
		}
	}
}

// TestRingsWhileNextTrunkIsLookedUp: DNS may take seconds to find the next trunk.
// A peer that rings meanwhile is heard, and the person has one call, also when
// the peer refuses after that; one that stays silent is followed.
func TestRingsWhileNextTrunkIsLookedUp(t *testing.T) {
	for _, rings := range []bool{true, false} {
		t.Run(map[bool]string{true: "rings", false: "silent"}[rings], func(t *testing.T) {
			t.Parallel()
			a, b := newRawPeer(t), newRawPeer(t)
			ns := newNameServer(t)
			ns.set(func() { ns.hosts["slow.example."] = []netip.Addr{b.addr().Addr()} })
			dns, letGo := heldResolver(ns)
			defer letGo()
			next := testTrunk(b)
			next.ID, next.Address = "trk_b", netip.AddrPortFrom(b.addr().Addr(), b.addr().Port()).String()
			next.Address = strings.Replace(next.Address, b.addr().Addr().String(), "slow.example", 1)
			e := startEndpoint(t, func(c *Config) { quick(c); c.Resolver = dns }, testTrunk(a), next)
			inv := invite()
			inv.Backups = []dialer.TrunkID{"trk_b"}
			d := dial(t, t.Context(), e, inv)
			m := a.expect("INVITE")
			awaitSilent(t, e, a)
			if !rings {
				letGo()
				b.reply(b.expect("INVITE"), reply{status: "486 Busy Here", tag: "z"})
				if err := d.failed(); len(err.Tries) != 2 || err.SIPStatus != 486 {
					t.Errorf("got %+v", err)
				}
				return
			}
			a.reply(m, reply{status: "180 Ringing", tag: "x"})
			cancel := a.await("CANCEL", 2*time.Second)
			if cancel == nil {
				t.Fatal("the ringing was not heard while DNS was asked")
			}
			letGo()
			a.ok(cancel)
			a.reply(m, reply{status: "503 Service Unavailable", tag: "x"})
			if err := d.failed(); len(err.Tries) != 1 || err.RingingAt.IsZero() {
				t.Errorf("got %+v", err)
			}
			b.silent("INVITE", 20*time.Millisecond)
		})
	}
}

// TestLateTimerIsNoSilence: what a peer said while the process was stopped waits
// in the socket; a timer that is late gives the reader time.
func TestLateTimerIsNoSilence(t *testing.T) {
	s := listenFor(4 * time.Second)
	defer s.Stop()
	now := s.due
	if s.overslept(now.Add(mostLate / 2)) {
		t.Error("a timer in time is not believed")
	}
	if !s.overslept(now.Add(time.Minute)) {
		t.Error("a timer that is a minute late is believed")
	}
	if left := time.Until(s.due); left <= 0 || left > catchUp {
		t.Errorf("the reader gets %s", left)
	}
	if s.overslept(s.due) {
		t.Error("the timer is not believed after that")
	}
}

// TestChannelIsBackAfterRedirection: a phone that has rung is redirected to a
// peer that stays silent; no other is asked, and no channel stays behind.
func TestChannelIsBackAfterRedirection(t *testing.T) {
	t.Parallel()
	a, b, c := newRawPeer(t), newRawPeer(t), newRawPeer(t)
	tr := testBackups(a, b, c)
	tr.Redirects = true
	e := startEndpoint(t, quick, tr)
	d := dial(t, t.Context(), e, invite())
	m := a.expect("INVITE")
	a.reply(m, reply{status: "180 Ringing", tag: "x"})
	a.reply(m, reply{status: "302 Moved Temporarily", tag: "x", contact: "<sip:+4930123456@" + b.addr().String() + ">"})
	m = b.expect("INVITE")
	awaitSilent(t, e, a)
	b.reply(m, reply{status: "486 Busy Here", tag: "x"})
	b.expect("ACK")
	if err := d.failed(); len(err.Tries) != 1 || err.SIPStatus != 486 {
		t.Errorf("got %+v", err)
	}
	c.silent("INVITE", 20*time.Millisecond)
	awaitFree(t, e)
}

// TestRefusalAfterRingingIsFinal: what is sent again for a refusal would ring the
// same phone a second time.
func TestRefusalAfterRingingIsFinal(t *testing.T) {
	for status, code := range map[string]int{"488 Not Acceptable Here": 488, "422 Session Interval Too Small": 422} {
		t.Run(status, func(t *testing.T) {
			t.Parallel()
			p := newRawPeer(t)
			tr := testTrunk(p)
			tr.SRTP = telephony.SRTPOptional
			e := startEndpoint(t, nil, tr)
			d := dial(t, t.Context(), e, invite())
			m := p.expect("INVITE")
			p.reply(m, reply{status: "180 Ringing", tag: "x"})
			p.reply(m, reply{status: status, tag: "x", headers: []string{"Min-SE: 7200"}})
			p.silent("INVITE", 100*time.Millisecond)
			if err := d.failed(); err.SIPStatus != code || err.RingingAt.IsZero() {
				t.Errorf("got %+v", err)
			}
		})
	}
}

// TestInvitesThatLeftAreTold: a Dial that ends while it waits to ask the next peer
// is not told as one that was never sent.
func TestInvitesThatLeftAreTold(t *testing.T) {
	t.Parallel()
	a, b := newRawPeer(t), newRawPeer(t)
	tr := testBackups(a, b)
	tr.CPS = 1
	e := startEndpoint(t, nil, tr)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	d := dial(t, ctx, e, invite())
	a.reply(a.expect("INVITE"), reply{status: "503 Service Unavailable", tag: "x"})
	a.expect("ACK")
	cancel()
	if err := d.failed(); err.Cause != telephony.CauseCancelled || len(err.Tries) != 1 || err.Tries[0].Why != "" {
		t.Errorf("got %+v", err)
	}
	b.silent("INVITE", 20*time.Millisecond)
	awaitFree(t, e)
}

// TestUnusableTrunkIsPassedOver: a trunk that no INVITE can be made for does not
// end the search.
func TestUnusableTrunkIsPassedOver(t *testing.T) {
	t.Parallel()
	a, b := newRawPeer(t), newRawPeer(t)
	bad, good := testTrunk(a), testTrunk(b)
	bad.Codecs, good.ID = []string{"tin-can"}, "trk_b"
	e := startEndpoint(t, nil, bad, good)
	inv := invite()
	inv.Backups = []dialer.TrunkID{"trk_b"}
	d := dial(t, t.Context(), e, inv)
	b.reply(b.expect("INVITE"), reply{status: "486 Busy Here", tag: "x"})
	if err := d.failed(); err.SIPStatus != 486 || len(err.Tries) != 1 {
		t.Errorf("got %+v", err)
	}
	awaitFree(t, e)
}
