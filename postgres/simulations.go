package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"time"

	"github.com/jackc/pgx/v5"

	"dialer"
	"dialer/campaign"
	"dialer/simulation"
)

var _ simulation.Store = (*DB)(nil)

// mostSimulations is how many simulations may wait.
const mostSimulations = 100

const (
	sqlLockSimulations  = `SELECT pg_advisory_xact_lock($1, 0)`
	sqlCountSimulations = `SELECT count(*) FROM simulations WHERE state = 'queued'`
	sqlCreateSimulation = `INSERT INTO simulations (id, state, created_by, campaign_id, settings, created_at, outcome) VALUES ($1, 'queued', $2, $3, $4, $5, $6)`
	sqlGetSimulation    = `SELECT id, state, progress, created_by, coalesce(campaign_id, ''), settings, outcome, tries, created_at, started_at, ended_at FROM simulations WHERE id = $1`
	sqlListSimulations  = `SELECT id, state, progress, created_by, coalesce(campaign_id, ''), settings, outcome, tries, created_at, started_at, ended_at FROM simulations
		WHERE $1 = '' OR id < $1 ORDER BY id DESC LIMIT $2`
	sqlCancelSimulation = `UPDATE simulations SET state = 'cancelled', ended_at = $2 WHERE id = $1 AND state IN ('queued', 'running')`
	sqlClaimSimulation  = `UPDATE simulations SET state = 'running', started_at = coalesce(started_at, now()), beat_at = now(),
			progress = 0, slot = $1, epoch = $2, tries = tries + 1
		WHERE id = (SELECT id FROM simulations
			WHERE state = 'queued' OR state = 'running' AND (beat_at < now() - interval '1 minute' OR slot = $1 AND epoch <> $2)
			ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)
		RETURNING id, state, progress, created_by, coalesce(campaign_id, ''), settings, outcome, tries, created_at, started_at, ended_at`
	sqlBeatSimulation = `UPDATE simulations SET progress = greatest(progress, $4), beat_at = now()
		WHERE id = $1 AND state = 'running' AND slot = $2 AND epoch = $3`
	sqlEndSimulation = `UPDATE simulations SET state = $4, outcome = $5, ended_at = now(), progress = CASE WHEN $4 = 'done' THEN 1 ELSE progress END
		WHERE id = $1 AND state = 'running' AND slot = $2 AND epoch = $3`
	sqlPurgeSimulations = `DELETE FROM simulations WHERE ended_at < now() - interval '30 days'`

	sqlPastCalls = `SELECT id, placed_at, coalesce(agent_id, ''), outcome, coalesce(class, ''), answered_by, sent_at, answered_at, greeting_end_at,
			decided_at, connected_at, ended_at
		FROM calls WHERE campaign_id = $1 AND outcome IS NOT NULL ORDER BY placed_at DESC LIMIT $2`
	sqlAgentMoves = `SELECT seq, at, coalesce(campaign_id, ''), coalesce(lead_id, ''), coalesce(call_id, ''), coalesce(agent_id, ''), kind, data
		FROM events WHERE kind = 'agent.state_changed' AND at >= $1 AND at < $2 ORDER BY seq LIMIT $3`
)

func scanSimulation(row pgx.CollectableRow) (j simulation.Job, err error) {
	var started, ended *time.Time
	var settings, outcome []byte
	err = row.Scan(&j.ID, &j.State, &j.Progress, &j.By, &j.Campaign, &settings, &outcome, &j.Tries, &j.CreatedAt, &started, &ended)
	if err != nil {
		return j, err
	}
	j.CreatedAt, j.StartedAt, j.EndedAt, j.Settings = j.CreatedAt.UTC(), when(started), when(ended), settings
	return j, json.Unmarshal(outcome, &j.Outcome)
}

// CreateSimulation implements simulation.Store.
func (db *DB) CreateSimulation(ctx context.Context, j simulation.Job) error {
	outcome, err := jsonText(j.Outcome)
	if err != nil {
		return fmt.Errorf("queueing a simulation: %w", err)
	}
	err = pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, sqlLockSimulations, lockSimulations); err != nil {
			return err
		}
		var waiting int
		if err := tx.QueryRow(ctx, sqlCountSimulations).Scan(&waiting); err != nil {
			return err
		}
		if waiting >= mostSimulations {
			return dialer.Errorf(dialer.Unavailable, "%d simulations wait already: try again later, or cancel some", waiting)
		}
		_, err := tx.Exec(ctx, sqlCreateSimulation, j.ID, plain(j.By), orNull(j.Campaign), []byte(j.Settings), j.CreatedAt, outcome)
		return err
	})
	return refuseMissing(err, "queueing a simulation", "there is no campaign %s", j.Campaign)
}

// GetSimulation returns one simulation.
func (db *DB) GetSimulation(ctx context.Context, id dialer.SimulationID) (simulation.Job, error) {
	rows, err := db.pool.Query(ctx, sqlGetSimulation, id)
	if err != nil {
		return simulation.Job{}, fmt.Errorf("reading a simulation: %w", err)
	}
	j, err := pgx.CollectExactlyOneRow(rows, scanSimulation)
	return j, refuseMissing(err, "reading a simulation", "there is no simulation %s", id)
}

// ListSimulations returns simulations, the newest first; after is the last of the
// page before.
func (db *DB) ListSimulations(ctx context.Context, after dialer.SimulationID, limit int) ([]simulation.Job, error) {
	return listOf(ctx, db, "listing simulations", scanSimulation, sqlListSimulations, after, limit)
}

// CancelSimulation ends a simulation that has not ended; else it is a Conflict. Its
// process stops within seconds.
func (db *DB) CancelSimulation(ctx context.Context, id dialer.SimulationID, now time.Time) error {
	tag, err := db.pool.Exec(ctx, sqlCancelSimulation, id, now)
	if err != nil {
		return fmt.Errorf("cancelling a simulation: %w", err)
	}
	if tag.RowsAffected() > 0 {
		return nil
	}
	j, err := db.GetSimulation(ctx, id)
	if err != nil || j.State == simulation.Cancelled {
		return err
	}
	return dialer.Errorf(dialer.Conflict, "the simulation is %s: there is nothing to cancel", j.State)
}

// ClaimSimulation implements simulation.Store.
func (db *DB) ClaimSimulation(ctx context.Context) (*simulation.Job, error) {
	slot, epoch := db.node()
	all, err := listOf(ctx, db, "claiming a simulation", scanSimulation, sqlClaimSimulation, slot, epoch)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return &all[0], nil
}

// BeatSimulation implements simulation.Store.
func (db *DB) BeatSimulation(ctx context.Context, id dialer.SimulationID, progress float64) (bool, error) {
	slot, epoch := db.node()
	tag, err := db.pool.Exec(ctx, sqlBeatSimulation, id, slot, epoch, progress)
	if err != nil {
		return false, fmt.Errorf("saving the progress of a simulation: %w", err)
	}
	return tag.RowsAffected() > 0, nil
}

// EndSimulation implements simulation.Store.
func (db *DB) EndSimulation(ctx context.Context, id dialer.SimulationID, to simulation.State, o simulation.Outcome) error {
	slot, epoch := db.node()
	outcome, err := jsonText(o)
	if err == nil {
		_, err = db.pool.Exec(ctx, sqlEndSimulation, id, slot, epoch, to, outcome)
	}
	if err != nil {
		return fmt.Errorf("saving what came of a simulation: %w", err)
	}
	return nil
}

// PastCalls implements simulation.PastStore.
func (db *DB) PastCalls(ctx context.Context, id dialer.CampaignID, most int) iter.Seq2[campaign.Call, error] {
	return each(ctx, db, "reading past calls", scanPastCall, sqlPastCalls, id, most)
}

func scanPastCall(row pgx.CollectableRow) (c campaign.Call, err error) {
	var sent, answered, greeting, decided, connected, ended *time.Time
	err = row.Scan(&c.ID, &c.PlacedAt, &c.Agent, &c.Outcome, &c.Class, &c.AnsweredBy, &sent, &answered, &greeting, &decided, &connected, &ended)
	c.PlacedAt = c.PlacedAt.UTC()
	c.SentAt, c.AnsweredAt, c.GreetingEndAt = when(sent), when(answered), when(greeting)
	c.DecidedAt, c.ConnectedAt, c.EndedAt = when(decided), when(connected), when(ended)
	return c, err
}

// AgentMoves implements simulation.PastStore.
func (db *DB) AgentMoves(ctx context.Context, from, to time.Time, most int) iter.Seq2[dialer.Event, error] {
	return each(ctx, db, "reading the moves of agents", scanEvent, sqlAgentMoves, from, to, most)
}

// each yields the rows of a query one by one, over a connection of bulk work.
func each[T any](ctx context.Context, db *DB, doing string, scan pgx.RowToFunc[T], query string, args ...any) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		rows, err := db.bulk.Query(ctx, query, args...)
		if err != nil {
			yield(none, fmt.Errorf("%s: %w", doing, err))
			return
		}
		defer rows.Close()
		for rows.Next() {
			v, err := scan(rows)
			if err != nil {
				err = fmt.Errorf("%s: %w", doing, err)
			}
			if !yield(v, err) || err != nil {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(none, fmt.Errorf("%s: %w", doing, err))
		}
	}
}
