package api

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"dialer"
	"dialer/telephony"
)

// A tester places no call and remembers what it was asked for.
type tester struct {
	asked chan telephony.TestCall
	wait  chan struct{} // when not nil, a call lasts until it is closed
}

func (t *tester) TestCall(ctx context.Context, c telephony.TestCall) telephony.TestReport {
	t.asked <- c
	if t.wait != nil {
		select {
		case <-t.wait:
		case <-ctx.Done():
		}
	}
	return telephony.TestReport{Call: c.Call, Answered: true, Cause: telephony.CauseNormal, Advice: "The trunk works."}
}

// TestTestCall: an admin's test call is placed when it may be, and only then.
func TestTestCall(t *testing.T) {
	now := time.Date(2026, 11, 24, 17, 0, 0, 0, time.UTC) // noon on a Tuesday in Washington
	draining := make(chan struct{})
	calls := &tester{asked: make(chan telephony.TestCall, 10)}
	h := open(t, func(c *Config) {
		c.Tester, c.Draining = calls, draining
		c.Now = func() time.Time { return now }
	})
	made := into[TrunkView](h, h.want(201, dialer.RoleAdmin, http.MethodPost, "/v1/trunks",
		`{"name":"c","address":"192.0.2.1","channels":1,"cps":1,"destinations":["+1","+44"]}`))
	path := "/v1/trunks/" + string(made.ID) + "/test"
	const body = `{"to":"+12025550143","from":"+12025550100"}`
	none := func(status int, role dialer.Role, body, word string) {
		t.Helper()
		got := h.want(status, role, http.MethodPost, path, body)
		if !strings.Contains(string(got.body), word) {
			t.Errorf("%s is not told: %s", word, got.body)
		}
		if len(calls.asked) > 0 {
			t.Errorf("%s: a call was placed: %+v", body, <-calls.asked)
		}
	}

	got := into[telephony.TestReport](h, h.want(200, dialer.RoleAdmin, http.MethodPost, path, body))
	if c := <-calls.asked; c.To != "+12025550143" || c.From != "+12025550100" || c.Talk != 5*time.Second || c.Trunk != made.ID || got.Call != c.Call || got.Advice == "" {
		t.Errorf("asked for %+v, told %+v", c, got)
	}
	h.want(200, dialer.RoleAdmin, http.MethodPost, path, strings.Replace(body, "}", `,"seconds":1.5}`, 1))
	if c := <-calls.asked; c.Talk != 1500*time.Millisecond {
		t.Errorf("talk %s", c.Talk)
	}

	none(403, dialer.RoleManager, body, "")
	none(403, dialer.RoleSupervisor, body, "")
	none(422, dialer.RoleAdmin, `{"from":"+12025550100"}`, "to")
	none(422, dialer.RoleAdmin, `{"to":"911","from":"+12025550100"}`, "to")
	none(422, dialer.RoleAdmin, `{"to":"+12025550143","from":"me"}`, "from")
	none(422, dialer.RoleAdmin, `{"to":"+4930123456","from":"+12025550100"}`, "destinations")
	none(422, dialer.RoleAdmin, strings.Replace(body, "}", `,"seconds":60}`, 1), "seconds")

	h.want(201, dialer.RoleAdmin, http.MethodPost, "/v1/dnc", `{"number":"+12025550143"}`)
	none(409, dialer.RoleAdmin, body, "do-not-call")
	none(409, dialer.RoleAdmin, strings.Replace(body, "}", `,"own_phone":true}`, 1), "do-not-call")
	h.want(204, dialer.RoleAdmin, http.MethodDelete, "/v1/dnc/+12025550143", nil)

	now = now.Add(12 * time.Hour) // midnight there
	none(409, dialer.RoleAdmin, body, "own_phone")
	h.want(200, dialer.RoleAdmin, http.MethodPost, path, strings.Replace(body, "}", `,"own_phone":true}`, 1))
	<-calls.asked
	now = now.Add(12 * time.Hour)

	calls.wait = make(chan struct{})
	first := make(chan struct{})
	go func() {
		defer close(first)
		h.do(dialer.RoleAdmin, http.MethodPost, path, body)
	}()
	<-calls.asked
	none(409, dialer.RoleAdmin, body, `over trunk`)
	close(calls.wait)
	<-first
	h.want(200, dialer.RoleAdmin, http.MethodPost, path, body)
	<-calls.asked

	close(draining)
	none(503, dialer.RoleAdmin, body, "draining")
}
