package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"dialer"
	"dialer/amd/evaluate"
	"dialer/campaign"
	"dialer/telephony"
)

// What is exported is what eval and train read, of calls of which it is known
// who answered, and nobody's voice but theirs.
func TestExportWritesAManifest(t *testing.T) {
	stereo := pcm([]int16{100, -1, 200, -1, 16384, -1}) // left, right
	stereo[22], stereo[32] = 2, 4
	calls := []campaign.Call{
		{ID: "cal_6", Lead: "led_1", Verdict: "machine", AnsweredBy: "machine", AnsweredBySource: "amd", Heard: campaign.Heard{Kept: "detection/a.wav", Label: "screening"}},
		{ID: "cal_5", Lead: "led_2", Verdict: "machine", AnsweredBy: "person", AnsweredBySource: "agent", Heard: campaign.Heard{Kept: "detection/a.wav"}},
		{ID: "cal_4", Lead: "led_3", Verdict: "machine", AnsweredBy: "machine", AnsweredBySource: "amd", Heard: campaign.Heard{Kept: "detection/a.wav"}},
		{ID: "cal_3", Lead: "led_4", Verdict: "screening", AnsweredBy: "person", AnsweredBySource: "agent", Heard: campaign.Heard{Kept: "detection/a.wav"}},
		{ID: "cal_2", Lead: "led_5", Verdict: "human", AnsweredBy: "person", AnsweredBySource: "agent", Heard: campaign.Heard{Kept: "detection/gone.wav"}},
		{ID: "cal_1", Lead: "led_6", Verdict: "human", AnsweredBy: "person", AnsweredBySource: "agent", Heard: campaign.Heard{Kept: "../../etc/passwd"}},
	}
	e := export{
		recordings: fstest.MapFS{"detection/a.wav": {Data: stereo}}, dir: t.TempDir(),
		list: func(after dialer.CallID) ([]campaign.Call, error) {
			if after == "" {
				return calls[:4], nil
			}
			if after == "cal_3" {
				return calls[4:], nil
			}
			return nil, nil
		},
	}
	if err := e.run(); err != nil {
		t.Fatal(err)
	}
	if e.written != 2 || e.unlabelled != 2 || e.lost != 2 {
		t.Errorf("%d written, %d unlabelled, %d lost", e.written, e.unlabelled, e.lost)
	}
	text, err := os.ReadFile(filepath.Join(e.dir, "manifest.csv"))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := evaluate.ReadManifest(bytes.NewReader(text))
	if err != nil || len(rows) != 2 {
		t.Fatalf("%v: %s", err, text)
	}
	for i, want := range []evaluate.Row{{File: "cal_6.wav", Label: "screening", Group: "led_1"}, {File: "cal_5.wav", Label: "human", Group: "led_2"}} {
		if r := rows[i]; r.File != want.File || r.Label != want.Label || r.Group != want.Group || r.GreetingEnd >= 0 {
			t.Errorf("%+v, want %+v", r, want)
		}
	}
	data, err := os.ReadFile(filepath.Join(e.dir, "cal_5.wav"))
	if err != nil {
		t.Fatal(err)
	}
	clip, err := telephony.ReadWAV(bytes.NewReader(data), "cal_5")
	if err != nil || len(clip.Samples) != 3 || clip.Samples[0] != 100 || clip.Samples[2] != 16384 {
		t.Errorf("%v, %v", clip.Samples, err)
	}
}
