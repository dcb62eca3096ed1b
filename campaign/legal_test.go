package campaign

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"dialer/compliance"
)

// However late saves are, within their lag, the pacer never sees more answered
// or fewer abandoned calls than there were.
func TestLegalNeverFlatters(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := time.Date(2026, 3, 2, 15, 0, 0, 0, time.UTC)
		now := start
		var l legal
		l.look(compliance.Tally{}, start, now)
		type save struct {
			at    time.Time
			class compliance.Class
		}
		var saves []save
		truth := compliance.Tally{}
		classes := []compliance.Class{
			compliance.ClassConnected, compliance.ClassLate, compliance.ClassAbandonedMsg, compliance.ClassCalleeEarly, compliance.ClassMachine,
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 4000).Draw(t, "ms")) * time.Millisecond)
			if rapid.Bool().Draw(t, "look") {
				saved := compliance.Tally{}
				for _, s := range saves {
					if !s.at.After(now) {
						saved.Add(s.class)
					}
				}
				l.look(saved, start, now)
			} else {
				class := rapid.SampledFrom(classes).Draw(t, "class")
				l.count("", class, now)
				truth.Add(class)
				lag := time.Duration(rapid.IntRange(0, int(saveLag/time.Millisecond)-1).Draw(t, "lag")) * time.Millisecond
				saves = append(saves, save{now.Add(lag), class})
			}
			got := l.figures()
			if got.abandoned < truth.Abandoned() || got.answered > truth.Answered() {
				t.Fatalf("figures %+v, truth %d of %d", got, truth.Abandoned(), truth.Answered())
			}
		}
		now = now.Add(2 * saveLag)
		l.look(truth, start, now)
		if got := l.figures(); got.answered != truth.Answered() || got.abandoned != truth.Abandoned() {
			t.Fatalf("at rest the figures are %+v, truth %d of %d", got, truth.Abandoned(), truth.Answered())
		}
	})
}

// A window of a day begins at midnight where the campaign is, also when clocks
// change, and its pacer is strict.
func TestWindowOfADay(t *testing.T) {
	c := Campaign{StartedAt: time.Date(2026, 3, 2, 15, 0, 0, 0, time.UTC), Settings: Settings{Zone: "America/New_York", AbandonWindow: WindowDay}.Defaulted()}
	for now, want := range map[string]string{
		"2026-03-07T04:59:59Z": "2026-03-06T05:00:00Z",
		"2026-03-07T05:00:00Z": "2026-03-07T05:00:00Z",
		"2026-03-09T03:30:00Z": "2026-03-08T05:00:00Z", // 23 hours
		"2026-03-09T04:00:00Z": "2026-03-09T04:00:00Z",
		"2026-03-02T14:00:00Z": "2026-03-02T15:00:00Z", // before the first start
	} {
		at, err := time.Parse(time.RFC3339, now)
		if err != nil {
			t.Fatal(err)
		}
		if got := periodStart(c, at).UTC().Format(time.RFC3339); got != want {
			t.Errorf("at %s the day began %s, want %s", now, got, want)
		}
	}
	if !pacingOf(c.Settings).Strict {
		t.Error("a window of a day without the strict profile")
	}
}

func TestLegalPeriod(t *testing.T) {
	start := time.Date(2026, 3, 2, 15, 0, 0, 0, time.UTC)
	c := Campaign{StartedAt: start, Settings: Settings{Zone: "America/New_York"}}
	first := periodStart(c, start.Add(29*24*time.Hour))
	if want := time.Date(2026, 3, 2, 5, 0, 0, 0, time.UTC); !first.Equal(want) {
		t.Errorf("the first period begins %s, want %s", first.UTC(), want)
	}
	second := periodStart(c, start.Add(31*24*time.Hour))
	if want := time.Date(2026, 4, 1, 4, 0, 0, 0, time.UTC); !second.Equal(want) {
		t.Errorf("the second period begins %s, want %s", second.UTC(), want)
	}
	var l legal
	l.look(compliance.Tally{ByClass: map[compliance.Class]int{compliance.ClassAbandonedMsg: 5}}, first, start)
	l.look(compliance.Tally{}, second, start.Add(31*24*time.Hour))
	if got := l.figures(); got.abandoned != 0 {
		t.Errorf("the new period begins with %d abandoned", got.abandoned)
	}
}
