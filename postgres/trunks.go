package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"

	"github.com/jackc/pgx/v5"

	"dialer"
	"dialer/telephony"
)

const (
	sqlCreateTrunk = `INSERT INTO trunks (id, name, address, username, password, realm, from_domain, channels, cps, codecs, media_sources, enabled, options)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`
	sqlGetTrunk = `SELECT id, name, address, username, password, realm, from_domain, channels, cps, codecs, media_sources, enabled, options, version
		FROM trunks WHERE id = $1`
	sqlListTrunks = `SELECT id, name, address, username, password, realm, from_domain, channels, cps, codecs, media_sources, enabled, options, version
		FROM trunks ORDER BY id`
	sqlUpdateTrunk = `UPDATE trunks SET name = $2, address = $3, username = $4, password = $5, realm = $6, from_domain = $7,
			channels = $8, cps = $9, codecs = $10, media_sources = $11, enabled = $12, options = $13, version = version + 1
		WHERE id = $1 AND version = $14`
	sqlTrunkInUse = `SELECT id FROM campaigns
		WHERE (settings ->> 'trunk_id' = $1 OR settings -> 'backup_trunk_ids' ? $1) AND state IN ('running', 'paused') LIMIT 1`
	sqlDeleteTrunk = `DELETE FROM trunks WHERE id = $1`
)

func trunkArgs(t telephony.Trunk) ([]any, error) {
	sources, codecs := make([]string, len(t.MediaSources)), t.Codecs
	for i, p := range t.MediaSources {
		sources[i] = p.String()
	}
	if codecs == nil {
		codecs = []string{}
	}
	options, err := jsonText(t.TrunkOptions)
	return []any{t.ID, plain(t.Name), plain(t.Address), plain(t.Username), plain(t.Password), plain(t.Realm), plain(t.FromDomain),
		t.Channels, t.CPS, codecs, sources, t.Enabled, options}, err
}

type trunkRow struct {
	telephony.Trunk
	version int
}

func scanTrunk(row pgx.CollectableRow) (t trunkRow, err error) {
	var sources []string
	var options []byte
	err = row.Scan(&t.ID, &t.Name, &t.Address, &t.Username, &t.Password, &t.Realm, &t.FromDomain,
		&t.Channels, &t.CPS, &t.Codecs, &sources, &t.Enabled, &options, &t.version)
	if err != nil {
		return t, err
	}
	for _, s := range sources {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return t, err
		}
		t.MediaSources = append(t.MediaSources, p)
	}
	if len(t.Codecs) == 0 {
		t.Codecs = nil
	}
	return t, json.Unmarshal(options, &t.TrunkOptions)
}

// CreateTrunk keeps a trunk; a name that is taken is a Conflict.
func (db *DB) CreateTrunk(ctx context.Context, t telephony.Trunk) error {
	args, err := trunkArgs(t)
	if err != nil {
		return fmt.Errorf("creating a trunk: %w", err)
	}
	_, err = db.pool.Exec(ctx, sqlCreateTrunk, args...)
	err = refuseTaken(err, "trunks_name_key", "name", "the name %q is taken", t.Name)
	return refuseMissing(err, "creating a trunk", "there is no trunk %s", t.ID)
}

// GetTrunk returns a trunk and its version.
func (db *DB) GetTrunk(ctx context.Context, id dialer.TrunkID) (telephony.Trunk, int, error) {
	rows, err := db.pool.Query(ctx, sqlGetTrunk, id)
	if err != nil {
		return telephony.Trunk{}, 0, fmt.Errorf("reading a trunk: %w", err)
	}
	t, err := pgx.CollectExactlyOneRow(rows, scanTrunk)
	return t.Trunk, t.version, refuseMissing(err, "reading a trunk", "there is no trunk %s", id)
}

// ListTrunks returns all trunks.
func (db *DB) ListTrunks(ctx context.Context) ([]telephony.Trunk, error) {
	rows, err := db.pool.Query(ctx, sqlListTrunks)
	if err != nil {
		return nil, fmt.Errorf("listing trunks: %w", err)
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (telephony.Trunk, error) {
		t, err := scanTrunk(row)
		return t.Trunk, err
	})
}

// UpdateTrunk replaces the version given; another version is a Conflict.
func (db *DB) UpdateTrunk(ctx context.Context, version int, t telephony.Trunk) error {
	args, err := trunkArgs(t)
	if err != nil {
		return fmt.Errorf("changing a trunk: %w", err)
	}
	tag, err := db.pool.Exec(ctx, sqlUpdateTrunk, append(args, version)...)
	if err != nil {
		err = refuseTaken(err, "trunks_name_key", "name", "the name %q is taken", t.Name)
		return refuseMissing(err, "changing a trunk", "there is no trunk %s", t.ID)
	}
	if tag.RowsAffected() > 0 {
		return nil
	}
	_, kept, err := db.GetTrunk(ctx, t.ID)
	if err != nil {
		return err
	}
	return dialer.Errorf(dialer.Conflict, "the trunk has version %d now, not %d: read it again and repeat the change", kept, version)
}

// DeleteTrunk removes a trunk that no open campaign uses.
func (db *DB) DeleteTrunk(ctx context.Context, id dialer.TrunkID) error {
	rows, err := db.pool.Query(ctx, sqlTrunkInUse, id)
	if err != nil {
		return fmt.Errorf("deleting a trunk: %w", err)
	}
	users, err := pgx.CollectRows(rows, pgx.RowTo[dialer.CampaignID])
	if err != nil {
		return fmt.Errorf("deleting a trunk: %w", err)
	}
	if len(users) > 0 {
		return dialer.Errorf(dialer.Conflict, "the campaign %s dials over this trunk: stop it or give it another trunk first", users[0])
	}
	return db.execOne(ctx, sqlDeleteTrunk, "there is no trunk %s", id)
}
