package siptrunk

import (
	"fmt"
	"strings"
	"testing"

	"github.com/icholy/digest"

	"dialer/telephony"
)

func TestRedirects(t *testing.T) {
	for name, tc := range map[string]struct {
		change   func(tr *telephony.Trunk)
		contact  func(first, second, stranger string) string
		followed bool
		uri      string
	}{
		"to another peer of the trunk": {func(tr *telephony.Trunk) { tr.Redirects = true },
			func(_, second, _ string) string { return "<sip:+49301@" + second + ">" }, true, "sip:+49301@"},
		"by preference": {func(tr *telephony.Trunk) { tr.Redirects = true },
			func(first, second, stranger string) string {
				return "<sip:1@" + stranger + ">;q=1, <sip:2@" + first + ">;q=0.1, <sip:3@" + second + ";x=y?Subject=z>;q=0.9"
			}, true, "sip:3@"},
		"not when the trunk does not allow it": {func(*telephony.Trunk) {},
			func(_, second, _ string) string { return "<sip:+49301@" + second + ">" }, false, ""},
		"not to strangers": {func(tr *telephony.Trunk) { tr.Redirects = true },
			func(_, _, stranger string) string {
				return "<sip:+49301@" + stranger + ">, <sip:+49301@nowhere.example>"
			}, false, ""},
		"not to another scheme": {func(tr *telephony.Trunk) { tr.Redirects = true },
			func(_, second, _ string) string { return "<tel:+49301>, <sips:+49301@" + second + ">" }, false, ""},
		"not to a number that may not be called": {func(tr *telephony.Trunk) { tr.Redirects, tr.Destinations = true, []string{"+4930"} },
			func(_, second, _ string) string { return "<sip:+1900555@" + second + ">" }, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, second, stranger := newRawPeer(t), newRawPeerAt(t, "127.0.0.4"), newRawPeerAt(t, "127.0.0.5")
			tr := testTrunk(first)
			tr.Backups = []string{second.addr().String()}
			tc.change(&tr)
			e := startEndpoint(t, nil, tr)
			d := dial(t, t.Context(), e, invite())
			m := first.expect("INVITE")
			to := tc.contact(first.addr().String(), second.addr().String(), stranger.addr().String())
			first.reply(m, reply{status: "302 Moved Temporarily", tag: "x", contact: to})
			first.expect("ACK")
			if !tc.followed {
				if err := d.failed(); err.SIPStatus != 302 || err.Cause != telephony.CauseFailed {
					t.Errorf("got %+v", err)
				}
				for _, p := range []*rawPeer{second, stranger} {
					select {
					case m := <-p.in:
						t.Errorf("%s got %s", p.addr(), m.start)
					default:
					}
				}
				return
			}
			again := second.expect("INVITE")
			if !strings.HasPrefix(again.uri(), tc.uri) || strings.Contains(again.uri(), "?") || again.get("Call-ID") != m.get("Call-ID") ||
				again.cseq() != "2" || again.get("To") != m.get("To") || again.get("Subject") != "" {
				t.Errorf("redirected to %s: %v", again.uri(), again)
			}
			second.reply(again, answerSDP)
			leg := d.answered()
			second.expect("ACK")
			second.request("BYE", again, "a1", 1, "")
			awaitDone(t, leg)
		})
	}
}

// Peers that send a call round in a circle do not hold it for ever.
func TestRedirectionInACircle(t *testing.T) {
	p := newRawPeer(t)
	tr := testTrunk(p)
	tr.Redirects = true
	e := startEndpoint(t, nil, tr)
	d := dial(t, t.Context(), e, invite())
	for range maxRedirects + 1 {
		p.reply(p.expect("INVITE"), reply{status: "301 Moved", tag: "x", contact: "<sip:a@" + p.addr().String() + ">"})
		p.expect("ACK")
	}
	if err := d.failed(); err.SIPStatus != 301 {
		t.Errorf("got %+v", err)
	}
}

func TestChallenges(t *testing.T) {
	realm := func(s string) string { return `WWW-Authenticate: Digest realm="carrier", nonce="n1", ` + s }
	for name, tc := range map[string]struct {
		headers   []string
		algorithm string // of the answer, "-" for none
		why       string
	}{
		"SHA-256 before MD5":   {[]string{realm(`algorithm=MD5, qop="auth"`), realm(`algorithm=SHA-256, qop="auth"`)}, "SHA-256", ""},
		"unknown before MD5":   {[]string{realm(`algorithm=SHA-999`), realm(`algorithm=md5`)}, "MD5", ""},
		"without qop":          {[]string{realm(`opaque="o"`)}, "", ""},
		"auth beside auth-int": {[]string{realm(`qop="auth-int, auth"`)}, "", ""},
		"auth-int alone":       {[]string{realm(`qop="auth-int"`)}, "-", ""},
		"none":                 {nil, "-", ""},
		"unreadable":           {[]string{"WWW-Authenticate: Basic realm=x"}, "-", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newRawPeer(t)
			tr := testTrunk(p)
			tr.Username, tr.Password, tr.Realm = "acme", "s3cret", "carrier"
			e := startEndpoint(t, nil, tr)
			d := dial(t, t.Context(), e, invite())
			m := p.expect("INVITE")
			p.reply(m, reply{status: "401 Unauthorized", tag: "x", headers: tc.headers})
			p.expect("ACK")
			if tc.algorithm == "-" {
				if err := d.failed(); err.SIPStatus != 401 || err.Cause != telephony.CauseFailed {
					t.Errorf("got %+v", err)
				}
				return
			}
			again := p.expect("INVITE")
			cred, err := digest.ParseCredentials(again.get("Authorization"))
			if err != nil || cred.Algorithm != tc.algorithm || cred.Nonce != "n1" || cred.QOP == "auth-int" {
				t.Fatalf("answered with %q", again.get("Authorization"))
			}
			want, err := digest.Digest(&digest.Challenge{Realm: cred.Realm, Nonce: cred.Nonce, Algorithm: cred.Algorithm, QOP: qopOf(cred)},
				digest.Options{Method: "INVITE", URI: cred.URI, Username: "acme", Password: "s3cret", Cnonce: cred.Cnonce, Count: cred.Nc})
			if err != nil || want.Response != cred.Response {
				t.Errorf("wrong response in %q", again.get("Authorization"))
			}
			p.reply(again, reply{status: "486 Busy Here", tag: "x"})
			d.failed()
		})
	}
}

func qopOf(c *digest.Credentials) []string {
	if c.QOP == "" {
		return nil
	}
	return []string{c.QOP}
}

// A stale nonce is answered anew; the nonce that is named for the next request
// signs it before anybody asks; the ACK carries what the INVITE did.
func TestNonces(t *testing.T) {
	p := newRawPeer(t)
	tr := testTrunk(p)
	tr.Username, tr.Password = "acme", "s3cret"
	e := startEndpoint(t, nil, tr)
	d := dial(t, t.Context(), e, invite())
	ask := func(nonce, more string) reply {
		return reply{status: "407 Proxy Authentication Required", tag: "x",
			headers: []string{fmt.Sprintf(`Proxy-Authenticate: Digest realm="r", nonce="%s", qop="auth"%s`, nonce, more)}}
	}
	p.reply(p.expect("INVITE"), ask("old", ""))
	p.reply(p.expect("INVITE"), ask("fresh", ", stale=true"))
	m := p.expect("INVITE")
	if got := m.all("Proxy-Authorization"); len(got) != 1 || !strings.Contains(got[0], `nonce="fresh"`) {
		t.Fatalf("signed with %v", got)
	}
	p.reply(m, answerSDP)
	leg := d.answered()
	ack := p.expect("ACK")
	for ack.cseq() != m.cseq() {
		ack = p.expect("ACK") // those of the challenges come first
	}
	if ack.get("Proxy-Authorization") != m.get("Proxy-Authorization") {
		t.Errorf("the ACK is signed with %q", ack.get("Proxy-Authorization"))
	}
	held := asked(func() error { return leg.Hold(t.Context(), true) })
	p.reply(p.expect("INVITE"), ask("third", ""))
	again := p.expect("INVITE")
	p.reply(again, reply{status: "200 OK", body: sdp(someSDPPort, "a=recvonly"),
		headers: []string{`Proxy-Authentication-Info: nextnonce="fourth", qop=auth`}})
	if err := awaitErr(t, held); err != nil {
		t.Error(err)
	}
	leg.Hangup(telephony.CauseNormal)
	bye := p.expect("BYE")
	if !strings.Contains(bye.get("Proxy-Authorization"), `nonce="fourth"`) || !rightDigest(t, bye, "Proxy-Authorization", "s3cret") {
		t.Errorf("BYE is signed with %q", bye.get("Proxy-Authorization"))
	}
	p.ok(bye)
}

// A strict router gets the request at its own URI, the target at the end.
func TestStrictRoute(t *testing.T) {
	p, router := newRawPeer(t), newRawPeer(t)
	e := startEndpoint(t, nil, testTrunk(p))
	d := dial(t, t.Context(), e, invite())
	m := p.expect("INVITE")
	p.reply(m, reply{
		status: "200 OK", tag: "a1", body: sdp(someSDPPort), contact: "<sip:gw@192.0.2.1:5070>",
		headers: []string{"Record-Route: <sip:192.0.2.9;lr>", "Record-Route: <sip:" + router.addr().String() + ">"},
	})
	leg := d.answered()
	leg.Hangup(telephony.CauseNormal)
	for _, m := range []*rawMessage{router.expect("ACK"), router.expect("BYE")} {
		if got := strings.Join(m.all("Route"), ","); m.uri() != "sip:"+router.addr().String() || got != "<sip:192.0.2.9;lr>,<sip:gw@192.0.2.1:5070>" {
			t.Errorf("%s %s has Route %s", m.method(), m.uri(), got)
		}
		if m.method() == "BYE" {
			router.ok(m)
		}
	}
}

// An INVITE of many kilobytes leaves in one datagram.
func TestBigInviteOverUDP(t *testing.T) {
	p := newRawPeer(t)
	e := startEndpoint(t, nil, testTrunk(p))
	inv := invite()
	inv.Headers = map[string]string{"Identity": passport("A"), "X-Long": strings.Repeat("x", 4000), "X-Longer": strings.Repeat("y", 4000)}
	d := dial(t, t.Context(), e, inv)
	m := p.expect("INVITE")
	if m.get("X-Longer") != inv.Headers["X-Longer"] || !strings.Contains(m.body, "m=audio") {
		t.Error("it was cut")
	}
	p.reply(m, reply{status: "486 Busy Here", tag: "x"})
	d.failed()
}
