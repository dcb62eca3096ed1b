package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"
)

// TestSimAgentLogsInAfterARestart: the sessions of a dialer end with its
// process, and the simulated agent logs in to the next one.
func TestSimAgentLogsInAfterARestart(t *testing.T) {
	var process atomic.Int64 // of the dialer; its sessions are its own
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != fmt.Sprint("Bearer session of ", process.Load()) {
			http.Error(w, "log in first", http.StatusUnauthorized)
			return
		}
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer conn.CloseNow()
		if _, data, err := conn.Read(r.Context()); err == nil && strings.Contains(string(data), `"login"`) {
			conn.Close(websocket.StatusGoingAway, "served")
		}
	}))
	defer srv.Close()
	var logins, down int
	a := &simAgent{
		name: "anna", base: "ws" + strings.TrimPrefix(srv.URL, "http"),
		log: slog.New(slog.DiscardHandler), rnd: rand.New(rand.NewPCG(1, 2)),
		login: func(context.Context) (string, error) {
			if down > 0 {
				down--
				return "", errors.New("connection refused")
			}
			logins++
			return fmt.Sprint("session of ", process.Load()), nil
		},
	}
	served := func(within int) {
		t.Helper()
		for range within {
			if err := a.work(t.Context()); websocket.CloseStatus(err) == websocket.StatusGoingAway {
				return
			}
		}
		t.Fatalf("not at work after %d tries", within)
	}
	served(1)
	served(1)
	if logins != 1 {
		t.Errorf("%d logins to one dialer", logins)
	}
	process.Add(1)
	down = 2
	served(4) // refused once, the dialer not there twice
	if logins != 2 {
		t.Errorf("%d logins to two dialers", logins)
	}
}
