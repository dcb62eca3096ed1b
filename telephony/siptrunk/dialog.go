package siptrunk

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"dialer"
	"dialer/telephony"
)

// A dialog is a confirmed dialog in which we sent the INVITE (RFC 3261 12).
type dialog struct {
	e        *Endpoint
	peer     peer
	callID   string
	localTag string

	local  *sip.FromHeader // ours, with the tag
	remote *sip.ToHeader   // theirs, with the tag
	tag    string          // the tag of remote
	routes []sip.Uri

	mu         sync.Mutex
	target     sip.Uri
	dest       netip.AddrPort
	transport  telephony.Transport // towards dest
	cseq       uint32
	remoteCSeq uint32
	heardCSeq  bool
	next       *challenge // answered in advance, see learnNonce
	moved      func()     // see onMove
}

// newDialog builds the dialog that a 2xx to our INVITE confirms.
func (e *Endpoint) newDialog(p peer, invite *sip.Request, res *sip.Response) *dialog {
	d := e.dialogOf(p, invite, res)
	d.locate()
	return d
}

// dialogOf is newDialog whose requests follow the INVITE.
func (e *Endpoint) dialogOf(p peer, invite *sip.Request, res *sip.Response) *dialog {
	d := &dialog{
		e: e, peer: p,
		callID:    invite.CallID().Value(),
		localTag:  fromTag(invite),
		local:     cloneFrom(invite.From()),
		remote:    cloneTo(res.To()),
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

// confirm makes an early dialog the one that a 2xx confirms: its route set is
// that of the 2xx (RFC 3261 13.2.2.4), its counters go on.
func (d *dialog) confirm(res *sip.Response) {
	routes := recordRoutes(res)
	slices.Reverse(routes)
	d.mu.Lock()
	d.routes = routes
	d.remote = cloneTo(res.To())
	if c := res.Contact(); c != nil && !c.Address.Wildcard && c.Address.Host != "" {
		d.target = *c.Address.Clone()
	}
	d.mu.Unlock()
	d.locate()
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

// locate finds where requests go: the first route, else the remote target. They
// follow the INVITE when that is a name without an address, and until DNS has
// told: neither an ACK nor audio waits for it.
func (d *dialog) locate() {
	hostPort, transport, routed := d.nextHop()
	addr, fresh, err := d.e.route.known(hostPort)
	d.move(addr, transport, routed, err)
	if fresh {
		return
	}
	d.e.goWork("finding a far end", func() {
		addr, err := d.e.route.resolve(context.Background(), hostPort)
		if now, _, _ := d.nextHop(); now != hostPort {
			return // it has moved on, and that is looked up by itself
		}
		d.move(addr, transport, routed, err)
		d.mu.Lock()
		moved := d.moved
		d.mu.Unlock()
		if moved != nil {
			moved()
		}
	})
}

// onMove has f called when DNS has told another address than hosts returns now.
func (d *dialog) onMove(f func()) {
	d.mu.Lock()
	d.moved = f
	d.mu.Unlock()
}

// nextHop returns where requests go by the route set and the target.
func (d *dialog) nextHop() (hostPort string, transport telephony.Transport, routed bool) {
	d.mu.Lock()
	next, routed := d.target, len(d.routes) > 0
	if routed {
		next = d.routes[0]
	}
	d.mu.Unlock()
	transport = d.peer.transport
	if transport != telephony.TLS && !d.peer.phone() { // what began over TLS stays there
		transport = transportOf(next, transport)
	}
	return uriHostPort(next, transport), transport, routed
}

// move takes in what the next hop was resolved to.
func (d *dialog) move(addr netip.AddrPort, transport telephony.Transport, routed bool, err error) {
	if err != nil || addr.Addr().IsUnspecified() || addr.Addr().IsMulticast() {
		d.e.log.Debug("the peer's Contact has no address; requests follow the INVITE", "trunk", d.peer.name, "err", err)
		addr, transport = d.peer.addr, d.peer.transport
	}
	behindNAT := addr.Addr() != d.peer.addr.Addr() || transport != telephony.UDP // it names its private address
	if d.peer.phone() && !routed && behindNAT {
		addr = d.peer.addr
	}
	d.mu.Lock()
	d.dest, d.transport = addr, transport
	d.mu.Unlock()
}

// from reports whether a request comes from the dialog's far end. A carrier of
// several nodes may end on one of them what another began.
func (d *dialog) from(req *sip.Request) bool {
	host := sourceOf(req).Addr()
	return fromTag(req) == d.tag && (slices.Contains(d.hosts(), host) || d.e.ofTrunk(d.peer.trunk, host))
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
	req := d.e.request(method, newTag(), p, d.dest, recipient, cloneFrom(d.local), cloneTo(d.remote), d.callID, cseq)
	for _, r := range routes {
		req.AppendHeader(&sip.RouteHeader{Address: *r.Clone()})
	}
	if method == sip.INVITE || method == sip.UPDATE || method == sip.REFER {
		req.AppendHeader(d.e.contactFor(p, d.target))
		req.AppendHeader(sip.NewHeader("Allow", allow))
		req.AppendHeader(sip.NewHeader("Supported", supported))
	}
	return req
}

// ack sends the ACK of a 2xx.
func (d *dialog) ack(cseq uint32) { d.e.send(d.peer, d.build(sip.ACK, cseq)) }

// A request in flight, the transaction that carries it, and what is closed with
// its connection.
type sent struct {
	req  *sip.Request
	tx   sip.ClientTransaction
	lost <-chan struct{}
}

// begin sends a request. Requests leave in the order in which begin is called.
func (d *dialog) begin(ctx context.Context, req *sip.Request) (sent, error) {
	d.preauthorize(req)
	tx, lost, err := d.e.begin(ctx, d.peer, req)
	if err != nil && lost != nil { // under our hands: a new connection may do
		tx, lost, err = d.e.begin(ctx, d.peer, req)
	}
	return sent{req, tx, lost}, err
}

// errLost: the connection went away before a final response came.
var errLost = errors.New("the connection was lost")

// do sends a request and returns its final response. One whose connection is
// lost is sent once more, over a new one. It answers up to two challenges, when they come from whom we called.
func (d *dialog) do(ctx context.Context, req *sip.Request) (*sip.Response, error) {
	s, err := d.begin(ctx, req)
	if err != nil {
		return nil, err
	}
	return d.finish(ctx, s)
}

// finish is do for a request that has begun.
func (d *dialog) finish(ctx context.Context, s sent) (*sip.Response, error) {
	again := false
	for challenged := 0; ; challenged++ {
		res, err := d.final(ctx, s)
		if errors.Is(err, errLost) && !again { // the peer takes it for a repetition
			again = true
			if s, err = d.begin(ctx, s.req); err == nil {
				res, err = d.final(ctx, s)
			}
		}
		if err != nil {
			return nil, err
		}
		if !isChallenge(res) || challenged == 2 {
			d.learnNonce(s.req, res)
			return res, nil
		}
		d.mu.Lock()
		d.cseq++
		cseq := d.cseq
		d.mu.Unlock()
		p := d.peer
		p.transport = transportIn(s.req)
		next := d.e.again(s.req, p, cseq)
		if err := authorize(d.peer, next, res); err != nil {
			return res, nil
		}
		if s, err = d.begin(ctx, next); err != nil {
			return nil, err
		}
	}
}

// final returns a transaction's final response. That of an INVITE stays for the
// repeated ones, whose ACK was lost.
func (d *dialog) final(ctx context.Context, s sent) (*sip.Response, error) {
	if !s.req.IsInvite() {
		defer s.tx.Terminate()
	} else {
		s.tx.OnRetransmission(func(res *sip.Response) {
			defer d.e.survive("a repeated answer")
			if res.IsSuccess() {
				d.ack(res.CSeq().SeqNo)
			}
		})
	}
	for {
		select {
		case res := <-s.tx.Responses():
			if !res.IsProvisional() {
				return res, nil
			}
		case <-s.lost:
			s.tx.Terminate()
			return nil, errLost
		case <-s.tx.Done():
			return nil, cmp.Or(s.tx.Err(), errors.New("the SIP user agent was closed"))
		case <-ctx.Done():
			s.tx.Terminate()
			return nil, context.Cause(ctx)
		}
	}
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
		CallID: d.callID, From: d.local.Address.String(), FromName: d.local.DisplayName, LocalTag: d.localTag,
		To: d.remote.Address.String(), RemoteTag: d.tag, Target: d.target.String(),
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
