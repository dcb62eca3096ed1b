package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"

	"dialer/amd"
	"dialer/amd/evaluate"
	"dialer/amd/train"
)

type amdTrainCmd struct {
	detectorFlags
	Manifest string `arg:"" help:"CSV as of amd eval; speech_segments must be there."`
	Out      string `help:"Where the model goes." default:"model.bin" placeholder:"FILE"`
	Seed     uint64 `help:"The same recordings and seed give the same model." default:"1"`
	Scenes   int    `help:"Calls made of each recording." default:"6"`
	Folds    int    `help:"Cross-validate in so many folds of whole groups and print the report, instead of writing a model."`
	JSON     bool   `name:"json" help:"The report as one JSON object."`
	Plot     string `help:"Draw the report's verdicts against time, as SVG." placeholder:"FILE"`
	Keep     string `help:"Keep the models of the folds, as FOLDER/fold-N.bin." placeholder:"FOLDER"`
}

func (c *amdTrainCmd) Run(t *terminal) error {
	rows, err := readManifest(c.Manifest)
	if err != nil {
		return err
	}
	var clips []*train.Clip
	for _, row := range rows {
		samples, err := readAudio(filepath.Join(filepath.Dir(c.Manifest), row.File), 0)
		if err != nil {
			return err
		}
		clips = append(clips, &train.Clip{Row: row, Samples: samples})
	}
	var stopped atomic.Bool
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-t.stop:
			stopped.Store(true)
		case <-ended:
		}
	}()
	o := train.Options{Seed: c.Seed, Scenes: c.Scenes, Progress: c.progress(t), Cancelled: stopped.Load}
	if c.Folds > 1 {
		return c.validate(t, clips, o)
	}
	model, err := train.Model(clips, o)
	if err != nil {
		return err
	}
	if err := os.WriteFile(c.Out, model.Append(nil), 0o644); err != nil {
		return fmt.Errorf("the model cannot be written: %w", err)
	}
	voice, beep, call := model.Trees()
	fmt.Fprintf(t.out, "%s: %d trees for speech, %d for beeps, %d for who answers\n", c.Out, voice, beep, call)
	return nil
}

// progress tells of each stage on a line, which a terminal sees grow.
func (c *amdTrainCmd) progress(t *terminal) func(string, int, int) {
	live, shown := isTerminal(t.err), 0
	return func(stage string, done, all int) {
		percent := 100 * done / max(all, 1)
		switch {
		case done == all:
			if live {
				fmt.Fprint(t.err, "\r")
			}
			fmt.Fprintf(t.err, "%s: %d\n", stage, all)
			shown = 0
		case live && percent > shown:
			fmt.Fprintf(t.err, "\r%s: %d %%", stage, percent)
			shown = percent
		}
	}
}

// validate measures on each fold the model that has not heard it.
func (c *amdTrainCmd) validate(t *terminal, clips []*train.Clip, o train.Options) error {
	folds, err := train.Folds(clips, c.Folds, o)
	if err != nil {
		return err
	}
	var outcomes []evaluate.Outcome
	for i, f := range folds {
		if c.Keep != "" {
			if err := os.WriteFile(filepath.Join(c.Keep, fmt.Sprintf("fold-%d.bin", i+1)), f.Model.Append(nil), 0o644); err != nil {
				return fmt.Errorf("a fold's model cannot be written: %w", err)
			}
		}
		for _, clip := range f.Clips {
			config := c.config()
			config.Model = f.Model
			outcome := evaluate.Listen(amd.New(config), clip.Samples)
			outcome.Row = clip.Row
			outcomes = append(outcomes, outcome)
		}
	}
	return printReport(t, evaluate.New(outcomes), c.JSON, c.Plot)
}
