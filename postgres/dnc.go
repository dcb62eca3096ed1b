package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"dialer"
	"dialer/campaign"
)

const (
	sqlTakeNumber = `SELECT pg_advisory_xact_lock($1, hashtext($2))`
	sqlAddDNC     = `INSERT INTO dnc (number, campaign_id, source, added_at) VALUES ($1, nullif($2, ''), $3, $4) ON CONFLICT DO NOTHING`
	sqlRemoveDNC  = `DELETE FROM dnc WHERE number = $1 AND campaign_id IS NOT DISTINCT FROM nullif($2, '')`
	sqlDNCOf      = `SELECT number, min(CASE WHEN campaign_id IS NULL THEN '1' ELSE '2' END)
		FROM dnc WHERE number = ANY($2) AND (campaign_id IS NULL OR campaign_id = $1) GROUP BY number`
	sqlCheckDNC = `SELECT number, coalesce(campaign_id, ''), source, added_at FROM dnc WHERE number = $1 ORDER BY campaign_id NULLS FIRST`
	sqlListDNC  = `SELECT number, coalesce(campaign_id, ''), source, added_at FROM dnc
		WHERE campaign_id IS NOT DISTINCT FROM nullif($1, '') AND number > $2 ORDER BY number LIMIT $3`
)

// DNCOf implements campaign.Store.
func (db *DB) DNCOf(ctx context.Context, id dialer.CampaignID, numbers []dialer.Number) (map[dialer.Number]string, error) {
	rows, err := db.pool.Query(ctx, sqlDNCOf, id, numbers)
	if err != nil {
		return nil, fmt.Errorf("reading the do-not-call lists: %w", err)
	}
	found := map[dialer.Number]string{}
	var n dialer.Number
	var scope string
	_, err = pgx.ForEachRow(rows, []any{&n, &scope}, func() error {
		found[n] = map[string]string{"1": "global", "2": "campaign"}[scope]
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the do-not-call lists: %w", err)
	}
	return found, nil
}

// AddDNC implements campaign.Store. The lock of the number waits for attempts
// that are being committed and holds off new ones.
func (db *DB) AddDNC(ctx context.Context, id dialer.CampaignID, n dialer.Number, source string, now time.Time) error {
	if !n.Valid() {
		return dialer.Fieldf("number", "%q is not a number in E.164 form (+, then 7 to 15 digits)", string(n))
	}
	return db.changeDNC(ctx, id, n, plain(source), true, now)
}

// RemoveDNC takes a number off a list; by is who did.
func (db *DB) RemoveDNC(ctx context.Context, id dialer.CampaignID, n dialer.Number, by string, now time.Time) error {
	return db.changeDNC(ctx, id, n, plain(by), false, now)
}

func (db *DB) changeDNC(ctx context.Context, id dialer.CampaignID, n dialer.Number, source string, add bool, now time.Time) error {
	_, err := db.inTx(ctx, func(tx pgx.Tx) ([]dialer.Event, error) {
		var batch pgx.Batch
		batch.Queue(sqlTakeNumber, lockNumber, n)
		if add {
			batch.Queue(sqlAddDNC, n, id, source, now)
		} else {
			batch.Queue(sqlRemoveDNC, n, id)
		}
		results := tx.SendBatch(ctx, &batch)
		defer results.Close()
		if _, err := results.Exec(); err != nil {
			return nil, err
		}
		tag, err := results.Exec()
		if err != nil {
			return nil, err
		}
		if tag.RowsAffected() == 0 {
			if add {
				return nil, nil // there already
			}
			return nil, dialer.Errorf(dialer.NotFound, "%s is not on that do-not-call list", n)
		}
		scope := "campaign"
		if id == "" {
			scope = "global"
		}
		return []dialer.Event{{At: now, Campaign: id, Fact: dialer.DNCChanged{To: n, Scope: scope, Added: add, Source: source}}}, nil
	})
	return refuseMissing(err, "changing a do-not-call list", "there is no campaign %s", id)
}

// CheckDNC returns the entries of a number.
func (db *DB) CheckDNC(ctx context.Context, n dialer.Number) ([]campaign.DNCEntry, error) {
	return db.collectDNC(ctx, sqlCheckDNC, n)
}

// ListDNC returns the entries of one list after a number, by number.
func (db *DB) ListDNC(ctx context.Context, id dialer.CampaignID, after dialer.Number, limit int) ([]campaign.DNCEntry, error) {
	return db.collectDNC(ctx, sqlListDNC, id, after, limit)
}

func (db *DB) collectDNC(ctx context.Context, query string, args ...any) ([]campaign.DNCEntry, error) {
	rows, err := db.pool.Query(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("reading the do-not-call lists: %w", err)
	}
	entries, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (e campaign.DNCEntry, err error) {
		err = row.Scan(&e.Number, &e.Campaign, &e.Source, &e.AddedAt)
		e.AddedAt = e.AddedAt.UTC()
		return e, err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the do-not-call lists: %w", err)
	}
	return entries, nil
}
