package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"dialer"
	"dialer/campaign"
)

// An upload goes in groups to tables of its connection, which vanish with it.
// New leads become visible in one transaction at the end. Those that the list
// has are changed after it, a thousand at a time, in the order of their ids and
// never waiting for one that another transaction has: calls are being saved
// meanwhile. The due time grows by a microsecond a line, so that leads are called
// in file order.
const (
	sqlStartImport = `INSERT INTO imports (id, list_id, started_at) VALUES ($1, $2, $3)`
	sqlStageLeads  = `CREATE TEMPORARY TABLE IF NOT EXISTS staged_leads (
			line int, id text, external_id text, number text, zone text, priority int, fields jsonb, answer_probability double precision)`
	sqlStageRejects = `CREATE TEMPORARY TABLE IF NOT EXISTS staged_rejects (line int, field text, reason text, text text)`
	sqlStageChanges = `CREATE TEMPORARY TABLE IF NOT EXISTS staged_changes (
			id text PRIMARY KEY, external_id text, zone text, priority int, fields jsonb, answer_probability double precision)`
	sqlEmptyStage = `TRUNCATE staged_leads, staged_rejects, staged_changes`
	sqlMeasure    = `ANALYZE staged_leads` // nobody else does it for a temporary table
	// Prepared by the test after the staging tables were made.
	sqlKeepFirst = `INSERT INTO leads (id, list_id, campaign_id, external_id, number, zone, fields, priority, answer_probability, state, due)
		SELECT s.id, $1, $2, s.external_id, s.number, s.zone, s.fields, s.priority, s.answer_probability, 'dialable', $3::timestamptz + s.line * interval '1 microsecond'
		FROM (SELECT DISTINCT ON (number) * FROM staged_leads ORDER BY number, line) AS s
		WHERE NOT EXISTS (SELECT FROM leads l WHERE l.list_id = $1 AND l.number = s.number)
		ORDER BY s.line ON CONFLICT (list_id, number) DO NOTHING`
	sqlKeepLast = `INSERT INTO leads (id, list_id, campaign_id, external_id, number, zone, fields, priority, answer_probability, state, due)
		SELECT s.id, $1, $2, s.external_id, s.number, s.zone, s.fields, s.priority, s.answer_probability, 'dialable', $3::timestamptz + s.line * interval '1 microsecond'
		FROM (SELECT DISTINCT ON (number) * FROM staged_leads ORDER BY number, line DESC) AS s
		WHERE NOT EXISTS (SELECT FROM leads l WHERE l.list_id = $1 AND l.number = s.number)
		ORDER BY s.line ON CONFLICT (list_id, number) DO NOTHING`
	sqlFindChanges = `INSERT INTO staged_changes
		SELECT l.id, coalesce(nullif(s.external_id, ''), l.external_id), coalesce(nullif(s.zone, ''), l.zone), s.priority, s.fields,
			coalesce(nullif(s.answer_probability, 0), l.answer_probability)
		FROM (SELECT DISTINCT ON (number) * FROM staged_leads ORDER BY number, line DESC) AS s
		JOIN leads l ON l.list_id = $1 AND l.number = s.number
		WHERE l.priority <> s.priority OR l.fields || s.fields <> l.fields
			OR s.external_id NOT IN ('', l.external_id) OR s.zone NOT IN ('', l.zone)
			OR s.answer_probability NOT IN (0, l.answer_probability)`
	// What is changed leaves the stage, and the import tells it, in one commit.
	sqlChangeLeads = `WITH batch AS MATERIALIZED (
			SELECT * FROM staged_changes WHERE id > $1 ORDER BY id LIMIT $2
		), free AS MATERIALIZED (
			SELECT id FROM leads WHERE id = ANY(ARRAY(SELECT id FROM batch)) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
		), changed AS (
			UPDATE leads SET fields = leads.fields || batch.fields, priority = batch.priority,
				external_id = batch.external_id, zone = batch.zone, answer_probability = batch.answer_probability
			FROM batch WHERE leads.id = batch.id AND leads.id = ANY(ARRAY(SELECT id FROM free))
			RETURNING leads.id
		), unstaged AS (
			DELETE FROM staged_changes USING changed WHERE staged_changes.id = changed.id
		), told AS (
			UPDATE imports SET updated = updated + (SELECT count(*) FROM changed) WHERE id = $3
		)
		SELECT coalesce(max(id), ''), (SELECT count(*) FROM changed) FROM batch`
	sqlKeepRejects = `INSERT INTO import_rejects (import_id, line, field, reason, text)
		SELECT $1, line, field, reason, text FROM staged_rejects ON CONFLICT DO NOTHING`
	sqlEndImport  = `UPDATE imports SET ended_at = $2, rows = $3, created = $4, updated = $5, skipped = $6, rejected = $7, error = $8 WHERE id = $1`
	sqlFailImport = `UPDATE imports SET ended_at = $2, error = $3 WHERE id = $1
		RETURNING id, list_id, started_at, ended_at, rows, created, updated, skipped, rejected, error`
	sqlGetImport   = `SELECT id, list_id, started_at, ended_at, rows, created, updated, skipped, rejected, error FROM imports WHERE id = $1`
	sqlListImports = `SELECT id, list_id, started_at, ended_at, rows, created, updated, skipped, rejected, error
		FROM imports WHERE list_id = $1 AND id > $2 ORDER BY id LIMIT $3`
	sqlImportRejects = `SELECT line, field, reason, text FROM import_rejects WHERE import_id = $1 AND line > $2 ORDER BY line LIMIT $3`
)

// The bounds of an import.
const (
	stageSize    = 5_000                  // rows sent at once
	changeSize   = 1_000                  // leads changed, and so locked, at once
	lockPause    = 100 * time.Millisecond // before leads that were locked are tried again
	lockPatience = 30 * time.Second       // for leads that stay locked
	mostRejects  = 10_000                 // rejected rows that are kept; all are counted
	mostImports  = 3                      // at the same time
)

// ImportLeads reads rows into a list. Of rows with one number the first is kept,
// or with update the last, which also changes the lead that the list may have;
// the others, and rows that change nothing, are Skipped. One import too many is
// an Unavailable.
//
// New leads are all or nothing: an error that rows yields is returned as it is,
// and the import is then kept with its Error and no lead. Changes follow in
// batches, each counted by the import in its own commit: an import without an
// end whose process is gone made the changes that it counts and no others, and
// the same file again makes the rest.
func (db *DB) ImportLeads(ctx context.Context, list dialer.ListID, rows iter.Seq2[campaign.Row, error], update bool, now time.Time) (campaign.Import, error) {
	select {
	case db.imports <- struct{}{}:
		defer func() { <-db.imports }()
	default:
		return campaign.Import{}, dialer.Errorf(dialer.Unavailable, "%d uploads are being read already: send this one when one of them is done", cap(db.imports))
	}
	l, err := db.GetList(ctx, list)
	if err != nil {
		return campaign.Import{}, err
	}
	im := campaign.Import{ID: dialer.NewImportID(), List: list, StartedAt: stamp(now)}
	if _, err := db.pool.Exec(ctx, sqlStartImport, im.ID, list, now); err != nil {
		return im, fmt.Errorf("import: %w", err)
	}
	im, err = db.stageAndKeep(ctx, im, l, rows, update)
	if err == nil {
		return im, nil
	}
	// The record of the failure must be kept even when the caller has gone. What
	// it counts is in it already.
	keep, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	var refusal *dialer.Error
	why := "internal error"
	switch {
	case errors.As(err, &refusal):
		why = refusal.Error()
	case ctx.Err() != nil:
		why = "the upload was broken off"
	}
	failed, keepErr := db.failImport(keep, im.ID, why)
	if keepErr != nil {
		return im, fmt.Errorf("import: %w", errors.Join(err, keepErr))
	}
	if refusal != nil {
		return failed, err
	}
	return failed, fmt.Errorf("import: %w", err)
}

func (db *DB) failImport(ctx context.Context, id dialer.ImportID, why string) (campaign.Import, error) {
	rows, err := db.pool.Query(ctx, sqlFailImport, id, time.Now(), plain(why))
	if err != nil {
		return campaign.Import{}, err
	}
	return pgx.CollectExactlyOneRow(rows, scanImport)
}

func (db *DB) stageAndKeep(ctx context.Context, im campaign.Import, l campaign.List, rows iter.Seq2[campaign.Row, error], update bool) (campaign.Import, error) {
	conn, err := db.bulk.Acquire(ctx)
	if err != nil {
		return im, err
	}
	defer conn.Release()
	for _, query := range []string{sqlStageLeads, sqlStageRejects, sqlStageChanges, sqlEmptyStage} {
		if _, err := conn.Exec(ctx, query); err != nil {
			return im, err
		}
	}
	// Nothing of people stays in the connection's tables.
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
	if _, err := conn.Exec(ctx, sqlMeasure); err != nil {
		return im, err
	}
	done := im
	done.Rows, done.Rejected = s.rows, s.rejected
	changes := 0
	_, err = db.inTxOn(ctx, conn, func(tx pgx.Tx) ([]dialer.Event, error) {
		var err error
		if done.Created, changes, err = keepNew(ctx, tx, im, l, update); err != nil {
			return nil, err
		}
		done.Skipped = done.Rows - done.Rejected - done.Created - changes
		if _, err := tx.Exec(ctx, sqlKeepRejects, im.ID); err != nil {
			return nil, err
		}
		if changes > 0 {
			_, err := tx.Exec(ctx, sqlEndImport, im.ID, nil, done.Rows, done.Created, 0, done.Skipped, done.Rejected, "")
			return nil, err
		}
		done.EndedAt = stamp(time.Now())
		return endImport(ctx, tx, done, l)
	})
	if err != nil {
		return im, err
	}
	if changes == 0 {
		return done, nil
	}
	if done.Updated, err = changeLeads(ctx, conn, im.ID, changes); err != nil {
		return done, err
	}
	done.EndedAt = stamp(time.Now())
	_, err = db.inTxOn(ctx, conn, func(tx pgx.Tx) ([]dialer.Event, error) { return endImport(ctx, tx, done, l) })
	return done, err
}

// keepNew inserts what the list has not, and stages what of the rest would
// change a lead.
func keepNew(ctx context.Context, tx pgx.Tx, im campaign.Import, l campaign.List, update bool) (created, changes int, err error) {
	insert := sqlKeepFirst
	if update {
		insert = sqlKeepLast
	}
	tag, err := tx.Exec(ctx, insert, l.ID, l.Campaign, im.StartedAt)
	if err != nil || !update {
		return int(tag.RowsAffected()), 0, err
	}
	created = int(tag.RowsAffected())
	tag, err = tx.Exec(ctx, sqlFindChanges, l.ID)
	return created, int(tag.RowsAffected()), err
}

func endImport(ctx context.Context, tx pgx.Tx, im campaign.Import, l campaign.List) ([]dialer.Event, error) {
	if _, err := tx.Exec(ctx, sqlEndImport, im.ID, im.EndedAt, im.Rows, im.Created, im.Updated, im.Skipped, im.Rejected, ""); err != nil {
		return nil, err
	}
	return []dialer.Event{{At: im.EndedAt, Campaign: l.Campaign, Fact: dialer.ImportFinished{
		Import: im.ID, List: l.ID, Rows: im.Rows, Created: im.Created, Updated: im.Updated, Skipped: im.Skipped, Rejected: im.Rejected,
	}}}, nil
}

// changeLeads makes the staged changes. What is locked is passed over and tried
// again, as long as something moves or patience lasts.
func changeLeads(ctx context.Context, conn *pgxpool.Conn, id dialer.ImportID, changes int) (changed int, err error) {
	for moved := time.Now(); ; {
		for last := dialer.LeadID(""); ; {
			var n int
			if err := conn.QueryRow(ctx, sqlChangeLeads, last, changeSize, id).Scan(&last, &n); err != nil {
				return changed, err
			}
			if n > 0 {
				changed += n
				moved = time.Now()
			}
			if last == "" {
				break
			}
		}
		if changed >= changes {
			return changed, nil
		}
		if time.Since(moved) > lockPatience {
			return changed, dialer.Errorf(dialer.Unavailable, "%d of the %d leads to change were in use for %v and are as they were; the rest of the file was kept: send it again",
				changes-changed, changes, lockPatience)
		}
		select {
		case <-ctx.Done():
			return changed, context.Cause(ctx)
		case <-time.After(lockPause):
		}
	}
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
	case !(l.AnswerProbability >= 0 && l.AnswerProbability <= 1):
		reject = &campaign.Reject{Line: row.Line, Field: "answer_probability", Reason: fmt.Sprintf("%g is not between 0 and 1", l.AnswerProbability)}
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
	s.leads = append(s.leads, []any{row.Line, string(dialer.NewLeadID()), plain(l.ExternalID), string(l.Number), plain(l.Zone), l.Priority, fields, l.AnswerProbability})
	if len(s.leads) >= stageSize {
		return s.send(ctx)
	}
	return nil
}

func (s *stage) send(ctx context.Context) error {
	_, err := s.conn.CopyFrom(ctx, pgx.Identifier{"staged_leads"},
		[]string{"line", "id", "external_id", "number", "zone", "priority", "fields", "answer_probability"}, pgx.CopyFromRows(s.leads))
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
	return listOf(ctx, db, "listing imports", scanImport, sqlListImports, list, after, limit)
}

// ImportRejects returns the rejected rows with a line above after. Of very many
// only the first are kept.
func (db *DB) ImportRejects(ctx context.Context, id dialer.ImportID, after, limit int) ([]campaign.Reject, error) {
	return listOf(ctx, db, "reading rejected rows", pgx.RowToStructByPos[campaign.Reject], sqlImportRejects, id, after, limit)
}
