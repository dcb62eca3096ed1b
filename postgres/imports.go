package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/jackc/pgx/v5"

	"dialer"
	"dialer/campaign"
)

// An upload goes in groups to a table of its connection, which vanishes with
// it; what is visible to others happens in one transaction at the end. The due
// time grows by a microsecond a line, so that leads are called in file order.
const (
	sqlStartImport = `INSERT INTO imports (id, list_id, started_at) VALUES ($1, $2, $3)`
	sqlStageLeads  = `CREATE TEMPORARY TABLE IF NOT EXISTS staged_leads (
			line int, id text, external_id text, number text, zone text, priority int, fields jsonb)`
	sqlStageRejects = `CREATE TEMPORARY TABLE IF NOT EXISTS staged_rejects (line int, field text, reason text, text text)`
	sqlEmptyStage   = `TRUNCATE staged_leads, staged_rejects`
	// Prepared by the test after the staging tables were made.
	sqlKeepFirst = `WITH kept AS (
			INSERT INTO leads (id, list_id, campaign_id, external_id, number, zone, fields, priority, state, due)
			SELECT s.id, $1, $2, s.external_id, s.number, s.zone, s.fields, s.priority, 'dialable', $3::timestamptz + s.line * interval '1 microsecond'
			FROM (SELECT DISTINCT ON (number) * FROM staged_leads ORDER BY number, line) AS s ORDER BY s.line
			ON CONFLICT (list_id, number) DO NOTHING
			RETURNING 1
		)
		SELECT count(*), 0 FROM kept`
	sqlKeepLast = `WITH kept AS (
			INSERT INTO leads (id, list_id, campaign_id, external_id, number, zone, fields, priority, state, due)
			SELECT s.id, $1, $2, s.external_id, s.number, s.zone, s.fields, s.priority, 'dialable', $3::timestamptz + s.line * interval '1 microsecond'
			FROM (SELECT DISTINCT ON (number) * FROM staged_leads ORDER BY number, line DESC) AS s ORDER BY s.line
			ON CONFLICT (list_id, number) DO UPDATE SET fields = leads.fields || excluded.fields, priority = excluded.priority,
				external_id = coalesce(nullif(excluded.external_id, ''), leads.external_id), zone = coalesce(nullif(excluded.zone, ''), leads.zone)
			RETURNING xmax = 0 AS created
		)
		SELECT count(*) FILTER (WHERE created), count(*) FILTER (WHERE NOT created) FROM kept`
	sqlKeepRejects = `INSERT INTO import_rejects (import_id, line, field, reason, text)
		SELECT $1, line, field, reason, text FROM staged_rejects ON CONFLICT DO NOTHING`
	sqlEndImport   = `UPDATE imports SET ended_at = $2, rows = $3, created = $4, updated = $5, skipped = $6, rejected = $7, error = $8 WHERE id = $1`
	sqlGetImport   = `SELECT id, list_id, started_at, ended_at, rows, created, updated, skipped, rejected, error FROM imports WHERE id = $1`
	sqlListImports = `SELECT id, list_id, started_at, ended_at, rows, created, updated, skipped, rejected, error
		FROM imports WHERE list_id = $1 AND id > $2 ORDER BY id LIMIT $3`
	sqlImportRejects = `SELECT line, field, reason, text FROM import_rejects WHERE import_id = $1 AND line > $2 ORDER BY line LIMIT $3`
)

// The bounds of an import.
const (
	stageSize   = 5_000  // rows sent at once
	mostRejects = 10_000 // rejected rows that are kept; all are counted
)

// ImportLeads reads rows into a list, all or nothing. An error that rows yields
// is returned as it is; the import is then kept with its Error and no lead. Of rows with one number the first is kept, or with
// update the last, which also changes the lead that the list may have; the
// others are Skipped.
func (db *DB) ImportLeads(ctx context.Context, list dialer.ListID, rows iter.Seq2[campaign.Row, error], update bool, now time.Time) (campaign.Import, error) {
	l, err := db.GetList(ctx, list)
	if err != nil {
		return campaign.Import{}, err
	}
	im := campaign.Import{ID: dialer.NewImportID(), List: list, StartedAt: stamp(now)}
	if _, err := db.pool.Exec(ctx, sqlStartImport, im.ID, list, now); err != nil {
		return im, fmt.Errorf("import: %w", err)
	}
	done, err := db.stageAndKeep(ctx, im, l, rows, update)
	if err == nil {
		return done, nil
	}
	// The record of the failure must be kept even when the caller has gone.
	keep, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	var refusal *dialer.Error
	im.Error = "internal error"
	switch {
	case errors.As(err, &refusal):
		im.Error = refusal.Error()
	case ctx.Err() != nil:
		im.Error = "the upload was broken off"
	}
	im.EndedAt = stamp(time.Now())
	if _, failed := db.pool.Exec(keep, sqlEndImport, im.ID, im.EndedAt, 0, 0, 0, 0, 0, plain(im.Error)); failed != nil {
		return im, fmt.Errorf("import: %w", errors.Join(err, failed))
	}
	if refusal != nil {
		return im, err
	}
	return im, fmt.Errorf("import: %w", err)
}

func (db *DB) stageAndKeep(ctx context.Context, im campaign.Import, l campaign.List, rows iter.Seq2[campaign.Row, error], update bool) (campaign.Import, error) {
	conn, err := db.pool.Acquire(ctx)
	if err != nil {
		return im, err
	}
	defer conn.Release()
	for _, query := range []string{sqlStageLeads, sqlStageRejects, sqlEmptyStage} {
		if _, err := conn.Exec(ctx, query); err != nil {
			return im, err
		}
	}
	// Nothing of people stays in the connection's table.
	defer conn.Exec(context.WithoutCancel(ctx), sqlEmptyStage)
	s := stage{conn: conn.Conn()}
	for row, err := range rows {
		if err != nil {
			return im, err
		}
		if err := s.add(ctx, row); err != nil {
			return im, err
		}
	}
	if err := s.send(ctx); err != nil {
		return im, err
	}
	im.Rows, im.Rejected, im.EndedAt = s.rows, s.rejected, stamp(time.Now())
	keep := sqlKeepFirst
	if update {
		keep = sqlKeepLast
	}
	_, err = db.inTxOn(ctx, conn, func(tx pgx.Tx) ([]dialer.Event, error) {
		if err := tx.QueryRow(ctx, keep, l.ID, l.Campaign, im.StartedAt).Scan(&im.Created, &im.Updated); err != nil {
			return nil, err
		}
		im.Skipped = im.Rows - im.Rejected - im.Created - im.Updated
		if _, err := tx.Exec(ctx, sqlKeepRejects, im.ID); err != nil {
			return nil, err
		}
		if _, err := tx.Exec(ctx, sqlEndImport, im.ID, im.EndedAt, im.Rows, im.Created, im.Updated, im.Skipped, im.Rejected, ""); err != nil {
			return nil, err
		}
		return []dialer.Event{{At: im.EndedAt, Campaign: l.Campaign, Fact: dialer.ImportFinished{
			Import: im.ID, List: l.ID, Rows: im.Rows, Created: im.Created, Updated: im.Updated, Skipped: im.Skipped, Rejected: im.Rejected,
		}}}, nil
	})
	return im, err
}

// A stage gathers rows and sends them in groups. No transaction is open while
// the uploader's line is slow.
type stage struct {
	conn           *pgx.Conn
	leads, rejects [][]any
	rows, rejected int
}

func (s *stage) add(ctx context.Context, row campaign.Row) error {
	s.rows++
	reject := row.Reject
	l := row.Lead
	switch {
	case reject != nil:
	case !l.Number.Valid():
		reject = &campaign.Reject{Line: row.Line, Field: "number", Reason: "is not a number in E.164 form", Text: string(l.Number)}
	case l.Priority < -1000 || l.Priority > 1000:
		reject = &campaign.Reject{Line: row.Line, Field: "priority", Reason: fmt.Sprintf("%d is not between -1000 and 1000", l.Priority)}
	}
	if reject != nil {
		if s.rejected++; s.rejected <= mostRejects {
			s.rejects = append(s.rejects, []any{cmp.Or(reject.Line, row.Line), plain(reject.Field), plain(reject.Reason), plain(reject.Text)})
		}
		return nil
	}
	fields := "{}"
	if len(l.Fields) > 0 {
		var err error
		if fields, err = jsonText(l.Fields); err != nil {
			return err
		}
	}
	s.leads = append(s.leads, []any{row.Line, string(dialer.NewLeadID()), plain(l.ExternalID), string(l.Number), plain(l.Zone), l.Priority, fields})
	if len(s.leads) >= stageSize {
		return s.send(ctx)
	}
	return nil
}

func (s *stage) send(ctx context.Context) error {
	_, err := s.conn.CopyFrom(ctx, pgx.Identifier{"staged_leads"},
		[]string{"line", "id", "external_id", "number", "zone", "priority", "fields"}, pgx.CopyFromRows(s.leads))
	if err != nil {
		return fmt.Errorf("staging leads: %w", err)
	}
	_, err = s.conn.CopyFrom(ctx, pgx.Identifier{"staged_rejects"},
		[]string{"line", "field", "reason", "text"}, pgx.CopyFromRows(s.rejects))
	if err != nil {
		return fmt.Errorf("staging rejected rows: %w", err)
	}
	s.leads, s.rejects = s.leads[:0], s.rejects[:0]
	return nil
}

func scanImport(row pgx.CollectableRow) (im campaign.Import, err error) {
	var ended *time.Time
	err = row.Scan(&im.ID, &im.List, &im.StartedAt, &ended, &im.Rows, &im.Created, &im.Updated, &im.Skipped, &im.Rejected, &im.Error)
	im.StartedAt, im.EndedAt = im.StartedAt.UTC(), when(ended)
	return im, err
}

// GetImport returns one import; it runs while EndedAt is zero.
func (db *DB) GetImport(ctx context.Context, id dialer.ImportID) (campaign.Import, error) {
	rows, err := db.pool.Query(ctx, sqlGetImport, id)
	if err != nil {
		return campaign.Import{}, fmt.Errorf("reading an import: %w", err)
	}
	im, err := pgx.CollectExactlyOneRow(rows, scanImport)
	return im, refuseMissing(err, "reading an import", "there is no import %s", id)
}

// ListImports returns the imports of a list after one, in the order of start.
func (db *DB) ListImports(ctx context.Context, list dialer.ListID, after dialer.ImportID, limit int) ([]campaign.Import, error) {
	rows, err := db.pool.Query(ctx, sqlListImports, list, after, limit)
	if err != nil {
		return nil, fmt.Errorf("listing imports: %w", err)
	}
	return pgx.CollectRows(rows, scanImport)
}

// ImportRejects returns the rejected rows with a line above after. Of very many
// only the first are kept.
func (db *DB) ImportRejects(ctx context.Context, id dialer.ImportID, after, limit int) ([]campaign.Reject, error) {
	rows, err := db.pool.Query(ctx, sqlImportRejects, id, after, limit)
	if err != nil {
		return nil, fmt.Errorf("reading rejected rows: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[campaign.Reject])
}
