package siptrunk

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"dialer/telephony"
)

func registering(p *rawPeer) telephony.Trunk {
	tr := testTrunk(p)
	tr.Username, tr.Password, tr.Realm, tr.Register, tr.FromDomain = "acme", "s3cret", "carrier", true, "carrier.example"
	return tr
}

func granted(p *rawPeer, m *rawMessage, seconds int) {
	others := `"other, node" <sip:acme@192.0.2.50:5060>;expires=3000, `
	p.reply(m, reply{status: "200 OK", tag: "r", headers: []string{
		"Contact: " + others + strings.Split(m.get("Contact"), ";expires")[0] + ";q=0.5;expires=" + strconv.Itoa(seconds), "Expires: 9999",
	}})
}

// TestRegisterWithTrunk: challenged, granted less than asked for, refreshed in time, with
// one Call-ID and a growing CSeq, and taken back at the end: our binding only.
func TestRegisterWithTrunk(t *testing.T) {
	t.Parallel()
	p := newRawPeer(t)
	cfg := DefaultConfig()
	cfg.Listen, cfg.second = netip.MustParseAddrPort("127.0.0.1:0"), 20*time.Millisecond
	e, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	e.SetTrunks([]telephony.Trunk{registering(p)})
	if c := e.Capacity("trk_test"); c.Up || c.Why != "not registered: no answer to REGISTER yet" {
		t.Errorf("capacity %+v", c)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()

	m := p.expect("REGISTER")
	if m.uri() != "sip:"+p.addr().String() || !strings.Contains(m.get("To"), "<sip:acme@carrier.example>") ||
		!strings.HasPrefix(m.get("Contact"), "<sip:acme@"+e.Addr().String()+">") || m.get("Expires") != "600" {
		t.Errorf("wrong REGISTER: %+v", m)
	}
	challenge := "WWW-Authenticate: Digest realm=\"carrier\", nonce=\"n1\", algorithm=MD5, qop=\"auth\""
	p.reply(m, reply{status: "401 Unauthorized", tag: "r", headers: []string{challenge}})
	again := p.expect("REGISTER")
	if !rightDigest(t, again, "Authorization", "s3cret") {
		t.Error("wrong digest")
	}
	p.reply(again, reply{status: "401 Unauthorized", tag: "r", headers: []string{strings.Replace(challenge, "n1", "n2", 1) + ", stale=true"}})
	fresh := p.expect("REGISTER")
	if !strings.Contains(fresh.get("Authorization"), `nonce="n2"`) {
		t.Errorf("the fresh nonce was not taken: %s", fresh.get("Authorization"))
	}
	granted(p, fresh, 50) // of our seconds of 20 ms
	at := time.Now()
	awaitCapacity(t, e, func(c telephony.Capacity) bool { return c.Up })

	refresh := p.expect("REGISTER")
	if after := time.Since(at); after < 600*time.Millisecond { // how late is not judged: the machine may be busy
		t.Errorf("refreshed after %s of 1 s already", after)
	}
	seqs := []string{m.cseq(), again.cseq(), fresh.cseq(), refresh.cseq()}
	if strings.Join(seqs, " ") != "1 2 3 4" || m.get("Call-ID") != refresh.get("Call-ID") {
		t.Errorf("CSeq %v, Call-ID %s and %s", seqs, m.get("Call-ID"), refresh.get("Call-ID"))
	}
	granted(p, refresh, 3000)
	cancel()
	last := p.expect("REGISTER")
	if last.get("Contact") != strings.Replace(refresh.get("Contact"), "expires=600", "expires=0", 1) || last.get("Expires") != "0" || len(last.all("Contact")) != 1 {
		t.Errorf("Contact %v, Expires %s", last.all("Contact"), last.get("Expires"))
	}
	p.ok(last)
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("Run did not end")
	}
}

// TestRegisterIsRefused: the trunk is down and says why, the pauses grow, and a
// corrected password is tried at once.
func TestRegisterIsRefused(t *testing.T) {
	t.Parallel()
	p := newRawPeer(t)
	tr := registering(p)
	e := startEndpoint(t, func(c *Config) { c.second = 20 * time.Millisecond }, tr)
	var at []time.Time
	for range 3 {
		m := p.expect("REGISTER")
		at = append(at, time.Now())
		p.reply(m, reply{status: "403 Forbidden", tag: "r"})
	}
	if one, two := at[1].Sub(at[0]), at[2].Sub(at[1]); one < 90*time.Millisecond || two < 180*time.Millisecond {
		t.Errorf("tried again after %s and %s", one, two)
	}
	awaitCapacity(t, e, func(c telephony.Capacity) bool {
		return !c.Up && c.Why == "not registered: REGISTER was refused with 403 Forbidden"
	})
	if err := dialNow(t, e); err.Cause != telephony.CauseNotSent || !strings.Contains(err.Reason, "403") {
		t.Errorf("a call: %+v", err)
	}
	tr.Password = "better"
	e.SetTrunks([]telephony.Trunk{tr})
	m := p.expect("REGISTER")
	p.reply(m, reply{status: "423 Interval Too Brief", tag: "r", headers: []string{"Min-Expires: 7200"}})
	longer := p.expect("REGISTER")
	if longer.get("Expires") != "7200" {
		t.Errorf("asked for %s s", longer.get("Expires"))
	}
	granted(p, longer, 7200)
	awaitCapacity(t, e, func(c telephony.Capacity) bool { return c.Up })

	tr.Register = false // taken back, and no longer needed
	e.SetTrunks([]telephony.Trunk{tr})
	last := p.expect("REGISTER")
	if last.get("Expires") != "0" {
		t.Errorf("Expires %s", last.get("Expires"))
	}
	p.ok(last)
	awaitCapacity(t, e, func(c telephony.Capacity) bool { return c.Up })
}

// TestRegisterFailsOver: the second peer of the trunk is asked when the first is
// silent.
func TestRegisterFailsOver(t *testing.T) {
	t.Parallel()
	a, b := newRawPeer(t), newRawPeer(t)
	tr := registering(a)
	tr.Backups = []string{b.addr().String()}
	e := startEndpoint(t, func(c *Config) { c.second = 20 * time.Millisecond }, tr)
	a.expect("REGISTER")
	granted(b, b.expect("REGISTER"), 3000)
	awaitCapacity(t, e, func(c telephony.Capacity) bool { return c.Up })
	last := make(chan struct{})
	var once sync.Once
	end := func(m *rawMessage) { b.ok(m); once.Do(func() { close(last) }) }
	b.serve.Store(&end)
	e.SetTrunks(nil)
	<-last
}

func TestGranted(t *testing.T) {
	ours := sip.Uri{Scheme: "sip", User: "acme", Host: "192.0.2.1", Port: 5080}
	for _, tc := range []struct {
		headers string
		want    int
	}{
		{"", 600},
		{"Expires: 120\r\n", 120},
		{"Contact: <sip:acme@192.0.2.1:5080>;expires=90\r\nExpires: 120\r\n", 90},
		{"Contact: <sip:acme@192.0.2.9:5080>;expires=90\r\nExpires: 120\r\n", 120},
		{"Contact: <sip:acme@192.0.2.9:5080>;expires=9\r\nContact: <sip:acme@192.0.2.1:5080>;expires=90\r\n", 90},
		{"Contact: \"a, <b>\" <sip:x@192.0.2.9>;expires=9, <sip:acme@192.0.2.1:5080;ob>;expires=70\r\n", 70},
		{"m: sip:acme@192.0.2.1:5080;expires=80\r\n", 80},
		{"Expires: -5\r\n", 0},
		{"Expires: 99999999\r\n", 86400},
		{"Expires: soon\r\nContact: nonsense,,<\r\n", 600},
	} {
		text := "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>;tag=2\r\nCall-ID: x\r\nCSeq: 1 REGISTER\r\n" +
			tc.headers + "Content-Length: 0\r\n\r\n"
		msg, err := sip.ParseMessage([]byte(text))
		if err != nil {
			if tc.want == 600 && strings.Contains(tc.headers, "nonsense") {
				continue // the guard drops it
			}
			t.Errorf("%q: %v", tc.headers, err)
			continue
		}
		if got := grantedTo(msg.(*sip.Response), ours, 600); got != tc.want {
			t.Errorf("%q: %d s, want %d", tc.headers, got, tc.want)
		}
	}
}

func FuzzSplitValues(f *testing.F) {
	f.Add(`"a, \"b" <sip:x@y,z>;q=1, <sip:c@d>`)
	f.Fuzz(func(t *testing.T, s string) {
		if parts := splitValues(s); len(strings.Join(parts, ",")) > len(s) {
			t.Error(fmt.Sprint(parts))
		}
	})
}
