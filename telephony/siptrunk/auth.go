package siptrunk

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"
)

var errPassword = errors.New("the peer refused the password")

func isChallenge(res *sip.Response) bool { return res.StatusCode == 401 || res.StatusCode == 407 }

// A challenge is a digest challenge that we can answer (RFC 7616), and the
// header that the answer stands in.
type challenge struct {
	digest.Challenge
	answer string
}

// The algorithms that we answer, the best first (RFC 8760).
var algorithms = []string{"SHA-256", "MD5", ""}

// challengesOf returns the challenges of a 401 or 407 that can be answered for
// a peer, the best first, and what is wrong with the last of the others.
func challengesOf(p peer, res *sip.Response) (found []*challenge, err error) {
	name, answer := "www-authenticate", "Authorization"
	if res.StatusCode == 407 {
		name, answer = "proxy-authenticate", "Proxy-Authorization"
	}
	err = errors.New("the response has no challenge")
	for _, h := range res.GetHeaders(name) {
		parsed, parseErr := digest.ParseChallenge(h.Value())
		if parseErr != nil || len(parsed.Nonce) > 1024 {
			err = errors.New("the challenge cannot be read")
			continue
		}
		parsed.Algorithm = strings.ToUpper(parsed.Algorithm)
		qops := parsed.QOP
		parsed.QOP = nil
		for _, qop := range qops {
			if strings.EqualFold(strings.TrimSpace(qop), "auth") {
				parsed.QOP = []string{"auth"}
			}
		}
		switch {
		case !slices.Contains(algorithms, parsed.Algorithm):
			err = fmt.Errorf("the challenge wants algorithm %q; SHA-256 and MD5 are answered", parsed.Algorithm)
		case len(qops) > 0 && len(parsed.QOP) == 0:
			err = fmt.Errorf("the challenge wants qop %q; only auth is answered", strings.Join(qops, ","))
		case p.realm != "" && parsed.Realm != p.realm:
			err = fmt.Errorf("the challenge is for realm %q, the trunk is for %q", parsed.Realm, p.realm)
		default:
			found = append(found, &challenge{*parsed, answer})
		}
	}
	slices.SortStableFunc(found, func(a, b *challenge) int {
		return cmp.Compare(slices.Index(algorithms, a.Algorithm), slices.Index(algorithms, b.Algorithm))
	})
	return found, err
}

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
	found, err := challengesOf(p, res)
	if len(found) == 0 {
		return err
	}
	best := found[0]
	if before := req.GetHeader(best.answer); before != nil && !best.Stale {
		// Asked again: only a fresh nonce for a stale one is worth an answer.
		if old, err := digest.ParseCredentials(before.Value()); err == nil && old.Nonce != "" {
			return errPassword
		}
	}
	return best.sign(p, req)
}

// sign puts the answer to a challenge into a request.
func (c *challenge) sign(p peer, req *sip.Request) error {
	cred, err := digest.Digest(&c.Challenge, digest.Options{
		Method: string(req.Method), URI: req.Recipient.String(), Username: p.username, Password: p.password,
	})
	if err != nil {
		return err
	}
	req.RemoveHeader(c.answer)
	req.AppendHeader(sip.NewHeader(c.answer, cred.String()))
	return nil
}

// learnNonce keeps the nonce that a response names for the next request
// (RFC 7616 3.5).
func (d *dialog) learnNonce(req *sip.Request, res *sip.Response) {
	for _, names := range [...][2]string{
		{"authentication-info", "Authorization"}, {"proxy-authentication-info", "Proxy-Authorization"},
	} {
		nonce := parameter(headerValues(res, names[0]), "nextnonce")
		signed := req.GetHeader(names[1])
		if nonce == "" || len(nonce) > 1024 || signed == nil {
			continue
		}
		old, err := digest.ParseCredentials(signed.Value())
		if err != nil {
			continue
		}
		next := &challenge{
			Challenge: digest.Challenge{Realm: old.Realm, Nonce: nonce, Opaque: old.Opaque, Algorithm: old.Algorithm},
			answer:    names[1],
		}
		if old.QOP != "" {
			next.QOP = []string{old.QOP}
		}
		d.mu.Lock()
		d.next = next
		d.mu.Unlock()
	}
}

// preauthorize signs a request with the nonce that was named for it, once.
func (d *dialog) preauthorize(req *sip.Request) {
	d.mu.Lock()
	next, dest := d.next, d.dest
	d.next = nil
	d.mu.Unlock()
	if next == nil || dest.Addr() != d.peer.addr.Addr() || req.GetHeader(next.answer) != nil {
		return
	}
	if err := next.sign(d.peer, req); err != nil {
		d.e.log.Debug("cannot sign in advance", "trunk", d.peer.name, "err", err)
	}
}

// parameter finds name="value" or name=value among comma-separated ones.
func parameter(header, name string) string {
	for part := range strings.SplitSeq(header, ",") {
		key, value, _ := strings.Cut(part, "=")
		if strings.EqualFold(strings.TrimSpace(key), name) {
			return strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	return ""
}
