package siptest

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
)

// startPhone runs a phone for the length of the test.
func startPhone(t *testing.T, cfg PhoneConfig) *Phone {
	t.Helper()
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	p, err := NewPhone(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Error("the phone did not stop")
		}
	})
	return p
}

func await(t *testing.T, p *Phone, what string, ok func(PhoneState) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := p.Await(ctx, ok); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func TestPhoneAnswersHearsAndSpeaks(t *testing.T) {
	t.Parallel()
	for name, codecs := range map[string]string{"PCMU": "0 101", "PCMA": "8 101"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startPhone(t, PhoneConfig{Extension: "1001", ToneHz: 700})
			call := newCaller(t).dial(t, p.Addr(), "1001", withCodecs(codecs))
			res := call.answered()
			await(t, p, "call up", func(s PhoneState) bool { return s.Talking })
			// Silence, then a tone: the phone tells when it began.
			quiet := make([]int16, 600*8)
			call.speak(context.Background(), quiet)
			began := time.Now()
			call.speak(context.Background(), Tone(1300, time.Second))
			select {
			case h := <-p.Heard():
				if d := h.At.Sub(began); d < -20*time.Millisecond || d > 150*time.Millisecond {
					t.Errorf("heard the tone %v after it began", d)
				}
				if h.Silence < 500*time.Millisecond {
					t.Errorf("after %v of silence, want 600ms", h.Silence)
				}
			case <-time.After(5 * time.Second):
				t.Fatal("the phone heard nothing")
			}
			if got := Power(p.Recent(), 1300); got < 0.8 {
				t.Errorf("the tone has %.2f of what the phone heard", got)
			}
			if got := Power(call.audio(), 700); got < 0.8 {
				t.Errorf("the phone's tone has %.2f of what the caller heard", got)
			}
			if got := call.do(sip.BYE, res, nil).StatusCode; got != 200 {
				t.Errorf("BYE got %d", got)
			}
			await(t, p, "call over", func(s PhoneState) bool { return !s.Talking && s.Calls == 1 && s.MostCalls == 1 })
		})
	}
}

func TestPhoneHangsUpAndTakesTheNextCall(t *testing.T) {
	t.Parallel()
	p := startPhone(t, PhoneConfig{Extension: "1001"})
	from := newCaller(t)
	for n := range 2 {
		call := from.dial(t, p.Addr(), "1001")
		call.answered()
		await(t, p, "call up", func(s PhoneState) bool { return s.Talking && s.Calls == n+1 })
		p.Hangup()
		call.waitBye(5 * time.Second)
		await(t, p, "call over", func(s PhoneState) bool { return !s.Talking })
	}
}

func TestPhoneTurnsASecondCallAway(t *testing.T) {
	t.Parallel()
	p := startPhone(t, PhoneConfig{Extension: "1001"})
	from := newCaller(t)
	first := from.dial(t, p.Addr(), "1001")
	res := first.answered()
	await(t, p, "call up", func(s PhoneState) bool { return s.Talking })
	from.dial(t, p.Addr(), "1001").want(486)
	await(t, p, "refusal", func(s PhoneState) bool { return s.Refused == 1 && s.MostCalls == 2 && s.Talking })
	first.do(sip.BYE, res, nil)
}

func TestPhoneLetsGoOfACallTheDialerForgot(t *testing.T) {
	t.Parallel()
	p := startPhone(t, PhoneConfig{Extension: "1001"})
	from := newCaller(t)
	from.dial(t, p.Addr(), "1001").answered()
	await(t, p, "call up", func(s PhoneState) bool { return s.Talking })
	from.forget()
	next := from.dial(t, p.Addr(), "1001")
	res := next.answered()
	await(t, p, "second call up", func(s PhoneState) bool {
		return s.Talking && s.Calls == 2 && s.MostCalls == 1 && s.Refused == 0
	})
	if got := next.do(sip.BYE, res, nil).StatusCode; got != 200 {
		t.Errorf("BYE got %d", got)
	}
}

func TestPhoneSurvivesHoldAndOddRequests(t *testing.T) {
	t.Parallel()
	p := startPhone(t, PhoneConfig{Extension: "1001", ToneHz: 700})
	call := newCaller(t).dial(t, p.Addr(), "1001")
	res := call.answered()
	await(t, p, "call up", func(s PhoneState) bool { return s.Talking })
	for _, direction := range []string{"sendonly", "sendrecv"} {
		offer := strings.Replace(string(call.invite.Body()), "a=sendrecv", "a="+direction, 1)
		again := call.do(sip.INVITE, res, []byte(offer))
		if again.StatusCode != 200 {
			t.Fatalf("re-INVITE (%s) got %d", direction, again.StatusCode)
		}
		ack := call.inDialog(sip.ACK, again)
		ack.CSeq().SeqNo = again.CSeq().SeqNo
		if err := call.caller.client.WriteRequest(ack); err != nil {
			t.Fatal(err)
		}
	}
	// diago would panic on an INFO without Content-Type.
	if got := call.do(sip.INFO, res, nil).StatusCode; got != 400 {
		t.Errorf("INFO got %d, want 400", got)
	}
	call.audio()
	call.speak(context.Background(), Tone(1300, time.Second))
	if got := Power(p.Recent(), 1300); got < 0.8 {
		t.Errorf("after the hold the tone has %.2f of what the phone hears", got)
	}
	if got := Power(call.audio(), 700); got < 0.8 {
		t.Errorf("after the hold the phone's tone has %.2f of what the caller hears", got)
	}
	if got := call.do(sip.BYE, res, nil).StatusCode; got != 200 {
		t.Errorf("BYE got %d", got)
	}
}

// A registrar of the test: digest, short registrations, silent at first.
type registrar struct {
	addr  string
	mu    sync.Mutex
	bound map[string]string
	count int
	quiet int // requests to leave unanswered
}

func newRegistrar(t *testing.T, expires int, quiet int) *registrar {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	ua, err := sipgo.NewUA()
	if err != nil {
		t.Fatal(err)
	}
	server, err := sipgo.NewServer(ua, sipgo.WithServerLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	r := &registrar{addr: conn.LocalAddr().String(), bound: map[string]string{}, quiet: quiet}
	server.OnRegister(func(req *sip.Request, tx sip.ServerTransaction) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.quiet > 0 {
			r.quiet--
			return
		}
		user := req.To().Address.User
		auth := newAuthenticator(user, "pass-"+user, "phones", 401)
		auth.key = []byte("the same for every request of this test")
		if challenge := auth.check(req, time.Now()); challenge != nil {
			res := sip.NewResponseFromRequest(req, 401, "Unauthorized", nil)
			res.AppendHeader(challenge)
			_ = tx.Respond(res)
			return
		}
		r.count++
		contact := req.Contact().Value()
		res := sip.NewResponseFromRequest(req, 200, "OK", nil)
		if req.GetHeader("Expires").Value() == "0" {
			delete(r.bound, user)
		} else {
			r.bound[user] = contact
			res.AppendHeader(sip.NewHeader("Contact", contact+";expires="+strconv.Itoa(expires)))
		}
		_ = tx.Respond(res)
	})
	served := make(chan struct{})
	go func() { defer close(served); _ = server.ServeUDP(conn) }()
	t.Cleanup(func() { ua.Close(); conn.Close(); <-served })
	return r
}

func (r *registrar) state() (bound map[string]string, count int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]string{}
	for k, v := range r.bound {
		out[k] = v
	}
	return out, r.count
}

func TestPhoneRegistersRefreshesAndUnregisters(t *testing.T) {
	t.Parallel()
	r := newRegistrar(t, 1, 0)
	p, err := NewPhone(PhoneConfig{Registrar: r.addr, Extension: "1001", Password: "pass-1001", Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	await(t, p, "registration", func(s PhoneState) bool { return s.Registered })
	bound, _ := r.state()
	if want := "<" + p.URI() + ">"; bound["1001"] != want {
		t.Errorf("bound to %q, want %q", bound["1001"], want)
	}
	deadline := time.After(5 * time.Second)
	for count := 0; count < 3; _, count = r.state() {
		select {
		case <-deadline:
			t.Fatalf("registered %d times, want a refresh each half second", count)
		case <-time.After(50 * time.Millisecond):
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if bound, _ := r.state(); len(bound) != 0 {
		t.Errorf("still bound: %v", bound)
	}
}

func TestPhoneOutlivesABadRegistrar(t *testing.T) {
	t.Parallel()
	r := newRegistrar(t, 60, 0)
	wrong := startPhone(t, PhoneConfig{Registrar: r.addr, Extension: "1002", Password: "wrong"})
	await(t, wrong, "refusals", func(s PhoneState) bool { return s.RegistrationErrors >= 2 && !s.Registered })

	// Nobody listens there at first; sipgo repeats the REGISTER.
	silent := newRegistrar(t, 60, 2)
	late := startPhone(t, PhoneConfig{Registrar: silent.addr, Extension: "1003", Password: "pass-1003"})
	await(t, late, "registration in the end", func(s PhoneState) bool { return s.Registered })
}

func TestFiftyPhonesInOneProcess(t *testing.T) {
	const phones = 50
	r := newRegistrar(t, 600, 0)
	from := newCaller(t)
	var over sync.WaitGroup
	for i := range phones {
		ext := strconv.Itoa(2000 + i)
		p := startPhone(t, PhoneConfig{Registrar: r.addr, Extension: ext, Password: "pass-" + ext, ToneHz: float64(400 + 20*i)})
		over.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
			defer cancel()
			if err := p.Await(ctx, func(s PhoneState) bool { return s.Registered }); err != nil {
				t.Error(err)
				return
			}
			rtp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			if err != nil {
				t.Error(err)
				return
			}
			call := &testCall{t: t, caller: from, rtp: rtp, bye: make(chan struct{}, 1), cseq: 1}
			listening := make(chan struct{})
			go func() { defer close(listening); call.listen() }()
			defer func() { rtp.Close(); <-listening }()
			call.send(p.Addr(), ext, fmt.Sprintf("phone-%d", i), rtp.LocalAddr().(*net.UDPAddr).Port)
			if call.tx == nil {
				return
			}
			var res *sip.Response
			for res == nil || res.StatusCode < 200 {
				select {
				case res = <-call.tx.Responses():
				case <-call.tx.Done():
					t.Errorf("phone %s: %v", ext, call.tx.Err())
					return
				}
			}
			call.far, _ = parseSession(res.Body())
			call.ack(res, nil)
			call.speak(ctx, Tone(1500, time.Second))
			if got := Power(call.audio(), float64(400+20*i)); got < 0.5 {
				t.Errorf("phone %s: its tone has %.2f of what is heard", ext, got)
			}
			if got := Power(p.Recent(), 1500); got < 0.5 {
				t.Errorf("phone %s heard %.2f of the tone", ext, got)
			}
			call.do(sip.BYE, res, nil)
		})
	}
	over.Wait()
}
