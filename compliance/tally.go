package compliance

import (
	"math"
	"time"
)

// RateFormula names, for reports, how Rate is computed.
const RateFormula = "(late + abandoned_msg + abandoned_silent) / " +
	"(connected + late + abandoned_msg + abandoned_silent + callee_early)"

// A Tally counts attempts by class. The zero value is empty.
type Tally struct {
	ByClass map[Class]int `json:"by_class"`
}

// Add counts one attempt.
func (t *Tally) Add(c Class) { t.AddN(c, 1) }

// AddN counts n attempts.
func (t *Tally) AddN(c Class, n int) {
	if t.ByClass == nil {
		t.ByClass = make(map[Class]int)
	}
	t.ByClass[c] += n
}

// Answered is the number of calls answered by a person: the denominator.
func (t Tally) Answered() int { return t.sum(Class.Answered) }

// Abandoned is the number of these that no agent took in time: the numerator.
func (t Tally) Abandoned() int { return t.sum(Class.Abandoned) }

// Attempts is the number of all attempts.
func (t Tally) Attempts() int { return t.sum(func(Class) bool { return true }) }

func (t Tally) sum(in func(Class) bool) int {
	total := 0
	for c, n := range t.ByClass {
		if in(c) {
			total += n
		}
	}
	return total
}

// Rate returns numerator, denominator and their quotient, which is nil when
// nobody answered: that is no rate, and not 0 %.
func (t Tally) Rate() (abandoned, answered int, rate *float64) {
	abandoned, answered = t.Abandoned(), t.Answered()
	if answered > 0 {
		r := float64(abandoned) / float64(answered)
		rate = &r
	}
	return abandoned, answered, rate
}

// million is the scale of a cap: a share is compared in millionths, so that no
// rounding decides.
const million = 1_000_000

func millionths(limit float64) int64 {
	switch {
	case !(limit > 0): // a cap that is not a number allows nothing
		return 0
	case limit >= 1:
		return million
	}
	return int64(math.Round(limit * million))
}

// WithinCap reports whether the tally is within the cap, a share such as 0.03:
// 3 of 100 is within 3 %, 4 of 133 is not, although it prints as 3.0 %.
func (t Tally) WithinCap(limit float64) bool {
	return int64(t.Abandoned())*million <= millionths(limit)*int64(t.Answered())
}

// Allowance is how many of the calls that are answered next may be abandoned:
// the greatest n for which abandoned+n of answered+n is within the cap. It is
// negative when too many were abandoned already.
func (t Tally) Allowance(limit float64) int {
	c := millionths(limit)
	if c == million {
		return math.MaxInt32 // every call may be abandoned
	}
	abandoned, answered := int64(t.Abandoned()), int64(t.Answered())
	return int(floorDiv(c*answered-abandoned*million, million-c))
}

// WarmUp reports whether too few people have answered for even one call to be
// abandoned within the cap: then every call needs an agent of its own. With a
// cap of 3 % and none abandoned it holds until 33 people have answered.
func (t Tally) WarmUp(limit float64) bool { return t.Allowance(limit) < 1 }

// Period returns which successive 30-day period of a campaign t falls into, 0
// for the first, by calendar dates in the campaign's zone and not by hours. It
// is negative before the start.
func Period(start, t time.Time, zone *time.Location) int {
	return int(floorDiv(dayNumber(t.In(zone))-dayNumber(start.In(zone)), periodDays))
}

// PeriodStart returns the first moment of a period.
func PeriodStart(start time.Time, period int, zone *time.Location) time.Time {
	y, m, d := start.In(zone).Date()
	before := time.Date(y, m, d+period*periodDays-1, 12, 0, 0, 0, zone)
	return nextDate(before)
}

// periodDays is the length of a period (16 CFR 310.4(b)(4)(i)).
const periodDays = 30

// dayNumber counts the days of t's date since 1970.
func dayNumber(t time.Time) int64 {
	y, m, d := t.Date()
	return floorDiv(time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix(), 24*60*60)
}

// floorDiv divides towards minus infinity; b is positive.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
