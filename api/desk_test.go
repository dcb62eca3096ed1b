package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"dialer"
	"dialer/agents"
)

// A client is an agent's desktop.
type client struct {
	t    *testing.T
	conn *websocket.Conn
	next int
	// waiting are messages that came before the one that was awaited.
	waiting []map[string]any
}

func (h *house) ws(query string, header http.Header) (*client, *http.Response, error) {
	ctx, stop := context.WithTimeout(h.t.Context(), 10*time.Second)
	defer stop()
	conn, res, err := websocket.Dial(ctx, strings.Replace(h.web.URL, "http", "ws", 1)+"/v1/agent/ws"+query, &websocket.DialOptions{HTTPHeader: header})
	if err != nil {
		return nil, res, err
	}
	h.t.Cleanup(func() { conn.CloseNow() })
	return &client{t: h.t, conn: conn}, res, nil
}

func (h *house) desk() *client {
	h.t.Helper()
	ticket := into[Ticket](h, h.want(201, dialer.RoleAgent, http.MethodPost, "/v1/agent/ticket", nil))
	c, _, err := h.ws("?ticket="+ticket.Ticket, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	return c
}

func (c *client) write(text string) {
	c.t.Helper()
	if err := c.conn.Write(c.t.Context(), websocket.MessageText, []byte(text)); err != nil {
		c.t.Fatal(err)
	}
}

// say sends a command and returns its id.
func (c *client) say(command, more string) string {
	c.t.Helper()
	c.next++
	id := fmt.Sprint("c", c.next)
	c.write(fmt.Sprintf(`{"id":%q,"command":%q%s}`, id, command, more))
	return id
}

// await returns the first message, of those not returned yet, that has all the
// given values.
func (c *client) await(want map[string]string) map[string]any {
	c.t.Helper()
	ctx, stop := context.WithTimeout(c.t.Context(), 10*time.Second)
	defer stop()
	fits := func(m map[string]any) bool {
		for k, v := range want {
			if m[k] != v {
				return false
			}
		}
		return true
	}
	if i := slices.IndexFunc(c.waiting, fits); i >= 0 {
		m := c.waiting[i]
		c.waiting = slices.Delete(c.waiting, i, i+1)
		return m
	}
	for {
		_, data, err := c.conn.Read(ctx)
		if err != nil {
			c.t.Fatalf("waiting for %v: %v; there was %v", want, err, c.waiting)
		}
		var m map[string]any
		if err := json.Unmarshal(data, &m); err != nil {
			c.t.Fatal(err)
		}
		if fits(m) {
			return m
		}
		c.waiting = append(c.waiting, m)
	}
}

func (c *client) ack(command, more string) {
	c.t.Helper()
	c.await(map[string]string{"kind": "ack", "id": c.say(command, more)})
}

func (c *client) refused(code, command, more string) {
	c.t.Helper()
	m := c.await(map[string]string{"kind": "refused", "id": c.say(command, more)})
	if m["code"] != code || m["reason"] == "" {
		c.t.Fatalf("%s: %v, want code %s", command, m, code)
	}
}

// TestShift is an agent's day: login, ready, a call with its screen pop, the
// talk, the disposition, ready again, logout.
func TestShift(t *testing.T) {
	h := open(t)
	c := h.desk()
	c.refused("not_found", "ready", "")
	c.ack("login", "")
	c.await(map[string]string{"kind": "current"})
	c.ack("ready", "")

	res, err := h.agents.Reserve(t.Context(), "cmp_1", "cal_1")
	if err != nil {
		t.Fatal(err)
	}
	res.Offer(map[string]string{"name": "Ann <script>"})
	pop := c.await(map[string]string{"kind": "offer", "call_id": "cal_1"})
	if pop["pop"].(map[string]any)["name"] != "Ann <script>" {
		t.Errorf("screen pop %v", pop)
	}
	if err := res.Talk(); err != nil {
		t.Fatal(err)
	}
	c.await(map[string]string{"kind": "state", "state": "talking"})
	c.refused("conflict", "dispose", `,"call_id":"cal_1","code":"SALE"`)
	c.ack("hangup", "")
	select {
	case <-res.HangupRequested():
	case <-time.After(10 * time.Second):
		t.Fatal("the engine was not told to hang up")
	}
	type said struct {
		d  agents.Disposition
		ok bool
	}
	wrapped := make(chan said, 1)
	go func() {
		d, ok := res.WrapUp(t.Context(), time.Minute)
		wrapped <- said{d, ok}
	}()
	c.await(map[string]string{"kind": "state", "state": "wrap_up"})
	c.refused("invalid", "dispose", `,"call_id":"cal_1"`)
	c.refused("conflict", "dispose", `,"call_id":"cal_2","code":"SALE"`)
	c.ack("dispose", `,"call_id":"cal_1","code":"SALE","note":"happy"`)
	if got := <-wrapped; !got.ok || got.d.Code != "SALE" || got.d.Note != "happy" {
		t.Errorf("disposition %+v", got)
	}
	if s := h.agents.State("agt_1"); s.State != agents.Ready {
		t.Errorf("after the disposition: %s", s.State)
	}

	// The REST twins move the same agent.
	state := into[agents.Snapshot](h, h.want(200, dialer.RoleAgent, http.MethodPost, "/v1/agents/agt_1/not-ready", `{"reason":"lunch"}`))
	if state.State != agents.NotReady || state.Reason != "lunch" {
		t.Errorf("state %+v", state)
	}
	c.await(map[string]string{"kind": "state", "state": "not_ready", "reason": "lunch"})
	h.want(200, dialer.RoleSupervisor, http.MethodPost, "/v1/agents/agt_1/ready", nil)
	h.want(409, dialer.RoleManager, http.MethodDelete, "/v1/agents/agt_1", nil)
	c.ack("logout", "")
	c.refused("not_found", "hangup", "")
	c.ack("login", "")
	c.await(map[string]string{"kind": "current"})
}

func TestDeskDoor(t *testing.T) {
	h := open(t, func(c *Config) { c.Origins = []string{"desk.example"} })
	bearer := func(role dialer.Role) http.Header {
		return http.Header{"Authorization": {"Bearer " + h.keys[role]}}
	}
	refused := func(name string, status int, query string, header http.Header) {
		t.Helper()
		_, res, err := h.ws(query, header)
		if err == nil || res == nil || res.StatusCode != status {
			t.Errorf("%s: %v %v, want %d", name, res, err, status)
		}
	}
	refused("nobody", 401, "", nil)
	refused("invented ticket", 401, "?ticket="+randomHex(), nil)
	refused("not an agent", 403, "", bearer(dialer.RoleAdmin))
	evil := bearer(dialer.RoleAgent)
	evil.Set("Origin", "https://evil.example")
	refused("wrong origin", 403, "", evil)
	null := bearer(dialer.RoleAgent)
	null.Set("Origin", "null")
	refused("no origin at all", 403, "", null)

	good := bearer(dialer.RoleAgent)
	good.Set("Origin", "https://desk.example")
	if _, _, err := h.ws("", good); err != nil {
		t.Errorf("an allowed origin with a header: %v", err)
	}
	ticket := into[Ticket](h, h.want(201, dialer.RoleAgent, http.MethodPost, "/v1/agent/ticket", nil)).Ticket
	if _, _, err := h.ws("?ticket="+ticket, nil); err != nil {
		t.Fatal(err)
	}
	refused("ticket twice", 401, "?ticket="+ticket, nil)

	late, err := h.s.sessions.issue(caller{user: dialer.User{Role: dialer.RoleAgent, Agent: "agt_1"}}, time.Now().Add(-time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	refused("late ticket", 401, "?ticket="+late, nil)
}

func TestDeskBounds(t *testing.T) {
	h := open(t)
	c := h.desk()
	for _, bad := range []string{`{`, `[]`, `{"id":"1","command":"ready","Command":"x"}`, `{"id":"1","id":"2"}`, `{"colour":1}`, "\x00"} {
		c.write(bad)
		if m := c.await(map[string]string{"kind": "refused"}); m["code"] != "malformed" {
			t.Errorf("%q: %v", bad, m)
		}
	}
	c.refused("invalid", "dance", "")
	// More than twenty commands at once are refused, one by one.
	for range 60 {
		c.say("dance", "")
	}
	limited := false
	for range 60 {
		m := c.await(map[string]string{"kind": "refused"})
		limited = limited || m["code"] == "rate_limited"
	}
	if !limited {
		t.Error("sixty commands at once were all worked on")
	}
	// A frame above 32 kB ends it.
	big := fmt.Sprintf(`{"id":"x","command":"not_ready","reason":%q}`, strings.Repeat("x", maxFrame))
	c.conn.Write(t.Context(), websocket.MessageText, []byte(big))
	if _, _, err := c.conn.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusMessageTooBig {
		t.Errorf("after a huge frame: %v", err)
	}
}

// TestLoginTwice: a desk whose shift goes on already stays as it is.
func TestLoginTwice(t *testing.T) {
	h := open(t)
	c := h.desk()
	c.ack("login", "")
	c.ack("ready", "")
	before := h.agents.State("agt_1")
	c.ack("login", "")
	c.ack("login", "")
	if after := h.agents.State("agt_1"); after.Seq != before.Seq || after.State != agents.Ready || !after.Desktop {
		t.Errorf("a second login made %+v of %+v", after, before)
	}
	// Logged out and in again elsewhere: this desk is not attached any more.
	if err := h.agents.Logout("agt_1", false); err != nil {
		t.Fatal(err)
	}
	h.want(200, dialer.RoleAgent, http.MethodPost, "/v1/agents/agt_1/login", nil)
	c.ack("login", "")
	c.ack("ready", "")
}

// TestPhoneRingsAtLogin: while the phone rings the agent is told so, and may
// give up; nothing that they say waits for the phone.
func TestPhoneRingsAtLogin(t *testing.T) {
	h := open(t)
	h.phones.AnswerAfter(time.Hour)
	c := h.desk()
	login := c.say("login", "")
	c.await(map[string]string{"kind": "notice", "reason": phoneRings})
	for range maxQueued + 2 {
		m := c.await(map[string]string{"kind": "refused", "id": c.say("ready", "")})
		if m["code"] != "conflict" || m["reason"] != phoneRingsNo {
			t.Fatalf("while the phone rings: %v", m)
		}
	}
	c.refused("conflict", "login", "")
	c.ack("logout", "")
	if m := c.await(map[string]string{"kind": "refused", "id": login}); !strings.Contains(m["reason"].(string), "logged out") {
		t.Errorf("the login that was given up: %v", m)
	}
	if s := h.agents.State("agt_1"); s.State != agents.LoggedOut || h.phones.Up() != 0 {
		t.Errorf("after giving up: %s, %d phones up", s.State, h.phones.Up())
	}

	// Answered this time.
	h.phones.AnswerAfter(0)
	c.ack("login", "")
	c.await(map[string]string{"kind": "current"})
	c.ack("logout", "")

	// A phone that cannot be reached is named.
	h.phones.SwitchOff("anna")
	m := c.await(map[string]string{"kind": "refused", "id": c.say("login", "")})
	if m["code"] != "unavailable" || !strings.Contains(m["reason"].(string), "phone anna") {
		t.Errorf("with the phone off: %v", m)
	}

	// A desk that goes while the phone rings takes the ringing with it.
	h.phones.SwitchOn("anna")
	h.phones.AnswerAfter(time.Hour)
	c.say("login", "")
	c.await(map[string]string{"kind": "notice"})
	c.conn.CloseNow()
	h.phones.AnswerAfter(0)
	next := h.desk()
	for deadline := time.Now().Add(10 * time.Second); ; {
		m := next.await(map[string]string{"id": next.say("login", "")})
		if m["kind"] == "ack" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the phone rings on for a desk that is gone: %v", m)
		}
	}
}

// TestAnotherDeskTakesOver: the newest desktop is the agent's.
func TestAnotherDeskTakesOver(t *testing.T) {
	h := open(t)
	first := h.desk()
	first.ack("login", "")
	second := h.desk() // attaches by itself, for the shift goes on
	second.await(map[string]string{"kind": "current"})
	first.await(map[string]string{"kind": "replaced"})
	if _, _, err := first.conn.Read(t.Context()); websocket.CloseStatus(err) != closeOver {
		t.Errorf("the first desktop: %v", err)
	}
	second.ack("ready", "")
}

// TestRevokedKeyEndsTheDesk: the credential is looked at with each command.
func TestRevokedKeyEndsTheDesk(t *testing.T) {
	h := open(t)
	c := h.desk()
	c.ack("login", "")
	id, _, _ := splitKey(h.keys[dialer.RoleAgent])
	h.db.RevokeAPIKey(t.Context(), id)
	c.say("ready", "")
	for {
		_, _, err := c.conn.Read(t.Context())
		if err == nil {
			continue
		}
		if websocket.CloseStatus(err) != closeOver {
			t.Errorf("after the key was revoked: %v", err)
		}
		return
	}
}

// TestSlowDeskIsDropped: a desktop that does not read is closed, and holds up
// nobody.
func TestSlowDeskIsDropped(t *testing.T) {
	h := open(t)
	c := h.desk()
	c.ack("login", "")
	sub, stop := h.agents.Subscribe("agt_1")
	defer stop()
	go func() {
		for range sub {
		}
	}()
	reason := strings.Repeat("x", 200)
	deadline := time.Now().Add(30 * time.Second)
	for h.agents.State("agt_1").Desktop {
		if time.Now().After(deadline) {
			t.Fatal("a desktop that reads nothing is still attached")
		}
		// Each change is a message; unread ones fill the connection's buffers.
		h.agents.SetNotReady("agt_1", reason)
	}
}

func TestShutdownEndsDesksAndStreams(t *testing.T) {
	h := open(t)
	c := h.desk()
	c.ack("login", "")
	closed := make(chan error, 1)
	go func() {
		for {
			if _, _, err := c.conn.Read(t.Context()); err != nil {
				closed <- err
				return
			}
		}
	}()
	done := make(chan struct{})
	go func() { h.s.Close(); close(done) }()
	for range 2 {
		select {
		case err := <-closed:
			if websocket.CloseStatus(err) != websocket.StatusGoingAway {
				t.Errorf("the desktop was told %v", err)
			}
			closed = nil
		case <-done:
			done = nil
		case <-time.After(10 * time.Second):
			t.Fatal("Close does not return")
		}
	}
	if r := h.do("", http.MethodGet, "/readyz", nil); r.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("readyz while shutting down: %d", r.StatusCode)
	}
}
