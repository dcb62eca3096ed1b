package postgres

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"dialer"
	"dialer/campaign"
	"dialer/compliance"
	"dialer/internal/storetest"
)

// TestFewPartitionsPerCall: a statement about one call locks the partitions of
// the two days in which the call can be and the default one, not those of every
// day there is. Once for each connection, at the sixth time, the server makes a
// plan for all values to see that it is worse.
func TestFewPartitionsPerCall(t *testing.T) {
	db := open(t)
	_, err := db.pool.Exec(t.Context(), `DO $$ BEGIN
		FOR day IN 1 .. 60 LOOP
			EXECUTE format('CREATE TABLE calls_x%s PARTITION OF calls FOR VALUES FROM (%L) TO (%L)',
				day, timestamptz '2026-02-10 00:00Z' + (day - 1) * interval '1 day', timestamptz '2026-02-10 00:00Z' + day * interval '1 day');
		END LOOP; END $$`)
	check(t, err)
	id, list := aList(t, db)
	for i := range 12 {
		_, err = db.CreateLead(t.Context(), list, campaign.Lead{Number: dialer.Number(fmt.Sprintf("+1212555%04d", i))}, noon)
		check(t, err)
	}
	leads, err := db.ClaimLeads(t.Context(), id, 12, "", noon)
	check(t, err)
	slot, epoch := db.node()
	conn, err := db.pool.Acquire(t.Context())
	check(t, err)
	defer conn.Release()
	times := map[string]int{}
	most := func(what string, change func(ctx context.Context, tx pgx.Tx) error) {
		t.Helper()
		tx, err := conn.Begin(t.Context())
		check(t, err)
		defer tx.Rollback(t.Context())
		check(t, change(t.Context(), tx))
		var n int
		check(t, tx.QueryRow(t.Context(), `SELECT count(*) FROM pg_locks JOIN pg_inherits ON inhrelid = relation
			WHERE pid = pg_backend_pid() AND inhparent = 'calls'::regclass`).Scan(&n))
		if times[what]++; n > 3 && times[what] != 6 {
			t.Errorf("%s locks %d partitions, want 3 at most", what, n)
		}
		check(t, tx.Commit(t.Context()))
	}
	for _, l := range leads {
		c := campaign.Call{ID: storetest.CallID(noon.Add(-time.Minute)), Version: 1, Campaign: id, List: list, Lead: l.ID, To: l.Number,
			From: "+12125550000", Mode: campaign.Power, State: campaign.Placed, PlacedAt: noon}
		most("begin", func(ctx context.Context, tx pgx.Tx) error {
			row, err := jsonText(rowOf(c))
			check(t, err)
			_, err = tx.Exec(ctx, sqlInsertCall, row)
			check(t, err)
			_, err = tx.Exec(ctx, sqlInsertAttempt, row, slot, epoch)
			return err
		})
		most("update", func(ctx context.Context, tx pgx.Tx) error {
			c.Version, c.State, c.AnsweredAt, c.Dialog = 2, campaign.Answered, noon, []byte("tags")
			_, err := db.update(ctx, tx, c, noon, nil)
			return err
		})
		most("settling", func(ctx context.Context, tx pgx.Tx) error {
			open, _, err := db.interrupt(ctx, tx, c.ID, noon)
			c.Version = open.Version
			return err
		})
		most("disposition", func(ctx context.Context, tx pgx.Tx) error {
			c.Version, c.Disposition, c.Class = c.Version+1, "SALE", compliance.ClassConnected
			_, err := db.dispose(ctx, tx, c, campaign.Next{State: campaign.Done}, noon, nil)
			return err
		})
		most("ghost", func(ctx context.Context, tx pgx.Tx) error {
			_, err := db.ghost(ctx, tx, c.ID, noon, noon)
			return err
		})
		most("reading a call", func(ctx context.Context, tx pgx.Tx) error {
			from, to := placedWithin(c.ID)
			_, err := tx.Exec(ctx, sqlGetCall, c.ID, from, to)
			return err
		})
	}
	page, err := db.ListCalls(t.Context(), campaign.CallFilter{}, "", 5)
	check(t, err)
	rest, err := db.ListCalls(t.Context(), campaign.CallFilter{To: noon.Add(time.Hour)}, page[4].ID, 100)
	check(t, err)
	if len(page) != 5 || len(rest) != 7 {
		t.Errorf("pages of %d and %d calls, want 5 and 7", len(page), len(rest))
	}
}
