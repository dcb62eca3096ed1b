package api

import (
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"dialer"
	"dialer/agents"
	"dialer/campaign"
	"dialer/internal/memstore"
	"dialer/telephony"
	"dialer/telephony/ladder"
)

// ring is an INVITE to somebody and its answer.
func ring(r *ladder.Recorder, call dialer.CallID, user, answer string) {
	for i, first := range []string{"INVITE sip:" + user + "@192.0.2.1 SIP/2.0", "SIP/2.0 " + answer} {
		r.Hear(telephony.SIPMessage{
			At: time.Date(2026, 3, 10, 15, 0, 0, i*int(1500*time.Microsecond), time.UTC), Sent: i == 0, Transport: telephony.TCP,
			Local: netip.MustParseAddrPort("198.51.100.1:5060"), Remote: netip.MustParseAddrPort("192.0.2.1:5060"),
			Data: []byte(first + "\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK1\r\nTo: <sip:" + user + "@192.0.2.1>\r\nCall-ID: " + string(call) +
				"@k\r\nCSeq: 1 INVITE\r\nAuthorization: Digest username=\"u\", response=\"c4n4ry\"\r\n\r\n"),
		})
	}
}

func TestSIPOfACall(t *testing.T) {
	recorder := ladder.New(memstore.New(), time.Hour, slog.New(slog.DiscardHandler))
	h := open(t, func(c *Config) { c.Ladders = recorder })
	call, unsent := dialer.NewCallID(), dialer.NewCallID()
	h.db.calls[unsent] = campaign.Call{ID: unsent, State: campaign.Ended}
	ring(recorder, call, "+12025550143", "486 Busy Here")
	path := "/v1/calls/" + string(call) + "/sip"

	for _, role := range []dialer.Role{dialer.RoleAgent, dialer.RoleCompliance} {
		h.want(403, role, http.MethodGet, path, nil)
	}
	got := h.want(200, dialer.RoleSupervisor, http.MethodGet, path, nil)
	l := into[LadderView](h, got)
	if len(l.Messages) != 2 || l.Call != call {
		t.Fatalf("%s", got.body)
	}
	out, in := l.Messages[0], l.Messages[1]
	if out.Direction != "out" || in.Direction != "in" || in.First != "SIP/2.0 486 Busy Here" || in.OffsetMS != 1.5 ||
		out.Transport != telephony.TCP || out.Remote != "192.0.2.1:5060" || !strings.Contains(out.Text, "username=\"u\"") {
		t.Errorf("%s", got.body)
	}
	text := h.want(200, dialer.RoleAdmin, http.MethodGet, path+"?format=text", nil)
	again := h.want(200, dialer.RoleAdmin, http.MethodGet, path, nil, "Accept", "text/plain")
	if string(text.body) != string(again.body) || !strings.HasPrefix(text.Header.Get("Content-Type"), "text/plain") ||
		!strings.Contains(string(text.body), " INVITE -") || !strings.Contains(string(text.body), "486 Busy Here (INVITE)") {
		t.Errorf("%s", text.body)
	}
	for _, r := range []reply{got, text} {
		if strings.Contains(string(r.body), "c4n4ry") {
			t.Errorf("a credential is told: %s", r.body)
		}
	}
	h.want(422, dialer.RoleAdmin, http.MethodGet, path+"?format=xml", nil)
	r := h.want(404, dialer.RoleAdmin, http.MethodGet, "/v1/calls/"+string(unsent)+"/sip", nil)
	if !strings.Contains(string(r.body), "no SIP is kept of the call") {
		t.Errorf("%s", r.body)
	}
	h.want(404, dialer.RoleAdmin, http.MethodGet, "/v1/calls/cal_none/sip", nil)
}

func TestSIPOfAPhone(t *testing.T) {
	recorder := ladder.New(memstore.New(), time.Hour, slog.New(slog.DiscardHandler))
	h := open(t, func(c *Config) { c.Ladders = recorder })
	h.db.CreateAgent(t.Context(), agents.Agent{ID: "agt_2", Name: "Bert", Extension: "bert", URI: "sip:desk7@192.0.2.1"}, "")
	ring(recorder, dialer.NewCallID(), "anna", "480 Temporarily Unavailable")
	ring(recorder, dialer.NewCallID(), "desk7", "404 Not Found")
	for id, want := range map[string]string{"agt_1": "480", "agt_2": "404"} {
		got := h.want(200, dialer.RoleManager, http.MethodGet, "/v1/agents/"+id+"/sip", nil)
		if p := into[Page[LadderView]](h, got); len(p.Items) != 1 || !strings.Contains(p.Items[0].Messages[1].First, want) {
			t.Errorf("%s: %s", id, got.body)
		}
	}
	if text := h.want(200, dialer.RoleManager, http.MethodGet, "/v1/agents/agt_1/sip?format=text", nil); !strings.Contains(string(text.body), "sip:anna@") {
		t.Errorf("%s", text.body)
	}
	h.want(404, dialer.RoleManager, http.MethodGet, "/v1/agents/agt_9/sip", nil)
	h.want(403, dialer.RoleAgent, http.MethodGet, "/v1/agents/agt_1/sip", nil)
}

func TestNoSIPIsKept(t *testing.T) {
	h := open(t)
	r := h.want(404, dialer.RoleAdmin, http.MethodGet, "/v1/calls/cal_1/sip", nil)
	if !strings.Contains(string(r.body), "sip.ladder_keep") {
		t.Errorf("%s", r.body)
	}
}

func TestTrunkTellsHowItIs(t *testing.T) {
	now := map[dialer.TrunkID]telephony.Capacity{}
	until := time.Date(2026, 11, 24, 17, 0, 0, 0, time.UTC)
	h := open(t, func(c *Config) {
		c.Trunks = func() map[dialer.TrunkID]telephony.Capacity { return now }
		c.Peers = func(dialer.TrunkID) []telephony.PeerState {
			return []telephony.PeerState{{Address: "192.0.2.1:5060", Transport: telephony.UDP, State: telephony.PeerHeld, Why: "busy", Until: &until}}
		}
	})
	made := into[TrunkView](h, h.want(201, dialer.RoleAdmin, http.MethodPost, "/v1/trunks", `{"name":"c","address":"sip.example.net","channels":3,"cps":1}`))
	if made.Now != nil {
		t.Errorf("before the telephony knows it: %+v", made.Now)
	}
	now[made.ID] = telephony.Capacity{Why: "no answer to OPTIONS", Channels: 3, InUse: 2}
	got := into[TrunkView](h, h.want(200, dialer.RoleSupervisor, http.MethodGet, "/v1/trunks/"+string(made.ID), nil))
	if got.Now == nil || got.Now.Up || got.Now.Why != "no answer to OPTIONS" || got.Now.InUse != 2 || len(got.Now.Peers) != 1 {
		t.Errorf("%+v", got.Now)
	}
	if p := got.Now.Peers[0]; p.Address != "192.0.2.1:5060" || p.State != telephony.PeerHeld || p.Why != "busy" || !p.Until.Equal(until) {
		t.Errorf("peer %+v", p)
	}
	metrics := string(h.want(200, dialer.RoleAdmin, http.MethodGet, "/metrics", nil).body)
	for _, want := range []string{`dialer_trunk_up{trunk="` + string(made.ID) + `"} 0`, `dialer_trunk_channels_in_use{trunk="` + string(made.ID) + `"} 2`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("%s is missing", want)
		}
	}
}
