package postgres

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"dialer"
	"dialer/campaign"
	"dialer/compliance"
	"dialer/report"
)

const (
	sqlGetCall   = `SELECT to_jsonb(calls) FROM calls WHERE id = $1 AND placed_at >= $2 AND placed_at < $3`
	sqlCalls     = `SELECT to_jsonb(c) FROM calls c`
	sqlCallFacts = `SELECT c.id, to_number, coalesce(agent_id, ''), placed_at, ringing_at, answered_at, speech_start_at, greeting_end_at,
			connected_at, message_start_at, message_end_at, ended_at, ended_by, coalesce(class, ''), answered_by, coalesce(a.name, ''), message_sha
		FROM calls c LEFT JOIN assets a ON a.sha256 = c.message_sha
		WHERE campaign_id = $1 AND outcome IS NOT NULL
			AND ($2::timestamptz IS NULL OR placed_at >= $2) AND ($3::timestamptz IS NULL OR placed_at < $3)
		ORDER BY placed_at, c.id`
)

// The conditions of a list of calls. Only those that are asked for stand in the
// statement, so that the server can plan for the index of just these.
const (
	ofCampaign  = `campaign_id = @campaign`
	ofLead      = `lead_id = @lead`
	ofAgent     = `agent_id = @agent`
	ofNumber    = `to_number = @number`
	ofOutcome   = `outcome = @outcome`
	ofClass     = `class = @class`
	withSeconds = `heard ? 'kept'`
	toLabel     = `heard ? 'kept' AND NOT heard ? 'label'`
	placedFrom  = `placed_at >= @from`
	placedUntil = `placed_at < @to`
	afterCall   = `(placed_at, id) < (SELECT placed_at, id FROM calls WHERE id = @after AND placed_at >= @after_from AND placed_at < @after_to)`
	newestFirst = ` ORDER BY placed_at DESC, id DESC LIMIT @limit`
)

// mostReports is how many reports read calls at the same time.
const mostReports = 1

// reportPatience is how long a report waits for the one before it.
const reportPatience = 10 * time.Second

// GetCall returns one call. Times have microseconds.
func (db *DB) GetCall(ctx context.Context, id dialer.CallID) (campaign.Call, error) {
	from, to := placedWithin(id)
	calls, err := listOf(ctx, db, "reading a call", scanCall, sqlGetCall, id, from, to)
	if err != nil {
		return campaign.Call{}, err
	}
	if len(calls) == 0 {
		return campaign.Call{}, dialer.Errorf(dialer.NotFound, "there is no call %s", id)
	}
	return calls[0], nil
}

// ListCalls returns calls, the newest first; after is the last of the page
// before.
func (db *DB) ListCalls(ctx context.Context, f campaign.CallFilter, after dialer.CallID, limit int) ([]campaign.Call, error) {
	query, args := callsQuery(f, after, limit)
	return listOf(ctx, db, "listing calls", scanCall, query, args)
}

func callsQuery(f campaign.CallFilter, after dialer.CallID, limit int) (string, pgx.NamedArgs) {
	from, to := placedWithin(after)
	if after != "" && (f.To.IsZero() || to.Before(f.To)) {
		f.To = to // none of the rest is newer
	}
	var conditions []string
	for _, c := range []struct {
		text  string
		asked bool
	}{
		{ofCampaign, f.Campaign != ""}, {ofLead, f.Lead != ""}, {ofAgent, f.Agent != ""}, {ofNumber, f.Number != ""},
		{ofOutcome, f.Outcome != ""}, {ofClass, f.Class != ""}, {withSeconds, f.Kept}, {toLabel, f.ToLabel}, {placedFrom, !f.From.IsZero()}, {placedUntil, !f.To.IsZero()},
		{afterCall, after != ""},
	} {
		if c.asked {
			conditions = append(conditions, c.text)
		}
	}
	query := sqlCalls
	if len(conditions) > 0 {
		query += " WHERE " + strings.Join(conditions, " AND ")
	}
	return query + newestFirst, pgx.NamedArgs{
		"campaign": f.Campaign, "lead": f.Lead, "agent": f.Agent, "number": f.Number, "outcome": f.Outcome, "class": f.Class,
		"from": at(f.From), "to": at(f.To), "after": after, "after_from": from, "after_to": to, "limit": limit,
	}
}

// listOf reads every row of a query; doing goes before an error.
func listOf[T any](ctx context.Context, db *DB, doing string, scan pgx.RowToFunc[T], query string, args ...any) ([]T, error) {
	rows, err := db.pool.Query(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	all, err := pgx.CollectRows(rows, scan)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	return all, nil
}

// CallFacts yields what a report needs of the campaign's ended calls that were
// placed at or after from and before to, one by one; a zero time is no bound.
// One report is read at a time; the others wait, and are an Unavailable when it
// takes long.
func (db *DB) CallFacts(ctx context.Context, id dialer.CampaignID, from, to time.Time) iter.Seq2[report.CallFacts, error] {
	return func(yield func(report.CallFacts, error) bool) {
		select {
		case db.reports <- struct{}{}:
			defer func() { <-db.reports }()
		case <-time.After(reportPatience):
			yield(report.CallFacts{}, dialer.Errorf(dialer.Unavailable, "another report is being made: ask again in a minute"))
			return
		case <-ctx.Done():
			yield(report.CallFacts{}, context.Cause(ctx))
			return
		}
		rows, err := db.bulk.Query(ctx, sqlCallFacts, id, at(from), at(to))
		if err != nil {
			yield(report.CallFacts{}, fmt.Errorf("reading calls for a report: %w", err))
			return
		}
		defer rows.Close()
		for rows.Next() {
			f, err := scanFacts(rows)
			if err != nil {
				err = fmt.Errorf("reading calls for a report: %w", err)
			}
			if !yield(f, err) || err != nil {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(report.CallFacts{}, fmt.Errorf("reading calls for a report: %w", err))
		}
	}
}

func scanFacts(row pgx.CollectableRow) (f report.CallFacts, err error) {
	var ringing, answer, speech, greeting, agent, messageStart, messageEnd, end *time.Time
	err = row.Scan(&f.Call, &f.To, &f.Agent, &f.PlacedAt, &ringing, &answer, &speech, &greeting, &agent,
		&messageStart, &messageEnd, &end, &f.EndedBy, &f.Class, &f.AnsweredBy, &f.MessageAsset, &f.MessageSHA)
	f.PlacedAt, f.RingingAt = f.PlacedAt.UTC(), when(ringing)
	f.Times = compliance.Times{
		Answer: when(answer), SpeechStart: when(speech), GreetingEnd: when(greeting), Agent: when(agent),
		MessageStart: when(messageStart), MessageEnd: when(messageEnd), End: when(end),
	}
	return f, err
}
