package postgres

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"dialer"
	"dialer/campaign"
)

// versionsOf tells the rows of leads apart from what an update makes of them.
func versionsOf(t *testing.T, db *DB) []string {
	t.Helper()
	rows, err := db.pool.Query(t.Context(), `SELECT id || ctid::text || xmin::text || xmax::text FROM leads ORDER BY id`)
	check(t, err)
	versions, err := pgx.CollectRows(rows, pgx.RowTo[string])
	check(t, err)
	return versions
}

// TestRowsThatChangeNothing: a list that is uploaded again is neither written
// nor locked.
func TestRowsThatChangeNothing(t *testing.T) {
	db := open(t)
	_, list := aList(t, db)
	const file = "number,name,external_id\n2125550101,Ann,A\n2125550102,Bob,B\n"
	_, err := db.ImportLeads(t.Context(), list, rowsOf(file), false, noon)
	check(t, err)
	before := versionsOf(t, db)
	for _, update := range []bool{false, true} {
		im, err := db.ImportLeads(t.Context(), list, rowsOf(file), update, noon)
		check(t, err)
		if im.Created != 0 || im.Updated != 0 || im.Skipped != 2 || im.EndedAt.IsZero() {
			t.Errorf("update %v: %+v", update, im)
		}
		if after := versionsOf(t, db); !slices.Equal(after, before) {
			t.Errorf("update %v: rows were touched:\n%v\n%v", update, before, after)
		}
	}
}

// eventually asks until it is so, or fails.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

// stuckImport uploads changes of three leads, of which one is locked, and a new
// lead. It returns when all but the locked one is done; unlock ends the lock.
func stuckImport(t *testing.T, ctx context.Context, db *DB, list dialer.ListID) (id dialer.ImportID, unlock func(), result chan error) {
	t.Helper()
	_, err := db.ImportLeads(t.Context(), list, rowsOf("number,name\n2125550101,Ann\n2125550102,Bob\n2125550103,Cid\n"), false, noon)
	check(t, err)
	tx, err := db.pool.Begin(t.Context())
	check(t, err)
	t.Cleanup(func() { tx.Rollback(context.WithoutCancel(t.Context())) })
	_, err = tx.Exec(t.Context(), `SELECT FROM leads WHERE number = '+12125550101' FOR NO KEY UPDATE`)
	check(t, err)
	result = make(chan error, 1)
	go func() {
		_, err := db.ImportLeads(ctx, list, rowsOf("number,name\n2125550101,Anna\n2125550102,Robert\n2125550103,Sid\n2125550104,Dan\n"), true, noon)
		result <- err
	}()
	eventually(t, "the leads that are free are changed", func() bool {
		imports, err := db.ListImports(t.Context(), list, "", 10)
		check(t, err)
		im := imports[len(imports)-1]
		id = im.ID
		if im.Updated == 2 && (!im.EndedAt.IsZero() || im.Created != 1 || im.Rows != 4) {
			t.Errorf("half way the record is %+v", im)
		}
		return im.Updated == 2
	})
	return id, func() { check(t, tx.Rollback(t.Context())) }, result
}

// TestUpdatesLockNothingForLong: while an upload has to wait for one lead, all
// the others can be dialed and saved.
func TestUpdatesLockNothingForLong(t *testing.T) {
	db := open(t)
	_, list := aList(t, db)
	id, unlock, result := stuckImport(t, t.Context(), db, list)
	for _, n := range []string{"+12125550102", "+12125550103", "+12125550104"} {
		_, err := db.pool.Exec(t.Context(), `SELECT FROM leads WHERE number = $1 FOR UPDATE NOWAIT`, n)
		if err != nil {
			t.Errorf("%s: %v", n, err)
		}
	}
	unlock()
	check(t, <-result)
	im, err := db.GetImport(t.Context(), id)
	check(t, err)
	if im.Updated != 3 || im.Created != 1 || im.EndedAt.IsZero() || im.Error != "" {
		t.Errorf("the record is %+v", im)
	}
	leads, err := db.ListLeads(t.Context(), list, campaign.LeadFilter{Number: "+12125550101"}, "", 1)
	check(t, err)
	if leads[0].Fields["name"] != "Anna" {
		t.Errorf("the lead that was locked: %+v", leads[0])
	}
}

// TestUpdatesBrokenOff: the record tells what was kept of an upload that ended
// among its changes.
func TestUpdatesBrokenOff(t *testing.T) {
	db := open(t)
	_, list := aList(t, db)
	ctx, cancel := context.WithCancel(t.Context())
	id, unlock, result := stuckImport(t, ctx, db, list)
	cancel()
	if err := <-result; err == nil {
		t.Error("an upload that was broken off succeeded")
	}
	im, err := db.GetImport(t.Context(), id)
	check(t, err)
	if im.Error == "" || im.EndedAt.IsZero() || im.Created != 1 || im.Updated != 2 {
		t.Errorf("the record is %+v", im)
	}
	unlock()
	im, err = db.ImportLeads(t.Context(), list, rowsOf("number,name\n2125550101,Anna\n2125550102,Robert\n2125550103,Sid\n2125550104,Dan\n"), true, noon)
	check(t, err)
	if im.Updated != 1 || im.Created != 0 || im.Skipped != 3 {
		t.Errorf("the same file again: %+v", im)
	}
}

// TestSlowUploads: senders who pause cost calls no connection, and there are
// never many of them.
func TestSlowUploads(t *testing.T) {
	db := open(t)
	_, list := aList(t, db)
	going, reading, results := make(chan struct{}), make(chan struct{}), make(chan error)
	for i := range mostImports {
		go func() {
			_, err := db.ImportLeads(t.Context(), list, func(yield func(campaign.Row, error) bool) {
				reading <- struct{}{}
				<-going
				yield(campaign.Row{Line: 2, Lead: campaign.Lead{Number: dialer.Number(fmt.Sprintf("+1212555010%d", i))}}, nil)
			}, false, noon)
			results <- err
		}()
		<-reading
	}
	eventually(t, "the calls' pool is free", func() bool { return db.pool.Stat().AcquiredConns() == 0 })
	_, err := db.ImportLeads(t.Context(), list, rowsOf("number\n2125550109\n"), false, noon)
	wantCode(t, err, dialer.Unavailable, "an upload too many")
	close(going)
	for range mostImports {
		check(t, <-results)
	}
	_, err = db.ImportLeads(t.Context(), list, rowsOf("number\n2125550109\n"), false, noon)
	check(t, err)
}

// An answer probability is kept; an update changes it, and does not forget it
// where the file says nothing.
func TestAnswerProbabilityIsKept(t *testing.T) {
	db := open(t)
	id, list := aList(t, db)
	const file = "number,answer_probability\n2125550101,0.12\n2125550102,0.5\n2125550103,\n2125550104,7\n"
	im, err := db.ImportLeads(t.Context(), list, rowsOf(file), false, noon)
	check(t, err)
	if im.Created != 3 || im.Rejected != 1 {
		t.Errorf("%+v", im)
	}
	im, err = db.ImportLeads(t.Context(), list, rowsOf("number,answer_probability\n2125550101,0.2\n2125550102,\n"), true, noon)
	check(t, err)
	if im.Updated != 1 || im.Skipped != 1 {
		t.Errorf("update %+v", im)
	}
	_, err = db.CreateLead(t.Context(), list, campaign.Lead{Number: "+12125550105", AnswerProbability: 0.9}, noon)
	check(t, err)
	if _, err := db.CreateLead(t.Context(), list, campaign.Lead{Number: "+12125550106", AnswerProbability: 2}, noon); dialer.CodeOf(err) != dialer.Invalid {
		t.Errorf("a probability of 2: %v", err)
	}
	leads, err := db.ClaimLeads(t.Context(), id, 10, "", noon.Add(time.Minute))
	check(t, err)
	got := map[dialer.Number]float64{}
	for _, l := range leads {
		got[l.Number] = l.AnswerProbability
	}
	want := map[dialer.Number]float64{"+12125550101": 0.2, "+12125550102": 0.5, "+12125550103": 0, "+12125550105": 0.9}
	if !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
