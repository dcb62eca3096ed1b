package postgres

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"dialer"
	"dialer/telephony"
)

const (
	// A ladder may be lost with the server; the commit of an attempt waits for
	// the disk, that of a ladder does not.
	sqlLaxCommit  = `SET LOCAL synchronous_commit = off`
	sqlSaveLadder = `INSERT INTO sip_ladders (call_id, began_at, station, body)
		SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::text[], $4::bytea[])
		ON CONFLICT DO NOTHING`
	sqlLadders        = `SELECT call_id, coalesce(station, ''), body FROM sip_ladders WHERE call_id = $1 ORDER BY began_at`
	sqlStationLadders = `SELECT call_id, coalesce(station, ''), body FROM sip_ladders
		WHERE call_id IN (SELECT call_id FROM sip_ladders WHERE station = $1 ORDER BY began_at DESC LIMIT $2)
		ORDER BY began_at`
	sqlPruneLadders = `DELETE FROM sip_ladders WHERE ctid = ANY(ARRAY(
		SELECT ctid FROM sip_ladders WHERE began_at < $1 ORDER BY began_at LIMIT 5000))`
)

// ladderBody is how a ladder is stored, compressed.
type ladderBody struct {
	Messages []ladderMessage `json:"m"`
	LeftOut  int             `json:"o,omitempty"`
	Head     int             `json:"h,omitempty"`
}

type ladderMessage struct {
	At        int64               `json:"t"` // Unix time in microseconds
	Sent      bool                `json:"s,omitempty"`
	Transport telephony.Transport `json:"p"`
	Local     netip.AddrPort      `json:"l"`
	Remote    netip.AddrPort      `json:"r"`
	Text      string              `json:"d"`
}

// SaveLadders keeps ladders of calls that are over.
func (db *DB) SaveLadders(ctx context.Context, parts []telephony.Ladder) error {
	var ids, stations []*string
	var began []time.Time
	var bodies [][]byte
	packer, err := flate.NewWriter(nil, flate.DefaultCompression)
	if err != nil {
		return fmt.Errorf("saving SIP ladders: %w", err)
	}
	for _, l := range parts {
		body, err := packLadder(packer, l)
		if err != nil {
			return fmt.Errorf("saving SIP ladders: %w", err)
		}
		id := string(l.Call)
		ids, stations = append(ids, &id), append(stations, orNull(plain(l.Station)))
		began, bodies = append(began, stamp(l.Start())), append(bodies, body)
	}
	err = pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, sqlLaxCommit); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, sqlSaveLadder, ids, began, stations, bodies)
		return err
	})
	if err != nil {
		return fmt.Errorf("saving SIP ladders: %w", err)
	}
	return nil
}

func packLadder(packer *flate.Writer, l telephony.Ladder) ([]byte, error) {
	b := ladderBody{LeftOut: l.LeftOut, Head: l.Head, Messages: make([]ladderMessage, len(l.Messages))}
	for i, m := range l.Messages {
		b.Messages[i] = ladderMessage{m.At.UnixMicro(), m.Sent, m.Transport, m.Local, m.Remote, strings.ToValidUTF8(string(m.Data), "\uFFFD")}
	}
	text, err := json.Marshal(b)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	packer.Reset(&out)
	if _, err := packer.Write(text); err != nil {
		return nil, err
	}
	err = packer.Close()
	return out.Bytes(), err
}

func scanLadder(row pgx.CollectableRow) (l telephony.Ladder, err error) {
	var packed []byte
	if err := row.Scan(&l.Call, &l.Station, &packed); err != nil {
		return l, err
	}
	text, err := io.ReadAll(flate.NewReader(bytes.NewReader(packed)))
	if err != nil {
		return l, err
	}
	var b ladderBody
	if err := json.Unmarshal(text, &b); err != nil {
		return l, err
	}
	l.LeftOut, l.Head = b.LeftOut, b.Head
	for _, m := range b.Messages {
		l.Messages = append(l.Messages, telephony.SIPMessage{
			At: time.UnixMicro(m.At).UTC(), Sent: m.Sent, Transport: m.Transport, Local: m.Local, Remote: m.Remote, Data: []byte(m.Text),
		})
	}
	return l, nil
}

// Ladders returns the parts of a call's SIP ladder.
func (db *DB) Ladders(ctx context.Context, call dialer.CallID) ([]telephony.Ladder, error) {
	return db.ladders(ctx, sqlLadders, call)
}

// StationLadders returns the parts of the last calls to an agent's phone.
func (db *DB) StationLadders(ctx context.Context, station string, limit int) ([]telephony.Ladder, error) {
	return db.ladders(ctx, sqlStationLadders, station, limit)
}

func (db *DB) ladders(ctx context.Context, sql string, args ...any) ([]telephony.Ladder, error) {
	rows, err := db.pool.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("reading SIP ladders: %w", err)
	}
	found, err := pgx.CollectRows(rows, scanLadder)
	if err != nil {
		return nil, fmt.Errorf("reading SIP ladders: %w", err)
	}
	return found, nil
}

// PruneLadders forgets the ladders that began before a time.
func (db *DB) PruneLadders(ctx context.Context, before time.Time) error {
	for {
		tag, err := db.pool.Exec(ctx, sqlPruneLadders, before)
		if err != nil {
			return fmt.Errorf("removing old SIP ladders: %w", err)
		}
		if tag.RowsAffected() == 0 {
			return nil
		}
	}
}
