package postgres

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	sqlPutAsset = `INSERT INTO assets (sha256, name, bytes, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT (sha256) DO NOTHING`
	sqlAsset    = `SELECT bytes FROM assets WHERE sha256 = $1`

	sqlSaveBinding = `INSERT INTO sip_bindings (aor, contact, source, call_id, cseq, expires, user_agent) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (aor) DO UPDATE SET contact = excluded.contact, source = excluded.source, call_id = excluded.call_id,
			cseq = excluded.cseq, expires = excluded.expires, user_agent = excluded.user_agent`
	sqlDeleteBinding = `DELETE FROM sip_bindings WHERE aor = $1`
	sqlBindings      = `SELECT aor, contact, source, call_id, cseq, expires, user_agent FROM sip_bindings WHERE expires > now() ORDER BY aor`
)

// PutAsset keeps an audio file under its SHA-256; the same one again is no
// change.
func (db *DB) PutAsset(ctx context.Context, sha, name string, wav []byte, now time.Time) error {
	if _, err := db.pool.Exec(ctx, sqlPutAsset, sha, plain(name), wav, now); err != nil {
		return fmt.Errorf("keeping an audio file: %w", err)
	}
	return nil
}

// Asset implements campaign.Store.
func (db *DB) Asset(ctx context.Context, sha string) (data []byte, err error) {
	err = db.pool.QueryRow(ctx, sqlAsset, plain(sha)).Scan(&data)
	return data, refuseMissing(err, "reading an audio file", "no audio file has the SHA-256 %s: upload it first", sha)
}

// A Binding is where an agent's phone is registered, as siptrunk has it.
type Binding struct {
	AOR       string         // the user part it registers as: the extension
	Contact   string         // the URI it gave
	Source    netip.AddrPort // where its REGISTER came from
	CallID    string
	CSeq      uint32
	Expires   time.Time
	UserAgent string
}

// SaveBinding keeps a registration over a restart; an AOR has one.
func (db *DB) SaveBinding(ctx context.Context, b Binding) error {
	_, err := db.pool.Exec(ctx, sqlSaveBinding, plain(b.AOR), plain(b.Contact), b.Source.String(), plain(b.CallID), int64(b.CSeq), b.Expires, plain(b.UserAgent))
	if err != nil {
		return fmt.Errorf("keeping a registration: %w", err)
	}
	return nil
}

// DeleteBinding forgets a registration; there may be none.
func (db *DB) DeleteBinding(ctx context.Context, aor string) error {
	if _, err := db.pool.Exec(ctx, sqlDeleteBinding, plain(aor)); err != nil {
		return fmt.Errorf("forgetting a registration: %w", err)
	}
	return nil
}

// Bindings returns the registrations that have not expired.
func (db *DB) Bindings(ctx context.Context) ([]Binding, error) {
	rows, err := db.pool.Query(ctx, sqlBindings)
	if err != nil {
		return nil, fmt.Errorf("reading registrations: %w", err)
	}
	bindings, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (b Binding, err error) {
		var source string
		var cseq int64
		if err := row.Scan(&b.AOR, &b.Contact, &source, &b.CallID, &cseq, &b.Expires, &b.UserAgent); err != nil {
			return b, err
		}
		b.CSeq, b.Expires = uint32(cseq), b.Expires.UTC()
		b.Source, err = netip.ParseAddrPort(source)
		return b, err
	})
	if err != nil {
		return nil, fmt.Errorf("reading registrations: %w", err)
	}
	return bindings, nil
}
