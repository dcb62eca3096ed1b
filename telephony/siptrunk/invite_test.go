package siptrunk

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"dialer"
	"dialer/telephony"
)

var answerSDP = reply{status: "200 OK", tag: "a1", body: sdp(someSDPPort)}

func TestAnsweredAndHungUpByUs(t *testing.T) {
	p := newRawPeer(t)
	e := startEndpoint(t, nil, testTrunk(p))
	inv := invite()
	inv.Headers = map[string]string{"X-Attempt": "7"}
	d := dial(t, t.Context(), e, inv)
	m := p.expect("INVITE")
	if want := string(inv.Call) + "@"; !strings.HasPrefix(m.get("Call-ID"), want) {
		t.Errorf("Call-ID is %q, want the user part %q", m.get("Call-ID"), want)
	}
	if m.get("X-Attempt") != "7" || m.uri() != "sip:+4930123456@"+p.addr().String() {
		t.Errorf("wrong INVITE: %s, X-Attempt %q", m.start, m.get("X-Attempt"))
	}
	if want := `"Test" <sip:+4940987654@127.0.0.1>;tag=`; !strings.HasPrefix(m.get("From"), want) {
		t.Errorf("From is %q, want %q", m.get("From"), want)
	}
	p.reply(m, reply{status: "100 Trying"})
	p.reply(m, reply{status: "180 Ringing", tag: "a1"})
	p.reply(m, answerSDP)
	leg := d.answered()
	ack := p.expect("ACK")
	if ack.cseq() != m.cseq() || ack.uri() != "sip:callee@"+p.addr().String() {
		t.Errorf("wrong ACK: %s, CSeq %s", ack.start, ack.get("CSeq"))
	}
	info := leg.Info()
	if info.RingingAt.IsZero() || info.AnsweredAt.Before(info.PlacedAt) || info.Call != inv.Call || info.Trunk != inv.Trunk {
		t.Errorf("wrong info: %+v", info)
	}
	if c := e.Capacity("trk_test"); c.InUse != 1 {
		t.Errorf("%d channels in use, want 1", c.InUse)
	}
	leg.Hangup(telephony.CauseNormal)
	leg.Hangup(telephony.CauseFailed)
	bye := p.expect("BYE")
	if bye.cseq() <= m.cseq() || !strings.HasSuffix(bye.get("To"), ";tag=a1") {
		t.Errorf("wrong BYE: CSeq %s, To %s", bye.get("CSeq"), bye.get("To"))
	}
	p.ok(bye)
	awaitDone(t, leg)
	if info := leg.Info(); info.EndedBy != telephony.Caller || info.Cause != telephony.CauseNormal || info.EndedAt.IsZero() {
		t.Errorf("wrong end: %+v", info)
	}
	awaitFree(t, e)
}

// awaitFree waits until the trunk's channels and all ports are free again.
func awaitFree(t *testing.T, e *Endpoint) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		inUse, ports := e.Capacity("trk_test").InUse, e.ports.InUse()
		if inUse == 0 && ports == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d channels and %d ports stay in use", inUse, ports)
		}
		time.Sleep(2 * time.Millisecond) // capacity has no event to wait on
	}
}

func TestHungUpByFarEnd(t *testing.T) {
	p := newRawPeer(t)
	e := startEndpoint(t, nil, testTrunk(p))
	d := dial(t, t.Context(), e, invite())
	m := p.expect("INVITE")
	p.reply(m, answerSDP)
	leg := d.answered()
	p.expect("ACK")
	p.request("BYE", m, "a1", 1, "", "Reason: Q.850;cause=16;text=\"Normal\"")
	p.expect("200")
	awaitDone(t, leg)
	if info := leg.Info(); info.EndedBy != telephony.Callee || info.Cause != telephony.CauseNormal || info.Q850 != 16 {
		t.Errorf("wrong end: %+v", info)
	}
	p.silent("BYE", 50*time.Millisecond)
	awaitFree(t, e)
}

func TestByesCross(t *testing.T) {
	p := newRawPeer(t)
	e := startEndpoint(t, nil, testTrunk(p))
	d := dial(t, t.Context(), e, invite())
	m := p.expect("INVITE")
	p.reply(m, answerSDP)
	leg := d.answered()
	leg.Hangup(telephony.CauseNormal)
	bye := p.expect("BYE")
	p.request("BYE", m, "a1", 1, "")
	p.expect("200") // of ours to theirs: the dialog is not forgotten yet
	p.ok(bye)
	awaitFree(t, e)
	if leg.Info().EndedBy != telephony.Caller {
		t.Errorf("ended by %s, want the side that was first", leg.Info().EndedBy)
	}
}

func TestRefusals(t *testing.T) {
	p := newRawPeer(t)
	e := startEndpoint(t, nil, testTrunk(p))
	for _, tc := range []struct {
		status, reason string
		cause          telephony.Cause
		q850           int
	}{
		{"486 Busy Here", "", telephony.CauseBusy, 0},
		{"503 Service Unavailable", "", telephony.CauseCongestion, 0},
		{"404 Not Found", "", telephony.CauseInvalid, 0},
		{"603 Decline", "", telephony.CauseRejected, 0},
		{"480 Temporarily Unavailable", "", telephony.CauseNoAnswer, 0},
		{"500 Server Error", "Q.850;cause=17", telephony.CauseBusy, 17},
		{"302 Moved Temporarily", "", telephony.CauseFailed, 0},
		{"408 Request Timeout", "", telephony.CauseUnreachable, 0}, // it never rang
	} {
		t.Run(tc.status, func(t *testing.T) {
			d := dial(t, t.Context(), e, invite())
			m := p.expect("INVITE")
			var headers []string
			if tc.reason != "" {
				headers = append(headers, "Reason: "+tc.reason)
			}
			p.reply(m, reply{status: tc.status, tag: "x", headers: headers})
			err := d.failed()
			if err.Cause != tc.cause || err.Q850 != tc.q850 || fmt.Sprint(err.SIPStatus) != tc.status[:3] {
				t.Errorf("got %+v, want cause %s", err, tc.cause)
			}
			p.expect("ACK")
		})
	}
	awaitFree(t, e)
}

// The answer crosses CANCEL, whatever the CANCEL is answered with.
func TestNoGhostWhenCancelCrossesAnswer(t *testing.T) {
	for _, cancelStatus := range []string{"200 OK", "481 Call/Transaction Does Not Exist"} {
		for _, ringOut := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s,ringOut=%v", cancelStatus, ringOut), func(t *testing.T) {
				p := newRawPeer(t)
				e := startEndpoint(t, nil, testTrunk(p))
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				inv, want := invite(), telephony.CauseCancelled
				if ringOut {
					inv.RingTimeout, want = 100*time.Millisecond, telephony.CauseNoAnswer
				}
				d := dial(t, ctx, e, inv)
				m := p.expect("INVITE")
				p.reply(m, reply{status: "180 Ringing", tag: "a1"})
				if !ringOut {
					cancel()
				}
				c := p.expect("CANCEL")
				if c.get("Via") != m.get("Via") || c.cseq() != m.cseq() || c.get("To") != m.get("To") || c.uri() != m.uri() {
					t.Errorf("CANCEL does not match its INVITE:\n%v\n%v", c, m)
				}
				p.reply(c, reply{status: cancelStatus, tag: "c"})
				p.reply(m, answerSDP)
				p.expect("ACK")
				bye := p.expect("BYE")
				p.ok(bye)
				err := d.failed()
				if !err.Ghost || err.Cause != want {
					t.Errorf("got %+v, want a ghost of cause %s", err, want)
				}
				awaitFree(t, e)
			})
		}
	}
}

func TestCancelled(t *testing.T) {
	p := newRawPeer(t)
	e := startEndpoint(t, nil, testTrunk(p))
	ctx, cancel := context.WithCancel(t.Context())
	d := dial(t, ctx, e, invite())
	m := p.expect("INVITE")
	cancel() // before any provisional: CANCEL must wait for one
	p.silent("CANCEL", 50*time.Millisecond)
	p.reply(m, reply{status: "100 Trying"})
	p.ok(p.expect("CANCEL"))
	p.reply(m, reply{status: "487 Request Terminated", tag: "a1"})
	p.expect("ACK")
	if err := d.failed(); err.Cause != telephony.CauseCancelled || err.Ghost || err.SIPStatus != 487 {
		t.Errorf("got %+v", err)
	}
	awaitFree(t, e)
}

// A peer that answers CANCEL but never the INVITE does not hold Dial for ever.
func TestCancelWithoutFinalResponse(t *testing.T) {
	p := newRawPeer(t)
	e := startEndpoint(t, nil, testTrunk(p))
	e.finalWait = 200 * time.Millisecond
	inv := invite()
	inv.RingTimeout = 50 * time.Millisecond
	d := dial(t, t.Context(), e, inv)
	m := p.expect("INVITE")
	p.reply(m, reply{status: "180 Ringing", tag: "a1"})
	p.ok(p.expect("CANCEL"))
	if err := d.failed(); err.Cause != telephony.CauseNoAnswer || err.RingingAt.IsZero() {
		t.Errorf("got %+v", err)
	}
	// Its answer after that belongs to no transaction and is ended all the same.
	p.reply(m, answerSDP)
	p.expect("ACK")
	p.ok(p.expect("BYE"))
	awaitFree(t, e)
}

// The person is given the whole ring time, however late the ringing began.
func TestRingTimeRunsFromRinging(t *testing.T) {
	p := newRawPeer(t)
	e := startEndpoint(t, nil, testTrunk(p))
	const ring = 300 * time.Millisecond
	inv := invite()
	inv.RingTimeout = ring
	d := dial(t, t.Context(), e, inv)
	m := p.expect("INVITE")
	p.reply(m, reply{status: "100 Trying"})
	p.silent("CANCEL", ring*2/3)
	rang := time.Now()
	p.reply(m, reply{status: "180 Ringing", tag: "a1"})
	p.reply(m, reply{status: "180 Ringing", tag: "a1"}) // a repeated one gives no more
	p.ok(p.expect("CANCEL"))
	if rung := time.Since(rang); rung < ring || rung > 2*ring {
		t.Errorf("it rang for %s, want %s", rung, ring)
	}
	p.reply(m, reply{status: "487 Request Terminated", tag: "a1"})
	if err := d.failed(); err.Cause != telephony.CauseNoAnswer {
		t.Errorf("got %+v", err)
	}
}

func TestOverloadedTrunkIsLeftAlone(t *testing.T) {
	p := newRawPeer(t)
	e := startEndpoint(t, nil, testTrunk(p))
	d := dial(t, t.Context(), e, invite())
	p.reply(p.expect("INVITE"), reply{status: "503 Overload", tag: "x", headers: []string{"Retry-After: 20"}})
	if err := d.failed(); err.Cause != telephony.CauseCongestion || err.Reason != "Overload" {
		t.Errorf("got %+v", err)
	}
	if c := e.Capacity("trk_test"); c.Up || c.Free() != 0 || c.Why == "" {
		t.Errorf("capacity %+v", c)
	}
	if d := dial(t, t.Context(), e, invite()); d.failed().Cause != telephony.CauseNotSent {
		t.Error("a call was sent nevertheless")
	}
	l, _ := e.line("trk_test")
	if c := l.capacity(time.Now().Add(21 * time.Second)); !c.Up {
		t.Errorf("after 21 s: %+v", c)
	}
}

// Even a fault of ours while a call rings leaves no call without its machine.
func TestPanicWhileRinging(t *testing.T) {
	p := newRawPeer(t)
	e := startEndpoint(t, func(c *Config) { c.Log = nil }, testTrunk(p))
	inv := invite()
	inv.OnProgress = func(telephony.Progress) { panic("a fault") }
	d := dial(t, t.Context(), e, inv)
	m := p.expect("INVITE")
	p.reply(m, reply{status: "180 Ringing", tag: "a1"})
	p.reply(m, answerSDP)
	d.answered().Hangup(telephony.CauseNormal)
	p.expect("ACK")
	p.ok(p.expect("BYE"))
	awaitFree(t, e)
}

// waiting fails when Dial has returned: the INVITE is still out, so the number
// may still ring.
func (d *dialed) waiting(e *Endpoint) {
	d.t.Helper()
	select {
	case <-d.done:
		d.t.Errorf("Dial returned %v while its INVITE was out", d.err)
	case <-time.After(50 * time.Millisecond):
	}
	if c := e.Capacity("trk_test"); c.InUse != 1 {
		d.t.Errorf("%d channels in use, want 1: the INVITE is still out", c.InUse)
	}
}

// A silent trunk is given up; its late answer is ended, and Dial tells of
// it: nobody may take the number for free before.
func TestSilentTrunkAnswersLate(t *testing.T) {
	p := newRawPeer(t)
	e := startEndpoint(t, func(c *Config) {
		c.NoResponse = 50 * time.Millisecond
		c.OnGhost = func(id dialer.CallID, _ time.Time) { t.Errorf("ghost %s was told beside Dial's own word", id) }
	}, testTrunk(p))
	d := dial(t, t.Context(), e, invite())
	m := p.expect("INVITE")
	p.expect("INVITE") // repeated after 500 ms: the trunk was silent
	d.waiting(e)
	p.reply(m, answerSDP)
	p.expect("ACK")
	p.ok(p.expect("BYE"))
	if err := d.failed(); err.Cause != telephony.CauseUnreachable || !err.Ghost {
		t.Errorf("got %+v, want a ghost", err)
	}
	awaitFree(t, e)
}

// What a silent trunk sends in the end is cancelled at its first word.
func TestSilentTrunkRingsLate(t *testing.T) {
	p := newRawPeer(t)
	e := startEndpoint(t, func(c *Config) { c.NoResponse = 50 * time.Millisecond }, testTrunk(p))
	d := dial(t, t.Context(), e, invite())
	m := p.expect("INVITE")
	p.expect("INVITE")
	d.waiting(e)
	p.reply(m, reply{status: "180 Ringing", tag: "a1"})
	p.ok(p.expect("CANCEL"))
	p.reply(m, reply{status: "487 Request Terminated", tag: "a1"})
	p.expect("ACK")
	if err := d.failed(); err.Cause != telephony.CauseUnreachable || err.Ghost || err.SIPStatus != 487 {
		t.Errorf("got %+v", err)
	}
	awaitFree(t, e)
}

// Any number of provisional responses.
func TestManyProvisionals(t *testing.T) {
	p := newRawPeer(t)
	e := startEndpoint(t, nil, testTrunk(p))
	d := dial(t, t.Context(), e, invite())
	m := p.expect("INVITE")
	for range 300 {
		p.reply(m, reply{status: "180 Ringing", tag: "a1"})
	}
	p.reply(m, answerSDP)
	leg := d.answered()
	p.expect("ACK")
	leg.Hangup(telephony.CauseNormal)
	p.ok(p.expect("BYE"))
}

// Provisionals are told in wire order, also when the answer follows at once.
func TestProvisionalsInWireOrder(t *testing.T) {
	p := newRawPeer(t)
	e := startEndpoint(t, nil, testTrunk(p))
	for range 20 {
		var mu sync.Mutex
		var heard []int
		inv := invite()
		inv.OnProgress = func(pr telephony.Progress) {
			mu.Lock()
			heard = append(heard, pr.Status)
			mu.Unlock()
		}
		d := dial(t, t.Context(), e, inv)
		m := p.expect("INVITE")
		p.reply(m, reply{status: "100 Trying"})
		p.reply(m, reply{status: "181 Forwarded", tag: "a1"})
		p.reply(m, reply{status: "180 Ringing", tag: "a1"})
		p.reply(m, reply{status: "183 Session Progress", tag: "a1", body: sdp(someSDPPort)})
		p.reply(m, reply{status: "200 OK", tag: "a1"}) // its SDP was in the 183
		leg := d.answered()
		mu.Lock()
		if !slices.Equal(heard, []int{181, 180, 183}) {
			t.Fatalf("heard %v", heard)
		}
		mu.Unlock()
		leg.Hangup(telephony.CauseNormal)
		p.ok(p.expect("BYE"))
	}
}

func TestAnswerWithoutSDP(t *testing.T) {
	p := newRawPeer(t)
	e := startEndpoint(t, nil, testTrunk(p))
	d := dial(t, t.Context(), e, invite())
	m := p.expect("INVITE")
	p.reply(m, reply{status: "183 Session Progress", tag: "other", body: sdp(someSDPPort)})
	p.reply(m, reply{status: "200 OK", tag: "a1"}) // another fork than the 183's
	p.expect("ACK")
	p.ok(p.expect("BYE"))
	if err := d.failed(); err.Cause != telephony.CauseFailed || !err.Ghost || !strings.Contains(err.Reason, "SDP") {
		t.Errorf("got %+v, want a ghost: somebody answered and heard nothing", err)
	}
	awaitFree(t, e)
}

// Somebody has answered, too, when our handler of the answer fails.
func TestPanicAtAnswer(t *testing.T) {
	p := newRawPeer(t)
	e := startEndpoint(t, func(c *Config) { c.Log = nil }, testTrunk(p))
	inv, rings := invite(), make(chan struct{})
	inv.OnProgress = func(telephony.Progress) { close(rings) }
	d := dial(t, t.Context(), e, inv)
	m := p.expect("INVITE")
	branch := strings.TrimPrefix(m.get("Via")[strings.Index(m.get("Via"), "branch="):], "branch=")
	branch, _, _ = strings.Cut(branch, ";")
	e.mu.Lock()
	e.calls[branch].stopEarly = func() { panic("a fault") } // early media ends at the answer
	e.mu.Unlock()
	p.reply(m, reply{status: "180 Ringing", tag: "a1"})
	<-rings
	p.reply(m, answerSDP)
	p.expect("ACK")
	p.ok(p.expect("BYE"))
	if err := d.failed(); err.Cause != telephony.CauseFailed || !err.Ghost {
		t.Errorf("got %+v, want a ghost", err)
	}
	awaitFree(t, e)
}

// An answer to a call of a process that died is ended, and told by its id.
func TestAnswerToCallOfDeadProcess(t *testing.T) {
	p := newRawPeer(t)
	ghosts := make(chan dialer.CallID, 1)
	e := startEndpoint(t, func(c *Config) { c.OnGhost = func(id dialer.CallID, _ time.Time) { ghosts <- id } }, testTrunk(p))
	callID := e.callID("cal_dead", "trk_test", route{telephony.UDP, p.addr()})
	p.send(e.Addr(), strings.Join([]string{
		"SIP/2.0 200 OK",
		"Via: SIP/2.0/UDP " + e.Addr().String() + ";branch=z9hG4bK.gone",
		"From: <sip:+49401@127.0.0.1>;tag=" + e.named("tag", callID, 0), "To: <sip:+49302@127.0.0.1>;tag=theirs",
		"Call-ID: " + callID, "CSeq: 1 INVITE", "Contact: <sip:x@" + p.addr().String() + ">", "Content-Length: 0", "", "",
	}, "\r\n"))
	p.expect("ACK")
	p.ok(p.expect("BYE"))
	select {
	case id := <-ghosts:
		if id != "cal_dead" {
			t.Errorf("ghost of %q", id)
		}
	case <-time.After(patience):
		t.Fatal("not told")
	}
}

// TestDialogIsKeptBeforeTheACK: a process that dies right after its ACK must
// have left what ends the call.
func TestDialogIsKeptBeforeTheACK(t *testing.T) {
	p := newRawPeer(t)
	e := startEndpoint(t, nil, testTrunk(p))
	inv := invite()
	kept, goOn := make(chan []byte, 1), make(chan struct{})
	inv.OnAnswer = func(dialog []byte) {
		kept <- dialog
		<-goOn
	}
	d := dial(t, t.Context(), e, inv)
	m := p.expect("INVITE")
	p.reply(m, answerSDP)
	saved := <-kept
	if ack := p.await("ACK", 100*time.Millisecond); ack != nil {
		t.Error("acknowledged before the dialog was kept")
	}
	close(goOn)
	p.expect("ACK")
	if got := d.answered().Dialog(); string(got) != string(saved) {
		t.Errorf("kept %s\nwant %s", saved, got)
	}
	p.request("BYE", m, "a1", 1, "")
	p.expect("200")
}

func TestEndOrphan(t *testing.T) {
	p := newRawPeer(t)
	tr := testTrunk(p)
	tr.Username, tr.Password = "acme", "s3cret"
	e := startEndpoint(t, nil, tr)
	d := dial(t, t.Context(), e, invite())
	m := p.expect("INVITE")
	p.reply(m, answerSDP)
	saved := d.answered().Dialog()

	next := startEndpoint(t, nil, tr)
	ended := make(chan error, 1)
	go func() { ended <- next.EndOrphan(t.Context(), saved) }()
	bye := p.await("BYE", patience)
	if bye == nil {
		t.Fatalf("no BYE; EndOrphan: %v", <-ended)
	}
	if bye.get("Call-ID") != m.get("Call-ID") || bye.get("From") != m.get("From") || !strings.HasSuffix(bye.get("To"), ";tag=a1") || bye.cseq() != "1002" {
		t.Errorf("BYE does not belong to the dialog: %v", bye)
	}
	p.reply(bye, reply{status: "407 Proxy Authentication Required", headers: []string{challengeFor("carrier")}})
	bye = p.expect("BYE")
	if !rightDigest(t, bye, "Proxy-Authorization", "s3cret") {
		t.Error("wrong digest")
	}
	p.reply(bye, reply{status: "481 Gone"})
	if err := <-ended; err != nil {
		t.Errorf("EndOrphan: %v", err)
	}
	for _, bad := range []string{"", "{}", "[]", `{"call_id":"x"}`, `{"call_id":"a","local_tag":"b","dest":"127.0.0.1:1","from":"::","to":"","target":""}`} {
		if err := next.EndOrphan(t.Context(), []byte(bad)); dialer.CodeOf(err) != dialer.Invalid {
			t.Errorf("EndOrphan(%q) = %v", bad, err)
		}
	}
	p.serve.Store(ptr(func(m *rawMessage) {
		if m.method() == "BYE" {
			p.ok(m)
		}
	}))
}

func ptr[T any](v T) *T { return &v }
