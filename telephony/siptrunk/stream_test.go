package siptrunk

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"go.uber.org/goleak"

	"dialer/telephony"
)

// overStreams runs a test over TCP and over TLS.
func overStreams(t *testing.T, test func(t *testing.T, w tlsWorld, p *rawPeer)) {
	t.Run("tcp", func(t *testing.T) { test(t, newTLSWorld(t), newStreamPeer(t, nil)) })
	t.Run("tls", func(t *testing.T) {
		w := newTLSWorld(t)
		test(t, w, newStreamPeer(t, w.server("127.0.0.1", time.Now().Add(time.Hour))))
	})
}

// TestCallOverStreams: a call's messages say how they travel and share one
// connection, and so does the next call.
func TestCallOverStreams(t *testing.T) {
	overStreams(t, func(t *testing.T, w tlsWorld, p *rawPeer) {
		e := startEndpoint(t, w.listening, w.trunk(p))
		port := map[string]uint16{"TCP": e.Addr().Port(), "TLS": e.TLSAddr().Port()}[p.via()]
		us := fmt.Sprintf("127.0.0.1:%d", port)
		for range 2 {
			c := upOn(t, e, p)
			m := c.invite
			if !strings.HasPrefix(m.get("Via"), "SIP/2.0/"+p.via()+" "+us+";") || m.get("Contact") != "<sip:dialer@"+us+p.param()+">" ||
				!strings.HasSuffix(m.uri(), p.param()) {
				t.Errorf("INVITE to %s: Via %s, Contact %s", m.uri(), m.get("Via"), m.get("Contact"))
			}
			p.request("INVITE", m, "a1", 1, sdp(someSDPPort), sdpType)
			if ok := p.expect("200"); ok.from != m.from {
				t.Errorf("the answer comes by another connection")
			}
			p.request("ACK", m, "a1", 1, "")
			c.leg.Hangup(telephony.CauseNormal)
			bye := p.expect("BYE")
			if bye.from != m.from || !strings.HasPrefix(bye.get("Via"), "SIP/2.0/"+p.via()+" "+us+";") {
				t.Errorf("BYE from %s, INVITE from %s: Via %s", bye.from, m.from, bye.get("Via"))
			}
			p.ok(bye)
			awaitDone(t, c.leg)
		}
		p.connected()
		if n := len(p.on.accepted); n != 0 {
			t.Errorf("%d connections too many", n)
		}
	})
}

// Without a listener the address in Contact is that of the connection, and the
// peer may use it the other way.
func TestCallWithoutListener(t *testing.T) {
	overStreams(t, func(t *testing.T, w tlsWorld, p *rawPeer) {
		e := startEndpoint(t, func(c *Config) { c.TCP = false }, w.trunk(p))
		c := upOn(t, e, p)
		if want := "<sip:dialer@" + c.invite.from.String() + p.param() + ">"; c.invite.get("Contact") != want {
			t.Errorf("Contact is %s, want %s", c.invite.get("Contact"), want)
		}
		c.end(t, 1)
	})
}

func TestIPv6OverStreams(t *testing.T) {
	for _, transport := range []telephony.Transport{telephony.TCP, telephony.TLS} {
		l, err := net.Listen("tcp6", "[::1]:0")
		if err != nil {
			t.Skip("SKIPPED: no IPv6 on this host")
		}
		w := newTLSWorld(t)
		var settings *tls.Config
		if transport == telephony.TLS {
			settings = w.server("::1", time.Now().Add(time.Hour))
		}
		p := acceptRaw(t, l, settings)
		e := startEndpoint(t, func(c *Config) {
			w.listening(c)
			c.Listen, c.TLSListen = netip.MustParseAddrPort("[::1]:0"), netip.MustParseAddrPort("[::1]:0")
		}, w.trunk(p))
		d := dial(t, t.Context(), e, invite())
		m := p.expect("INVITE")
		us := fmt.Sprintf("[::1]:%d", map[telephony.Transport]netip.AddrPort{telephony.TCP: e.Addr(), telephony.TLS: e.TLSAddr()}[transport].Port())
		if !strings.HasPrefix(m.get("Via"), "SIP/2.0/"+p.via()+" "+us+";") || m.get("Contact") != "<sip:dialer@"+us+p.param()+">" {
			t.Errorf("Via %s, Contact %s", m.get("Via"), m.get("Contact"))
		}
		p.reply(m, reply{status: "486 Busy Here", tag: "x"})
		if err := d.failed(); err.Cause != telephony.CauseBusy {
			t.Errorf("got %+v", err)
		}
	}
}

// Provisional responses that arrive in one piece are heard in their order.
func TestProvisionalsInOrderOverStreams(t *testing.T) {
	overStreams(t, func(t *testing.T, w tlsWorld, p *rawPeer) {
		e := startEndpoint(t, w.listening, w.trunk(p))
		for range 20 {
			var heard []int
			inv := invite()
			inv.OnProgress = func(pr telephony.Progress) { heard = append(heard, pr.Status) }
			d := dial(t, t.Context(), e, inv)
			m := p.expect("INVITE")
			var all strings.Builder
			for i, status := range []string{"180 Ringing", "183 Session Progress", "181 Forwarded", "182 Queued", "486 Busy Here"} {
				fmt.Fprintf(&all, "SIP/2.0 %s\r\nVia: %s\r\nFrom: %s\r\nTo: %s;tag=t%d\r\nCall-ID: %s\r\nCSeq: %s\r\nContent-Length: 0\r\n\r\n",
					status, m.get("Via"), m.get("From"), m.get("To"), i/4, m.get("Call-ID"), m.get("CSeq"))
			}
			p.send(m.from, all.String())
			d.failed()
			if !slices.Equal(heard, []int{180, 183, 181, 182}) {
				t.Fatalf("heard %v", heard)
			}
		}
	})
}

func TestLargeInviteOverTCP(t *testing.T) {
	p := newStreamPeer(t, nil)
	e := startEndpoint(t, nil, newTLSWorld(t).trunk(p))
	inv := invite()
	inv.Headers = map[string]string{}
	for i := range 20 {
		inv.Headers[fmt.Sprint("X-Large-", i)] = strings.Repeat("x", 1000)
	}
	d := dial(t, t.Context(), e, inv)
	m := p.expect("INVITE")
	if len(m.get("X-Large-19")) != 1000 || m.body == "" {
		t.Error("the INVITE did not come whole")
	}
	p.reply(m, reply{status: "486 Busy Here", tag: "x"})
	d.failed()
}

// TestAnswerIsRepeatedOverStreams: our 2xx to a re-INVITE, until it is ACKed (RFC
// 3261 13.3.1.4).
func TestAnswerIsRepeatedOverStreams(t *testing.T) {
	overStreams(t, func(t *testing.T, w tlsWorld, p *rawPeer) {
		e := startEndpoint(t, w.listening, w.trunk(p))
		c := upOn(t, e, p)
		p.request("INVITE", c.invite, "a1", 1, sdp(someSDPPort), sdpType)
		first := p.expect("200")
		again := p.expect("200")
		if again.get("CSeq") != first.get("CSeq") || again.get("Via") != first.get("Via") || again.body != first.body {
			t.Errorf("repeated as\n%v\nnot\n%v", again, first)
		}
		p.request("ACK", c.invite, "a1", 1, "")
		c.end(t, 2)
	})
}

// TestLostConnectionInMidCall: the loss is told, and BYE opens the connection
// again.
func TestLostConnectionInMidCall(t *testing.T) {
	overStreams(t, func(t *testing.T, w tlsWorld, p *rawPeer) {
		e := newEndpoint(t, w.listening, w.trunk(p))
		lost := make(chan route, 1)
		e.onLost = func(r route) { lost <- r }
		runEndpoint(t, e)
		c := upOn(t, e, p)
		p.connected()
		p.on.drop()
		select {
		case r := <-lost:
			if r != (route{w.trunk(p).Transport, p.addr()}) {
				t.Errorf("lost %v", r)
			}
		case <-time.After(patience):
			t.Fatal("the loss was not told")
		}
		select {
		case <-c.leg.Done():
			t.Fatal("the call ended with its connection")
		default:
		}
		c.leg.Hangup(telephony.CauseNormal)
		bye := p.expect("BYE")
		if bye.from == c.invite.from {
			t.Error("BYE came by the old connection")
		}
		p.ok(bye)
		awaitDone(t, c.leg)
		awaitFree(t, e)
	})
}

// The next process ends a call that was placed over a connection, over one of
// its own.
func TestOrphanOverStreams(t *testing.T) {
	overStreams(t, func(t *testing.T, w tlsWorld, p *rawPeer) {
		e := startEndpoint(t, w.listening, w.trunk(p))
		c := upOn(t, e, p)
		saved := c.leg.Dialog()
		after := startEndpoint(t, w.listening, w.trunk(p))
		ended := make(chan error, 1)
		go func() { ended <- after.EndOrphan(t.Context(), saved) }()
		bye := p.expect("BYE")
		if bye.from == c.invite.from || !strings.HasPrefix(bye.get("Via"), "SIP/2.0/"+p.via()+" ") {
			t.Errorf("BYE from %s: %s", bye.from, bye.get("Via"))
		}
		p.ok(bye)
		if err := <-ended; err != nil {
			t.Error(err)
		}
		c.end(t, 1)
	})
}

// A BYE whose connection is lost before its answer is sent once more.
func TestRequestOnLostConnectionIsRepeated(t *testing.T) {
	p := newStreamPeer(t, nil)
	e := startEndpoint(t, nil, newTLSWorld(t).trunk(p))
	c := upOn(t, e, p)
	c.leg.Hangup(telephony.CauseNormal)
	first := p.expect("BYE")
	p.on.drop()
	again := p.expect("BYE")
	if again.from == first.from || again.cseq() != first.cseq() || again.get("Via") != first.get("Via") {
		t.Errorf("first BYE %v, then %v", first, again)
	}
	p.ok(again)
	awaitDone(t, c.leg)
}

// An INVITE whose connection is lost: nothing heard of it, it has failed at once;
// ringing, the answer may come over a connection from the peer.
func TestInviteOnLostConnection(t *testing.T) {
	p := newStreamPeer(t, nil)
	e := newEndpoint(t, func(c *Config) { c.NoResponse = time.Minute }, newTLSWorld(t).trunk(p))
	lost := make(chan route, 2)
	e.onLost = func(r route) { lost <- r }
	runEndpoint(t, e)
	d := dial(t, t.Context(), e, invite())
	p.expect("INVITE")
	p.on.drop()
	if err := d.failed(); err.Cause != telephony.CauseUnreachable || !strings.Contains(err.Reason, "lost") {
		t.Errorf("got %+v", err)
	}
	<-lost
	rings := make(chan struct{})
	inv := invite()
	inv.OnProgress = func(telephony.Progress) { close(rings) }
	d = dial(t, t.Context(), e, inv)
	m := p.expect("INVITE")
	p.reply(m, reply{status: "180 Ringing", tag: "a1"})
	<-rings
	p.on.drop()
	<-lost
	p.connect("127.0.0.1", e.Addr(), nil)
	m.from = e.Addr()
	p.reply(m, reply{status: "200 OK", tag: "a1", body: sdp(someSDPPort)})
	leg := d.answered()
	p.expect("ACK")
	p.request("BYE", m, "a1", 1, "")
	awaitDone(t, leg)
}

// TestConnectionKeepAlive: a ping is answered, also between messages, and one
// that splits a message is a part of it.
func TestConnectionKeepAlive(t *testing.T) {
	p := newRawPeer(t)
	e := startEndpoint(t, nil, testTrunk(p))
	conn := openStream(t, "127.0.0.1", e.Addr(), nil)
	options := strings.Replace(outside("OPTIONS", p, e, 1), "/UDP", "/TCP", 1)
	another := strings.Replace(options, "z9hG4bK1", "z9hG4bK2", 1)
	for _, part := range []string{"\r\n\r\n", options, "\r\n\r\n", another[:40], another[40:]} {
		if _, err := io.WriteString(conn, part); err != nil {
			t.Fatal(err)
		}
	}
	conn.SetReadDeadline(time.Now().Add(patience))
	answer := regexp.MustCompile(`(?s)SIP/2.0 200 OK\r\n.*?\r\n\r\n`)
	var got []byte
	buf := make([]byte, 4096)
	for len(answer.FindAll(got, -1)) < 2 || string(answer.ReplaceAll(got, nil)) != "\r\n\r\n" { // two pongs
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatalf("%v after %q", err, got)
		}
		got = append(got, buf[:n]...)
	}
}

// untilEnd reads until the other side closes, for at most the test's patience.
func untilEnd(conn net.Conn) []byte {
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	got, err := io.ReadAll(conn)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return []byte("STILL OPEN")
	}
	return got
}

// TestPhonesOverStreams: a phone registers over a connection and is called over
// it.
func TestPhonesOverStreams(t *testing.T) {
	overStreams(t, func(t *testing.T, w tlsWorld, p *rawPeer) {
		e := startEndpoint(t, func(c *Config) { withPhones(c); w.listening(c) })
		to, settings := e.Addr(), (*tls.Config)(nil)
		if p.via() == "TLS" {
			to, settings = e.TLSAddr(), w.client()
		}
		conn := p.connect("127.0.0.44", to, settings)
		ph := &phone{rawPeer: p, e: e, user: "7", callID: "reg-" + newTag()}
		contact := fmt.Sprintf("Contact: <sip:7@192.168.1.7:5060%s>", p.param())
		register := func(authorization string) *rawMessage {
			ph.cseq++
			text := fmt.Sprintf("REGISTER sip:dialer SIP/2.0\r\nVia: SIP/2.0/%s 192.168.1.7:5060;branch=z9hG4bK%s;rport\r\nMax-Forwards: 70\r\n"+
				"From: <sip:7@dialer>;tag=f\r\nTo: <sip:7@dialer>\r\nCall-ID: %s\r\nCSeq: %d REGISTER\r\n%s\r\n%sContent-Length: 0\r\n\r\n",
				p.via(), newTag(), ph.callID, ph.cseq, contact, authorization)
			p.on.send(t, to, text)
			select {
			case m := <-p.in:
				return m
			case <-time.After(patience):
				t.Fatal("REGISTER was not answered")
				return nil
			}
		}
		challenge := register("")
		if got := register("Authorization: " + ph.answer(challenge, "pw") + "\r\n"); got.status() != "200" {
			t.Fatalf("got %s", got.start)
		}
		rung := make(chan error, 1)
		var leg telephony.Leg
		go func() {
			var err error
			leg, err = e.Ring(t.Context(), telephony.Station{Extension: "7"})
			rung <- err
		}()
		m := p.expect("INVITE")
		if m.from != addrPort(conn.RemoteAddr()) || !strings.HasPrefix(m.get("Via"), "SIP/2.0/"+p.via()) {
			t.Errorf("INVITE from %s: %s", m.from, m.get("Via"))
		}
		p.reply(m, reply{status: "200 OK", tag: "a1", body: sdp(someSDPPort), contact: "<sip:7@192.168.1.7:5060" + p.param() + ">"})
		p.expect("ACK")
		if err := <-rung; err != nil {
			t.Fatal(err)
		}
		p.request("BYE", m, "a1", 1, "")
		p.expect("200")
		awaitDone(t, leg)
	})
}

// TestShutdownOverStreams leaves nothing behind: legs hung up, requests answered,
// connections closed.
func TestShutdownOverStreams(t *testing.T) {
	overStreams(t, func(t *testing.T, w tlsWorld, p *rawPeer) {
		here := goleak.IgnoreCurrent()
		e := newEndpoint(t, w.listening, w.trunk(p))
		stop := runEndpoint(t, e)
		openStream(t, "127.0.0.1", e.Addr(), nil)
		openStream(t, "127.0.0.1", e.TLSAddr(), nil)
		c := upOn(t, e, p)
		ringing := dial(t, t.Context(), e, invite())
		m := p.expect("INVITE")
		p.reply(m, reply{status: "180 Ringing", tag: "b"})
		p.serve.Store(ptr(func(r *rawMessage) {
			switch r.method() {
			case "BYE":
				p.ok(r)
			case "CANCEL":
				p.ok(r)
				p.reply(m, reply{status: "487 Request Terminated", tag: "b"})
			}
		}))
		stop()
		awaitDone(t, c.leg)
		if err := ringing.failed(); err.Cause != telephony.CauseCancelled {
			t.Errorf("the ringing call ended with %+v", err)
		}
		conn := p.connected()
		if got := untilEnd(conn); string(got) == "STILL OPEN" {
			t.Error("the connection is still open")
		}
		c.rtp.conn.Close()
		p.on.Close()
		p.on.drop()
		goleak.VerifyNone(t, here, goleak.IgnoreTopFunction("testing.(*T).Run"))
	})
}

// TestSippOverTCP calls somebody else's stack.
func TestSippOverTCP(t *testing.T) {
	sipp, err := exec.LookPath("sipp")
	if err != nil {
		t.Skip("SKIPPED: sipp is not installed")
	}
	port := fmt.Sprint(freeTCPPort(t))
	at := net.JoinHostPort("127.0.0.1", port)
	uas := exec.CommandContext(t.Context(), sipp, "-sn", "uas", "-t", "t1", "-i", "127.0.0.1", "-p", port, "-nostdin")
	uas.Dir = t.TempDir()
	if err := uas.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { uas.Process.Kill(); _ = uas.Wait() })
	e := startEndpoint(t, nil, telephony.Trunk{
		ID: "trk_test", Name: "sipp", Address: at, Channels: 50, CPS: 1000, Enabled: true,
		TrunkOptions: telephony.TrunkOptions{Transport: telephony.TCP},
	})
	for deadline := time.Now().Add(patience); ; { // sipp has no sign of being ready but its port
		conn, err := net.Dial("tcp4", at)
		if err == nil {
			conn.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("sipp does not listen")
		}
		time.Sleep(20 * time.Millisecond)
	}
	var calls []*dialed
	for range 10 {
		calls = append(calls, dial(t, t.Context(), e, invite()))
	}
	for _, d := range calls {
		leg := d.answered()
		leg.Hangup(telephony.CauseNormal)
		awaitDone(t, leg)
	}
	awaitFree(t, e)
}

func freeTCPPort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// FuzzStream: whatever comes by a stream and however it is cut, the guard does
// not panic, what passes is one message for sipgo, with the end that we saw, and
// the memory stays bounded.
func FuzzStream(f *testing.F) {
	cfg := DefaultConfig()
	cfg.Listen = netip.MustParseAddrPort("127.0.0.1:0")
	e, err := New(cfg)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { e.sock.Close(); e.conns.close() })
	options := "OPTIONS sip:x@y SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:9;branch=z9hG4bKh\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:x@y>\r\n" +
		"Call-ID: h\r\nCSeq: 1 OPTIONS\r\n"
	for _, s := range []string{
		options + "Content-Length: 0\r\n\r\n", options + "l: 3\r\n\r\nabc" + options + "l : 0\r\n\r\n", options + "\r\n",
		options + "Content-Length: 2\r\nl: 3\r\n\r\nabc", options + "Content-Length:\r\n 3\r\n\r\nabc", options + "Content-Length: +3\r\n\r\nabc",
		"\r\n\r\n\r\n" + options + "Content-Length: 99999\r\n\r\n", "\r\r\n\n" + options + "Content-Length: 0\r\n\r\n", options + "X-A: \r\r\nl: 0\r\n\r\n",
	} {
		f.Add([]byte(s), uint8(7))
	}
	from := netip.MustParseAddrPort("127.0.0.1:9")
	e.guard.peers.add(from.Addr())
	f.Fuzz(func(t *testing.T, data []byte, cut uint8) {
		s := newStream(e.conns, &cutConn{data: data, cut: int(cut)}, telephony.TCP)
		s.from.addr = from
		for {
			frame, err := s.frame()
			if err != nil {
				break
			}
			if len(frame) > maxDatagram || cap(s.buf) > 4*maxDatagram {
				t.Fatalf("%d bytes read, %d kept", len(frame), cap(s.buf))
			}
			pass, r := e.guard.admit(slices.Clone(frame), s.from)
			if r != passed {
				continue
			}
			n := 0
			p := sip.NewParser().NewSIPStream()
			if err := p.ParseSIPStream(pass, func(sip.Message) { n++ }); err != nil || n != 1 || p.Buffer().Len() != 0 {
				t.Fatalf("%d messages, %v: %q", n, err, pass)
			}
		}
	})
}

// A cutConn delivers data in pieces and swallows what is written.
type cutConn struct {
	net.Conn
	data []byte
	cut  int
}

func (c *cutConn) Read(b []byte) (int, error) {
	if len(c.data) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), c.cut+1)], c.data)
	c.data = c.data[n:]
	return n, nil
}
func (c *cutConn) Write(b []byte) (int, error)      { return len(b), nil }
func (c *cutConn) Close() error                     { return nil }
func (c *cutConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *cutConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *cutConn) SetReadDeadline(time.Time) error  { return nil }
func (c *cutConn) SetWriteDeadline(time.Time) error { return nil }
