package siptrunk

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/icholy/digest"

	"dialer/telephony"
)

func challengeFor(realm string) string {
	return `Proxy-Authenticate: Digest realm="` + realm + `", nonce="abc", algorithm=MD5, qop="auth"`
}

func rightDigest(t *testing.T, m *rawMessage, header, password string) bool {
	t.Helper()
	cred, err := digest.ParseCredentials(m.get(header))
	if err != nil {
		t.Fatalf("%s of %s: %v", header, m.method(), err)
	}
	want, err := digest.Digest(
		&digest.Challenge{Realm: cred.Realm, Nonce: cred.Nonce, Algorithm: "MD5", QOP: []string{"auth"}},
		digest.Options{Method: m.method(), URI: cred.URI, Username: cred.Username, Password: password, Cnonce: cred.Cnonce, Count: cred.Nc})
	return err == nil && want.Response == cred.Response
}

func TestDigest(t *testing.T) {
	p := newRawPeer(t)
	tr := testTrunk(p)
	tr.Username, tr.Password, tr.Realm = "acme", "s3cret", "carrier"
	e := startEndpoint(t, nil, tr)

	t.Run("right password, BYE challenged too", func(t *testing.T) {
		d := dial(t, t.Context(), e, invite())
		m := p.expect("INVITE")
		p.reply(m, reply{status: "407 Proxy Authentication Required", tag: "x", headers: []string{challengeFor("carrier")}})
		p.expect("ACK")
		again := p.expect("INVITE")
		if again.get("Call-ID") != m.get("Call-ID") || again.cseq() == m.cseq() || again.get("Via") == m.get("Via") || again.get("From") != m.get("From") {
			t.Errorf("the second INVITE is wrong: %v", again)
		}
		if !rightDigest(t, again, "Proxy-Authorization", "s3cret") {
			t.Error("wrong digest")
		}
		p.reply(again, answerSDP)
		leg := d.answered()
		p.expect("ACK")
		leg.Hangup(telephony.CauseNormal)
		bye := p.expect("BYE")
		p.reply(bye, reply{status: "407 Proxy Authentication Required", headers: []string{challengeFor("carrier")}})
		bye = p.expect("BYE")
		if !rightDigest(t, bye, "Proxy-Authorization", "s3cret") {
			t.Error("wrong digest on BYE")
		}
		p.ok(bye)
	})
	t.Run("wrong password", func(t *testing.T) {
		d := dial(t, t.Context(), e, invite())
		m := p.expect("INVITE")
		p.reply(m, reply{status: "407 Proxy Authentication Required", tag: "x", headers: []string{challengeFor("carrier")}})
		again := p.expect("INVITE")
		p.reply(again, reply{status: "407 Proxy Authentication Required", tag: "y", headers: []string{challengeFor("carrier")}})
		if err := d.failed(); err.SIPStatus != 407 || err.Cause != telephony.CauseFailed {
			t.Errorf("got %+v", err)
		}
		p.silent("INVITE", 50*time.Millisecond)
	})
	t.Run("foreign realm", func(t *testing.T) {
		d := dial(t, t.Context(), e, invite())
		m := p.expect("INVITE")
		p.reply(m, reply{status: "407 Proxy Authentication Required", tag: "x", headers: []string{challengeFor("evil")}})
		if err := d.failed(); err.SIPStatus != 407 {
			t.Errorf("got %+v", err)
		}
		p.silent("INVITE", 50*time.Millisecond)
	})
	awaitFree(t, e)
}

func TestNotSent(t *testing.T) {
	p := newRawPeer(t)
	tr := testTrunk(p)
	e := startEndpoint(t, nil, tr)
	awaitTokens(t, e, 1)
	for name, change := range map[string]func(*telephony.Invite){
		"unknown trunk":       func(i *telephony.Invite) { i.Trunk = "trk_other" },
		"not E.164":           func(i *telephony.Invite) { i.To = "+49\r\nBye: x" },
		"URI as number":       func(i *telephony.Invite) { i.To = "+4930@evil" },
		"no caller ID":        func(i *telephony.Invite) { i.From = "" },
		"line break":          func(i *telephony.Invite) { i.Headers = map[string]string{"X-A": "1\r\nContact: <sip:evil>"} },
		"bad name":            func(i *telephony.Invite) { i.Headers = map[string]string{"X A": "1"} },
		"header of ours":      func(i *telephony.Invite) { i.Headers = map[string]string{"contact": "<sip:evil>"} },
		"call id with spaces": func(i *telephony.Invite) { i.Call = "a b" },
	} {
		inv := invite()
		change(&inv)
		d := dial(t, t.Context(), e, inv)
		if err := d.failed(); err.Cause != telephony.CauseNotSent || err.Reason == "" {
			t.Errorf("%s: got %+v", name, err)
		}
	}
	tr.Enabled = false
	e.SetTrunks([]telephony.Trunk{tr})
	if c := e.Capacity("trk_test"); c.Up || c.Why == "" || c.Free() != 0 {
		t.Errorf("disabled trunk has capacity %+v", c)
	}
	tr.Enabled = true
	e.SetTrunks([]telephony.Trunk{tr})
	e.Drain()
	if d := dial(t, t.Context(), e, invite()); d.failed().Cause != telephony.CauseNotSent {
		t.Error("Dial after Drain was sent")
	}
	p.silent("INVITE", 50*time.Millisecond)
}

func TestFromNameCannotBreakOut(t *testing.T) {
	p := newRawPeer(t)
	e := startEndpoint(t, nil, testTrunk(p))
	inv := invite()
	inv.FromName = "A\"B\\ <sip:evil@x>\r\nX-Evil: 1\x00;tag=1"
	d := dial(t, t.Context(), e, inv)
	m := p.expect("INVITE")
	if m.get("X-Evil") != "" || strings.Contains(m.get("From"), "<sip:evil") || !strings.HasPrefix(m.get("From"), `"A\"B\\ `) {
		t.Errorf("From is %q", m.get("From"))
	}
	p.reply(m, reply{status: "486 Busy Here", tag: "x"})
	d.failed()
}

// On 0.0.0.0, the usual setting, the address towards the peer is what stands in
// Contact and SDP; External overrules it.
func TestListenOnAllAddresses(t *testing.T) {
	for _, external := range []string{"", "198.51.100.7"} {
		p := newRawPeer(t)
		want := "127.0.0.1"
		e := startEndpoint(t, func(c *Config) {
			c.Listen = netip.MustParseAddrPort("0.0.0.0:0")
			if external != "" {
				c.External, want = netip.MustParseAddr(external), external
			}
		}, testTrunk(p))
		d := dial(t, t.Context(), e, invite())
		m := p.expect("INVITE")
		us := fmt.Sprintf("%s:%d", want, e.Addr().Port())
		if m.from.Port() != e.Addr().Port() || m.get("Contact") != "<sip:dialer@"+us+">" ||
			!strings.HasPrefix(m.get("Via"), "SIP/2.0/UDP "+us+";") || offeredRTP(t, m).Addr().String() != want {
			t.Errorf("INVITE from %s: Contact %s, Via %s, audio at %s, want %s", m.from, m.get("Contact"), m.get("Via"), offeredRTP(t, m), us)
		}
		p.reply(m, answerSDP)
		leg := d.answered()
		if ack := p.expect("ACK"); ack.from != m.from {
			t.Errorf("ACK comes from %s, INVITE from %s", ack.from, m.from)
		}
		leg.Hangup(telephony.CauseNormal)
		bye := p.expect("BYE")
		if bye.from != m.from {
			t.Errorf("BYE comes from %s, INVITE from %s", bye.from, m.from)
		}
		p.ok(bye)
		awaitFree(t, e)
	}
}

func TestIPv6(t *testing.T) {
	conn, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback})
	if err != nil {
		t.Skip("no IPv6 on this host")
	}
	defer conn.Close()
	addr := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	e := startEndpoint(t, func(c *Config) { c.Listen = netip.MustParseAddrPort("[::1]:0") },
		telephony.Trunk{ID: "trk_test", Name: "v6", Address: addr.String(), Channels: 1, CPS: 100, Enabled: true,
			TrunkOptions: telephony.TrunkOptions{OptionsSeconds: -1}})
	d := dial(t, t.Context(), e, invite())
	buf := make([]byte, 4096)
	conn.SetReadDeadline(time.Now().Add(patience))
	n, from, err := conn.ReadFromUDPAddrPort(buf)
	if err != nil {
		t.Fatal(err)
	}
	m := parseRaw(string(buf[:n]))
	us := "[::1]:" + fmt.Sprint(e.Addr().Port())
	if m.uri() != "sip:+4930123456@"+addr.String() || !strings.HasPrefix(m.get("Via"), "SIP/2.0/UDP "+us+";") ||
		m.get("Contact") != "<sip:dialer@"+us+">" || !strings.Contains(m.body, "c=IN IP6 ::1") {
		t.Errorf("wrong INVITE:\n%s", buf[:n])
	}
	text := fmt.Sprintf("SIP/2.0 486 Busy\r\nVia: %s\r\nFrom: %s\r\nTo: %s;tag=x\r\nCall-ID: %s\r\nCSeq: %s\r\nContent-Length: 0\r\n\r\n",
		m.get("Via"), m.get("From"), m.get("To"), m.get("Call-ID"), m.get("CSeq"))
	if _, err := conn.WriteToUDPAddrPort([]byte(text), from); err != nil {
		t.Fatal(err)
	}
	if err := d.failed(); err.Cause != telephony.CauseBusy {
		t.Errorf("got %+v", err)
	}
}
