package compliance

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func hours(t testing.TB, s string) WeeklyHours {
	t.Helper()
	w, err := ParseHours(s)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestParseHours(t *testing.T) {
	for in, want := range map[string]string{
		"Mon-Sat 09:00-20:00": "Mon-Sat 09:00-20:00",
		"monday-FRI 10:00-13:00 , 14:00-20:00; sat 10:00-12:00": "Mon-Fri 10:00-13:00,14:00-20:00; Sat 10:00-12:00",
		"Fri 14:00-20:00,10:00-13:00":                           "Fri 10:00-13:00,14:00-20:00",
		"Sat,Sun 00:00-24:00":                                   "Sat-Sun 00:00-24:00",
		"Mon-Fri 09:00-20:00; Sat closed;":                      "Mon-Fri 09:00-20:00",
		"closed":                                                "closed",
		"Closed":                                                "closed",
	} {
		w, err := ParseHours(in)
		if err != nil || w.String() != want {
			t.Errorf("ParseHours(%q) = %q, %v; want %q", in, w, err, want)
		}
		if again := hours(t, w.String()); !again.Equal(w) {
			t.Errorf("%q does not read back", w)
		}
	}
	for in, want := range map[string]string{
		"":                                     "empty",
		"Mon-Sat":                              "days, a space and hours",
		"Mun 09:00-20:00":                      `"Mun" is not a day`,
		"Sat-Mon 09:00-20:00":                  "runs backwards",
		"Mon 9-20":                             "not of the form",
		"Mon 09:00-25:00":                      "not of the form",
		"Mon 09:60-20:00":                      "not of the form",
		"Mon 20:00-09:00":                      "ends before it begins",
		"Mon 09:00-13:00,12:00-20:00":          "touch or overlap",
		"Mon 09:00-13:00,13:00-20:00":          "touch or overlap",
		"Mon 09:00-20:00; Mon-Fri 09:00-12:00": "Mon is named twice",
		"Mon closed; Mon 09:00-12:00":          "Mon is named twice",
		strings.Repeat("x", 1001):              "more than 1000",
	} {
		if w, err := ParseHours(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseHours(%q) = %q, %v; want an error with %q", in, w, err, want)
		}
	}
}

func TestHoursJSON(t *testing.T) {
	data, err := json.Marshal(struct{ H WeeklyHours }{Default})
	if err != nil || string(data) != `{"H":"Mon-Sat 09:00-20:00"}` {
		t.Errorf("%s, %v", data, err)
	}
	var back struct{ H WeeklyHours }
	if err := json.Unmarshal(data, &back); err != nil || !back.H.Equal(Default) {
		t.Errorf("%v, %v", back.H, err)
	}
	if !(WeeklyHours{}).IsZero() || hours(t, "closed").IsZero() || Default.IsZero() {
		t.Error("only hours that were never set are zero")
	}
}

func FuzzParseHours(f *testing.F) {
	f.Add("Mon-Fri 10:00-13:00,14:00-20:00; Sat 10:00-12:00")
	f.Add("closed")
	f.Add(";;-,:")
	f.Fuzz(func(t *testing.T, s string) {
		w, err := ParseHours(s)
		if err != nil {
			return
		}
		if again, err := ParseHours(w.String()); err != nil || !again.Equal(w) {
			t.Fatalf("%q was read as %q, which reads as %q, %v", s, w, again, err)
		}
	})
}

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func TestOpenEdges(t *testing.T) {
	ny := zone(t, "America/New_York")
	for at, want := range map[string]bool{
		"2026-11-23 08:59:59": false,
		"2026-11-23 09:00:00": true,
		"2026-11-23 19:59:59": true,
		"2026-11-23 20:00:00": false, // half-open
		"2026-11-22 12:00:00": false, // Sunday
		"2026-11-21 12:00:00": true,  // Saturday
	} {
		when, err := time.ParseInLocation(time.DateTime, at, ny)
		if err != nil {
			t.Fatal(err)
		}
		if got := Default.Open(when); got != want {
			t.Errorf("%s: open %v, want %v", at, got, want)
		}
	}
}

func TestNextOpenAcrossClockChanges(t *testing.T) {
	for _, c := range []struct{ zone, hours, from, want string }{
		{"America/New_York", "Mon-Sat 09:00-20:00", "2026-11-23T15:00:00Z", "2026-11-23T15:00:00Z"},
		{"America/New_York", "Mon-Sat 09:00-20:00", "2026-11-22T02:00:00Z", "2026-11-23T14:00:00Z"},
		{"America/New_York", "Sun 07:30-09:00", "2026-11-01T00:00:00Z", "2026-11-01T12:30:00Z"}, // DST ended at night
		{"America/New_York", "Sun 02:15-02:45", "2026-03-08T00:00:00Z", "2026-03-15T06:15:00Z"}, // skipped, so a week later
		{"America/New_York", "Sun 02:15-04:00", "2026-03-08T00:00:00Z", "2026-03-08T07:00:00Z"}, // opens at 03:00 EDT
		{"America/New_York", "Sun 01:30-02:00", "2026-11-01T05:50:00Z", "2026-11-01T05:50:00Z"}, // first 01:50
		{"America/New_York", "Sun 01:30-02:00", "2026-11-01T06:10:00Z", "2026-11-01T06:30:00Z"}, // 01:30 comes twice
		{"Asia/Kolkata", "Mon-Sun 10:00-21:00", "2026-11-24T04:29:59Z", "2026-11-24T04:30:00Z"},
		{"Australia/Lord_Howe", "Mon-Sun 09:00-20:00", "2026-10-03T12:00:00Z", "2026-10-03T22:00:00Z"},
		{"UTC", "closed", "2026-11-24T04:29:59Z", ""},
	} {
		from, err := time.Parse(time.RFC3339, c.from)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if at := hours(t, c.hours).NextOpen(from.In(zone(t, c.zone))); !at.IsZero() {
			got = at.UTC().Format(time.RFC3339)
		}
		if got != c.want {
			t.Errorf("%s, %s, from %s: opens %q, want %q", c.zone, c.hours, c.from, got, c.want)
		}
	}
}

// testZones have every kind of clock: half hours, changes at midnight, none.
var testZones = []string{
	"America/New_York", "America/Los_Angeles", "America/Phoenix", "America/St_Johns", "America/Havana",
	"Asia/Kolkata", "Asia/Beirut", "Australia/Lord_Howe", "Europe/London", "Pacific/Apia", "Africa/Casablanca", "UTC",
}

// anyHours draws calling hours.
var anyHours = rapid.Custom(func(t *rapid.T) WeeklyHours {
	var w WeeklyHours
	for day := range w.days {
		for at := rapid.IntRange(0, 1500).Draw(t, "first"); at < 1440 && len(w.days[day]) < 3; {
			end := min(at+rapid.IntRange(1, 700).Draw(t, "length"), 1440)
			w.days[day] = append(w.days[day], interval{at, end})
			at = end + rapid.IntRange(1, 700).Draw(t, "gap")
		}
	}
	return w
})

var instants = rapid.Custom(func(t *rapid.T) time.Time {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	return time.Unix(start+rapid.Int64Range(0, 2*365*24*3600).Draw(t, "second"), 0).UTC()
})

func TestNextOpenIsTheEarliest(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w, from := anyHours.Draw(rt, "hours"), instants.Draw(rt, "from")
		from = from.In(zone(t, rapid.SampledFrom(testZones).Draw(rt, "zone")))
		at := w.NextOpen(from)
		end := at
		if at.IsZero() {
			end = from.Add(8 * 24 * time.Hour)
		} else if !w.Open(at) || at.Before(from) {
			rt.Fatalf("%s: from %v NextOpen is %v, which is not open", w, from, at)
		}
		for x := from; x.Before(end); x = x.Add(time.Minute).Truncate(time.Minute) {
			if w.Open(x) {
				rt.Fatalf("%s: NextOpen is %v and %v is open already", w, at, x)
			}
		}
	})
}
