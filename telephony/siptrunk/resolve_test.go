package siptrunk

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"dialer/telephony"
)

func resolverOn(s *nameServer) *resolver {
	return newResolver(Config{Listen: netip.MustParseAddrPort("127.0.0.1:0"), Resolver: s.resolver()})
}

func found(t *testing.T, r *resolver, cfg telephony.Trunk) string {
	t.Helper()
	records, _, err := r.records(t.Context(), cfg)
	if err != nil {
		return "error: " + err.Error()
	}
	var words []string
	for _, rec := range records {
		for _, tg := range rec.targets {
			words = append(words, fmt.Sprintf("%d/%d %s %s", rec.tier, rec.weight, tg, tg.name))
		}
	}
	return strings.Join(words, ", ")
}

// TestResolution: what a trunk's names become (RFC 3263 4.2).
func TestResolution(t *testing.T) {
	dns := newNameServer(t)
	addr := netip.MustParseAddr
	dns.set(func() {
		dns.hosts = map[string][]netip.Addr{
			"plain.example.": {addr("192.0.2.1"), addr("192.0.2.2"), addr("2001:db8::1")},
			"a.example.":     {addr("192.0.2.10")}, "b.example.": {addr("192.0.2.11"), addr("192.0.2.12")},
		}
		dns.srvs = map[string][]net.SRV{
			"_sip._udp.srv.example.":  {{Target: "b.example.", Port: 5080, Priority: 20, Weight: 7}, {Target: "a.example.", Port: 5070, Priority: 10, Weight: 3}},
			"_sip._tcp.srv.example.":  {{Target: "a.example.", Port: 5071}},
			"_sips._tcp.srv.example.": {{Target: "a.example.", Port: 5072}},
			"_sip._udp.none.example.": {{Target: "."}},
			"_sip._udp.half.example.": {{Target: "gone.example.", Port: 5060, Priority: 1}, {Target: "a.example.", Port: 5060, Priority: 2}},
		}
	})
	for _, tc := range []struct {
		address   string
		transport telephony.Transport
		backups   []string
		want      string
	}{
		{"192.0.2.7", "", nil, "0/0 udp:192.0.2.7:5060 192.0.2.7"},
		{"192.0.2.7:5090", telephony.TCP, nil, "0/0 tcp:192.0.2.7:5090 192.0.2.7:5090"},
		{"192.0.2.7", telephony.TLS, nil, "0/0 tls:192.0.2.7:5061 192.0.2.7"},
		{"plain.example", "", nil, "0/0 udp:192.0.2.1:5060 plain.example, 0/0 udp:192.0.2.2:5060 plain.example"},
		{"plain.example", telephony.TLS, nil, "0/0 tls:192.0.2.1:5061 plain.example, 0/0 tls:192.0.2.2:5061 plain.example"},
		{"srv.example:5066", "", nil, "error: DNS knows no srv.example"}, // a port means no SRV
		{"SRV.example", "", nil, "0/3 udp:192.0.2.10:5070 SRV.example, 1/7 udp:192.0.2.11:5080 SRV.example, 1/7 udp:192.0.2.12:5080 SRV.example"},
		{"srv.example", telephony.TCP, nil, "0/0 tcp:192.0.2.10:5071 srv.example"},
		{"srv.example", telephony.TLS, nil, "0/0 tls:192.0.2.10:5072 srv.example"},
		{"none.example", "", nil, "error: none.example says that it has no SIP over udp (SRV)"},
		{"half.example", "", nil, "0/0 udp:192.0.2.10:5060 half.example"},
		{"nobody.example", "", nil, "error: DNS knows no nobody.example"},
		{"srv.example", "", []string{"192.0.2.99", "a.example:5099"}, "0/3 udp:192.0.2.10:5070 srv.example, 1/7 udp:192.0.2.11:5080 srv.example, " +
			"1/7 udp:192.0.2.12:5080 srv.example, 2/0 udp:192.0.2.99:5060 192.0.2.99, 3/0 udp:192.0.2.10:5099 a.example:5099"},
		{"nobody.example", "", []string{"192.0.2.99"}, "0/0 udp:192.0.2.99:5060 192.0.2.99"},
	} {
		cfg := telephony.Trunk{Address: tc.address}
		cfg.Transport, cfg.Backups = tc.transport, tc.backups
		if got := found(t, resolverOn(dns), cfg); got != tc.want {
			t.Errorf("%s %s %v:\n got %s\nwant %s", tc.address, tc.transport, tc.backups, got, tc.want)
		}
	}
}

// TestWeights: within a priority each record is first as often as its weight
// says; a lower priority is never before a higher.
func TestWeights(t *testing.T) {
	at := func(n byte) []target {
		return []target{{transport: telephony.UDP, addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, n}), 5060)}}
	}
	records := []record{
		{tier: 1, weight: 100, targets: at(9)},
		{tier: 0, weight: 0, targets: at(0)}, {tier: 0, weight: 60, targets: at(1)}, {tier: 0, weight: 30, targets: at(2)}, {tier: 0, weight: 10, targets: at(3)},
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	const draws = 20_000
	first := map[byte]int{}
	for range draws {
		order := targetsOf(records, rnd.IntN)
		if len(order) != len(records) || order[4].addr != at(9)[0].addr {
			t.Fatalf("order %v", order)
		}
		first[order[0].addr.Addr().As4()[3]]++
	}
	for n, share := range map[byte]float64{0: 1. / 101, 1: 60. / 101, 2: 30. / 101, 3: 10. / 101} {
		if got := float64(first[n]) / draws; got < share-.02 || got > share+.02 {
			t.Errorf("record %d is first in %.3f of the calls, want %.3f", n, got, share)
		}
	}
	same := []record{{targets: at(1)}, {tier: 1, targets: at(1)}} // an address is tried once
	if order := targetsOf(same, rnd.IntN); len(order) != 1 {
		t.Errorf("order %v", order)
	}
}

// TestDNSDies: the last good answer serves on; without one the trunk is down and
// says why, and is up when DNS is back. Calls never wait for a dead DNS twice.
func TestDNSDies(t *testing.T) {
	t.Parallel()
	p := newRawPeer(t)
	dns := newNameServer(t)
	dns.set(func() {
		dns.hosts["sip.example."] = []netip.Addr{p.addr().Addr()}
		dns.dead = true
	})
	tr := testTrunk(p)
	tr.Address = fmt.Sprintf("sip.example:%d", p.addr().Port())
	e := startEndpoint(t, func(c *Config) { c.Resolver, c.second = dns.resolver(), 20*time.Millisecond }, tr)
	awaitCapacity(t, e, func(c telephony.Capacity) bool {
		return !c.Up && strings.HasPrefix(c.Why, "cannot look up sip.example")
	})
	if err := dialNow(t, e); err.Cause != telephony.CauseNotSent || !strings.Contains(err.Reason, "sip.example") {
		t.Errorf("a call without an address: %+v", err)
	}

	dns.set(func() { dns.dead = false })
	later(e, failLife)
	awaitCapacity(t, e, func(c telephony.Capacity) bool { return c.Up })
	d := dial(t, t.Context(), e, invite())
	m := p.expect("INVITE")
	if m.uri() != fmt.Sprintf("sip:+4930123456@sip.example:%d", p.addr().Port()) {
		t.Errorf("INVITE to %s", m.uri())
	}
	p.reply(m, reply{status: "486 Busy Here", tag: "x"})
	d.failed()

	dns.set(func() { dns.dead = true })
	later(e, nameLife)
	awaitCapacity(t, e, func(c telephony.Capacity) bool {
		return c.Up && strings.HasSuffix(c.Why, "the last addresses are used")
	})
	d = dial(t, t.Context(), e, invite())
	p.reply(p.expect("INVITE"), reply{status: "486 Busy Here", tag: "x"})
	d.failed()
}

// later makes what DNS said old.
func later(e *Endpoint, by time.Duration) {
	e.names.mu.Lock()
	for name, k := range e.names.hosts {
		k.until = k.until.Add(-by)
		e.names.hosts[name] = k
	}
	e.names.mu.Unlock()
	l, _ := e.line("trk_test")
	l.mu.Lock()
	l.lookAt = l.lookAt.Add(-by)
	l.mu.Unlock()
	e.wake()
}

func dialNow(t *testing.T, e *Endpoint) *telephony.DialError {
	t.Helper()
	d := &dialed{t: t, done: make(chan struct{})}
	go func() {
		defer close(d.done)
		d.leg, d.err = e.Dial(t.Context(), invite())
	}()
	return d.failed()
}

// TestFailoverOverSRV: the first target by priority is silent, the second takes
// the call, and both are in its record.
func TestFailoverOverSRV(t *testing.T) {
	t.Parallel()
	a, b := newRawPeerAt(t, "127.0.0.1"), newRawPeerAt(t, "127.0.0.7")
	dns := newNameServer(t)
	dns.set(func() {
		dns.hosts["one.example."] = []netip.Addr{a.addr().Addr()}
		dns.hosts["two.example."] = []netip.Addr{b.addr().Addr()}
		dns.srvs["_sip._udp.carrier.example."] = []net.SRV{
			{Target: "two.example.", Port: b.addr().Port(), Priority: 2}, {Target: "one.example.", Port: a.addr().Port(), Priority: 1},
		}
	})
	tr := testTrunk(a)
	tr.Address = "carrier.example"
	e := startEndpoint(t, func(c *Config) { quick(c); c.Resolver = dns.resolver() }, tr)
	d := dial(t, t.Context(), e, invite())
	if m := a.expect("INVITE"); m.uri() != "sip:+4930123456@carrier.example" {
		t.Errorf("INVITE to %s", m.uri())
	}
	b.reply(b.expect("INVITE"), answerSDP)
	leg := d.answered()
	peers := []string{}
	for _, try := range leg.Info().Tries {
		peers = append(peers, try.Peer)
	}
	if !slices.Equal(peers, []string{"udp:" + a.addr().String(), "udp:" + b.addr().String()}) {
		t.Errorf("tries %v", peers)
	}
	leg.Hangup(telephony.CauseNormal)
	b.ok(b.expect("BYE"))
}

// TestLookupGivenUpSaysNothingOfDNS: a Dial that is cancelled while DNS is slow
// must not make the name unknown to the next.
func TestLookupGivenUpSaysNothingOfDNS(t *testing.T) {
	dns := newNameServer(t)
	dns.set(func() { dns.hosts["sip.example."] = []netip.Addr{netip.MustParseAddr("192.0.2.1")} })
	r := resolverOn(dns)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := r.addrs(ctx, "sip.example"); err == nil {
		t.Fatal("found without asking")
	}
	if addrs, _, err := r.addrs(t.Context(), "sip.example"); err != nil || len(addrs) != 1 {
		t.Errorf("%v, %v", addrs, err)
	}
}

// TestGivenUpCallLeavesTheLookup: who gives up while a trunk's name is looked up
// gives up for himself; the call beside it has the same lookup, and is placed.
func TestGivenUpCallLeavesTheLookup(t *testing.T) {
	t.Parallel()
	p, ns := newRawPeer(t), newNameServer(t)
	ns.set(func() { ns.hosts["slow.example."] = []netip.Addr{p.addr().Addr()} })
	asked, answer := make(chan struct{}, 64), make(chan struct{})
	tr := testTrunk(p)
	tr.Address = fmt.Sprintf("slow.example:%d", p.addr().Port())
	e := startEndpoint(t, func(c *Config) {
		c.Resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			asked <- struct{}{}
			select {
			case <-answer:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			var d net.Dialer
			return d.DialContext(ctx, "udp", ns.conn.LocalAddr().String())
		}}
	}, tr)
	<-asked
	given, giveUp := context.WithCancel(t.Context())
	first := dial(t, given, e, invite())
	second := dial(t, t.Context(), e, invite())
	awaitInUse(t, e, 2)
	giveUp()
	if err := first.failed(); err.Cause != telephony.CauseNotSent {
		t.Errorf("given up: %+v", err)
	}
	if c := e.Capacity(tr.ID); !c.Up {
		t.Errorf("the trunk is down for all: %+v", c)
	}
	close(answer)
	p.reply(p.expect("INVITE"), reply{status: "486 Busy Here", tag: "x"})
	if err := second.failed(); err.Cause != telephony.CauseBusy {
		t.Errorf("the call beside it: %+v", err)
	}
}

func awaitInUse(t *testing.T, e *Endpoint, n int) {
	t.Helper()
	for deadline := time.Now().Add(patience); e.Capacity("trk_test").InUse != n; time.Sleep(time.Millisecond) { // capacity has no event
		if time.Now().After(deadline) {
			t.Fatalf("capacity stays %+v", e.Capacity("trk_test"))
		}
	}
}
