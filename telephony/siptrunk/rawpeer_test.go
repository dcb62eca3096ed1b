package siptrunk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dialer"
	"dialer/telephony"
)

// patience is how long a test waits for what must come.
const patience = 8 * time.Second

// A rawPeer is a far end that does exactly what the test says, also what no SIP
// stack would do.
type rawPeer struct {
	t     *testing.T
	conn  *net.UDPConn
	on    *rawListener // instead of conn, for TCP and TLS
	in    chan *rawMessage
	serve atomic.Pointer[func(m *rawMessage)]
}

// A rawMessage is a SIP message as text.
type rawMessage struct {
	start   string
	headers [][2]string
	body    string
	from    netip.AddrPort
}

func newRawPeer(t *testing.T) *rawPeer { return newRawPeerAt(t, "127.0.0.1") }

func newRawPeerAt(t *testing.T, host string) *rawPeer {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(host)})
	if err != nil {
		t.Fatal(err)
	}
	return readRaw(t, conn)
}

// readRaw is a peer on a socket.
func readRaw(t *testing.T, conn *net.UDPConn) *rawPeer {
	_ = conn.SetReadBuffer(4 << 20)
	p := &rawPeer{t: t, conn: conn, in: make(chan *rawMessage, 8192)}
	var reading sync.WaitGroup
	reading.Go(func() {
		buf := make([]byte, 65536)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			m := parseRaw(string(buf[:n]))
			m.from = from
			if f := p.serve.Load(); f != nil {
				(*f)(m)
				continue
			}
			select {
			case p.in <- m:
			default:
			}
		}
	})
	t.Cleanup(func() {
		conn.Close()
		reading.Wait()
	})
	return p
}

func parseRaw(s string) *rawMessage {
	head, body, _ := strings.Cut(s, "\r\n\r\n")
	lines := strings.Split(head, "\r\n")
	m := &rawMessage{start: lines[0], body: body}
	for _, l := range lines[1:] {
		name, value, _ := strings.Cut(l, ":")
		m.headers = append(m.headers, [2]string{strings.TrimSpace(name), strings.TrimSpace(value)})
	}
	return m
}

func (m *rawMessage) method() string {
	word, _, _ := strings.Cut(m.start, " ")
	return word
}

func (m *rawMessage) uri() string {
	_, rest, _ := strings.Cut(m.start, " ")
	uri, _, _ := strings.Cut(rest, " ")
	return uri
}

func (m *rawMessage) all(name string) []string {
	var values []string
	for _, h := range m.headers {
		if strings.EqualFold(h[0], name) {
			values = append(values, h[1])
		}
	}
	return values
}

func (m *rawMessage) get(name string) string {
	if v := m.all(name); len(v) > 0 {
		return v[0]
	}
	return ""
}

func (m *rawMessage) cseq() string {
	n, _, _ := strings.Cut(m.get("CSeq"), " ")
	return n
}

// status is the code of a response.
func (m *rawMessage) status() string {
	if strings.HasPrefix(m.start, "SIP/2.0 ") {
		return m.start[8:11]
	}
	return ""
}

func (p *rawPeer) addr() netip.AddrPort {
	if p.on != nil {
		return addrPort(p.on.Addr())
	}
	return p.conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

// via is the transport in Via, param that of a URI.
func (p *rawPeer) via() string {
	if p.on != nil {
		return p.on.via
	}
	return "UDP"
}

func (p *rawPeer) param() string {
	if p.on != nil {
		return ";transport=" + strings.ToLower(p.on.via)
	}
	return ""
}

func (p *rawPeer) send(to netip.AddrPort, text string) {
	if p.on != nil {
		p.on.send(p.t, to, text)
		return
	}
	if _, err := p.conn.WriteToUDPAddrPort([]byte(text), to); err != nil && !errors.Is(err, net.ErrClosed) {
		p.t.Errorf("send: %v", err)
	}
}

// expect returns the next message of a method (or response of a status),
// skipping others.
func (p *rawPeer) expect(what string) *rawMessage {
	p.t.Helper()
	m := p.await(what, patience)
	if m == nil {
		p.t.Fatalf("no %s came", what)
	}
	return m
}

func (p *rawPeer) await(what string, wait time.Duration) *rawMessage {
	deadline := time.After(wait)
	for {
		select {
		case m := <-p.in:
			if m.method() == what || m.status() == what {
				return m
			}
		case <-deadline:
			return nil
		}
	}
}

// silent fails when a message of a method comes within wait.
func (p *rawPeer) silent(what string, wait time.Duration) {
	p.t.Helper()
	if m := p.await(what, wait); m != nil {
		p.t.Fatalf("unexpected %s:\n%s", what, m.start)
	}
}

type reply struct {
	status  string // "200 OK"
	tag     string
	body    string
	contact string
	headers []string
}

// reply answers a request.
func (p *rawPeer) reply(req *rawMessage, r reply) {
	var b strings.Builder
	fmt.Fprintf(&b, "SIP/2.0 %s\r\n", r.status)
	for _, v := range req.all("Via") {
		fmt.Fprintf(&b, "Via: %s\r\n", v)
	}
	fmt.Fprintf(&b, "From: %s\r\n", req.get("From"))
	to := req.get("To")
	if r.tag != "" && !strings.Contains(to, "tag=") {
		to += ";tag=" + r.tag
	}
	fmt.Fprintf(&b, "To: %s\r\nCall-ID: %s\r\nCSeq: %s\r\n", to, req.get("Call-ID"), req.get("CSeq"))
	if req.method() == "INVITE" && r.tag != "" {
		contact := r.contact
		if contact == "" {
			contact = "<sip:callee@" + p.addr().String() + p.param() + ">"
		}
		fmt.Fprintf(&b, "Contact: %s\r\n", contact)
	}
	for _, h := range r.headers {
		b.WriteString(h + "\r\n")
	}
	if r.body != "" {
		b.WriteString("Content-Type: application/sdp\r\n")
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(r.body), r.body)
	p.send(req.from, b.String())
}

// ok answers a non-INVITE request.
func (p *rawPeer) ok(req *rawMessage) { p.reply(req, reply{status: "200 OK"}) }

// request sends an in-dialog request to us, as the far end of an INVITE.
func (p *rawPeer) request(method string, invite *rawMessage, tag string, cseq int, body string, headers ...string) {
	var b strings.Builder
	contact := strings.Trim(invite.get("Contact"), "<>")
	fmt.Fprintf(&b, "%s %s SIP/2.0\r\n", method, contact)
	fmt.Fprintf(&b, "Via: SIP/2.0/%s %s;branch=z9hG4bK-%s-%d-%s;rport\r\nMax-Forwards: 70\r\n", p.via(), p.addr(), method, cseq, newTag())
	fmt.Fprintf(&b, "From: %s;tag=%s\r\nTo: %s\r\n", invite.get("To"), tag, invite.get("From"))
	fmt.Fprintf(&b, "Call-ID: %s\r\nCSeq: %d %s\r\nContact: <sip:callee@%s%s>\r\n", invite.get("Call-ID"), cseq, method, p.addr(), p.param())
	for _, h := range headers {
		b.WriteString(h + "\r\n")
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
	p.send(invite.from, b.String())
}

// sdp is a far end's SDP.
func sdp(port int, extra ...string) string {
	s := "v=0\r\no=- 4711 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n" +
		fmt.Sprintf("m=audio %d RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n", port)
	for _, e := range extra {
		s += e + "\r\n"
	}
	return s
}

const someSDPPort = 19998 // where nobody listens

// testTrunk is a trunk whose peer is p.
func testTrunk(p *rawPeer) telephony.Trunk {
	return telephony.Trunk{ID: "trk_test", Name: "test", Address: p.addr().String(), Channels: 2000, CPS: 10000, Enabled: true,
		TrunkOptions: telephony.TrunkOptions{OptionsSeconds: -1}}
}

// startEndpoint runs an endpoint until the test ends.
func startEndpoint(t *testing.T, change func(*Config), trunks ...telephony.Trunk) *Endpoint {
	t.Helper()
	e := newEndpoint(t, change, trunks...)
	runEndpoint(t, e)
	return e
}

func newEndpoint(t *testing.T, change func(*Config), trunks ...telephony.Trunk) *Endpoint {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Listen = netip.MustParseAddrPort("127.0.0.1:0")
	cfg.RTPLow, cfg.RTPHigh = 20000, 25999
	cfg.Log = slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if change != nil {
		change(&cfg)
	}
	e, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	e.leaveWait = time.Second // a peer that has an answer gives it at once
	e.SetTrunks(trunks)
	return e
}

// runEndpoint runs it until the test ends, or until the returned function is
// called, which waits for its end.
func runEndpoint(t *testing.T, e *Endpoint) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(30 * time.Second):
			t.Error("Run did not end")
		}
	})
	t.Cleanup(stop)
	return stop
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("panicked")) {
		w.t.Errorf("%s", b)
	}
	return len(b), nil
}

// invite is a call to the trunk of testTrunk.
func invite() telephony.Invite {
	return telephony.Invite{
		Call: dialer.NewCallID(), To: "+4930123456", From: "+4940987654", FromName: "Test", Trunk: "trk_test",
	}
}

// A dialed is a Dial in progress.
type dialed struct {
	t    *testing.T
	leg  telephony.Leg
	err  error
	done chan struct{}
}

// dial starts a call; what it needs of capacity is waited for.
func dial(t *testing.T, ctx context.Context, e *Endpoint, inv telephony.Invite) *dialed {
	t.Helper()
	awaitTokens(t, e, 1)
	d := &dialed{t: t, done: make(chan struct{})}
	go func() {
		defer close(d.done)
		d.leg, d.err = e.Dial(ctx, inv)
	}()
	return d
}

// awaitTokens waits for the bucket, which starts empty.
func awaitTokens(t *testing.T, e *Endpoint, n int) {
	t.Helper()
	for deadline := time.Now().Add(patience); e.Capacity("trk_test").Tokens < n; {
		if time.Now().After(deadline) {
			t.Fatal("the trunk's bucket stays empty")
		}
		time.Sleep(time.Millisecond) // the bucket has no event to wait on
	}
}

func (d *dialed) wait() {
	d.t.Helper()
	select {
	case <-d.done:
	case <-time.After(patience):
		d.t.Fatal("Dial did not return")
	}
}

// answered returns the leg.
func (d *dialed) answered() *Leg {
	d.t.Helper()
	d.wait()
	if d.err != nil {
		d.t.Fatalf("not answered: %v", d.err)
	}
	return d.leg.(*Leg)
}

// failed returns the DialError.
func (d *dialed) failed() *telephony.DialError {
	d.t.Helper()
	d.wait()
	var e *telephony.DialError
	if !errors.As(d.err, &e) {
		d.t.Fatalf("Dial returned %v, %v, want a *DialError", d.leg, d.err)
	}
	return e
}

func awaitDone(t *testing.T, leg telephony.Leg) {
	t.Helper()
	select {
	case <-leg.Done():
	case <-time.After(patience):
		t.Fatal("the leg did not end")
	}
}

// An rtpPeer is the far end's audio.
type rtpPeer struct {
	conn *net.UDPConn
	got  chan []byte
	seq  uint16
	ts   uint32
}

func newRTPPeer(t *testing.T) *rtpPeer { return newRTPPeerAt(t, "127.0.0.1") }

func newRTPPeerAt(t *testing.T, host string) *rtpPeer {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(host)})
	if err != nil {
		t.Fatal(err)
	}
	r := &rtpPeer{conn: conn, got: make(chan []byte, 1024)}
	var reading sync.WaitGroup
	reading.Go(func() {
		for {
			b := make([]byte, 2048)
			n, err := conn.Read(b)
			if err != nil {
				return
			}
			select {
			case r.got <- b[:n]:
			default:
			}
		}
	})
	t.Cleanup(func() {
		conn.Close()
		reading.Wait()
	})
	return r
}

func (r *rtpPeer) port() int { return r.conn.LocalAddr().(*net.UDPAddr).Port }

// send sends one packet of 20 ms, all samples of one byte.
func (r *rtpPeer) send(to netip.AddrPort, fill byte) {
	payload := bytes.Repeat([]byte{fill}, 160)
	r.packet(to, 0, r.seq == 0, r.ts, payload)
	r.ts += 160
}

func (r *rtpPeer) packet(to netip.AddrPort, pt byte, marker bool, ts uint32, payload []byte) {
	b := make([]byte, 12, 12+len(payload))
	b[0], b[1] = 0x80, pt
	if marker {
		b[1] |= 0x80
	}
	binary.BigEndian.PutUint16(b[2:], r.seq)
	binary.BigEndian.PutUint32(b[4:], ts)
	binary.BigEndian.PutUint32(b[8:], 0x1234)
	_, _ = r.conn.WriteToUDPAddrPort(append(b, payload...), to)
	r.seq++
}

// stream sends audio at its pace until stop.
func (r *rtpPeer) stream(to netip.AddrPort, fill byte) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var sending sync.WaitGroup
	sending.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			r.send(to, fill)
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
	return sync.OnceFunc(func() { cancel(); sending.Wait() })
}

// offeredRTP is the address in the SDP of an INVITE of ours.
func offeredRTP(t *testing.T, m *rawMessage) netip.AddrPort {
	t.Helper()
	var host string
	var port uint16
	for line := range strings.SplitSeq(m.body, "\r\n") {
		if h, ok := strings.CutPrefix(line, "c=IN IP4 "); ok {
			host = h
		}
		if strings.HasPrefix(line, "m=audio ") {
			fmt.Sscanf(line, "m=audio %d", &port)
		}
	}
	a, err := netip.ParseAddr(host)
	if err != nil || port == 0 {
		t.Fatalf("no audio address in\n%s", m.body)
	}
	return netip.AddrPortFrom(a, port)
}
