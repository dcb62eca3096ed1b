package api

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"dialer"
	"dialer/campaign"
)

// aCampaign creates what a campaign needs, and the campaign.
func (h *house) aCampaign(settings string) (CampaignView, string) {
	h.t.Helper()
	r := h.want(http.StatusCreated, dialer.RoleManager, http.MethodPost, "/v1/campaigns", settings)
	c := into[CampaignView](h, r)
	if r.Header.Get("Location") != "/v1/campaigns/"+string(c.ID) {
		h.t.Fatalf("Location %q", r.Header.Get("Location"))
	}
	return c, r.Header.Get("ETag")
}

func TestCampaignLife(t *testing.T) {
	h := open(t)
	const as = dialer.RoleManager
	c, tag := h.aCampaign(`{"name":"Spring","region":"US"}`)
	path := "/v1/campaigns/" + string(c.ID)
	if c.State != campaign.Draft || c.Settings.RingTimeoutS != 25 || c.Settings.Name != "Spring" || tag != `"1"` {
		t.Fatalf("new campaign %+v, ETag %s", c, tag)
	}

	// What it lacks is told all at once.
	p := h.problem(h.do(as, http.MethodPost, path+"/start", nil))
	if p.Status != http.StatusConflict || p.Code != "not_ready_to_start" || len(p.Errors) < 3 {
		t.Fatalf("start of an empty campaign: %+v", p)
	}

	trunk := into[TrunkView](h, h.want(http.StatusCreated, dialer.RoleAdmin, http.MethodPost, "/v1/trunks",
		`{"name":"carrier","address":"127.0.0.1:5070","channels":10,"cps":5}`))
	patch := fmt.Sprintf(`{"trunk_id":%q,"caller_id":"+12025550100","abandon_cap":0}`, trunk.ID)
	h.want(http.StatusPreconditionRequired, as, http.MethodPatch, path, patch)
	h.want(http.StatusPreconditionFailed, as, http.MethodPatch, path, patch, "If-Match", `"7"`)
	r := h.want(http.StatusOK, as, http.MethodPatch, path, patch, "If-Match", tag)
	c = into[CampaignView](h, r)
	if c.Settings.Trunk != trunk.ID || c.Settings.Name != "Spring" || *c.Settings.AbandonCap != 0 || r.Header.Get("ETag") != `"2"` {
		t.Fatalf("changed campaign %+v", c)
	}
	// The second of two managers is told.
	h.want(http.StatusPreconditionFailed, as, http.MethodPatch, path, `{"name":"Mine"}`, "If-Match", tag)
	p = h.problem(h.do(as, http.MethodPatch, path, `{"mode":"magic","ratio":99}`, "If-Match", `"2"`))
	if p.Status != 422 || len(p.Errors) != 2 {
		t.Errorf("bad patch: %+v", p)
	}

	list := into[ListView](h, h.want(http.StatusCreated, as, http.MethodPost, "/v1/lists", fmt.Sprintf(`{"campaign_id":%q,"name":"one"}`, c.ID)))
	h.want(http.StatusCreated, as, http.MethodPost, "/v1/lists/"+string(list.ID)+"/leads",
		`{"number":"(202) 555-0143","external_id":"CRM-42","fields":{"city":"Ulm"}}`)

	for _, step := range []struct {
		verb   string
		status int
		state  campaign.State
	}{
		{"resume", 409, ""},
		{"start", 200, campaign.Running},
		{"start", 200, campaign.Running},
		{"pause", 200, campaign.Paused},
		{"start", 409, ""},
		{"resume", 200, campaign.Running},
		{"stop", 200, campaign.Stopped},
		{"pause", 409, ""},
		{"start", 200, campaign.Running},
	} {
		r := h.do(as, http.MethodPost, path+"/"+step.verb, nil)
		if r.StatusCode != step.status {
			t.Fatalf("%s: %d, want %d: %s", step.verb, r.StatusCode, step.status, r.body)
		}
		if step.status == 200 && into[CampaignView](h, r).State != step.state {
			t.Fatalf("%s: %s", step.verb, r.body)
		}
	}
	if h.db.woken == 0 {
		t.Error("the scheduler was never woken")
	}
	if g := into[Progress](h, h.want(200, as, http.MethodGet, path+"/progress", nil)); g.Leads.Total != 1 || g.Abandon.Rate != nil || g.Calls == nil {
		t.Errorf("progress %+v", g)
	}
	if d := into[campaign.Diagnostics](h, h.want(200, as, http.MethodGet, path+"/diagnostics", nil)); d.Summary == "" || d.Live.State != campaign.Running {
		t.Errorf("diagnostics %+v", d)
	}
	h.want(200, as, http.MethodGet, path+"/live", nil)
}

func TestPatchMerges(t *testing.T) {
	h := open(t)
	c, tag := h.aCampaign(`{"name":"a","retry":{"busy":{"after_s":60,"max":9}},"script":"Hello","ring_timeout_s":40,"hours":"Mon-Fri 10:00-12:00"}`)
	path := "/v1/campaigns/" + string(c.ID)
	r := h.want(200, dialer.RoleManager, http.MethodPatch, path, `{"retry":{"no-answer":{"after_s":120,"max":1}},"ring_timeout_s":null}`, "If-Match", tag)
	s := into[CampaignView](h, r).Settings
	if s.Retry["busy"].Max != 9 || s.Retry["no-answer"].AfterS != 120 || s.Script != "Hello" || s.RingTimeoutS != 25 || s.Hours.String() != "Mon-Fri 10:00-12:00" {
		t.Errorf("merged: %+v", s)
	}
}

// TestPagesAreStable reads a list page by page while more arrive: nothing is
// skipped and nothing comes twice.
func TestPagesAreStable(t *testing.T) {
	h := open(t)
	for i := range 25 {
		h.aCampaign(fmt.Sprintf(`{"name":"c%d"}`, i))
	}
	seen := map[dialer.CampaignID]bool{}
	path, pages := "/v1/campaigns?limit=10", 0
	for path != "" {
		p := into[Page[CampaignView]](h, h.want(200, dialer.RoleManager, http.MethodGet, path, nil))
		for _, c := range p.Items {
			if seen[c.ID] {
				t.Fatalf("%s came twice", c.ID)
			}
			seen[c.ID] = true
		}
		if path = ""; p.NextCursor != "" {
			path = "/v1/campaigns?limit=10&cursor=" + p.NextCursor
		}
		if pages++; pages == 1 {
			h.aCampaign(`{"name":"late"}`)
			// A cursor of one list is refused by another.
			if r := h.do(dialer.RoleManager, http.MethodGet, "/v1/lists?cursor="+p.NextCursor, nil); r.StatusCode != 422 {
				t.Errorf("a cursor of campaigns was taken for lists: %d", r.StatusCode)
			}
		}
	}
	if len(seen) != 26 {
		t.Errorf("%d campaigns in %d pages, want 26", len(seen), pages)
	}
	empty := h.want(200, dialer.RoleManager, http.MethodGet, "/v1/lists", nil)
	if strings.TrimSpace(string(empty.body)) != `{"items":[]}` {
		t.Errorf("an empty list is %s", empty.body)
	}
}

func TestIdempotencyKey(t *testing.T) {
	h := open(t)
	const body = `{"name":"once"}`
	first := h.want(201, dialer.RoleManager, http.MethodPost, "/v1/campaigns", body, "Idempotency-Key", "k1")
	again := h.want(201, dialer.RoleManager, http.MethodPost, "/v1/campaigns", body, "Idempotency-Key", "k1")
	if string(first.body) != string(again.body) || first.Header.Get("Location") != again.Header.Get("Location") ||
		first.Header.Get("ETag") != again.Header.Get("ETag") || again.Header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("first %v %s, again %v %s", first.Header, first.body, again.Header, again.body)
	}
	if len(h.db.campaigns) != 1 {
		t.Errorf("%d campaigns, want 1", len(h.db.campaigns))
	}
	h.want(422, dialer.RoleManager, http.MethodPost, "/v1/campaigns", `{"name":"other"}`, "Idempotency-Key", "k1")
	h.want(201, dialer.RoleAdmin, http.MethodPost, "/v1/campaigns", body, "Idempotency-Key", "k1") // another caller's key
	// A refusal gives the key back.
	h.want(422, dialer.RoleManager, http.MethodPost, "/v1/campaigns", `{"name":" "}`, "Idempotency-Key", "k2")
	h.want(201, dialer.RoleManager, http.MethodPost, "/v1/campaigns", body, "Idempotency-Key", "k2")
	// A request still under way is a conflict.
	h.db.answers[string(callerName(h))+"k3"] = claim{body: nil}
	if r := h.do(dialer.RoleManager, http.MethodPost, "/v1/campaigns", body, "Idempotency-Key", "k3"); r.StatusCode != 409 && r.StatusCode != 422 {
		t.Errorf("while the first is worked on: %d", r.StatusCode)
	}
	h.want(422, dialer.RoleManager, http.MethodPost, "/v1/campaigns", body, "Idempotency-Key", strings.Repeat("k", 300))
}

func callerName(h *house) dialer.KeyID {
	id, _, _ := splitKey(h.keys[dialer.RoleManager])
	return id
}

func TestTrunkPasswordIsKept(t *testing.T) {
	h := open(t)
	made := h.want(201, dialer.RoleAdmin, http.MethodPost, "/v1/trunks",
		`{"name":"c","address":"sip.example.net","username":"u","password":"s3cret-s3cret","channels":3,"cps":1,"media_sources":["192.0.2.0/24"]}`)
	trunk := into[TrunkView](h, made)
	path := "/v1/trunks/" + string(trunk.ID)
	got := h.want(200, dialer.RoleManager, http.MethodGet, path, nil)
	if v := into[TrunkView](h, got); !v.HasPassword || v.MediaSources[0] != "192.0.2.0/24" || strings.Contains(string(got.body), "s3cret") {
		t.Errorf("trunk %s", got.body)
	}
	h.want(200, dialer.RoleAdmin, http.MethodPatch, path, `{"channels":7}`, "If-Match", got.Header.Get("ETag"))
	if kept := h.db.trunks[trunk.ID]; kept.Password != "s3cret-s3cret" || kept.Channels != 7 {
		t.Errorf("after a change of the channels: %+v", kept)
	}
	h.want(412, dialer.RoleAdmin, http.MethodPatch, path, `{"channels":8}`, "If-Match", got.Header.Get("ETag"))
	h.want(204, dialer.RoleAdmin, http.MethodDelete, path, nil)
	h.want(404, dialer.RoleAdmin, http.MethodGet, path, nil)
}

func FuzzCursor(f *testing.F) {
	c := cursors{key: []byte("0123456789abcdef")}
	f.Add("", "")
	f.Add("calls", c.make("calls", "cal_1"))
	f.Add("calls", "AAAA")
	f.Add("\x00", strings.Repeat("A", 400))
	f.Fuzz(func(t *testing.T, scope, cursor string) {
		place, err := c.read(scope, cursor)
		if err == nil && cursor != "" && c.make(scope, place) != cursor {
			t.Errorf("cursor %q of %q is not ours and was read as %q", cursor, scope, place)
		}
		if got, err := c.read(scope, c.make(scope, cursor)); cursor != "" && (err != nil || got != cursor) {
			t.Errorf("place %q came back as %q, %v", cursor, got, err)
		}
	})
}
