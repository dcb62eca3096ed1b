// Package evaluate measures a detector on labelled recordings: what was called
// what, how soon, and how sure those figures are. It is pure: samples and rows
// in, figures out.
//
// Entry points: ReadManifest, Listen, New (a Report of Outcomes).
package evaluate

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// A Row is one labelled recording. Times count from its start; a negative time
// is not known or did not happen.
type Row struct {
	File, Label, Subtype, Group, Noise string
	SpeechStart, GreetingEnd           time.Duration
	BeepStart, BeepEnd                 time.Duration
	BeepHz                             float64
	SNR                                float64 // dB; 0 when there is no noise
	Speech                             []Span
}

// A Span is a piece of a recording.
type Span struct{ Start, End time.Duration }

// maxRows is the longest manifest.
const maxRows = 1 << 20

// ReadManifest reads a CSV with a header. file and label must be there; subtype,
// group, noise, snr_db, speech_start_s, greeting_end_s, beep_start_s, beep_end_s,
// beep_hz and speech_segments may be; others are passed over.
func ReadManifest(r io.Reader) ([]Row, error) {
	in := csv.NewReader(r)
	in.ReuseRecord = true
	header, err := in.Read()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("the manifest is empty")
	}
	if err != nil {
		return nil, err
	}
	column := map[string]int{}
	for i, name := range header {
		column[strings.TrimPrefix(strings.TrimSpace(name), "\ufeff")] = i
	}
	for _, name := range []string{"file", "label"} {
		if _, ok := column[name]; !ok {
			return nil, fmt.Errorf("the manifest has no column %q", name)
		}
	}
	var rows []Row
	for len(rows) < maxRows {
		record, err := in.Read()
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return nil, err
		}
		f := fields{record: record, column: column}
		row := Row{
			File: f.text("file"), Label: f.text("label"), Subtype: f.text("subtype"), Group: f.text("group"), Noise: f.text("noise"),
			SpeechStart: f.seconds("speech_start_s"), GreetingEnd: f.seconds("greeting_end_s"),
			BeepStart: f.seconds("beep_start_s"), BeepEnd: f.seconds("beep_end_s"),
			BeepHz: f.number("beep_hz", 0), SNR: f.number("snr_db", 0), Speech: f.spans("speech_segments"),
		}
		if f.err == nil && (row.File == "" || row.Label == "") {
			f.err = errors.New("file or label is empty")
		}
		if f.err != nil {
			line, _ := in.FieldPos(0)
			return nil, fmt.Errorf("line %d: %w", line, f.err)
		}
		rows = append(rows, row)
	}
	return nil, fmt.Errorf("the manifest has more than %d rows", maxRows)
}

// fields reads the columns of one record and keeps the first mistake.
type fields struct {
	record []string
	column map[string]int
	err    error
}

func (f *fields) text(name string) string {
	i, ok := f.column[name]
	if !ok {
		return ""
	}
	return strings.Clone(strings.TrimSpace(f.record[i]))
}

func (f *fields) number(name string, otherwise float64) float64 {
	s := f.text(name)
	if s == "" {
		return otherwise
	}
	x, err := strconv.ParseFloat(s, 64)
	if (err != nil || !(x > -1e6 && x < 1e6)) && f.err == nil {
		f.err = fmt.Errorf("%s is %q, not a number", name, s)
	}
	return x
}

func (f *fields) seconds(name string) time.Duration {
	return time.Duration(f.number(name, -1e-9) * float64(time.Second))
}

// spans reads "0.36-2.56;2.66-2.78", in seconds.
func (f *fields) spans(name string) (out []Span) {
	for part := range strings.SplitSeq(f.text(name), ";") {
		if part == "" {
			continue
		}
		from, to, _ := strings.Cut(part, "-")
		a, err1 := strconv.ParseFloat(from, 64)
		b, err2 := strconv.ParseFloat(to, 64)
		if (err1 != nil || err2 != nil || !(a >= 0 && b >= a && b < 1e6)) && f.err == nil {
			f.err = fmt.Errorf("%s has %q, not start-end in seconds", name, part)
		}
		out = append(out, Span{time.Duration(a * float64(time.Second)), time.Duration(b * float64(time.Second))})
	}
	return out
}
