package compliance

import (
	"fmt"
	"strings"
	"time"
)

// dialGuard keeps a call from being answered after the hours have ended.
const dialGuard = time.Minute

// Check says whether a call may be placed at now. It fails closed: what is not
// known refuses. It must be asked again in the moment before the call.
//
// The order is: the number, its zones, do-not-call, the attempt cap, the hours
// in every zone, the day cap. A refusal that time cures says in NextAt the
// earliest time at which hours and day cap both allow the call.
func Check(c Candidate, now time.Time) Verdict {
	if !c.callable() {
		return refuse("number", "%s is not a number that may be called", c.Number.Masked())
	}
	places, verdict := c.places(now)
	if places == nil {
		return verdict
	}
	if c.OnDNC != "" {
		return refuse("dnc", "the number is on the do-not-call list %q", c.OnDNC)
	}
	if c.MaxAttempts > 0 && c.Attempts >= c.MaxAttempts {
		return refuse("attempt-cap", "the lead was called %d times, the most is %d", c.Attempts, c.MaxAttempts)
	}
	for _, place := range places {
		if !c.within(now.In(place)) {
			v := refuse("window", "it is %s in %s, outside the calling hours", now.In(place).Format("Mon 15:04"), place)
			v.NextAt = c.next(places, now)
			return v
		}
	}
	for _, place := range places {
		if n := c.on(now.In(place)); c.MaxPerDay > 0 && n >= c.MaxPerDay {
			v := refuse("day-cap", "the lead was called %d times today (%s), the most is %d", n, place, c.MaxPerDay)
			v.NextAt = c.next(places, now)
			return v
		}
	}
	return Verdict{Allowed: true}
}

// callable reports whether there may be a person behind the number.
func (c Candidate) callable() bool {
	if !c.NumberRead {
		if _, err := ParseNumber(string(c.Number), ""); err != nil {
			return false
		}
	}
	return c.Number.Valid()
}

func refuse(rule, format string, args ...any) Verdict {
	return Verdict{Rule: rule, Reason: fmt.Sprintf(format, args...)}
}

// places returns the zones that all must allow the call, or none and why.
func (c Candidate) places(now time.Time) ([]*time.Location, Verdict) {
	names := Zones(c.Number)
	if c.Zone != "" {
		names = []string{c.Zone}
	}
	if len(names) == 0 {
		return nil, refuse("zone", "the time zone of %s is not known: set the lead's zone", c.Number.Masked())
	}
	places := make([]*time.Location, len(names))
	for i, name := range names {
		loc, err := location(name)
		if err != nil {
			return nil, refuse("zone", "%v", err)
		}
		if stale(name, now) {
			return nil, refuse("zone", "the time zone data of this machine is out of date for %s", name)
		}
		places[i] = loc
	}
	return places, Verdict{}
}

// within reports whether the hours allow a call at t in t's location.
func (c Candidate) within(t time.Time) bool {
	return c.Hours.Open(t) && c.Hours.Open(t.Add(dialGuard))
}

// on counts the attempts on the date of t in t's location.
func (c Candidate) on(t time.Time) int {
	y, m, d := t.Date()
	n := 0
	for _, past := range c.Recent {
		if py, pm, pd := past.In(t.Location()).Date(); py == y && pm == m && pd == d {
			n++
		}
	}
	return n
}

// next returns the earliest time from now on at which every place is open and
// below the day cap; zero when there is none in the time searched. Each place
// in turn moves the time to its own next chance until none has to.
func (c Candidate) next(places []*time.Location, now time.Time) time.Time {
	t, agreed := now, 0
	for i := 0; agreed < len(places); i = (i + 1) % len(places) {
		at := c.nextIn(t.In(places[i]))
		if at.IsZero() || at.Sub(now) > searchSpan {
			return time.Time{}
		}
		if at.Equal(t) {
			agreed++
			continue
		}
		t, agreed = at, 1
	}
	return t.UTC()
}

// nextIn is the earliest time from t on that t's location allows.
func (c Candidate) nextIn(t time.Time) time.Time {
	end := t.Add(searchSpan)
	for {
		open := c.Hours.NextOpen(t)
		switch {
		case open.IsZero() || open.After(end):
			return time.Time{}
		case !c.Hours.Open(open.Add(dialGuard)):
			// The hours end within the guard, and stay closed for at least its length.
			t = open.Add(dialGuard)
		case c.MaxPerDay > 0 && c.on(open) >= c.MaxPerDay:
			t = nextDate(open)
		default:
			return open
		}
	}
}

// Rules describes in one line what Check applies, for the record of a call.
func (c Candidate) Rules() string {
	var b strings.Builder
	fmt.Fprintf(&b, "hours %s", c.Hours)
	if c.MaxPerDay > 0 {
		fmt.Fprintf(&b, ", at most %d a day", c.MaxPerDay)
	}
	if c.MaxAttempts > 0 {
		fmt.Fprintf(&b, ", at most %d in all", c.MaxAttempts)
	}
	return b.String()
}
