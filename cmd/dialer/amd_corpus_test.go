package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"dialer/amd"
	"dialer/amd/evaluate"
	"dialer/amd/train"
)

// corpusManifest finds the recordings beside the repository, or skips.
func corpusManifest(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		found := filepath.Join(dir, "..", "shared", "amd-corpus", "manifest.csv")
		if _, err := os.Stat(found); err == nil {
			return found
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Skip("SKIPPED: there is no ../shared/amd-corpus: the detector was not tried on recordings")
		}
		dir = up
	}
}

// foldModels are the models of a cross-validation in four folds, as dialer amd
// train --folds 4 --keep writes them.
const foldModels = "../../amd/testdata"

// TestCrossValidated is a ratchet: how often each model errs on the recordings
// whose speakers and sources it was not trained on. The counts are those of
// docs/amd-model.md; they may fall and not rise.
func TestCrossValidated(t *testing.T) {
	manifest := corpusManifest(t)
	rows, err := readManifest(manifest)
	if err != nil {
		t.Fatal(err)
	}
	var clips []*train.Clip
	for _, row := range rows {
		clips = append(clips, &train.Clip{Row: row})
	}
	var outcomes []evaluate.Outcome
	for i, part := range train.Split(clips, 4) {
		stored, err := os.ReadFile(filepath.Join(foldModels, fmt.Sprintf("fold-%d.bin", i+1)))
		if err != nil {
			t.Fatal(err)
		}
		model, err := amd.ReadModel(stored)
		if err != nil {
			t.Fatal(err)
		}
		for k, clip := range part {
			if raced && k%8 != 0 {
				continue // the race detector makes everything many times slower
			}
			samples, err := readAudio(filepath.Join(filepath.Dir(manifest), clip.File), 0)
			if err != nil {
				t.Fatal(err)
			}
			o := evaluate.Listen(amd.New(amd.Config{Model: model}), samples)
			o.Row = clip.Row
			outcomes = append(outcomes, o)
		}
	}
	r := evaluate.New(outcomes)
	var text bytes.Buffer
	if err := r.Print(&text); err != nil {
		t.Fatal(err)
	}
	t.Log(text.String())
	if raced {
		return
	}
	for name, c := range map[string]struct {
		of          evaluate.Share
		least, most int
	}{
		"people not connected":         {r.FalsePositives, 0, 4},
		"of greetings up to 1.8 s":     {r.FalsePositivesShort, 0, 2},
		"people called late machines":  {r.FalseLate, 0, 1},
		"machines found":               {r.Found, 117, 151},
		"machines found, with late":    {r.FoundLate, 139, 151},
		"beeps":                        {r.Beeps, 116, 121},
		"recordings with a false beep": {r.FalseBeeps, 0, 4},
		"tone verdicts on speech":      {r.ToneOnSpeech, 0, 0},
		"screening not called human":   {r.ScreeningKept, 12, 16},
		"person later than 2 s":        {r.HumanSlow, 0, 10},
	} {
		if c.of.K < c.least || c.of.K > c.most {
			t.Errorf("%s: %d of %d, want %d to %d", name, c.of.K, c.of.N, c.least, c.most)
		}
	}
	if r.HumanAfterGreeting.Median > 750 || r.HumanAfterGreeting.P95 > 1900 {
		t.Errorf("a person is connected %+v after the greeting", r.HumanAfterGreeting)
	}
}
