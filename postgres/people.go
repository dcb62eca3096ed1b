package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"dialer"
)

const (
	sqlCreateUser = `INSERT INTO users (id, name, role, agent_id, password_hash) VALUES ($1, $2, $3, $4, $5)`
	sqlGetUser    = `SELECT id, name, role, coalesce(agent_id, ''), password_hash FROM users WHERE id = $1`
	sqlUserByName = `SELECT id, name, role, coalesce(agent_id, ''), password_hash FROM users WHERE lower(name) = lower($1)`
	sqlListUsers  = `SELECT id, name, role, coalesce(agent_id, ''), password_hash FROM users WHERE id > $1 ORDER BY id LIMIT $2`
	sqlDeleteUser = `DELETE FROM users WHERE id = $1`

	sqlCreateKey = `INSERT INTO api_keys (id, name, role, hash, created_at) VALUES ($1, $2, $3, $4, $5)`
	sqlKey       = `SELECT name, role, hash FROM api_keys WHERE id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())`
	sqlListKeys  = `SELECT id, name, role, created_at FROM api_keys WHERE revoked_at IS NULL AND id > $1 ORDER BY id LIMIT $2`
	sqlRevokeKey = `UPDATE api_keys SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL`
)

type userRow struct {
	dialer.User
	hash string
}

func scanUser(row pgx.CollectableRow) (u userRow, err error) {
	err = row.Scan(&u.ID, &u.Name, &u.Role, &u.Agent, &u.hash)
	return u, err
}

// CreateUser keeps a user; a name that is taken, in any case, is a Conflict.
func (db *DB) CreateUser(ctx context.Context, u dialer.User, passwordHash string) error {
	_, err := db.pool.Exec(ctx, sqlCreateUser, u.ID, plain(u.Name), u.Role, orNull(u.Agent), passwordHash)
	err = refuseTaken(err, "users_name", "name", "the name %q is taken", u.Name)
	return refuseMissing(err, "creating a user", "there is no agent %s", u.Agent)
}

// GetUser returns one user.
func (db *DB) GetUser(ctx context.Context, id dialer.UserID) (dialer.User, error) {
	rows, err := db.pool.Query(ctx, sqlGetUser, id)
	if err != nil {
		return dialer.User{}, fmt.Errorf("reading a user: %w", err)
	}
	u, err := pgx.CollectExactlyOneRow(rows, scanUser)
	return u.User, refuseMissing(err, "reading a user", "there is no user %s", id)
}

// UserByName returns a user and the hash of their password.
func (db *DB) UserByName(ctx context.Context, name string) (dialer.User, string, error) {
	rows, err := db.pool.Query(ctx, sqlUserByName, plain(name))
	if err != nil {
		return dialer.User{}, "", fmt.Errorf("reading a user: %w", err)
	}
	u, err := pgx.CollectExactlyOneRow(rows, scanUser)
	return u.User, u.hash, refuseMissing(err, "reading a user", "there is no user %q", name)
}

// ListUsers returns users after one.
func (db *DB) ListUsers(ctx context.Context, after dialer.UserID, limit int) ([]dialer.User, error) {
	rows, err := db.pool.Query(ctx, sqlListUsers, after, limit)
	if err != nil {
		return nil, fmt.Errorf("listing users: %w", err)
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (dialer.User, error) {
		u, err := scanUser(row)
		return u.User, err
	})
}

// DeleteUser removes a user.
func (db *DB) DeleteUser(ctx context.Context, id dialer.UserID) error {
	return db.execOne(ctx, sqlDeleteUser, "there is no user %s", id)
}

// CreateAPIKey keeps a key by the SHA-256 of its secret.
func (db *DB) CreateAPIKey(ctx context.Context, k dialer.APIKey, hash []byte) error {
	if _, err := db.pool.Exec(ctx, sqlCreateKey, k.ID, plain(k.Name), k.Role, hash, k.CreatedAt); err != nil {
		return fmt.Errorf("creating an API key: %w", err)
	}
	return nil
}

// APIKey returns whom a key stands for, and its hash; one that is revoked or
// has expired is NotFound.
func (db *DB) APIKey(ctx context.Context, id dialer.KeyID) (u dialer.User, hash []byte, err error) {
	u.ID = dialer.UserID(id)
	err = db.pool.QueryRow(ctx, sqlKey, id).Scan(&u.Name, &u.Role, &hash)
	return u, hash, refuseMissing(err, "reading an API key", "there is no API key %s", id)
}

// ListAPIKeys returns keys after one; revoked ones are left out.
func (db *DB) ListAPIKeys(ctx context.Context, after dialer.KeyID, limit int) ([]dialer.APIKey, error) {
	rows, err := db.pool.Query(ctx, sqlListKeys, after, limit)
	if err != nil {
		return nil, fmt.Errorf("listing API keys: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[dialer.APIKey])
}

// RevokeAPIKey ends a key for good.
func (db *DB) RevokeAPIKey(ctx context.Context, id dialer.KeyID) error {
	return db.execOne(ctx, sqlRevokeKey, "there is no API key %s", id)
}

// execOne runs a statement about one row by its id; none is NotFound.
func (db *DB) execOne(ctx context.Context, query, missing string, id any) error {
	tag, err := db.pool.Exec(ctx, query, id)
	if err != nil {
		return fmt.Errorf("database: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return dialer.Errorf(dialer.NotFound, missing, id)
	}
	return nil
}
