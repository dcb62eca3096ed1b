package siptest

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
)

// keepRegistered refreshes the registration at half its life, and tries again
// after a failure with growing pauses. diago v0.31.0's own registration panics
// when the registrar does not answer, so this uses sipgo's client.
func (p *Phone) keepRegistered(ctx context.Context) {
	const shortest, longest = 250 * time.Millisecond, 10 * time.Second
	pause := shortest
	for ctx.Err() == nil {
		attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
		granted, err := p.register(attempt, p.cfg.Expires)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			p.log.Warn("phone could not register", "extension", p.cfg.Extension, "error", err)
			p.update(func(s *PhoneState) { s.Registered = false; s.RegistrationErrors++ })
			pause = min(2*pause, longest)
		default:
			p.update(func(s *PhoneState) { s.Registered = true })
			pause = max(granted/2, shortest)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		if err == nil {
			pause = shortest
		}
	}
}

// register sends one REGISTER, answers its challenge, and returns the life
// that was granted. Zero expires removes this phone's own binding only.
func (p *Phone) register(ctx context.Context, expires time.Duration) (time.Duration, error) {
	var registrar sip.Uri
	if err := sip.ParseUri("sip:"+p.cfg.Registrar, &registrar); err != nil {
		return 0, fmt.Errorf("registrar %q: %w", p.cfg.Registrar, err)
	}
	own := registrar
	own.User = p.cfg.Extension
	req := sip.NewRequest(sip.REGISTER, registrar)
	from := &sip.FromHeader{Address: own}
	from.Params.Add("tag", sip.GenerateTagN(12))
	req.AppendHeader(from)
	req.AppendHeader(&sip.ToHeader{Address: own})
	req.AppendHeader(sip.NewHeader("Contact", "<"+p.URI()+">"))
	req.AppendHeader(sip.NewHeader("Expires", strconv.Itoa(int(expires.Seconds()))))
	res, err := p.client.Do(ctx, req)
	if err != nil {
		return 0, fmt.Errorf("REGISTER: %w", err)
	}
	if res.StatusCode == sip.StatusUnauthorized || res.StatusCode == sip.StatusProxyAuthRequired {
		res, err = p.client.DoDigestAuth(ctx, req, res, sipgo.DigestAuth{Username: p.cfg.Extension, Password: p.cfg.Password})
		if err != nil {
			return 0, fmt.Errorf("REGISTER: %w", err)
		}
	}
	if !res.IsSuccess() {
		return 0, fmt.Errorf("REGISTER: %d %s", res.StatusCode, res.Reason)
	}
	return granted(res, p.URI(), expires), nil
}

// granted is the life of our binding: its own expires parameter, else the
// Expires header, else what was asked for (RFC 3261 10.2.4).
func granted(res *sip.Response, uri string, asked time.Duration) time.Duration {
	var contact sip.Uri
	if err := sip.ParseUri(uri, &contact); err != nil {
		return asked
	}
	for _, h := range res.GetHeaders("Contact") {
		if c, ok := h.(*sip.ContactHeader); ok && c.Address.User == contact.User && c.Address.HostPort() == contact.HostPort() {
			if v, ok := c.Params.Get("expires"); ok {
				if n, err := strconv.Atoi(v); err == nil && n > 0 {
					return time.Duration(n) * time.Second
				}
			}
		}
	}
	if h := res.GetHeader("Expires"); h != nil {
		if n, err := strconv.Atoi(h.Value()); err == nil && n > 0 {
			return time.Duration(n) * time.Second
		}
	}
	return asked
}
