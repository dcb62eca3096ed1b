package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"dialer"
	"dialer/campaign"
	"dialer/compliance"
	"dialer/report"
)

const (
	sqlGetCall   = `SELECT to_jsonb(calls) FROM calls WHERE id = $1 AND placed_at >= $2 AND placed_at < $3`
	sqlListCalls = `SELECT to_jsonb(c) FROM calls c
		WHERE ($1 = '' OR campaign_id = $1) AND ($2 = '' OR lead_id = $2) AND ($3 = '' OR agent_id = $3)
			AND ($4 = '' OR to_number = $4) AND ($5 = '' OR outcome = $5) AND ($6 = '' OR class = $6)
			AND ($7::timestamptz IS NULL OR placed_at >= $7) AND ($8::timestamptz IS NULL OR placed_at < $8)
			AND ($9 = '' OR (placed_at, id) < (SELECT placed_at, id FROM calls WHERE id = $9 AND placed_at >= $11 AND placed_at < $12))
		ORDER BY placed_at DESC, id DESC LIMIT $10`
	sqlCallFacts = `SELECT c.id, to_number, coalesce(agent_id, ''), placed_at, ringing_at, answered_at, speech_start_at, greeting_end_at,
			connected_at, message_start_at, message_end_at, ended_at, ended_by, coalesce(class, ''), answered_by, coalesce(a.name, ''), message_sha
		FROM calls c LEFT JOIN assets a ON a.sha256 = c.message_sha
		WHERE campaign_id = $1 AND outcome IS NOT NULL
			AND ($2::timestamptz IS NULL OR placed_at >= $2) AND ($3::timestamptz IS NULL OR placed_at < $3)
		ORDER BY placed_at, c.id`
)

// mostReports is how many reports read calls at the same time.
const mostReports = 1

// GetCall returns one call. Times have microseconds.
func (db *DB) GetCall(ctx context.Context, id dialer.CallID) (campaign.Call, error) {
	from, to := placedWithin(id)
	rows, err := db.pool.Query(ctx, sqlGetCall, id, from, to)
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
func (db *DB) ListCalls(ctx context.Context, f campaign.CallFilter, after dialer.CallID, limit int) ([]campaign.Call, error) {
	from, to := placedWithin(after)
	if after != "" && (f.To.IsZero() || to.Before(f.To)) {
		f.To = to // none of the rest is newer
	}
	rows, err := db.pool.Query(ctx, sqlListCalls, f.Campaign, f.Lead, f.Agent, f.Number, f.Outcome, f.Class,
		at(f.From), at(f.To), after, limit, from, to)
	if err != nil {
		return nil, fmt.Errorf("listing calls: %w", err)
	}
	calls, err := collectCalls(rows)
	if err != nil {
		return nil, fmt.Errorf("listing calls: %w", err)
	}
	return calls, nil
}

// CallFacts returns what a report needs of the campaign's ended calls that were
// placed at or after from and before to; a zero time is no bound.
func (db *DB) CallFacts(ctx context.Context, id dialer.CampaignID, from, to time.Time) ([]report.CallFacts, error) {
	rows, err := db.pool.Query(ctx, sqlCallFacts, id, at(from), at(to))
	if err != nil {
		return nil, fmt.Errorf("reading calls for a report: %w", err)
	}
	facts, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (f report.CallFacts, err error) {
		var ringing, answer, speech, greeting, agent, messageStart, messageEnd, end *time.Time
		err = row.Scan(&f.Call, &f.To, &f.Agent, &f.PlacedAt, &ringing, &answer, &speech, &greeting, &agent,
			&messageStart, &messageEnd, &end, &f.EndedBy, &f.Class, &f.AnsweredBy, &f.MessageAsset, &f.MessageSHA)
		f.PlacedAt, f.RingingAt = f.PlacedAt.UTC(), when(ringing)
		f.Times = compliance.Times{
			Answer: when(answer), SpeechStart: when(speech), GreetingEnd: when(greeting), Agent: when(agent),
			MessageStart: when(messageStart), MessageEnd: when(messageEnd), End: when(end),
		}
		return f, err
	})
	if err != nil {
		return nil, fmt.Errorf("reading calls for a report: %w", err)
	}
	return facts, nil
}
