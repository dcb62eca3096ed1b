package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"dialer"
	"dialer/agents"
)

const (
	sqlCreateAgent = `INSERT INTO agents (id, name, extension, uri, sip_ha1) VALUES ($1, $2, nullif($3, ''), $4, $5)`
	sqlUpdateAgent = `UPDATE agents SET name = $2, extension = nullif($3, ''), uri = $4, sip_ha1 = coalesce(nullif($5, ''), sip_ha1) WHERE id = $1`
	sqlLeaveAll    = `DELETE FROM agent_campaigns WHERE agent_id = $1 AND NOT campaign_id = ANY($2)`
	sqlJoin        = `INSERT INTO agent_campaigns (agent_id, campaign_id) SELECT $1, unnest($2::text[]) ON CONFLICT DO NOTHING`
	sqlGetAgent    = `SELECT id, name, coalesce(extension, ''), uri,
			array(SELECT campaign_id FROM agent_campaigns WHERE agent_id = agents.id ORDER BY campaign_id)
		FROM agents WHERE id = $1`
	sqlListAgents = `SELECT id, name, coalesce(extension, ''), uri,
			array(SELECT campaign_id FROM agent_campaigns WHERE agent_id = agents.id ORDER BY campaign_id)
		FROM agents WHERE id > $1 ORDER BY id LIMIT $2`
	sqlDeleteAgent = `DELETE FROM agents WHERE id = $1 AND state = 'logged_out'`
	sqlSIPHA1      = `SELECT sip_ha1 FROM agents WHERE extension = $1 AND sip_ha1 <> ''`
	// A session's first move, the login, takes the row from whatever was before.
	sqlMoveAgent = `UPDATE agents SET state = $3, state_version = $4, state_since = $5, state_reason = $6, call_id = nullif($7, ''), slot = $8
		WHERE id = $1 AND ($4 = 1 OR state = $2 AND state_version < $4)`
	sqlLogOut = `WITH before AS (SELECT id, state FROM agents WHERE slot = $1 FOR NO KEY UPDATE)
		UPDATE agents SET state = 'logged_out', state_version = 0, state_since = now(), state_reason = 'restart', call_id = NULL, slot = NULL
		FROM before WHERE agents.id = before.id
		RETURNING agents.id, before.state`
)

func scanAgent(row pgx.CollectableRow) (a agents.Agent, err error) {
	err = row.Scan(&a.ID, &a.Name, &a.Extension, &a.URI, &a.Campaigns)
	if len(a.Campaigns) == 0 {
		a.Campaigns = nil
	}
	return a, err
}

// CreateAgent keeps an agent; ha1 is what the registrar checks the phone
// against (RFC 2617: MD5 of user:realm:password), empty when it may not register.
func (db *DB) CreateAgent(ctx context.Context, a agents.Agent, ha1 string) error {
	return db.saveAgent(ctx, sqlCreateAgent, a, ha1)
}

// UpdateAgent replaces an agent; an empty ha1 leaves the old one.
func (db *DB) UpdateAgent(ctx context.Context, a agents.Agent, ha1 string) error {
	return db.saveAgent(ctx, sqlUpdateAgent, a, ha1)
}

func (db *DB) saveAgent(ctx context.Context, query string, a agents.Agent, ha1 string) error {
	campaigns := a.Campaigns
	if campaigns == nil {
		campaigns = []dialer.CampaignID{}
	}
	_, err := db.inTx(ctx, func(tx pgx.Tx) ([]dialer.Event, error) {
		tag, err := tx.Exec(ctx, query, a.ID, plain(a.Name), plain(a.Extension), plain(a.URI), ha1)
		switch {
		case err != nil:
			return nil, refuseTaken(err, "agents_extension_key", "extension", "the extension %q is taken", a.Extension)
		case tag.RowsAffected() == 0:
			return nil, dialer.Errorf(dialer.NotFound, "there is no agent %s", a.ID)
		}
		if _, err := tx.Exec(ctx, sqlLeaveAll, a.ID, campaigns); err != nil {
			return nil, err
		}
		_, err = tx.Exec(ctx, sqlJoin, a.ID, campaigns)
		return nil, err
	})
	return refuseMissing(err, "saving an agent", "one of the campaigns %v does not exist", campaigns)
}

// GetAgent returns one agent.
func (db *DB) GetAgent(ctx context.Context, id dialer.AgentID) (agents.Agent, error) {
	rows, err := db.pool.Query(ctx, sqlGetAgent, id)
	if err != nil {
		return agents.Agent{}, fmt.Errorf("reading an agent: %w", err)
	}
	a, err := pgx.CollectExactlyOneRow(rows, scanAgent)
	return a, refuseMissing(err, "reading an agent", "there is no agent %s", id)
}

// ListAgents returns agents after one.
func (db *DB) ListAgents(ctx context.Context, after dialer.AgentID, limit int) ([]agents.Agent, error) {
	rows, err := db.pool.Query(ctx, sqlListAgents, after, limit)
	if err != nil {
		return nil, fmt.Errorf("listing agents: %w", err)
	}
	return pgx.CollectRows(rows, scanAgent)
}

// DeleteAgent removes an agent who is logged out. Their callbacks become
// anyone's.
func (db *DB) DeleteAgent(ctx context.Context, id dialer.AgentID) error {
	if _, err := db.GetAgent(ctx, id); err != nil {
		return err
	}
	if err := db.execOne(ctx, sqlDeleteAgent, "%s", id); dialer.CodeOf(err) == dialer.NotFound {
		return dialer.Errorf(dialer.Conflict, "the agent is logged in: log them out first")
	} else if err != nil {
		return err
	}
	return nil
}

// SIPCredentials returns the HA1 of the phone that may register as ext.
func (db *DB) SIPCredentials(ctx context.Context, ext string) (ha1 string, ok bool, err error) {
	rows, err := db.pool.Query(ctx, sqlSIPHA1, plain(ext))
	if err != nil {
		return "", false, fmt.Errorf("reading SIP credentials: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return "", false, fmt.Errorf("reading SIP credentials: %w", err)
	}
	if len(found) == 0 {
		return "", false, nil
	}
	return found[0], true, nil
}

// SaveAgentState implements agents.Saver: queued, in order, by
// compare-and-set.
func (db *DB) SaveAgentState(agent dialer.AgentID, from, to agents.State, version int, reason string, call dialer.CallID) {
	now := time.Now()
	slot, _ := db.node()
	db.enqueue(save{what: "move of an agent", call: call,
		apply: func(ctx context.Context, tx pgx.Tx) ([]dialer.Event, error) {
			tag, err := tx.Exec(ctx, sqlMoveAgent, agent, from, to, version, now, plain(reason), call, orNull(slot))
			if err != nil {
				return nil, err
			}
			if tag.RowsAffected() == 0 {
				return nil, dialer.Errorf(dialer.Conflict, "agent %s is not %s at version %d", agent, from, version-1)
			}
			return []dialer.Event{{At: now, Agent: agent, Call: call,
				Fact: dialer.AgentStateChanged{From: string(from), To: string(to), Reason: reason}}}, nil
		}})
}

// logOutAgents ends the sessions that an earlier run of a slot has left.
func logOutAgents(ctx context.Context, tx pgx.Tx, slot int) ([]dialer.Event, error) {
	rows, err := tx.Query(ctx, sqlLogOut, slot)
	if err != nil {
		return nil, err
	}
	var id dialer.AgentID
	var from string
	var events []dialer.Event
	_, err = pgx.ForEachRow(rows, []any{&id, &from}, func() error {
		if from != string(agents.LoggedOut) {
			events = append(events, dialer.Event{Agent: id,
				Fact: dialer.AgentStateChanged{From: from, To: string(agents.LoggedOut), Reason: "restart"}})
		}
		return nil
	})
	return events, err
}
