package compliance

import (
	"slices"
	"strings"
	"testing"
	"time"

	"dialer"
)

// monday is 2026-11-23 15:00 UTC, 10:00 in New York.
var monday = time.Date(2026, 11, 23, 15, 0, 0, 0, time.UTC)

func TestZones(t *testing.T) {
	for n, want := range map[dialer.Number]string{
		"+12125550123":   "America/New_York",
		"+12192345678":   "America/Chicago America/New_York", // Gary, Indiana
		"+15412345678":   "America/Denver America/Los_Angeles",
		"+14582345678":   "America/Denver America/Los_Angeles", // overlay of 541
		"+18502345678":   "America/Chicago America/New_York",
		"+12082345678":   "America/Boise America/Denver America/Los_Angeles",
		"+19286741234":   "America/Denver America/Phoenix", // Navajo Nation
		"+19287791234":   "America/Denver America/Phoenix", // Flagstaff, whose mobiles move
		"+17782345678":   "America/Edmonton America/Vancouver",
		"+61740310000":   "Australia/Brisbane Australia/Sydney",
		"+442079460958":  "Europe/London",
		"+33612345678":   "Europe/Paris",
		"+34928123456":   "Atlantic/Canary",
		"+34612345678":   "Atlantic/Canary Europe/Madrid",
		"+262692123456":  "Indian/Reunion",
		"+18005551234":   "", // toll free: anywhere
		"+15005550000":   "",
		"+8816123456789": "",
		"not a number":   "",
	} {
		if got := strings.Join(Zones(n), " "); got != want {
			t.Errorf("Zones(%s) = %q, want %q", n, got, want)
		}
	}
	if z := Zones("+18673931234"); !slices.Contains(z, "America/Whitehorse") || slices.Contains(z, "America/Vancouver") {
		t.Errorf("Yukon: %v", z)
	}
	if z := Zones("+79121234567"); len(z) < 5 {
		t.Errorf("a Russian mobile number is only in %v", z)
	}
}

func TestZonesAreNotShared(t *testing.T) {
	Zones("+12192345678")[0] = "spoilt"
	if z := Zones("+12192345678"); z[0] == "spoilt" {
		t.Error("a caller can change what the next one gets")
	}
}

// TestZoneSelfTest: numbers of a zone whose data is outdated are refused, and
// the self-test says so; with good data neither happens.
func TestZoneSelfTest(t *testing.T) {
	loc, err := time.LoadLocation("America/Vancouver")
	if err != nil {
		t.Fatal(err)
	}
	_, offset := time.Date(2026, 11, 15, 12, 0, 0, 0, time.UTC).In(loc).Zone()
	outdated := offset != -7*60*60
	if err := ZoneSelfTest(monday); (err != nil) != outdated {
		t.Errorf("outdated data: %v, self-test: %v", outdated, err)
	} else if err != nil && !strings.Contains(err.Error(), "America/Vancouver") {
		t.Errorf("the self-test does not name the zone: %v", err)
	}
	v := Check(Candidate{Number: "+16042345678", Hours: Default}, time.Date(2026, 11, 23, 20, 0, 0, 0, time.UTC))
	if v.Allowed == outdated {
		t.Errorf("outdated data: %v, verdict: %+v", outdated, v)
	}
	if err := ZoneSelfTest(time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)); err != nil {
		t.Errorf("years before the change: %v", err)
	}
}
