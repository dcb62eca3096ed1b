package siptrunk

import (
	"context"
	"strings"
	"testing"
	"time"

	"dialer"
	"dialer/telephony"
)

// TestTestCall: what happened is told in order, with a word of advice.
func TestTestCall(t *testing.T) {
	t.Parallel()
	a, b, rtp := newRawPeer(t), newRawPeer(t), newRTPPeer(t)
	e := startEndpoint(t, nil, testBackups(a, b))
	call := telephony.TestCall{Call: dialer.NewCallID(), Trunk: "trk_test", To: "+4930123456", From: "+4940987654", Talk: 200 * time.Millisecond}
	begin := func() <-chan telephony.TestReport {
		awaitTokens(t, e, 2)
		call.Call = dialer.NewCallID()
		done := make(chan telephony.TestReport, 1)
		go func() { done <- e.TestCall(t.Context(), call) }()
		return done
	}
	await := func(done <-chan telephony.TestReport) telephony.TestReport {
		t.Helper()
		select {
		case r := <-done:
			return r
		case <-time.After(patience):
			t.Fatal("the test call did not end")
		}
		panic("unreachable")
	}

	done := begin()
	a.reply(a.expect("INVITE"), reply{status: "500 Server Error", tag: "x"})
	m := b.expect("INVITE")
	b.reply(m, reply{status: "180 Ringing", tag: "b"})
	b.reply(m, reply{status: "200 OK", tag: "b", body: sdp(rtp.port())})
	stop := rtp.stream(offeredRTP(t, m), 0xff)
	defer stop()
	b.ok(b.expect("BYE"))
	r := await(done)
	if !r.Answered || r.Status != 200 || len(r.Tries) != 2 || r.Media.Heard == 0 || r.Media.Sent < 5 || r.Media.Codec != "PCMU" || r.Call != call.Call {
		t.Errorf("report %+v", r)
	}
	if r.Advice != "The trunk works, over a further peer: the first did not take the call." {
		t.Errorf("advice %q", r.Advice)
	}
	if len(r.Targets) != 2 || r.Targets[0] != "udp:"+a.addr().String() {
		t.Errorf("targets %v", r.Targets)
	}
	at, last := 0, int64(0)
	for _, want := range []string{" is at ", " is at ", "a channel was free", "was given up: 500 Server Error", "180", "answered by udp:" + b.addr().String(), "hanging up after 0.2 s", "heard "} {
		if at == len(r.Steps) || !strings.Contains(r.Steps[at].What, want) || r.Steps[at].AfterMS < last {
			t.Fatalf("step %d is not %q: %+v", at, want, r.Steps)
		}
		last = r.Steps[at].AfterMS
		at++
	}
	stop()

	for _, tc := range []struct{ status, advice string }{
		{"407 Proxy Authentication Required", "give the trunk its username and password"},
		{"403 Forbidden", "forbids the call"},
		{"404 Not Found", "does not know the number"},
		{"488 Not Acceptable Here", "does not take our audio"},
		{"486 Busy Here", "The trunk works"},
		{"420 Bad Extension", "GET /v1/calls/{id}/sip"},
	} {
		done := begin()
		headers := []string{}
		if tc.status[:3] == "407" {
			headers = append(headers, challengeFor("x"))
		}
		a.reply(a.expect("INVITE"), reply{status: tc.status, tag: "x", headers: headers})
		if r := await(done); r.Answered || !strings.Contains(r.Advice, tc.advice) || len(r.Tries) != 1 {
			t.Errorf("%s: %+v", tc.status, r)
		}
	}

	call.Trunk = "trk_none"
	if r := e.TestCall(t.Context(), call); r.Answered || r.Advice == "" || len(r.Steps) == 0 {
		t.Errorf("no trunk: %+v", r)
	}
	off := testTrunk(a)
	off.Enabled = false
	e.SetTrunks([]telephony.Trunk{off})
	call.Trunk = "trk_test"
	if r := e.TestCall(t.Context(), call); r.Cause != telephony.CauseNotSent || !strings.Contains(r.Advice, "disabled") {
		t.Errorf("disabled: %+v", r)
	}
}

// TestTestCallLosesItsPeer: a peer that goes away after its 183 does not work.
func TestTestCallLosesItsPeer(t *testing.T) {
	t.Parallel()
	p := newStreamPeer(t, nil)
	tr := testTrunk(p)
	tr.Transport = telephony.TCP
	e := newEndpoint(t, nil, tr)
	e.finalWait = 100 * time.Millisecond
	runEndpoint(t, e)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan telephony.TestReport, 1)
	go func() {
		done <- e.TestCall(ctx, telephony.TestCall{Call: dialer.NewCallID(), Trunk: "trk_test", To: "+4930123456", From: "+4940987654"})
	}()
	p.reply(p.expect("INVITE"), reply{status: "183 Session Progress", tag: "x"})
	p.on.Close()
	p.on.drop()
	time.AfterFunc(300*time.Millisecond, stop) // whoever asked gives up; it would ring out else
	r := <-done
	steps := ""
	for _, s := range r.Steps {
		steps += s.What + "\n"
	}
	if !strings.Contains(steps, "TCP connection to "+p.addr().String()+" lost") || !strings.HasPrefix(r.Advice, "The peer vanished") {
		t.Errorf("report %+v", r)
	}
}

// TestTestCallNamesBothRealms: a password that was not sent was not refused.
func TestTestCallNamesBothRealms(t *testing.T) {
	t.Parallel()
	p := newRawPeer(t)
	tr := testTrunk(p)
	tr.Username, tr.Password, tr.Realm = "us", "secret", "other.example"
	e := startEndpoint(t, nil, tr)
	done := make(chan telephony.TestReport, 1)
	go func() {
		done <- e.TestCall(t.Context(), telephony.TestCall{Call: dialer.NewCallID(), Trunk: "trk_test", To: "+4930123456", From: "+4940987654"})
	}()
	p.reply(p.expect("INVITE"), reply{status: "407 Proxy Authentication Required", tag: "x", headers: []string{challengeFor("carrier.example")}})
	r := <-done
	for _, realm := range []string{"carrier.example", "other.example"} {
		if !strings.Contains(r.Advice, realm) {
			t.Errorf("%s is not named: %+v", realm, r)
		}
	}
	if !strings.Contains(r.Steps[2].What, "407: the peer asks for the password; not sent") {
		t.Errorf("steps %+v", r.Steps)
	}
}

// TestTestCallOfASilentPeer ends when the peer is given up: nobody waits for the
// peer's final word.
func TestTestCallOfASilentPeer(t *testing.T) {
	t.Parallel()
	p := newRawPeer(t)
	e := startEndpoint(t, func(c *Config) { c.NoResponse = 200 * time.Millisecond }, testTrunk(p))
	began := time.Now()
	r := e.TestCall(t.Context(), telephony.TestCall{Call: dialer.NewCallID(), Trunk: "trk_test", To: "+4930123456", From: "+4940987654"})
	if took := time.Since(began); took > patience || r.Cause != telephony.CauseUnreachable || !strings.HasPrefix(r.Advice, "The peer does not answer") {
		t.Errorf("after %s: %+v", took, r)
	}
	m := p.expect("INVITE")
	p.reply(m, reply{status: "180 Ringing", tag: "x"}) // its late word is still answered
	p.ok(p.expect("CANCEL"))
	p.reply(m, reply{status: "487 Request Terminated", tag: "x"})
}
