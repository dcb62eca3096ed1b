package siptest

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"
)

// authenticator challenges callers by digest (RFC 8760 over RFC 3261 22). Its
// nonces carry their time and a signature, so that it remembers nothing.
type authenticator struct {
	user, password, realm string
	status                int // 401 or 407
	key                   []byte
}

const nonceLife = 5 * time.Minute

func newAuthenticator(user, password, realm string, status int) *authenticator {
	key := make([]byte, 32)
	rand.Read(key)
	return &authenticator{user: user, password: password, realm: realm, status: status, key: key}
}

// check returns nil for a caller who knows the password, else the header of
// the challenge.
func (a *authenticator) check(req *sip.Request, now time.Time) sip.Header {
	header, challenge := "Authorization", "WWW-Authenticate"
	if a.status == sip.StatusProxyAuthRequired {
		header, challenge = "Proxy-Authorization", "Proxy-Authenticate"
	}
	c := digest.Challenge{Realm: a.realm, Nonce: a.nonce(now), Algorithm: "MD5", QOP: []string{"auth"}}
	if h := req.GetHeader(header); h != nil {
		if cred, err := digest.ParseCredentials(h.Value()); err == nil && a.knows(cred, req) {
			if a.fresh(cred.Nonce, now) {
				return nil
			}
			c.Stale = true
		}
	}
	return sip.NewHeader(challenge, c.String())
}

func (a *authenticator) knows(cred *digest.Credentials, req *sip.Request) bool {
	c := &digest.Challenge{Realm: a.realm, Nonce: cred.Nonce, Algorithm: "MD5"}
	if cred.QOP != "" {
		c.QOP = []string{"auth"}
	}
	want, err := digest.Digest(c, digest.Options{
		Method: string(req.Method), URI: cred.URI, Username: a.user, Password: a.password,
		Count: cred.Nc, Cnonce: cred.Cnonce,
	})
	return err == nil && cred.Username == a.user && cred.Realm == a.realm &&
		subtle.ConstantTimeCompare([]byte(want.Response), []byte(cred.Response)) == 1
}

func (a *authenticator) nonce(now time.Time) string {
	at := strconv.FormatInt(now.Unix(), 36)
	mac := hmac.New(sha256.New, a.key)
	mac.Write([]byte(at))
	return at + "." + hex.EncodeToString(mac.Sum(nil)[:12])
}

func (a *authenticator) fresh(nonce string, now time.Time) bool {
	at, _, _ := strings.Cut(nonce, ".")
	made, err := strconv.ParseInt(at, 36, 64)
	if err != nil || subtle.ConstantTimeCompare([]byte(a.nonce(time.Unix(made, 0))), []byte(nonce)) != 1 {
		return false
	}
	age := now.Sub(time.Unix(made, 0))
	return age >= -time.Second && age < nonceLife
}
