package siptrunk

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestStrangersOverStreams: whoever is not known may register and nothing else;
// the connection ends and nothing comes by it.
func TestStrangersOverStreams(t *testing.T) {
	w := newTLSWorld(t)
	p := newRawPeer(t)
	e := startEndpoint(t, func(c *Config) { withPhones(c); w.listening(c) }, testTrunk(p))
	for name, to := range map[string]netip.AddrPort{"tcp": e.Addr(), "tls": e.TLSAddr()} {
		var settings *tls.Config
		if name == "tls" {
			settings = w.client()
		}
		for _, text := range []string{
			outside("OPTIONS", p, e, 1), outside("INVITE", p, e, 2), "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\r\n\r\n" + outside("BYE", p, e, 3),
			strings.Replace(outside("OPTIONS", p, e, 4), "Content-Length: 0\r\n", "", 1), strings.Repeat("x", 30_000),
		} {
			conn := openStream(t, "127.0.0.99", to, settings)
			if _, err := io.WriteString(conn, text); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if got := untilEnd(conn); len(got) > 0 {
				t.Errorf("%s: a stranger got an answer to %.20q: %q", name, text, got)
			}
		}
	}
	t.Run("without phones", func(t *testing.T) {
		e := startEndpoint(t, w.listening, testTrunk(p))
		for _, to := range []netip.AddrPort{e.Addr(), e.TLSAddr()} {
			if got := untilEnd(openStream(t, "127.0.0.99", to, nil)); len(got) > 0 {
				t.Errorf("got %q", got)
			}
		}
	})
}

// TestSlowConnections: what is half said is closed in time, whoever says it.
func TestSlowConnections(t *testing.T) {
	w := newTLSWorld(t)
	p := newRawPeer(t)
	e := newEndpoint(t, func(c *Config) { withPhones(c); w.listening(c) }, testTrunk(p))
	if e.conns.messageWait > 15*time.Second {
		t.Errorf("a message may take %s", e.conns.messageWait)
	}
	e.conns.messageWait = 300 * time.Millisecond
	runEndpoint(t, e)
	options := outside("OPTIONS", p, e, 1)
	half := strings.Replace(options, "Content-Length: 0", "Content-Length: 100", 1) + "v=0"
	var closing sync.WaitGroup
	for _, c := range []struct {
		host, text string
		to         netip.AddrPort
		tls        *tls.Config
	}{
		{"127.0.0.1", options[:50], e.Addr(), nil},
		{"127.0.0.1", half, e.Addr(), nil},
		{"127.0.0.1", half, e.TLSAddr(), w.client()},
		{"127.0.0.99", "", e.Addr(), nil},
		{"127.0.0.99", "\r\n\r\n", e.Addr(), nil},
		{"127.0.0.99", "REGISTER sip:", e.Addr(), nil},
		{"127.0.0.99", "", e.TLSAddr(), nil}, // no handshake
		{"127.0.0.99", "\x16\x03\x01", e.TLSAddr(), nil},
		{"127.0.0.1", "\x16\x03\x01", e.TLSAddr(), nil},
	} {
		conn := openStream(t, c.host, c.to, c.tls)
		closing.Go(func() {
			began := time.Now()
			stop := make(chan struct{})
			go func() { // a byte now and then does not help
				for text := c.text; ; {
					if _, err := io.WriteString(conn, text); err != nil {
						return
					}
					if text = ""; c.to == e.Addr() {
						text = "x"
					}
					select {
					case <-stop:
						return
					case <-time.After(50 * time.Millisecond):
					}
				}
			}()
			got := untilEnd(conn)
			close(stop)
			if took := time.Since(began); string(got) == "STILL OPEN" || took > 3*time.Second {
				t.Errorf("%s with %.15q: %q after %s", c.host, c.text, got, took)
			}
		})
	}
	closing.Wait()
	// A known peer that is silent between messages stays.
	conn := openStream(t, "127.0.0.1", e.Addr(), nil)
	for range 2 {
		if _, err := io.WriteString(conn, strings.Replace(options, "z9hG4bK", "z9hG4bK"+newTag(), 1)); err != nil {
			t.Fatal(err)
		}
		conn.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.ReadAtLeast(conn, make([]byte, 4096), 12); err != nil {
			t.Fatal(err)
		}
		time.Sleep(400 * time.Millisecond) // silence is what is tried
	}
}

// TestFloodOfConnections: thousands of connections and of requests that belong
// to no call cost bounded memory, and a call goes on and ends meanwhile.
func TestFloodOfConnections(t *testing.T) {
	w := newTLSWorld(t)
	p := newStreamPeer(t, nil)
	tr := w.trunk(p)
	e := startEndpoint(t, withPhones, tr)
	c := upOn(t, e, p)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	goroutines := runtime.NumGoroutine()

	var strangers []net.Conn
	for i := range 600 {
		conn := openStream(t, fmt.Sprintf("127.0.1.%d", 1+i%200), e.Addr(), nil)
		_, _ = io.WriteString(conn, "REGISTER sip:x SIP/2.0\r\n") // it may be closed already
		strangers = append(strangers, conn)
	}
	flood := openStream(t, "127.0.0.1", e.Addr(), nil)
	answers := make(chan struct{})
	go func() { defer close(answers); _, _ = io.Copy(io.Discard, flood) }()
	text := strings.Replace(outside("INVITE", newRawPeer(t), e, 1), "/UDP", "/TCP", 1)
	for i := range 20_000 {
		if _, err := io.WriteString(flood, strings.Replace(text, "z9hG4bK1", fmt.Sprintf("z9hG4bK%d", i), 1)); err != nil {
			t.Fatal(err)
		}
	}
	p.request("INFO", c.invite, "a1", 1, "Signal=5\r\nDuration=160", "Content-Type: application/dtmf-relay")
	p.expect("200")
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 48<<20 {
		t.Errorf("%d MB grown", grown>>20)
	}
	if n := runtime.NumGoroutine() - goroutines; n > 1500 {
		t.Errorf("%d goroutines more", n)
	}
	e.conns.mu.Lock()
	waiting := e.conns.all.waiting
	e.conns.mu.Unlock()
	if waiting > maxWaiting {
		t.Errorf("%d connections wait", waiting)
	}
	t.Logf("%d strangers wait, heap +%d MB, goroutines +%d", waiting, (int64(after.HeapAlloc)-int64(before.HeapAlloc))>>20, runtime.NumGoroutine()-goroutines)
	flood.Close()
	<-answers
	for _, conn := range strangers {
		conn.Close()
	}
	c.end(t, 2)
}

// TestRefusedPhonesKeepNoConnections: who only ever gets 401 is a stranger, who
// has few connections and not for long; who registers keeps his.
func TestRefusedPhonesKeepNoConnections(t *testing.T) {
	e := newEndpoint(t, func(c *Config) { withPhones(c); c.TCP = true })
	e.conns.messageWait = time.Second
	runEndpoint(t, e)
	text := func(n int) string {
		return fmt.Sprintf("REGISTER sip:dialer SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.99:9;branch=z9hG4bK%d%s;rport\r\nFrom: <sip:7@dialer>;tag=f\r\n"+
			"To: <sip:7@dialer>\r\nCall-ID: x%d\r\nCSeq: 1 REGISTER\r\nContent-Length: 0\r\n\r\n", n, newTag(), n)
	}
	var conns []net.Conn
	for n := range hostWaiting {
		conn := openStream(t, "127.0.0.99", e.Addr(), nil)
		if _, err := io.WriteString(conn, text(n)); err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		if n, err := conn.Read(make([]byte, 4096)); err != nil || n == 0 {
			t.Fatalf("no answer: %v", err)
		}
		conns = append(conns, conn)
	}
	began := time.Now()
	if got := untilEnd(openStream(t, "127.0.0.99", e.Addr(), nil)); len(got) > 0 || time.Since(began) > 500*time.Millisecond {
		t.Errorf("one more than a host may have is open: %q after %s", got, time.Since(began))
	}
	stop := make(chan struct{})
	var asking sync.WaitGroup
	asking.Go(func() { // a REGISTER now and then does not help
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for n := 1000; ; n++ {
			select {
			case <-stop:
				return
			case <-tick.C:
				_, _ = io.WriteString(conns[0], text(n))
			}
		}
	})
	for _, conn := range conns {
		if got := untilEnd(conn); string(got) == "STILL OPEN" {
			t.Error("a stranger's connection stays")
		}
	}
	close(stop)
	asking.Wait()
}
