package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"dialer"
	"dialer/campaign"
)

const (
	sqlOrphanLeads = `UPDATE leads SET state = 'dialable', claim_slot = NULL, claim_epoch = NULL
		WHERE state = 'claimed' AND claim_slot = $1 AND claim_epoch < $2`
	sqlOrphans  = `SELECT call_id FROM open_attempts WHERE slot = $1 AND epoch < $2 ORDER BY placed_at`
	sqlOpenCall = `SELECT to_jsonb(c) || jsonb_build_object('dialog', o.dialog) FROM open_attempts o JOIN calls c ON c.id = o.call_id AND c.placed_at = o.placed_at
		WHERE o.call_id = $1 AND c.placed_at >= $2 AND c.placed_at < $3 FOR NO KEY UPDATE OF o`
	sqlOrphanLead = `SELECT l.by_outcome, l.attempts, c.settings FROM leads l JOIN campaigns c ON c.id = l.campaign_id WHERE l.id = $1`
	sqlHangup     = `INSERT INTO hangups (call_id, placed_at, slot, epoch, settled_at, dialog) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING`
	sqlOldHangups = `DELETE FROM hangups WHERE settled_at <= $1`
	sqlHangups    = `SELECT to_jsonb(c) || jsonb_build_object('dialog', h.dialog) FROM hangups h JOIN calls c ON c.id = h.call_id AND c.placed_at = h.placed_at
		WHERE h.slot = $1 AND h.epoch < $2`
)

// hangupAgain is how long after its settling an orphan is returned once more to
// each new start: the one before may have died before it hung up.
const hangupAgain = 10 * time.Minute

// SettleOrphans implements campaign.Store. Orphans that an earlier start has
// settled within the last minutes are returned again.
func (db *DB) SettleOrphans(ctx context.Context, now time.Time) ([]campaign.Call, error) {
	slot, epoch := db.node()
	if slot == 0 {
		return nil, errors.New("postgres: no node slot: Register comes first")
	}
	if _, err := db.pool.Exec(ctx, sqlOrphanLeads, slot, epoch); err != nil {
		return nil, fmt.Errorf("settling leads of the last run: %w", err)
	}
	if _, err := db.pool.Exec(ctx, sqlOldHangups, now.Add(-hangupAgain)); err != nil {
		return nil, fmt.Errorf("forgetting calls of earlier runs: %w", err)
	}
	rows, err := db.pool.Query(ctx, sqlHangups, slot, epoch)
	if err != nil {
		return nil, fmt.Errorf("settling calls of the last run: %w", err)
	}
	orphans, err := collectCalls(rows)
	if err != nil {
		return nil, fmt.Errorf("settling calls of the last run: %w", err)
	}
	rows, err = db.pool.Query(ctx, sqlOrphans, slot, epoch)
	if err != nil {
		return nil, fmt.Errorf("settling calls of the last run: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[dialer.CallID])
	if err != nil {
		return nil, fmt.Errorf("settling calls of the last run: %w", err)
	}
	for _, id := range ids {
		var orphan campaign.Call
		_, err := db.inTx(ctx, func(tx pgx.Tx) (events []dialer.Event, err error) {
			orphan, events, err = db.interrupt(ctx, tx, id, now)
			return events, err
		})
		if err != nil {
			return orphans, fmt.Errorf("settling call %s: %w", id, err)
		}
		if orphan.ID != "" {
			orphans = append(orphans, orphan)
		}
	}
	return orphans, nil
}

// interrupt closes one open attempt as campaign.Interrupt says and keeps its
// dialog for those who hang it up.
func (db *DB) interrupt(ctx context.Context, tx pgx.Tx, id dialer.CallID, now time.Time) (c campaign.Call, events []dialer.Event, err error) {
	from, to := placedWithin(id)
	rows, err := tx.Query(ctx, sqlOpenCall, id, from, to)
	if err != nil {
		return c, nil, err
	}
	open, err := collectCalls(rows)
	if err != nil || len(open) == 0 {
		return c, nil, err // settled meanwhile
	}
	var lead campaign.Lead
	var settings campaign.Settings
	var byOutcome, settingsText []byte
	if err := tx.QueryRow(ctx, sqlOrphanLead, open[0].Lead).Scan(&byOutcome, &lead.Attempts, &settingsText); err != nil {
		return c, nil, err
	}
	if err := errors.Join(json.Unmarshal(byOutcome, &lead.ByOutcome), json.Unmarshal(settingsText, &settings)); err != nil {
		return c, nil, err
	}
	c, facts := campaign.Interrupt(open[0], now)
	slot, epoch := db.node()
	if len(c.Dialog) > 0 || open[0].MayRing(now) {
		dialog := append([]byte{}, c.Dialog...) // never null: empty while it rings
		if _, err := tx.Exec(ctx, sqlHangup, id, stamp(c.PlacedAt), slot, epoch, now, dialog); err != nil {
			return c, nil, err
		}
	}
	events, err = db.end(ctx, tx, c, campaign.AfterInterrupt(settings, lead, now), now, facts)
	return c, events, err
}
