package postgres

import (
	"context"
	"fmt"
	"iter"
	"time"

	"dialer"
	"dialer/campaign"
	"dialer/compliance"
)

const (
	sqlGetCall   = `SELECT to_jsonb(calls) FROM calls WHERE id = $1`
	sqlListCalls = `SELECT to_jsonb(c) FROM calls c
		WHERE ($1 = '' OR campaign_id = $1) AND ($2 = '' OR lead_id = $2) AND ($3 = '' OR agent_id = $3)
			AND ($4 = '' OR to_number = $4) AND ($5 = '' OR outcome = $5) AND ($6 = '' OR class = $6)
			AND ($7::timestamptz IS NULL OR placed_at >= $7) AND ($8::timestamptz IS NULL OR placed_at < $8)
			AND ($9 = '' OR (placed_at, id) < (SELECT placed_at, id FROM calls WHERE id = $9))
		ORDER BY placed_at DESC, id DESC LIMIT $10`
	sqlAbandonFacts = `SELECT to_jsonb(c) FROM calls c
		WHERE campaign_id = $1 AND placed_at >= $2 AND placed_at < $3 AND class IS NOT NULL ORDER BY placed_at, id`
)

// A CallFilter narrows a list of calls; zero fields do not.
type CallFilter struct {
	Campaign dialer.CampaignID
	Lead     dialer.LeadID
	Agent    dialer.AgentID
	Number   dialer.Number
	Outcome  campaign.Outcome
	Class    compliance.Class
	From, To time.Time // placed at or after From, and before To
}

// GetCall returns one call. Times have microseconds.
func (db *DB) GetCall(ctx context.Context, id dialer.CallID) (campaign.Call, error) {
	rows, err := db.pool.Query(ctx, sqlGetCall, id)
	if err != nil {
		return campaign.Call{}, fmt.Errorf("reading a call: %w", err)
	}
	calls, err := collectCalls(rows)
	if err != nil {
		return campaign.Call{}, fmt.Errorf("reading a call: %w", err)
	}
	if len(calls) == 0 {
		return campaign.Call{}, dialer.Errorf(dialer.NotFound, "there is no call %s", id)
	}
	return calls[0], nil
}

// ListCalls returns calls, the newest first; after is the last of the page
// before.
func (db *DB) ListCalls(ctx context.Context, f CallFilter, after dialer.CallID, limit int) ([]campaign.Call, error) {
	rows, err := db.pool.Query(ctx, sqlListCalls, f.Campaign, f.Lead, f.Agent, f.Number, f.Outcome, f.Class, at(f.From), at(f.To), after, limit)
	if err != nil {
		return nil, fmt.Errorf("listing calls: %w", err)
	}
	calls, err := collectCalls(rows)
	if err != nil {
		return nil, fmt.Errorf("listing calls: %w", err)
	}
	return calls, nil
}

// AbandonFacts yields the calls of a campaign that were placed from one time to
// before another and have a class, by time: what an abandon report is made of.
// They are read as they are asked for.
func (db *DB) AbandonFacts(ctx context.Context, id dialer.CampaignID, from, to time.Time) iter.Seq2[campaign.Call, error] {
	return func(yield func(campaign.Call, error) bool) {
		rows, err := db.pool.Query(ctx, sqlAbandonFacts, id, from, to)
		if err != nil {
			yield(campaign.Call{}, fmt.Errorf("reading classed calls: %w", err))
			return
		}
		defer rows.Close()
		for rows.Next() {
			c, err := scanCall(rows)
			if !yield(c, err) || err != nil {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(campaign.Call{}, fmt.Errorf("reading classed calls: %w", err))
		}
	}
}
