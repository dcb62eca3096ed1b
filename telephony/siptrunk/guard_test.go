package siptrunk

import (
	"bytes"
	"math"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"dialer/telephony"
)

// parseForTest returns the request, or nil when it does not parse.
func parseForTest(text string) (req *sip.Request) {
	defer func() { _ = recover() }() // the guard survives the parser's panics as well
	msg, err := sip.NewParser().ParseSIP([]byte(text))
	if err != nil {
		return nil
	}
	req, _ = msg.(*sip.Request)
	return req
}

// hostile are datagrams that a SIP stack may stumble over.
func hostile(e *Endpoint) []string {
	base := "SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bKh;rport"
	full := func(method, extra string) string {
		return method + " sip:x@" + e.Addr().String() + " SIP/2.0\r\nVia: " + base + "\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:x@y>;tag=2\r\n" +
			"Call-ID: h\r\nCSeq: 1 " + method + "\r\n" + extra + "\r\n"
	}
	list := []string{
		"", "\r\n\r\n", "\x00\x00\x00", "x", "INVITE", "INVITE sip:x SIP/2.0", "SIP/2.0 200 OK\r\n\r\n",
		"INFO sip:x@y SIP/2.0\r\n\r\n",
		"INFO sip:x@y SIP/2.0\r\nVia: " + base + "\r\n\r\n",
		"SIP/2.0 200 OK\r\nVia: " + base + "\r\nCSeq: 1 INVITE\r\n\r\n",
		"SIP/2.0 999999999999 OK\r\nVia: " + base + "\r\nCSeq: 1 INVITE\r\n\r\n",
		"BYE sip:x@y SIP/2.0\r\nVia: \r\nFrom: \r\nTo: \r\nCall-ID: \r\nCSeq: \r\n\r\n",
		full("INVITE", ""), full("BYE", ""), full("INFO", ""), full("ACK", ""), full("CANCEL", ""), full("UPDATE", ""),
		full("FOO", ""), full("INVITE", "From: <sip:c@d>;tag=9\r\n"), full("INVITE", "CSeq: 2 INVITE\r\n"),
		full("INVITE", "Content-Length: -1\r\n"), full("INVITE", "Content-Length: 99999\r\n"),
		full("INVITE", "Content-Length: 4294967296\r\n"),
		full("REGISTER", ""), full("REGISTER", "Contact: *\r\n"), full("REGISTER", "Authorization: Digest\r\n"),
		full("REGISTER", "Authorization: Digest username=\"7\", realm=\"dialer\", nonce=\"\", response=\"\", qop=auth, nc=zz\r\n"),
		full("INVITE", strings.Repeat("X-A: b\r\n", 500)), full("INVITE", "X-A: "+strings.Repeat("b", 30000)+"\r\n"),
		strings.Repeat("A", 60000), full("INVITE", "Via: "+strings.Repeat(base+",", 300)+base+"\r\n"),
		full("OPTIONS", "Contact: <<<<<<<<\r\n"), full("OPTIONS", "Contact: \"\r\n"), full("OPTIONS", "Record-Route: <\r\n"),
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 { // random damage
		b := []byte(full("INVITE", "Contact: <sip:a@b>\r\nContent-Length: 0\r\n"))
		for range 1 + r.IntN(8) {
			b[r.IntN(len(b))] = byte(r.UintN(256))
		}
		list = append(list, string(b[:1+r.IntN(len(b))]), string(b))
	}
	return list
}

// TestHostileDatagrams: nothing that a known or unknown host sends takes the
// endpoint down or keeps it from placing calls.
func TestHostileDatagrams(t *testing.T) {
	p := newRawPeer(t)
	e := startEndpoint(t, withPhones, testTrunk(p))
	if err := e.sock.await(t.Context()); err != nil {
		t.Fatal(err)
	}
	stranger := newRawPeerAt(t, "127.0.0.99")
	// Some of the messages are late answers to calls that never were: they are
	// ended like any other.
	p.serve.Store(ptr(func(m *rawMessage) {
		if m.method() == "BYE" {
			p.ok(m)
		}
	}))
	list := hostile(e)
	for i, text := range list {
		if len(text) > 60000 {
			text = text[:60000]
		}
		p.send(e.Addr(), text)
		if !strings.HasPrefix(text, "REGISTER ") {
			stranger.send(e.Addr(), text)
		}
		if i%50 == 49 { // the endpoint still answers, and its buffer has drained
			probe := newRawPeer(t)
			probe.send(e.Addr(), outside("OPTIONS", probe, e, 10_000+i))
			probe.expect("200")
		}
	}
	select {
	case m := <-stranger.in:
		t.Errorf("a stranger got an answer: %s", m.start)
	default:
	}
	if e.sock.dropped.Load() == 0 {
		t.Error("nothing was dropped")
	}
	good := newRawPeer(t)
	e.SetTrunks([]telephony.Trunk{testTrunk(good)})
	upOn(t, e, good).end(t, 1)
}

func TestStrangersMayOnlyRegister(t *testing.T) {
	p := newRawPeer(t)
	e := startEndpoint(t, withPhones, testTrunk(p))
	s := newPhone(t, e, "127.0.0.44")
	for i, method := range []string{"OPTIONS", "INVITE", "BYE", "SUBSCRIBE"} {
		s.send(e.Addr(), outside(method, s.rawPeer, e, i))
	}
	if got := s.register(""); got.status() != "401" { // the first answer is to REGISTER
		t.Errorf("the first answer is %s", got.start)
	}
	// Once registered its phone may ask, but still not call.
	if got := s.login(); got.status() != "200" {
		t.Fatal(got.start)
	}
	s.send(e.Addr(), outside("OPTIONS", s.rawPeer, e, 10))
	s.expect("200")
	s.send(e.Addr(), outside("INVITE", s.rawPeer, e, 11))
	s.expect("403")
}

func TestRegisterFloodIsSilenced(t *testing.T) {
	now := time.Unix(1000, 0)
	l, guesser := newLimiter(registerBurst, registerRate), netip.MustParseAddr("192.0.2.1")
	count := func() (n int) {
		for range 500 {
			if l.allow(guesser, false, now) {
				n++
			}
		}
		return n
	}
	if n := count(); n != registerBurst {
		t.Errorf("%d REGISTERs at once, want %d", n, registerBurst)
	}
	now = now.Add(time.Second)
	if n := count(); n != registerRate {
		t.Errorf("%d REGISTERs a second later, want %d", n, registerRate)
	}
	now = now.Add(time.Minute)
	for range 500 { // 500 phones of one office, each with the right password
		if !l.allow(guesser, false, now) || !l.allow(guesser, false, now) {
			t.Fatal("good phones are silenced")
		}
		l.credit(guesser)
	}
	for i := range 2 * maxSources { // forged sources cost bounded memory
		l.allow(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), false, now)
	}
	if len(l.strangers) > maxSources {
		t.Errorf("%d sources kept", len(l.strangers))
	}
	if !l.allow(netip.MustParseAddr("192.0.2.7"), true, now) {
		t.Error("the flood silences a phone that is registered")
	}
}

func FuzzGuard(f *testing.F) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { conn.Close() })
	e, err := New(Config{Listen: netip.MustParseAddrPort("127.0.0.1:0"), RTPLow: 20000, RTPHigh: 20010, Realm: "r"})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { e.sock.Close() })
	from := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	e.sock.peers.add(from.Addr())
	for _, s := range hostile(e) {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		data, r := e.guard.admit(data, origin{transport: telephony.UDP, addr: from})
		if r != passed {
			return
		}
		// What passes must be safe to hand on.
		msg, err := sip.NewParser().ParseSIP(bytes.Clone(data))
		if err != nil || malformed(msg) != "" {
			t.Fatalf("passed: %v", err)
		}
		if req, ok := msg.(*sip.Request); ok {
			_ = sip.NewResponseFromRequest(req, 200, "OK", nil).String()
			body, kind := bodyOf(req, keyTypes...)
			infoDigit(kind, string(body))
			sipfrag(string(body))
			attestationOf(req)
			minSession(sip.NewResponseFromRequest(req, 422, "", nil))
			retryAfter(req)
			parameter(headerValues(req, "authentication-info"), "nextnonce")
			sessionExpires(req)
			sdpOf(req)
		}
	})
}

func TestDisplayName(t *testing.T) {
	for in, want := range map[string]string{
		"ACME GmbH": "ACME GmbH", `a"b\c`: `a\"b\\c`, "a\r\nb\x00": "ab", "<sip:x@y>;z": " sip:x y  z",
		"Müller": "Müller", strings.Repeat("x", 100): strings.Repeat("x", 64),
	} {
		if got := displayName(in); got != want {
			t.Errorf("displayName(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestConfigMistakes(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"no listen address":    func(c *Config) { c.Listen = netip.AddrPort{} },
		"external unspecified": func(c *Config) { c.External = netip.IPv4Unspecified() },
		"one port":             func(c *Config) { c.RTPLow, c.RTPHigh = 20000, 20000 },
		"low ports":            func(c *Config) { c.RTPLow = 80 },
		"realm":                func(c *Config) { c.Realm = "a\r\nb" },
		"negative":             func(c *Config) { c.MaxCall = -1 },
	} {
		cfg := DefaultConfig()
		change(&cfg)
		if err := cfg.Validate(); err == nil {
			t.Errorf("%s: no mistake found", name)
		}
	}
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	taken, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	cfg := DefaultConfig()
	cfg.Listen = taken.LocalAddr().(*net.UDPAddr).AddrPort()
	if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), cfg.Listen.String()) {
		t.Errorf("a taken port: %v", err)
	}
}

func TestCapacityIsExact(t *testing.T) {
	start := time.Unix(1000, 0)
	for _, cps := range []float64{0.5, 1, 3, 10, 100, 333.3} {
		l := newLine(telephony.Trunk{CPS: cps, Channels: 1 << 20, Enabled: true}, start)
		if _, _, why := l.take(start, 0); why == "" {
			t.Errorf("%g calls/s: the bucket is not empty at the start", cps)
		}
		var taken []time.Time
		for now := start; now.Before(start.Add(6 * time.Second)); now = now.Add(time.Millisecond) {
			for {
				if _, _, why := l.take(now, 0); why != "" {
					break
				}
				taken = append(taken, now)
			}
		}
		if want := int(cps * 6); len(taken) < want-1 || len(taken) > want {
			t.Errorf("%g calls/s: %d calls in 6 s", cps, len(taken))
		}
		for i := range taken { // no window has more than its length allows and one burst
			for j := i; j < len(taken); j++ {
				if limit := taken[j].Sub(taken[i]).Seconds()*cps + burst(cps) + 1e-6; float64(j-i+1) > limit+1 {
					t.Fatalf("%g calls/s: %d calls in %s", cps, j-i+1, taken[j].Sub(taken[i]))
				}
				if taken[j].Sub(taken[i]) < time.Second && float64(j-i) >= math.Ceil(cps) {
					t.Fatalf("%g calls/s: %d calls within a second", cps, j-i+1)
				}
			}
		}
	}
	l := newLine(telephony.Trunk{CPS: 100, Channels: 2, Enabled: true}, start)
	now := start.Add(time.Minute)
	var channel *slot
	for want := range 3 {
		_, s, why := l.take(now, 0)
		if s != nil {
			channel = s
		}
		if (why == "") != (want < 2) {
			t.Errorf("call %d: %q", want+1, why)
		}
	}
	if c := l.capacity(now); c.InUse != 2 || c.Free() != 0 || c.Why == "" {
		t.Errorf("full line: %+v", c)
	}
	channel.release()
	if _, _, why := l.take(now, 0); why != "" {
		t.Errorf("after a release: %s", why)
	}
}

func TestChannelsOverReconfiguration(t *testing.T) {
	p := newRawPeer(t)
	tr := testTrunk(p)
	tr.Channels = 1
	e := startEndpoint(t, nil, tr)
	c := upOn(t, e, p)
	e.SetTrunks(nil)
	if got := e.Capacity("trk_test"); got.Up {
		t.Error("a removed trunk is up")
	}
	select {
	case <-c.leg.Done():
		t.Error("its call ended")
	default:
	}
	c.end(t, 1) // its far end is still heard
}

// TestOnMessage: what is heard and said, in wire order, and nothing of strangers.
func TestOnMessage(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	p := newRawPeer(t)
	e := startEndpoint(t, func(c *Config) {
		c.OnMessage = func(m Message) {
			start, _, _ := strings.Cut(string(m.Data), "\r\n")
			word, _, _ := strings.Cut(strings.TrimPrefix(start, "SIP/2.0 "), " ")
			mu.Lock()
			defer mu.Unlock()
			if m.Remote != p.addr() || m.Transport != telephony.UDP || !m.Local.IsValid() || m.At.IsZero() {
				t.Errorf("message %q of %s over %s to %s at %s", start, m.Remote, m.Transport, m.Local, m.At)
			}
			seen = append(seen, map[bool]string{true: ">", false: "<"}[m.Sent]+word)
		}
	}, testTrunk(p))
	newRawPeerAt(t, "127.0.0.99").send(e.Addr(), outside("OPTIONS", p, e, 1))
	upOn(t, e, p).end(t, 1)
	p.expect("200")
	mu.Lock()
	defer mu.Unlock()
	if got := strings.Join(seen, " "); got != ">INVITE <200 >ACK <BYE >200" {
		t.Errorf("heard %s", got)
	}
}

// A flood of forged sources does not keep a phone that is registered from
// registering again, however long it was quiet.
func TestForgedSourcesDoNotSilencePhones(t *testing.T) {
	e := startEndpoint(t, withPhones)
	p := newPhone(t, e, "127.0.0.5")
	if r := p.login(); r.status() != "200" {
		t.Fatal(r.start)
	}
	l := e.guard.limit
	l.mu.Lock() // it was quiet for minutes, and is forgotten
	clear(l.known)
	clear(l.strangers)
	l.mu.Unlock()
	for i := range 2 * maxSources {
		l.allow(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), false, time.Now())
	}
	if r := p.login(); r.status() != "200" {
		t.Error(r.start)
	}
}

// TestTrunkComesBackWithItsCalls: one that is taken out and put back while a call
// is up has a channel less.
func TestTrunkComesBackWithItsCalls(t *testing.T) {
	p := newRawPeer(t)
	tr := testTrunk(p)
	tr.Channels = 1
	e := startEndpoint(t, nil, tr)
	c := upOn(t, e, p)
	e.SetTrunks(nil)
	e.SetTrunks(nil) // forgets those without calls
	e.SetTrunks([]telephony.Trunk{tr})
	if got := e.Capacity(tr.ID); got.InUse != 1 || got.Free() != 0 {
		t.Errorf("put back it has %+v", got)
	}
	c.end(t, 1)
	awaitFree(t, e)
	if got := e.Capacity(tr.ID); !got.Up {
		t.Errorf("after the call: %+v", got)
	}
	e.SetTrunks(nil)
	if got := e.allLines(); len(got) != 0 {
		t.Errorf("%d lines kept without a call", len(got))
	}
}
