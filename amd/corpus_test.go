package amd

import (
	"encoding/binary"
	"encoding/csv"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"
)

// corpus finds the recordings beside the repository, or skips.
func corpus(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		found := filepath.Join(dir, "..", "shared", "amd-corpus")
		if _, err := os.Stat(filepath.Join(found, "manifest.csv")); err == nil {
			return found
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Skip("SKIPPED: there is no ../shared/amd-corpus: the detector was not tried on recordings")
		}
		dir = up
	}
}

// wav returns the samples of a mono 16-bit file.
func wav(t *testing.T, name string) []int16 {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for at := 12; at+8 <= len(data); {
		size := int(binary.LittleEndian.Uint32(data[at+4:]))
		if string(data[at:at+4]) == "data" {
			body := data[at+8 : min(at+8+size, len(data))]
			out := make([]int16, len(body)/2)
			for i := range out {
				out[i] = int16(binary.LittleEndian.Uint16(body[2*i:]))
			}
			return out
		}
		at += 8 + size + size%2
	}
	t.Fatalf("%s has no samples", name)
	return nil
}

// hear feeds samples and then the silence of an ended clip, until done.
func hear(d Detector, samples []int16) Result {
	silence := make([]int16, frameSize)
	for range 1000 {
		frame := silence
		if len(samples) >= frameSize {
			frame, samples = samples[:frameSize], samples[frameSize:]
		}
		if r, done := d.Write(frame); done {
			return r
		}
	}
	return Result{}
}

// TestCorpus logs how often each kind is called what, and holds the error that
// the law counts, a person called a machine, below a ceiling.
func TestCorpus(t *testing.T) {
	dir := corpus(t)
	f, err := os.Open(filepath.Join(dir, "manifest.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]map[Verdict]int{}
	var late []time.Duration
	for _, row := range rows[1:] {
		file, label, greetingEnd := row[0], row[1], row[12]
		r := hear(New(Config{}), wav(t, filepath.Join(dir, file)))
		if got[label] == nil {
			got[label] = map[Verdict]int{}
		}
		got[label][r.Verdict]++
		if end, err := strconv.ParseFloat(greetingEnd, 64); err == nil && label == "human" && r.Verdict == Human {
			late = append(late, r.Decided-time.Duration(end*float64(time.Second)))
		}
		if os.Getenv("AMD_WRONG") != "" && string(r.Verdict) != label {
			t.Logf("%s %s %s: %s %s at %v, speech %v (%s), greeting end %s noise %s", file, label, row[2], r.Verdict, r.Reason, r.Decided, r.SpeechStart, row[11], greetingEnd, row[18])
		}
	}
	for label, verdicts := range got {
		t.Logf("%-10s %v", label, verdicts)
	}
	slices.Sort(late)
	t.Logf("human verdict after the greeting: median %v, p95 %v", late[len(late)/2], late[len(late)*95/100])

	count := func(label string) (n int) {
		for _, c := range got[label] {
			n += c
		}
		return n
	}
	wrong := 0
	for v, n := range got["human"] {
		if !v.Live() {
			wrong += n
		}
	}
	if n := count("human"); wrong*100 > n*8 {
		t.Errorf("%d of %d persons were called machines, more than 8 %%", wrong, n)
	}
	if n := count("machine"); got["machine"][Machine]*100 < n*50 {
		t.Errorf("only %d of %d machines were found", got["machine"][Machine], n)
	}
	if n := count("sit"); got["sit"][SIT]*100 < n*80 {
		t.Errorf("only %d of %d announcements were found", got["sit"][SIT], n)
	}
	if n := count("fax"); got["fax"][Fax]*100 < n*80 {
		t.Errorf("only %d of %d fax machines were found", got["fax"][Fax], n)
	}
}
