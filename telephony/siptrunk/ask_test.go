package siptrunk

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"dialer"
	"dialer/telephony"
)

// asked runs what asks the far end for something, beside the test.
func asked(f func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return done
}

func awaitErr(t *testing.T, done <-chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		t.Fatal("it was not decided")
		return nil
	}
}

func TestHold(t *testing.T) {
	const timeout = 300 * time.Millisecond
	c := up(t, func(cfg *Config) { cfg.MediaTimeout = timeout })
	held := asked(func() error { return c.leg.Hold(t.Context(), true) })
	m := c.p.expect("INVITE")
	if !strings.Contains(m.body, "a=sendonly") {
		t.Errorf("offered\n%s", m.body)
	}
	c.p.reply(m, reply{status: "200 OK", body: sdp(c.rtp.port(), "a=recvonly")})
	if ack := c.p.expect("ACK"); ack.cseq() != m.cseq() {
		t.Errorf("ACK has CSeq %s, want %s", ack.cseq(), m.cseq())
	}
	if err := awaitErr(t, held); err != nil {
		t.Fatal(err)
	}
	if err := c.leg.Hold(t.Context(), true); err != nil { // it is
		t.Error(err)
	}
	select { // a far end on hold is silent
	case <-c.leg.Done():
		t.Fatalf("ended on hold: %+v", c.leg.Info())
	case <-time.After(2 * timeout):
	}
	// What it asks for meanwhile does not end the hold.
	c.p.request("INVITE", c.invite, "a1", 1, sdp(c.rtp.port(), "a=sendrecv"), sdpType)
	if ok := c.p.expect("200"); !strings.Contains(ok.body, "a=sendonly") {
		t.Errorf("answered on hold with\n%s", ok.body)
	}
	c.p.request("ACK", c.invite, "a1", 1, "")
	defer c.rtp.stream(offeredRTP(t, c.invite), 0x10)()
	back := asked(func() error { return c.leg.Hold(t.Context(), false) })
	m = c.p.expect("INVITE")
	if !strings.Contains(m.body, "a=sendrecv") {
		t.Errorf("offered\n%s", m.body)
	}
	c.p.reply(m, reply{status: "200 OK", body: sdp(c.rtp.port())})
	c.p.expect("ACK")
	if err := awaitErr(t, back); err != nil {
		t.Fatal(err)
	}
	if _, err := c.leg.ReadFrame(t.Context()); err != nil {
		t.Fatal(err)
	}
	refused := asked(func() error { return c.leg.Hold(t.Context(), true) })
	c.p.reply(c.p.expect("INVITE"), reply{status: "488 Not Acceptable Here"})
	if err := awaitErr(t, refused); dialer.CodeOf(err) != dialer.Unavailable {
		t.Errorf("refused: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	left := asked(func() error { return c.leg.Hold(ctx, true) })
	m = c.p.expect("INVITE")
	cancel()
	if err := awaitErr(t, left); !errors.Is(err, context.Canceled) {
		t.Errorf("left: %v", err)
	}
	c.p.reply(m, reply{status: "200 OK", body: sdp(c.rtp.port(), "a=recvonly")})
	c.p.expect("ACK") // it goes on without us
	c.end(t, 2)
}

// Our re-INVITE meets theirs: both are refused with 491, ours is sent again.
func TestGlareIsTriedAgain(t *testing.T) {
	c := up(t, nil)
	waited := make(chan struct{}, 8)
	c.e.glareWait = func() time.Duration { waited <- struct{}{}; return 20 * time.Millisecond }
	held := asked(func() error { return c.leg.Hold(t.Context(), true) })
	m := c.p.expect("INVITE")
	c.p.request("INVITE", c.invite, "a1", 1, sdp(someSDPPort), sdpType)
	c.p.expect("491")
	c.p.request("ACK", c.invite, "a1", 1, "")
	c.p.reply(m, reply{status: "491 Request Pending"})
	c.p.expect("ACK")
	again := c.p.expect("INVITE")
	if again.cseq() <= m.cseq() || !strings.Contains(again.body, "a=sendonly") {
		t.Errorf("sent again with CSeq %s after %s:\n%s", again.cseq(), m.cseq(), again.body)
	}
	c.p.reply(again, reply{status: "500 Server Internal Error", headers: []string{"Retry-After: 1"}})
	c.p.expect("ACK")
	third := c.p.expect("INVITE")
	c.p.reply(third, reply{status: "200 OK", body: sdp(someSDPPort, "a=recvonly")})
	c.p.expect("ACK")
	if err := awaitErr(t, held); err != nil || len(waited) != 1 {
		t.Errorf("hold: %v, %d back-offs", err, len(waited))
	}
	c.end(t, 9)
	if wait := glareWait(); wait < 2100*time.Millisecond || wait > 4*time.Second {
		t.Errorf("we wait %s after a 491", wait)
	}
}

// Ours waits until theirs is finished.
func TestOurReinviteWaitsForTheirACK(t *testing.T) {
	c := up(t, nil)
	c.p.request("INVITE", c.invite, "a1", 1, sdp(someSDPPort), sdpType)
	c.p.expect("200")
	held := asked(func() error { return c.leg.Hold(t.Context(), true) })
	c.p.silent("INVITE", 50*time.Millisecond)
	c.p.expect("200") // again: a late ACK
	c.p.request("ACK", c.invite, "a1", 1, "")
	c.p.reply(c.p.expect("INVITE"), reply{status: "200 OK", body: sdp(someSDPPort, "a=recvonly")})
	c.p.expect("ACK")
	if err := awaitErr(t, held); err != nil {
		t.Error(err)
	}
	c.end(t, 2)
}

// The ACK of our re-INVITE's answer is lost: the answer comes again, and so does
// the ACK.
func TestLostACKOfReinvite(t *testing.T) {
	c := up(t, nil)
	held := asked(func() error { return c.leg.Hold(t.Context(), true) })
	m := c.p.expect("INVITE")
	for range 3 {
		c.p.reply(m, reply{status: "200 OK", body: sdp(someSDPPort, "a=recvonly")})
		if ack := c.p.expect("ACK"); ack.cseq() != m.cseq() {
			t.Errorf("ACK has CSeq %s, want %s", ack.cseq(), m.cseq())
		}
	}
	if err := awaitErr(t, held); err != nil {
		t.Error(err)
	}
	c.end(t, 1)
}

func TestByeCrossesReinvite(t *testing.T) {
	t.Run("their BYE, our re-INVITE", func(t *testing.T) {
		c := up(t, nil)
		held := asked(func() error { return c.leg.Hold(t.Context(), true) })
		m := c.p.expect("INVITE")
		c.p.request("BYE", c.invite, "a1", 1, "")
		c.p.expect("200")
		c.p.reply(m, reply{status: "487 Request Terminated"})
		c.p.expect("ACK")
		awaitErr(t, held)
		awaitDone(t, c.leg)
		if info := c.leg.Info(); info.EndedBy != telephony.Callee {
			t.Errorf("wrong end %+v", info)
		}
		awaitFree(t, c.e)
	})
	t.Run("our BYE, their re-INVITE", func(t *testing.T) {
		c := up(t, nil)
		c.leg.Hangup(telephony.CauseNormal)
		bye := c.p.expect("BYE")
		c.p.request("INVITE", c.invite, "a1", 1, sdp(someSDPPort), sdpType)
		c.p.expect("481")
		c.p.request("ACK", c.invite, "a1", 1, "")
		c.p.ok(bye)
		awaitFree(t, c.e)
	})
	t.Run("our BYE, their re-INVITE that is not acknowledged", func(t *testing.T) {
		c := up(t, nil)
		c.p.request("INVITE", c.invite, "a1", 1, sdp(someSDPPort), sdpType)
		c.p.expect("200")
		c.leg.Hangup(telephony.CauseNormal)
		c.p.ok(c.p.expect("BYE"))
		awaitFree(t, c.e)
	})
}

// Our answer to a re-INVITE that nobody acknowledges: the far end is gone.
func TestUnacknowledgedAnswerEndsTheCall(t *testing.T) {
	p := newRawPeer(t)
	e := startEndpoint(t, nil, testTrunk(p))
	e.ackWait = 300 * time.Millisecond
	c := upOn(t, e, p)
	c.p.request("INVITE", c.invite, "a1", 1, sdp(someSDPPort), sdpType)
	c.p.expect("200")
	c.p.ok(c.p.expect("BYE"))
	awaitDone(t, c.leg)
	if info := c.leg.Info(); info.EndedBy != telephony.Network || info.Cause != telephony.CauseUnreachable {
		t.Errorf("wrong end %+v", info)
	}
}

// A far end that no longer knows the call has ended it, whatever it was asked.
func TestUnknownDialogEndsTheCall(t *testing.T) {
	for _, status := range []string{"481 Call/Transaction Does Not Exist", "408 Request Timeout"} {
		for method, ask := range map[string]func(*Leg) error{
			"INVITE": func(l *Leg) error { return l.Hold(context.Background(), true) },
			"REFER":  func(l *Leg) error { return l.Refer(context.Background(), "sip:x@y.example") },
			"INFO":   func(l *Leg) error { return l.SendDigits(context.Background(), "1") },
		} {
			t.Run(method+" "+status[:3], func(t *testing.T) {
				t.Parallel()
				p := newRawPeer(t)
				tr := testTrunk(p)
				tr.InfoDigits = true
				c := upOn(t, startEndpoint(t, nil, tr), p)
				done := asked(func() error { return ask(c.leg) })
				p.reply(p.expect(method), reply{status: status})
				p.ok(p.expect("BYE"))
				if err := awaitErr(t, done); err == nil {
					t.Error("no error")
				}
				awaitDone(t, c.leg)
				if info := c.leg.Info(); info.EndedBy != telephony.Network {
					t.Errorf("wrong end %+v", info)
				}
			})
		}
	}
}

// Every request inside a call may be challenged.
func TestEveryMethodIsChallenged(t *testing.T) {
	p := newRawPeer(t)
	tr := testTrunk(p)
	tr.Username, tr.Password, tr.InfoDigits = "acme", "s3cret", true
	c := upOn(t, startEndpoint(t, nil, tr), p, "Session-Expires: 1800;refresher=uac", "Allow: UPDATE")
	for _, tc := range []struct {
		method string
		ask    func() error
		answer reply
	}{
		{"INVITE", func() error { return c.leg.Hold(t.Context(), true) },
			reply{status: "200 OK", body: sdp(someSDPPort, "a=recvonly"), headers: []string{"Session-Expires: 1800;refresher=uac"}}},
		{"INFO", func() error { return c.leg.SendDigits(t.Context(), "5") }, reply{status: "200 OK"}},
		{"UPDATE", func() error { c.leg.keepSession(time.Now().Add(16 * time.Minute)); return nil }, reply{status: "200 OK"}},
		{"REFER", func() error { return c.leg.Refer(t.Context(), "+4930555") }, reply{status: "202 Accepted", headers: []string{"Refer-Sub: false"}}},
	} {
		done := asked(tc.ask)
		first := p.expect(tc.method)
		p.reply(first, reply{status: "401 Unauthorized", headers: []string{strings.Replace(challengeFor("carrier"), "Proxy", "WWW", 1)}})
		again := p.expect(tc.method)
		if again.cseq() == first.cseq() || !rightDigest(t, again, "Authorization", "s3cret") {
			t.Errorf("%s was sent again with CSeq %s, %s", tc.method, again.cseq(), again.get("Authorization"))
		}
		p.reply(again, tc.answer)
		if err := awaitErr(t, done); err != nil {
			t.Errorf("%s: %v", tc.method, err)
		}
	}
	p.ok(p.expect("BYE"))
	awaitFree(t, c.e)
}

func TestRefer(t *testing.T) {
	fragment := func(c *upCall, cseq int, state, status string) {
		c.p.request("NOTIFY", c.invite, "a1", cseq, "SIP/2.0 "+status+"\r\n",
			"Event: refer", "Subscription-State: "+state, "Content-Type: message/sipfrag;version=2.0")
		c.p.expect("200")
	}
	for name, tc := range map[string]struct {
		to, wantTo string
		far        func(c *upCall, refer *rawMessage)
		over       bool // the leg
		want       string
	}{
		"there": {"+4930555", "<sip:+4930555@127.0.0.1>", func(c *upCall, refer *rawMessage) {
			fragment(c, 1, "active;expires=60", "100 Trying") // before the 202
			c.p.reply(refer, reply{status: "202 Accepted"})
			fragment(c, 2, "active", "180 Ringing")
			fragment(c, 3, "terminated;reason=noresource", "200 OK")
			c.p.ok(c.p.expect("BYE"))
		}, true, ""},
		"to an address": {"sip:x@y.example;transport=tcp", "<sip:x@y.example;transport=tcp>", func(c *upCall, refer *rawMessage) {
			c.p.reply(refer, reply{status: "200 OK"})
			fragment(c, 1, "terminated", "200 OK")
			c.p.ok(c.p.expect("BYE"))
		}, true, ""},
		"busy": {"+4930555", "", func(c *upCall, refer *rawMessage) {
			c.p.reply(refer, reply{status: "202 Accepted"})
			fragment(c, 1, "terminated", "486 Busy Here")
		}, false, "486"},
		"refused": {"+4930555", "", func(c *upCall, refer *rawMessage) {
			c.p.reply(refer, reply{status: "603 Decline"})
		}, false, "603"},
		"not told": {"+4930555", "", func(c *upCall, refer *rawMessage) {
			c.p.reply(refer, reply{status: "202 Accepted"})
			fragment(c, 1, "active", "100 Trying")
		}, false, "did not tell"},
		"stopped telling": {"+4930555", "", func(c *upCall, refer *rawMessage) {
			c.p.reply(refer, reply{status: "202 Accepted"})
			fragment(c, 1, "terminated;reason=timeout", "180 Ringing")
		}, false, "stopped telling"},
		"never tells": {"+4930555", "", func(c *upCall, refer *rawMessage) {
			c.p.reply(refer, reply{status: "202 Accepted", headers: []string{"Refer-Sub: false"}})
			c.p.ok(c.p.expect("BYE"))
		}, true, ""},
		"we hang up": {"+4930555", "", func(c *upCall, refer *rawMessage) {
			c.p.reply(refer, reply{status: "202 Accepted"})
			fragment(c, 1, "active", "100 Trying")
			c.leg.Hangup(telephony.CauseNormal)
			c.p.ok(c.p.expect("BYE"))
		}, true, "ended before"},
		"the network ends it": {"+4930555", "", func(c *upCall, refer *rawMessage) {
			c.p.reply(refer, reply{status: "202 Accepted"})
			fragment(c, 1, "active", "100 Trying")
			c.leg.Hangup(telephony.CauseMediaLost)
			c.p.ok(c.p.expect("BYE"))
		}, true, "ended before"},
		"hangs up instead": {"+4930555", "", func(c *upCall, refer *rawMessage) {
			c.p.reply(refer, reply{status: "202 Accepted"})
			c.p.request("BYE", c.invite, "a1", 1, "")
			c.p.expect("200")
		}, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := up(t, nil)
			c.e.referWait = 500 * time.Millisecond
			if tc.over {
				c.e.referWait = patience
			}
			done := asked(func() error { return c.leg.Refer(t.Context(), tc.to) })
			refer := c.p.expect("REFER")
			if tc.wantTo != "" && refer.get("Refer-To") != tc.wantTo || refer.get("Contact") == "" {
				t.Errorf("REFER to %s, want %s", refer.get("Refer-To"), tc.wantTo)
			}
			if err := c.leg.Refer(t.Context(), tc.to); dialer.CodeOf(err) != dialer.Conflict {
				t.Errorf("a second one meanwhile: %v", err)
			}
			tc.far(c, refer)
			err := awaitErr(t, done)
			if tc.over {
				if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
					t.Errorf("got %v, want %q", err, tc.want)
				}
				awaitDone(t, c.leg)
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			c.end(t, 9) // it was as it was
		})
	}
	c := up(t, nil)
	for _, bad := range []string{"", "x", "tel:+49", "sip:", "sip:a@b>\r\nX: y", "http://x"} {
		if err := c.leg.Refer(t.Context(), bad); dialer.CodeOf(err) != dialer.Invalid {
			t.Errorf("Refer(%q) = %v", bad, err)
		}
	}
	c.end(t, 1)
}

func TestDigitsByInfo(t *testing.T) {
	p := newRawPeer(t)
	tr := testTrunk(p)
	tr.InfoDigits = true
	c := upOn(t, startEndpoint(t, nil, tr), p)
	done := asked(func() error { return c.leg.SendDigits(t.Context(), "1#d") })
	for _, key := range "1#D" {
		m := p.expect("INFO")
		if m.get("Content-Type") != "application/dtmf-relay" || m.body != fmt.Sprintf("Signal=%c\r\nDuration=160\r\n", key) {
			t.Errorf("INFO with %s %q", m.get("Content-Type"), m.body)
		}
		p.ok(m)
	}
	if err := awaitErr(t, done); err != nil {
		t.Error(err)
	}
	if err := c.leg.SendDigits(t.Context(), "1x"); dialer.CodeOf(err) != dialer.Invalid {
		t.Errorf("not a key: %v", err)
	}
	done = asked(func() error { return c.leg.SendDigits(t.Context(), "2") })
	p.reply(p.expect("INFO"), reply{status: "415 Unsupported Media Type"})
	if err := awaitErr(t, done); dialer.CodeOf(err) != dialer.Unavailable {
		t.Errorf("refused: %v", err)
	}
	c.end(t, 1)
}

// A far end that tells of a press by RFC 4733 and by INFO has pressed one key.
func TestKeyToldByRTPAndInfoCountsOnce(t *testing.T) {
	r, p := newRTPPeer(t), newRawPeer(t)
	e := startEndpoint(t, nil, testTrunk(p))
	d := dial(t, t.Context(), e, invite())
	m := p.expect("INVITE")
	p.reply(m, reply{status: "200 OK", tag: "a", body: sdp(r.port(), "a=rtpmap:101 telephone-event/8000")})
	p.expect("ACK")
	leg, to := d.answered(), offeredRTP(t, m)
	pressed := func() (key rune) {
		select {
		case d := <-leg.Digits():
			return d.Key
		case <-time.After(patience):
			t.Fatal("no key was pressed")
			return 0
		}
	}
	for i := range 5 {
		flags := byte(10)
		if i > 2 {
			flags |= 0x80
		}
		r.packet(to, 101, i == 0, 1000, []byte{5, flags, 3, 0x20})
	}
	if key := pressed(); key != '5' {
		t.Fatalf("%c was pressed, want 5", key)
	}
	for i, key := range "56" {
		p.request("INFO", m, "a", 1+i, fmt.Sprintf("Signal=%c\r\nDuration=100\r\n", key), "Content-Type: application/dtmf-relay")
		p.expect("200")
	}
	if key := pressed(); key != '6' {
		t.Errorf("%c was pressed, want 6 after the one 5", key)
	}
}

func TestInfoDigit(t *testing.T) {
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	for _, tc := range []struct {
		kind, body string
		key        rune // 0: none
		length     time.Duration
	}{
		{"application/dtmf-relay", "Signal=5\r\nDuration=200\r\n", '5', ms(200)},
		{"application/dtmf-relay", "signal = *\nduration= 100", '*', ms(100)},
		{"application/dtmf-relay", "Signal: 9\r\nDuration: 80", '9', ms(80)},
		{"application/dtmf-relay", "Signal=\"a\"", 'A', ms(160)},
		{"application/dtmf-relay", "Signal=11\r\nDuration=-1", '#', ms(160)},
		{"application/vnd.nortelnetworks.digits", "p=Digit-Collection\r\ny=Digits\r\nd=3\r\n", '3', ms(160)},
		{"application/dtmf", "7\r\n", '7', ms(160)},
		{"application/dtmf", "10", '*', ms(160)},
		{"application/dtmf", "15", 'D', ms(160)},
		{"application/dtmf", "16", 0, 0}, // a flash is no key
		{"application/dtmf-relay", "Signal=Z", 0, 0},
		{"application/dtmf-relay", "", 0, 0},
		{"", "5", 0, 0},
	} {
		d, ok := infoDigit(tc.kind, tc.body)
		if ok != (tc.key != 0) || ok && (d.Key != tc.key || d.Duration != tc.length) {
			t.Errorf("%s %q: %+v, %v", tc.kind, tc.body, d, ok)
		}
	}
}
