package campaign

import (
	"time"

	"dialer/compliance"
)

// legal is what the law counts of a campaign's current period, as the pacer sees
// it: never fewer abandoned and never more answered than is true. The store is
// the truth, but it is asked only now and then and its queue may lag behind; so
// what this process has seen is kept beside it.
type legal struct {
	since  time.Time // begin of the period
	known  bool      // the store was asked
	mine   figures   // the first look at the store, and all seen since
	polled figures   // the last look at it
	recent []seen    // what the last look may not have shown
}

type figures struct{ answered, abandoned int }

type seen struct {
	at       time.Time
	answered int // +1, or -1 for a correction
}

// saveLag is how long after its event a saved row may take to be seen.
const saveLag = 10 * time.Second

// look takes in what the store says; at is when it was asked.
func (l *legal) look(t compliance.Tally, since, at time.Time) {
	l.polled = figures{t.Answered(), t.Abandoned()}
	if !l.known || !l.since.Equal(since) {
		*l = legal{since: since, known: true, mine: l.polled, polled: l.polled}
		return
	}
	keep := l.recent[:0]
	for _, s := range l.recent {
		if at.Sub(s.at) < saveLag {
			keep = append(keep, s)
		}
	}
	l.recent = keep
}

// count takes in that a call changes from one class, or none, to another.
func (l *legal) count(from, to compliance.Class, at time.Time) {
	step := func(was, is bool) int {
		switch {
		case !was && is:
			return 1
		case was && !is:
			return -1
		}
		return 0
	}
	answered := step(from.Answered(), to.Answered())
	l.mine.answered += answered
	l.mine.abandoned += step(from.Abandoned(), to.Abandoned())
	if answered != 0 {
		l.recent = append(l.recent, seen{at, answered})
	}
}

// figures are what the pacer may count on.
func (l *legal) figures() figures {
	polled := l.polled.answered
	for _, s := range l.recent {
		polled += max(s.answered, 0)
	}
	return figures{
		answered:  max(0, min(l.mine.answered, polled)),
		abandoned: max(0, l.mine.abandoned, l.polled.abandoned),
	}
}

// periodStart is the begin of the campaign's window that holds now: of its 30-day
// period (16 CFR 310.4(b)(4)(i)), or of the day in its zone.
func periodStart(c Campaign, now time.Time) time.Time {
	start := c.StartedAt
	if start.IsZero() {
		start = c.CreatedAt
	}
	zone, err := time.LoadLocation(c.Settings.Zone)
	if err != nil {
		zone = time.UTC // Validate refuses it; here it must not stop the count
	}
	if start.IsZero() || start.After(now) {
		return start
	}
	if c.Settings.AbandonWindow == WindowDay {
		year, month, day := now.In(zone).Date()
		return time.Date(year, month, day, 0, 0, 0, 0, zone)
	}
	return compliance.PeriodStart(start, compliance.Period(start, now, zone), zone)
}
