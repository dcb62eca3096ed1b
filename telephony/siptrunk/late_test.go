package siptrunk

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"dialer"
	"dialer/telephony"
)

// ghostly is a Config that tells of ghosts.
func ghostly(ghosts chan dialer.CallID) func(*Config) {
	return func(c *Config) { c.OnGhost = func(id dialer.CallID, _ time.Time) { ghosts <- id } }
}

// oneGhost fails unless exactly one was told, of a call.
func oneGhost(t *testing.T, ghosts chan dialer.CallID, call dialer.CallID) {
	t.Helper()
	select {
	case id := <-ghosts:
		if id != call {
			t.Errorf("ghost of %s", id)
		}
	case <-time.After(patience):
		t.Error("no ghost was told")
	}
	if len(ghosts) > 0 {
		t.Error("told twice")
	}
}

// TestAnswerBehindRefusal: a proxy that forks passes an answer on behind a refusal
// (RFC 3261 16.7 step 5). Whoever answered is hung up, and told once.
func TestAnswerBehindRefusal(t *testing.T) {
	for _, at := range []string{"at once", "later"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			p := newRawPeer(t)
			ghosts := make(chan dialer.CallID, 4)
			e := startEndpoint(t, ghostly(ghosts), testTrunk(p))
			inv := invite()
			d := dial(t, t.Context(), e, inv)
			m := p.expect("INVITE")
			p.reply(m, reply{status: "180 Ringing", tag: answerSDP.tag})
			p.reply(m, reply{status: "486 Busy Here", tag: "b"})
			if at == "later" {
				p.expect("ACK")
				d.failed()
			}
			p.reply(m, answerSDP)
			bye := p.expect("BYE")
			if !strings.HasSuffix(bye.get("To"), ";tag="+answerSDP.tag) {
				t.Errorf("BYE to %s", bye.get("To"))
			}
			p.ok(bye)
			p.reply(m, answerSDP) // its ACK was lost
			p.expect("ACK")
			if err := d.failed(); err.Cause != telephony.CauseBusy {
				t.Errorf("got %+v", err)
			}
			oneGhost(t, ghosts, inv.Call)
			awaitFree(t, e)
		})
	}
}

// TestRefusalBehindAnswer: the answer stands.
func TestRefusalBehindAnswer(t *testing.T) {
	t.Parallel()
	p := newRawPeer(t)
	e := startEndpoint(t, nil, testTrunk(p))
	d := dial(t, t.Context(), e, invite())
	m := p.expect("INVITE")
	p.reply(m, answerSDP)
	p.reply(m, answerSDP)
	p.expect("ACK")
	p.reply(m, reply{status: "486 Busy Here", tag: answerSDP.tag})
	p.reply(m, answerSDP)
	p.expect("ACK")
	leg := d.answered()
	p.silent("BYE", 50*time.Millisecond)
	leg.Hangup(telephony.CauseNormal)
	p.ok(p.expect("BYE"))
}

// TestSecondForkIsGhost: whoever takes the second phone hears nothing; that is
// told, once.
func TestSecondForkIsGhost(t *testing.T) {
	t.Parallel()
	p := newRawPeer(t)
	ghosts := make(chan dialer.CallID, 4)
	e := startEndpoint(t, ghostly(ghosts), testTrunk(p))
	inv := invite()
	d := dial(t, t.Context(), e, inv)
	m := p.expect("INVITE")
	p.reply(m, answerSDP)
	leg := d.answered()
	p.expect("ACK")
	for range 3 {
		p.reply(m, reply{status: "200 OK", tag: "fork2", body: sdp(someSDPPort)})
	}
	p.ok(p.expect("BYE"))
	p.silent("BYE", 50*time.Millisecond)
	oneGhost(t, ghosts, inv.Call)
	leg.Hangup(telephony.CauseNormal)
	p.ok(p.expect("BYE"))
}

// TestAbandonedInviteIsNotRepeated: the peer that was given up is not asked again
// while another one rings the phone, but is heard.
func TestAbandonedInviteIsNotRepeated(t *testing.T) {
	t.Parallel()
	a, b := newRawPeer(t), newRawPeer(t)
	ghosts := make(chan dialer.CallID, 4)
	e := startEndpoint(t, func(c *Config) { quick(c); ghostly(ghosts)(c) }, testBackups(a, b))
	inv := invite()
	d := dial(t, t.Context(), e, inv)
	m := a.expect("INVITE")
	next := b.expect("INVITE")
	b.reply(next, reply{status: "180 Ringing", tag: "b"})
	a.silent("INVITE", 700*time.Millisecond) // T1 is 500 ms
	a.reply(m, answerSDP)
	a.expect("ACK")
	a.ok(a.expect("BYE"))
	oneGhost(t, ghosts, inv.Call)
	b.reply(next, reply{status: "486 Busy Here", tag: "b"})
	d.failed()
}

// TestAnswerDoesNotWaitForDNS: ACK and audio begin before the name in Contact is
// found; later requests go where it leads.
func TestAnswerDoesNotWaitForDNS(t *testing.T) {
	t.Parallel()
	a, node := newRawPeer(t), newRawPeerAt(t, "127.0.0.2")
	ns := newNameServer(t)
	ns.set(func() { ns.hosts["sbc7.example."] = []netip.Addr{node.addr().Addr()} })
	dns, letGo := heldResolver(ns)
	defer letGo()
	e := startEndpoint(t, func(c *Config) { c.Resolver = dns }, testTrunk(a))
	d := dial(t, t.Context(), e, invite())
	m := a.expect("INVITE")
	r := answerSDP
	r.contact = "<sip:callee@" + strings.Replace(node.addr().String(), "127.0.0.2", "sbc7.example", 1) + ">"
	a.reply(m, r)
	if a.await("ACK", 2*time.Second) == nil {
		t.Fatal("the ACK waits for DNS")
	}
	leg := d.answered()
	letGo()
	for deadline := time.Now().Add(patience); !e.guard.peers.known(node.addr().Addr()); time.Sleep(time.Millisecond) { // no event
		if time.Now().After(deadline) {
			t.Fatalf("the far end is not admitted from where DNS says it is: %v", leg.d.hosts())
		}
	}
	if !slices.Contains(leg.d.hosts(), node.addr().Addr()) {
		t.Errorf("hosts %v", leg.d.hosts())
	}
	leg.Hangup(telephony.CauseNormal)
	node.ok(node.expect("BYE"))
}

// TestFinalsAreBounded: neither number nor age of what is remembered grows.
func TestFinalsAreBounded(t *testing.T) {
	var f finals
	now := time.Now()
	if !f.note("a", true, now) || !f.note("a", false, now) || f.note("b", false, now) || f.note("b", true, now) {
		t.Error("the first word does not stand")
	}
	if refused, known := f.first("a", now.Add(finalsLife)); !refused || !known {
		t.Error("forgotten too early")
	}
	if _, known := f.first("a", now.Add(2*finalsLife)); known {
		t.Error("kept too long")
	}
	for i := range maxFinals + 10 {
		f.note(strings.Repeat("x", i%7)+newTag(), true, now.Add(2*finalsLife))
	}
	if len(f.recent) > maxFinals {
		t.Errorf("%d kept", len(f.recent))
	}
}

// TestEveryCallIsCancelledAtTheEnd: CANCELs are paced, and a stop waits until each
// has had its turn.
func TestEveryCallIsCancelledAtTheEnd(t *testing.T) {
	t.Parallel()
	p := newRawPeer(t)
	e := newEndpoint(t, nil, testTrunk(p))
	e.leaveWait = time.Millisecond
	e.pace = &gate{every: 50 * time.Millisecond}
	stop := runEndpoint(t, e)
	const calls = 4
	var invites []*rawMessage
	var dials []*dialed
	for range calls {
		dials = append(dials, dial(t, t.Context(), e, invite()))
		m := p.expect("INVITE")
		p.reply(m, reply{status: "180 Ringing", tag: "x"})
		invites = append(invites, m)
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		stop()
	}()
	for range calls {
		cancel := p.expect("CANCEL")
		p.ok(cancel)
		for _, m := range invites {
			if m.get("Call-ID") == cancel.get("Call-ID") {
				p.reply(m, reply{status: "487 Request Terminated", tag: "x"})
			}
		}
	}
	for _, d := range dials {
		if err := d.failed(); err.SIPStatus != 487 {
			t.Errorf("got %+v", err)
		}
	}
	<-stopped
}
