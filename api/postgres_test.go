package api

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"testing"

	"dialer"
	"dialer/campaign"
	"dialer/internal/pgtest"
	"dialer/postgres"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// TestOnPostgreSQL walks through what a manager does, on the real store.
func TestOnPostgreSQL(t *testing.T) {
	db, err := postgres.Open(t.Context(), pgtest.New(t), slog.New(slog.DiscardHandler), postgres.AllowDataLoss())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- db.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		db.Close()
	})
	h := open(t, func(c *Config) { c.Store, c.Events = db, db })
	for _, role := range dialer.Roles() {
		id, token, hash := NewAPIKey()
		if err := db.CreateAPIKey(t.Context(), dialer.APIKey{ID: id, Name: string(role), Role: role}, hash); err != nil {
			t.Fatal(err)
		}
		h.keys[role] = token
	}
	const as = dialer.RoleManager

	trunk := into[TrunkView](h, h.want(201, dialer.RoleAdmin, http.MethodPost, "/v1/trunks",
		`{"name":"carrier","address":"127.0.0.1:5070","channels":10,"cps":5,"username":"u","password":"s3cret-s3cret"}`))
	settings := fmt.Sprintf(`{"name":"Spring","region":"US","caller_id":"+12025550100","trunk_id":%q,"mode":"progressive"}`, trunk.ID)
	first := h.want(201, as, http.MethodPost, "/v1/campaigns", settings, "Idempotency-Key", "one")
	again := h.want(201, as, http.MethodPost, "/v1/campaigns", settings, "Idempotency-Key", "one")
	if string(first.body) != string(again.body) {
		t.Errorf("replayed: %s, first: %s", again.body, first.body)
	}
	h.want(422, as, http.MethodPost, "/v1/campaigns", `{"name":"Other"}`, "Idempotency-Key", "one")
	c := into[CampaignView](h, first)
	path := "/v1/campaigns/" + string(c.ID)

	list := into[ListView](h, h.want(201, as, http.MethodPost, "/v1/lists", fmt.Sprintf(`{"campaign_id":%q,"name":"l"}`, c.ID)))
	leads := "/v1/lists/" + string(list.ID)
	i := into[ImportView](h, h.want(201, as, http.MethodPost, leads+"/imports?mapping=%7B%22CRM%22%3A%22external_id%22%7D", leadsCSV, "Content-Type", "text/csv"))
	if i.Rows != 5 || i.Created != 2 || i.Skipped != 1 || i.Rejected != 2 {
		t.Fatalf("import %+v", i)
	}
	if r := into[Page[campaign.Reject]](h, h.want(200, as, http.MethodGet, i.Rejects, nil)); len(r.Items) != 2 || r.Items[0].Line != 4 {
		t.Errorf("rejects %+v", r)
	}
	broken := h.problem(h.do(as, http.MethodPost, leads+"/imports", "phone\n+12025550150\n+1202\x00\n", "Content-Type", "text/csv"))
	if broken.Status != 422 {
		t.Errorf("a broken file: %+v", broken)
	}
	h.want(200, as, http.MethodGet, leads+"/leads/ext:42", nil)
	h.want(409, as, http.MethodPost, leads+"/leads", `{"number":"(202) 555-0143"}`)
	h.want(201, as, http.MethodPost, leads+"/leads", `{"number":"(202) 555-0160"}`)
	page := into[Page[LeadView]](h, h.want(200, as, http.MethodGet, leads+"/leads?limit=2", nil))
	rest := into[Page[LeadView]](h, h.want(200, as, http.MethodGet, leads+"/leads?limit=2&cursor="+page.NextCursor, nil))
	if len(page.Items) != 2 || len(rest.Items) != 1 || rest.NextCursor != "" {
		t.Errorf("pages %+v %+v", page, rest)
	}

	started := h.want(200, as, http.MethodPost, path+"/start", nil)
	if into[CampaignView](h, started).State != campaign.Running {
		t.Errorf("started: %s", started.body)
	}
	h.want(412, as, http.MethodPatch, path, `{"ratio":2}`, "If-Match", first.Header.Get("ETag"))
	h.want(200, as, http.MethodPatch, path, `{"ratio":2}`, "If-Match", started.Header.Get("ETag"))
	if p := into[Progress](h, h.want(200, as, http.MethodGet, path+"/progress", nil)); p.Leads.Total != 3 || p.State != campaign.Running {
		t.Errorf("progress %+v", p)
	}
	h.want(200, dialer.RoleCompliance, http.MethodGet, "/v1/reports/abandon?campaign="+string(c.ID), nil)

	recordDecisions(db, c.ID)
	if err := db.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkDecisions(t, h, path)

	h.want(201, as, http.MethodPost, "/v1/dnc", `{"number":"+12025550143","source":"letter"}`)
	if d := into[DNCCheck](h, h.want(200, as, http.MethodGet, "/v1/dnc/+12025550143", nil)); !d.Listed || d.Items[0].Source != "letter" {
		t.Errorf("do-not-call %+v", d)
	}
	h.want(403, as, http.MethodDelete, "/v1/dnc/+12025550143", nil)
	h.want(204, dialer.RoleCompliance, http.MethodDelete, "/v1/dnc/+12025550143", nil)

	agent := into[AgentView](h, h.want(201, as, http.MethodPost, "/v1/agents",
		fmt.Sprintf(`{"name":"Anna","extension":"anna","password":"correct horse battery","campaign_ids":[%q]}`, c.ID)))
	h.want(409, as, http.MethodPost, "/v1/agents", `{"name":"Other","extension":"anna","password":"correct horse battery"}`)
	h.want(201, dialer.RoleAdmin, http.MethodPost, "/v1/users",
		fmt.Sprintf(`{"name":"anna","password":"correct horse battery","role":"agent","agent_id":%q}`, agent.ID))
	ses := into[SessionView](h, h.want(201, "", http.MethodPost, "/v1/sessions", `{"name":"anna","password":"correct horse battery"}`))
	if ses.Agent != agent.ID {
		t.Errorf("session %+v", ses)
	}

	kinds := map[string]bool{}
	for _, e := range into[EventPage](h, h.want(200, as, http.MethodGet, "/v1/events?limit=1000", nil)).Items {
		kinds[e.Type] = true
	}
	for _, want := range []string{"campaign.changed", "import.finished", "dnc.changed"} {
		if !kinds[want] {
			t.Errorf("no %s in the log: %v", want, kinds)
		}
	}
	h.want(400, as, http.MethodPost, "/v1/campaigns", `{"name":"a\u0000b"}`)
	h.want(400, as, http.MethodPost, "/v1/campaigns", `{"name":"b"}`, "Idempotency-Key", "\xff")
	h.want(201, as, http.MethodPost, "/v1/campaigns", `{"name":"a\\u0000b '; DROP TABLE campaigns; --"}`)
	// Hostile text is data everywhere.
	for _, bad := range []string{"x'--", "%27%20OR%201=1", "a%00b", "%ff", "..%2f..%2fetc"} {
		for _, p := range []string{"/v1/campaigns/", "/v1/lists/", "/v1/imports/", "/v1/calls/", "/v1/agents/", "/v1/users/", "/v1/trunks/", leads + "/leads/ext:", "/v1/calls?lead_id=", "/v1/lists?campaign_id=", "/v1/dnc?campaign_id="} {
			if r := h.do(dialer.RoleAdmin, http.MethodGet, p+bad, nil); r.StatusCode >= 500 {
				t.Errorf("GET %s%s: %d %s", p, bad, r.StatusCode, r.body)
			}
		}
	}
}
