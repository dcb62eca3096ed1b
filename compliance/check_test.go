package compliance

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"dialer"
)

func at(t testing.TB, s string) time.Time {
	t.Helper()
	when, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return when
}

func TestCheck(t *testing.T) {
	// 2026-11-23 is a Monday; New York is UTC-5, Los Angeles UTC-8.
	recent := func(times ...string) (out []time.Time) {
		for _, s := range times {
			out = append(out, at(t, s))
		}
		return out
	}
	for _, c := range []struct {
		name string
		c    Candidate
		now  string
		rule string
		say  string
		next string
	}{
		{"plain", Candidate{Number: "+12125550123"}, "2026-11-23T15:00:00Z", "", "", ""},
		{"first second", Candidate{Number: "+12125550123"}, "2026-11-23T14:00:00Z", "", "", ""},
		{"a second early", Candidate{Number: "+12125550123"}, "2026-11-23T13:59:59Z", "window", "Mon 08:59 in America/New_York", "2026-11-23T14:00:00Z"},
		{"last moment", Candidate{Number: "+12125550123"}, "2026-11-24T00:58:59Z", "", "", ""},
		{"dial guard", Candidate{Number: "+12125550123"}, "2026-11-24T00:59:00Z", "window", "Mon 19:59", "2026-11-24T14:00:00Z"},
		{"Sunday", Candidate{Number: "+12125550123"}, "2026-11-22T15:00:00Z", "window", "Sun 10:00", "2026-11-23T14:00:00Z"},
		{"split area code", Candidate{Number: "+12192345678"}, "2026-11-23T14:30:00Z", "window", "08:30 in America/Chicago", "2026-11-23T15:00:00Z"},
		{"split code at night", Candidate{Number: "+12192345678"}, "2026-11-24T01:30:00Z", "window", "20:30 in America/New_York", "2026-11-24T15:00:00Z"},
		{"the lead's own zone", Candidate{Number: "+12125550123", Zone: "America/Los_Angeles"}, "2026-11-23T15:00:00Z", "window", "America/Los_Angeles", "2026-11-23T17:00:00Z"},
		{"not a zone", Candidate{Number: "+12125550123", Zone: "Mars/Olympus"}, "2026-11-23T15:00:00Z", "zone", `"Mars/Olympus" is not`, ""},
		{"this machine's zone", Candidate{Number: "+12125550123", Zone: "Local"}, "2026-11-23T15:00:00Z", "zone", `"Local" is not`, ""},
		{"toll free", Candidate{Number: "+18005551234"}, "2026-11-23T15:00:00Z", "zone", "not known", ""},
		{"toll free, zone given", Candidate{Number: "+18005551234", Zone: "UTC"}, "2026-11-23T15:00:00Z", "", "", ""},
		{"no number", Candidate{Number: "5551234"}, "2026-11-23T15:00:00Z", "number", "****1234 is not a number", ""},
		{"not in the plan", Candidate{Number: "+11234567890"}, "2026-11-23T15:00:00Z", "number", "", ""},
		{"premium", Candidate{Number: "+19005551234", Zone: "UTC"}, "2026-11-23T15:00:00Z", "number", "", ""},
		{"do not call", Candidate{Number: "+12125550123", OnDNC: "internal"}, "2026-11-23T15:00:00Z", "dnc", `"internal"`, ""},
		{"dnc at night", Candidate{Number: "+12125550123", OnDNC: "internal"}, "2026-11-23T05:00:00Z", "dnc", "", ""},
		{"attempts spent", Candidate{Number: "+12125550123", MaxAttempts: 3, Attempts: 3}, "2026-11-23T15:00:00Z", "attempt-cap", "called 3 times", ""},
		{"one attempt left", Candidate{Number: "+12125550123", MaxAttempts: 3, Attempts: 2}, "2026-11-23T15:00:00Z", "", "", ""},
		{
			"day cap", Candidate{Number: "+12125550123", MaxPerDay: 2, Recent: recent("2026-11-23T14:10:00Z", "2026-11-23T14:20:00Z")},
			"2026-11-23T15:00:00Z", "day-cap", "2 times today", "2026-11-24T14:00:00Z",
		},
		{
			"yesterday does not count", Candidate{Number: "+12125550123", MaxPerDay: 2, Recent: recent("2026-11-23T04:59:00Z", "2026-11-23T14:20:00Z")},
			"2026-11-23T15:00:00Z", "", "", "",
		},
		{ // 04:30 UTC is Sunday in Chicago and New York 23:30; 05:30 is Monday in New York only
			"strictest date", Candidate{Number: "+12192345678", MaxPerDay: 1, Recent: recent("2026-11-23T05:30:00Z")},
			"2026-11-23T15:00:00Z", "day-cap", "America/New_York", "2026-11-24T15:00:00Z",
		},
		{
			"day cap on Saturday", Candidate{Number: "+12125550123", MaxPerDay: 1, Recent: recent("2026-11-21T15:00:00Z")},
			"2026-11-21T16:00:00Z", "day-cap", "", "2026-11-23T14:00:00Z",
		},
		{"no hours in common", Candidate{Number: "+12125550123", Hours: hours(t, "closed")}, "2026-11-23T15:00:00Z", "window", "", ""},
		{"hours shorter than the guard", Candidate{Number: "+12125550123", Hours: hours(t, "Mon 10:00-10:01")}, "2026-11-23T15:00:00Z", "window", "", ""},
	} {
		if c.c.Hours.IsZero() {
			c.c.Hours = Default
		}
		v := Check(c.c, at(t, c.now))
		next := ""
		if !v.NextAt.IsZero() {
			next = v.NextAt.Format(time.RFC3339)
		}
		if v.Rule != c.rule || v.Allowed != (c.rule == "") || !strings.Contains(v.Reason, c.say) || next != c.next {
			t.Errorf("%s: %+v\nwant rule %q, %q, next %q", c.name, v, c.rule, c.say, c.next)
		}
	}
}

// TestCheckWithoutHours: hours that were never set allow nothing.
func TestCheckWithoutHours(t *testing.T) {
	if v := Check(Candidate{Number: "+12125550123"}, monday); v.Allowed || v.Rule != "window" {
		t.Errorf("%+v", v)
	}
}

// usWindow are the hours of the federal rules and Florida's, for the vectors.
func TestWindowVectors(t *testing.T) {
	const federal, florida = "Mon-Sun 08:00-21:00", "Mon-Sun 08:00-20:00"
	for _, c := range []struct {
		id, hours, zones, utc string
		allow                 bool
	}{
		{"W1", federal, "America/New_York", "2026-11-23T13:00:00Z", true},
		{"W2", federal, "America/New_York", "2026-11-23T12:59:59Z", false},
		{"W4", florida, "America/New_York", "2026-11-24T01:15:00Z", false},
		{"W5", florida, "America/New_York America/Chicago", "2026-11-23T13:30:00Z", false},
		{"W7", federal, "America/Los_Angeles America/New_York", "2026-11-23T15:59:00Z", false},
		{"W8", federal, "America/Los_Angeles America/New_York", "2026-11-23T16:00:00Z", true},
		{"W10", federal, "America/Phoenix America/Denver", "2026-07-16T03:30:00Z", false},
		{"W11", federal, "America/Phoenix America/Denver", "2026-11-24T02:30:00Z", true},
		{"W17", federal, "America/New_York", "2026-11-01T12:30:00Z", false},
		{"W28", "Mon-Fri 10:00-13:00,14:00-20:00", "Europe/Paris", "2026-11-23T12:30:00Z", false},
		{"W29", "Mon-Fri 10:00-13:00,14:00-20:00", "Indian/Reunion", "2026-11-23T09:30:00Z", false},
		{"W31", "Mon-Sat 08:00-20:00", "Europe/Berlin", "2026-11-23T19:00:00Z", false},
		{"W32", "Mon-Fri 09:00-21:00", "Europe/Madrid Atlantic/Canary", "2026-11-23T08:30:00Z", false},
		{"W34", "Mon-Sun 10:00-21:00", "Asia/Kolkata", "2026-11-24T04:30:00Z", true},
	} {
		allow := true
		for name := range strings.FieldsSeq(c.zones) {
			allow = allow && hours(t, c.hours).Open(at(t, c.utc).In(zone(t, name)))
		}
		if allow != c.allow {
			t.Errorf("%s: allow %v, want %v", c.id, allow, c.allow)
		}
	}
}

// TestNextAtIsTheEarliest: at NextAt the call is allowed, and at any time before
// it is refused.
func TestNextAtIsTheEarliest(t *testing.T) {
	numbers := []dialer.Number{"+12125550123", "+12192345678", "+15412345678", "+19286741234", "+61740310000", "+34612345678", "+351912345678"}
	rapid.Check(t, func(t *rapid.T) {
		now := instants.Draw(t, "now")
		c := Candidate{
			Number:    rapid.SampledFrom(numbers).Draw(t, "number"),
			Zone:      rapid.SampledFrom(append([]string{"", "", ""}, testZones...)).Draw(t, "zone"),
			Hours:     anyHours.Draw(t, "hours"),
			MaxPerDay: rapid.IntRange(0, 2).Draw(t, "per day"),
		}
		for _, ago := range rapid.SliceOfN(rapid.IntRange(0, 48*60), 0, 4).Draw(t, "minutes ago") {
			c.Recent = append(c.Recent, now.Add(-time.Duration(ago)*time.Minute))
		}
		v := Check(c, now)
		if v.Allowed {
			if !v.NextAt.IsZero() || v.Rule != "" || v.Reason != "" {
				t.Fatalf("allowed with %+v", v)
			}
			return
		}
		if v.Rule != "window" && v.Rule != "day-cap" || v.Reason == "" {
			t.Fatalf("unexpected refusal %+v", v)
		}
		end := v.NextAt
		if end.IsZero() {
			end = now.Add(8 * 24 * time.Hour) // never: not in the whole week
		} else {
			if then := Check(c, end); !then.Allowed || !end.After(now) {
				t.Fatalf("at %v still %+v", end, then)
			}
			if before := Check(c, end.Add(-time.Millisecond)); before.Allowed {
				t.Fatalf("allowed just before %v", end)
			}
		}
		for x := now; x.Before(end); x = x.Add(97 * time.Minute) {
			if Check(c, x).Allowed {
				t.Fatalf("NextAt is %v, allowed at %v already", v.NextAt, x)
			}
		}
	})
}

func TestRulesLine(t *testing.T) {
	got := Candidate{Hours: Default, MaxPerDay: 2, MaxAttempts: 5}.Rules()
	if want := "hours Mon-Sat 09:00-20:00, at most 2 a day, at most 5 in all"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func ExampleCheck() {
	v := Check(Candidate{Number: "+12192345678", Hours: Default}, time.Date(2026, 11, 23, 14, 30, 0, 0, time.UTC))
	fmt.Println(v.Allowed, v.Rule)
	fmt.Println(v.Reason)
	fmt.Println(v.NextAt)
	// Output:
	// false window
	// it is Mon 08:30 in America/Chicago, outside the calling hours
	// 2026-11-23 15:00:00 +0000 UTC
}

func ExampleZones() {
	fmt.Println(slices.Collect(slices.Values(Zones("+15412345678"))))
	// Output: [America/Denver America/Los_Angeles]
}
