package api

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"dialer"
)

// TestWhoMayCallWhat asks every route as every role and as nobody: those that
// the table names get past the door, nobody else does.
func TestWhoMayCallWhat(t *testing.T) {
	h := open(t)
	for name, rule := range rules {
		method, route, _ := strings.Cut(name, " ")
		if strings.HasSuffix(route, "/stream") || strings.HasSuffix(route, "/ws") {
			continue // they have tests of their own
		}
		path := strings.NewReplacer("{id}", "agt_1", "{lead}", "x", "{number}", "+12025550143", "{sha}", "x").Replace(route)
		for _, role := range append(dialer.Roles(), "") {
			if name == "DELETE /v1/session" && rule.allows(role) {
				continue
			}
			var body any
			if method == http.MethodPost || method == http.MethodPatch {
				body = "{}"
			}
			r := h.do(role, method, path, body)
			switch {
			case rule == nil:
				if r.StatusCode == http.StatusForbidden {
					t.Errorf("%s as %q: %d, want to be let in", name, role, r.StatusCode)
				}
			case role == "":
				if p := h.problem(r); p.Status != http.StatusUnauthorized || p.Code != "unauthenticated" {
					t.Errorf("%s as nobody: %d %s, want 401", name, p.Status, p.Code)
				}
			case rule.allows(role):
				if r.StatusCode == http.StatusUnauthorized || r.StatusCode == http.StatusForbidden && !strings.Contains(string(r.body), "not an agent") {
					t.Errorf("%s as %s: %d, want to be let in: %s", name, role, r.StatusCode, r.body)
				}
			default:
				if p := h.problem(r); p.Status != http.StatusForbidden {
					t.Errorf("%s as %s: %d, want 403", name, role, p.Status)
				}
			}
			if r.StatusCode >= 500 {
				t.Errorf("%s as %q: %d %s", name, role, r.StatusCode, r.body)
			}
		}
	}
}

func TestCredentials(t *testing.T) {
	h := open(t)
	good := h.keys[dialer.RoleAdmin]
	flip := func(s string, at int) string {
		b := []byte(s)
		b[at] ^= 1
		return string(b)
	}
	for name, header := range map[string]string{
		"none":            "",
		"no scheme":       good,
		"basic":           "Basic " + good,
		"wrong secret":    "Bearer " + flip(good, len(good)-1),
		"wrong id":        "Bearer " + flip(good, len(keyPrefix)+3),
		"cut off":         "Bearer " + good[:len(good)-1],
		"unknown session": "Bearer " + sessionPrefix + randomHex(),
		"garbage":         "Bearer dlr_live_%00_" + strings.Repeat("x", 5000),
	} {
		r := h.do("", http.MethodGet, "/v1/campaigns", nil, "Authorization", header)
		if r.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %d, want 401", name, r.StatusCode)
		}
		if strings.Contains(string(r.body), "dlr_") && !strings.Contains(string(r.body), "API key or session") {
			t.Errorf("%s: the credential came back: %s", name, r.body)
		}
	}
	h.want(http.StatusOK, "", http.MethodGet, "/v1/campaigns", nil, "Authorization", "bearer "+good)
}

func TestKeyIsShownOnceAndCanBeRevoked(t *testing.T) {
	h := open(t)
	made := into[KeyView](h, h.want(http.StatusCreated, dialer.RoleAdmin, http.MethodPost, "/v1/api-keys", `{"name":"crm","role":"manager"}`))
	h.want(http.StatusOK, "", http.MethodGet, "/v1/campaigns", nil, "Authorization", "Bearer "+made.Token)
	all := h.want(http.StatusOK, dialer.RoleAdmin, http.MethodGet, "/v1/api-keys", nil)
	_, secret, _ := strings.Cut(strings.TrimPrefix(made.Token, keyPrefix), "_")
	if strings.Contains(string(all.body), secret) {
		t.Error("the list of keys shows a secret")
	}
	h.want(http.StatusNoContent, dialer.RoleAdmin, http.MethodDelete, "/v1/api-keys/"+string(made.ID), nil)
	h.want(http.StatusUnauthorized, "", http.MethodGet, "/v1/campaigns", nil, "Authorization", "Bearer "+made.Token)
}

func TestLogin(t *testing.T) {
	var clock atomic.Int64
	clock.Store(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC).UnixNano())
	h := open(t, func(c *Config) { c.Now = func() time.Time { return time.Unix(0, clock.Load()) } })
	wait := func(d time.Duration) { clock.Add(int64(d)) }
	h.want(http.StatusCreated, dialer.RoleAdmin, http.MethodPost, "/v1/users",
		`{"name":"anna","password":"correct horse battery","role":"agent","agent_id":"agt_1"}`)

	login := func(name, password string) reply {
		return h.do("", http.MethodPost, "/v1/sessions", map[string]string{"name": name, "password": password})
	}
	r := login("anna", "correct horse battery")
	if r.StatusCode != http.StatusCreated {
		t.Fatalf("login: %d %s", r.StatusCode, r.body)
	}
	ses := into[SessionView](h, r)
	if ses.Agent != "agt_1" || ses.Role != dialer.RoleAgent || !strings.HasPrefix(ses.Token, sessionPrefix) {
		t.Fatalf("session %+v", ses)
	}
	bearer := "Bearer " + ses.Token
	h.want(http.StatusOK, "", http.MethodGet, "/v1/agents/agt_1", nil, "Authorization", bearer)
	h.want(http.StatusForbidden, "", http.MethodGet, "/v1/agents/agt_2", nil, "Authorization", bearer)
	h.want(http.StatusForbidden, "", http.MethodPost, "/v1/agents/agt_2/ready", nil, "Authorization", bearer)

	// Unknown people and wrong passwords are told alike.
	a, b := login("anna", "wrong password!!"), login("nobody", "wrong password!!")
	if a.StatusCode != 401 || b.StatusCode != 401 || h.problem(a).Detail != h.problem(b).Detail {
		t.Errorf("wrong password: %d %s; unknown user: %d %s", a.StatusCode, a.body, b.StatusCode, b.body)
	}
	// Who guesses waits longer and longer, even with the right password.
	for range 5 {
		login("anna", "wrong password!!")
	}
	barred := login("anna", "correct horse battery")
	if barred.StatusCode != http.StatusTooManyRequests {
		t.Errorf("after many guesses: %d, want 429", barred.StatusCode)
	}
	wait(10 * time.Minute)
	if r := login("anna", "correct horse battery"); r.StatusCode != http.StatusCreated {
		t.Errorf("after the wait: %d %s", r.StatusCode, r.body)
	}

	h.want(http.StatusOK, "", http.MethodGet, "/v1/session", nil, "Authorization", bearer)
	wait(sessionIdle + time.Second)
	h.want(http.StatusUnauthorized, "", http.MethodGet, "/v1/session", nil, "Authorization", bearer)

	again := into[SessionView](h, login("anna", "correct horse battery"))
	h.want(http.StatusNoContent, "", http.MethodDelete, "/v1/session", nil, "Authorization", "Bearer "+again.Token)
	h.want(http.StatusUnauthorized, "", http.MethodGet, "/v1/session", nil, "Authorization", "Bearer "+again.Token)

	last := into[SessionView](h, login("anna", "correct horse battery"))
	h.want(http.StatusNoContent, dialer.RoleAdmin, http.MethodDelete, "/v1/users/"+string(last.User), nil)
	h.want(http.StatusUnauthorized, "", http.MethodGet, "/v1/session", nil, "Authorization", "Bearer "+last.Token)
}

func TestSessionEndsAfterTwelveHours(t *testing.T) {
	now := time.Now()
	s := newSessions()
	token, err := s.open(dialer.User{ID: "usr_1"}, now)
	if err != nil {
		t.Fatal(err)
	}
	for d := time.Duration(0); d <= sessionLong; d += 20 * time.Minute {
		if _, err := s.find(token, now.Add(d)); err != nil {
			t.Fatalf("after %v of work: %v", d, err)
		}
	}
	if _, err := s.find(token, now.Add(sessionLong+time.Minute)); err == nil {
		t.Error("a session longer than twelve hours")
	}
}

func TestRateLimit(t *testing.T) {
	h := open(t, func(c *Config) { c.RateLimit = 5; c.Now = func() time.Time { return time.Unix(1e9, 0) } })
	var refused reply
	for range 11 {
		refused = h.do(dialer.RoleManager, http.MethodGet, "/v1/campaigns", nil)
	}
	if p := h.problem(refused); p.Code != "rate_limited" || refused.Header.Get("Retry-After") == "" {
		t.Errorf("the eleventh request at once: %+v", p)
	}
	// Others are not held up.
	h.want(http.StatusOK, dialer.RoleAdmin, http.MethodGet, "/v1/campaigns", nil)
}

// from asks as if from another address.
func (h *house) from(address, path, bearer string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(h.t.Context(), http.MethodGet, path, nil)
	r.RemoteAddr = address
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.s.Handler().ServeHTTP(w, r)
	return w
}

// lookups counts the queries for keys.
type lookups struct {
	*memory
	n atomic.Int64
}

func (l *lookups) APIKey(ctx context.Context, id dialer.KeyID) (dialer.User, []byte, error) {
	l.n.Add(1)
	return l.memory.APIKey(ctx, id)
}

// TestWrongKeysAreLimited: a key that is none costs a query, so an address has
// only so many; good keys and people's sessions cost it nothing.
func TestWrongKeysAreLimited(t *testing.T) {
	var clock atomic.Int64
	clock.Store(1e18)
	count := &lookups{}
	h := open(t, func(c *Config) {
		count.memory = c.Store.(*memory)
		c.Store, c.Now = count, func() time.Time { return time.Unix(0, clock.Load()) }
	})
	token, err := h.s.sessions.open(dialer.User{ID: "usr_1", Role: dialer.RoleManager}, h.s.now())
	if err != nil {
		t.Fatal(err)
	}
	good := h.keys[dialer.RoleManager]
	for range 1000 {
		if w := h.from("192.0.2.1:1000", "/v1/campaigns", good); w.Code != http.StatusOK {
			t.Fatalf("a good key: %d %s", w.Code, w.Body)
		}
	}
	count.n.Store(0)
	for _, path := range []string{"/v1/campaigns", "/v1/agent/ws"} {
		for i := range 600 {
			_, wrong, _ := NewAPIKey()
			at := fmt.Sprintf("192.0.2.1:%d", 1000+i)
			if i%2 == 1 { // one network, whatever address it picks
				at = fmt.Sprintf("[2001:db8:0:1::%x]:1000", i)
			}
			w := h.from(at, path, wrong)
			if w.Code != http.StatusUnauthorized && (w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "") {
				t.Fatalf("wrong key at %s: %d %s", path, w.Code, w.Body)
			}
		}
	}
	if n := count.n.Load(); n != 2*2*wrongKeys {
		t.Errorf("1200 wrong keys of two networks cost %d queries, want %d", n, 2*2*wrongKeys)
	}
	if w := h.from("192.0.2.1:1", "/v1/campaigns", token); w.Code != http.StatusOK {
		t.Errorf("a person behind the same address: %d %s", w.Code, w.Body)
	}
	if w := h.from("192.0.2.2:1", "/v1/campaigns", good); w.Code != http.StatusOK {
		t.Errorf("another address: %d %s", w.Code, w.Body)
	}
	clock.Add(int64(time.Second))
	if w := h.from("192.0.2.1:1", "/v1/campaigns", good); w.Code != http.StatusOK {
		t.Errorf("a second later: %d %s", w.Code, w.Body)
	}
}

// TestDesksAreLimited: opening the websocket is a request like any other.
func TestDesksAreLimited(t *testing.T) {
	h := open(t, func(c *Config) { c.RateLimit = 5; c.Now = func() time.Time { return time.Unix(1e9, 0) } })
	token, err := h.s.sessions.open(dialer.User{ID: "usr_1", Role: dialer.RoleAgent, Agent: "agt_1"}, h.s.now())
	if err != nil {
		t.Fatal(err)
	}
	var last *httptest.ResponseRecorder
	for range 11 {
		last = h.from("192.0.2.1:1000", "/v1/agent/ws", token)
	}
	if last.Code != http.StatusTooManyRequests || last.Header().Get("Retry-After") == "" {
		t.Errorf("the eleventh desk at once: %d %s", last.Code, last.Body)
	}
}

func TestPasswordHash(t *testing.T) {
	hash, err := HashPassword("correct horse battery")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("hash %q", hash)
	}
	if !checkHash(hash, "correct horse battery") || checkHash(hash, "correct horse batterY") {
		t.Error("the hash does not tell right from wrong")
	}
	for _, bad := range []string{"", "x", "$argon2id$v=19$m=1,t=1,p=1$$", "$argon2id$v=19$m=99999999,t=2,p=1$AAAA$AAAA", strings.Replace(hash, "t=2", "t=200", 1)} {
		if checkHash(bad, "x") {
			t.Errorf("%q lets in", bad)
		}
	}
	if _, err := HashPassword("short"); dialer.CodeOf(err) != dialer.Invalid {
		t.Errorf("a short password: %v", err)
	}
	g, err := newGate()
	if err != nil {
		t.Fatal(err)
	}
	for range cap(g.hashing) {
		g.hashing <- struct{}{}
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Millisecond)
	defer stop()
	if _, err := g.check(ctx, hash, "x"); err == nil {
		t.Error("more passwords are hashed at once than allowed")
	}
}
