package siptrunk

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"dialer/telephony"
)

// upCall is an answered call, seen from both ends.
type upCall struct {
	e      *Endpoint
	p      *rawPeer
	rtp    *rtpPeer
	invite *rawMessage
	leg    *Leg
}

// up places a call that the far end answers with audio.
func up(t *testing.T, change func(*Config), answer ...string) *upCall {
	t.Helper()
	p := newRawPeer(t)
	return upOn(t, startEndpoint(t, change, testTrunk(p)), p, answer...)
}

func upOn(t *testing.T, e *Endpoint, p *rawPeer, headers ...string) *upCall {
	t.Helper()
	rtp := newRTPPeer(t)
	d := dial(t, t.Context(), e, invite())
	m := p.expect("INVITE")
	p.reply(m, reply{status: "200 OK", tag: "a1", body: sdp(rtp.port()), headers: headers})
	c := &upCall{e: e, p: p, rtp: rtp, invite: m, leg: d.answered()}
	p.expect("ACK")
	return c
}

// end lets the far end hang up, so that nothing waits for its answers.
func (c *upCall) end(t *testing.T, cseq int) {
	t.Helper()
	c.p.request("BYE", c.invite, "a1", cseq, "")
	awaitDone(t, c.leg)
}

const sdpType = "Content-Type: application/sdp"

func TestInDialogRequests(t *testing.T) {
	c := up(t, nil)
	cseq := 0
	ask := func(method, body string, headers ...string) *rawMessage {
		t.Helper()
		cseq++
		c.p.request(method, c.invite, "a1", cseq, body, headers...)
		for {
			select {
			case m := <-c.p.in:
				if m.status() != "" && m.status() != "100" && m.cseq() == fmt.Sprint(cseq) {
					return m
				}
			case <-time.After(patience):
				t.Fatalf("no answer to %s", method)
			}
		}
	}
	for _, tc := range []struct {
		method, body, header, want string
	}{
		{"OPTIONS", "", "", "200"},
		{"INFO", "", "", "200"},
		{"INFO", "Signal=5\r\nDuration=200\r\n", "Content-Type: application/dtmf-relay", "200"},
		{"INFO", "#", "Content-Type: application/dtmf", "200"},
		{"INFO", "x", "", "415"},
		{"INFO", "Signal=Z", "Content-Type: application/dtmf-relay", "415"},
		{"REFER", "", "Refer-To: <sip:+1900555@x>", "405"},
		{"PRACK", "", "", "481"},
		{"NOTIFY", "", "Event: refer", "481"},
		{"MESSAGE", "hi", "Content-Type: text/plain", "405"},
		{"OPTIONS", "", "Require: 100rel, timer", "200"},
		{"OPTIONS", "", "Require: timer, replaces", "420"},
		{"UPDATE", "", "Session-Expires: 1800;refresher=uac", "200"},
		{"UPDATE", sdp(someSDPPort), sdpType, "200"},
		{"UPDATE", "nonsense", sdpType, "488"},
	} {
		var headers []string
		if tc.header != "" {
			headers = append(headers, tc.header)
		}
		if got := ask(tc.method, tc.body, headers...); got.status() != tc.want {
			t.Errorf("%s %q: %s, want %s", tc.method, tc.header, got.start, tc.want)
		}
	}
	for _, want := range []telephony.Digit{{Key: '5', Duration: 200 * time.Millisecond}, {Key: '#', Duration: 160 * time.Millisecond}} {
		select {
		case got := <-c.leg.Digits():
			if got != want {
				t.Errorf("digit %+v, want %+v", got, want)
			}
		case <-time.After(patience):
			t.Fatalf("digit %c did not come", want.Key)
		}
	}
	c.p.request("OPTIONS", c.invite, "a1", 1, "") // an old CSeq
	c.p.expect("500")
	c.p.request("BYE", c.invite, "stranger", 100, "")
	c.p.expect("481")
	elsewhere := newRawPeerAt(t, "127.0.0.9") // right tags, wrong host
	elsewhere.request("BYE", c.invite, "a1", 101, "")
	elsewhere.silent("481", 50*time.Millisecond)
	select {
	case <-c.leg.Done():
		t.Error("a stranger ended the call")
	default:
	}
	c.end(t, 102)
	if _, open := <-c.leg.Digits(); open {
		t.Error("Digits is open after the end")
	}
}

// The far end puts us on hold, comes back at another address, and is heard there.
func TestHoldAndNewAddress(t *testing.T) {
	const timeout = 300 * time.Millisecond
	c := up(t, func(cfg *Config) { cfg.MediaTimeout = timeout })
	stop := c.rtp.stream(offeredRTP(t, c.invite), 0x10)
	c.p.request("INVITE", c.invite, "a1", 1, sdp(c.rtp.port(), "a=sendonly"), sdpType)
	ok := c.p.expect("200")
	if !strings.Contains(ok.body, "a=recvonly") {
		t.Errorf("hold was answered with\n%s", ok.body)
	}
	c.p.request("ACK", c.invite, "a1", 1, "")
	stop()
	// On hold silence is no fault, for however long.
	select {
	case <-c.leg.Done():
		t.Fatalf("ended on hold: %+v", c.leg.Info())
	case <-time.After(2 * timeout):
	}
	moved := newRTPPeer(t)
	defer moved.stream(offeredRTP(t, c.invite), 0x10)()
	c.p.request("INVITE", c.invite, "a1", 2, sdp(moved.port(), "a=sendrecv"), sdpType)
	ok = c.p.expect("200")
	if !strings.Contains(ok.body, "a=sendrecv") {
		t.Errorf("resume was answered with\n%s", ok.body)
	}
	if repeated := c.p.expect("200"); repeated.cseq() != "2" { // unACKed, so it comes again
		t.Errorf("repeated answer has CSeq %s", repeated.cseq())
	}
	c.p.request("ACK", c.invite, "a1", 2, "")
	if _, err := c.leg.ReadFrame(t.Context()); err != nil {
		t.Fatal(err)
	}
	go writeFrames(t.Context(), c.leg)
	select {
	case <-moved.got:
	case <-time.After(patience):
		t.Fatal("no audio at the new address")
	}
	c.end(t, 3)
}

func writeFrames(ctx context.Context, leg telephony.Leg) {
	tick := time.NewTicker(telephony.FrameDuration)
	defer tick.Stop()
	for ctx.Err() == nil && leg.WriteFrame(telephony.Frame{}) == nil {
		<-tick.C
	}
}

func TestReinviteWithoutSDP(t *testing.T) {
	c := up(t, nil)
	c.p.request("INVITE", c.invite, "a1", 1, "")
	ok := c.p.expect("200")
	if !strings.Contains(ok.body, "m=audio ") {
		t.Errorf("no offer in\n%s", ok.body)
	}
	// Until the ACK another re-INVITE has to wait.
	c.p.request("INVITE", c.invite, "a1", 2, sdp(someSDPPort), sdpType)
	if refused := c.p.expect("500"); refused.get("Retry-After") == "" {
		t.Error("500 without Retry-After")
	}
	moved := newRTPPeer(t)
	c.p.request("ACK", c.invite, "a1", 1, sdp(moved.port()), sdpType)
	go writeFrames(t.Context(), c.leg)
	defer moved.stream(offeredRTP(t, c.invite), 0x10)()
	select {
	case <-moved.got:
	case <-time.After(patience):
		t.Fatal("the answer in the ACK was not taken")
	}
	c.end(t, 3)
}

// An ACK with the next re-INVITE right behind it.
func TestReinviteRightAfterACK(t *testing.T) {
	c := up(t, nil)
	c.p.request("INVITE", c.invite, "a1", 1, sdp(someSDPPort), sdpType)
	c.p.expect("200")
	for i := 1; i <= 30; i++ {
		c.p.request("ACK", c.invite, "a1", i, "")
		c.p.request("INVITE", c.invite, "a1", i+1, sdp(someSDPPort), sdpType)
		for {
			m := <-c.p.in
			if m.cseq() == fmt.Sprint(i+1) && m.status() != "100" {
				if m.status() != "200" {
					t.Fatalf("re-INVITE %d: %s", i+1, m.start)
				}
				break
			}
		}
	}
	c.p.request("ACK", c.invite, "a1", 31, "")
	c.end(t, 40)
}

func TestMediaLost(t *testing.T) {
	for _, first := range []bool{true, false} {
		t.Run(fmt.Sprintf("never any=%v", first), func(t *testing.T) {
			c := up(t, func(cfg *Config) { cfg.MediaTimeout = 200 * time.Millisecond })
			if !first {
				stop := c.rtp.stream(offeredRTP(t, c.invite), 0x10)
				if _, err := c.leg.ReadFrame(t.Context()); err != nil {
					t.Fatal(err)
				}
				stop()
			}
			bye := c.p.expect("BYE")
			if !strings.Contains(bye.get("Reason"), "cause=41") {
				t.Errorf("Reason is %q", bye.get("Reason"))
			}
			c.p.ok(bye)
			awaitDone(t, c.leg)
			if info := c.leg.Info(); info.Cause != telephony.CauseMediaLost || info.EndedBy != telephony.Network {
				t.Errorf("wrong end %+v", info)
			}
		})
	}
}

func TestLongestCall(t *testing.T) {
	c := up(t, func(cfg *Config) { cfg.MaxCall = 100 * time.Millisecond })
	c.p.ok(c.p.expect("BYE"))
	awaitDone(t, c.leg)
	if info := c.leg.Info(); info.EndedBy != telephony.Caller || info.Reason == "" {
		t.Errorf("wrong end %+v", info)
	}
}

func TestSessionTimer(t *testing.T) {
	c := up(t, nil, "Session-Expires: 1800;refresher=uac", "Allow: INVITE, BYE")
	now := time.Now()
	if refresh, expired := c.leg.timer.due(now.Add(14 * time.Minute)); refresh || expired {
		t.Error("due after 14 of 30 minutes")
	}
	c.leg.keepSession(now.Add(15*time.Minute + time.Second))
	m := c.p.expect("INVITE") // they do not allow UPDATE
	if m.get("Session-Expires") != "1800;refresher=uac" || !strings.Contains(m.body, "m=audio ") {
		t.Errorf("wrong refresh: %q\n%s", m.get("Session-Expires"), m.body)
	}
	// Glare: their re-INVITE meets ours.
	c.p.request("INVITE", c.invite, "a1", 1, sdp(someSDPPort), sdpType)
	c.p.expect("491")
	c.p.reply(m, reply{status: "200 OK", tag: "a1", body: sdp(c.rtp.port()), headers: []string{"Session-Expires: 1800;refresher=uas"}})
	if ack := c.p.expect("ACK"); ack.cseq() != m.cseq() {
		t.Errorf("ACK has CSeq %s, want %s", ack.cseq(), m.cseq())
	}
	// From now on they refresh; when they stop, the call is over.
	deadline := time.Now().Add(patience)
	for {
		if _, expired := c.leg.timer.due(time.Now().Add(1800*time.Second - 31*time.Second)); expired {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the refresher did not change")
		}
		time.Sleep(time.Millisecond) // set by the refresh's own goroutine
	}
	c.leg.keepSession(time.Now().Add(30 * time.Minute))
	c.p.ok(c.p.expect("BYE"))
	awaitDone(t, c.leg)
}

func TestRefreshByUpdateUnanswered(t *testing.T) {
	c := up(t, nil, "Session-Expires: 90;refresher=uac", "Allow: INVITE, BYE, UPDATE")
	c.leg.keepSession(time.Now().Add(46 * time.Second))
	c.p.reply(c.p.expect("UPDATE"), reply{status: "481 Gone"})
	c.p.ok(c.p.expect("BYE"))
	awaitDone(t, c.leg)
	if info := c.leg.Info(); info.EndedBy != telephony.Network {
		t.Errorf("wrong end %+v", info)
	}
}

func TestOutsideRequests(t *testing.T) {
	p := newRawPeer(t)
	e := startEndpoint(t, nil, testTrunk(p))
	for i, tc := range []struct{ method, want string }{
		{"OPTIONS", "200"}, {"INVITE", "403"}, {"BYE", "481"}, {"CANCEL", "481"},
		{"REFER", "405"}, {"SUBSCRIBE", "405"}, {"MESSAGE", "405"}, {"NOTIFY", "405"}, {"PUBLISH", "405"},
	} {
		p.send(e.Addr(), outside(tc.method, p, e, i))
		m := p.expect(tc.want)
		if tc.want == "405" && m.get("Allow") == "" {
			t.Errorf("%s: 405 without Allow", tc.method)
		}
		if tc.method == "INVITE" { // else it is repeated
			p.send(e.Addr(), strings.Replace(strings.Replace(outside("ACK", p, e, i), "To: <sip:x@y>", "To: "+m.get("To"), 1), "-ACK", "-INVITE", 1))
		}
	}
}

// outside is a request outside any dialog.
func outside(method string, p *rawPeer, e *Endpoint, n int) string {
	return fmt.Sprintf("%s sip:x@%s SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bK%d-%s;rport\r\nMax-Forwards: 70\r\n"+
		"From: <sip:a@b>;tag=f\r\nTo: <sip:x@y>\r\nCall-ID: out%d\r\nCSeq: 1 %s\r\nContact: <sip:a@%s>\r\nContent-Length: 0\r\n\r\n",
		method, e.Addr(), p.addr(), n, method, n, method, p.addr())
}

// A carrier of several nodes may end on one what another began; the tags are
// needed all the same, and hosts of nobody's are not heard.
func TestByeFromAnotherNodeOfTheTrunk(t *testing.T) {
	a, b := newRawPeer(t), newRawPeerAt(t, "127.0.0.2")
	e := startEndpoint(t, nil, testBackups(a, b))
	c := upOn(t, e, a)
	b.request("BYE", c.invite, "other", 7, "")
	b.expect("481")
	b.request("BYE", c.invite, "a1", 8, "")
	b.expect("200")
	awaitDone(t, c.leg)
	if info := c.leg.Info(); info.EndedBy != telephony.Callee {
		t.Errorf("ended by %s", info.EndedBy)
	}
}
