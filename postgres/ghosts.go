package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"dialer"
	"dialer/campaign"
)

const (
	sqlGhostAtEnd = `UPDATE open_attempts SET ghost_at = coalesce(ghost_at, $2) WHERE call_id = $1`
	sqlGhost      = `UPDATE calls SET version = $3, ghost = true, answered_at = $4, answered_by = $5, answered_by_source = $6,
			ended_by = $7, class = $8 WHERE id = $1 AND placed_at = $2`
)

// MarkGhost saves, queued and in order, that a call was answered at a time when
// it had been given up; see campaign.Ghosted. Where the end of the call is not
// saved yet, that is done with it. Saying it twice is one.
func (db *DB) MarkGhost(call dialer.CallID, at time.Time) {
	now := time.Now()
	db.enqueue(save{what: "ghost", call: call,
		apply: func(ctx context.Context, tx pgx.Tx) ([]dialer.Event, error) {
			tag, err := tx.Exec(ctx, sqlGhostAtEnd, call, stamp(at))
			if err != nil || tag.RowsAffected() > 0 {
				return nil, err
			}
			return db.ghost(ctx, tx, call, at, now)
		}})
}

// ghost marks an ended call.
func (db *DB) ghost(ctx context.Context, tx pgx.Tx, id dialer.CallID, at, now time.Time) ([]dialer.Event, error) {
	found, err := lockCall(ctx, tx, id)
	if err != nil || found.Ghost { // said before
		return nil, err
	}
	c, facts := campaign.Ghosted(found, at)
	_, err = tx.Exec(ctx, sqlGhost, c.ID, stamp(c.PlacedAt), c.Version, stamp(c.AnsweredAt), c.AnsweredBy, c.AnsweredBySource, c.EndedBy, c.Class)
	return factsOf(c, now, facts), err
}
