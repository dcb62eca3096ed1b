package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"dialer"
	"dialer/campaign"
	"dialer/compliance"
)

const (
	verdicts = `SELECT trunk_id, verdict,
			coalesce((heard #>> '{agent_draw,value}')::int < (heard #>> '{agent_draw,share}')::int, false) OR heard ? 'kept',
			CASE WHEN heard ? 'label' THEN heard ->> 'label' WHEN answered_by_source = 'agent' THEN answered_by ELSE '' END,
			heard ? 'late_machine_at', count(*)
		FROM calls WHERE campaign_id = $1 AND verdict <> '' AND answered_at IS NOT NULL
			AND ($2::timestamptz IS NULL OR placed_at >= $2) AND ($3::timestamptz IS NULL OR placed_at < $3)`
	byVerdict = ` GROUP BY 1, 2, 3, 4, 5`
	ofDraws   = ` AND (heard ? 'agent_draw' OR heard ? 'kept')` // as the index has it

	sqlLabel = `UPDATE calls SET version = $3, answered_by = $4, answered_by_source = $5, class = $6, heard = $7 WHERE id = $1 AND placed_at = $2`
)

// DetectorCounts implements campaign.Store.
func (db *DB) DetectorCounts(ctx context.Context, id dialer.CampaignID, from, to time.Time, sampled bool) ([]compliance.DetectorCount, error) {
	query := verdicts
	if sampled {
		query += ofDraws
	}
	rows, err := db.bulk.Query(ctx, query+byVerdict, id, at(from), at(to))
	if err != nil {
		return nil, fmt.Errorf("counting verdicts: %w", err)
	}
	counts, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (n compliance.DetectorCount, err error) {
		return n, row.Scan(&n.Trunk, &n.Verdict, &n.Sampled, &n.Truth, &n.Late, &n.Calls)
	})
	if err != nil {
		return nil, fmt.Errorf("counting verdicts: %w", err)
	}
	return counts, nil
}

// LabelCall saves what somebody who heard the seconds of a call says.
func (db *DB) LabelCall(ctx context.Context, id dialer.CallID, label, by string, now time.Time) (c campaign.Call, err error) {
	_, err = db.inTx(ctx, func(tx pgx.Tx) ([]dialer.Event, error) {
		found, err := lockCall(ctx, tx, id)
		if err != nil {
			return nil, err
		}
		var facts []dialer.Fact
		if c, facts, err = campaign.Labelled(found, label, plain(by), now); err != nil {
			return nil, err
		}
		heard, err := jsonText(c.Heard)
		if err != nil {
			return nil, err
		}
		_, err = tx.Exec(ctx, sqlLabel, id, c.PlacedAt, c.Version, c.AnsweredBy, c.AnsweredBySource, orNull(c.Class), heard)
		return factsOf(c, now, facts), err
	})
	return c, err
}
