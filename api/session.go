package api

import (
	"context"
	"crypto/sha256"
	"math"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"dialer"
)

// Sessions live in memory: when the process ends, the agents' phone legs end
// with it, and everyone logs in anew.
const (
	sessionIdle = 30 * time.Minute
	sessionLong = 12 * time.Hour
	ticketLife  = 30 * time.Second
	maxSessions = 20_000
	maxTickets  = 20_000
)

type session struct {
	user    dialer.User
	started time.Time
	seen    time.Time
}

type ticket struct {
	who   caller
	until time.Time
}

// sessions holds the logged-in people and the one-time tickets for websockets.
type sessions struct {
	mu      sync.Mutex
	byHash  map[string]*session
	tickets map[string]ticket
}

func newSessions() *sessions {
	return &sessions{byHash: map[string]*session{}, tickets: map[string]ticket{}}
}

func digestOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return string(sum[:])
}

func (s *session) over(now time.Time) bool {
	return now.Sub(s.seen) > sessionIdle || now.Sub(s.started) > sessionLong
}

// open starts a session and returns its token.
func (s *sessions) open(user dialer.User, now time.Time) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.byHash) >= maxSessions {
		for h, old := range s.byHash {
			if old.over(now) {
				delete(s.byHash, h)
			}
		}
		if len(s.byHash) >= maxSessions {
			return "", dialer.Errorf(dialer.Unavailable, "too many people are logged in")
		}
	}
	token := sessionPrefix + randomHex()
	s.byHash[digestOf(token)] = &session{user: user, started: now, seen: now}
	return token, nil
}

// find returns who holds a token, and keeps the session alive.
func (s *sessions) find(token string, now time.Time) (caller, error) {
	hash := digestOf(token)
	s.mu.Lock()
	defer s.mu.Unlock()
	ses := s.byHash[hash]
	if ses == nil {
		return caller{}, unauthenticated()
	}
	if ses.over(now) {
		delete(s.byHash, hash)
		return caller{}, unauthenticated()
	}
	ses.seen = now
	return caller{user: ses.user, session: hash}, nil
}

// alive reports whether a caller may go on: always by key, else while the
// session is open. A websocket asks it on each command, which keeps it alive.
func (s *sessions) alive(c caller, now time.Time) bool {
	if c.session == "" {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	ses := s.byHash[c.session]
	if ses == nil || ses.over(now) {
		return false
	}
	ses.seen = now
	return true
}

func (s *sessions) close(c caller) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byHash, c.session)
}

// closeUser ends every session of a user.
func (s *sessions) closeUser(id dialer.UserID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for h, ses := range s.byHash {
		if ses.user.ID == id {
			delete(s.byHash, h)
		}
	}
}

// issue makes a ticket that opens one websocket within 30 s.
func (s *sessions) issue(who caller, now time.Time) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for h, t := range s.tickets {
		if now.After(t.until) {
			delete(s.tickets, h)
		}
	}
	if len(s.tickets) >= maxTickets {
		return "", dialer.Errorf(dialer.Unavailable, "too many tickets are open: try again in %v", ticketLife)
	}
	token := randomHex()
	s.tickets[digestOf(token)] = ticket{who, now.Add(ticketLife)}
	return token, nil
}

// redeem spends a ticket.
func (s *sessions) redeem(token string, now time.Time) (caller, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	hash := digestOf(token)
	t, ok := s.tickets[hash]
	delete(s.tickets, hash)
	return t.who, ok && !now.After(t.until)
}

// SessionStart is what a person logs in with.
type SessionStart struct {
	Name     string `json:"name" minLength:"1" maxLength:"200" doc:"The user's name"`
	Password string `json:"password" minLength:"1" maxLength:"256"`
}

// SessionView is who is logged in.
type SessionView struct {
	Token     string         `json:"token,omitempty" doc:"For 'Authorization: Bearer …'; shown at the login only"`
	User      dialer.UserID  `json:"user_id,omitempty"`
	Name      string         `json:"name"`
	Role      dialer.Role    `json:"role"`
	Agent     dialer.AgentID `json:"agent_id,omitempty"`
	ExpiresAt *time.Time     `json:"expires_at,omitempty" doc:"The latest end; half an hour of silence ends it before"`
}

func (s *Server) routeSessions() {
	route(s, huma.Operation{
		OperationID: "login", Method: http.MethodPost, Path: "/v1/sessions", DefaultStatus: http.StatusCreated,
		Summary: "Log in with a password", Tags: []string{"sessions"},
	}, func(ctx context.Context, in *struct {
		Body SessionStart
		Peer
	}) (*bodyOf[SessionView], error) {
		now := s.now()
		account, address := accountKey+strings.ToLower(in.Body.Name), addressKey+in.address
		if wait := s.gate.barred(now, account, address); wait > 0 {
			return nil, refuse(http.StatusTooManyRequests, "too many wrong passwords: wait %d s", int(math.Ceil(wait.Seconds())))
		}
		user, hash, err := s.store.UserByName(ctx, in.Body.Name)
		if err != nil && dialer.CodeOf(err) != dialer.NotFound {
			return nil, err
		}
		good, err := s.gate.check(ctx, hash, in.Body.Password)
		if err != nil {
			return nil, err
		}
		if !good {
			s.gate.missed(now, account, address)
			return nil, refuse(http.StatusUnauthorized, "the name or the password is wrong")
		}
		s.gate.passed(account)
		token, err := s.sessions.open(user, now)
		if err != nil {
			return nil, err
		}
		view := viewSession(user)
		end := now.Add(sessionLong).UTC().Truncate(time.Millisecond)
		view.Token, view.ExpiresAt = token, &end
		return &bodyOf[SessionView]{view}, nil
	})
	route(s, huma.Operation{
		OperationID: "get-session", Method: http.MethodGet, Path: "/v1/session",
		Summary: "Who am I", Tags: []string{"sessions"},
	}, func(ctx context.Context, _ *struct{}) (*bodyOf[SessionView], error) {
		return &bodyOf[SessionView]{viewSession(callerOf(ctx).user)}, nil
	})
	route(s, huma.Operation{
		OperationID: "log-out", Method: http.MethodDelete, Path: "/v1/session", DefaultStatus: http.StatusNoContent,
		Summary: "Log out", Tags: []string{"sessions"},
	}, func(ctx context.Context, _ *struct{}) (*struct{}, error) {
		s.sessions.close(callerOf(ctx))
		return nil, nil
	})
}

func viewSession(u dialer.User) SessionView {
	return SessionView{User: u.ID, Name: u.Name, Role: u.Role, Agent: u.Agent}
}

// Peer is the address of who asks.
type Peer struct{ address string }

// Resolve is called by huma.
func (p *Peer) Resolve(ctx huma.Context) []error {
	p.address = hostOf(ctx.RemoteAddr())
	return nil
}

var _ huma.Resolver = (*Peer)(nil)
