package postgres

import (
	"context"
	"fmt"
	"time"

	"dialer"
)

const sqlDecisions = `SELECT seq, at, coalesce(campaign_id, ''), coalesce(lead_id, ''), coalesce(call_id, ''),
		coalesce(agent_id, ''), kind, data
	FROM events WHERE kind = 'pacing.decided' AND campaign_id = $1
		AND ($2::timestamptz IS NULL OR at >= $2) AND ($3::timestamptz IS NULL OR at < $3)
		AND ($4::bigint = 0 OR (at, seq) < (SELECT at, seq FROM events WHERE seq = $4))
	ORDER BY at DESC, seq DESC LIMIT $5`

// ListDecisions returns the decisions of a campaign's pacer that were told at or
// after from and before to, the newest first; a zero time is no bound, and after
// is the seq of the last of the page before, 0 for the first page.
func (db *DB) ListDecisions(ctx context.Context, id dialer.CampaignID, from, to time.Time, after int64, limit int) ([]dialer.Event, error) {
	rows, err := db.pool.Query(ctx, sqlDecisions, id, at(from), at(to), after, limit)
	if err != nil {
		return nil, fmt.Errorf("reading decisions: %w", err)
	}
	return collectEvents(rows)
}
