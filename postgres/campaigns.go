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
	sqlCreateCampaign = `INSERT INTO campaigns (id, state, version, created_at, settings) VALUES ($1, 'draft', 1, $2, $3)`
	sqlGetCampaign    = `SELECT id, state, version, created_at, started_at, settings FROM campaigns WHERE id = $1`
	sqlListCampaigns  = `SELECT id, state, version, created_at, started_at, settings FROM campaigns WHERE id > $1 ORDER BY id LIMIT $2`
	sqlOpenCampaigns  = `SELECT id, state, version, created_at, started_at, settings FROM campaigns WHERE state IN ('running', 'paused') ORDER BY id`
	sqlUpdateCampaign = `UPDATE campaigns SET settings = $3, version = version + 1 WHERE id = $1 AND version = $2
		RETURNING id, state, version, created_at, started_at, settings`
	sqlMoveCampaign = `UPDATE campaigns SET state = $3, version = version + 1,
			started_at = CASE WHEN $3 = 'running' THEN coalesce(started_at, $4) ELSE started_at END
		WHERE id = $1 AND state = ANY($2)
		RETURNING id, state, version, created_at, started_at, settings`
	sqlOutcomeCounts = `SELECT outcome, sum(n)::bigint FROM campaign_tally WHERE campaign_id = $1 AND outcome <> '' GROUP BY outcome HAVING sum(n) > 0`
)

func scanCampaign(row pgx.CollectableRow) (c campaign.Campaign, err error) {
	var started *time.Time
	var settings []byte
	if err := row.Scan(&c.ID, &c.State, &c.Version, &c.CreatedAt, &started, &settings); err != nil {
		return c, err
	}
	c.CreatedAt, c.StartedAt = c.CreatedAt.UTC(), when(started)
	return c, json.Unmarshal(settings, &c.Settings)
}

// CreateCampaign makes a campaign in Draft.
func (db *DB) CreateCampaign(ctx context.Context, s campaign.Settings, by string, now time.Time) (campaign.Campaign, error) {
	c := campaign.Campaign{ID: dialer.NewCampaignID(), State: campaign.Draft, Version: 1, CreatedAt: stamp(now), Settings: s}
	settings, err := jsonText(s)
	if err != nil {
		return c, fmt.Errorf("creating a campaign: %w", err)
	}
	_, err = db.inTx(ctx, func(tx pgx.Tx) ([]dialer.Event, error) {
		_, err := tx.Exec(ctx, sqlCreateCampaign, c.ID, now, settings)
		return []dialer.Event{{At: now, Campaign: c.ID, Fact: dialer.CampaignChanged{State: string(c.State), By: by, Why: "created"}}}, err
	})
	if err != nil {
		return campaign.Campaign{}, fmt.Errorf("creating a campaign: %w", err)
	}
	return c, nil
}

// GetCampaign returns one campaign.
func (db *DB) GetCampaign(ctx context.Context, id dialer.CampaignID) (campaign.Campaign, error) {
	rows, err := db.pool.Query(ctx, sqlGetCampaign, id)
	if err != nil {
		return campaign.Campaign{}, fmt.Errorf("reading a campaign: %w", err)
	}
	c, err := pgx.CollectExactlyOneRow(rows, scanCampaign)
	return c, refuseMissing(err, "reading a campaign", "there is no campaign %s", id)
}

// ListCampaigns returns campaigns after one, in the order of creation.
func (db *DB) ListCampaigns(ctx context.Context, after dialer.CampaignID, limit int) ([]campaign.Campaign, error) {
	rows, err := db.pool.Query(ctx, sqlListCampaigns, after, limit)
	if err != nil {
		return nil, fmt.Errorf("listing campaigns: %w", err)
	}
	return pgx.CollectRows(rows, scanCampaign)
}

// OpenCampaigns implements campaign.Store.
func (db *DB) OpenCampaigns(ctx context.Context) ([]campaign.Campaign, error) {
	rows, err := db.pool.Query(ctx, sqlOpenCampaigns)
	if err != nil {
		return nil, fmt.Errorf("listing open campaigns: %w", err)
	}
	return pgx.CollectRows(rows, scanCampaign)
}

// UpdateCampaign replaces the settings of the version given; another version is
// a Conflict.
func (db *DB) UpdateCampaign(ctx context.Context, id dialer.CampaignID, version int, s campaign.Settings, by string, now time.Time) (c campaign.Campaign, err error) {
	settings, err := jsonText(s)
	if err != nil {
		return c, fmt.Errorf("changing a campaign: %w", err)
	}
	_, err = db.inTx(ctx, func(tx pgx.Tx) ([]dialer.Event, error) {
		rows, err := tx.Query(ctx, sqlUpdateCampaign, id, version, settings)
		if err != nil {
			return nil, err
		}
		c, err = pgx.CollectExactlyOneRow(rows, scanCampaign)
		return []dialer.Event{{At: now, Campaign: id, Fact: dialer.CampaignChanged{State: string(c.State), By: by, Why: "settings"}}}, err
	})
	if errors.Is(err, pgx.ErrNoRows) {
		kept, err := db.GetCampaign(ctx, id)
		if err != nil {
			return campaign.Campaign{}, err
		}
		return campaign.Campaign{}, dialer.Errorf(dialer.Conflict, "the campaign has version %d now, not %d: read it again and repeat the change", kept.Version, version)
	}
	return c, refuseMissing(err, "changing a campaign", "there is no campaign %s", id)
}

// SetCampaignState implements campaign.Store.
func (db *DB) SetCampaignState(ctx context.Context, id dialer.CampaignID, from []campaign.State, to campaign.State, by, why string, now time.Time) (c campaign.Campaign, err error) {
	_, err = db.inTx(ctx, func(tx pgx.Tx) ([]dialer.Event, error) {
		rows, err := tx.Query(ctx, sqlMoveCampaign, id, from, to, now)
		if err != nil {
			return nil, err
		}
		c, err = pgx.CollectExactlyOneRow(rows, scanCampaign)
		return []dialer.Event{{At: now, Campaign: id, Fact: dialer.CampaignChanged{State: string(to), By: by, Why: why}}}, err
	})
	if errors.Is(err, pgx.ErrNoRows) {
		kept, err := db.GetCampaign(ctx, id)
		if err != nil {
			return campaign.Campaign{}, err
		}
		return campaign.Campaign{}, dialer.Errorf(dialer.Conflict, "the campaign is %s and cannot become %s", kept.State, to)
	}
	return c, refuseMissing(err, "moving a campaign", "there is no campaign %s", id)
}

// OutcomeCounts counts the campaign's ended calls by outcome.
func (db *DB) OutcomeCounts(ctx context.Context, id dialer.CampaignID) (map[campaign.Outcome]int, error) {
	rows, err := db.pool.Query(ctx, sqlOutcomeCounts, id)
	if err != nil {
		return nil, fmt.Errorf("counting calls: %w", err)
	}
	counts := map[campaign.Outcome]int{}
	var outcome campaign.Outcome
	var n int
	_, err = pgx.ForEachRow(rows, []any{&outcome, &n}, func() error {
		counts[outcome] = n
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("counting calls: %w", err)
	}
	return counts, nil
}

// refuseMissing makes a NotFound of no row and of a reference to none; other
// errors get what was being done.
func refuseMissing(err error, doing, missing string, args ...any) error {
	var refusal *dialer.Error
	_, dangling := isViolation(err, foreignViolation)
	switch {
	case err == nil || errors.As(err, &refusal):
		return err
	case errors.Is(err, pgx.ErrNoRows) || dangling:
		return dialer.Errorf(dialer.NotFound, missing, args...)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// refuseTaken makes an Invalid about a field of a broken uniqueness.
func refuseTaken(err error, constraint, field, format string, args ...any) error {
	if broken, ok := isViolation(err, uniqueViolation); ok && broken == constraint {
		return &dialer.Error{Code: dialer.Conflict, Field: field, Message: fmt.Sprintf(format, args...)}
	}
	return err
}
