package postgres

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"dialer"
	"dialer/campaign"
	"dialer/compliance"
)

// Claims walk the priorities that have dialable leads, highest first, and take
// from each what is due: leads that wait for their time cost nothing.
const (
	sqlClaimLeads = `WITH RECURSIVE priorities AS (
			(SELECT priority FROM leads WHERE campaign_id = $1 AND state = 'dialable' AND owner_id IS NULL
				ORDER BY priority DESC LIMIT 1)
			UNION ALL
			SELECT (SELECT l.priority FROM leads l WHERE l.campaign_id = $1 AND l.state = 'dialable' AND l.owner_id IS NULL
				AND l.priority < p.priority ORDER BY l.priority DESC LIMIT 1)
			FROM priorities p WHERE p.priority IS NOT NULL
		), picked AS MATERIALIZED (
			SELECT due_now.id FROM priorities p CROSS JOIN LATERAL (
				SELECT l.id FROM leads l
				WHERE l.campaign_id = $1 AND l.priority = p.priority AND l.state = 'dialable' AND l.owner_id IS NULL AND l.due <= $2
				ORDER BY l.due, l.id LIMIT $3
				FOR NO KEY UPDATE SKIP LOCKED
			) AS due_now
			LIMIT $3
		), claimed AS (
			UPDATE leads SET state = 'claimed', claim_slot = $4, claim_epoch = $5
			FROM picked WHERE leads.id = picked.id
			RETURNING leads.*
		)
		SELECT to_jsonb(claimed) FROM claimed ORDER BY priority DESC, due, id`
	sqlClaimCallbacks = `WITH picked AS MATERIALIZED (
			SELECT id FROM leads
			WHERE campaign_id = $1 AND state = 'dialable' AND owner_id = $6 AND due <= $2
			ORDER BY priority DESC, due, id LIMIT $3
			FOR NO KEY UPDATE SKIP LOCKED
		), claimed AS (
			UPDATE leads SET state = 'claimed', claim_slot = $4, claim_epoch = $5
			FROM picked WHERE leads.id = picked.id
			RETURNING leads.*
		)
		SELECT to_jsonb(claimed) FROM claimed ORDER BY priority DESC, due, id`
	sqlReleaseLeads = `UPDATE leads SET state = 'dialable', claim_slot = NULL, claim_epoch = NULL
		WHERE id = ANY($1) AND state = 'claimed' AND claim_slot = $2 AND claim_epoch = $3`
	sqlExcludeLead = `UPDATE leads SET state = $4, due = coalesce($5, due), why = $6, claim_slot = NULL, claim_epoch = NULL
		WHERE id = $1 AND state = 'claimed' AND claim_slot = $2 AND claim_epoch = $3`
	sqlLeadsLeft = `SELECT state, CASE WHEN state = 'dialable' AND due <= $2 THEN '' ELSE why END AS why,
			state = 'dialable' AND due <= $2 AS due_now, count(*), min(due)
		FROM leads WHERE campaign_id = $1 AND list_id IN (SELECT id FROM lists WHERE campaign_id = $1) GROUP BY 1, 2, 3`
	sqlGetLead        = `SELECT to_jsonb(leads) FROM leads WHERE id = $1 AND ($2 = '' OR list_id = $2)`
	sqlLeadByExternal = `SELECT to_jsonb(leads) FROM leads WHERE list_id = $1 AND external_id = $2 ORDER BY id LIMIT 2`
	sqlCreateLead     = `INSERT INTO leads (id, list_id, campaign_id, external_id, number, zone, fields, priority, state, due, answer_probability)
		SELECT $1, id, campaign_id, $3, $4, $5, $6, $7, 'dialable', $8, $9 FROM lists WHERE id = $2 RETURNING to_jsonb(leads)`
	sqlListLeads = `SELECT to_jsonb(leads) FROM leads
		WHERE list_id = $1 AND id > $2 AND ($3 = '' OR state = $3) AND ($4 = '' OR number = $4) ORDER BY id LIMIT $5`
)

// leadRow is a row of leads as to_jsonb writes it.
type leadRow struct {
	ID          dialer.LeadID            `json:"id"`
	List        dialer.ListID            `json:"list_id"`
	Campaign    dialer.CampaignID        `json:"campaign_id"`
	ExternalID  string                   `json:"external_id"`
	Number      dialer.Number            `json:"number"`
	Zone        string                   `json:"zone"`
	Fields      map[string]string        `json:"fields"`
	Priority    int                      `json:"priority"`
	Probability float64                  `json:"answer_probability"`
	State       campaign.LeadState       `json:"state"`
	Due         time.Time                `json:"due"`
	Why         string                   `json:"why"`
	Owner       *dialer.AgentID          `json:"owner_id"`
	Attempts    int                      `json:"attempts"`
	ByOutcome   map[campaign.Outcome]int `json:"by_outcome"`
	Recent      []time.Time              `json:"recent"`
	LastOutcome campaign.Outcome         `json:"last_outcome"`
}

// scanLead reads a row of one JSON column, as to_jsonb made it.
func scanLead(row pgx.CollectableRow) (campaign.Lead, error) {
	var text []byte
	if err := row.Scan(&text); err != nil {
		return campaign.Lead{}, err
	}
	var r leadRow
	if err := json.Unmarshal(text, &r); err != nil {
		return campaign.Lead{}, err
	}
	for i, t := range r.Recent {
		r.Recent[i] = t.UTC()
	}
	return campaign.Lead{
		ID: r.ID, List: r.List, Campaign: r.Campaign, ExternalID: r.ExternalID, Number: r.Number, Zone: r.Zone,
		Fields: r.Fields, Priority: r.Priority, AnswerProbability: r.Probability, State: r.State, Due: r.Due.UTC(), Why: r.Why, Owner: orZero(r.Owner),
		Attempts: r.Attempts, ByOutcome: r.ByOutcome, Recent: r.Recent, LastOutcome: r.LastOutcome,
	}, nil
}

// ClaimLeads implements campaign.Store.
func (db *DB) ClaimLeads(ctx context.Context, id dialer.CampaignID, n int, owner dialer.AgentID, now time.Time) ([]campaign.Lead, error) {
	slot, epoch := db.node()
	if slot == 0 {
		return nil, errors.New("postgres: no node slot: Register comes first")
	}
	query, args := sqlClaimLeads, []any{id, now, n, slot, epoch}
	if owner != "" {
		query, args = sqlClaimCallbacks, append(args, owner)
	}
	return listOf(ctx, db, "claiming leads", scanLead, query, args...)
}

// ReleaseLeads implements campaign.Store.
func (db *DB) ReleaseLeads(ctx context.Context, ids []dialer.LeadID) error {
	slot, epoch := db.node()
	if _, err := db.pool.Exec(ctx, sqlReleaseLeads, ids, slot, epoch); err != nil {
		return fmt.Errorf("releasing leads: %w", err)
	}
	return nil
}

// ExcludeLead implements campaign.Store. It is queued: leads outside their
// hours are many, and one that is not saved yet is still claimed.
func (db *DB) ExcludeLead(ctx context.Context, l campaign.Lead, v compliance.Verdict, now time.Time) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	slot, epoch := db.node()
	state, why := campaign.Dialable, cmp.Or(v.Rule, v.Reason)
	facts := []dialer.Fact{dialer.LeadExcluded{Rule: v.Rule, Reason: v.Reason, NextAt: v.NextAt}}
	if v.NextAt.IsZero() {
		state = campaign.Done
		facts = append(facts, dialer.LeadRetired{Why: why})
	}
	db.enqueue(save{what: "exclusion of a lead",
		apply: func(ctx context.Context, tx pgx.Tx) ([]dialer.Event, error) {
			tag, err := tx.Exec(ctx, sqlExcludeLead, l.ID, slot, epoch, state, at(v.NextAt), plain(why))
			if err != nil {
				return nil, err
			}
			if tag.RowsAffected() == 0 {
				return nil, dialer.Errorf(dialer.Conflict, "lead %s is not claimed", l.ID)
			}
			events := make([]dialer.Event, len(facts))
			for i, f := range facts {
				events[i] = dialer.Event{At: now, Campaign: l.Campaign, Lead: l.ID, Fact: f}
			}
			return events, nil
		}})
	return nil
}

// LeadsLeft implements campaign.Store.
func (db *DB) LeadsLeft(ctx context.Context, id dialer.CampaignID, now time.Time) (campaign.LeadCounts, error) {
	counts := campaign.LeadCounts{Later: map[string]int{}, DoneBy: map[string]int{}}
	rows, err := db.pool.Query(ctx, sqlLeadsLeft, id, now)
	if err != nil {
		return counts, fmt.Errorf("counting leads: %w", err)
	}
	var state campaign.LeadState
	var why string
	var dueNow bool
	var n int
	var due time.Time
	_, err = pgx.ForEachRow(rows, []any{&state, &why, &dueNow, &n, &due}, func() error {
		counts.Total += n
		switch {
		case dueNow:
			counts.DueNow += n
		case state == campaign.Dialable:
			counts.Later[why] += n
			if due = due.UTC(); counts.NextDue.IsZero() || due.Before(counts.NextDue) {
				counts.NextDue = due
			}
		case state == campaign.Claimed:
			counts.Claimed += n
		case state == campaign.Calling:
			counts.Calling += n
		default:
			counts.Done += n
			counts.DoneBy[why] += n
		}
		return nil
	})
	if err != nil {
		return counts, fmt.Errorf("counting leads: %w", err)
	}
	return counts, nil
}

// CreateLead adds one dialable lead to a list, due at once unless it says later;
// a number that the list has already is a Conflict.
func (db *DB) CreateLead(ctx context.Context, list dialer.ListID, l campaign.Lead, now time.Time) (campaign.Lead, error) {
	switch {
	case !l.Number.Valid():
		return l, dialer.Fieldf("number", "%q is not a number in E.164 form (+, then 7 to 15 digits)", string(l.Number))
	case l.Priority < -1000 || l.Priority > 1000:
		return l, dialer.Fieldf("priority", "%d is not between -1000 and 1000", l.Priority)
	case !(l.AnswerProbability >= 0 && l.AnswerProbability <= 1):
		return l, dialer.Fieldf("answer_probability", "%g is not between 0 and 1", l.AnswerProbability)
	}
	if l.Fields == nil {
		l.Fields = map[string]string{}
	}
	fields, err := jsonText(l.Fields)
	if err != nil {
		return l, fmt.Errorf("adding a lead: %w", err)
	}
	if l.Due.Before(now) {
		l.Due = now
	}
	id := cmp.Or(l.ID, dialer.NewLeadID())
	leads, err := listOf(ctx, db, "adding a lead", scanLead, sqlCreateLead, id, list, plain(l.ExternalID), l.Number, plain(l.Zone), fields, l.Priority, l.Due, l.AnswerProbability)
	if err == nil && len(leads) == 0 {
		err = pgx.ErrNoRows
	}
	if err != nil {
		err = refuseTaken(err, "leads_list_id_number_key", "number", "the list has this number already")
		return l, refuseMissing(err, "adding a lead", "there is no list %s", list)
	}
	return leads[0], nil
}

// GetLead returns a lead of a list; an empty list means any.
func (db *DB) GetLead(ctx context.Context, list dialer.ListID, id dialer.LeadID) (campaign.Lead, error) {
	leads, err := listOf(ctx, db, "reading a lead", scanLead, sqlGetLead, id, list)
	if err != nil {
		return campaign.Lead{}, err
	}
	if len(leads) == 0 {
		return campaign.Lead{}, dialer.Errorf(dialer.NotFound, "there is no lead %s", id)
	}
	return leads[0], nil
}

// LeadByExternalID returns the lead of a list that the uploader calls so.
func (db *DB) LeadByExternalID(ctx context.Context, list dialer.ListID, external string) (campaign.Lead, error) {
	leads, err := listOf(ctx, db, "reading a lead", scanLead, sqlLeadByExternal, list, plain(external))
	switch {
	case err != nil:
		return campaign.Lead{}, err
	case len(leads) == 0:
		return campaign.Lead{}, dialer.Errorf(dialer.NotFound, "the list has no lead with the external id %q", external)
	case len(leads) > 1:
		return campaign.Lead{}, dialer.Errorf(dialer.Conflict, "several leads of the list have the external id %q: name one by its own id", external)
	}
	return leads[0], nil
}

// ListLeads returns leads of a list after one, in the order of upload.
func (db *DB) ListLeads(ctx context.Context, list dialer.ListID, f campaign.LeadFilter, after dialer.LeadID, limit int) ([]campaign.Lead, error) {
	return listOf(ctx, db, "listing leads", scanLead, sqlListLeads, list, after, f.State, f.Number, limit)
}
