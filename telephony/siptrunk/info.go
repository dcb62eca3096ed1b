package siptrunk

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"dialer"
	"dialer/telephony"
	"dialer/telephony/media"
)

// keyTypes are the bodies in which key presses come by INFO.
var keyTypes = []string{"application/dtmf-relay", "application/dtmf", "application/vnd.nortelnetworks.digits"}

// inform takes a key press that comes as INFO.
func (e *Endpoint) inform(session *media.Session, req *sip.Request, tx sip.ServerTransaction) {
	if len(req.Body()) == 0 {
		e.respond(tx, req, 200, "OK")
		return
	}
	body, kind := bodyOf(req, keyTypes...)
	d, ok := infoDigit(kind, string(body))
	switch {
	case ok:
		session.Press(d)
		e.respond(tx, req, 200, "OK")
	case kind == "" && headerValues(req, "info-package") != "":
		e.respond(tx, req, 469, "Bad Info Package", sip.NewHeader("Recv-Info", "")) // RFC 6086
	default:
		e.respond(tx, req, 415, "Unsupported Media Type", sip.NewHeader("Accept", strings.Join(keyTypes[:2], ", ")))
	}
}

// infoDigit reads application/dtmf-relay ("Signal=5\r\nDuration=160"), the same
// in the words of others ("d=5"), and application/dtmf ("5").
func infoDigit(kind, body string) (telephony.Digit, bool) {
	d := telephony.Digit{Duration: keyLength}
	key := ""
	switch kind {
	case "":
		return d, false
	case "application/dtmf":
		key = body
	default:
		for line := range strings.SplitSeq(body, "\n") {
			name, at, ok := telephony.InfoField(line)
			if !ok {
				continue
			}
			value := strings.Trim(strings.TrimSpace(line[at:]), `"`)
			switch {
			case telephony.KeyField(name):
				key = value
			case name == "duration":
				if ms, err := strconv.Atoi(value); err == nil && ms > 0 && ms <= 10_000 {
					d.Duration = time.Duration(ms) * time.Millisecond
				}
			}
		}
	}
	var ok bool
	if d.Key, ok = telephony.ParseKey(key); !ok {
		return telephony.Digit{}, false
	}
	return d, true
}

// keyLength is how long a key is held by INFO; keyGap is the pause after it.
const (
	keyLength = 160 * time.Millisecond
	keyGap    = 100 * time.Millisecond
)

// SendDigits presses the keys 0-9 * # A-D towards the far end, by RFC 4733 or,
// where the trunk wants it so, by INFO. It returns when the last is let go.
func (l *Leg) SendDigits(ctx context.Context, keys string) error {
	if !l.d.peer.opts.InfoDigits {
		return l.session.SendDigits(ctx, keys)
	}
	keys = strings.ToUpper(keys)
	for _, key := range keys {
		if !strings.ContainsRune("0123456789*#ABCD", key) {
			return dialer.Fieldf("digits", "%q is not a key: use 0-9 * # A-D", key)
		}
	}
	pause := time.NewTimer(0)
	defer pause.Stop()
	for _, key := range keys {
		select {
		case <-pause.C:
		case <-l.done:
			return errOver
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		pause.Reset(keyLength + keyGap)
		req := l.d.build(sip.INFO, 0)
		setBody(req, "application/dtmf-relay", fmt.Appendf(nil, "Signal=%c\r\nDuration=%d\r\n", key, keyLength.Milliseconds()))
		res, err := l.request(ctx, req)
		if err != nil {
			return err
		}
		if !res.IsSuccess() {
			return dialer.Errorf(dialer.Unavailable, "the far end refused a key press with %d %s", res.StatusCode, plain(res.Reason, 64))
		}
	}
	select {
	case <-pause.C:
	case <-l.done:
	case <-ctx.Done():
	}
	return nil
}
