package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"dialer"
)

const (
	sqlSaveEstimate = `INSERT INTO pacing_estimates (campaign_id, saved_at, body) VALUES ($1, $2, $3)
		ON CONFLICT (campaign_id) DO UPDATE SET saved_at = excluded.saved_at, body = excluded.body`
	sqlEstimate = `SELECT body FROM pacing_estimates WHERE campaign_id = $1`
)

// SaveEstimate implements campaign.Store. The disk is not waited for.
func (db *DB) SaveEstimate(ctx context.Context, id dialer.CampaignID, body []byte, now time.Time) error {
	err := pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, sqlLaxCommit); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, sqlSaveEstimate, id, now, body)
		return err
	})
	if err != nil {
		return fmt.Errorf("saving what a pacer has learned: %w", err)
	}
	return nil
}

// Estimate implements campaign.Store.
func (db *DB) Estimate(ctx context.Context, id dialer.CampaignID) (body []byte, err error) {
	err = db.pool.QueryRow(ctx, sqlEstimate, id).Scan(&body)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return nil, fmt.Errorf("reading what a pacer has learned: %w", err)
	}
	return body, nil
}
