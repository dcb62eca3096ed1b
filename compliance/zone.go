package compliance

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	_ "time/tzdata" // where the host has no zone data

	"github.com/nyaruka/phonenumbers"

	"dialer"
)

// mostZones is the number of candidate zones above which nothing is known of
// the place: toll-free numbers return every zone of a continent.
const mostZones = 12

// zoneRules replace what the prefix data says of a number. The longest prefix wins.
var zoneRules = map[string][]string{
	// Yukon left America/Vancouver's clock in 2020; the code also serves Nunavut
	// and the Northwest Territories.
	"+1867": {"America/Whitehorse", "America/Edmonton", "America/Rankin_Inlet", "America/Iqaluit"},
	// The Navajo Nation keeps daylight saving, the rest of Arizona does not.
	"+1928": {"America/Phoenix", "America/Denver"},
	// Queensland has no daylight saving, the border towns of New South Wales do.
	"+617": {"Australia/Brisbane", "Australia/Sydney"},
	"+618": {"Australia/Adelaide", "Australia/Darwin", "Australia/Perth"},
	// Mobile numbers belong to a country and not to the city of their first
	// owner. Australia's are without the external territories.
	"+614": {
		"Australia/Perth", "Australia/Darwin", "Australia/Adelaide", "Australia/Brisbane",
		"Australia/Sydney", "Australia/Melbourne", "Australia/Hobart",
	},
	"+346": {"Europe/Madrid", "Atlantic/Canary"},
	"+347": {"Europe/Madrid", "Atlantic/Canary"},
	"+569": {"America/Santiago", "America/Punta_Arenas", "Pacific/Easter"},
	"+628": {"Asia/Jakarta", "Asia/Makassar", "Asia/Jayapura"},
	"+79": {
		"Europe/Kaliningrad", "Europe/Moscow", "Europe/Samara", "Asia/Yekaterinburg", "Asia/Omsk",
		"Asia/Novosibirsk", "Asia/Irkutsk", "Asia/Yakutsk", "Asia/Vladivostok", "Asia/Magadan", "Asia/Kamchatka",
	},
}

// overlays name, for an area code, another that serves the same region and whose
// prefixes are better known.
var overlays = map[string]string{
	"+1208": "+1986",                                     // Idaho
	"+1236": "+1250", "+1672": "+1250", "+1778": "+1250", // British Columbia
	"+1364": "+1270",                   // Kentucky
	"+1367": "+1418", "+1581": "+1418", // Quebec
	"+1448": "+1850", // Florida
	"+1458": "+1541", // Oregon
	"+1930": "+1812", // Indiana
}

// areaCodes remembers the zones of North American area codes, which never
// change while the program runs.
var areaCodes sync.Map // "+1541" → []string

// Zones returns every IANA zone in which the called person may be, sorted, or
// none when that is not known; then the number may not be called.
//
// A North American number counts for its whole area code, since the finer
// prefixes are incomplete and numbers move with their owners.
func Zones(n dialer.Number) []string {
	if !n.Valid() {
		return nil
	}
	for l := len("+1867"); l >= len("+79"); l-- {
		if zones, ok := zoneRules[string(n[:min(l, len(n))])]; ok {
			return slices.Sorted(slices.Values(zones))
		}
	}
	if strings.HasPrefix(string(n), "+1") && len(n) == len("+12015550123") {
		return slices.Clone(areaCodeZones(string(n[:len("+1201")])))
	}
	return known(prefixZones(string(n)))
}

// areaCodeZones is the union over all exchanges of an area code.
func areaCodeZones(code string) []string {
	if zones, ok := areaCodes.Load(code); ok {
		return zones.([]string)
	}
	var all []string
	for _, c := range [...]string{code, overlays[code]} {
		if c == "" {
			continue
		}
		for exchange := range 1000 {
			zones := prefixZones(fmt.Sprintf("%s%03d", c, exchange))
			if len(zones) > mostZones {
				continue // nothing is known of this exchange; others tell of the code
			}
			for _, z := range zones {
				if !slices.Contains(all, z) {
					all = append(all, z)
				}
			}
		}
	}
	all = known(all)
	areaCodes.Store(code, all)
	return all
}

func prefixZones(prefix string) []string {
	zones, err := phonenumbers.GetTimezonesForPrefix(prefix)
	if err != nil {
		return nil
	}
	return zones
}

// known returns the zones sorted, or none when they say nothing of the place.
func known(zones []string) []string {
	if len(zones) == 0 || len(zones) > mostZones || slices.Contains(zones, phonenumbers.UNKNOWN_TIMEZONE) {
		return nil
	}
	return slices.Sorted(slices.Values(zones))
}

// locations remembers loaded zones: loading one reads a file.
var locations sync.Map // name → *time.Location

// location loads a zone; "Local" and the empty name are not zones of a person.
func location(name string) (*time.Location, error) {
	if loc, ok := locations.Load(name); ok {
		return loc.(*time.Location), nil
	}
	if name == "" || name == "Local" {
		return nil, fmt.Errorf("%q is not an IANA time zone", name)
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("%q is not an IANA time zone", name)
	}
	locations.Store(name, loc)
	return loc, nil
}

// A landmark is a change of clocks that old zone data does not know.
type landmark struct {
	zone   string
	at     time.Time
	offset time.Duration
}

// landmarks grows with each change of law; the date says since when zone data
// that does not know it permits calls at forbidden hours.
var landmarks = []landmark{
	// British Columbia keeps daylight saving time all year since March 2026.
	{"America/Vancouver", time.Date(2026, 11, 15, 12, 0, 0, 0, time.UTC), -7 * time.Hour},
	// Mexico gave up daylight saving in 2022, Jordan and Kazakhstan changed later.
	{"America/Mexico_City", time.Date(2023, 7, 1, 12, 0, 0, 0, time.UTC), -6 * time.Hour},
	{"Asia/Amman", time.Date(2023, 1, 15, 12, 0, 0, 0, time.UTC), 3 * time.Hour},
	{"Asia/Almaty", time.Date(2024, 7, 1, 12, 0, 0, 0, time.UTC), 5 * time.Hour},
	{"America/New_York", time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC), -4 * time.Hour},
	{"Europe/London", time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC), 0},
}

// staleMargin is how long before a landmark its zone is already doubted, so
// that no call planned ahead relies on it.
const staleMargin = 270 * 24 * time.Hour

// ZoneSelfTest tells which zones this machine has outdated data for at now. Its
// error is for the log and the health page; Check refuses those zones anyway.
func ZoneSelfTest(now time.Time) error {
	var wrong []string
	for _, m := range landmarks {
		if stale(m.zone, now) {
			wrong = append(wrong, m.zone)
		}
	}
	if wrong == nil {
		return nil
	}
	return fmt.Errorf("the time zone data is out of date for %s: numbers there will not be called; "+
		"update the package tzdata, or set ZONEINFO to a newer zone file", strings.Join(wrong, ", "))
}

// stale reports whether the zone's data contradicts a landmark that matters at now.
func stale(zone string, now time.Time) bool {
	for _, m := range landmarks {
		if m.zone != zone || now.Before(m.at.Add(-staleMargin)) {
			continue
		}
		loc, err := location(zone)
		if err != nil {
			return true
		}
		if _, offset := m.at.In(loc).Zone(); time.Duration(offset)*time.Second != m.offset {
			return true
		}
	}
	return false
}
