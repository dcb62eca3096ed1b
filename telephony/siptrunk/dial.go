package siptrunk

import (
	"cmp"
	"context"
	"time"

	"github.com/emiago/sipgo/sip"

	"dialer"
	"dialer/telephony"
	"dialer/telephony/media"
)

// ringTimeout is how long a call may ring when its Invite does not say.
const ringTimeout = 30 * time.Second

// Dial calls a number over a trunk and blocks until it is answered. A call that
// is not answered returns a *telephony.DialError.
//
// RingTimeout runs from the INVITE and again in full from the first 18x. A
// trunk that stays silent for NoResponse is given up: what it sends after that
// is answered with CANCEL. Giving up is not returning: Dial waits for the
// trunk's final word, at most until the transaction ends (32 s after an INVITE
// that nobody heard, 40 s after a CANCEL), so that its result is complete and
// the caller does not take a number for free that may still ring.
func (e *Endpoint) Dial(ctx context.Context, inv telephony.Invite) (telephony.Leg, error) {
	if why := refuse(inv); why != "" {
		return nil, notSent("%s", why)
	}
	l, draining := e.line(inv.Trunk)
	switch {
	case draining:
		return nil, notSent("the dialer is draining")
	case l == nil:
		return nil, notSent("there is no trunk %s", inv.Trunk)
	case ctx.Err() != nil:
		return nil, notSent("%s", context.Cause(ctx))
	}
	if why := barred(l.settings(), inv); why != "" {
		return nil, notSent("%s", why)
	}
	cfg, why := l.take(time.Now())
	if why != "" {
		return nil, notSent("%s", why)
	}
	if inv.OnAdmitted != nil {
		inv.OnAdmitted()
	}
	p, err := e.trunkPeer(ctx, cfg, inv)
	if err != nil {
		l.release()
		return nil, notSent("%s", err)
	}
	return e.place(ctx, p, inv, l.release, l)
}

// refuse says what is wrong with an invite. Numbers are checked again here: what
// is not E.164 must never reach a trunk.
func refuse(inv telephony.Invite) string {
	switch {
	case !telephony.IsToken(string(inv.Call)):
		return "the call has no id that can be a Call-ID"
	case !inv.To.Valid():
		return "the number to call is not E.164"
	case !inv.From.Valid():
		return "the caller ID is not E.164"
	}
	if err := telephony.CheckHeaders(inv.Headers); err != nil {
		return err.Error()
	}
	return ""
}

// trunkPeer makes the peer of a call over a trunk.
func (e *Endpoint) trunkPeer(ctx context.Context, cfg telephony.Trunk, inv telephony.Invite) (peer, error) {
	p := peer{
		trunk: cfg.ID, name: string(cfg.ID), transport: cmp.Or(cfg.Transport, telephony.UDP), tls: tlsPeerOf(cfg),
		username: cfg.Username, password: cfg.Password, realm: cfg.Realm,
		sources: cfg.MediaSources, srtp: cfg.SRTP,
	}
	var err error
	if p.codecs, err = media.Codecs(cfg.Codecs); err != nil {
		return peer{}, err
	}
	if p.addr, err = e.route.resolve(ctx, cfg.HostPort()); err != nil {
		return peer{}, err
	}
	if p.ours, err = e.route.ours(p.addr.Addr()); err != nil {
		return peer{}, err
	}
	var at sip.Uri
	if err := sip.ParseUri("sip:"+cfg.HostPort(), &at); err != nil {
		return peer{}, err
	}
	if at.Port == sip.DefaultPort(string(p.transport)) {
		at.Port = 0
	}
	p.identify(cfg, inv, at)
	addTransport(&p.recipient, p.transport)
	return p, nil
}

// place opens the audio and sends the INVITE. release is called exactly once.
// A call to a phone has no trunk.
func (e *Endpoint) place(ctx context.Context, p peer, inv telephony.Invite,
	release func(), trunk *line) (telephony.Leg, error) {

	if err := e.sock.await(ctx); err != nil {
		release()
		return nil, notSent("%s", err)
	}
	log := e.log.With("call", string(inv.Call), "trunk", p.name)
	session, err := e.ports.Open(log)
	if err != nil {
		release()
		return nil, notSent("%s", err)
	}
	c := &call{
		e: e, peer: p, id: inv.Call, log: log, session: session,
		ring:       inv.RingTimeout,
		onProgress: inv.OnProgress, onAnswer: inv.OnAnswer, onEarly: inv.OnEarlyFrame, release: release, line: trunk,
	}
	if c.ring <= 0 {
		c.ring = ringTimeout
	}
	return c.start(ctx)
}

// Ring calls an agent's phone, where it has registered or at its URI, and
// returns when it is answered. The INVITE asks the phone to answer by itself.
func (e *Endpoint) Ring(ctx context.Context, s telephony.Station) (telephony.Leg, error) {
	if _, draining := e.line(""); draining {
		return nil, notSent("the dialer is draining")
	}
	p, err := e.stationPeer(ctx, s)
	if err != nil {
		return nil, notSent("%s", err)
	}
	inv := telephony.Invite{
		Call:        dialer.NewCallID(),
		RingTimeout: ringTimeout,
	}
	return e.place(ctx, p, inv, func() {}, nil)
}

// stationPeer makes the peer of a call to an agent's phone. A phone's URI that
// leads to a trunk is refused: whoever may edit agents could otherwise have a
// trunk that knows us by our address place any call, past do-not-call lists,
// caps and records.
func (e *Endpoint) stationPeer(ctx context.Context, s telephony.Station) (peer, error) {
	p := peer{name: s.Extension, codecs: []media.Codec{media.PCMU, media.PCMA}, fromName: "Dialer"}
	var err error
	if s.URI != "" {
		if err = sip.ParseUri(s.URI, &p.recipient); err == nil && (p.recipient.Scheme != "sip" || p.recipient.Host == "") {
			err = dialer.Fieldf("uri", "%q is not a sip: address", s.URI)
		}
		p.transport = transportOf(p.recipient, telephony.UDP)
		if err == nil {
			p.addr, err = e.route.resolve(ctx, uriHostPort(p.recipient, p.transport))
		}
		if err == nil && e.route.toTrunk(ctx, p.recipient.Host, p.addr) {
			err = dialer.Fieldf("uri", "%q is at a trunk: give the address of a phone", s.URI)
		}
	} else {
		b, ok := e.reg.lookup(s.Extension, time.Now())
		if !ok {
			return peer{}, dialer.Errorf(dialer.Unavailable, "the phone of extension %q is not registered", s.Extension)
		}
		p.addr, p.ownAudio = b.flow(), true
		err = sip.ParseUri(b.Contact, &p.recipient)
		p.transport = transportOf(p.recipient, telephony.UDP)
	}
	if err != nil {
		return peer{}, err
	}
	if p.ours, err = e.route.ours(p.addr.Addr()); err != nil {
		return peer{}, err
	}
	p.to = sip.Uri{Scheme: "sip", User: p.recipient.User, Host: p.recipient.Host}
	p.from = sip.Uri{Scheme: "sip", User: "dialer", Host: p.ours.String()}
	p.headers = map[string]string{ // each maker of phones reads another one
		"Call-Info":   "<sip:" + hostOf(p.ours) + ">;answer-after=0",
		"Alert-Info":  "<http://" + hostOf(p.ours) + ">;info=alert-autoanswer;delay=0",
		"Answer-Mode": "Auto",
	}
	return p, nil
}

// Reachable reports whether the phone is registered or has a URI.
func (e *Endpoint) Reachable(s telephony.Station) bool {
	if s.URI != "" {
		return true
	}
	_, ok := e.reg.lookup(s.Extension, time.Now())
	return ok
}
