package postgres

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"dialer"
	"dialer/campaign"
	"dialer/compliance"
	"dialer/report"
)

// TestCallFilters asks for calls with every combination of filters: each finds
// the call that has all of it, and with one wrong value nothing.
func TestCallFilters(t *testing.T) {
	db := open(t)
	id, list := aList(t, db)
	l, err := db.CreateLead(t.Context(), list, campaign.Lead{Number: "+12125550101"}, noon)
	check(t, err)
	_, err = db.ClaimLeads(t.Context(), id, 1, "", noon)
	check(t, err)
	c := campaign.Call{ID: dialer.NewCallID(), Version: 1, Campaign: id, List: list, Lead: l.ID, To: l.Number, Agent: "agt_1",
		From: "+12125550000", Mode: campaign.Power, State: campaign.Placed, PlacedAt: time.Now().UTC()}
	check(t, db.BeginCall(t.Context(), c))
	c.Version, c.State, c.Outcome, c.Class, c.EndedAt = 2, campaign.Ended, campaign.OutcomeBusy, compliance.ClassBusy, c.PlacedAt
	db.EndCall(c, campaign.Next{State: campaign.Done})
	check(t, db.Flush(t.Context()))
	set := []struct {
		right, wrong func(f *campaign.CallFilter)
	}{
		{func(f *campaign.CallFilter) { f.Campaign = id }, func(f *campaign.CallFilter) { f.Campaign = "cmp_0" }},
		{func(f *campaign.CallFilter) { f.Lead = l.ID }, func(f *campaign.CallFilter) { f.Lead = "led_0" }},
		{func(f *campaign.CallFilter) { f.Agent = c.Agent }, func(f *campaign.CallFilter) { f.Agent = "agt_0" }},
		{func(f *campaign.CallFilter) { f.Number = c.To }, func(f *campaign.CallFilter) { f.Number = "+12125550199" }},
		{func(f *campaign.CallFilter) { f.Outcome = c.Outcome }, func(f *campaign.CallFilter) { f.Outcome = campaign.OutcomeConnected }},
		{func(f *campaign.CallFilter) { f.Class = c.Class }, func(f *campaign.CallFilter) { f.Class = compliance.ClassLate }},
		{func(f *campaign.CallFilter) { f.From = c.PlacedAt.Add(-time.Second) }, func(f *campaign.CallFilter) { f.From = c.PlacedAt.Add(time.Second) }},
		{func(f *campaign.CallFilter) { f.To = c.PlacedAt.Add(time.Second) }, func(f *campaign.CallFilter) { f.To = c.PlacedAt.Add(-time.Second) }},
	}
	for mask := range 1 << len(set) {
		var f campaign.CallFilter
		for i, s := range set {
			if mask>>i&1 == 1 {
				s.right(&f)
			}
		}
		found, err := db.ListCalls(t.Context(), f, "", 10)
		if err != nil || len(found) != 1 {
			t.Errorf("%+v found %d calls, %v", f, len(found), err)
		}
		if next, err := db.ListCalls(t.Context(), f, c.ID, 10); err != nil || len(next) != 0 {
			t.Errorf("%+v found %d calls after the last, %v", f, len(next), err)
		}
	}
	for i, s := range set {
		var f campaign.CallFilter
		s.wrong(&f)
		if found, err := db.ListCalls(t.Context(), f, "", 10); err != nil || len(found) != 0 {
			t.Errorf("wrong filter %d (%+v) found %d calls, %v", i, f, len(found), err)
		}
	}
}

// TestCallsOfANumber: of many calls the index finds those to one number.
func TestCallsOfANumber(t *testing.T) {
	db := open(t)
	_, err := db.pool.Exec(t.Context(), `INSERT INTO calls (id, placed_at, version, campaign_id, list_id, lead_id, mode, to_number, from_number, attempt, state, outcome, class, ended_at)
		SELECT 'cal_' || i, now(), 1, 'cmp_1', 'lst_1', 'led_' || i, 'power', '+1212' || (5550000 + i), '+12125550000', 1, 'ended', 'busy', 'busy', now()
		FROM generate_series(1, 20000) AS i`)
	check(t, err)
	_, err = db.pool.Exec(t.Context(), `ANALYZE calls`)
	check(t, err)
	query, args := callsQuery(campaign.CallFilter{Number: "+12125550123"}, "", 100)
	rows, err := db.pool.Query(t.Context(), "EXPLAIN "+query, args)
	check(t, err)
	plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
	check(t, err)
	if text := strings.Join(plan, "\n"); !strings.Contains(text, "to_number_placed_at_idx") {
		t.Errorf("the plan is\n%s", text)
	}
}

// TestOneReport: a second report waits for the first, which holds no connection
// of the calls' pool, and goes away with who asked.
func TestOneReport(t *testing.T) {
	db := open(t)
	id, _ := aList(t, db)
	_, err := db.pool.Exec(t.Context(), `INSERT INTO calls (id, placed_at, version, campaign_id, list_id, lead_id, mode, to_number, from_number, attempt, state, outcome, class, ended_at)
		SELECT 'cal_' || i, now(), 1, $1, 'lst_1', 'led_' || i, 'power', '+1212' || (5550000 + i), '+12125550000', 1, 'ended', 'busy', 'busy', now()
		FROM generate_series(1, 1000) AS i`, id)
	check(t, err)
	seen := 0
	for _, err := range db.CallFacts(t.Context(), id, time.Time{}, time.Time{}) {
		check(t, err)
		if seen++; seen > 1 {
			continue
		}
		eventually(t, "the calls' pool is free", func() bool { return db.pool.Stat().AcquiredConns() == 0 })
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for f, err := range db.CallFacts(ctx, id, time.Time{}, time.Time{}) {
			if err == nil {
				t.Errorf("a second report reads %+v meanwhile", f)
			}
		}
	}
	again, err := report.Abandon(report.AbandonQuery{Campaign: id}, db.CallFacts(t.Context(), id, time.Time{}, time.Time{}))
	if seen != 1000 || again.Attempts != 1000 || err != nil {
		t.Errorf("%d calls, then %d, %v", seen, again.Attempts, err)
	}
}
