package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"dialer"
	"dialer/campaign"
	"dialer/compliance"
)

// What may change of a call is set by the next two statements; they differ in
// that only EndCall ends one. Every statement about a call gets its placed_at, or
// where that lies, as a parameter: so the server plans for one day's partition,
// or two, however many there are.
const (
	sqlUpdateCall = `WITH saved AS (
			UPDATE calls SET (version, trunk_id, agent_id, state, class, rules, answered_by, answered_by_source, verdict, verdict_reason,
				sent_at, ringing_at, answered_at, speech_start_at, greeting_end_at, decided_at, connected_at,
				message_start_at, message_end_at, message_sha, opt_out_at, ended_by, cause, sip_status, q850, ghost,
				disposition, note, disposed_at, recording, media, tries, attestation, agent_media, heard)
			= (n.version, n.trunk_id, n.agent_id, n.state, n.class, n.rules, n.answered_by, n.answered_by_source, n.verdict, n.verdict_reason,
				n.sent_at, n.ringing_at, n.answered_at, n.speech_start_at, n.greeting_end_at, n.decided_at, n.connected_at,
				n.message_start_at, n.message_end_at, n.message_sha, n.opt_out_at, n.ended_by, n.cause, n.sip_status, n.q850, n.ghost,
				n.disposition, n.note, n.disposed_at, n.recording, n.media, n.tries, n.attestation, n.agent_media, n.heard)
			FROM jsonb_populate_record(NULL::calls, $1::jsonb) AS n, (SELECT agent_id FROM calls WHERE id = $2 AND placed_at = $3) AS before
			WHERE calls.id = $2 AND calls.placed_at = $3 AND calls.version < n.version
				AND (calls.state = 'ended') = (n.state = 'ended')
			RETURNING calls.id, calls.agent_id, calls.state, calls.agent_id IS DISTINCT FROM before.agent_id AS taken
		), freed AS (
			UPDATE open_attempts AS other SET agent_id = NULL FROM saved, open_attempts AS ours
			WHERE taken AND ours.call_id = saved.id AND other.agent_id = saved.agent_id AND other.call_id <> saved.id
				AND other.slot = ours.slot AND other.epoch = ours.epoch
			RETURNING other.call_id
		), attempt AS (
			UPDATE open_attempts SET agent_id = CASE WHEN taken THEN saved.agent_id ELSE open_attempts.agent_id END,
				dialog = coalesce(($1::jsonb ->> 'dialog')::bytea, dialog)
			FROM saved, (SELECT count(*) FROM freed) AS first
			WHERE call_id = saved.id AND saved.state <> 'ended' AND (taken OR $1::jsonb ->> 'dialog' IS NOT NULL)
		)
		SELECT count(*) FROM saved`
	sqlEndCall = `WITH saved AS (
			UPDATE calls SET (version, trunk_id, agent_id, state, outcome, class, rules, answered_by, answered_by_source, verdict, verdict_reason,
				sent_at, ringing_at, answered_at, speech_start_at, greeting_end_at, decided_at, connected_at,
				message_start_at, message_end_at, message_sha, opt_out_at, ended_at, ended_by, cause, sip_status, q850, ghost,
				disposition, note, disposed_at, recording, media, tries, attestation, agent_media, heard)
			= (n.version, n.trunk_id, n.agent_id, 'ended', n.outcome, n.class, n.rules, n.answered_by, n.answered_by_source, n.verdict, n.verdict_reason,
				n.sent_at, n.ringing_at, n.answered_at, n.speech_start_at, n.greeting_end_at, n.decided_at, n.connected_at,
				n.message_start_at, n.message_end_at, n.message_sha, n.opt_out_at, n.ended_at, n.ended_by, n.cause, n.sip_status, n.q850, n.ghost,
				n.disposition, n.note, n.disposed_at, n.recording, n.media, n.tries, n.attestation, n.agent_media, n.heard)
			FROM jsonb_populate_record(NULL::calls, $1::jsonb) AS n
			WHERE calls.id = $3 AND calls.placed_at = $4 AND calls.version < n.version AND calls.state <> 'ended'
			RETURNING calls.id, calls.lead_id, calls.outcome
		), closed AS (
			DELETE FROM open_attempts USING saved WHERE call_id = saved.id
			RETURNING coalesce(next, $2::jsonb) AS next, ghost_at
		), moved AS (
			UPDATE leads SET last_outcome = saved.outcome,
				by_outcome = jsonb_set(by_outcome, array[saved.outcome], to_jsonb(coalesce((by_outcome ->> saved.outcome)::int, 0) + 1)),
				state    = CASE WHEN leads.state = 'calling' THEN next ->> 'state' ELSE leads.state END,
				due      = CASE WHEN leads.state = 'calling' THEN (next ->> 'due')::timestamptz ELSE due END,
				owner_id = CASE WHEN leads.state = 'calling' THEN next ->> 'owner' ELSE owner_id END,
				why      = CASE WHEN leads.state = 'calling' THEN next ->> 'why' ELSE why END
			FROM saved, closed WHERE leads.id = saved.lead_id
		)
		SELECT (SELECT count(*) FROM saved), (SELECT ghost_at FROM closed)`
	sqlCallNow = `SELECT placed_at, state, version, disposition, note, disposed_at IS NOT NULL FROM calls
		WHERE id = $1 AND placed_at >= $2 AND placed_at < $3 FOR NO KEY UPDATE`
	sqlDispose = `UPDATE calls SET version = $3, disposition = $4, note = $5, disposed_at = $6,
			answered_by = $7, answered_by_source = $8, class = $9 WHERE id = $1 AND placed_at = $2`
	sqlNextAtEnd = `UPDATE open_attempts SET next = $2 WHERE call_id = $1`
	sqlMoveLead  = `UPDATE leads SET state = n ->> 'state', due = (n ->> 'due')::timestamptz, owner_id = n ->> 'owner', why = n ->> 'why'
		FROM (SELECT $2::jsonb AS n) AS next WHERE id = $1 AND state IN ('dialable', 'done')`
	sqlTally = `SELECT class, sum(n)::bigint FROM (
			SELECT class, n FROM campaign_tally WHERE campaign_id = $1 AND hour >= $3 AND class <> ''
			UNION ALL
			SELECT class, 1 FROM calls WHERE campaign_id = $1 AND placed_at >= $2 AND placed_at < $3 AND class IS NOT NULL
		) AS counted GROUP BY class HAVING sum(n) > 0`
)

// nextText is a lead's next move as the statements above read it.
func nextText(n campaign.Next) (string, error) {
	return jsonText(struct {
		State campaign.LeadState `json:"state"`
		Due   time.Time          `json:"due"`
		Owner *dialer.AgentID    `json:"owner"`
		Why   string             `json:"why"`
	}{n.State, n.Due.UTC(), orNull(n.Owner), n.Why})
}

// UpdateCall implements campaign.Store. A call that gets an agent takes them from
// the call of this run that had them: its person was left and waits for another.
// An agent in a call of another process, or of an earlier run, is not given.
func (db *DB) UpdateCall(c campaign.Call, facts ...dialer.Fact) {
	now := time.Now()
	db.enqueue(save{what: "update of a call", call: c.ID,
		apply: func(ctx context.Context, tx pgx.Tx) ([]dialer.Event, error) {
			return db.update(ctx, tx, c, now, facts)
		}})
}

func (db *DB) update(ctx context.Context, tx pgx.Tx, c campaign.Call, now time.Time, facts []dialer.Fact) ([]dialer.Event, error) {
	row, err := jsonText(rowOf(c))
	if err != nil {
		return nil, err
	}
	var saved int
	if err := tx.QueryRow(ctx, sqlUpdateCall, row, c.ID, stamp(c.PlacedAt)).Scan(&saved); err != nil {
		return nil, err
	}
	if saved == 0 {
		return nil, dialer.Errorf(dialer.Conflict, "version %d, state %s is stale", c.Version, c.State)
	}
	return factsOf(c, now, facts), nil
}

// EndCall implements campaign.Store. What a disposition said of the lead before
// the end goes before next.
func (db *DB) EndCall(c campaign.Call, next campaign.Next, facts ...dialer.Fact) {
	now := time.Now()
	db.enqueue(save{what: "end of a call", call: c.ID,
		apply: func(ctx context.Context, tx pgx.Tx) ([]dialer.Event, error) {
			return db.end(ctx, tx, c, next, now, facts)
		}})
}

func (db *DB) end(ctx context.Context, tx pgx.Tx, c campaign.Call, next campaign.Next, now time.Time, facts []dialer.Fact) ([]dialer.Event, error) {
	row, err := jsonText(rowOf(c))
	if err != nil {
		return nil, err
	}
	move, err := nextText(next)
	if err != nil {
		return nil, err
	}
	var saved int
	var ghost *time.Time
	if err := tx.QueryRow(ctx, sqlEndCall, row, move, c.ID, stamp(c.PlacedAt)).Scan(&saved, &ghost); err != nil {
		return nil, err
	}
	if saved == 0 {
		return nil, dialer.Errorf(dialer.Conflict, "version %d is stale, or the call has ended before", c.Version)
	}
	events := factsOf(c, now, facts)
	if ghost == nil {
		return events, nil
	}
	more, err := db.ghost(ctx, tx, c.ID, *ghost, now)
	return append(events, more...), err
}

// DisposeCall implements campaign.Store. It takes its turn behind the saves
// that were queued before it.
func (db *DB) DisposeCall(ctx context.Context, c campaign.Call, next campaign.Next, facts ...dialer.Fact) error {
	now := time.Now()
	done := make(chan error, 1)
	db.enqueue(save{what: "disposition of a call", call: c.ID, done: done,
		apply: func(ctx context.Context, tx pgx.Tx) ([]dialer.Event, error) {
			return db.dispose(ctx, tx, c, next, now, facts)
		}})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (db *DB) dispose(ctx context.Context, tx pgx.Tx, c campaign.Call, next campaign.Next, now time.Time, facts []dialer.Fact) ([]dialer.Event, error) {
	var placed time.Time
	var state campaign.CallState
	var version int
	var disposition, note string
	var disposed bool
	from, to := placedWithin(c.ID)
	err := tx.QueryRow(ctx, sqlCallNow, c.ID, from, to).Scan(&placed, &state, &version, &disposition, &note, &disposed)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, dialer.Errorf(dialer.NotFound, "there is no call %s", c.ID)
	case err != nil:
		return nil, err
	case disposed && disposition == plain(c.Disposition) && note == plain(c.Note):
		return nil, nil // said before
	case state != campaign.Ended && state != campaign.Connected:
		return nil, dialer.Errorf(dialer.Conflict, "the call is %s: only a connected or ended call has a disposition", state)
	case c.Version <= version:
		return nil, dialer.Errorf(dialer.Conflict, "the call was changed meanwhile: read it again")
	}
	move, err := nextText(next)
	if err != nil {
		return nil, err
	}
	if c.DisposedAt.IsZero() {
		c.DisposedAt = now
	}
	if _, err := tx.Exec(ctx, sqlDispose, c.ID, placed, c.Version, plain(c.Disposition), plain(c.Note), stamp(c.DisposedAt),
		c.AnsweredBy, c.AnsweredBySource, orNull(c.Class)); err != nil {
		return nil, err
	}
	if state == campaign.Ended {
		_, err = tx.Exec(ctx, sqlMoveLead, c.Lead, move)
	} else {
		_, err = tx.Exec(ctx, sqlNextAtEnd, c.ID, move)
	}
	return factsOf(c, now, facts), err
}

// Record implements campaign.Store.
func (db *DB) Record(events ...dialer.Event) {
	for i := range events {
		if events[i].At.IsZero() {
			events[i].At = time.Now()
		}
	}
	db.enqueue(save{what: "facts",
		apply: func(context.Context, pgx.Tx) ([]dialer.Event, error) { return events, nil }})
}

// AbandonTally implements campaign.Store. Whole hours are counted already; what
// is before the first of them is counted now.
func (db *DB) AbandonTally(ctx context.Context, id dialer.CampaignID, since time.Time) (compliance.Tally, error) {
	tally := compliance.Tally{ByClass: map[compliance.Class]int{}}
	since = stamp(since)
	whole := since.Truncate(time.Hour)
	if whole.Before(since) {
		whole = whole.Add(time.Hour)
	}
	rows, err := db.pool.Query(ctx, sqlTally, id, since, whole)
	if err != nil {
		return tally, fmt.Errorf("counting abandoned calls: %w", err)
	}
	var class compliance.Class
	var n int
	_, err = pgx.ForEachRow(rows, []any{&class, &n}, func() error {
		tally.ByClass[class] = n
		return nil
	})
	if err != nil {
		return tally, fmt.Errorf("counting abandoned calls: %w", err)
	}
	return tally, nil
}
