package siptrunk

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"dialer/telephony"
)

func reliable(status, tag string, rseq int, body string) reply {
	return reply{status: status, tag: tag, body: body, headers: []string{"Require: 100rel", fmt.Sprintf("RSeq: %d", rseq)}}
}

// expectPRACK returns the PRACK of one reliable provisional.
func (p *rawPeer) expectPRACK(tag string, rseq int, invite *rawMessage) *rawMessage {
	p.t.Helper()
	m := p.expect("PRACK")
	if want := fmt.Sprintf("%d %s INVITE", rseq, invite.cseq()); m.get("RAck") != want || !strings.HasSuffix(m.get("To"), ";tag="+tag) {
		p.t.Errorf("PRACK has RAck %q and To %s, want %q and tag %s", m.get("RAck"), m.get("To"), want, tag)
	}
	return m
}

func TestReliableProvisionalsAreAcknowledgedInOrder(t *testing.T) {
	p := newRawPeer(t)
	e := startEndpoint(t, nil, testTrunk(p))
	rtp := newRTPPeer(t)
	inv, heard := invite(), make(chan int, 8)
	inv.OnProgress = func(pr telephony.Progress) { heard <- pr.Status }
	d := dial(t, t.Context(), e, inv)
	m := p.expect("INVITE")
	if !strings.Contains(m.get("Supported"), "100rel") {
		t.Errorf("Supported is %q", m.get("Supported"))
	}
	p.reply(m, reliable("183 Session Progress", "a1", 5, sdp(rtp.port())))
	first := p.expectPRACK("a1", 5, m)
	p.ok(first)
	p.reply(m, reliable("183 Session Progress", "a1", 5, sdp(rtp.port()))) // once more
	p.reply(m, reliable("181 Forwarded", "a1", 7, ""))                     // before its turn
	p.reply(m, reliable("180 Ringing", "a1", 6, ""))
	p.ok(p.expectPRACK("a1", 6, m))
	p.reply(m, reliable("181 Forwarded", "a1", 7, ""))
	last := p.expectPRACK("a1", 7, m)
	p.ok(last)
	p.reply(m, reply{status: "200 OK", tag: "a1"}) // its SDP was in the 183
	leg := d.answered()
	p.expect("ACK")
	for _, want := range []int{183, 180, 181} {
		if got := <-heard; got != want {
			t.Errorf("told of %d, want %d", got, want)
		}
	}
	go writeFrames(t.Context(), leg)
	select {
	case <-rtp.got:
	case <-time.After(patience):
		t.Fatal("no audio to the address of the 183")
	}
	leg.Hangup(telephony.CauseNormal)
	bye := p.expect("BYE")
	if bye.cseq() <= last.cseq() || last.cseq() <= first.cseq() || first.cseq() <= m.cseq() {
		t.Errorf("CSeq of INVITE %s, PRACKs %s and %s, BYE %s", m.cseq(), first.cseq(), last.cseq(), bye.cseq())
	}
	p.ok(bye)
}

// Each fork counts its provisionals by itself, wherever it is.
func TestReliableProvisionalsOfForks(t *testing.T) {
	p, elsewhere := newRawPeer(t), newRawPeerAt(t, "127.0.0.3")
	e := startEndpoint(t, nil, testTrunk(p))
	d := dial(t, t.Context(), e, invite())
	m := p.expect("INVITE")
	p.reply(m, reliable("180 Ringing", "a1", 1, ""))
	p.ok(p.expectPRACK("a1", 1, m))
	second := reliable("183 Session Progress", "b2", 1, sdp(someSDPPort))
	second.contact = "<sip:gw@" + elsewhere.addr().String() + ">"
	p.reply(m, second)
	pr := elsewhere.expectPRACK("b2", 1, m)
	elsewhere.reply(pr, reply{status: "200 OK"})
	second.headers[1], second.status = "RSeq: 2", "180 Ringing"
	p.reply(m, second)
	elsewhere.ok(elsewhere.expectPRACK("b2", 2, m))
	p.reply(m, answerSDP)
	leg := d.answered()
	p.expect("ACK")
	p.request("BYE", m, "a1", 1, "")
	awaitDone(t, leg)
	elsewhere.silent("PRACK", 600*time.Millisecond) // its answer was heard though nobody else knows that host
}

func TestPRACKIsChallenged(t *testing.T) {
	p := newRawPeer(t)
	tr := testTrunk(p)
	tr.Username, tr.Password = "acme", "s3cret"
	e := startEndpoint(t, nil, tr)
	d := dial(t, t.Context(), e, invite())
	m := p.expect("INVITE")
	p.reply(m, reliable("180 Ringing", "a1", 1, ""))
	p.reply(p.expectPRACK("a1", 1, m), reply{status: "407 Proxy Authentication Required", headers: []string{challengeFor("carrier")}})
	again := p.expectPRACK("a1", 1, m)
	if !rightDigest(t, again, "Proxy-Authorization", "s3cret") {
		t.Error("wrong digest")
	}
	p.ok(again)
	p.reply(m, reply{status: "486 Busy Here", tag: "a1"})
	d.failed()
}

// Giving up while a PRACK is unanswered, and an answer that crosses both.
func TestCancelWhilePRACKIsInFlight(t *testing.T) {
	for _, answered := range []bool{false, true} {
		t.Run(fmt.Sprintf("answered=%v", answered), func(t *testing.T) {
			p := newRawPeer(t)
			e := startEndpoint(t, nil, testTrunk(p))
			ctx, cancel := context.WithCancel(t.Context())
			d := dial(t, ctx, e, invite())
			m := p.expect("INVITE")
			p.reply(m, reliable("183 Session Progress", "a1", 1, sdp(someSDPPort)))
			pr := p.expectPRACK("a1", 1, m)
			cancel()
			p.ok(p.expect("CANCEL"))
			p.ok(pr)
			if answered {
				p.reply(m, reply{status: "200 OK", tag: "a1"})
				p.expect("ACK")
				p.ok(p.expect("BYE"))
			} else {
				p.reply(m, reply{status: "487 Request Terminated", tag: "a1"})
				p.expect("ACK")
			}
			if err := d.failed(); err.Cause != telephony.CauseCancelled || err.Ghost != answered {
				t.Errorf("got %+v", err)
			}
			awaitFree(t, e)
		})
	}
}

// A fork may change its mind before anybody answers (RFC 3311); what it said
// first, repeated in its answer, does not undo that.
func TestUpdateWhileRinging(t *testing.T) {
	p := newRawPeer(t)
	e := startEndpoint(t, nil, testTrunk(p))
	before, after := newRTPPeer(t), newRTPPeer(t)
	d := dial(t, t.Context(), e, invite())
	m := p.expect("INVITE")
	p.reply(m, reply{status: "180 Ringing", tag: "a1"})
	p.request("UPDATE", m, "a1", 1, sdp(after.port()), sdpType)
	p.expect("491") // our offer is not answered yet
	p.request("UPDATE", m, "stranger", 1, "")
	p.expect("481")
	p.request("INVITE", m, "a1", 2, sdp(after.port()), sdpType)
	p.expect("491")
	p.reply(m, reliable("183 Session Progress", "a1", 1, sdp(before.port())))
	p.ok(p.expectPRACK("a1", 1, m))
	p.request("UPDATE", m, "a1", 3, "nonsense", sdpType)
	p.expect("488")
	p.request("UPDATE", m, "a1", 3, "")
	p.expect("500") // an old CSeq
	p.request("UPDATE", m, "a1", 4, sdp(after.port(), "a=sendrecv"), sdpType)
	if ok := p.expect("200"); !strings.Contains(ok.body, "m=audio ") || ok.get("Contact") == "" {
		t.Errorf("UPDATE was answered with\n%v", ok)
	}
	p.request("OPTIONS", m, "a1", 5, "")
	p.expect("200")
	p.request("INFO", m, "a1", 6, "Signal=7\r\n", "Content-Type: application/dtmf-relay")
	p.expect("200")
	p.reply(m, reply{status: "200 OK", tag: "a1", body: sdp(before.port())})
	leg := d.answered()
	p.expect("ACK")
	go writeFrames(t.Context(), leg)
	select {
	case <-after.got:
	case <-before.got:
		t.Error("audio goes where it went before the UPDATE")
	case <-time.After(patience):
		t.Fatal("no audio")
	}
	if got := <-leg.Digits(); got.Key != '7' {
		t.Errorf("digit %+v", got)
	}
	p.request("BYE", m, "a1", 7, "")
	awaitDone(t, leg)
}

// Whoever hangs up so soon that its BYE is here before its answer is looked at
// has hung up.
func TestByeRightBehindTheAnswer(t *testing.T) {
	p := newRawPeer(t)
	e := startEndpoint(t, nil, testTrunk(p))
	d := dial(t, t.Context(), e, invite())
	m := p.expect("INVITE")
	p.reply(m, reply{status: "180 Ringing", tag: "a1"})
	p.request("BYE", m, "a1", 1, "")
	p.expect("200")
	p.reply(m, answerSDP)
	p.expect("ACK")
	leg := d.answered()
	awaitDone(t, leg)
	if info := leg.Info(); info.EndedBy != telephony.Callee || info.Cause != telephony.CauseNormal {
		t.Errorf("wrong end %+v", info)
	}
	awaitFree(t, e)
}

// Two phones ring; the audio of the one that answers is used.
func TestAnswerUsesTheSDPOfItsOwnFork(t *testing.T) {
	p := newRawPeer(t)
	e := startEndpoint(t, nil, testTrunk(p))
	first, second := newRTPPeer(t), newRTPPeer(t)
	d := dial(t, t.Context(), e, invite())
	m := p.expect("INVITE")
	p.reply(m, reply{status: "183 Session Progress", tag: "a1", body: sdp(first.port())})
	p.reply(m, reply{status: "183 Session Progress", tag: "b2", body: sdp(second.port())})
	p.reply(m, reply{status: "200 OK", tag: "a1"})
	leg := d.answered()
	p.expect("ACK")
	go writeFrames(t.Context(), leg)
	select {
	case <-first.got:
	case <-time.After(patience):
		t.Fatal("no audio to the fork that answered")
	}
	p.request("BYE", m, "a1", 1, "")
	awaitDone(t, leg)
}

// An SDP is found wherever it stands in a body, and whatever its type is called.
func TestBodies(t *testing.T) {
	rtp := newRTPPeer(t)
	port := rtp.port()
	multi := func(kind string) string {
		return "--x\r\nContent-Type: application/isup;version=itu-t92+\r\nContent-Disposition: signal;handling=optional\r\n\r\n\x01\x00\x49\r\n" +
			"--x\r\nContent-Type: " + kind + "\r\n\r\n" + sdp(port) + "\r\n--x--\r\n"
	}
	for name, tc := range map[string]struct{ header, body string }{
		"parameters":     {"Content-Type: application/sdp;charset=utf-8", sdp(port)},
		"upper case":     {"Content-Type: APPLICATION/SDP", sdp(port)},
		"compact":        {"c: application/sdp", sdp(port)},
		"no type":        {"X-None: 1", sdp(port)},
		"bad parameters": {"Content-Type: application/sdp;=;", sdp(port)},
		"multipart":      {"Content-Type: multipart/mixed;boundary=x", multi("application/sdp")},
		"quoted":         {`Content-Type: Multipart/Mixed; boundary="x"`, multi("Application/SDP; a=b")},
		"nested": {"Content-Type: multipart/mixed;boundary=y",
			"--y\r\nContent-Type: multipart/alternative;boundary=x\r\n\r\n" + multi("application/sdp") + "\r\n--y--\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newRawPeer(t)
			e := startEndpoint(t, nil, testTrunk(p))
			d := dial(t, t.Context(), e, invite())
			m := p.expect("INVITE")
			p.replyBody(m, "183 Session Progress", "a1", tc.header, tc.body)
			p.replyBody(m, "200 OK", "a1", tc.header, tc.body)
			leg := d.answered()
			p.expect("ACK")
			p.request("INVITE", m, "a1", 1, tc.body, tc.header)
			ok := p.expect("200")
			if !strings.Contains(ok.body, "m=audio ") {
				t.Errorf("the re-INVITE was answered with\n%v", ok)
			}
			p.request("ACK", m, "a1", 1, "")
			p.request("BYE", m, "a1", 2, "")
			awaitDone(t, leg)
		})
	}
}

// replyBody answers an INVITE with a body of any type.
func (p *rawPeer) replyBody(m *rawMessage, status, tag, header, body string) {
	lines := []string{"SIP/2.0 " + status, "v: " + m.get("Via"), "f: " + m.get("From"), "t: " + m.get("To") + ";tag=" + tag,
		"i: " + m.get("Call-ID"), "CSeq: " + m.get("CSeq"), "m: <sip:callee@" + p.addr().String() + ">", header,
		fmt.Sprintf("l: %d", len(body)), "", body}
	p.send(m.from, strings.Join(lines, "\r\n"))
}

func FuzzBody(f *testing.F) {
	f.Add("multipart/mixed;boundary=x", "--x\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--x--\r\n")
	f.Add("application/sdp", "v=0")
	f.Add("multipart/mixed;boundary=\"\"", "--\r\n\r\n--")
	f.Fuzz(func(t *testing.T, kind, body string) {
		k, boundary := mediaType(kind)
		found, of := partOf([]byte(body), k, boundary, []string{"application/sdp", "message/sipfrag"}, 0)
		if found != nil && !slices.Contains([]string{"application/sdp", "message/sipfrag"}, of) {
			t.Errorf("found %q", of)
		}
		sipfrag(body)
		infoDigit(k, body)
	})
}
