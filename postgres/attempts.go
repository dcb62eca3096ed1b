package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"dialer"
	"dialer/campaign"
)

const (
	sqlShareNumber = `SELECT pg_advisory_xact_lock_shared($1, hashtext($2))`
	sqlMayCall     = `SELECT
		coalesce((SELECT CASE WHEN campaign_id IS NULL THEN 'global' ELSE 'campaign' END FROM dnc
			WHERE number = $2 AND (campaign_id IS NULL OR campaign_id = $1)
			ORDER BY campaign_id NULLS FIRST LIMIT 1), ''),
		coalesce((SELECT state FROM campaigns WHERE id = $1), '')`
	sqlCallLead = `UPDATE leads SET state = 'calling', attempts = attempts + 1, claim_slot = NULL, claim_epoch = NULL,
			recent = array(SELECT t FROM unnest(recent) AS t WHERE t >= $4::timestamptz - interval '48 hours') || $4::timestamptz
		WHERE id = $1 AND state = 'claimed' AND claim_slot = $2 AND claim_epoch = $3`
	sqlInsertCall    = `INSERT INTO calls SELECT * FROM jsonb_populate_record(NULL::calls, $1::jsonb)`
	sqlInsertAttempt = `INSERT INTO open_attempts (call_id, placed_at, lead_id, number, agent_id, trunk_id, slot, epoch, dialog)
		SELECT c.id, c.placed_at, c.lead_id, c.to_number, c.agent_id, c.trunk_id, $2, $3, ($1::jsonb ->> 'dialog')::bytea
		FROM jsonb_populate_record(NULL::calls, $1::jsonb) AS c`
)

// BeginCall implements campaign.Store. It waits for what was queued before it:
// the end of an agent's last call comes before the begin of the next, and no
// call begins while the database cannot keep up.
func (db *DB) BeginCall(ctx context.Context, c campaign.Call, facts ...dialer.Fact) error {
	if c.PlacedAt.IsZero() || c.ID == "" || !c.To.Valid() {
		return dialer.Errorf(dialer.Invalid, "a call needs an id, a number in E.164 form and the time of placing")
	}
	if err := db.Flush(ctx); err != nil {
		return fmt.Errorf("begin of call %s: %w", c.ID, err)
	}
	row, err := jsonText(rowOf(c))
	if err != nil {
		return fmt.Errorf("begin of call %s: %w", c.ID, err)
	}
	known, err := db.inTx(ctx, func(tx pgx.Tx) ([]dialer.Event, error) {
		if err := db.ours(ctx, tx); err != nil {
			return nil, err
		}
		return factsOf(c, c.PlacedAt, facts), db.place(ctx, tx, c, row)
	})
	if !known {
		db.settleUnknown(c)
	}
	var refusal *dialer.Error
	if err == nil || errors.As(err, &refusal) {
		return err
	}
	return fmt.Errorf("begin of call %s: %w", c.ID, err)
}

// settleUnknown closes an attempt that will not be dialed and that may stand in
// the database, now or soon: a server goes on with a commit when its client has
// gone. The lock of the number waits for the end of that transaction.
func (db *DB) settleUnknown(c campaign.Call) {
	db.enqueue(save{what: "close of an attempt of unknown commit", call: c.ID,
		apply: func(ctx context.Context, tx pgx.Tx) ([]dialer.Event, error) {
			if _, err := tx.Exec(ctx, sqlTakeNumber, lockNumber, c.To); err != nil {
				return nil, err
			}
			_, events, err := db.interrupt(ctx, tx, c.ID, time.Now())
			return events, err
		}})
}

// place checks and writes one attempt. The number's lock is shared with other
// attempts and excludes AddDNC to the end of the transaction.
func (db *DB) place(ctx context.Context, tx pgx.Tx, c campaign.Call, row string) error {
	slot, epoch := db.node()
	var check pgx.Batch
	check.Queue(sqlShareNumber, lockNumber, c.To)
	check.Queue(sqlMayCall, c.Campaign, c.To)
	check.Queue(sqlCallLead, c.Lead, slot, epoch, stamp(c.PlacedAt))
	results := tx.SendBatch(ctx, &check)
	defer results.Close()
	if _, err := results.Exec(); err != nil {
		return err
	}
	var onDNC, state string
	if err := results.QueryRow().Scan(&onDNC, &state); err != nil {
		return err
	}
	tag, err := results.Exec()
	if err != nil {
		return err
	}
	switch {
	case onDNC != "":
		return dialer.Errorf(dialer.Forbidden, "%s is on the %s do-not-call list", c.To.Masked(), onDNC)
	case state != string(campaign.Running):
		return dialer.Errorf(dialer.Conflict, "the campaign is not running")
	case tag.RowsAffected() == 0:
		return dialer.Errorf(dialer.Conflict, "the lead is not claimed by this process")
	}
	if err := results.Close(); err != nil {
		return err
	}
	var insert pgx.Batch
	insert.Queue(sqlInsertCall, row)
	insert.Queue(sqlInsertAttempt, row, slot, epoch)
	return refuseDouble(tx.SendBatch(ctx, &insert).Close())
}

// refuseDouble turns a broken uniqueness into the refusal that it means.
func refuseDouble(err error) error {
	constraint, broken := isViolation(err, uniqueViolation)
	if !broken {
		return err
	}
	switch constraint {
	case "open_attempts_lead_id_key":
		return dialer.Errorf(dialer.Conflict, "an attempt to this lead is open")
	case "open_attempts_number_key":
		return dialer.Errorf(dialer.Conflict, "an attempt to this number is open")
	case "open_attempts_agent_id_key":
		return dialer.Errorf(dialer.Conflict, "the agent is in another call")
	}
	return dialer.Errorf(dialer.Conflict, "the call exists (%s)", constraint)
}

func factsOf(c campaign.Call, at time.Time, facts []dialer.Fact) []dialer.Event {
	events := make([]dialer.Event, len(facts))
	for i, f := range facts {
		events[i] = dialer.Event{At: at, Campaign: c.Campaign, Lead: c.Lead, Call: c.ID, Agent: c.Agent, Fact: f}
	}
	return events
}

const sqlSaveDialog = `UPDATE open_attempts SET dialog = $2 WHERE call_id = $1`

// SaveDialog implements campaign.Store.
func (db *DB) SaveDialog(ctx context.Context, id dialer.CallID, dialog []byte) error {
	tag, err := db.pool.Exec(ctx, sqlSaveDialog, id, dialog)
	if err == nil && tag.RowsAffected() == 0 {
		err = errors.New("it is not open")
	}
	if err != nil {
		return fmt.Errorf("saving the dialog of call %s: %w", id, err)
	}
	return nil
}
