package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dialer/telephony"
)

// stereoULaw is a WAV of two sides: a tone of 2100 Hz on the right, nothing on the left.
func stereoULaw(seconds int) []byte {
	n := 8000 * seconds
	b := binary.LittleEndian.AppendUint32([]byte("RIFF"), uint32(36+2*n))
	b = append(b, "WAVEfmt \x10\x00\x00\x00\x07\x00\x02\x00"...)
	b = binary.LittleEndian.AppendUint32(b, 8000)
	b = binary.LittleEndian.AppendUint32(b, 16000)
	b = append(b, 2, 0, 8, 0)
	b = binary.LittleEndian.AppendUint32(append(b, "data"...), uint32(2*n))
	for i := range n {
		b = append(b, telephony.EncodeULaw(0), telephony.EncodeULaw(int16(8000*math.Sin(2*math.Pi*2100*float64(i)/8000))))
	}
	return b
}

func runAMD(args ...string) (code int, out, errs string) {
	var o, e bytes.Buffer
	code = run(context.Background(), &terminal{out: &o, err: &e, env: func(string) (string, bool) { return "", false }}, append([]string{"amd"}, args...))
	return code, o.String(), e.String()
}

// TestClassify: a line for each file, and bad files do not keep it from the others.
func TestClassify(t *testing.T) {
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good.wav"), filepath.Join(dir, "bad.wav")
	for name, body := range map[string][]byte{good: stereoULaw(5), bad: []byte("RIFF of nothing")} {
		if err := os.WriteFile(name, body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	code, out, errs := runAMD("classify", "--side", "right", bad, good, filepath.Join(dir, "none.wav"))
	if code != 1 || !strings.Contains(errs, "bad.wav") || !strings.Contains(errs, "none.wav") || strings.Count(errs, "\n") != 2 {
		t.Errorf("exit %d: %s", code, errs)
	}
	var o map[string]any
	if err := json.Unmarshal([]byte(out), &o); err != nil || strings.Count(out, "\n") != 1 {
		t.Fatal(out, err)
	}
	for _, key := range []string{
		"file", "verdict", "decided_ms", "speech_start_ms", "greeting_end_ms", "beep_start_ms", "beep_end_ms", "beep_hz", "events", "p",
	} {
		if _, ok := o[key]; !ok {
			t.Errorf("no %q in %s", key, out)
		}
	}
	if o["verdict"] != "fax" || o["file"] != good || o["speech_start_ms"] != nil {
		t.Error(out)
	}
	if _, out, _ = runAMD("classify", good); !strings.Contains(out, `"silence"`) {
		t.Errorf("the left side is silent: %s", out)
	}
	if code, _, errs = runAMD("classify", "--preset", "bold", good); code != 2 || !strings.Contains(errs, "careful") {
		t.Errorf("exit %d: %s", code, errs)
	}
}

func TestEval(t *testing.T) {
	dir := t.TempDir()
	manifest, plot := filepath.Join(dir, "m.csv"), filepath.Join(dir, "p.svg")
	for name, body := range map[string][]byte{
		filepath.Join(dir, "a.wav"): stereoULaw(5),
		manifest:                    []byte("file,label\na.wav,silence\ngone.wav,human\n"),
	} {
		if err := os.WriteFile(name, body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	code, out, errs := runAMD("eval", "--manifest", manifest, "--json", "--plot", plot)
	var o struct {
		Clips     int
		Confusion []struct {
			Label string
			Right struct{ K, N int }
		}
	}
	if err := json.Unmarshal([]byte(out), &o); err != nil || code != 1 || !strings.Contains(errs, "gone.wav") {
		t.Fatalf("exit %d, %v: %s%s", code, err, out, errs)
	}
	if o.Clips != 1 || len(o.Confusion) != 1 || o.Confusion[0].Label != "silence" || o.Confusion[0].Right.K != 1 {
		t.Error(out)
	}
	if svg, err := os.ReadFile(plot); err != nil || !strings.HasPrefix(string(svg), "<svg") {
		t.Error(err)
	}
	if code, _, errs = runAMD("eval", "--manifest", filepath.Join(dir, "none.csv")); code != 1 || !strings.Contains(errs, "none.csv") {
		t.Errorf("exit %d: %s", code, errs)
	}
}
