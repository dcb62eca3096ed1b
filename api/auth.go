package api

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"math"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"dialer"
)

// Credentials are bearer tokens: API keys for programs, session tokens for
// people. Both are 256 random bits; only their SHA-256 is kept, which is enough
// for a secret that nobody can guess. None ever stands in a URL.
const (
	keyPrefix     = "dlr_live_"
	sessionPrefix = "dlr_sess_"
)

// NewAPIKey makes a key: its id, the token to show once, and the SHA-256 of its
// secret to store.
func NewAPIKey() (id dialer.KeyID, token string, hash []byte) {
	id = dialer.NewKeyID()
	secret := randomHex()
	sum := sha256.Sum256([]byte(secret))
	return id, keyPrefix + strings.TrimPrefix(string(id), "key_") + "_" + secret, sum[:]
}

func randomHex() string {
	var b [32]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// splitKey takes a token of NewAPIKey apart.
func splitKey(token string) (id dialer.KeyID, hash []byte, ok bool) {
	rest, ok := strings.CutPrefix(token, keyPrefix)
	if !ok {
		return "", nil, false
	}
	name, secret, ok := strings.Cut(rest, "_")
	if !ok || len(name) != 26 || len(secret) != 64 {
		return "", nil, false
	}
	sum := sha256.Sum256([]byte(secret))
	return dialer.KeyID("key_" + name), sum[:], true
}

// A caller is who makes a request.
type caller struct {
	user    dialer.User
	key     dialer.KeyID // when by API key
	session string       // hash of the token, when by session
}

// name is how facts and logs name the caller.
func (c caller) name() string {
	if c.key != "" {
		return string(c.key)
	}
	return string(c.user.ID)
}

type contextKey int

const (
	callerKey contextKey = iota
	requestKey
)

func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey).(caller)
	return c
}

func requestURN(ctx context.Context) string {
	id, _ := ctx.Value(requestKey).(string)
	return id
}

// unauthenticated says the same whatever was wrong with the credential.
func unauthenticated() *Problem {
	return refuse(http.StatusUnauthorized, "send a valid API key or session token as 'Authorization: Bearer …'")
}

// authenticate finds the caller behind the Authorization header.
func (s *Server) authenticate(r *http.Request) (caller, error) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || len(r.Header.Values("Authorization")) != 1 {
		return caller{}, unauthenticated()
	}
	token = strings.TrimSpace(token)
	if strings.HasPrefix(token, sessionPrefix) {
		return s.sessions.find(token, s.now())
	}
	id, hash, ok := splitKey(token)
	if !ok {
		return caller{}, unauthenticated()
	}
	// Each lookup is a query. Who asks pays for it by their address, and has it
	// back when the key is good; people's sessions are not looked up and go on
	// from an address that has nothing left.
	from := network(r.RemoteAddr)
	if wait, ok := s.strangers.take(from, s.now()); !ok {
		return caller{}, tooMany(wait, "too many wrong keys from your address")
	}
	ctx, stop := context.WithTimeout(r.Context(), checkTime)
	defer stop()
	user, stored, err := s.store.APIKey(ctx, id)
	if err == nil && subtle.ConstantTimeCompare(hash, stored) == 1 || err != nil && dialer.CodeOf(err) != dialer.NotFound {
		s.strangers.giveBack(from)
	}
	switch {
	case dialer.CodeOf(err) == dialer.NotFound:
		return caller{}, unauthenticated()
	case errors.Is(err, context.DeadlineExceeded):
		return caller{}, refuse(http.StatusServiceUnavailable, "the database does not answer: API keys cannot be checked now; who is logged in is let in")
	case err != nil:
		return caller{}, err
	case subtle.ConstantTimeCompare(hash, stored) != 1 || !user.Role.Valid():
		return caller{}, unauthenticated()
	}
	return caller{user: user, key: id}, nil
}

// pace holds a caller to their rate.
func (s *Server) pace(who caller) error {
	if wait, ok := s.limiter.take(who.name(), s.now()); !ok {
		return tooMany(wait, "too many requests")
	}
	return nil
}

// tooMany refuses for a while.
func tooMany(wait time.Duration, what string) *Problem {
	seconds := max(1, int(math.Ceil(wait.Seconds())))
	p := refuse(http.StatusTooManyRequests, "%s: wait %d s", what, seconds)
	p.retryAfter = seconds
	return p
}

// admit finds the caller, holds them to their rate, and refuses whom the rule
// does not name.
func (s *Server) admit(r *http.Request, rule access) (caller, error) {
	who, err := s.authenticate(r)
	if err != nil {
		return caller{}, err
	}
	if err := s.pace(who); err != nil {
		return caller{}, err
	}
	if !rule.allows(who.user.Role) {
		return caller{}, refuse(http.StatusForbidden, "the role %s may not do this", who.user.Role)
	}
	return who, nil
}

// guard is the door of every route: it knows the route's rule and lets in or
// refuses. It runs after the router has matched.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rule, known := rules[r.Method+" "+chi.RouteContext(r.Context()).RoutePattern()]
		switch {
		case !known:
			writeProblem(w, r, refuse(http.StatusForbidden, "nobody may call this route: it has no rule"))
			return
		case rule == nil:
			next.ServeHTTP(w, r)
			return
		}
		who, err := s.admit(r, rule)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey, who)))
	})
}

// own refuses an agent any agent resource but their own.
func own(ctx context.Context, id dialer.AgentID) error {
	c := callerOf(ctx)
	if c.user.Role == dialer.RoleAgent && (c.user.Agent == "" || c.user.Agent != id) {
		return refuse(http.StatusForbidden, "an agent may see and move only themselves")
	}
	return nil
}

// fail sends any error, and logs it when it is not for the user to see.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	writeProblem(w, r, s.problem(r.Context(), err))
}

// problem turns an error into what the user sees of it.
func (s *Server) problem(ctx context.Context, err error) *Problem {
	p, internal := problemOf(err)
	p.Instance = requestURN(ctx)
	if internal {
		s.log.Error("request failed", "request", p.Instance, "err", err)
	}
	return p
}

// network is whose failures are counted together: an IPv4 address, or the /64
// that an IPv6 host can pick its addresses from.
func network(remote string) string {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return remote
	}
	a := at.Addr().Unmap()
	if p, err := a.WithZone("").Prefix(64); err == nil && a.Is6() {
		return p.String()
	}
	return a.String()
}

// local reports whether a request comes from this machine itself. One that a
// proxy has passed on does not.
func local(r *http.Request) bool {
	for _, h := range []string{"Forwarded", "X-Forwarded-For", "X-Real-Ip", "Via"} {
		if r.Header.Get(h) != "" {
			return false
		}
	}
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && at.Addr().Unmap().IsLoopback()
}

// hostOf is an address without its port.
func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}
