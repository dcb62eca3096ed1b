package api

import (
	"net/http"
	"testing"

	"dialer"
)

// TestBodyMayBeMissing: what is optional in whole may be left out in whole.
func TestBodyMayBeMissing(t *testing.T) {
	h := open(t)
	for _, verb := range []string{"login", "not-ready", "logout"} {
		if r := h.do(dialer.RoleAdmin, http.MethodPost, "/v1/agents/agt_1/"+verb, nil); r.StatusCode != http.StatusOK {
			t.Errorf("%s without a body: %d %s", verb, r.StatusCode, r.body)
		}
	}
}

// TestStateOfALoggedOutAgent: they have a name, and no year 1.
func TestStateOfALoggedOutAgent(t *testing.T) {
	h := open(t)
	r := h.want(200, dialer.RoleSupervisor, http.MethodGet, "/v1/agents/agt_1/state", nil)
	snap := into[map[string]any](h, r)
	if snap["name"] != "Anna" || snap["extension"] != "anna" || snap["state"] != "logged_out" {
		t.Errorf("state %s", r.body)
	}
	if _, there := snap["since"]; there {
		t.Errorf("since when, is not known: %s", r.body)
	}
	h.want(404, dialer.RoleSupervisor, http.MethodGet, "/v1/agents/agt_none/state", nil)
}
