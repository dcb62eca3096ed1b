package postgres

import (
	"fmt"
	"iter"
	"runtime"
	"testing"
	"time"

	"dialer"
	"dialer/campaign"
)

// manyRows yields n leads.
func manyRows(n int) iter.Seq2[campaign.Row, error] {
	return func(yield func(campaign.Row, error) bool) {
		for i := range n {
			l := campaign.Lead{Number: dialer.Number(fmt.Sprintf("+1212%07d", i)), ExternalID: fmt.Sprint(i), Fields: map[string]string{"name": "Ann", "city": "Oslo"}}
			if !yield(campaign.Row{Line: i + 2, Lead: l}, nil) {
				return
			}
		}
	}
}

// TestManyLeads: 100,000 rows in less than 100 MB, and soon: the benchmark tells
// how soon, the test has patience with a busy machine.
func TestManyLeads(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED, not tested: 100,000 leads with -short")
	}
	db := open(t)
	_, list := aList(t, db)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	began := time.Now()
	im, err := db.ImportLeads(t.Context(), list, manyRows(100_000), false, noon)
	check(t, err)
	took := time.Since(began)
	runtime.ReadMemStats(&after)
	t.Logf("%d leads in %v, the process holds %d MB", im.Created, took, after.Sys>>20)
	if im.Created != 100_000 {
		t.Errorf("%+v", im)
	}
	if took > time.Minute {
		t.Errorf("took %v, want less than 10 s on a machine that has nothing else to do", took)
	}
	if after.Sys>>20 > 100 && !raceEnabled {
		t.Errorf("the process holds %d MB, want less than 100", after.Sys>>20)
	}
}

func BenchmarkImport100k(b *testing.B) {
	db := open(b)
	for b.Loop() {
		_, list := aList(b, db)
		im, err := db.ImportLeads(b.Context(), list, manyRows(100_000), false, noon)
		check(b, err)
		if im.Created != 100_000 {
			b.Fatalf("%+v", im)
		}
	}
}

func BenchmarkClaimLeads(b *testing.B) {
	db := open(b)
	id, list := aList(b, db)
	_, err := db.ImportLeads(b.Context(), list, manyRows(100_000), false, noon)
	check(b, err)
	now := noon.Add(time.Hour)
	claimed := 0
	b.ResetTimer()
	for range b.N {
		leads, err := db.ClaimLeads(b.Context(), id, 50, "", now)
		check(b, err)
		claimed += len(leads)
		if len(leads) == 0 {
			b.StopTimer()
			for _, query := range []string{`UPDATE leads SET state = 'dialable', claim_slot = NULL, claim_epoch = NULL`, `VACUUM leads`} {
				_, err := db.pool.Exec(b.Context(), query)
				check(b, err)
			}
			b.StartTimer()
		}
	}
	b.ReportMetric(float64(claimed)/b.Elapsed().Seconds(), "leads/s")
}

// BenchmarkClaimNothing: a campaign whose leads all wait for their time.
func BenchmarkClaimNothing(b *testing.B) {
	db := open(b)
	id, list := aList(b, db)
	_, err := db.ImportLeads(b.Context(), list, manyRows(100_000), false, noon)
	check(b, err)
	for b.Loop() {
		leads, err := db.ClaimLeads(b.Context(), id, 50, "", noon.Add(-time.Hour))
		if err != nil || len(leads) > 0 {
			b.Fatal(len(leads), err)
		}
	}
}

func BenchmarkAppendEvents(b *testing.B) {
	db := open(b)
	b.ResetTimer()
	for range b.N {
		db.Record(dialer.Event{Fact: dialer.PacingDecided{Dial: 3, Reason: "two agents are free"}})
	}
	check(b, db.Flush(b.Context()))
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
