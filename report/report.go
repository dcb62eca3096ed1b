// Package report turns records of calls into the figures that people and
// regulators read. It is pure: it takes facts and the moment of the report, and
// reads no clock, file or database.
//
// It does not decide what a call counts as; compliance does, when the call ends.
//
// Entry points: Abandon, AbandonReport.WriteCSV, AbandonReport.WriteText.
package report

import (
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

// QuantilesOf sorts ms and returns its quantiles, all zero when it is empty.
func QuantilesOf(ms []int64) Quantiles {
	if len(ms) == 0 {
		return Quantiles{}
	}
	slices.Sort(ms)
	rank := func(percent int) int64 { return ms[(percent*len(ms)+99)/100-1] }
	return Quantiles{Count: len(ms), P50: rank(50), P95: rank(95), P99: rank(99), Max: ms[len(ms)-1]}
}
