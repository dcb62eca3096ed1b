package api

import (
	"net/http"
	"strings"
	"testing"

	"dialer"
)

// TestMetricsAreForStaff: or for whoever is on this machine.
func TestMetricsAreForStaff(t *testing.T) {
	h := open(t)
	for name, c := range map[string]struct {
		address, bearer string
		headers         []string
		want            int
	}{
		"nobody":              {"192.0.2.1:1000", "", nil, http.StatusUnauthorized},
		"supervisor":          {"192.0.2.1:1000", h.keys[dialer.RoleSupervisor], nil, http.StatusOK},
		"compliance":          {"192.0.2.1:1000", h.keys[dialer.RoleCompliance], nil, http.StatusOK},
		"agent":               {"192.0.2.1:1000", h.keys[dialer.RoleAgent], nil, http.StatusForbidden},
		"this machine":        {"127.0.0.1:1000", "", nil, http.StatusOK},
		"this machine, IPv6":  {"[::1]:1000", "", nil, http.StatusOK},
		"through a proxy":     {"127.0.0.1:1000", "", []string{"X-Forwarded-For", "192.0.2.1"}, http.StatusUnauthorized},
		"staff through proxy": {"127.0.0.1:1000", h.keys[dialer.RoleAdmin], []string{"X-Forwarded-For", "192.0.2.1"}, http.StatusOK},
	} {
		w := h.from(c.address, "/metrics", c.bearer, c.headers...)
		if w.Code != c.want || (w.Code == http.StatusOK) != strings.Contains(w.Body.String(), "dialer_") {
			t.Errorf("%s: %d, want %d: %.200s", name, w.Code, c.want, w.Body)
		}
	}
}
