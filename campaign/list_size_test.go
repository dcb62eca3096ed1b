package campaign_test

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"testing"

	"dialer/campaign"
)

// rowsOf is a list that is made as it is read.
func rowsOf(n int) io.Reader {
	r, w := io.Pipe()
	go func() {
		var b bytes.Buffer
		b.WriteString("phone,id,first name,last name,email,note\n")
		for i := range n {
			fmt.Fprintf(&b, "+1202555%04d,%d,Ada,Lovelace,ada%d@example.com,\"interested, call again\"\n", i%10000, i, i)
			if b.Len() > 32<<10 || i == n-1 {
				if _, err := w.Write(b.Bytes()); err != nil {
					return
				}
				b.Reset()
			}
		}
		w.Close()
	}()
	return r
}

func TestReadLeadsMemory(t *testing.T) {
	rows := 100_000
	if raced {
		rows = 500
	}
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	n, most := 0, uint64(0)
	for row, err := range campaign.ReadLeads(rowsOf(rows), campaign.ReadOptions{}) {
		if err != nil || row.Reject != nil {
			t.Fatalf("row %d: %v %v", n, row.Reject, err)
		}
		if n++; n%(rows/5) == 0 {
			runtime.GC()
			runtime.ReadMemStats(&now)
			most = max(most, now.HeapAlloc)
		}
	}
	if n != rows {
		t.Errorf("%d rows, want %d", n, rows)
	}
	if grown := int64(most) - int64(before.HeapAlloc); grown > 10<<20 {
		t.Errorf("reading %d rows holds %d kB", rows, grown>>10)
	}
}

func BenchmarkReadLeads(b *testing.B) {
	n := 0
	for _, err := range campaign.ReadLeads(rowsOf(b.N), campaign.ReadOptions{MaxRows: b.N + 1}) {
		if err != nil {
			b.Fatal(err)
		}
		n++
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "rows/s")
}
