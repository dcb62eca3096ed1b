package evaluate

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"dialer/amd"
)

func TestWilson(t *testing.T) {
	for _, c := range []struct {
		k, n      int
		low, high float64
	}{{5, 278, 0.0077, 0.0414}, {0, 20, 0, 0.1611}, {20, 20, 0.8389, 1}, {0, 0, 0, 1}} {
		s := NewShare(c.k, c.n)
		if math.Abs(s.Low-c.low) > 5e-4 || math.Abs(s.High-c.high) > 5e-4 {
			t.Errorf("%d of %d: %+v, want %v to %v", c.k, c.n, s, c.low, c.high)
		}
	}
}

const manifest = "\ufefffile,label,subtype,group,speech_start_s,greeting_end_s,beep_start_s,beep_end_s,beep_hz,noise,snr_db,speech_segments,note\n" +
	"a.wav,human,short,g1,0.5,1.25,,,,tv,12.5,0.50-0.80;0.90-1.25,\n" +
	"b.wav,machine,tts,g2,0.3,4,4.5,4.9,1000,,,0.30-4.00,beep\n"

func TestReadManifest(t *testing.T) {
	rows, err := ReadManifest(strings.NewReader(manifest))
	if err != nil || len(rows) != 2 {
		t.Fatal(rows, err)
	}
	a, b := rows[0], rows[1]
	if a.GreetingEnd != 1250*time.Millisecond || a.BeepStart >= 0 || a.SNR != 12.5 || len(a.Speech) != 2 || a.Speech[1].Start != 900*time.Millisecond {
		t.Errorf("%+v", a)
	}
	if b.BeepEnd != 4900*time.Millisecond || b.BeepHz != 1000 || b.Group != "g2" {
		t.Errorf("%+v", b)
	}
	for name, in := range map[string]string{
		"empty":          "",
		"no label":       "file,kind\na.wav,human\n",
		"line 2: beep_s": "file,label,beep_start_s\na.wav,human,soon\n",
		"line 3: file":   "file,label\na.wav,human\n,human\n",
		"wrong number":   "file,label\na.wav\n",
		"start-end":      "file,label,speech_segments\na.wav,human,3-2\n",
	} {
		if _, err := ReadManifest(strings.NewReader(in)); err == nil {
			t.Errorf("%s: no error", name)
		} else if strings.HasPrefix(name, "line") && !strings.Contains(err.Error(), name[:6]) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzReadManifest(f *testing.F) {
	f.Add(manifest)
	f.Add("file,label,speech_segments\n\"a\nb\",x,1-2;;3-\n")
	f.Fuzz(func(t *testing.T, in string) {
		rows, err := ReadManifest(strings.NewReader(in))
		if err != nil {
			return
		}
		for _, r := range rows {
			if r.File == "" || r.Label == "" {
				t.Errorf("%+v", r)
			}
		}
	})
}

// script is a detector that says what it was told to.
type script struct {
	at     map[int][]amd.Event
	done   int
	result amd.Result
	n      int
}

func (s *script) Write([]int16) (amd.Result, bool) { s.n++; return s.result, s.n >= s.done }
func (s *script) Events() []amd.Event              { return s.at[s.n] }

// TestListen: two beeps in a row are one, and an early verdict does not end the listening.
func TestListen(t *testing.T) {
	const m = time.Millisecond
	d := &script{done: 10, result: amd.Result{Verdict: amd.Human, Decided: 200 * m}, at: map[int][]amd.Event{
		20: {{Kind: amd.BeepStarted, At: 400 * m, Start: 310 * m, End: -1, Hz: 700}, {Kind: amd.LateMachine, At: 400 * m, Start: 310 * m}},
		30: {{Kind: amd.BeepEnded, At: 600 * m, Start: 310 * m, End: 590 * m, Hz: 701}},
		40: {{Kind: amd.BeepStarted, At: 800 * m, Start: 700 * m, End: -1, Hz: 700}},
	}}
	o := Listen(d, make([]int16, 8000))
	if d.n != 50 || o.Beep != (amd.Beep{Start: 310 * m, End: time.Second, Hz: 701}) || o.BeepTold != 400*m || o.Late != 400*m || len(o.Events) != 4 {
		t.Errorf("%d frames, %+v", d.n, o)
	}
	if d := (&script{done: 80}); Listen(d, make([]int16, 8000)).Beep.Start >= 0 || d.n != 80 {
		t.Errorf("the line closed after %d frames", d.n)
	}
}

func TestReport(t *testing.T) {
	const m = time.Millisecond
	human := Row{Label: "human", Subtype: "short", SpeechStart: 500 * m, GreetingEnd: time.Second, BeepStart: -1}
	machine := Row{Label: "machine", SpeechStart: 500 * m, GreetingEnd: 3 * time.Second, BeepStart: 4 * time.Second, BeepEnd: 4400 * m}
	said := func(r Row, v amd.Verdict, at, late time.Duration, beep amd.Beep) Outcome {
		return Outcome{Row: r, Heard: amd.Result{Verdict: v, Decided: at}, Late: late, Beep: beep, BeepTold: beep.Start + 100*m}
	}
	none := amd.Beep{Start: -1, End: -1}
	r := New([]Outcome{
		said(human, amd.Human, 1700*m, -1, none),
		said(human, amd.Machine, 2*time.Second, -1, none),
		said(human, amd.Silence, 4*time.Second, -1, amd.Beep{Start: 0, End: 1}),
		said(machine, amd.Machine, 3500*m, -1, amd.Beep{Start: 4010 * m, End: 4380 * m}),
		said(machine, amd.Human, 2*time.Second, 5*time.Second, none),
		said(Row{Label: "ringback"}, amd.Music, 0, -1, none),
	})
	for name, c := range map[string]struct {
		got  Share
		k, n int
	}{
		"accuracy": {r.Accuracy, 2, 5}, "people not connected": {r.FalsePositives, 1, 3}, "found": {r.Found, 1, 2},
		"found late": {r.FoundLate, 2, 2}, "beeps": {r.Beeps, 1, 2}, "false beeps": {r.FalseBeeps, 1, 3}, "slow": {r.HumanSlow, 1, 2},
	} {
		if c.got.K != c.k || c.got.N != c.n {
			t.Errorf("%s: %+v, want %d of %d", name, c.got, c.k, c.n)
		}
	}
	if r.HumanAfterGreeting.N != 2 || r.BeepEndErr.Median != 20 || r.MachineAfterOnset.Median != 3000 {
		t.Errorf("%+v %+v %+v", r.HumanAfterGreeting, r.BeepEndErr, r.MachineAfterOnset)
	}
	var text, svg bytes.Buffer
	if err := errors.Join(r.Print(&text), r.Plot(&svg)); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text.String(), "33.3 %") {
		t.Error(text.String())
	}
	for d := xml.NewDecoder(&svg); ; {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
