package siptest

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
)

func TestMain(m *testing.M) {
	// The tests listen to calls in real time: they wait far more than they work.
	flag.Parse()
	if flag.Lookup("test.fuzz").Value.String() == "" {
		if err := flag.Set("test.parallel", "8"); err != nil {
			panic(err)
		}
	}
	SetLibraryLogger(slog.New(slog.DiscardHandler))
	os.Exit(m.Run())
}

// A caller is a plain sipgo user agent, the dialer of these tests.
type caller struct {
	addr   netip.AddrPort
	client *sipgo.Client

	mu   sync.Mutex
	byes map[string]chan struct{} // by Call-ID
}

func newCaller(t *testing.T) *caller {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadBuffer(4 << 20)
	quiet := slog.New(slog.DiscardHandler)
	ua, err := sipgo.NewUA(sipgo.WithUserAgent("caller"))
	if err != nil {
		t.Fatal(err)
	}
	c := &caller{addr: conn.LocalAddr().(*net.UDPAddr).AddrPort(), byes: map[string]chan struct{}{}}
	if c.client, err = sipgo.NewClient(ua, sipgo.WithClientConnectionAddr(c.addr.String()), sipgo.WithClientLogger(quiet)); err != nil {
		t.Fatal(err)
	}
	server, err := sipgo.NewServer(ua, sipgo.WithServerLogger(quiet))
	if err != nil {
		t.Fatal(err)
	}
	server.OnBye(func(req *sip.Request, tx sip.ServerTransaction) {
		c.mu.Lock()
		bye := c.byes[req.CallID().Value()]
		c.mu.Unlock()
		if bye == nil {
			_ = tx.Respond(sip.NewResponseFromRequest(req, 481, "No Such Call", nil))
			return
		}
		_ = tx.Respond(sip.NewResponseFromRequest(req, 200, "OK", nil))
		select {
		case bye <- struct{}{}:
		default:
		}
	})
	server.OnOptions(func(req *sip.Request, tx sip.ServerTransaction) {
		c.mu.Lock()
		status := 200
		if c.byes[req.CallID().Value()] == nil {
			status = 481
		}
		c.mu.Unlock()
		_ = tx.Respond(sip.NewResponseFromRequest(req, status, "", nil))
	})
	served := make(chan struct{})
	socket := &signalling{PacketConn: conn, live: make(chan struct{})}
	go func() { defer close(served); _ = server.ServeUDP(socket) }()
	<-socket.live
	t.Cleanup(func() { ua.Close(); conn.Close(); <-served })
	return c
}

// forget loses the state of every call, as a crash does.
func (c *caller) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.byes)
}

// A testCall is one call from the caller's side.
type testCall struct {
	t      *testing.T
	caller *caller
	invite *sip.Request
	tx     sip.ClientTransaction
	cancel context.CancelFunc
	rtp    *net.UDPConn
	far    session
	bye    chan struct{}
	cseq   uint32

	mu    sync.Mutex
	heard []int16
	keys  []byte
	last  uint32 // RTP time of the last event
}

type dialOption func(*sip.Request)

func withCodecs(formats string) dialOption {
	return func(r *sip.Request) {
		r.SetBody([]byte(strings.Replace(string(r.Body()), "RTP/AVP 0 8 101", "RTP/AVP "+formats, 1)))
	}
}

func withoutSDP(r *sip.Request) { r.SetBody(nil); r.RemoveHeader("Content-Type") }

// dial sends the INVITE and returns before any answer.
func (c *caller) dial(t *testing.T, to netip.AddrPort, number string, options ...dialOption) *testCall {
	t.Helper()
	rtp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	call := &testCall{t: t, caller: c, rtp: rtp, bye: make(chan struct{}, 4), cseq: 1}
	listening := make(chan struct{})
	go func() { defer close(listening); call.listen() }()
	t.Cleanup(func() { rtp.Close(); <-listening })
	call.send(to, number, fmt.Sprintf("call-%s-%d", number, time.Now().UnixNano()), rtp.LocalAddr().(*net.UDPAddr).Port, options...)
	return call
}

func (call *testCall) send(to netip.AddrPort, number, id string, port int, options ...dialOption) {
	c := call.caller
	inv := sip.NewRequest(sip.INVITE, sip.Uri{Scheme: "sip", User: number, Host: to.Addr().String(), Port: int(to.Port())})
	callID := sip.CallIDHeader(id)
	from := &sip.FromHeader{Address: sip.Uri{Scheme: "sip", User: "+15550001111", Host: "127.0.0.1"}}
	from.Params.Add("tag", sip.GenerateTagN(10))
	inv.AppendHeader(&callID)
	inv.AppendHeader(from)
	inv.AppendHeader(sip.NewHeader("Contact", fmt.Sprintf("<sip:caller@%s>", c.addr)))
	inv.AppendHeader(sip.NewHeader("X-Attempt", "attempt-7"))
	inv.AppendHeader(sip.NewHeader("Content-Type", "application/sdp"))
	inv.SetBody([]byte(fmt.Sprintf("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio %d RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n", port)))
	for _, o := range options {
		o(inv)
	}
	c.mu.Lock()
	c.byes[id] = call.bye
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	call.cancel = cancel
	call.t.Cleanup(cancel)
	tx, err := c.client.TransactionRequest(ctx, inv)
	if err != nil {
		call.t.Errorf("INVITE: %v", err)
		return
	}
	call.invite, call.tx = inv, tx
}

// response is the next one that is not 100.
func (call *testCall) response() *sip.Response {
	call.t.Helper()
	for {
		select {
		case res := <-call.tx.Responses():
			if res.StatusCode != 100 {
				if far, err := parseSession(res.Body()); err == nil {
					call.far = far
				}
				return res
			}
		case <-call.tx.Done():
			call.t.Fatalf("transaction ended: %v", call.tx.Err())
		case <-time.After(20 * time.Second):
			call.t.Fatal("no response")
		}
	}
}

func (call *testCall) want(status int) *sip.Response {
	call.t.Helper()
	res := call.response()
	if res.StatusCode != status {
		call.t.Fatalf("got %d %s, want %d", res.StatusCode, res.Reason, status)
	}
	return res
}

// answered takes the responses up to the 200 and acknowledges it.
func (call *testCall) answered() *sip.Response {
	call.t.Helper()
	for {
		if res := call.response(); res.StatusCode >= 200 {
			if res.StatusCode != 200 {
				call.t.Fatalf("got %d %s, want 200", res.StatusCode, res.Reason)
			}
			call.ack(res, nil)
			return res
		}
	}
}

func (call *testCall) inDialog(method sip.RequestMethod, res *sip.Response) *sip.Request {
	req := sip.NewRequest(method, res.Contact().Address)
	req.AppendHeader(sip.HeaderClone(call.invite.From()))
	req.AppendHeader(sip.HeaderClone(res.To()))
	req.AppendHeader(sip.HeaderClone(call.invite.CallID()))
	seq := call.invite.CSeq().SeqNo
	if method != sip.ACK {
		seq += call.cseq
		call.cseq++
	}
	req.AppendHeader(&sip.CSeqHeader{SeqNo: seq, MethodName: method})
	return req
}

func (call *testCall) ack(res *sip.Response, body []byte) {
	call.t.Helper()
	ack := call.inDialog(sip.ACK, res)
	ack.SetBody(body)
	if err := call.caller.client.WriteRequest(ack); err != nil {
		call.t.Fatalf("ACK: %v", err)
	}
}

func (call *testCall) do(method sip.RequestMethod, res *sip.Response, body []byte) *sip.Response {
	call.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req := call.inDialog(method, res)
	req.AppendHeader(sip.NewHeader("Contact", fmt.Sprintf("<sip:caller@%s>", call.caller.addr)))
	if body != nil {
		req.AppendHeader(sip.NewHeader("Content-Type", "application/sdp"))
		req.SetBody(body)
	}
	out, err := call.caller.client.Do(ctx, req)
	if err != nil {
		call.t.Fatalf("%s: %v", method, err)
	}
	return out
}

func (call *testCall) sendCancel() {
	call.t.Helper()
	req := sip.NewRequest(sip.CANCEL, call.invite.Recipient)
	for _, name := range []string{"Via", "From", "To", "Call-ID"} {
		sip.CopyHeaders(name, call.invite, req)
	}
	req.AppendHeader(&sip.CSeqHeader{SeqNo: call.invite.CSeq().SeqNo, MethodName: sip.CANCEL})
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	tx, err := call.caller.client.TransactionRequest(ctx, req, func(*sipgo.Client, *sip.Request) error { return nil })
	if err != nil {
		call.t.Fatalf("CANCEL: %v", err)
	}
	defer tx.Terminate()
	select {
	case res := <-tx.Responses():
		if res.StatusCode != 200 {
			call.t.Errorf("CANCEL got %d", res.StatusCode)
		}
	case <-ctx.Done():
		call.t.Error("CANCEL got no response")
	}
}

func (call *testCall) waitBye(d time.Duration) {
	call.t.Helper()
	select {
	case <-call.bye:
	case <-time.After(d):
		call.t.Fatalf("the far side did not hang up within %v", d)
	}
}

func (call *testCall) listen() {
	buf := make([]byte, 1500)
	for {
		n, _, err := call.rtp.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		pt, stamp, payload, ok := splitRTP(buf[:n])
		call.mu.Lock()
		switch {
		case !ok:
		case pt == 101:
			if stamp != call.last || len(call.keys) == 0 {
				call.keys = append(call.keys, payload[0])
			}
			call.last = stamp
		case pt == 0:
			call.heard = ulaw.decode(call.heard, payload)
		case pt == 8:
			call.heard = alaw.decode(call.heard, payload)
		}
		call.mu.Unlock()
	}
}

// audio takes what has been heard since the last time.
func (call *testCall) audio() []int16 {
	call.mu.Lock()
	defer call.mu.Unlock()
	out := call.heard
	call.heard = nil
	return out
}

func (call *testCall) pressed() []byte {
	call.mu.Lock()
	defer call.mu.Unlock()
	return append([]byte(nil), call.keys...)
}

// speak sends audio at its pace until done or stopped; it is its own goroutine.
func (call *testCall) speak(ctx context.Context, samples []int16) {
	seq, stamp := uint16(1), uint32(1000)
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for ; len(samples) >= frameSamples; samples = samples[frameSamples:] {
		packet := []byte{0x80, call.far.pt, byte(seq >> 8), byte(seq), byte(stamp >> 24), byte(stamp >> 16), byte(stamp >> 8), byte(stamp), 9, 9, 9, 9}
		_, _ = call.rtp.WriteToUDPAddrPort(call.far.law.encode(packet, samples[:frameSamples]), call.far.far)
		seq, stamp = seq+1, stamp+frameSamples
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// A watched carrier delivers its events to a channel.
type watched struct {
	*Carrier
	t      *testing.T
	events chan watchedEvent
}

type watchedEvent struct {
	event Event
	call  CallRecord
}

func newWatched(t *testing.T, cfg CarrierConfig) *watched {
	t.Helper()
	w := &watched{t: t, events: make(chan watchedEvent, 4096)}
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	cfg.OnEvent = func(e Event, r CallRecord) { w.events <- watchedEvent{e, r} }
	c, err := NewCarrier(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.Carrier = c
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("carrier: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("the carrier did not stop")
		}
	})
	return w
}

// until waits for an event.
func (w *watched) until(e Event) CallRecord {
	w.t.Helper()
	timeout := time.After(30 * time.Second)
	for {
		select {
		case got := <-w.events:
			if got.event == e {
				return got.call
			}
		case <-timeout:
			w.t.Fatalf("no event %q", e)
		}
	}
}

// always is a script of one behaviour.
func always(b Behaviour) func(string, int) (Behaviour, bool) {
	return func(string, int) (Behaviour, bool) { return b, true }
}
