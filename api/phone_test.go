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

// TestAgentURIIsAPhone: an agent's address is called past do-not-call lists,
// caps and records, so it must be a phone's.
func TestAgentURIIsAPhone(t *testing.T) {
	h := open(t)
	for _, tr := range []telephony.Trunk{
		{ID: "trk_1", Name: "carrier", Address: "sip.example.net"},
		{ID: "trk_2", Name: "other", Address: "192.0.2.10:5070"},
		{ID: "trk_3", Name: "simulated", Address: "127.0.0.1:5090"},
	} {
		h.db.CreateTrunk(t.Context(), tr)
	}
	for uri, word := range map[string]string{
		"sip:+391234567@phone.example.org":                       "phone number",
		"sip:00391234567@phone.example.org":                      "phone number",
		"sip:%2B39%31234567@phone.example.org":                   "phone number",
		"sip:+39-123-4567;phone-context=x@phone.example.org":     "phone number",
		"sip:9*00391234567@phone.example.org":                    "phone number",
		"sip:1234567:secret@phone.example.org":                   "phone number",
		"sip:anna@sip.example.net":                               "carrier",
		"sip:anna@SIP.Example.NET.:5062;transport=udp":           "carrier",
		"sip:sip.example.net":                                    "carrier",
		"sip:anna@192.0.2.10":                                    "other",
		"sip:anna@[::ffff:192.0.2.10]:9":                         "other",
		"sip:1001@127.0.0.1:5090":                                "simulated",
		"sip:x;y=a@sip.example.net@phone.example.org":            "sip:user@host",
		"sip:anna@phone.example.org?Route=%3Csip:example.net%3E": "sip:user@host",
		"tel:+391234567":                                         "sip:user@host",
	} {
		r := h.do(dialer.RoleManager, http.MethodPost, "/v1/agents", map[string]any{"name": "Anna", "uri": uri})
		if r.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(string(r.body), word) {
			t.Errorf("%s: %d %s, want a refusal that says %q", uri, r.StatusCode, r.body, word)
		}
		r = h.do(dialer.RoleManager, http.MethodPatch, "/v1/agents/agt_1", map[string]any{"uri": uri})
		if r.StatusCode != http.StatusUnprocessableEntity {
			t.Errorf("change to %s: %d %s", uri, r.StatusCode, r.body)
		}
	}
	for _, uri := range []string{"sip:anna@phone.example.org", "sip:100123@192.0.2.11", "sip:desk12345678@192.0.2.11:5062", "sip:1001@127.0.0.1:5070", "sip:192.0.2.11"} {
		h.want(http.StatusCreated, dialer.RoleManager, http.MethodPost, "/v1/agents", map[string]any{"name": "Anna", "uri": uri})
		h.want(http.StatusOK, dialer.RoleManager, http.MethodPatch, "/v1/agents/agt_1", map[string]any{"uri": uri})
	}
}

// TestCampaignsChangeDuringAShift: an agent moved to another campaign takes its
// calls at once.
func TestCampaignsChangeDuringAShift(t *testing.T) {
	h := open(t)
	h.want(http.StatusOK, dialer.RoleAdmin, http.MethodPost, "/v1/agents/agt_1/login", nil)
	d, err := h.agents.Attach("agt_1")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Detach()
	h.want(http.StatusOK, dialer.RoleAdmin, http.MethodPost, "/v1/agents/agt_1/ready", nil)
	h.want(http.StatusOK, dialer.RoleManager, http.MethodPatch, "/v1/agents/agt_1", `{"campaign_ids":["cmp_2"]}`)
	if was, is := h.agents.Counts("cmp_1").LoggedIn(), h.agents.Counts("cmp_2").Ready; was != 0 || is != 1 {
		t.Errorf("%d agents in the old campaign and %d ready in the new one, want 0 and 1", was, is)
	}
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	res, err := h.agents.Reserve(ctx, "cmp_2", "cal_1")
	if err != nil {
		t.Fatal(err)
	}
	res.Release("done")
}
