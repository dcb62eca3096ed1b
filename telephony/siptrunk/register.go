package siptrunk

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"dialer/telephony"
)

// An upstream is our registration at a trunk that wants one before it takes calls
// (RFC 3261 10.2). It is guarded by its line.
type upstream struct {
	callID string // one for all, with a growing CSeq
	cseq   uint32

	bound  telephony.Trunk // with these settings
	at     target
	until  time.Time // as granted
	due    time.Time
	wait   time.Duration // after a failure
	why    string
	busy   bool
	closed bool // the endpoint is shutting down
}

const (
	registerSeconds = 600
	mostGranted     = 86400
	leastRetry      = 5   // seconds
	mostRetry       = 300 // seconds
	registerWait    = 5 * time.Second
)

// configure has new credentials registered at once.
func (r *upstream) configure(before, now telephony.Trunk) {
	if !sameBinding(before, now) {
		r.due, r.wait, r.why = time.Time{}, 0, ""
	}
}

// sameBinding reports whether both settings make the same registration.
func sameBinding(a, b telephony.Trunk) bool {
	return a.Register == b.Register && a.Enabled == b.Enabled && a.Address == b.Address && trunkTransport(a) == trunkTransport(b) &&
		a.Username == b.Username && a.Password == b.Password && a.Realm == b.Realm && a.FromDomain == b.FromDomain
}

// down says why the trunk takes no calls for want of a registration, or "".
func (r *upstream) down(cfg telephony.Trunk, now time.Time) string {
	if !cfg.Register || now.Before(r.until) {
		return ""
	}
	return "not registered: " + cmp.Or(r.why, "no answer to REGISTER yet")
}

// keepRegistered starts what the trunk's registration needs now.
func (e *Endpoint) keepRegistered(ctx context.Context, l *line, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := &l.reg
	wanted := l.cfg.Register && l.cfg.Enabled && !l.gone
	switch {
	case r.busy || r.closed:
	case now.Before(r.until) && (!wanted || !sameBinding(r.bound, l.cfg)):
		r.busy = true
		e.goWork("unregistering", func() { e.unbind(ctx, l) })
	case wanted && !now.Before(r.due):
		r.busy = true
		cfg := l.cfg
		e.goWork("a REGISTER", func() { e.register(ctx, l, cfg) })
	}
}

// register binds us at the first peer of the trunk that answers.
func (e *Endpoint) register(ctx context.Context, l *line, cfg telephony.Trunk) {
	targets, err := e.targets(ctx, l)
	asked := cmp.Or(cfg.RegisterSeconds, registerSeconds)
	granted, after := 0, 0
	var at target
	for _, t := range targets {
		at = t
		if granted, after, err = e.bind(ctx, l, cfg, t, asked); err == nil || after >= 0 || ctx.Err() != nil {
			break
		}
	}
	e.registered(l, cfg, at, granted, after, err, time.Now())
}

// registered takes in how a REGISTER ended.
func (e *Endpoint) registered(l *line, cfg telephony.Trunk, at target, granted, after int, err error, now time.Time) {
	unit := e.unit()
	l.mu.Lock()
	r := &l.reg
	r.busy = false
	was, before := now.Before(r.until), r.why
	if err == nil {
		r.bound, r.at, r.until = cfg, at, now.Add(time.Duration(granted)*unit)
		r.due = now.Add(time.Duration(granted) * unit * 4 / 5)
		r.wait, r.why = 0, ""
	} else {
		r.why = err.Error()
		r.wait = min(max(2*r.wait, leastRetry*unit), mostRetry*unit)
		r.due = now.Add(max(r.wait, time.Duration(min(after, mostRetry))*unit))
	}
	closed := r.closed || !sameBinding(cfg, l.cfg)
	l.mu.Unlock()
	switch log := e.log.With("trunk", string(l.id), "peer", at.String()); {
	case err == nil && !was:
		log.Info("registered with the trunk", "seconds", granted)
	case err != nil && before == "":
		log.Warn("not registered with the trunk", "err", err)
	}
	if closed && err == nil {
		e.goEnd("unregistering", func() { e.unbind(context.Background(), l) })
	}
}

// unregister removes our binding in the background, if there is one, because the
// endpoint or the trunk goes away. Only our own: other nodes may have theirs
// beside it.
func (e *Endpoint) unregister(l *line) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reg.closed = true
	if time.Now().Before(l.reg.until) && !l.reg.busy {
		l.reg.busy = true
		e.goEnd("unregistering", func() { e.unbind(context.Background(), l) })
	}
}

// unbind removes the binding that was made, with the settings that made it.
func (e *Endpoint) unbind(ctx context.Context, l *line) {
	l.mu.Lock()
	cfg, at := l.reg.bound, l.reg.at
	l.reg.until = time.Time{}
	l.mu.Unlock()
	if _, _, err := e.bind(ctx, l, cfg, at, 0); err != nil {
		e.log.Warn("not unregistered from the trunk", "trunk", string(l.id), "peer", at.String(), "err", err)
	}
	l.mu.Lock()
	l.reg.busy = false
	l.mu.Unlock()
	e.wake()
}

// bind sends REGISTER for so many seconds, 0 to end the binding, and returns for
// how many it was granted. With an error, after is the Retry-After of the final
// response, and -1 when there was none at all.
func (e *Endpoint) bind(ctx context.Context, l *line, cfg telephony.Trunk, t target, seconds int) (granted, after int, err error) {
	p, err := e.peerOf(cfg, t)
	if err != nil {
		return 0, -1, err
	}
	ctx, cancel := context.WithTimeout(ctx, registerWait)
	defer cancel()
	defer e.sock.peers.add(t.addr.Addr())() // it may be a trunk no longer
	if err := e.reach(ctx, &p); err != nil {
		return 0, -1, err
	}
	registrar := p.recipient
	registrar.User = ""
	us := registrar
	us.User, us.Port = cfg.Username, 0
	us.Host = cmp.Or(cfg.FromDomain, us.Host)
	contact := e.contact(p)
	contact.User = cmp.Or(cfg.Username, contact.User)
	build := func() *sip.Request {
		from := &sip.FromHeader{Address: us}
		from.Params.Add("tag", newTag())
		callID, cseq := l.nextRegister()
		req := e.request(sip.REGISTER, newTag(), p, p.addr, registrar, from, &sip.ToHeader{Address: us}, callID, cseq)
		c := &sip.ContactHeader{Address: contact}
		c.Params.Add("expires", strconv.Itoa(seconds))
		req.AppendHeader(c)
		req.AppendHeader(sip.NewHeader("Expires", strconv.Itoa(seconds)))
		return req
	}
	req := build()
	for challenges, longer := 0, false; ; {
		res, err := e.do(ctx, p, req)
		switch {
		case err != nil:
			return 0, -1, fmt.Errorf("no answer to REGISTER from %s", t.addr)
		case isChallenge(res) && challenges < 3:
			challenges++
			_, cseq := l.nextRegister()
			next := e.again(req, p, cseq)
			if err := authorize(p, next, res); err != nil {
				return 0, 0, err
			}
			req = next
		case res.StatusCode == 423 && !longer && seconds > 0:
			least, err := strconv.Atoi(strings.TrimSpace(headerValues(res, "min-expires")))
			if err != nil || least <= seconds || least > mostGranted {
				return 0, 0, errors.New("REGISTER was refused with 423 and no Min-Expires that can be met")
			}
			seconds, longer = least, true
			req = build()
		case res.IsSuccess():
			granted := grantedTo(res, contact, seconds)
			if granted <= 0 && seconds > 0 {
				return 0, 0, errors.New("the registrar took the REGISTER for no time at all")
			}
			return granted, 0, nil
		case res.StatusCode == 405:
			return 0, int(retryAfter(res) / time.Second), fmt.Errorf("REGISTER was refused with 405 %s; set the trunk's register to false", plain(res.Reason, 64))
		default:
			return 0, int(retryAfter(res) / time.Second), fmt.Errorf("REGISTER was refused with %d %s", res.StatusCode, plain(res.Reason, 64))
		}
	}
}

// nextRegister returns the Call-ID of all our REGISTERs and their next CSeq.
func (l *line) nextRegister() (callID string, cseq uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reg.callID == "" {
		l.reg.callID = "reg-" + newTag()
	}
	l.reg.cseq++
	return l.reg.callID, l.reg.cseq
}

// grantedTo returns for how many seconds the registrar keeps our contact: what it
// says beside the contact, then in Expires, then what we asked for.
func grantedTo(res *sip.Response, ours sip.Uri, asked int) int {
	seconds := asked
	if n, err := strconv.Atoi(strings.TrimSpace(headerValues(res, "expires"))); err == nil {
		seconds = n
	}
	for _, value := range splitValues(headerValues(res, "contact")) {
		var uri sip.Uri
		params := sip.NewParams()
		if _, err := sip.ParseAddressValue(value, &uri, &params); err != nil {
			continue
		}
		if uri.User != ours.User || !strings.EqualFold(uri.Host, ours.Host) || cmp.Or(uri.Port, 5060) != cmp.Or(ours.Port, 5060) {
			continue
		}
		if text, ok := params.Get("expires"); ok {
			if n, err := strconv.Atoi(text); err == nil {
				seconds = n
			}
		}
	}
	return min(max(seconds, 0), mostGranted)
}
