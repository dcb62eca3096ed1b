package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"dialer"
)

const (
	sqlLockEvents   = `SELECT pg_advisory_xact_lock($1, 0)`
	sqlAppendEvents = `WITH appended AS (
			INSERT INTO events (at, campaign_id, lead_id, call_id, agent_id, kind, data)
			SELECT e.at, nullif(e.campaign, ''), nullif(e.lead, ''), nullif(e.call, ''), nullif(e.agent, ''), e.kind, e.data
			FROM unnest($1::timestamptz[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::jsonb[])
				WITH ORDINALITY AS e (at, campaign, lead, call, agent, kind, data, n)
			ORDER BY e.n
			RETURNING seq
		), told AS (SELECT max(seq) AS last FROM appended)
		SELECT last, pg_notify('dialer_events', last::text) FROM told`
	sqlReadEvents = `SELECT seq, at, coalesce(campaign_id, ''), coalesce(lead_id, ''), coalesce(call_id, ''),
			coalesce(agent_id, ''), kind, data
		FROM events WHERE seq > $1 ORDER BY seq LIMIT $2`
	sqlCallEvents = `SELECT seq, at, coalesce(campaign_id, ''), coalesce(lead_id, ''), coalesce(call_id, ''),
			coalesce(agent_id, ''), kind, data
		FROM events WHERE call_id = $1 ORDER BY seq`
	sqlLastEvent = `SELECT coalesce(max(seq), 0) FROM events`
	sqlListen    = `LISTEN dialer_events`
)

// inTx runs change in a transaction and appends the events it returns as the
// last thing before the commit. It is the only place that writes events: the
// lock makes seq the order of commits, so that a reader who follows seq misses
// nothing, and is held for two statements only.
//
// known is false when the connection broke during the commit: then it may have
// happened or not.
func (db *DB) inTx(ctx context.Context, change func(tx pgx.Tx) ([]dialer.Event, error)) (known bool, err error) {
	conn, err := db.pool.Acquire(ctx)
	if err != nil {
		return true, err
	}
	defer conn.Release()
	return db.inTxOn(ctx, conn, change)
}

// inTxOn is inTx on a given connection.
func (db *DB) inTxOn(ctx context.Context, conn *pgxpool.Conn, change func(tx pgx.Tx) ([]dialer.Event, error)) (known bool, err error) {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return true, err
	}
	// After a commit this does nothing; a broken connection is discarded.
	defer tx.Rollback(context.WithoutCancel(ctx))
	events, err := change(tx)
	if err != nil {
		return true, err
	}
	last, err := appendEvents(ctx, tx, events)
	if err != nil {
		return true, err
	}
	if err := tx.Commit(ctx); err != nil {
		return errors.Is(err, pgx.ErrTxCommitRollback), fmt.Errorf("commit: %w", err)
	}
	db.tail.reached(last)
	return true, nil
}

func appendEvents(ctx context.Context, tx pgx.Tx, events []dialer.Event) (last int64, err error) {
	n := len(events)
	if n == 0 {
		return 0, nil
	}
	at := make([]time.Time, n)
	campaigns, leads, calls, agents, kinds, data := make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	for i, e := range events {
		if e.Fact == nil {
			return 0, errors.New("an event without a fact")
		}
		fact, err := jsonText(e.Fact)
		if err != nil {
			return 0, fmt.Errorf("fact %s: %w", e.Fact.Kind(), err)
		}
		if e.At.IsZero() {
			e.At = time.Now()
		}
		at[i] = e.At.UTC().Truncate(time.Millisecond)
		campaigns[i], leads[i], calls[i], agents[i] = string(e.Campaign), string(e.Lead), string(e.Call), string(e.Agent)
		kinds[i], data[i] = e.Fact.Kind(), fact
	}
	var batch pgx.Batch
	batch.Queue(sqlLockEvents, lockEvents)
	batch.Queue(sqlAppendEvents, at, campaigns, leads, calls, agents, kinds, data)
	results := tx.SendBatch(ctx, &batch)
	defer results.Close()
	if _, err := results.Exec(); err != nil {
		return 0, fmt.Errorf("event lock: %w", err)
	}
	if err := results.QueryRow().Scan(&last, nil); err != nil {
		return 0, fmt.Errorf("appending events: %w", err)
	}
	return last, results.Close()
}

// jsonText writes v as JSON that a jsonb column takes: it refuses NUL.
func jsonText(v any) (string, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	return strings.ReplaceAll(string(text), `\u0000`, `\ufffd`), nil
}

// plain makes s fit for a text column.
func plain(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\ufffd"), "\x00", "\ufffd")
}

// ReadEvents implements dialer.EventLog.
func (db *DB) ReadEvents(ctx context.Context, after int64, limit int) ([]dialer.Event, error) {
	rows, err := db.pool.Query(ctx, sqlReadEvents, after, limit)
	if err != nil {
		return nil, fmt.Errorf("reading events: %w", err)
	}
	return collectEvents(rows)
}

// CallEvents returns what happened to a call, in order.
func (db *DB) CallEvents(ctx context.Context, id dialer.CallID) ([]dialer.Event, error) {
	rows, err := db.pool.Query(ctx, sqlCallEvents, id)
	if err != nil {
		return nil, fmt.Errorf("reading events: %w", err)
	}
	return collectEvents(rows)
}

func collectEvents(rows pgx.Rows) ([]dialer.Event, error) {
	events, err := pgx.CollectRows(rows, scanEvent)
	if err != nil {
		return nil, fmt.Errorf("reading events: %w", err)
	}
	return events, nil
}

func scanEvent(row pgx.CollectableRow) (e dialer.Event, err error) {
	var kind string
	var data []byte
	if err := row.Scan(&e.Seq, &e.At, &e.Campaign, &e.Lead, &e.Call, &e.Agent, &kind, &data); err != nil {
		return e, err
	}
	e.At = e.At.UTC()
	e.Fact, err = dialer.ParseFact(kind, data)
	return e, err
}

// LastEvent returns the seq of the newest event, 0 when there is none.
func (db *DB) LastEvent(ctx context.Context) (last int64, err error) {
	if err := db.pool.QueryRow(ctx, sqlLastEvent).Scan(&last); err != nil {
		return 0, fmt.Errorf("reading the end of the log: %w", err)
	}
	return last, nil
}

// pollEvents is how often the log is looked at when no notification comes.
const pollEvents = time.Second

// WaitEvents implements dialer.EventLog. It works, once a second, without Run.
func (db *DB) WaitEvents(ctx context.Context, after int64) error {
	for {
		last, grown := db.tail.end()
		if last > after {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-grown:
		case <-time.After(pollEvents):
			last, err := db.LastEvent(ctx)
			if err != nil {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				continue // the database is away: events come when it is back
			}
			db.tail.reached(last)
		}
	}
}

// A tail knows the newest seq that was seen committed.
type tail struct {
	mu    sync.Mutex
	last  int64
	grown chan struct{} // closed when last grew
}

func (t *tail) init() { t.grown = make(chan struct{}) }

func (t *tail) reached(seq int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if seq > t.last {
		t.last = seq
		close(t.grown)
		t.grown = make(chan struct{})
	}
}

func (t *tail) end() (int64, <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last, t.grown
}
