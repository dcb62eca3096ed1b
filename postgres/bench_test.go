package postgres

import (
	"fmt"
	"iter"
	"runtime"
	"sync/atomic"
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

// TestManyLeads: 100,000 rows in less than 10 s and 100 MB.
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
	if took > 10*time.Second && !raceEnabled {
		t.Errorf("took %v, want less than 10 s", took)
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
	var claimed atomic.Int64
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			leads, err := db.ClaimLeads(b.Context(), id, 50, "", now)
			if err != nil {
				b.Error(err)
				return
			}
			claimed.Add(int64(len(leads)))
			ids := make([]dialer.LeadID, len(leads))
			for i, l := range leads {
				ids[i] = l.ID
			}
			if err := db.ReleaseLeads(b.Context(), ids); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(claimed.Load())/b.Elapsed().Seconds(), "leads/s")
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
	for b.Loop() {
		db.Record(dialer.Event{Fact: dialer.PacingDecided{Dial: 3, Reason: "two agents are free"}})
	}
	check(b, db.Flush(b.Context()))
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
