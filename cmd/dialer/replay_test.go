package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"iter"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dialer"
	"dialer/campaign"
	"dialer/pacing"
)

// A tapedShift is five minutes of four agents, recorded minute by minute. Its
// policies do not depend on how predictive is tuned, so the golden files change
// with the replay or its output alone.
func tapedShift(t *testing.T, c pacing.Config) (parts []campaign.TapePart, told []dialer.Event) {
	t.Helper()
	began := time.Date(2026, 5, 4, 9, 0, 0, 0, time.UTC)
	var rec pacing.Recorder
	if err := rec.Begin(began, &pacing.Estimator{RingMax: 25 * time.Second}); err != nil {
		t.Fatal(err)
	}
	if err := rec.Configure(c); err != nil {
		t.Fatal(err)
	}
	busy := [4]time.Time{}
	var ringing []time.Time
	n, placed := 0, 0
	for i := range 300 {
		now := began.Add(time.Duration(i) * time.Second)
		s := pacing.Snapshot{Now: now, Answered: 200 + i/5, Abandoned: i / 60, Cap: c.Cap, Lines: 50, LeadsLeft: 40}
		kept := ringing[:0]
		for _, at := range ringing {
			if now.Sub(at) < 10*time.Second {
				kept = append(kept, at)
				continue
			}
			n++
			rec.Ended(n%3 == 0, now.Sub(at))
			for a := range busy {
				if n%3 == 0 && !now.Before(busy[a]) {
					busy[a] = now.Add(40 * time.Second)
					break
				}
			}
		}
		ringing = kept
		for _, until := range busy {
			if now.Before(until) {
				s.Talking = append(s.Talking, 40*time.Second-until.Sub(now))
			} else {
				s.Ready++
			}
		}
		for _, at := range ringing {
			s.Ringing = append(s.Ringing, now.Sub(at))
		}
		d := rec.Decide(s)
		placed += d.Dial
		for range d.Dial {
			ringing = append(ringing, now)
		}
		if i%23 == 10 {
			told = append(told, dialer.Event{Seq: int64(i), At: now, Fact: dialer.PacingDecided{
				Dial: d.Dial, AgentFirst: d.AgentFirst, Limit: string(d.Limit), Reason: d.Reason, Placed: placed,
				ExpectedFree: math.Round(d.ExpectedFree*1e4) / 1e4, Allowance: math.Round(d.Allowance*1e4) / 1e4,
				ExpectedAnswers: math.Round(d.ExpectedAnswers*1e4) / 1e4, ExpectedLoss: math.Round(d.ExpectedLoss*1e4) / 1e4,
				Threshold: math.Round(d.Threshold*1e4) / 1e4, Tape: rec.Began(), Look: rec.Looks(),
			}})
			placed = 0
		}
		if i%60 == 59 {
			parts = append(parts, campaign.TapePart{Campaign: "cmp_1", Began: rec.Began(), Part: len(parts),
				From: now.Add(-59 * time.Second), To: now.Add(time.Second), Version: "v1", Body: rec.Cut()})
		}
	}
	return parts, told
}

func inOrder(parts []campaign.TapePart, err error) iter.Seq2[campaign.TapePart, error] {
	return func(yield func(campaign.TapePart, error) bool) {
		for _, p := range parts {
			if !yield(p, nil) {
				return
			}
		}
		if err != nil {
			yield(campaign.TapePart{}, err)
		}
	}
}

func TestReplayGolden(t *testing.T) {
	share := capFlag(0.05)
	for _, c := range []struct {
		name   string
		cmd    replayCmd
		change func(*replay, []campaign.TapePart) []campaign.TapePart
	}{
		{name: "exact"},
		{name: "other", cmd: replayCmd{Policy: "progressive"}},
		{name: "json", cmd: replayCmd{Policy: "power-2", Cap: &share, JSON: true}},
		{name: "not-saved-yet", change: func(_ *replay, parts []campaign.TapePart) []campaign.TapePart { return parts[:3] }},
		{name: "part-lost", change: func(_ *replay, parts []campaign.TapePart) []campaign.TapePart { return slices.Delete(parts, 2, 3) }},
		{name: "damaged", change: func(_ *replay, parts []campaign.TapePart) []campaign.TapePart {
			parts[3].Body = parts[3].Body[:len(parts[3].Body)/2]
			return parts
		}},
		// Another version that decides otherwise: here the tape says that one call more was placed.
		{name: "other-version", change: func(r *replay, parts []campaign.TapePart) []campaign.TapePart {
			r.version = "v2"
			r.told[4].Fact = func() dialer.PacingDecided {
				d := r.told[4].Fact.(dialer.PacingDecided)
				d.Dial++
				return d
			}()
			return parts
		}},
		{name: "no-tape", change: func(*replay, []campaign.TapePart) []campaign.TapePart { return nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			parts, told := tapedShift(t, pacing.Config{Mode: pacing.Power, Ratio: 1.5, Cap: 0.03})
			other, err := c.cmd.other()
			if err != nil {
				t.Fatal(err)
			}
			from := time.Date(2026, 5, 4, 9, 1, 0, 0, time.UTC)
			r := replay{from: from, to: from.Add(4 * time.Minute), told: told[3:], other: other, version: "v1"}
			if c.change != nil {
				parts = c.change(&r, parts)
			}
			if err := r.run(inOrder(parts, nil)); err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			if c.cmd.JSON {
				err = r.printJSON(&out)
			} else {
				r.print(&out)
			}
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", "replay", c.name+".txt")
			if *updateGolden {
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if out.String() != string(want) {
				t.Errorf("got\n%s\nwant\n%s", out.String(), want)
			}
		})
	}
}

// With the recorded settings every decision is the recorded one, predictive too;
// the same policy given by name says so as well.
func TestReplayWithTheSameSettings(t *testing.T) {
	parts, told := tapedShift(t, pacing.Config{Mode: pacing.Predictive, Cap: 0.03})
	other, err := (&replayCmd{Policy: "predictive"}).other()
	if err != nil {
		t.Fatal(err)
	}
	r := replay{from: parts[1].From, to: parts[4].To, told: told[3:], other: other, version: "v1"}
	if err := r.run(inOrder(parts, nil)); err != nil {
		t.Fatal(err)
	}
	if r.decisions != 240 || r.same != r.decisions || r.calls[0] != r.calls[1] || r.up[1] != r.up[2] || r.calls[0] == 0 {
		t.Errorf("%d of %d decisions are the same; calls %v", r.same, r.decisions, r.calls)
	}
	for _, row := range r.rows {
		if row.again == nil || *row.again != *row.otherwise || !sameAsTold(row) {
			t.Errorf("%+v", row)
		}
	}
	if n := r.notes(); len(n) == 0 || !strings.Contains(n[0], "exact") {
		t.Errorf("%q", n)
	}
	if err := r.run(inOrder(parts[:1], errors.New("away"))); err == nil {
		t.Error("the database was away, and nothing was said")
	}
}

func TestReplayCommandLine(t *testing.T) {
	for _, c := range []struct{ args, says string }{
		{"--campaign cmp_1 --policy fast", "not one of preview, progressive, power-RATIO"},
		{"--campaign cmp_1 --policy power-50", "ratio 50"},
		{"--campaign cmp_1 --policy power:2", "power-2"},
		{"--campaign cmp_1 --from yesterday", "is not a time"},
		{"--campaign cmp_1 --from 2026-05-04T10:00:00Z --to 2026-05-04T09:00:00Z", "not before"},
		{"", "--campaign"},
	} {
		var out, errs bytes.Buffer
		code := run(t.Context(), &terminal{out: &out, err: &errs, env: noEnv}, append([]string{"pacing", "replay"}, strings.Fields(c.args)...))
		if code == 0 || !strings.Contains(errs.String(), c.says) {
			t.Errorf("%s: exit %d, %s", c.args, code, errs.String())
		}
	}
}

func TestReplayJSONIsJSON(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "replay", "json.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(data) {
		var v map[string]any
		if err := json.Unmarshal(line, &v); err != nil {
			t.Errorf("%v: %s", err, line)
		}
	}
}
