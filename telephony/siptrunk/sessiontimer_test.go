package siptrunk

import (
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"dialer/telephony"
)

func TestSessionTimerIsAskedFor(t *testing.T) {
	for name, tc := range map[string]struct {
		seconds      int
		expires, min string
	}{
		"by default":   {0, "1800", "90"},
		"as set":       {600, "600", "90"},
		"not at all":   {-1, "", ""},
		"the shortest": {90, "90", "90"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newRawPeer(t)
			tr := testTrunk(p)
			tr.SessionSeconds = tc.seconds
			e := startEndpoint(t, nil, tr)
			d := dial(t, t.Context(), e, invite())
			m := p.expect("INVITE")
			p.reply(m, reply{status: "486 Busy Here", tag: "x"})
			d.failed()
			if m.get("Session-Expires") != tc.expires || m.get("Min-SE") != tc.min || !strings.Contains(m.get("Supported"), "timer") {
				t.Errorf("Session-Expires %q, Min-SE %q, Supported %q", m.get("Session-Expires"), m.get("Min-SE"), m.get("Supported"))
			}
		})
	}
}

// A peer that wants longer sessions gets them.
func TestSessionIntervalTooSmallForThem(t *testing.T) {
	p := newRawPeer(t)
	tr := testTrunk(p)
	tr.SessionSeconds = 120
	e := startEndpoint(t, nil, tr)
	d := dial(t, t.Context(), e, invite())
	m := p.expect("INVITE")
	p.reply(m, reply{status: "422 Session Interval Too Small", tag: "x", headers: []string{"Min-SE: 3600"}})
	p.expect("ACK")
	again := p.expect("INVITE")
	if again.get("Session-Expires") != "3600" || again.get("Min-SE") != "3600" || len(again.all("Session-Expires")) != 1 {
		t.Errorf("asked again for %v, Min-SE %v", again.all("Session-Expires"), again.all("Min-SE"))
	}
	if again.get("Call-ID") != m.get("Call-ID") || again.get("From") != m.get("From") || again.cseq() != "2" || again.body != m.body {
		t.Errorf("the second INVITE is another call: %v", again)
	}
	p.reply(again, reply{status: "422 Session Interval Too Small", tag: "x"}) // and does not say what it wants
	p.expect("ACK")
	third := p.expect("INVITE")
	if third.get("Session-Expires") != "" {
		t.Errorf("asked a third time for %q", third.get("Session-Expires"))
	}
	p.reply(third, reply{status: "422 Session Interval Too Small", tag: "x", headers: []string{"Min-SE: 3600"}})
	if err := d.failed(); err.SIPStatus != 422 || err.Cause != telephony.CauseFailed {
		t.Errorf("got %+v", err)
	}
}

// Refreshes of the far end: too small is refused, the rest is kept.
func TestTheirRefreshes(t *testing.T) {
	c := up(t, nil, "Session-Expires: 1800;refresher=uas")
	ask := func(cseq int, want string, headers ...string) *rawMessage {
		t.Helper()
		c.p.request("UPDATE", c.invite, "a1", cseq, "", headers...)
		return c.p.expect(want)
	}
	if got := ask(1, "422", "Supported: timer", "Session-Expires: 60").get("Min-SE"); got != "90" {
		t.Errorf("422 with Min-SE %q", got)
	}
	ok := ask(2, "200", "k: timer", "x: 300;refresher=uac")
	if ok.get("Session-Expires") != "300;refresher=uac" || ok.get("Require") != "timer" {
		t.Errorf("answered with %q, Require %q", ok.get("Session-Expires"), ok.get("Require"))
	}
	// One that knows no timers cannot refresh, so we do.
	ok = ask(3, "200", "Session-Expires: 60")
	if ok.get("Session-Expires") != "90;refresher=uas" || ok.get("Require") != "" {
		t.Errorf("answered with %q, Require %q", ok.get("Session-Expires"), ok.get("Require"))
	}
	ok = ask(4, "200", "Supported: timer, 100rel") // goes on as it was
	if ok.get("Session-Expires") != "90;refresher=uas" {
		t.Errorf("answered with %q", ok.get("Session-Expires"))
	}
	c.end(t, 5)
}

// The BYE of a far end is lost: it no longer refreshes, and the call ends.
func TestLostByeIsFoundByTheSessionTimer(t *testing.T) {
	for name, answer := range map[string]string{
		"they refreshed": "Session-Expires: 90;refresher=uas",
		"we refresh":     "Session-Expires: 90;refresher=uac",
	} {
		t.Run(name, func(t *testing.T) {
			c := up(t, nil, answer)
			now := time.Now()
			if _, expired := c.leg.timer.due(now.Add(58 * time.Second)); expired {
				t.Error("over after 58 of 90 seconds")
			}
			c.leg.keepSession(now.Add(61 * time.Second))
			c.p.ok(c.p.expect("BYE"))
			awaitDone(t, c.leg)
			if info := c.leg.Info(); info.EndedBy != telephony.Network || !strings.Contains(info.Reason, "session timer") {
				t.Errorf("wrong end %+v", info)
			}
		})
	}
}

// What refuses UPDATE is asked by re-INVITE; what wants longer sessions gets them.
func TestRefusedRefreshes(t *testing.T) {
	c := up(t, nil, "Session-Expires: 120;refresher=uac", "Allow: INVITE, UPDATE")
	at := time.Now().Add(61 * time.Second)
	settle := func() { // until the refresh has taken note of its answer
		c.leg.asking <- struct{}{}
		<-c.leg.asking
	}
	c.leg.keepSession(at)
	c.p.reply(c.p.expect("UPDATE"), reply{status: "405 Method Not Allowed"})
	due := func() {
		t.Helper()
		for deadline := time.Now().Add(patience); ; {
			settle()
			if refresh, expired := c.leg.timer.due(at); refresh || expired {
				return
			}
			if time.Now().After(deadline) {
				t.Fatal("no further refresh is due")
			}
			time.Sleep(time.Millisecond) // the refresh's own goroutine has no event
		}
	}
	due()
	c.leg.keepSession(at)
	m := c.p.expect("INVITE")
	c.p.reply(m, reply{status: "422 Session Interval Too Small", headers: []string{"Min-SE: 121"}})
	c.p.expect("ACK")
	due()
	c.leg.keepSession(at)
	m = c.p.expect("INVITE")
	if m.get("Session-Expires") != "121;refresher=uac" || m.get("Min-SE") != "121" {
		t.Errorf("refreshed with %q, Min-SE %q", m.get("Session-Expires"), m.get("Min-SE"))
	}
	c.p.reply(m, reply{status: "200 OK", body: sdp(someSDPPort)}) // without a timer from now on
	c.p.expect("ACK")
	settle()
	if refresh, expired := c.leg.timer.due(at.Add(time.Hour)); refresh || expired {
		t.Error("a session without an interval is refreshed or over")
	}
	c.end(t, 1)
}

func TestSessionTimerDue(t *testing.T) {
	for _, tc := range []struct {
		answer          string
		refresh, expire time.Duration // from when; 0 never
	}{
		{"1800;refresher=uac", 900 * time.Second, 1768 * time.Second},
		{"1800", 900 * time.Second, 1768 * time.Second},
		{"1800;refresher=uas", 0, 1768 * time.Second},
		{"30;refresher=uac", 15 * time.Second, 20 * time.Second},
		{"2;refresher=uac", 15 * time.Second, 20 * time.Second}, // nobody has us send more than that
		{"2;refresher=uas", 0, 60 * time.Second},                // nor is ended for less
		{"x", 0, 0},
		{"", 0, 0},
	} {
		res := sip.NewResponse(200, "OK")
		res.AppendHeader(sip.NewHeader("Session-Expires", tc.answer))
		var timer sessionTimer
		timer.init(res, 0)
		first := func(what func(time.Duration) bool) time.Duration {
			for d := time.Second; d < 2000*time.Second; d += time.Second {
				if what(d) {
					return d
				}
			}
			return 0
		}
		start := timer.refreshed
		refresh := first(func(d time.Duration) bool { r, _ := timer.due(start.Add(d)); return r })
		expire := first(func(d time.Duration) bool { _, e := timer.due(start.Add(d)); return e })
		if refresh != tc.refresh || expire != tc.expire {
			t.Errorf("%q: refresh after %s, over after %s; want %s, %s", tc.answer, refresh, expire, tc.refresh, tc.expire)
		}
	}
}

// A leg that is on hold, by either side, and has no session timer is asked for
// now and then: its BYE may have been lost, and no RTP is missed.
func TestHeldLegIsAskedFor(t *testing.T) {
	for name, hold := range map[string]func(c *upCall){
		"by them": func(c *upCall) {
			c.p.request("UPDATE", c.invite, "a1", 1, sdp(c.rtp.port(), "a=sendonly"), sdpType)
			c.p.expect("200")
		},
		"by us": func(c *upCall) {
			done := asked(func() error { return c.leg.Hold(t.Context(), true) })
			c.p.reply(c.p.expect("INVITE"), reply{status: "200 OK", body: sdp(c.rtp.port(), "a=recvonly")})
			if err := awaitErr(t, done); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := up(t, nil)
			hold(c)
			now := time.Now()
			c.leg.check(now)
			c.leg.check(now.Add(probeEvery + time.Second))
			c.p.reply(c.p.expect("OPTIONS"), reply{status: "405 Method Not Allowed"})
			c.leg.check(now.Add(2*probeEvery + 2*time.Second))
			c.p.reply(c.p.expect("OPTIONS"), reply{status: "481 Call/Transaction Does Not Exist"})
			c.p.ok(c.p.expect("BYE"))
			awaitDone(t, c.leg)
			if info := c.leg.Info(); info.EndedBy != telephony.Network || info.Cause != telephony.CauseUnreachable {
				t.Errorf("wrong end %+v", info)
			}
		})
	}
}
