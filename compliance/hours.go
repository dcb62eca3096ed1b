package compliance

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"dialer"
)

// WeeklyHours says when calls may be placed, by the wall clock of the person
// who is called. The zero value is never open.
//
// Its text, which is also its JSON string, reads
// "Mon-Fri 09:00-13:00,14:00-20:00; Sat 10:00-14:00", or "closed".
type WeeklyHours struct {
	days [7][]interval // by time.Weekday, in order, not touching
}

// An interval is a part of a day in minutes after midnight, half-open: from
// 540 to 1200 allows 09:00:00 and not 20:00:00. to is at most 1440.
type interval struct{ from, to int }

// Default is 09:00 to 20:00 from Monday to Saturday.
var Default = func() (w WeeklyHours) {
	for day := time.Monday; day <= time.Saturday; day++ {
		w.days[day] = []interval{{9 * 60, 20 * 60}}
	}
	return w
}()

// closed is the text of hours that never open.
const closed = "closed"

// week lists the days as people write them, Monday first.
var week = [...]time.Weekday{
	time.Monday, time.Tuesday, time.Wednesday, time.Thursday, time.Friday, time.Saturday, time.Sunday,
}

// ParseHours reads the text of a WeeklyHours. The error is a *dialer.Error.
func ParseHours(s string) (WeeklyHours, error) {
	var w WeeklyHours
	err := w.UnmarshalText([]byte(s))
	return w, err
}

// UnmarshalText reads the form that MarshalText writes. The error is a *dialer.Error.
func (w *WeeklyHours) UnmarshalText(text []byte) error {
	if len(text) > 1000 {
		return dialer.Errorf(dialer.Invalid, "the calling hours have %d characters, more than 1000", len(text))
	}
	s := strings.TrimSpace(string(text))
	if s == "" {
		return dialer.Errorf(dialer.Invalid, `the calling hours are empty: write for example "Mon-Sat 09:00-20:00", or "closed"`)
	}
	var got WeeklyHours
	got.days[time.Sunday] = []interval{} // closed on purpose, which is not the zero value
	if strings.EqualFold(s, closed) {
		*w = got
		return nil
	}
	var named [7]bool
	for part := range strings.SplitSeq(s, ";") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		days, hours, ok := strings.Cut(part, " ")
		if !ok {
			return dialer.Errorf(dialer.Invalid, `calling hours %q: write days, a space and hours, such as "Mon-Sat 09:00-20:00"`, part)
		}
		on, err := parseDays(days)
		if err != nil {
			return err
		}
		intervals, err := parseIntervals(hours)
		if err != nil {
			return err
		}
		for _, day := range on {
			if named[day] {
				return dialer.Errorf(dialer.Invalid, "calling hours: %s is named twice", abbreviate(day))
			}
			named[day], got.days[day] = true, intervals
		}
	}
	*w = got
	return nil
}

// parseDays reads "Mon", "Mon-Sat" or "Sat,Sun".
func parseDays(s string) ([]time.Weekday, error) {
	var days []time.Weekday
	for item := range strings.SplitSeq(s, ",") {
		from, to, isRange := strings.Cut(item, "-")
		i, err := parseDay(from)
		if err != nil {
			return nil, err
		}
		j := i
		if isRange {
			if j, err = parseDay(to); err != nil {
				return nil, err
			}
			if j < i {
				return nil, dialer.Errorf(dialer.Invalid, "calling hours: %q runs backwards, the week begins on Mon", item)
			}
		}
		days = append(days, week[i:j+1]...)
	}
	return days, nil
}

// parseDay returns the index of a day in week.
func parseDay(s string) (int, error) {
	for i, day := range week {
		if strings.EqualFold(s, abbreviate(day)) || strings.EqualFold(s, day.String()) {
			return i, nil
		}
	}
	return 0, dialer.Errorf(dialer.Invalid, "calling hours: %q is not a day, use Mon Tue Wed Thu Fri Sat Sun", s)
}

func abbreviate(day time.Weekday) string { return day.String()[:3] }

// parseIntervals reads "closed" or "09:00-13:00,14:00-20:00".
func parseIntervals(s string) ([]interval, error) {
	s = strings.TrimSpace(s)
	list := []interval{}
	if strings.EqualFold(s, closed) {
		return list, nil
	}
	for item := range strings.SplitSeq(s, ",") {
		item = strings.TrimSpace(item)
		from, to, ok := strings.Cut(item, "-")
		start, ok1 := parseMinute(from)
		end, ok2 := parseMinute(to)
		switch {
		case !ok || !ok1 || !ok2:
			return nil, dialer.Errorf(dialer.Invalid, `calling hours: %q is not of the form "09:00-20:00"`, item)
		case end <= start:
			return nil, dialer.Errorf(dialer.Invalid, "calling hours: %q ends before it begins; hours past midnight belong to the next day", item)
		}
		list = append(list, interval{start, end})
	}
	slices.SortFunc(list, func(a, b interval) int { return a.from - b.from })
	for i := 1; i < len(list); i++ {
		if list[i].from <= list[i-1].to {
			return nil, dialer.Errorf(dialer.Invalid, "calling hours: %s and %s touch or overlap, write them as one", list[i-1], list[i])
		}
	}
	return list, nil
}

// parseMinute reads "09:30"; "24:00" is the end of the day.
func parseMinute(s string) (minute int, ok bool) {
	if len(s) != 5 || s[2] != ':' {
		return 0, false
	}
	for _, i := range [...]int{0, 1, 3, 4} {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	h, m := int(s[0]-'0')*10+int(s[1]-'0'), int(s[3]-'0')*10+int(s[4]-'0')
	return h*60 + m, m < 60 && (h < 24 || h == 24 && m == 0)
}

// String returns "09:00-20:00".
func (i interval) String() string {
	return fmt.Sprintf("%02d:%02d-%02d:%02d", i.from/60, i.from%60, i.to/60, i.to%60)
}

// String returns the text that ParseHours reads; neighbouring days with the
// same hours are written as one range.
func (w WeeklyHours) String() string {
	var parts []string
	for i := 0; i < len(week); {
		j := i
		for j+1 < len(week) && slices.Equal(w.days[week[j+1]], w.days[week[i]]) {
			j++
		}
		if hours := w.days[week[i]]; len(hours) > 0 {
			days := abbreviate(week[i])
			if j > i {
				days += "-" + abbreviate(week[j])
			}
			texts := make([]string, len(hours))
			for k, h := range hours {
				texts[k] = h.String()
			}
			parts = append(parts, days+" "+strings.Join(texts, ","))
		}
		i = j + 1
	}
	if len(parts) == 0 {
		return closed
	}
	return strings.Join(parts, "; ")
}

// MarshalText writes String.
func (w WeeklyHours) MarshalText() ([]byte, error) { return []byte(w.String()), nil }

// IsZero reports whether the hours were never set. Hours that were set to
// "closed" are not zero, although both allow no call.
func (w WeeklyHours) IsZero() bool {
	for _, day := range w.days {
		if day != nil {
			return false
		}
	}
	return true
}

// Equal reports whether both allow the same hours.
func (w WeeklyHours) Equal(v WeeklyHours) bool {
	for day := range w.days {
		if !slices.Equal(w.days[day], v.days[day]) {
			return false
		}
	}
	return true
}

// Open reports whether t, read by the clock of its own location, is inside the hours.
func (w WeeklyHours) Open(t time.Time) bool {
	hour, minute, _ := t.Clock()
	now := hour*60 + minute
	for _, i := range w.days[t.Weekday()] {
		if i.from <= now && now < i.to {
			return true
		}
	}
	return false
}

// searchSpan is how far NextOpen looks: two weeks, since hours that fall into
// the skipped hour of one week exist in the next.
const searchSpan = 15 * 24 * time.Hour

// NextOpen returns the earliest time from t on that is inside the hours, in t's
// location, or the zero time when they never open.
//
// Between two changes of the clock the wall time runs evenly, so the search is
// done in each such stretch by itself.
func (w WeeklyHours) NextOpen(t time.Time) time.Time {
	for end := t.Add(searchSpan); t.Before(end); {
		_, change := t.ZoneBounds()
		if wait, ok := w.waitFrom(t); ok {
			if at := t.Add(wait); change.IsZero() || at.Before(change) {
				return at
			}
		}
		if change.IsZero() {
			break
		}
		t = change
	}
	return time.Time{}
}

// waitFrom returns how long after t the hours open if the clock does not change.
func (w WeeklyHours) waitFrom(t time.Time) (time.Duration, bool) {
	sinceMidnight := timeOfDay(t)
	for d := range 8 {
		for _, i := range w.days[(int(t.Weekday())+d)%7] {
			day := time.Duration(d) * 24 * time.Hour
			from := day + time.Duration(i.from)*time.Minute
			to := day + time.Duration(i.to)*time.Minute
			if sinceMidnight < to {
				return max(from-sinceMidnight, 0), true
			}
		}
	}
	return 0, false
}

// timeOfDay is what the wall clock shows, as a duration after midnight.
func timeOfDay(t time.Time) time.Duration {
	hour, minute, second := t.Clock()
	return time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute +
		time.Duration(second)*time.Second + time.Duration(t.Nanosecond())
}

// nextDate returns the earliest time after t whose date, in t's location, is
// not that of t.
func nextDate(t time.Time) time.Time {
	y, m, d := t.Date()
	for range 4 {
		midnight := t.Add(24*time.Hour - timeOfDay(t))
		_, change := t.ZoneBounds()
		if change.IsZero() || midnight.Before(change) {
			return midnight
		}
		t = change // midnight may be skipped or come twice
		if cy, cm, cd := t.Date(); cy != y || cm != m || cd != d {
			return t
		}
	}
	return t
}
