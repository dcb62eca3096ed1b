package postgres

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/jackc/pgx/v5"

	"dialer"
	"dialer/campaign"
)

const (
	sqlSaveTape = `INSERT INTO pacing_tapes (campaign_id, began_at, part, from_at, to_at, version, body)
		VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING`
	// Of each tape that reaches into the time, all parts from the first on.
	sqlTapes = `SELECT campaign_id, began_at, part, from_at, to_at, version, body FROM pacing_tapes p
		WHERE campaign_id = $1 AND from_at < $3 AND EXISTS (
			SELECT FROM pacing_tapes o WHERE o.campaign_id = $1 AND o.began_at = p.began_at AND o.to_at > $2)
		ORDER BY began_at, part`
	sqlPurgeTapes = `DELETE FROM pacing_tapes WHERE to_at < now() - interval '31 days'`
)

// SaveTape implements campaign.Store. The disk is not waited for.
func (db *DB) SaveTape(ctx context.Context, p campaign.TapePart) error {
	err := pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, sqlLaxCommit); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, sqlSaveTape, p.Campaign, p.Began, p.Part, p.From, p.To, plain(p.Version), p.Body)
		return err
	})
	if err != nil {
		return fmt.Errorf("saving the tape of a pacer's decisions: %w", err)
	}
	return nil
}

// Tapes yields the parts of a campaign's tapes that are needed to replay what was
// decided at or after from and before to: of each tape, in order, from its first
// part on.
func (db *DB) Tapes(ctx context.Context, id dialer.CampaignID, from, to time.Time) iter.Seq2[campaign.TapePart, error] {
	return func(yield func(campaign.TapePart, error) bool) {
		rows, err := db.bulk.Query(ctx, sqlTapes, id, from, to)
		if err != nil {
			yield(campaign.TapePart{}, fmt.Errorf("reading tapes: %w", err))
			return
		}
		defer rows.Close()
		for rows.Next() {
			var p campaign.TapePart
			if err := rows.Scan(&p.Campaign, &p.Began, &p.Part, &p.From, &p.To, &p.Version, &p.Body); err != nil {
				yield(p, fmt.Errorf("reading tapes: %w", err))
				return
			}
			p.Began, p.From, p.To = p.Began.UTC(), p.From.UTC(), p.To.UTC()
			if !yield(p, nil) {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(campaign.TapePart{}, fmt.Errorf("reading tapes: %w", err))
		}
	}
}
