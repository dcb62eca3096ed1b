package campaign

import (
	"bytes"
	"encoding/csv"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"dialer/amd"
	"dialer/telephony"
)

// corpus finds the recordings beside the repository, or skips.
func corpus(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		found := filepath.Join(dir, "..", "shared", "amd-corpus")
		if _, err := os.Stat(filepath.Join(found, "manifest.csv")); err == nil {
			return found
		}
		if filepath.Dir(dir) == dir {
			t.Skip("SKIPPED: there is no ../shared/amd-corpus: messages were not left on recorded machines")
		}
	}
}

// TestMessagesOnRecordedMachines plays machines with a beep, recorded ones among
// them, to the detector and the drop, and looks when the message would have begun
// for the last time.
func TestMessagesOnRecordedMachines(t *testing.T) {
	dir := corpus(t)
	text, err := os.ReadFile(filepath.Join(dir, "manifest.csv"))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	column := func(name string) int { return slices.Index(rows[0], name) }
	var late []time.Duration
	machines, inTime, cut := 0, 0, 0
	for _, row := range rows[1:] {
		end, err := strconv.ParseFloat(row[column("beep_end_s")], 64)
		if row[column("label")] != "machine" || err != nil {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, row[column("file")]))
		if err != nil {
			t.Fatal(err)
		}
		clip, err := telephony.ReadWAV(bytes.NewReader(data), row[0])
		if err != nil {
			t.Fatal(err)
		}
		began, restarts, found := leaveOn(clip.Samples)
		if !found {
			continue // an agent has the call
		}
		machines++
		wait := began - time.Duration(end*float64(time.Second))
		switch {
		case wait < -50*time.Millisecond:
			cut++
			t.Logf("%s: the message began %s before the end of the beep (%d restarts)", row[0], -wait, restarts)
		case wait <= 150*time.Millisecond:
			inTime++
		default:
			t.Logf("%s: %s after the beep (%d restarts), %s", row[0], wait, restarts, row[column("noise")])
		}
		late = append(late, wait)
	}
	slices.Sort(late)
	t.Logf("%d machines found that beep: %d messages within 150 ms, %d begin before the beep ends; median %s, p95 %s",
		machines, inTime, cut, late[len(late)/2], late[len(late)*95/100])
	if inTime*100 < machines*88 || cut*100 > machines*2 || machines < 95 {
		t.Errorf("of %d messages %d are in time and %d are cut off", machines, inTime, cut)
	}
}

// leaveOn plays a recording, and then silence, to a drop, and returns when the
// message began for the last time, counted from the answer; found is whether the
// verdict was a machine.
func leaveOn(samples []int16) (began time.Duration, restarts int, found bool) {
	h := newHearing(amd.New(amd.Config{}))
	d := drop{far: &h.far}
	decided := false
	for at := time.Duration(0); at < time.Duration(len(samples))*time.Second/8000+5*time.Second; at += telephony.FrameDuration {
		f := telephony.Frame{Offset: at}
		copy(f.Samples[:], samples[min(len(samples), int(at/time.Millisecond)*8):])
		r, done := h.write(&f)
		if decided = decided || done; !decided {
			continue
		}
		if r.Verdict != amd.Machine {
			return 0, 0, false
		}
		now := at + telephony.FrameDuration
		if d.next(now) == begin {
			began = now
		}
	}
	return began, d.restarts, true
}
