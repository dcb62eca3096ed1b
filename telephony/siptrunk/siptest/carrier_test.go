package siptest

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
)

const number = "+15557654321"

func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		kind   Kind
		status int
		q850   int
		rings  bool
	}{
		{Busy, 486, 17, false},
		{Invalid, 404, 1, false},
		{Congestion, 503, 34, false},
		{Rejected, 603, 21, true},
		{NoAnswer, 480, 19, true},
	} {
		t.Run(string(tt.kind), func(t *testing.T) {
			t.Parallel()
			c := newWatched(t, CarrierConfig{Speed: 100, Population: &Population{Groups: []Group{{Kind: tt.kind, Share: 1}}}})
			call := newCaller(t).dial(t, c.Addr(), number)
			if tt.rings {
				call.want(180)
			}
			res := call.want(tt.status)
			if want := fmt.Sprintf("Q.850;cause=%d", tt.q850); res.GetHeader("Reason") == nil || res.GetHeader("Reason").Value() != want {
				t.Errorf("Reason = %v, want %s", res.GetHeader("Reason"), want)
			}
			got := c.until(Ended)
			if got.To != number || got.From != "+15550001111" || got.Kind != tt.kind || got.Status != tt.status ||
				got.Headers["X-Attempt"] != "attempt-7" || got.RingingAt.IsZero() == tt.rings || !got.AnsweredAt.IsZero() {
				t.Errorf("ledger has %+v", got)
			}
			if c.Open() != 0 {
				t.Errorf("%d calls open", c.Open())
			}
		})
	}
}

func TestPersonSaysHelloAndHangsUpOnSilence(t *testing.T) {
	t.Parallel()
	c := newWatched(t, CarrierConfig{Script: always(Behaviour{
		Kind: Human, PostDial: 50 * time.Millisecond, Ring: 300 * time.Millisecond, Audio: "hello-1",
		SpeakAfter: 300 * time.Millisecond, Patience: 700 * time.Millisecond,
	})})
	call := newCaller(t).dial(t, c.Addr(), number)
	call.want(180)
	call.answered()
	call.waitBye(5 * time.Second)
	got := c.until(Ended)
	if d := got.AnsweredAt.Sub(got.RingingAt); d < 295*time.Millisecond || d > 800*time.Millisecond {
		t.Errorf("rang for %v, want 300ms", d)
	}
	if got.EndedBy != "callee" || got.AckedAt.IsZero() || !got.HeardAt.IsZero() {
		t.Errorf("ledger has %+v", got)
	}
	if d := got.GreetingAt.Sub(got.AnsweredAt); d < 290*time.Millisecond || d > 600*time.Millisecond {
		t.Errorf("said hello after %v, want 300ms", d)
	}
	// Silence until the greeting, then about half a second of voice.
	heard := call.audio()
	at, voiced := -1, 0
	for i := 0; i+frameSamples <= len(heard); i += frameSamples {
		if rms(heard[i:i+frameSamples]) > loud {
			voiced++
			if at < 0 {
				at = i / 8
			}
		}
	}
	if at < 200 || at > 600 || voiced < 12 || voiced > 35 {
		t.Errorf("hello began at %d ms of audio and had %d loud frames", at, voiced)
	}
}

func TestPersonTalksWithAnAgent(t *testing.T) {
	t.Parallel()
	for _, hangsUp := range []bool{true, false} {
		t.Run(fmt.Sprintf("hangs up %v", hangsUp), func(t *testing.T) {
			t.Parallel()
			c := newWatched(t, CarrierConfig{Script: always(Behaviour{
				Kind: Human, Audio: "hello-2", Voice: "person-1", SpeakAfter: 50 * time.Millisecond,
				Patience: 5 * time.Second, Talk: 2 * time.Second, HangsUp: hangsUp,
			})})
			call := newCaller(t).dial(t, c.Addr(), number, withCodecs("8 101"))
			res := call.answered()
			var speaking sync.WaitGroup
			defer speaking.Wait()
			ctx, stop := context.WithCancel(context.Background())
			defer stop()
			began := time.Now()
			speaking.Go(func() { call.speak(ctx, clipSamples("agent-1")) })
			heard := c.until(Heard)
			if d := heard.HeardAt.Sub(began); d < 0 || d > 200*time.Millisecond {
				t.Errorf("heard the agent %v after its first word", d)
			}
			if hangsUp {
				call.waitBye(6 * time.Second)
			} else {
				<-time.After(time.Until(began.Add(2500 * time.Millisecond)))
				if got := call.do(sip.BYE, res, nil).StatusCode; got != 200 {
					t.Errorf("BYE got %d", got)
				}
			}
			got := c.until(Ended)
			want := map[bool]string{true: "callee", false: "caller"}[hangsUp]
			if got.EndedBy != want || !got.MessageAt.IsZero() {
				t.Errorf("ended by %q, message at %v; want %q and none", got.EndedBy, got.MessageAt, want)
			}
			if d := got.EndedAt.Sub(got.HeardAt); d < 1900*time.Millisecond || d > 4*time.Second {
				t.Errorf("talked for %v, want about 2s", d)
			}
			if got.PacketsIn < 80 || got.PacketsOut < 80 || rms(call.audio()) < loud {
				t.Errorf("packets in %d, out %d", got.PacketsIn, got.PacketsOut)
			}
		})
	}
}

func TestPersonPressesNineOnTheMessage(t *testing.T) {
	t.Parallel()
	for name, given := range map[string]string{"built-in message": "", "given message": "announcement-2"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := CarrierConfig{Script: always(Behaviour{
				Kind: Human, Audio: "hello-4", SpeakAfter: 50 * time.Millisecond, Patience: 5 * time.Second,
				Talk: time.Minute, Press: "9",
			})}
			message := clipSamples("abandoned")
			if given != "" {
				message = clipSamples(given)
				cfg.Message = message
			}
			c := newWatched(t, cfg)
			call := newCaller(t).dial(t, c.Addr(), number)
			call.answered()
			call.speak(context.Background(), message[:min(len(message), 3500*8)])
			call.waitBye(10 * time.Second)
			got := c.until(Ended)
			if got.MessageAt.IsZero() || got.Pressed != "9" || got.EndedBy != "callee" {
				t.Errorf("ledger has %+v", got)
			}
			if keys := call.pressed(); !slices.Equal(keys, []byte{9}) {
				t.Errorf("got key events %v, want one 9", keys)
			}
		})
	}
}

func TestMessageTooShortToKnow(t *testing.T) {
	_, err := NewCarrier(CarrierConfig{Listen: "127.0.0.1:0", Message: make([]int16, 80_000)})
	if err == nil || !strings.Contains(err.Error(), "1.2s of speech") {
		t.Errorf("a silent message: %v", err)
	}
}

func TestMachineGreetsBeepsAndRecords(t *testing.T) {
	t.Parallel()
	c := newWatched(t, CarrierConfig{Script: always(Behaviour{
		Kind: Machine, Audio: "hello-5", SpeakAfter: 100 * time.Millisecond,
		BeepHz: 1000, BeepLength: 400 * time.Millisecond, Talk: 300 * time.Millisecond,
	})})
	call := newCaller(t).dial(t, c.Addr(), number)
	call.answered()
	call.waitBye(10 * time.Second)
	got := c.until(Ended)
	if d := got.GreetingEndAt.Sub(got.GreetingAt); d < 1450*time.Millisecond || d > 2*time.Second {
		t.Errorf("greeted for %v", d)
	}
	heard := call.audio()
	if n := frames(heard, 1000); n < 16 || n > 24 {
		t.Errorf("the beep has %d frames, want 20", n)
	}
	if got.BeepEndAt.IsZero() || got.EndedBy != "callee" {
		t.Errorf("ledger has %+v", got)
	}
}

func TestFaxAndAnnouncement(t *testing.T) {
	t.Parallel()
	t.Run("fax", func(t *testing.T) {
		t.Parallel()
		c := newWatched(t, CarrierConfig{Script: always(Behaviour{Kind: Fax, Talk: 100 * time.Millisecond})})
		call := newCaller(t).dial(t, c.Addr(), number)
		call.answered()
		call.waitBye(10 * time.Second)
		if n := frames(call.audio(), 2100); n < 140 || n > 152 {
			t.Errorf("the called tone has %d frames, want 150", n)
		}
	})
	t.Run("announcement then 404", func(t *testing.T) {
		t.Parallel()
		c := newWatched(t, CarrierConfig{Script: always(Behaviour{Kind: Announcement, Audio: "hello-1"})})
		call := newCaller(t).dial(t, c.Addr(), number)
		call.want(183)
		call.want(404)
		heard := call.audio()
		for _, hz := range []float64{950, 1400, 1800} {
			if n := frames(heard, hz); n < 13 || n > 20 {
				t.Errorf("%v Hz has %d frames, want 16", hz, n)
			}
		}
		if len(heard) < 1800*8 {
			t.Errorf("early media lasted %v", length(heard))
		}
		if got := c.until(Ended); !got.AnsweredAt.IsZero() || got.Status != 404 {
			t.Errorf("ledger has %+v", got)
		}
	})
	t.Run("announcement after the answer", func(t *testing.T) {
		t.Parallel()
		c := newWatched(t, CarrierConfig{Script: always(Behaviour{Kind: Announcement, Status: 200, Ring: 50 * time.Millisecond, Audio: "hello-1"})})
		call := newCaller(t).dial(t, c.Addr(), number)
		call.want(180)
		call.answered()
		call.waitBye(10 * time.Second)
		if n := frames(call.audio(), 950); n < 13 {
			t.Errorf("950 Hz has %d frames, want 16", n)
		}
	})
}

// frames counts the 20 ms frames that are a tone.
func frames(heard []int16, hz float64) int {
	n := 0
	for i := 0; i+frameSamples <= len(heard); i += frameSamples {
		if Power(heard[i:i+frameSamples], hz) > 0.8 {
			n++
		}
	}
	return n
}

func TestEarlyMediaIsRingback(t *testing.T) {
	t.Parallel()
	c := newWatched(t, CarrierConfig{Script: always(Behaviour{
		Kind: HangUp, EarlyMedia: true, Ring: time.Second, Talk: 200 * time.Millisecond,
	})})
	call := newCaller(t).dial(t, c.Addr(), number)
	early := call.want(183)
	res := call.answered()
	heard := call.audio()
	if a, b := Power(heard, 440), Power(heard, 480); a < 0.3 || b < 0.3 {
		t.Errorf("ringback has %.2f at 440 Hz and %.2f at 480 Hz", a, b)
	}
	if string(early.Body()) != string(res.Body()) {
		t.Errorf("the answer's SDP differs from the early one:\n%s\n%s", early.Body(), res.Body())
	}
	call.waitBye(3 * time.Second)
	if got := c.until(Ended); got.EndedBy != "callee" || got.Kind != HangUp {
		t.Errorf("ledger has %+v", got)
	}
}

func TestCancelIs487(t *testing.T) {
	t.Parallel()
	for _, early := range []bool{false, true} {
		c := newWatched(t, CarrierConfig{Script: always(Behaviour{Kind: NoAnswer, EarlyMedia: early, Ring: time.Minute})})
		call := newCaller(t).dial(t, c.Addr(), number)
		call.response()
		call.sendCancel()
		call.want(487)
		got := c.until(Ended)
		if got.CancelledAt.IsZero() || got.EndedBy != "caller" || got.Status != 487 || got.LateAnswer {
			t.Errorf("ledger has %+v", got)
		}
		if n := c.Counts(); n.Cancelled != 1 || n.Open() != 0 {
			t.Errorf("counts %+v", n)
		}
	}
}

func TestLateAnswerAfterCancelIsOpenUntilBye(t *testing.T) {
	t.Parallel()
	c := newWatched(t, CarrierConfig{Script: always(Behaviour{
		Kind: NoAnswer, Ring: time.Minute, LateAnswer: true, Patience: time.Minute,
	})})
	call := newCaller(t).dial(t, c.Addr(), number)
	call.want(180)
	call.sendCancel()
	res := call.want(200)
	if c.Open() != 1 {
		t.Errorf("%d calls open, want the ghost", c.Open())
	}
	call.ack(res, nil)
	call.do(sip.BYE, res, nil)
	if got := c.until(Ended); !got.LateAnswer || got.CancelledAt.IsZero() || got.AnsweredAt.IsZero() || got.EndedBy != "caller" {
		t.Errorf("ledger has %+v", got)
	}
	if n := c.Counts(); n.LateAnswers != 1 || n.Open() != 0 {
		t.Errorf("counts %+v", n)
	}
}

func TestFaultsOnTheWire(t *testing.T) {
	t.Parallel()
	t.Run("slow responses", func(t *testing.T) {
		t.Parallel()
		c := newWatched(t, CarrierConfig{Script: always(Behaviour{Kind: Busy, ResponseDelay: 700 * time.Millisecond, Retransmit: true})})
		began := time.Now()
		call := newCaller(t).dial(t, c.Addr(), number)
		call.want(486)
		if d := time.Since(began); d < 650*time.Millisecond {
			t.Errorf("486 after %v, want 700ms", d)
		}
		if n := len(c.Calls()); n != 1 {
			t.Errorf("the repeated INVITE made %d calls", n)
		}
	})
	t.Run("loss", func(t *testing.T) {
		t.Parallel()
		c := newWatched(t, CarrierConfig{Script: always(Behaviour{Kind: HangUp, Talk: 1200 * time.Millisecond, Loss: 0.5})})
		call := newCaller(t).dial(t, c.Addr(), number)
		call.answered()
		call.waitBye(5 * time.Second)
		if d := length(call.audio()); d < 350*time.Millisecond || d > 850*time.Millisecond {
			t.Errorf("got %v of audio of 1.2 s, want half", d)
		}
	})
	t.Run("no media", func(t *testing.T) {
		t.Parallel()
		c := newWatched(t, CarrierConfig{Script: always(Behaviour{Kind: HangUp, Talk: 300 * time.Millisecond, NoMedia: true})})
		call := newCaller(t).dial(t, c.Addr(), number)
		call.answered()
		call.waitBye(5 * time.Second)
		if n := len(call.audio()); n != 0 {
			t.Errorf("got %d samples", n)
		}
	})
	t.Run("BYE is not answered", func(t *testing.T) {
		t.Parallel()
		c := newWatched(t, CarrierConfig{Script: always(Behaviour{Kind: Human, Patience: time.Minute, NoByeAnswer: true})})
		call := newCaller(t).dial(t, c.Addr(), number)
		res := call.answered()
		ctx, cancel := context.WithTimeout(context.Background(), 700*time.Millisecond)
		defer cancel()
		if res, err := call.caller.client.Do(ctx, call.inDialog(sip.BYE, res)); err == nil {
			t.Errorf("BYE got %d", res.StatusCode)
		}
		if got := c.until(Ended); got.EndedBy != "caller" {
			t.Errorf("ledger has %+v", got)
		}
	})
}

func TestOffersAndReInvite(t *testing.T) {
	t.Parallel()
	human := always(Behaviour{Kind: Human, Ring: 50 * time.Millisecond, Patience: time.Minute, Audio: "hello-1"})
	t.Run("codec is refused", func(t *testing.T) {
		t.Parallel()
		c := newWatched(t, CarrierConfig{Script: human})
		call := newCaller(t).dial(t, c.Addr(), number, withCodecs("9"))
		call.want(180)
		call.want(488)
		if got := c.until(Ended); got.Status != 488 || got.EndedBy != "network" {
			t.Errorf("ledger has %+v", got)
		}
	})
	t.Run("late offer", func(t *testing.T) {
		t.Parallel()
		c := newWatched(t, CarrierConfig{Script: human})
		call := newCaller(t).dial(t, c.Addr(), number, withoutSDP)
		call.want(180)
		res := call.want(200)
		port := call.rtp.LocalAddr().(*net.UDPAddr).Port
		call.ack(res, fmt.Appendf(nil, "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio %d RTP/AVP 8\r\n", port))
		deadline := time.After(5 * time.Second)
		for heard := []int16{}; rms(heard) < loud; heard = call.audio() {
			select {
			case <-deadline:
				t.Fatal("no audio")
			case <-time.After(100 * time.Millisecond):
			}
		}
		call.do(sip.BYE, res, nil)
	})
	t.Run("hold stops the audio", func(t *testing.T) {
		t.Parallel()
		c := newWatched(t, CarrierConfig{Script: human})
		call := newCaller(t).dial(t, c.Addr(), number)
		res := call.answered()
		offer := strings.Replace(string(call.invite.Body()), "a=sendrecv", "a=sendonly", 1)
		held := call.do(sip.INVITE, res, []byte(offer))
		if held.StatusCode != 200 || !strings.Contains(string(held.Body()), "a=recvonly") {
			t.Fatalf("re-INVITE got %d\n%s", held.StatusCode, held.Body())
		}
		call.audio()
		<-time.After(200 * time.Millisecond)
		if n := len(call.audio()); n > frameSamples {
			t.Errorf("got %d samples on hold", n)
		}
		call.do(sip.BYE, res, nil)
	})
}

func TestDigestAndAddressAuthentication(t *testing.T) {
	t.Parallel()
	for _, challenge := range []int{401, 407} {
		c := newWatched(t, CarrierConfig{User: "trunk", Password: "s3cret", Challenge: challenge, Script: always(Behaviour{Kind: Busy})})
		for password, want := range map[string]int{"s3cret": 486, "wrong": challenge} {
			call := newCaller(t).dial(t, c.Addr(), number)
			res := call.want(challenge)
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			got, err := call.caller.client.DoDigestAuth(ctx, call.invite, res, sipgo.DigestAuth{Username: "trunk", Password: password})
			cancel()
			if err != nil || got.StatusCode != want {
				t.Errorf("challenge %d, password %q: got %v, %v; want %d", challenge, password, got, err, want)
			}
		}
		if n := len(c.Calls()); n != 1 {
			t.Errorf("%d calls in the ledger, want the authenticated one", n)
		}
	}
	c := newWatched(t, CarrierConfig{Allow: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
	newCaller(t).dial(t, c.Addr(), number).want(403)
}

func TestStoppingEndsTheCalls(t *testing.T) {
	t.Parallel()
	for _, answered := range []bool{true, false} {
		kind := map[bool]Kind{true: Human, false: NoAnswer}[answered]
		c, err := NewCarrier(CarrierConfig{Listen: "127.0.0.1:0", Script: always(Behaviour{Kind: kind, Ring: 200 * time.Millisecond, Patience: time.Minute})})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		defer stop()
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		call := newCaller(t).dial(t, c.Addr(), number)
		call.want(180)
		if answered {
			call.answered()
		}
		limit, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		if err := c.Await(limit, func(n Counts) bool { return n.Open() == 1 && n.Answered == 1 == answered }); err != nil {
			t.Fatal(err)
		}
		stop()
		if answered {
			call.waitBye(5 * time.Second)
		} else {
			call.response() // 503, or the 480 when it stopped ringing first
		}
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("Run did not return")
		}
		if got := c.Calls()[0]; got.Open() || answered && got.EndedBy != "network" {
			t.Errorf("ledger has %+v", got)
		}
	}
}

func TestLedgerFileHoldsTheTruth(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger.jsonl")
	c := newWatched(t, CarrierConfig{Ledger: path, Script: always(Behaviour{Kind: HangUp, Talk: 50 * time.Millisecond})})
	call := newCaller(t).dial(t, c.Addr(), number)
	call.answered()
	call.waitBye(5 * time.Second)
	c.until(Ended)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var events []Event
	for line := range strings.Lines(string(data)) {
		var row struct {
			Event Event `json:"event"`
			CallRecord
		}
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if row.CallID != call.invite.CallID().Value() {
			t.Errorf("Call-ID %q", row.CallID)
		}
		events = append(events, row.Event)
	}
	if want := []Event{Arrived, Answered, Ended}; !slices.Equal(events, want) {
		t.Errorf("events %v, want %v", events, want)
	}
}
