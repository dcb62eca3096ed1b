package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"dialer"
	"dialer/agents"
	"dialer/telephony/simtrunk"
)

// A house is a running server with a key of each role.
type house struct {
	t      *testing.T
	db     *memory
	s      *Server
	web    *httptest.Server
	phones *simtrunk.Stations
	agents *agents.Registry
	keys   map[dialer.Role]string
}

func open(t *testing.T, change ...func(*Config)) *house {
	t.Helper()
	h := &house{t: t, db: newMemory(), phones: simtrunk.NewStations(), keys: map[dialer.Role]string{}}
	h.agents = agents.NewRegistry(agents.Config{Stations: h.phones})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		h.agents.Run(ctx)
	}()
	cfg := Config{
		Store: h.db, Events: h.db, Scheduler: h.db, Agents: h.agents, SIPRealm: "dialer", RateLimit: 10_000,
		Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	for _, c := range change {
		c(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	h.s = s
	srv := s.HTTPServer("")
	h.web = httptest.NewUnstartedServer(srv.Handler)
	h.web.Config = srv
	h.web.Start()
	t.Cleanup(func() {
		s.Close()
		h.web.Close()
		stop()
		<-ended
	})
	for _, role := range dialer.Roles() {
		h.keys[role] = h.key(role)
	}
	h.db.CreateAgent(t.Context(), agents.Agent{ID: "agt_1", Name: "Anna", Extension: "anna", Campaigns: []dialer.CampaignID{"cmp_1"}}, "")
	return h
}

func (h *house) key(role dialer.Role) string {
	id, token, hash := NewAPIKey()
	h.db.CreateAPIKey(h.t.Context(), dialer.APIKey{ID: id, Name: string(role), Role: role}, hash)
	return token
}

// A reply is a response that was read.
type reply struct {
	*http.Response
	body []byte
}

// do sends a request as a role ("" is nobody). body may be text or any value.
func (h *house) do(role dialer.Role, method, path string, body any, headers ...string) reply {
	h.t.Helper()
	var r io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		r = strings.NewReader(b)
	case []byte:
		r = bytes.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			h.t.Fatal(err)
		}
		r = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(h.t.Context(), method, h.web.URL+path, r)
	if err != nil {
		h.t.Fatal(err)
	}
	if r != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if role != "" {
		req.Header.Set("Authorization", "Bearer "+h.keys[role])
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := h.web.Client().Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		h.t.Fatalf("%s %s: %v", method, path, err)
	}
	return reply{res, text}
}

// want does and fails unless the status is the one given.
func (h *house) want(status int, role dialer.Role, method, path string, body any, headers ...string) reply {
	h.t.Helper()
	r := h.do(role, method, path, body, headers...)
	if r.StatusCode != status {
		h.t.Fatalf("%s %s: status %d, want %d: %s", method, path, r.StatusCode, status, r.body)
	}
	return r
}

// into reads a body strictly.
func into[T any](h *house, r reply) T {
	h.t.Helper()
	var v T
	if err := strict(r.body, &v); err != nil {
		h.t.Fatalf("%v: %s", err, r.body)
	}
	return v
}

// problem reads a refusal and checks its form.
func (h *house) problem(r reply) Problem {
	h.t.Helper()
	if ct := r.Header.Get("Content-Type"); ct != "application/problem+json" {
		h.t.Fatalf("Content-Type %q of status %d: %s", ct, r.StatusCode, r.body)
	}
	p := into[Problem](h, r)
	if p.Status != r.StatusCode || p.Code == "" || p.Title == "" || p.Detail == "" {
		h.t.Fatalf("not a whole problem: %s", r.body)
	}
	return p
}
