package postgres

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"dialer"
	"dialer/campaign"
	"dialer/compliance"
	"dialer/internal/storetest"
)

// TestWrongStatesAreImpossible goes past the code: the database itself refuses
// what must never be.
func TestWrongStatesAreImpossible(t *testing.T) {
	db := open(t)
	id, list := aList(t, db)
	for _, n := range []dialer.Number{"+12125550101", "+12125550102", "+12125550103"} {
		_, err := db.CreateLead(t.Context(), list, campaign.Lead{Number: n}, noon)
		check(t, err)
	}
	var calls []campaign.Call
	leads, err := db.ClaimLeads(t.Context(), id, 2, "", noon)
	check(t, err)
	for _, l := range leads {
		c := campaign.Call{ID: storetest.CallID(noon), Version: 1, Campaign: id, List: list, Lead: l.ID, To: l.Number,
			From: "+12125550000", Mode: campaign.Power, State: campaign.Placed, PlacedAt: noon}
		check(t, db.BeginCall(t.Context(), c))
		calls = append(calls, c)
	}
	over := calls[1]
	over.Version, over.State, over.Outcome, over.Class, over.EndedAt = 2, campaign.Ended, campaign.OutcomeBusy, compliance.ClassBusy, noon
	db.EndCall(over, campaign.Next{State: campaign.Done})
	check(t, db.Flush(t.Context()))
	for what, query := range map[string]string{
		"a second open attempt to a lead":       `INSERT INTO open_attempts SELECT @over, placed_at, lead_id, '+12125559999', agent_id, trunk_id, slot, epoch FROM open_attempts`,
		"a second open attempt to a number":     `INSERT INTO open_attempts SELECT @over, placed_at, (SELECT id FROM leads WHERE state = 'dialable'), number, agent_id, trunk_id, slot, epoch FROM open_attempts`,
		"an open attempt without a call":        `INSERT INTO open_attempts SELECT 'cal_none', placed_at, (SELECT id FROM leads WHERE state = 'dialable'), '+12125559999', NULL, trunk_id, slot, epoch FROM open_attempts`,
		"an ended call without an outcome":      `UPDATE calls SET state = 'ended', ended_at = now(), version = 9 WHERE id = @open`,
		"an outcome before the end":             `UPDATE calls SET outcome = 'busy', version = 9 WHERE id = @open`,
		"an ended call that is up again":        `UPDATE calls SET state = 'connected', outcome = NULL, ended_at = NULL, version = 9 WHERE id = @over`,
		"an ended call with another outcome":    `UPDATE calls SET outcome = 'connected', version = 9 WHERE id = @over`,
		"a save with an old version":            `UPDATE calls SET rules = 'x' WHERE id = @open`,
		"a claim of nobody":                     `UPDATE leads SET state = 'claimed' WHERE state = 'dialable'`,
		"a number twice on a list":              `UPDATE leads SET number = '+12125550101'`,
		"a number that is none":                 `UPDATE leads SET number = 'x'`,
		"a lead on a list of another campaign":  `UPDATE leads SET campaign_id = 'cmp_other'`,
		"a state that is none":                  `UPDATE campaigns SET state = 'dialing'`,
		"a running campaign that never started": `UPDATE campaigns SET started_at = NULL`,
		"an agent state that is none":           `INSERT INTO agents (id, name, state) VALUES ('agt_x', 'x', 'asleep')`,
		"an import that does not add up":        `INSERT INTO imports (id, list_id, started_at, ended_at, rows, created) VALUES ('imp_x', (SELECT id FROM lists), now(), now(), 2, 1)`,
		"a changed event":                       `UPDATE events SET data = '{}'`,
		"a removed event":                       `DELETE FROM events`,
	} {
		if _, err := db.pool.Exec(t.Context(), query, pgx.NamedArgs{"open": calls[0].ID, "over": calls[1].ID}); err == nil {
			t.Errorf("%s: the database took it", what)
		}
	}
}
