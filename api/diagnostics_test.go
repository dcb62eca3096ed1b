package api

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dialer"
	"dialer/campaign"
)

// TestDiagnosticsSayWhatStartRefuses: a draft is told what it lacks before
// somebody tries.
func TestDiagnosticsSayWhatStartRefuses(t *testing.T) {
	h := open(t)
	c, _ := h.aCampaign(`{"name":"a","mode":"power"}`)
	d := into[campaign.Diagnostics](h, h.want(200, dialer.RoleManager, http.MethodGet, "/v1/campaigns/"+string(c.ID)+"/diagnostics", nil))
	for _, want := range []string{"trunk_id names no trunk", "caller_id is empty", "message_asset is empty", "the campaign has no lead to call"} {
		if !slices.ContainsFunc(d.Warnings, func(w string) bool { return strings.HasPrefix(w, "it cannot be started: "+want) }) {
			t.Errorf("no warning that %s: %q", want, d.Warnings)
		}
	}
	h.want(404, dialer.RoleManager, http.MethodGet, "/v1/campaigns/cmp_none/diagnostics", nil)
}

// asleep is a store that answers nothing, with an engine that dials on.
type asleep struct {
	*memory
	dialing bool
}

func (asleep) GetCampaign(ctx context.Context, _ dialer.CampaignID) (campaign.Campaign, error) {
	<-ctx.Done()
	return campaign.Campaign{}, ctx.Err()
}

func (asleep) APIKey(ctx context.Context, _ dialer.KeyID) (dialer.User, []byte, error) {
	<-ctx.Done()
	return dialer.User{}, nil, ctx.Err()
}

func (a asleep) Diagnostics(_ context.Context, id dialer.CampaignID) (campaign.Diagnostics, error) {
	d := campaign.Diagnostics{Live: campaign.Live{Campaign: id}, Warnings: []string{"the database does not answer"}}
	if a.dialing {
		d.Live.State = campaign.Running
	}
	return d, nil
}

// TestDiagnosticsWithoutDatabase: the answer comes within two seconds.
func TestDiagnosticsWithoutDatabase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, dialing := range []bool{true, false} {
			db := asleep{newMemory(), dialing}
			s := &Server{store: db, scheduler: db, now: time.Now}
			began := time.Now()
			got, err := s.diagnose(t.Context(), &CampaignPath{ID: "cmp_1"})
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("it took %s", took)
			}
			switch {
			case dialing && (err != nil || !slices.Contains(got.Body.Warnings, "the database does not answer") || got.Body.Live.State != campaign.Running):
				t.Errorf("got %+v, %v", got, err)
			case !dialing && dialer.CodeOf(err) != dialer.Unavailable:
				t.Errorf("of a campaign that is not in memory: %v", err)
			}
		}
	})
}

// TestReadyWithoutDatabase: nothing is dialed without the database, and readyz
// must not call that ok.
func TestReadyWithoutDatabase(t *testing.T) {
	ok := func(context.Context) error { return nil }
	h := open(t, func(c *Config) {
		c.Checks = map[string]func(context.Context) error{
			"dialing":  ok,
			"database": func(context.Context) error { return dialer.Errorf(dialer.Unavailable, "connection refused") },
		}
	})
	r := h.want(503, "", http.MethodGet, "/readyz", nil)
	if !strings.Contains(string(r.body), `"dialing":"no calls are placed while the database does not answer"`) {
		t.Errorf("readyz %s", r.body)
	}
}

// TestKeysWithoutDatabase: who comes with an API key is told soon why not.
func TestKeysWithoutDatabase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{store: asleep{newMemory(), true}, now: time.Now, strangers: newLimiter(wrongKeys)}
		_, token, _ := NewAPIKey()
		r := httptest.NewRequest(http.MethodGet, "/v1/campaigns", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		began := time.Now()
		_, err := s.authenticate(r)
		p, _ := problemOf(err)
		if took := time.Since(began); took > 2*time.Second || p.Status != http.StatusServiceUnavailable || !strings.Contains(p.Detail, "the database does not answer") {
			t.Errorf("after %s: %+v", took, p)
		}
	})
}
