package api

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"math"
	"net"
	"net/http"
	"strings"

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
	user, stored, err := s.store.APIKey(r.Context(), id)
	switch {
	case dialer.CodeOf(err) == dialer.NotFound:
		return caller{}, unauthenticated()
	case err != nil:
		return caller{}, err
	case subtle.ConstantTimeCompare(hash, stored) != 1 || !user.Role.Valid():
		return caller{}, unauthenticated()
	}
	return caller{user: user, key: id}, nil
}

// guard is the door of every route: it knows the route's rule, finds the
// caller, holds them to their rate, and lets in or refuses. It runs after the
// router has matched.
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
		who, err := s.authenticate(r)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		if wait, ok := s.limiter.take(who.name(), s.now()); !ok {
			seconds := int(math.Ceil(wait.Seconds()))
			w.Header().Set("Retry-After", fmt.Sprint(seconds))
			writeProblem(w, r, refuse(http.StatusTooManyRequests, "too many requests: wait %d s", seconds))
			return
		}
		if !rule.allows(who.user.Role) {
			writeProblem(w, r, refuse(http.StatusForbidden, "the role %s may not do this", who.user.Role))
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

// hostOf is an address without its port.
func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}
