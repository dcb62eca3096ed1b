package api

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"dialer"
	"dialer/campaign"
)

var decidedAt = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// recordDecisions puts five decisions a minute apart in a log, the last two in the
// same instant, beside those of another campaign.
func recordDecisions(log interface{ Record(...dialer.Event) }, id dialer.CampaignID) {
	for i := range 5 {
		at := decidedAt.Add(time.Duration(min(i, 3)) * time.Minute)
		for _, of := range []dialer.CampaignID{id, "cmp_other"} {
			log.Record(dialer.Event{At: at, Campaign: of, Fact: dialer.PacingDecided{
				Policy: "predictive, cap 3 %", Dial: i, Placed: 10 * i, Limit: "agents", Reason: "because",
				Seen:         dialer.PacingSeen{Ready: 2, Talking: 8, NotReady: 1, Ringing: 12, Answered: 100, Abandoned: 1, Cap: 0.03, CallsPerSecond: 5},
				ExpectedFree: 2.5, ExpectedAnswers: 3.25, ExpectedLoss: 0.125, Threshold: 0.05, Allowance: 2,
			}})
		}
		log.Record(dialer.Event{At: at, Campaign: id, Fact: dialer.LeadRetired{Why: "done"}})
	}
}

// checkDecisions reads them over the API.
func checkDecisions(t *testing.T, h *house, campaign string) {
	t.Helper()
	path := campaign + "/decisions"
	list := func(query string) (dials []int, p Page[DecisionView]) {
		p = into[Page[DecisionView]](h, h.want(200, dialer.RoleSupervisor, http.MethodGet, path+query, nil))
		for _, d := range p.Items {
			dials = append(dials, d.Dial)
		}
		return dials, p
	}
	dials, all := list("")
	if !slices.Equal(dials, []int{4, 3, 2, 1, 0}) || all.NextCursor != "" {
		t.Fatalf("decisions %v, cursor %q", dials, all.NextCursor)
	}
	got := all.Items[0]
	got.Seq = 0
	want := DecisionView{
		At: decidedAt.Add(3 * time.Minute), Policy: "predictive, cap 3 %", Dial: 4, Placed: 40, Limit: "agents", Reason: "because",
		Seen:         DecisionInput{Ready: 2, Talking: 8, NotReady: 1, Ringing: 12, Answered: 100, Abandoned: 1, Cap: 0.03, CallsPerSecond: 5},
		ExpectedFree: 2.5, ExpectedAnswers: 3.25, ExpectedLoss: 0.125, Threshold: 0.05, Allowance: 2,
	}
	if got != want {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	var paged []int
	for cursor := ""; ; {
		dials, p := list("?limit=2" + cursor)
		paged = append(paged, dials...)
		if p.NextCursor == "" {
			break
		}
		cursor = "&cursor=" + p.NextCursor
	}
	if !slices.Equal(paged, dials) {
		t.Errorf("by pages: %v", paged)
	}
	if dials, _ := list("?from=2026-05-04T12:01:00Z&to=2026-05-04T12:03:00Z"); !slices.Equal(dials, []int{2, 1}) {
		t.Errorf("between: %v", dials)
	}
	_, first := list("?limit=1")
	h.want(422, dialer.RoleSupervisor, http.MethodGet, path+"?from=2026-05-04T12:01:00Z&cursor="+first.NextCursor, nil)
	h.want(422, dialer.RoleSupervisor, http.MethodGet, path+"?from=2026-05-04T12:01:00Z&to=2026-05-04T12:00:00Z", nil)
	h.want(404, dialer.RoleSupervisor, http.MethodGet, "/v1/campaigns/cmp_none/decisions", nil)
	h.want(200, dialer.RoleCompliance, http.MethodGet, path, nil)
	h.want(403, dialer.RoleAgent, http.MethodGet, path, nil)
}

func TestDecisionsAreTold(t *testing.T) {
	h := open(t)
	h.db.campaigns["cmp_1"] = campaign.Campaign{ID: "cmp_1"}
	recordDecisions(h.db, "cmp_1")
	checkDecisions(t, h, "/v1/campaigns/cmp_1")
}
