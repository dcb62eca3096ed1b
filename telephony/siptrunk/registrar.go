package siptrunk

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"

	"dialer/telephony"
)

// A Binding is where an agent's phone has registered.
type Binding struct {
	AOR       string         // the user part it registers as: the extension
	Contact   string         // the URI it gave
	Source    netip.AddrPort // where its REGISTER came from
	CallID    string
	CSeq      uint32
	Expires   time.Time
	UserAgent string
}

// A BindingStore keeps registrations over a restart. An AOR has one binding:
// the phone that registered last.
type BindingStore interface {
	SaveBinding(ctx context.Context, b Binding) error
	DeleteBinding(ctx context.Context, aor string) error
	Bindings(ctx context.Context) ([]Binding, error)
}

// flow is where requests to the phone go: its Contact, or where its REGISTER
// came from when the Contact is an address behind NAT. Over TCP and TLS it is
// always the connection that the phone has opened.
func (b Binding) flow() netip.AddrPort {
	var uri sip.Uri
	if err := sip.ParseUri(b.Contact, &uri); err == nil && transportOf(uri, telephony.UDP) == telephony.UDP {
		if a, err := netip.ParseAddrPort(uriHostPort(uri, telephony.UDP)); err == nil && a.Addr().Unmap() == b.Source.Addr() {
			return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
		}
	}
	return b.Source
}

const (
	defaultExpires = 3600
	minExpires     = 30
	maxExpires     = 7200
	nonceLife      = 5 * time.Minute
	lookupWait     = 3 * time.Second
	registerQueue  = 512
	mostBindings   = 50_000
	fullWait       = 60 // seconds
)

// A registrar keeps agents' phones (RFC 3261 10.3). It answers without
// transactions: a repeated REGISTER does the same again.
type registrar struct {
	e    *Endpoint
	jobs chan registration

	mu       sync.Mutex
	bindings map[string]*bound // by AOR
}

type bound struct {
	Binding
	leave     func() // takes the phone's host off the list of known ones
	nonce     string // last used
	nonceUses uint64
}

type registration struct {
	req  *sip.Request
	from origin
}

func newRegistrar(e *Endpoint) *registrar {
	return &registrar{e: e, jobs: make(chan registration, registerQueue), bindings: map[string]*bound{}}
}

// load takes over the registrations of before a restart.
func (r *registrar) load(ctx context.Context) error {
	if r.e.cfg.Bindings == nil {
		return nil
	}
	saved, err := r.e.cfg.Bindings.Bindings(ctx)
	if err != nil {
		return err
	}
	now := time.Now()
	for _, b := range saved {
		if b.Expires.After(now) && b.Source.IsValid() {
			r.put(b)
		}
	}
	return nil
}

func (r *registrar) put(b Binding) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := &bound{Binding: b, leave: r.e.sock.peers.add(b.flow().Addr())}
	if old := r.bindings[b.AOR]; old != nil {
		old.leave()
		next.nonce, next.nonceUses = old.nonce, old.nonceUses
	}
	r.bindings[b.AOR] = next
}

func (r *registrar) lookup(aor string, now time.Time) (Binding, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.bindings[aor]
	if b == nil || !b.Expires.After(now) {
		return Binding{}, false
	}
	return b.Binding, true
}

func (r *registrar) remove(aor string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if b := r.bindings[aor]; b != nil {
		b.leave()
		delete(r.bindings, aor)
	}
}

// expire forgets the phones that did not register again.
func (r *registrar) expire(ctx context.Context, now time.Time) {
	r.mu.Lock()
	var gone []string
	for aor, b := range r.bindings {
		if !b.Expires.After(now) {
			b.leave()
			delete(r.bindings, aor)
			gone = append(gone, aor)
		}
	}
	r.mu.Unlock()
	for _, aor := range gone {
		r.forget(ctx, aor)
	}
}

func (r *registrar) forget(ctx context.Context, aor string) {
	if r.e.cfg.Bindings == nil {
		return
	}
	if err := r.e.cfg.Bindings.DeleteBinding(ctx, aor); err != nil {
		r.e.log.Warn("cannot delete a phone registration", "extension", aor, "err", err)
	}
}

// queue hands a REGISTER to the workers; when they cannot keep up it is
// dropped, and the phone repeats it.
func (r *registrar) queue(req *sip.Request, from origin) {
	select {
	case r.jobs <- registration{req, from}:
	default:
		r.e.sock.drop(from.addr, "the registrar is busy")
	}
}

// work answers REGISTERs until ctx ends.
func (r *registrar) work(ctx context.Context) {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			r.expire(ctx, now)
		case job := <-r.jobs:
			func() {
				defer r.e.survive("a REGISTER")
				ctx, cancel := context.WithTimeout(ctx, lookupWait)
				defer cancel()
				r.register(ctx, job.req, job.from)
			}()
		}
	}
}

// register is RFC 3261 10.3.
func (r *registrar) register(ctx context.Context, req *sip.Request, by origin) {
	from := by.addr
	answer := func(status int, reason string, headers ...sip.Header) {
		r.e.sock.answer(req, by, status, reason, headers...)
	}
	if r.e.cfg.Credentials == nil {
		answer(403, "Forbidden")
		return
	}
	if required := headerValues(req, "require"); required != "" {
		answer(420, "Bad Extension", sip.NewHeader("Unsupported", required))
		return
	}
	cred, stale, err := r.authenticate(ctx, req, from)
	if err != nil {
		r.e.log.Error("cannot look up a phone's password", "err", err)
		answer(503, "Service Unavailable", sip.NewHeader("Retry-After", "5"))
		return
	}
	if cred == nil {
		answer(401, "Unauthorized", r.challenge(from.Addr(), stale, time.Now()))
		return
	}
	r.e.sock.limit.credit(from.Addr())
	aor := req.To().Address.User
	b, remove, status, reason := readRegister(req, by, time.Now())
	if status != 0 {
		answer(status, reason, sip.NewHeader("Min-Expires", strconv.Itoa(minExpires)))
		return
	}
	switch err := r.apply(ctx, aor, b, remove); err {
	case nil:
	case errTooOld:
		answer(500, "CSeq Out Of Order")
		return
	default:
		answer(503, "Service Unavailable", sip.NewHeader("Retry-After", strconv.Itoa(fullWait)))
		return
	}
	r.used(cred)
	if by.stream != nil && r.e.sock.peers.known(from.Addr()) {
		r.e.conns.trust(by.stream)
	}
	headers := []sip.Header{sip.NewHeader("Date", time.Now().UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT"))}
	if now, ok := r.lookup(aor, time.Now()); ok {
		left := int(time.Until(now.Expires).Round(time.Second) / time.Second)
		headers = append(headers, sip.NewHeader("Contact", fmt.Sprintf("<%s>;expires=%d", now.Contact, left)))
	}
	answer(200, "OK", headers...)
}

// readRegister reads what a REGISTER asks for: a binding, a removal, or
// neither (a query). A status other than 0 refuses it.
func readRegister(req *sip.Request, by origin, now time.Time) (b Binding, remove bool, status int, reason string) {
	expires := defaultExpires
	if text := headerValues(req, "expires"); text != "" {
		n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 32)
		if err != nil {
			return b, false, 400, "Bad Expires"
		}
		expires = int(min(n, 1<<31))
	}
	contacts := append(req.GetHeaders("contact"), req.GetHeaders("m")...)
	if len(contacts) == 0 {
		return b, false, 0, ""
	}
	var uri sip.Uri
	var params sip.HeaderParams
	for _, h := range contacts { // the last that is not a removal is where the phone is
		if strings.TrimSpace(h.Value()) == "*" || strings.HasPrefix(h.Value(), "<*>") {
			if len(contacts) != 1 || expires != 0 {
				return b, false, 400, "Bad Contact"
			}
			return b, true, 0, ""
		}
		var u sip.Uri
		var p sip.HeaderParams
		if _, err := sip.ParseAddressValue(h.Value(), &u, &p); err != nil {
			return b, false, 400, "Bad Contact"
		}
		if e, ok := p.Get("expires"); ok && e == "0" && len(contacts) > 1 {
			continue
		}
		uri, params = u, p
	}
	if text, ok := params.Get("expires"); ok {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return b, false, 400, "Bad Expires"
		}
		expires = int(min(n, 1<<31))
	}
	transport, _ := uri.UriParams.Get("transport")
	contact := uri.String()
	switch {
	case uri.Host == "" || uri.Scheme != "sip" || len(contact) > 512 || !headerSafe(contact) || strings.ContainsAny(contact, "<>\" "):
		return b, false, 400, "Bad Contact"
	case !headerSafe(req.CallID().Value()):
		return b, false, 400, "Bad Call-ID"
	case !strings.EqualFold(cmp.Or(transport, string(telephony.UDP)), string(by.transport)):
		return b, false, 400, "Contact Of This Transport Needed"
	case expires == 0:
		return Binding{Contact: contact}, true, 0, ""
	case expires < minExpires:
		return b, false, 423, "Interval Too Brief"
	}
	expires = min(expires, maxExpires)
	return Binding{
		AOR: req.To().Address.User, Contact: contact, Source: by.addr,
		CallID: req.CallID().Value(), CSeq: req.CSeq().SeqNo,
		Expires:   now.Add(time.Duration(expires) * time.Second),
		UserAgent: plain(headerValues(req, "user-agent"), 128),
	}, false, 0, ""
}

// The ways in which a REGISTER with the right password fails.
var (
	errTooOld    = errors.New("older than one that the phone sent before")
	errTableFull = errors.New("no more phones can register")
)

// apply stores, removes or leaves the binding.
func (r *registrar) apply(ctx context.Context, aor string, b Binding, remove bool) error {
	old, had := r.lookup(aor, time.Now())
	switch {
	case remove:
		if had && (b.Contact == "" || b.Contact == old.Contact) {
			r.remove(aor)
			r.forget(ctx, aor)
		}
	case b.Contact == "":
	case had && old.CallID == b.CallID && b.CSeq < old.CSeq:
		return errTooOld
	default:
		r.mu.Lock()
		full := r.bindings[aor] == nil && len(r.bindings) >= mostBindings
		r.mu.Unlock()
		if full {
			return errTableFull
		}
		r.put(b)
		if r.e.cfg.Bindings != nil {
			if err := r.e.cfg.Bindings.SaveBinding(ctx, b); err != nil {
				r.e.log.Warn("cannot save a phone registration; it is lost at a restart", "extension", aor, "err", err)
			}
		}
	}
	return nil
}

// challenge returns a fresh challenge. The nonce is a time and a code that only
// we can make for this address, so nothing is stored for a stranger.
func (r *registrar) challenge(from netip.Addr, stale bool, now time.Time) sip.Header {
	value := fmt.Sprintf(`Digest realm="%s", nonce="%s", algorithm=MD5, qop="auth"`, quoted(r.e.cfg.Realm), r.nonce(from, now))
	if stale {
		value += ", stale=true"
	}
	return sip.NewHeader("WWW-Authenticate", value)
}

func quoted(s string) string { return strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) }

func (r *registrar) nonce(from netip.Addr, at time.Time) string {
	raw := binary.BigEndian.AppendUint64(nil, uint64(at.UnixMilli()))
	return base64.RawURLEncoding.EncodeToString(append(raw, r.nonceCode(from, raw)...))
}

func (r *registrar) nonceCode(from netip.Addr, at []byte) []byte {
	mac := hmac.New(sha256.New, r.e.key)
	mac.Write([]byte("nonce"))
	mac.Write(at)
	mac.Write(from.AsSlice())
	return mac.Sum(nil)[:16]
}

// nonceAge says how old a nonce is; it is not ok when we did not make it, or not
// for this address.
func (r *registrar) nonceAge(nonce string, from netip.Addr, now time.Time) (age time.Duration, ok bool) {
	raw, err := base64.RawURLEncoding.DecodeString(nonce)
	if err != nil || len(raw) != 24 || !hmac.Equal(raw[8:], r.nonceCode(from, raw[:8])) {
		return 0, false
	}
	return now.Sub(time.UnixMilli(int64(binary.BigEndian.Uint64(raw)))), true
}

// authenticate returns a REGISTER's credentials when they are right. stale means
// that only the nonce was not: the phone tries again by itself. A stranger who
// was not challenged, or names many passwords, costs no lookup of them.
func (r *registrar) authenticate(ctx context.Context, req *sip.Request, from netip.AddrPort) (right *digest.Credentials, stale bool, err error) {
	cred := r.credentials(req)
	if cred == nil {
		return nil, false, nil
	}
	age, ours := r.nonceAge(cred.Nonce, from.Addr(), time.Now())
	if !ours {
		return nil, true, nil // of before a restart, or the phone has moved
	}
	ha1, known, err := r.e.cfg.Credentials(ctx, cred.Username)
	if err != nil || !known || !rightAnswer(cred, ha1) {
		return nil, false, err
	}
	if age < 0 || age >= nonceLife || !r.unused(cred, req) {
		return nil, true, nil
	}
	return cred, false, nil
}

// credentials returns the first ones for our realm, nil when there are none or
// they cannot be right.
func (r *registrar) credentials(req *sip.Request) *digest.Credentials {
	for _, h := range req.GetHeaders("authorization") {
		cred, err := digest.ParseCredentials(h.Value())
		if err != nil || cred.Realm != r.e.cfg.Realm {
			continue
		}
		if len(cred.Username) > 128 || cred.QOP != "auth" || cred.Algorithm != "" && !strings.EqualFold(cred.Algorithm, "MD5") {
			return nil
		}
		// A phone registers itself and nobody else.
		if cred.Username == "" || cred.Username != req.To().Address.User || !headerSafe(cred.Username) {
			return nil
		}
		return cred
	}
	return nil
}

func rightAnswer(cred *digest.Credentials, ha1 string) bool {
	want, err := digest.Digest(
		&digest.Challenge{Realm: cred.Realm, Nonce: cred.Nonce, Algorithm: "MD5", QOP: []string{"auth"}},
		digest.Options{
			Method: "REGISTER", URI: cred.URI, Username: cred.Username,
			A1: strings.ToLower(ha1), Cnonce: cred.Cnonce, Count: cred.Nc,
		})
	return err == nil && cred.Nc > 0 && cred.Cnonce != "" &&
		subtle.ConstantTimeCompare([]byte(want.Response), []byte(strings.ToLower(cred.Response))) == 1
}

// unused refuses credentials that were used before, which a listener could
// replay with a Contact of its own; a phone's retransmission is let through.
func (r *registrar) unused(cred *digest.Credentials, req *sip.Request) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.bindings[cred.Username]
	if b == nil || b.nonce != cred.Nonce {
		return true
	}
	return uint64(cred.Nc) > b.nonceUses || b.CallID == req.CallID().Value() && b.CSeq == req.CSeq().SeqNo
}

// used remembers the credentials of a REGISTER that was accepted.
func (r *registrar) used(cred *digest.Credentials) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if b := r.bindings[cred.Username]; b != nil {
		b.nonce, b.nonceUses = cred.Nonce, max(uint64(cred.Nc), b.nonceUses)
	}
}
