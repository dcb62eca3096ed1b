package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"dialer/amd"
	"dialer/amd/evaluate"
	"dialer/telephony"
)

type amdCmd struct {
	Classify amdClassifyCmd `cmd:"" help:"Tell what answered in recordings that begin at the answer: one JSON line a file."`
	Eval     amdEvalCmd     `cmd:"" help:"Measure the detector on labelled recordings."`
	Export   amdExportCmd   `cmd:"" help:"Write the labelled seconds of a campaign's calls, for training."`
	Train    amdTrainCmd    `cmd:"" help:"Learn a model from labelled recordings, or cross-validate."`
}

// detectorFlags choose how careful the detector is.
type detectorFlags struct {
	Preset string `help:"careful, balanced or fast." default:"balanced" enum:"careful,balanced,fast"`
	Cost   int    `name:"hang-up-cost" help:"Price of hanging up on a person in seconds of an agent, instead of a preset." placeholder:"SECONDS"`
}

func (f detectorFlags) config() amd.Config {
	return amd.Config{Preset: amd.Preset(f.Preset), HangUpCost: time.Duration(f.Cost) * time.Second}
}

func (f detectorFlags) detector() amd.Detector { return amd.New(f.config()) }

// heardJSON is what classify prints of a file. Times are milliseconds from its start.
type heardJSON struct {
	File        string             `json:"file"`
	Verdict     amd.Verdict        `json:"verdict"`
	Code        amd.Code           `json:"code,omitempty"`
	Reason      string             `json:"reason"`
	Decided     int64              `json:"decided_ms"`
	SpeechStart *int64             `json:"speech_start_ms"`
	GreetingEnd *int64             `json:"greeting_end_ms"`
	BeepStart   *int64             `json:"beep_start_ms"`
	BeepEnd     *int64             `json:"beep_end_ms"`
	BeepHz      *float64           `json:"beep_hz"`
	Events      []eventJSON        `json:"events"`
	P           map[string]float64 `json:"p"`
}

type eventJSON struct {
	Kind    amd.EventKind `json:"event"`
	At      int64         `json:"at_ms"`
	Start   *int64        `json:"start_ms,omitempty"`
	End     *int64        `json:"end_ms,omitempty"`
	Hz      *float64      `json:"hz,omitempty"`
	Verdict amd.Verdict   `json:"verdict,omitempty"`
}

// ms is a time in milliseconds, nil when it did not happen.
func ms(d time.Duration) *int64 {
	if d < 0 {
		return nil
	}
	n := d.Milliseconds()
	return &n
}

func hz(x float64) *float64 {
	if x <= 0 {
		return nil
	}
	x = math.Round(10*x) / 10
	return &x
}

func newHeardJSON(file string, o *evaluate.Outcome) heardJSON {
	three := func(x float64) float64 { return math.Round(x*1000) / 1000 }
	greeting := o.Heard.GreetingEnd
	if !o.Heard.Verdict.Live() {
		greeting = o.Greeting
	}
	p := o.Heard.P
	out := heardJSON{
		File: file, Verdict: o.Heard.Verdict, Code: o.Heard.Code, Reason: o.Heard.Reason, Decided: o.Heard.Decided.Milliseconds(),
		SpeechStart: ms(o.Heard.SpeechStart), GreetingEnd: ms(greeting),
		BeepStart: ms(o.Beep.Start), BeepEnd: ms(o.Beep.End), BeepHz: hz(o.Beep.Hz), Events: []eventJSON{},
		P: map[string]float64{
			"human": three(p.Human), "machine": three(p.Machine), "screening": three(p.Screening),
			"ringback": three(p.Ringback), "music": three(p.Music), "silence": three(p.Silence),
		},
	}
	for _, e := range o.Events {
		out.Events = append(out.Events, eventJSON{Kind: e.Kind, At: e.At.Milliseconds(), Start: ms(e.Start), End: ms(e.End), Hz: hz(e.Hz), Verdict: e.Verdict})
	}
	return out
}

// readAudio reads a side of a recording, 0 or 1.
func readAudio(name string, side int) ([]int16, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err // it names the file
	}
	defer f.Close()
	clip, err := telephony.ReadWAVSide(f, name, side)
	return clip.Samples, err
}

type amdClassifyCmd struct {
	detectorFlags
	Side  string   `help:"Which side of a stereo file the called party is on: left or right." default:"left" enum:"left,right"`
	Files []string `arg:"" name:"file" help:"WAV, 8 or 16 kHz: 16 bit PCM, µ-law or A-law."`
}

// Run classifies every file that can be read.
func (c *amdClassifyCmd) Run(t *terminal) error {
	side := 0
	if c.Side == "right" {
		side = 1
	}
	bad := false
	out := json.NewEncoder(t.out)
	out.SetEscapeHTML(false)
	for _, name := range c.Files {
		samples, err := readAudio(name, side)
		if err != nil {
			fmt.Fprintln(t.err, "dialer:", err)
			bad = true
			continue
		}
		o := evaluate.Listen(c.detector(), samples)
		if err := out.Encode(newHeardJSON(name, &o)); err != nil {
			return err
		}
	}
	if bad {
		return exitError(1)
	}
	return nil
}

type amdEvalCmd struct {
	detectorFlags
	Manifest string `required:"" help:"CSV with the columns file and label; docs/amd.md has the others. Files are found beside it." placeholder:"FILE"`
	JSON     bool   `name:"json" help:"One JSON object."`
	Plot     string `help:"Draw verdicts and errors against time, as SVG." placeholder:"FILE"`
}

func (c *amdEvalCmd) Run(t *terminal) error {
	rows, err := readManifest(c.Manifest)
	if err != nil {
		return err
	}
	var outcomes []evaluate.Outcome
	bad := false
	for _, row := range rows {
		samples, err := readAudio(filepath.Join(filepath.Dir(c.Manifest), row.File), 0)
		if err != nil {
			fmt.Fprintln(t.err, "dialer:", err)
			bad = true
			continue
		}
		o := evaluate.Listen(c.detector(), samples)
		o.Row = row
		outcomes = append(outcomes, o)
	}
	if len(outcomes) == 0 {
		return errors.New("no recording of the manifest could be read")
	}
	if err := printReport(t, evaluate.New(outcomes), c.JSON, c.Plot); err != nil {
		return err
	}
	if bad {
		return exitError(1)
	}
	return nil
}

func readManifest(name string) ([]evaluate.Row, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	rows, err := evaluate.ReadManifest(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("%s lists no recordings", name)
	}
	return rows, nil
}

func printReport(t *terminal, r *evaluate.Report, asJSON bool, plot string) error {
	if plot != "" {
		var b bytes.Buffer
		if err := r.Plot(&b); err != nil {
			return err
		}
		if err := os.WriteFile(plot, b.Bytes(), 0o644); err != nil {
			return fmt.Errorf("the plot cannot be written: %w", err)
		}
	}
	if asJSON {
		out := json.NewEncoder(t.out)
		out.SetIndent("", "  ")
		return out.Encode(r)
	}
	return r.Print(t.out)
}
