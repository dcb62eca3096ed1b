package siptrunk

import (
	"cmp"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"hash"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"

	"dialer"
	"dialer/telephony"
	"dialer/telephony/media"
)

// allow are the methods that we answer.
const allow = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, PRACK, NOTIFY"

// supported are the extensions that we know: session timers (RFC 4028) and
// reliable provisional responses (RFC 3262).
const supported = "timer, 100rel"

// asBuilt tells sipgo to send a request as it is.
func asBuilt(*sipgo.Client, *sip.Request) error { return nil }

// A peer is whom a call goes to: a trunk or an agent's phone.
type peer struct {
	trunk     dialer.TrunkID // empty for a phone
	name      string         // for logs
	addr      netip.AddrPort // where the INVITE goes
	transport telephony.Transport
	tls       tlsPeer    // whom a TLS connection must lead to
	ours      netip.Addr // our address as the peer sees it
	port      uint16     // our port where we do not listen on its transport
	username  string
	password  string
	realm     string
	codecs    []media.Codec
	srtp      telephony.SRTPPolicy
	sources   []netip.Prefix
	ownAudio  bool // its audio comes from where its SIP does
	from, to  sip.Uri
	fromName  string
	recipient sip.Uri
	headers   map[string]string // added to the INVITE
	opts      telephony.TrunkOptions
}

// phone reports whether the peer is an agent's phone.
func (p peer) phone() bool { return p.trunk == "" }

// audio completes what the peer's SDP agreed. A registered phone behind NAT
// names its private address there; its audio comes from where it registered,
// from a port that media learns.
func (p peer) audio(r media.Remote) media.Remote {
	if p.ownAudio && !r.Addr.Addr().IsUnspecified() {
		r.Addr = netip.AddrPortFrom(p.addr.Addr(), r.Addr.Port())
		if r.Control.IsValid() {
			r.Control = netip.AddrPortFrom(p.addr.Addr(), r.Control.Port())
		}
	}
	r.Sources = append(r.Sources, p.sources...)
	return r
}

// contact is where the peer's requests are to come.
func (e *Endpoint) contact(p peer) sip.Uri {
	u := sip.Uri{Scheme: "sip", User: "dialer", Host: p.ours.String(), Port: e.port(p)}
	addTransport(&u, p.transport)
	return u
}

// contactFor is a Contact for a far end's: sips where that is (RFC 3261 12.1.1).
func (e *Endpoint) contactFor(p peer, far sip.Uri) *sip.ContactHeader {
	at := e.contact(p)
	if strings.EqualFold(far.Scheme, "sips") {
		at.Scheme = "sips"
	}
	return &sip.ContactHeader{Address: at}
}

// port is the one that the peer may send to: of our listener, or without one,
// that of our connection.
func (e *Endpoint) port(p peer) int { return cmp.Or(e.conns.port(p.transport), int(p.port)) }

// callID makes the Call-ID of a call's INVITE to one peer: the call's own id, so
// that a trace is found by it, and 100 bits that only this process can make. Each
// peer has one of its own: one that was given up may belong to the same carrier,
// which must not take both for one call. It is named by the peer and not by the
// turn it had, so that CancelOrphan need not know who was asked before.
func (e *Endpoint) callID(id dialer.CallID, trunk dialer.TrunkID, r route) string {
	return string(id) + "@" + e.macs.name(string(id), string(trunk), string(r.transport)+":"+r.addr.String())[:20]
}

// macs names things by HMACs of one key. A keyed hash is kept for the next one:
// making it costs more than what is hashed.
type macs struct{ keyed sync.Pool }

func newMACs(key []byte) *macs {
	return &macs{keyed: sync.Pool{New: func() any { return hmac.New(sha256.New, key) }}}
}

// name returns 120 bits; parts have no NUL.
func (m *macs) name(parts ...string) string {
	var room [160]byte
	text := room[:0]
	for i, part := range parts {
		if i > 0 {
			text = append(text, 0)
		}
		text = append(text, part...)
	}
	mac := m.keyed.Get().(hash.Hash)
	defer m.keyed.Put(mac)
	mac.Reset()
	mac.Write(text)
	return lower32.EncodeToString(mac.Sum(text[:0])[:15])
}

// callOf is the inverse of callID.
func callOf(callID string) dialer.CallID {
	id, _, _ := strings.Cut(callID, "@")
	return dialer.CallID(id)
}

var lower32 = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// newTag returns 120 random bits for a tag or a branch.
func newTag() string {
	b := make([]byte, 15)
	rand.Read(b) // never fails
	return lower32.EncodeToString(b)
}

// named returns 120 bits that name a part of a call. With the same Config.Key the
// next process finds the same ones, and can cancel what this one left ringing.
func (e *Endpoint) named(part, callID string, cseq uint32) string {
	return e.macs.name(part, callID, strconv.FormatUint(uint64(cseq), 10))
}

// via returns a Via; the branch names the transaction: a new one, or that of an
// INVITE outside of dialogs, which its call and CSeq name.
func (e *Endpoint) via(p peer, branch string) *sip.ViaHeader {
	v := &sip.ViaHeader{
		ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: upper(p.transport),
		Host: hostOf(p.ours), Port: e.port(p), Params: make(sip.HeaderParams, 0, 2),
	}
	v.Params.Add("branch", sip.RFC3261BranchMagicCookie+"."+branch)
	v.Params.Add("rport", "")
	return v
}

func hostOf(a netip.Addr) string {
	if a.Is6() {
		return "[" + a.String() + "]"
	}
	return a.String()
}

// aim says which way a request goes.
func (e *Endpoint) aim(req *sip.Request, transport telephony.Transport, to string) {
	req.SetTransport(upper(transport))
	req.SetDestination(to)
	if transport == telephony.UDP {
		req.Laddr = e.laddr // else sipgo opens a socket of its own when Contact differs
	}
}

// request builds what every request has. The order is the order on the wire.
func (e *Endpoint) request(method sip.RequestMethod, branch string, p peer, to netip.AddrPort, recipient sip.Uri,
	from *sip.FromHeader, toHeader *sip.ToHeader, callID string, cseq uint32) *sip.Request {

	req := sip.NewRequest(method, recipient)
	req.AppendHeader(e.via(p, branch))
	forwards := sip.MaxForwardsHeader(70)
	req.AppendHeader(&forwards)
	req.AppendHeader(from)
	req.AppendHeader(toHeader)
	id := sip.CallIDHeader(callID)
	req.AppendHeader(&id)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: cseq, MethodName: method})
	req.AppendHeader(sip.NewHeader("User-Agent", "dialer"))
	e.aim(req, p.transport, to.String())
	req.SetBody(nil)
	return req
}

// newInvite builds the INVITE of a call.
func (e *Endpoint) newInvite(p peer, callID string, sdp []byte) *sip.Request {
	from := &sip.FromHeader{DisplayName: displayName(p.fromName), Address: p.from}
	from.Params.Add("tag", e.named("tag", callID, 0))
	req := e.request(sip.INVITE, e.named("branch", callID, 1), p, p.addr, p.recipient, from,
		&sip.ToHeader{Address: p.to}, callID, 1)
	req.AppendHeader(&sip.ContactHeader{Address: e.contact(p)})
	req.AppendHeader(sip.NewHeader("Allow", allow))
	req.AppendHeader(sip.NewHeader("Supported", supported))
	for _, name := range slices.Sorted(maps.Keys(p.headers)) {
		req.AppendHeader(sip.NewHeader(name, p.headers[name]))
	}
	setSDP(req, sdp)
	return req
}

// again makes a request that was challenged ready to be sent once more.
func (e *Endpoint) again(req *sip.Request, p peer, cseq uint32) *sip.Request {
	next := req.Clone()
	next.RemoveHeader("Via")
	branch := newTag()
	if req.IsInvite() && toTag(req) == "" {
		branch = e.named("branch", req.CallID().Value(), cseq)
	}
	next.PrependHeader(e.via(p, branch))
	next.CSeq().SeqNo = cseq
	return next
}

// newCancel builds the CANCEL of an INVITE (RFC 3261 9.1): same Request-URI,
// top Via, Call-ID, From, To and CSeq number.
func (e *Endpoint) newCancel(invite *sip.Request) *sip.Request {
	req := sip.NewRequest(sip.CANCEL, *invite.Recipient.Clone())
	req.AppendHeader(invite.Via().Clone())
	forwards := sip.MaxForwardsHeader(70)
	req.AppendHeader(&forwards)
	for _, name := range []string{"Route", "From", "To", "Call-ID"} {
		sip.CopyHeaders(name, invite, req)
	}
	req.AppendHeader(&sip.CSeqHeader{SeqNo: invite.CSeq().SeqNo, MethodName: sip.CANCEL})
	req.AppendHeader(sip.NewHeader("User-Agent", "dialer"))
	e.aim(req, transportIn(invite), invite.Destination())
	req.SetBody(nil)
	return req
}

// displayName makes text fit for a quoted string: control characters go,
// quotes are escaped, and what could end the address is replaced.
func displayName(s string) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		switch {
		case n == 64:
			return b.String()
		case unicode.IsControl(r) || r == unicode.ReplacementChar:
			continue
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '<' || r == '>' || r == '@' || r == ';':
			b.WriteByte(' ')
		default:
			b.WriteRune(r)
		}
		n++
	}
	return b.String()
}

// headerSafe reports whether a value may stand in a header as it is.
func headerSafe(s string) bool { return telephony.HeaderSafe(s) }

// plain makes text of a peer fit to be stored and shown: valid UTF-8, no control
// characters, at most n bytes.
func plain(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s[:min(len(s), n)], ""))
	return s
}

// tagOf returns the tag of a From or To header's parameters.
func tagOf(params sip.HeaderParams) string {
	tag, _ := params.Get("tag")
	return tag
}

func toTag(msg sip.Message) string {
	if to := msg.To(); to != nil {
		return tagOf(to.Params)
	}
	return ""
}

func fromTag(msg sip.Message) string {
	if from := msg.From(); from != nil {
		return tagOf(from.Params)
	}
	return ""
}

// compact are the short names of headers that sipgo does not know by both.
var compact = map[string]string{
	"content-type": "c", "content-encoding": "e", "supported": "k", "session-expires": "x", "identity": "y",
	"event": "o", "refer-to": "r", "referred-by": "b", "allow-events": "u",
}

// headersOf returns all headers of a name, given in lower case.
func headersOf(msg sip.Message, name string) (found []sip.Header) {
	short := compact[name]
	// Not GetHeaders, which makes each name of the message lower case each time.
	for _, h := range headers(msg) {
		if is := h.Name(); strings.EqualFold(is, name) || short != "" && strings.EqualFold(is, short) {
			found = append(found, h)
		}
	}
	return found
}

// headers are all of a message.
func headers(msg sip.Message) []sip.Header {
	return msg.(interface{ Headers() []sip.Header }).Headers()
}

// headerValues joins all headers of a name, as RFC 3261 7.3.1 allows.
func headerValues(msg sip.Message, name string) string {
	found := headersOf(msg, name)
	if len(found) == 1 {
		return found[0].Value()
	}
	var values []string
	for _, h := range found {
		values = append(values, h.Value())
	}
	return strings.Join(values, ",")
}

// optionTags returns the option tags of a header such as Require, in lower case.
func optionTags(msg sip.Message, name string) []string {
	var tags []string
	for tag := range strings.SplitSeq(headerValues(msg, name), ",") {
		if tag = strings.ToLower(strings.TrimSpace(tag)); tag != "" {
			tags = append(tags, tag)
		}
	}
	return tags
}

// retryAfter reads "120", "120;duration=60" and "120 (busy)"; 0 when there is none.
func retryAfter(msg sip.Message) time.Duration {
	text := strings.TrimSpace(headerValues(msg, "retry-after"))
	if end := strings.IndexFunc(text, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
		text = text[:end]
	}
	seconds, err := strconv.Atoi(text)
	if err != nil || seconds > 1<<24 {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// sourceOf returns the address that a message came from.
func sourceOf(msg sip.Message) netip.AddrPort {
	a, _ := netip.ParseAddrPort(msg.Source())
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// upper is a transport's name in Via.
func upper(t telephony.Transport) string {
	switch t {
	case telephony.UDP:
		return "UDP"
	case telephony.TCP:
		return "TCP"
	case telephony.TLS:
		return "TLS"
	}
	return strings.ToUpper(string(t))
}

// transportIn is the one that a message came or goes by.
func transportIn(msg sip.Message) telephony.Transport {
	name := msg.Transport()
	if name == "UDP" {
		return telephony.UDP
	}
	return telephony.Transport(strings.ToLower(name))
}

// transportOf is the transport that a URI asks for, or otherwise one.
func transportOf(u sip.Uri, otherwise telephony.Transport) telephony.Transport {
	if strings.EqualFold(u.Scheme, "sips") {
		return telephony.TLS
	}
	name, _ := u.UriParams.Get("transport")
	switch t := telephony.Transport(strings.ToLower(name)); t {
	case telephony.UDP, telephony.TCP, telephony.TLS:
		return t
	}
	return otherwise
}

// addTransport makes a URI name its transport; UDP goes without saying.
func addTransport(u *sip.Uri, t telephony.Transport) {
	if t != telephony.UDP {
		u.UriParams.Add("transport", string(t))
	}
}

// uriHostPort is where a URI points to: its host, and its port or that of the
// transport.
func uriHostPort(u sip.Uri, transport telephony.Transport) string {
	host := strings.Trim(u.Host, "[]")
	port := u.Port
	if port == 0 {
		port = sip.DefaultPort(string(transport))
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(port)
}

// reasonHeader tells the peer why we hang up (RFC 3326).
func reasonHeader(c telephony.Cause) sip.Header {
	switch c {
	case telephony.CauseMediaLost:
		return sip.NewHeader("Reason", `Q.850;cause=41;text="no RTP"`)
	case telephony.CauseFailed:
		return sip.NewHeader("Reason", `Q.850;cause=31;text="call failed"`)
	default:
		return sip.NewHeader("Reason", `Q.850;cause=16;text="Normal call clearing"`)
	}
}
