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
