package postgres

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"dialer"
)

const (
	sqlClaimKey = `INSERT INTO replays (who, key, route, body_hash, claimed_at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (who, key) DO UPDATE SET route = excluded.route, body_hash = excluded.body_hash, claimed_at = excluded.claimed_at,
			status = NULL, type = '', location = '', etag = '', body = NULL
		WHERE replays.claimed_at < $5 - interval '24 hours' OR replays.status IS NULL AND replays.claimed_at < $5 - interval '5 minutes'`
	sqlReplay     = `SELECT route, body_hash, coalesce(status, 0), type, location, etag, coalesce(body, '') FROM replays WHERE who = $1 AND key = $2`
	sqlKeepAnswer = `UPDATE replays SET status = $4, type = $5, location = $6, etag = $7, body = $8 WHERE who = $1 AND key = $2 AND route = $3`
	sqlGiveKey    = `DELETE FROM replays WHERE who = $1 AND key = $2 AND route = $3 AND status IS NULL`
)

var errKeyUsed = &dialer.Error{Code: dialer.Invalid, Field: "Idempotency-Key", Message: "this key was used for another request: make a new one for each request"}

// ClaimKey takes an Idempotency-Key for a request. It returns the remembered
// answer when there is one, a Conflict while the first request is still worked
// on (for five minutes, then it is taken for dead), and an Invalid when the key
// was used for another request.
func (db *DB) ClaimKey(ctx context.Context, who, key, route string, body []byte, now time.Time) (*dialer.Answer, error) {
	hash := sha256.Sum256(body)
	tag, err := db.pool.Exec(ctx, sqlClaimKey, who, plain(key), route, hash[:], now)
	if err != nil {
		return nil, fmt.Errorf("claiming an idempotency key: %w", err)
	}
	if tag.RowsAffected() > 0 {
		return nil, nil
	}
	var a dialer.Answer
	var usedFor string
	var usedHash []byte
	err = db.pool.QueryRow(ctx, sqlReplay, who, plain(key)).Scan(&usedFor, &usedHash, &a.Status, &a.Type, &a.Location, &a.ETag, &a.Body)
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading a remembered answer: %w", err)
	case usedFor != route || !bytes.Equal(usedHash, hash[:]):
		return nil, errKeyUsed
	case a.Status == 0:
		return nil, dialer.Errorf(dialer.Conflict, "the first request with this key is still worked on: ask again in a moment")
	}
	return &a, nil
}

// KeepAnswer remembers the answer to a claimed key for a day; nil gives the key
// back.
func (db *DB) KeepAnswer(ctx context.Context, who, key, route string, a *dialer.Answer) error {
	var err error
	if a == nil {
		_, err = db.pool.Exec(ctx, sqlGiveKey, who, plain(key), route)
	} else {
		_, err = db.pool.Exec(ctx, sqlKeepAnswer, who, plain(key), route, a.Status, a.Type, a.Location, a.ETag, a.Body)
	}
	if err != nil {
		return fmt.Errorf("keeping an answer: %w", err)
	}
	return nil
}
