package siptrunk

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/icholy/digest"

	"dialer/telephony"
)

func ha1(user, realm, password string) string {
	sum := md5.Sum([]byte(user + ":" + realm + ":" + password))
	return hex.EncodeToString(sum[:])
}

// withPhones accepts extension 7 with the password "pw".
func withPhones(c *Config) {
	c.Credentials = func(_ context.Context, user string) (string, bool, error) {
		switch user {
		case "7":
			return ha1("7", c.Realm, "pw"), true, nil
		case "broken":
			return "", false, errors.New("no database")
		}
		return "", false, nil
	}
}

// A phone is a rawPeer that registers.
type phone struct {
	*rawPeer
	e      *Endpoint
	user   string
	callID string
	cseq   int
	nc     int
}

func newPhone(t *testing.T, e *Endpoint, host string) *phone {
	return &phone{rawPeer: newRawPeerAt(t, host), e: e, user: "7", callID: "reg-" + newTag()}
}

// register sends one REGISTER and returns the answer.
func (p *phone) register(authorization string, headers ...string) *rawMessage {
	p.t.Helper()
	p.cseq++
	text := fmt.Sprintf("REGISTER sip:dialer SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bK%s;rport\r\nMax-Forwards: 70\r\n"+
		"From: <sip:%s@dialer>;tag=r\r\nTo: <sip:%s@dialer>\r\nCall-ID: %s\r\nCSeq: %d REGISTER\r\n",
		p.addr(), newTag(), p.user, p.user, p.callID, p.cseq)
	if authorization != "" {
		text += "Authorization: " + authorization + "\r\n"
	}
	for _, h := range headers {
		text += h + "\r\n"
	}
	p.send(p.e.Addr(), text+"Content-Length: 0\r\n\r\n")
	select {
	case m := <-p.in:
		return m
	case <-time.After(patience):
		p.t.Fatal("no answer to REGISTER")
		return nil
	}
}

func (p *phone) contact() string { return fmt.Sprintf("Contact: <sip:%s@%s>", p.user, p.addr()) }

// answer computes the credentials for a challenge.
func (p *phone) answer(challenge *rawMessage, password string) string {
	p.t.Helper()
	c, err := digest.ParseChallenge(challenge.get("WWW-Authenticate"))
	if err != nil {
		p.t.Fatalf("challenge %q: %v", challenge.get("WWW-Authenticate"), err)
	}
	p.nc++
	cred, err := digest.Digest(c, digest.Options{Method: "REGISTER", URI: "sip:dialer", Username: p.user, Password: password, Count: p.nc})
	if err != nil {
		p.t.Fatal(err)
	}
	return cred.String()
}

// login registers for good.
func (p *phone) login(headers ...string) *rawMessage {
	p.t.Helper()
	challenge := p.register("", p.contact())
	if challenge.status() != "401" {
		p.t.Fatalf("first REGISTER: %s", challenge.start)
	}
	return p.register(p.answer(challenge, "pw"), append([]string{p.contact()}, headers...)...)
}

func TestRegister(t *testing.T) {
	e := startEndpoint(t, withPhones)
	p := newPhone(t, e, "127.0.0.5")
	station := telephony.Station{Extension: "7"}
	if e.Reachable(station) {
		t.Error("reachable before it has registered")
	}
	ok := p.login("Expires: 600")
	if ok.status() != "200" || ok.get("Contact") != "<sip:7@"+p.addr().String()+">;expires=600" {
		t.Fatalf("%s, Contact %q", ok.start, ok.get("Contact"))
	}
	if !e.Reachable(station) {
		t.Error("not reachable after it has registered")
	}
	// Without Contact it is a question.
	challenge := p.register("")
	if got := p.register(p.answer(challenge, "pw")); got.status() != "200" || got.get("Contact") == "" {
		t.Errorf("query: %s, Contact %q", got.start, got.get("Contact"))
	}
	for _, tc := range []struct{ contact, expires, want string }{
		{p.contact(), "Expires: 10", "423"},
		{p.contact() + ";expires=29", "Expires: 600", "423"},
		{p.contact(), "Expires: soon", "400"},
		{"Contact: <tel:+49301>", "", "400"},
		{"Contact: <sip:7@10.0.0.1;transport=tcp>", "", "400"},
		{"Contact: *", "Expires: 60", "400"},
	} {
		challenge := p.register("", p.contact())
		if got := p.register(p.answer(challenge, "pw"), tc.contact, tc.expires); got.status() != tc.want {
			t.Errorf("%s, %s: %s, want %s", tc.contact, tc.expires, got.start, tc.want)
		} else if tc.want == "423" && got.get("Min-Expires") != "30" {
			t.Errorf("423 has Min-Expires %q", got.get("Min-Expires"))
		}
	}
	challenge = p.register("", p.contact())
	if got := p.register(p.answer(challenge, "pw"), "Contact: *", "Expires: 0"); got.status() != "200" || got.get("Contact") != "" {
		t.Errorf("unregister: %s, Contact %q", got.start, got.get("Contact"))
	}
	if e.Reachable(station) {
		t.Error("reachable after it has unregistered")
	}
}

func TestRegisterRefused(t *testing.T) {
	e := startEndpoint(t, withPhones)
	p := newPhone(t, e, "127.0.0.5")
	challenge := p.register("", p.contact())
	if got := p.register(p.answer(challenge, "wrong"), p.contact()); got.status() != "401" || strings.Contains(got.get("WWW-Authenticate"), "stale") {
		t.Errorf("wrong password: %s, %q", got.start, got.get("WWW-Authenticate"))
	}
	p.user = "8"
	if got := p.register(p.answer(p.register(""), "pw"), p.contact()); got.status() != "401" {
		t.Errorf("unknown user: %s", got.start)
	}
	p.user = "7"
	mine := p.answer(p.register(""), "pw")
	p.user = "8" // the right credentials of another
	if got := p.register(mine, p.contact()); got.status() != "401" {
		t.Errorf("somebody else's phone: %s", got.start)
	}
	p.user = "broken"
	if got := p.register(p.answer(p.register(""), "pw"), p.contact()); got.status() != "503" {
		t.Errorf("no database: %s", got.start)
	}
	if e.Reachable(telephony.Station{Extension: "7"}) {
		t.Error("registered nevertheless")
	}
}

func TestStaleNonce(t *testing.T) {
	e := startEndpoint(t, withPhones)
	p := newPhone(t, e, "127.0.0.5")
	challenge := p.register("", p.contact())
	old := e.reg.nonce(netip.MustParseAddr("127.0.0.5"), time.Now().Add(-nonceLife))
	foreign := e.reg.nonce(netip.MustParseAddr("127.0.0.6"), time.Now())
	for name, nonce := range map[string]string{"old": old, "of another address": foreign, "forged": "AAAA"} {
		c, _ := digest.ParseChallenge(challenge.get("WWW-Authenticate"))
		c.Nonce = nonce
		cred, _ := digest.Digest(c, digest.Options{Method: "REGISTER", URI: "sip:dialer", Username: "7", Password: "pw", Count: 1})
		got := p.register(cred.String(), p.contact())
		if got.status() != "401" || !strings.Contains(got.get("WWW-Authenticate"), "stale=true") {
			t.Errorf("%s nonce: %s, %q", name, got.start, got.get("WWW-Authenticate"))
		}
	}
	// A nonce may be used again with a higher count, but not replayed.
	fresh := p.register("", p.contact())
	first := p.answer(fresh, "pw")
	if got := p.register(first, p.contact()); got.status() != "200" {
		t.Fatalf("fresh nonce: %s", got.start)
	}
	if got := p.register(first, "Contact: <sip:7@127.0.0.66>"); got.status() != "401" {
		t.Errorf("replayed with another Contact: %s", got.start)
	}
	if got := p.register(p.answer(fresh, "pw"), p.contact()); got.status() != "200" {
		t.Errorf("same nonce, next count: %s", got.start)
	}
}

// memoryBindings is a BindingStore.
type memoryBindings struct {
	mu sync.Mutex
	m  map[string]Binding
}

func (s *memoryBindings) SaveBinding(_ context.Context, b Binding) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.m[b.AOR] = b
	return nil
}

func (s *memoryBindings) DeleteBinding(_ context.Context, aor string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.m, aor)
	return nil
}

func (s *memoryBindings) Bindings(context.Context) ([]Binding, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Binding
	for _, b := range s.m {
		all = append(all, b)
	}
	return all, nil
}

func TestRegistrationSurvivesRestart(t *testing.T) {
	store := &memoryBindings{m: map[string]Binding{}}
	change := func(c *Config) { withPhones(c); c.Bindings = store }
	before := startEndpoint(t, change)
	p := newPhone(t, before, "127.0.0.5")
	if got := p.login(); got.status() != "200" {
		t.Fatal(got.start)
	}
	after := startEndpoint(t, change)
	if err := after.sock.await(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !after.Reachable(telephony.Station{Extension: "7"}) {
		t.Error("the registration is lost")
	}
	after.reg.expire(t.Context(), time.Now().Add(2*time.Hour))
	if after.Reachable(telephony.Station{Extension: "7"}) || len(store.m) != 0 {
		t.Error("the registration does not expire")
	}
}

func TestRingPhone(t *testing.T) {
	e := startEndpoint(t, withPhones)
	p := newPhone(t, e, "127.0.0.5")
	var notSent *telephony.DialError
	if _, err := e.Ring(t.Context(), telephony.Station{Extension: "7"}); !errors.As(err, &notSent) || notSent.Cause != telephony.CauseNotSent {
		t.Errorf("Ring of an unregistered phone: %v", err)
	}
	// A phone behind NAT: its Contact is an address that we cannot reach.
	challenge := p.register("")
	if got := p.register(p.answer(challenge, "pw"), "Contact: <sip:7-0x55c0@192.168.77.7:5060>"); got.status() != "200" {
		t.Fatal(got.start)
	}
	for _, station := range []telephony.Station{{Extension: "7"}, {Extension: "9", URI: "sip:desk@" + p.addr().String()}} {
		d := &dialed{t: t, done: make(chan struct{})}
		go func() {
			defer close(d.done)
			d.leg, d.err = e.Ring(t.Context(), station)
		}()
		m := p.expect("INVITE")
		if !strings.Contains(m.get("Call-Info"), "answer-after=0") || m.get("Alert-Info") == "" {
			t.Errorf("nothing asks the phone to answer: %v", m.headers)
		}
		if want := "sip:7-0x55c0@192.168.77.7"; station.URI == "" && !strings.HasPrefix(m.uri(), want) {
			t.Errorf("INVITE to %s, want %s", m.uri(), want)
		}
		if want := "<sip:7@"; station.URI == "" && !strings.HasPrefix(m.get("To"), want) {
			t.Errorf("INVITE for %s: the ladder of extension 7 would not have it", m.get("To"))
		}
		p.reply(m, reply{status: "200 OK", tag: "a1", body: sdp(someSDPPort), contact: "<sip:7@192.168.77.7>"})
		leg := d.answered()
		p.expect("ACK")
		if info := leg.Info(); info.Trunk != "" || info.Call == "" {
			t.Errorf("wrong info %+v", info)
		}
		p.request("BYE", m, "a1", 1, "")
		p.expect("200")
		awaitDone(t, leg)
	}
}

// A phone's URI at a trunk would place calls that no campaign knows of.
func TestRingRefusesTrunk(t *testing.T) {
	trunk, phone := newRawPeer(t), newRawPeer(t)
	named := testTrunk(trunk)
	named.ID, named.Address = "trk_named", "sip.example.invalid:5060"
	far := testTrunk(trunk)
	far.ID, far.Address = "trk_far", "192.0.2.9"
	dns := newNameServer(t)
	dns.set(func() {
		dns.hosts["sip.example.invalid."] = []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")}
	})
	e := startEndpoint(t, func(c *Config) { c.Resolver = dns.resolver() }, testTrunk(trunk), named, far)
	for _, uri := range []string{
		"sip:+39123456789@" + trunk.addr().String(),
		"sip:anna@" + trunk.addr().String(),
		"sip:anna@SIP.example.INVALID:5080", "sip:anna@192.0.2.2", "sip:192.0.2.1:5070", "sip:anna@192.0.2.9:9999;x=y", "sip:anna@[::ffff:192.0.2.9]",
	} {
		ctx, stop := context.WithTimeout(t.Context(), 2*time.Second)
		_, err := e.Ring(ctx, telephony.Station{Extension: "9", URI: uri})
		stop()
		var refused *telephony.DialError
		if !errors.As(err, &refused) || refused.Cause != telephony.CauseNotSent || ctx.Err() == context.DeadlineExceeded {
			t.Errorf("Ring of %s: %v, want it refused", uri, err)
		}
	}
	trunk.silent("INVITE", 50*time.Millisecond)
	d := &dialed{t: t, done: make(chan struct{})}
	go func() {
		defer close(d.done)
		d.leg, d.err = e.Ring(t.Context(), telephony.Station{URI: "sip:anna@" + phone.addr().String()})
	}()
	m := phone.expect("INVITE")
	phone.reply(m, reply{status: "486 Busy Here", tag: "x"})
	if err := d.failed(); err.Cause != telephony.CauseBusy {
		t.Errorf("a phone on the trunk's machine: %+v", err)
	}
}

// A phone behind NAT names an address in SDP that is not where its RTP comes
// from; where it registered from is good enough.
func TestPhoneBehindNATIsHeard(t *testing.T) {
	e := startEndpoint(t, withPhones)
	p, rtp := newPhone(t, e, "127.0.0.5"), newRTPPeerAt(t, "127.0.0.5")
	if got := p.login(); got.status() != "200" {
		t.Fatal(got.start)
	}
	d := &dialed{t: t, done: make(chan struct{})}
	go func() {
		defer close(d.done)
		d.leg, d.err = e.Ring(t.Context(), telephony.Station{Extension: "7"})
	}()
	m := p.expect("INVITE")
	private := strings.ReplaceAll(sdp(4000), "IP4 127.0.0.1", "IP4 192.168.77.7")
	p.reply(m, reply{status: "200 OK", tag: "a1", body: private})
	leg := d.answered()
	stop := rtp.stream(offeredRTP(t, m), 0x10)
	defer stop()
	for {
		f, err := leg.ReadFrame(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if f.Samples[0] != 0 {
			break
		}
	}
	go writeFrames(t.Context(), leg)
	select {
	case <-rtp.got:
	case <-time.After(patience):
		t.Fatal("the phone hears nothing")
	}
	p.request("BYE", m, "a1", 1, "")
	awaitDone(t, leg)
}

func FuzzReadRegister(f *testing.F) {
	f.Add("<sip:7@10.0.0.1>", "60")
	f.Add("*", "0")
	f.Add("\"x\" <sip:7@[::1]:5060;transport=udp>;expires=30, <sip:8@y>", "")
	f.Add("<sip:>;expires=99999999999999999999", "-1")
	f.Fuzz(func(t *testing.T, contact, expires string) {
		text := "REGISTER sip:d SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:7@d>;tag=1\r\nTo: <sip:7@d>\r\n" +
			"Call-ID: 1\r\nCSeq: 1 REGISTER\r\nContact: " + contact + "\r\nExpires: " + expires + "\r\nContent-Length: 0\r\n\r\n"
		msg := parseForTest(text)
		if msg == nil || malformed(msg) != "" {
			return
		}
		now := time.Now()
		b, _, status, _ := readRegister(msg, origin{transport: telephony.UDP, addr: netip.MustParseAddrPort("10.0.0.1:5060")}, now)
		if status != 0 || b.AOR == "" {
			return
		}
		if left := b.Expires.Sub(now); left < minExpires*time.Second || left > maxExpires*time.Second {
			t.Errorf("registered for %s", left)
		}
		if strings.ContainsAny(b.Contact, "\r\n\x00<> ") {
			t.Errorf("contact %q", b.Contact)
		}
		b.flow()
	})
}

// A stranger makes us look up no password: he must have our nonce first, and
// many credentials in one REGISTER are as good as one.
func TestStrangerCostsNoPasswordLookup(t *testing.T) {
	var asked atomic.Int64
	e := startEndpoint(t, func(c *Config) {
		withPhones(c)
		lookup := c.Credentials
		c.Credentials = func(ctx context.Context, user string) (string, bool, error) {
			asked.Add(1)
			return lookup(ctx, user)
		}
	})
	p := newPhone(t, e, "127.0.0.5")
	many := func(authorization string) (headers []string) {
		for range 60 {
			headers = append(headers, "Authorization: "+authorization)
		}
		return headers
	}
	forged := fmt.Sprintf(`Digest username="7", realm="%s", nonce="bogus", uri="sip:x", response="00", qop=auth, nc=00000001, cnonce="x"`, e.cfg.Realm)
	got := p.register(forged, many(forged)...)
	if n := asked.Load(); n != 0 || got.status() != "401" {
		t.Errorf("%d lookups for a forged nonce, %s", n, got.start)
	}
	guess := p.answer(got, "wrong")
	if got = p.register(guess, many(guess)...); asked.Load() != 1 || got.status() != "401" {
		t.Errorf("%d lookups for one REGISTER with our nonce, %s", asked.Load(), got.start)
	}
	elsewhere := strings.Replace(guess, `realm="`, `realm="other `, 1)
	if got = p.register(elsewhere, p.contact(), "Authorization: "+p.answer(got, "pw")); got.status() != "200" {
		t.Errorf("the credentials for our realm beside others: %s", got.start)
	}
}

// TestFullTableSaysSo: a phone that finds no room is told to come back, and one
// that is in the table stays.
func TestFullTableSaysSo(t *testing.T) {
	e := startEndpoint(t, withPhones)
	p := newPhone(t, e, "127.0.0.5")
	e.reg.mu.Lock()
	for i := range mostBindings {
		aor := fmt.Sprintf("other%d", i)
		e.reg.bindings[aor] = &bound{Binding: Binding{AOR: aor, Expires: time.Now().Add(time.Hour)}, leave: func() {}}
	}
	e.reg.mu.Unlock()
	if got := p.login(); got.status() != "503" || got.get("Retry-After") == "" {
		t.Errorf("%s, Retry-After %q", got.start, got.get("Retry-After"))
	}
	e.reg.remove("other0")
	for range 2 {
		if got := p.login(); got.status() != "200" {
			t.Error(got.start)
		}
	}
}
