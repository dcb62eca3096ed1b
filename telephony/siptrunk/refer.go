package siptrunk

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"dialer"
	"dialer/telephony"
)

// referWait is how long a transfer may take, from its acceptance to the far
// end's word on what came of it.
const referWait = 60 * time.Second

// A transfer is a REFER of ours until it is decided.
type transfer struct {
	decided chan struct{}
	once    sync.Once
	status  int    // the last that was reported
	reason  string // its words
	lost    bool   // the reports ended without a final one
}

func (t *transfer) decide() { t.once.Do(func() { close(t.decided) }) }

// Refer sends the far end to another number or SIP address (RFC 3515). It
// returns nil when it is there, and the leg is over; an *dialer.Error when it
// was refused or failed, with the leg as it was.
func (l *Leg) Refer(ctx context.Context, to string) error {
	target, err := l.referTo(to)
	if err != nil {
		return err
	}
	t := &transfer{decided: make(chan struct{})}
	l.mu.Lock()
	busy := l.transfer != nil
	if !busy {
		l.transfer = t
	}
	l.mu.Unlock()
	if busy {
		return dialer.Errorf(dialer.Conflict, "a transfer of this call is under way")
	}
	defer func() {
		l.mu.Lock()
		l.transfer = nil
		l.mu.Unlock()
	}()

	req := l.d.build(sip.REFER, 0)
	req.AppendHeader(sip.NewHeader("Refer-To", "<"+target+">"))
	req.AppendHeader(sip.NewHeader("Referred-By", "<"+l.d.local.Address.String()+">"))
	res, err := l.request(ctx, req)
	if err != nil {
		return fmt.Errorf("refer: %w", err)
	}
	if !res.IsSuccess() {
		return dialer.Errorf(dialer.Unavailable, "the far end refused the transfer with %d %s", res.StatusCode, plain(res.Reason, 64))
	}
	if strings.EqualFold(strings.TrimSpace(headerValues(res, "refer-sub")), "false") {
		l.transferred() // it will not tell (RFC 4488): its word must do
		return nil
	}
	over := false
	wait := time.NewTimer(l.e.referWait)
	defer wait.Stop()
	select {
	case <-t.decided:
	case <-l.done:
		over = true
	case <-wait.C:
		return dialer.Errorf(dialer.Unavailable, "the far end did not tell what came of the transfer within %s", l.e.referWait)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	l.mu.Lock()
	status, reason, lost := t.status, t.reason, t.lost
	l.mu.Unlock()
	switch {
	case status >= 200 && status < 300:
		l.transferred()
		return nil
	case over && status < 200 && l.Info().EndedBy == telephony.Callee:
		return nil // many hang up instead of telling
	case over && status < 200:
		return dialer.Errorf(dialer.Unavailable, "the call ended before the far end told what came of the transfer")
	case lost:
		return dialer.Errorf(dialer.Unavailable, "the far end stopped telling of the transfer; the last was %d %s", status, reason)
	}
	return dialer.Errorf(dialer.Unavailable, "the transfer failed with %d %s", status, reason)
}

// transferred ends the leg, whose far end talks to somebody else.
func (l *Leg) transferred() {
	l.end(telephony.Caller, telephony.CauseNormal, 0, "transferred", true)
}

// referTo makes the URI of a transfer's target: a number as the trunk writes it,
// or a SIP address.
func (l *Leg) referTo(to string) (string, error) {
	if n := dialer.Number(to); n.Valid() {
		if p := l.d.peer; !p.phone() {
			if !p.opts.Allows(n) {
				return "", dialer.Fieldf("to", "the trunk's destinations do not allow this number")
			}
			uri := sip.Uri{Scheme: "sip", User: p.opts.Prefix + written(p.opts, n), Host: p.to.Host}
			return uri.String(), nil
		}
	}
	var uri sip.Uri
	if err := sip.ParseUri(to, &uri); err != nil || uri.Scheme != "sip" && uri.Scheme != "sips" || uri.Host == "" ||
		!headerSafe(to) || strings.ContainsAny(to, "<>\" ") {
		return "", dialer.Fieldf("to", "%q is neither a number in E.164 nor a sip: address", to)
	}
	return to, nil
}

// notified takes the far end's word on a transfer.
func (l *Leg) notified(req *sip.Request, tx sip.ServerTransaction) {
	event, _, _ := strings.Cut(headerValues(req, "event"), ";")
	l.mu.Lock()
	t := l.transfer
	l.mu.Unlock()
	if t == nil || !strings.EqualFold(strings.TrimSpace(event), "refer") {
		l.e.respond(tx, req, 481, "Subscription Does Not Exist")
		return
	}
	state, _, _ := strings.Cut(headerValues(req, "subscription-state"), ";")
	over := strings.EqualFold(strings.TrimSpace(state), "terminated")
	body, _ := bodyOf(req, "message/sipfrag")
	status, reason := sipfrag(string(body))
	l.e.respond(tx, req, 200, "OK")
	l.mu.Lock()
	if status > 0 {
		t.status, t.reason = status, reason
	}
	t.lost = over && t.status < 200
	final := t.status >= 200 || over
	l.mu.Unlock()
	if final {
		t.decide()
	}
}

// sipfrag reads the status line of a message/sipfrag body (RFC 3420).
func sipfrag(body string) (status int, reason string) {
	line, _, _ := strings.Cut(strings.TrimLeft(body, "\r\n \t"), "\n")
	version, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	code, reason, _ := strings.Cut(strings.TrimSpace(rest), " ")
	status, err := strconv.Atoi(code)
	if !strings.EqualFold(version, "SIP/2.0") || err != nil || status < 100 || status > 699 {
		return 0, ""
	}
	return status, plain(reason, 64)
}
