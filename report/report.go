// Package report turns records of calls into the figures that people and
// regulators read. It is pure: it takes facts and the moment of the report, and
// reads no clock, file or database.
//
// It does not decide what a call counts as; compliance does, when the call ends.
//
// Entry points: Abandon, AbandonReport.WriteCSV, AbandonReport.WriteText.
package report

import (
	"maps"
	"slices"
	"time"

	"dialer"
	"dialer/compliance"
)

// CallFacts is what a report needs of one attempt. Zero times did not happen; an
// empty Class means that the call is still up.
type CallFacts struct {
	Call       dialer.CallID
	To         dialer.Number
	Agent      dialer.AgentID // who had the call, if anyone
	PlacedAt   time.Time      // committed, just before the INVITE
	RingingAt  time.Time      // first 18x
	Times      compliance.Times
	EndedBy    string           // caller, callee or network
	Class      compliance.Class // as it was decided when the call ended
	AnsweredBy string           // person, machine, fax, unknown; empty when not answered
	// MessageAsset and MessageSHA name the abandoned-call message that was played.
	MessageAsset, MessageSHA string
}

// ringTime is how long the call rang, from the INVITE when no 18x came, and
// whether that is known.
func (c CallFacts) ringTime() (time.Duration, bool) {
	from, to := c.RingingAt, c.Times.Answer
	if from.IsZero() {
		from = c.PlacedAt
	}
	if to.IsZero() {
		to = c.Times.End
	}
	if from.IsZero() || to.Before(from) {
		return 0, false
	}
	return to.Sub(from), true
}

// Quantiles are by nearest rank: the smallest value that is not below the given
// share of all. Milliseconds.
type Quantiles struct {
	Count int   `json:"count"`
	P50   int64 `json:"p50"`
	P95   int64 `json:"p95"`
	P99   int64 `json:"p99"`
	Max   int64 `json:"max"`
}

// delays count how often each number of milliseconds occurred: exact, and no
// larger for more calls.
type delays map[int64]int

// quantiles are all zero when nothing occurred.
func (d delays) quantiles() (q Quantiles) {
	values := slices.Sorted(maps.Keys(d))
	for _, n := range d {
		q.Count += n
	}
	below := 0
	for _, ms := range values {
		before := below
		below += d[ms]
		for _, want := range []struct {
			percent int
			at      *int64
		}{{50, &q.P50}, {95, &q.P95}, {99, &q.P99}} {
			if rank := (want.percent*q.Count + 99) / 100; before < rank && rank <= below {
				*want.at = ms
			}
		}
		q.Max = ms
	}
	return q
}
