package siptrunk

import (
	"cmp"
	"context"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"dialer"
	"dialer/telephony"
	"dialer/telephony/media"
)

// ringTimeout is how long a call may ring when its Invite does not say.
const ringTimeout = 30 * time.Second

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

// peerOf makes the peer at one target of a trunk.
func (e *Endpoint) peerOf(cfg telephony.Trunk, t target) (peer, error) {
	p := peer{
		trunk: cfg.ID, name: string(cfg.ID), addr: t.addr, transport: t.transport, tls: tlsPeerOf(cfg, t.name),
		username: cfg.Username, password: cfg.Password, realm: cfg.Realm,
		sources: cfg.MediaSources, srtp: cfg.SRTP, opts: cfg.TrunkOptions,
	}
	var err error
	if p.codecs, err = media.Codecs(cfg.Codecs); err != nil {
		return peer{}, err
	}
	if p.ours, err = e.route.ours(p.addr.Addr()); err != nil {
		return peer{}, err
	}
	host, port, err := hostAndPort(t.name, t.transport)
	if err != nil {
		return peer{}, err
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	p.recipient = sip.Uri{Scheme: "sip", Host: host}
	if !bareName(t.name) && int(port) != sip.DefaultPort(string(t.transport)) {
		p.recipient.Port = int(port)
	}
	addTransport(&p.recipient, t.transport)
	p.from = sip.Uri{Scheme: "sip", User: cmp.Or(cfg.Username, "dialer"), Host: cmp.Or(cfg.FromDomain, p.ours.String())}
	return p, nil
}

// trunkPeer makes the peer of a call over a trunk.
func (e *Endpoint) trunkPeer(cfg telephony.Trunk, t target, inv telephony.Invite) (peer, error) {
	p, err := e.peerOf(cfg, t)
	if err != nil {
		return peer{}, err
	}
	p.identify(cfg, inv, p.recipient)
	addTransport(&p.recipient, p.transport)
	return p, nil
}

// place opens the audio, sends the INVITE and waits for what comes of it. over
// says which trunk it goes over, and is nil for a phone; the call gives the
// trunk's channel back.
func (e *Endpoint) place(ctx context.Context, p peer, inv telephony.Invite, over func(*call)) (*Leg, *telephony.DialError) {
	c := &call{
		e: e, peer: p, id: inv.Call, log: e.log.With("call", string(inv.Call), "trunk", p.name),
		ring:       cmp.Or(inv.RingTimeout, ringTimeout),
		onProgress: inv.OnProgress, onAnswer: inv.OnAnswer, onEarly: inv.OnEarlyFrame,
	}
	if over != nil {
		over(c)
	}
	err := e.sock.await(ctx)
	if err == nil {
		c.session, err = e.ports.Open(c.log)
	}
	if err != nil {
		c.slot.release()
		return nil, notSent("%s", err)
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
	leg, failed := e.place(ctx, p, inv, nil)
	if failed != nil {
		return nil, failed
	}
	return leg, nil
}

// stationPeer makes the peer of a call to an agent's phone. A phone's URI that
// leads to a trunk is refused: whoever may edit agents could otherwise have a
// trunk that knows us by our address place any call, past do-not-call lists,
// caps and records.
func (e *Endpoint) stationPeer(ctx context.Context, s telephony.Station) (peer, error) {
	p := peer{
		name: s.Extension, codecs: []media.Codec{media.PCMU, media.PCMA}, fromName: "Dialer",
		srtp: telephony.SRTPOptional, // whether a phone must encrypt is set in the phone
	}
	var err error
	if s.URI != "" {
		if err = sip.ParseUri(s.URI, &p.recipient); err == nil && (p.recipient.Scheme != "sip" || p.recipient.Host == "") {
			err = dialer.Fieldf("uri", "%q is not a sip: address", s.URI)
		}
		p.transport = transportOf(p.recipient, telephony.UDP)
		if err == nil {
			p.addr, err = e.route.resolve(ctx, uriHostPort(p.recipient, p.transport))
		}
		if err == nil && e.toTrunk(ctx, p.recipient.Host, p.addr) {
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
	if s.URI == "" {
		p.to.User = s.Extension // the user part of a phone's Contact is the phone's own affair
	}
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
