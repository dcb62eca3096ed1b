package siptrunk

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"dialer/telephony"
)

// testRing is how long a test call may ring. Ringing, trying peers and talking
// stay within the minute that a request over HTTP may take.
const testRing = 15 * time.Second

// testTurn is how long a test call waits for its trunk's turn: a trunk of a call
// in five seconds has its first after that time.
const testTurn = 6 * time.Second

var _ telephony.TrunkTester = (*Endpoint)(nil)

// A trial is a test call under way.
type trial struct {
	begun time.Time

	mu       sync.Mutex
	report   telephony.TestReport
	lost     string // the connection that was lost during the call
	deserted bool   // CANCEL was not answered
	unsigned error  // why a challenge was not answered
}

// step tells what happened. All of a trial's methods may be called with a nil
// one: most calls are no test.
func (t *trial) step(format string, args ...any) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.report.Steps = append(t.report.Steps, telephony.TestStep{
		AfterMS: time.Since(t.begun).Milliseconds(), What: fmt.Sprintf(format, args...),
	})
}

// disconnected tells that a call's connection is gone.
func (t *trial) disconnected(at target) {
	if t == nil {
		return
	}
	t.step("%s connection to %s lost", upper(at.transport), at.addr)
	t.mu.Lock()
	t.lost = at.String()
	t.mu.Unlock()
}

// unanswered tells that CANCEL was not answered.
func (t *trial) unanswered() {
	if t == nil {
		return
	}
	t.mu.Lock()
	t.deserted = true
	t.mu.Unlock()
}

// challenged tells of a 401 or 407, and why it is not answered.
func (t *trial) challenged(status int, err error) {
	switch {
	case t == nil:
	case err == nil:
		t.step("%d: the peer asks for the password; sent", status)
	default:
		t.step("%d: the peer asks for the password; not sent: %s", status, err)
		t.mu.Lock()
		t.unsigned = err
		t.mu.Unlock()
	}
}

// TestCall places a call over one trunk and tells what happened.
func (e *Endpoint) TestCall(ctx context.Context, call telephony.TestCall) telephony.TestReport {
	t := &trial{begun: time.Now()}
	t.report.Call, t.report.Steps = call.Call, []telephony.TestStep{}
	t.report.Tries, t.report.Targets = []telephony.Try{}, []string{}
	e.testCall(ctx, call, t)
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.report
}

func (e *Endpoint) testCall(ctx context.Context, call telephony.TestCall, t *trial) {
	r := &t.report
	r.Cause = telephony.CauseNotSent
	l, _ := e.line(call.Trunk)
	if l == nil {
		t.step("the trunk is not in use")
		r.Advice = "The dialer has not taken up this trunk yet: try again in a moment, or look at its log."
		return
	}
	cfg := l.settings()
	targets, err := e.targets(ctx, l)
	for _, tg := range targets {
		r.Targets = append(r.Targets, tg.String())
		t.step("%s is at %s over %s: %s", tg.name, tg.addr, tg.transport, l.condition(tg, time.Now()))
	}
	if err != nil {
		t.step("no address: %s", err)
		r.Advice = "Correct the trunk's address, or the DNS server that this machine asks."
		return
	}
	leg, err := e.dial(ctx, t, telephony.Invite{
		Call: call.Call, To: call.To, From: call.From, Trunk: call.Trunk, RingTimeout: testRing,
		OnAdmitted: func() { t.step("a channel was free: calling") },
		OnProgress: func(p telephony.Progress) {
			audio := ""
			if p.Media {
				audio = " with early audio"
			}
			t.step("%d%s", p.Status, audio)
		},
	})
	var failed *telephony.DialError
	switch {
	case err == nil:
		e.testTalk(ctx, call, leg, t)
		r.Advice = adviceOnMedia(cfg, r)
	case errors.As(err, &failed):
		r.Cause, r.Status, r.Tries = failed.Cause, failed.SIPStatus, append(r.Tries, failed.Tries...)
		t.step("not answered: %s", why(failed))
		r.Advice = t.adviceOn(cfg, failed)
	default:
		t.step("%s", err)
	}
}

// testTalk keeps an answered call up for a while and hangs up.
func (e *Endpoint) testTalk(ctx context.Context, call telephony.TestCall, leg telephony.Leg, t *trial) {
	r := &t.report
	info := leg.Info()
	r.Answered, r.Status, r.Tries = true, 200, append(r.Tries, info.Tries...)
	t.step("answered by %s; %s", info.Tries[len(info.Tries)-1].Peer, agreed(info.Media))
	silence := telephony.Clip{Name: "silence", Samples: make([]int16, call.Talk*8000/time.Second)}
	played, err := telephony.Play(ctx, leg, silence)
	if errors.Is(err, telephony.ErrLegEnded) {
		t.step("the far end hung up after %.1f s", played.Seconds())
	} else {
		t.step("hanging up after %.1f s", played.Seconds())
	}
	leg.Hangup(telephony.CauseNormal)
	select {
	case <-leg.Done():
	case <-ctx.Done():
	}
	info = leg.Info()
	m := info.Media
	r.Cause = info.Cause
	r.Media = telephony.TestMedia{
		Codec: m.Codec, Secured: m.Secured, Heard: m.PacketsIn, Sent: m.PacketsOut, Lost: m.Lost,
		JitterMS: float64(m.Jitter.Microseconds()) / 1000, RoundTripMS: float64(m.RoundTrip.Microseconds()) / 1000,
	}
	t.step("heard %d packets of audio and sent %d, %d lost, jitter %.1f ms", m.PacketsIn, m.PacketsOut, m.Lost, r.Media.JitterMS)
}

func agreed(m telephony.MediaStats) string {
	if m.Secured {
		return m.Codec + " over SRTP"
	}
	return m.Codec + ", not encrypted"
}

// condition says how a target is.
func (l *line) condition(t target, now time.Time) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.pulse(t)
	switch why, trial := p.refuses(now); {
	case why != "":
		return why
	case trial:
		return p.why()
	case p.answers:
		return "it answers OPTIONS"
	}
	return "nothing bad is known of it"
}

// adviceOn is one sentence on what to do, by what was seen of the call.
func (t *trial) adviceOn(cfg telephony.Trunk, err *telephony.DialError) string {
	t.mu.Lock()
	lost, deserted, unsigned := t.lost, t.deserted, t.unsigned
	t.mu.Unlock()
	switch {
	case deserted && lost != "":
		return "The peer vanished during the call: the connection to " + lost + " was lost and CANCEL was not answered. Look at the peer and the network on the way; the number may still ring."
	case deserted:
		return "The peer vanished during the call: it answered the INVITE and then no CANCEL. Look at the peer and the network on the way; the number may still ring."
	case lost != "" && err.SIPStatus == 0 && err.Cause == telephony.CauseUnreachable:
		return "The peer at " + lost + " closed the connection instead of answering: check the trunk's transport and port, and that the carrier knows this machine's address."
	case unsigned != nil && (err.SIPStatus == 401 || err.SIPStatus == 407) && cfg.Username != "" && !errors.Is(unsigned, errPassword):
		return "The password was not sent: " + unsigned.Error() + ". Correct the trunk's realm, or ask the carrier."
	}
	return adviceOn(cfg, err)
}

// adviceOn is one sentence on what to do about a call that was not answered.
func adviceOn(cfg telephony.Trunk, err *telephony.DialError) string {
	switch status := err.SIPStatus; {
	case err.Cause == telephony.CauseNotSent:
		return "Nothing was sent: " + err.Reason + "."
	case status == 401 || status == 407:
		if cfg.Username == "" {
			return "The carrier asks for a password: give the trunk its username and password."
		}
		return "The carrier refused the password: check the trunk's username, password and realm."
	case status == 403:
		return "The carrier forbids the call: check that it knows this machine's address, the caller ID and the destination."
	case status == 404 || status == 484 || status == 604 || err.Cause == telephony.CauseInvalid:
		return "The carrier does not know the number: check it, and the trunk's prefix and no_plus."
	case status == 488 || status == 606 || status == 415:
		return "The carrier does not take our audio: check the trunk's codecs and srtp."
	case status == 503 || err.Cause == telephony.CauseCongestion:
		return "The carrier has no room or a fault: ask it about the trunk's channels and calls a second."
	case err.Cause == telephony.CauseBusy || err.Cause == telephony.CauseNoAnswer || err.Cause == telephony.CauseRejected:
		return "The trunk works: the call reached the number, which did not take it."
	case status == 0 && err.Cause == telephony.CauseUnreachable && cfg.Transport == telephony.TLS:
		return "No TLS with the peer: check address, port, ca and server_name, and firewalls on the way."
	case status == 0 && err.Cause == telephony.CauseUnreachable:
		return "The peer does not answer: check address, port and transport, firewalls, and that the carrier knows this machine's address."
	case err.Cause == telephony.CauseCancelled:
		return "The test was given up before the call was answered."
	}
	return "Look at the call's SIP (GET /v1/calls/{id}/sip), and show it to the carrier."
}

// adviceOnMedia is one sentence on a call that was answered.
func adviceOnMedia(cfg telephony.Trunk, r *telephony.TestReport) string {
	total := r.Media.Heard + r.Media.Lost
	switch {
	case r.Media.Heard == 0:
		return "Signalling works but no audio came: check that UDP reaches the RTP ports of this machine, and sip.external and the trunk's media_sources."
	case r.Media.Lost*50 > total:
		return "The trunk works, but more than 2 % of the audio was lost on the way: check the network between the carrier and this machine."
	case r.Media.JitterMS > 30:
		return "The trunk works, but its audio comes unevenly: check the network between the carrier and this machine."
	case len(r.Tries) > 1:
		return "The trunk works, over a further peer: the first did not take the call."
	case cfg.SRTP == telephony.SRTPOptional && !r.Media.Secured:
		return "The trunk works; the carrier did not take the SRTP that it was offered."
	}
	return "The trunk works."
}
