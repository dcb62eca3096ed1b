package siptrunk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"

	"dialer"
	"dialer/telephony"
)

// A dialog is a confirmed dialog in which we sent the INVITE (RFC 3261 12).
type dialog struct {
	e        *Endpoint
	peer     peer
	callID   string
	localTag string

	from   *sip.FromHeader // ours, with the tag
	to     *sip.ToHeader   // theirs, with the tag
	tag    string          // the tag of to
	routes []sip.Uri

	mu         sync.Mutex
	target     sip.Uri
	dest       netip.AddrPort
	transport  telephony.Transport // towards dest
	cseq       uint32
	remoteCSeq uint32
	heardCSeq  bool
}

// newDialog builds the dialog that a 2xx to our INVITE confirms.
func (e *Endpoint) newDialog(ctx context.Context, p peer, invite *sip.Request, res *sip.Response) *dialog {
	d := e.dialogOf(p, invite, res)
	d.locate(ctx)
	return d
}

// dialogOf is newDialog whose requests follow the INVITE.
func (e *Endpoint) dialogOf(p peer, invite *sip.Request, res *sip.Response) *dialog {
	d := &dialog{
		e: e, peer: p,
		callID:    invite.CallID().Value(),
		localTag:  fromTag(invite),
		from:      cloneFrom(invite.From()),
		to:        cloneTo(res.To()),
		tag:       toTag(res),
		target:    *invite.Recipient.Clone(),
		dest:      p.addr,
		transport: p.transport,
		cseq:      invite.CSeq().SeqNo,
		routes:    recordRoutes(res),
	}
	slices.Reverse(d.routes) // RFC 3261 12.1.2
	if c := res.Contact(); c != nil && !c.Address.Wildcard && c.Address.Host != "" {
		d.target = *c.Address.Clone()
	}
	return d
}

func cloneFrom(h *sip.FromHeader) *sip.FromHeader {
	return &sip.FromHeader{DisplayName: h.DisplayName, Address: *h.Address.Clone(), Params: h.Params.Clone()}
}

func cloneTo(h *sip.ToHeader) *sip.ToHeader {
	return &sip.ToHeader{DisplayName: h.DisplayName, Address: *h.Address.Clone(), Params: h.Params.Clone()}
}

func recordRoutes(msg sip.Message) []sip.Uri {
	var routes []sip.Uri
	for _, h := range msg.GetHeaders("record-route") {
		if rr, ok := h.(*sip.RecordRouteHeader); ok {
			routes = append(routes, *rr.Address.Clone())
		}
	}
	return routes
}

// locate finds where requests go: the first route, else the remote target.
// When that name has no address they follow the INVITE.
func (d *dialog) locate(ctx context.Context) {
	next := d.target
	if len(d.routes) > 0 {
		next = d.routes[0]
	}
	transport := d.peer.transport
	if transport != telephony.TLS && !d.peer.phone() { // what began over TLS stays there
		transport = transportOf(next, transport)
	}
	addr, err := d.e.route.resolve(ctx, uriHostPort(next, transport))
	if err != nil || addr.Addr().IsUnspecified() || addr.Addr().IsMulticast() {
		d.e.log.Debug("the peer's Contact has no address; requests follow the INVITE", "trunk", d.peer.name, "err", err)
		addr, transport = d.peer.addr, d.peer.transport
	}
	behindNAT := addr.Addr() != d.peer.addr.Addr() || transport != telephony.UDP // it names its private address
	if d.peer.phone() && len(d.routes) == 0 && behindNAT {
		addr = d.peer.addr
	}
	d.mu.Lock()
	d.dest, d.transport = addr, transport
	d.mu.Unlock()
}

// hosts are those that may send requests in this dialog.
func (d *dialog) hosts() []netip.Addr {
	d.mu.Lock()
	defer d.mu.Unlock()
	hosts := []netip.Addr{d.peer.addr.Addr()}
	if a := d.dest.Addr(); !slices.Contains(hosts, a) {
		hosts = append(hosts, a)
	}
	return hosts
}

// build makes a request inside the dialog. A cseq of 0 takes the next one.
func (d *dialog) build(method sip.RequestMethod, cseq uint32) *sip.Request {
	d.mu.Lock()
	defer d.mu.Unlock()
	if cseq == 0 {
		d.cseq++
		cseq = d.cseq
	}
	recipient, routes := *d.target.Clone(), d.routes
	if len(routes) > 0 && !routes[0].UriParams.Has("lr") { // a strict router, RFC 3261 12.2.1.1
		recipient = routes[0]
		routes = append(slices.Clone(routes[1:]), d.target)
	}
	p := d.peer
	p.transport = d.transport
	req := d.e.request(method, p, d.dest, recipient, cloneFrom(d.from), cloneTo(d.to), d.callID, cseq)
	for _, r := range routes {
		req.AppendHeader(&sip.RouteHeader{Address: *r.Clone()})
	}
	if method == sip.INVITE || method == sip.UPDATE {
		req.AppendHeader(&sip.ContactHeader{Address: d.e.contact(p)})
		req.AppendHeader(sip.NewHeader("Allow", allow))
		req.AppendHeader(sip.NewHeader("Supported", "timer"))
	}
	return req
}

// ack sends the ACK of a 2xx; the caller keeps it to repeat it.
func (d *dialog) ack(cseq uint32) *sip.Request {
	req := d.build(sip.ACK, cseq)
	d.e.send(d.peer, req)
	return req
}

// do sends a request and returns its final response. It answers up to two
// challenges, when they come from whom we called.
func (d *dialog) do(ctx context.Context, req *sip.Request) (*sip.Response, error) {
	for challenged := 0; ; challenged++ {
		res, err := d.e.do(ctx, d.peer, req)
		if err != nil {
			return nil, err
		}
		if !isChallenge(res) || challenged == 2 {
			return res, nil
		}
		d.mu.Lock()
		d.cseq++
		cseq := d.cseq
		d.mu.Unlock()
		p := d.peer
		p.transport = transportIn(req)
		next := d.e.again(req, p, cseq)
		if err := authorize(d.peer, next, res); err != nil {
			return res, nil
		}
		req = next
	}
}

func isChallenge(res *sip.Response) bool { return res.StatusCode == 401 || res.StatusCode == 407 }

// authorize answers a digest challenge (RFC 3261 22). It does so only for the
// trunk's own realm and address: whoever else could make us compute digests
// would collect material to guess the password with.
func authorize(p peer, req *sip.Request, res *sip.Response) error {
	if p.username == "" {
		return errors.New("the peer asks for a password and the trunk has none")
	}
	if from := sourceOf(res).Addr(); from != p.addr.Addr() {
		return fmt.Errorf("the challenge came from %s, not from the trunk", from)
	}
	name, answer := "www-authenticate", "Authorization"
	if res.StatusCode == 407 {
		name, answer = "proxy-authenticate", "Proxy-Authorization"
	}
	for _, h := range res.GetHeaders(name) {
		chal, err := digest.ParseChallenge(h.Value())
		if err != nil || len(chal.Nonce) > 1024 {
			continue
		}
		chal.Algorithm = strings.ToUpper(chal.Algorithm)
		if chal.Algorithm != "" && chal.Algorithm != "MD5" && chal.Algorithm != "SHA-256" {
			continue
		}
		if p.realm != "" && chal.Realm != p.realm {
			continue
		}
		cred, err := digest.Digest(chal, digest.Options{
			Method:   string(req.Method),
			URI:      req.Recipient.String(),
			Username: p.username,
			Password: p.password,
		})
		if err != nil {
			continue
		}
		if before := req.GetHeader(answer); before != nil {
			// Asked again: only a fresh nonce for a stale one is worth an answer.
			if old, err := digest.ParseCredentials(before.Value()); err == nil && !chal.Stale && old.Nonce != "" {
				return errors.New("the peer refused the password")
			}
		}
		req.RemoveHeader(answer)
		req.AppendHeader(sip.NewHeader(answer, cred.String()))
		return nil
	}
	return fmt.Errorf("no challenge for realm %q that can be answered", p.realm)
}

// savedDialog is what another process needs to end a call.
type savedDialog struct {
	CallID     string         `json:"call_id"`
	From       string         `json:"from"`
	FromName   string         `json:"from_name,omitempty"`
	LocalTag   string         `json:"local_tag"`
	To         string         `json:"to"`
	RemoteTag  string         `json:"remote_tag"`
	Target     string         `json:"target"`
	Routes     []string       `json:"routes,omitempty"`
	CSeq       uint32         `json:"cseq"`
	Trunk      dialer.TrunkID `json:"trunk"`
	Address    netip.AddrPort `json:"address"` // where the INVITE went
	Dest       netip.AddrPort `json:"dest"`    // where requests go
	AnsweredAt time.Time      `json:"answered_at"`
	// Transport is how they go there; empty is UDP.
	Transport telephony.Transport `json:"transport,omitempty"`
}

func (d *dialog) save(answered time.Time) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := savedDialog{
		CallID: d.callID, From: d.from.Address.String(), FromName: d.from.DisplayName, LocalTag: d.localTag,
		To: d.to.Address.String(), RemoteTag: d.tag, Target: d.target.String(),
		CSeq: d.cseq, Trunk: d.peer.trunk, Address: d.peer.addr, Dest: d.dest, AnsweredAt: answered.UTC(), Transport: d.transport,
	}
	for _, r := range d.routes {
		s.Routes = append(s.Routes, r.String())
	}
	data, err := json.Marshal(s)
	if err != nil {
		return nil // no field can fail to marshal
	}
	return data
}
