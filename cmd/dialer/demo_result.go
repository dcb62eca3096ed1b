package main

import (
	"slices"
	"strings"
	"time"

	"dialer/api"
	"dialer/campaign"
	"dialer/compliance"
	"dialer/telephony/siptrunk/siptest"
)

// percentiles by nearest rank, in milliseconds.
type percentiles struct {
	P50 int64 `json:"p50"`
	P95 int64 `json:"p95"`
	P99 int64 `json:"p99"`
}

// demoResult is the last line of dialer demo --json. The counts of what went
// wrong compare the dialer's records with the carrier's own ledger.
type demoResult struct {
	Placed         int            `json:"placed"`
	AnsweredPerson int            `json:"answered_person"`
	Connected      int            `json:"connected"`
	Abandoned      int            `json:"abandoned"`
	AbandonRate    *float64       `json:"abandon_rate"` // null when no person answered
	AbandonCap     float64        `json:"abandon_cap"`
	Occupancy      *float64       `json:"occupancy"`
	AnswerToAgent  percentiles    `json:"answer_to_agent_ms"`
	VerdictToAgent percentiles    `json:"verdict_to_agent_ms"`
	Outcomes       map[string]int `json:"outcomes"`
	Classes        map[string]int `json:"classes"`

	// Unaccounted: INVITEs that the carrier saw without exactly one call
	// record, and records that say they were sent without an INVITE seen.
	Unaccounted int `json:"unaccounted"`
	// DoubleDialed: numbers that the carrier saw in two calls at once.
	DoubleDialed int `json:"double_dialed"`
	// AgentsInTwoCalls: agents whose talks overlap, or whose phone had two calls.
	AgentsInTwoCalls int `json:"agents_in_two_calls"`
	// CarrierOpen: calls still up at the carrier after the end.
	CarrierOpen int     `json:"carrier_open"`
	FirstCall   float64 `json:"first_call_s"` // since the start
	Seconds     float64 `json:"seconds"`
}

// sumUp compares the dialer's records of a campaign with the carrier's ledger.
func sumUp(calls []api.CallView, ledger []siptest.CallRecord, phones []siptest.PhoneState) demoResult {
	r := demoResult{Outcomes: map[string]int{}, Classes: map[string]int{}}
	var toAgent, sinceVerdict []int64
	tally := compliance.Tally{ByClass: map[compliance.Class]int{}}
	sent := map[string]int{}
	for _, c := range calls {
		if c.SentAt != nil {
			sent[string(c.ID)]++
			r.Placed++
		}
		if c.Outcome != "" {
			r.Outcomes[string(c.Outcome)]++
			r.Classes[string(c.Class)]++
			tally.ByClass[c.Class]++
		}
		if c.ConnectedAt == nil {
			continue
		}
		r.Connected++
		if c.AnsweredAt != nil {
			toAgent = append(toAgent, c.ConnectedAt.Sub(*c.AnsweredAt).Milliseconds())
		}
		if c.DecidedAt != nil {
			sinceVerdict = append(sinceVerdict, c.ConnectedAt.Sub(*c.DecidedAt).Milliseconds())
		}
	}
	r.AnsweredPerson, r.Abandoned = tally.Answered(), tally.Abandoned()
	if r.AnsweredPerson > 0 {
		rate := float64(r.Abandoned) / float64(r.AnsweredPerson)
		r.AbandonRate = &rate
	}
	r.AnswerToAgent, r.VerdictToAgent = rank(toAgent), rank(sinceVerdict)

	for _, l := range ledger {
		id, _, _ := strings.Cut(l.CallID, "@")
		if sent[id] == 1 {
			delete(sent, id)
		} else {
			r.Unaccounted++
		}
	}
	r.Unaccounted += len(sent)
	r.DoubleDialed = overlapping(ledger, func(l siptest.CallRecord) (string, time.Time, time.Time) {
		return l.To, l.ArrivedAt, l.EndedAt
	})
	r.AgentsInTwoCalls = overlapping(calls, func(c api.CallView) (string, time.Time, time.Time) {
		if c.ConnectedAt == nil || c.EndedAt == nil {
			return "", time.Time{}, time.Time{}
		}
		return string(c.Agent), *c.ConnectedAt, *c.EndedAt
	})
	for _, p := range phones {
		if p.MostCalls > 1 {
			r.AgentsInTwoCalls++
		}
	}
	for _, l := range ledger {
		if l.Open() {
			r.CarrierOpen++
		}
	}
	return r
}

// rank returns percentiles by nearest rank.
func rank(ms []int64) percentiles {
	if len(ms) == 0 {
		return percentiles{}
	}
	slices.Sort(ms)
	at := func(p int) int64 { return ms[(len(ms)*p+99)/100-1] }
	return percentiles{at(50), at(95), at(99)}
}

// overlapping counts the items that begin before an earlier one of the same key
// has ended. An end that has not come lasts for ever; an empty key is left out.
func overlapping[T any](items []T, span func(T) (key string, from, to time.Time)) int {
	type stay struct{ from, to time.Time }
	by := map[string][]stay{}
	for _, it := range items {
		if key, from, to := span(it); key != "" {
			by[key] = append(by[key], stay{from, to})
		}
	}
	n := 0
	for _, stays := range by {
		slices.SortFunc(stays, func(a, b stay) int { return a.from.Compare(b.from) })
		for i := 1; i < len(stays); i++ {
			if prev := stays[i-1]; prev.to.IsZero() || stays[i].from.Before(prev.to) {
				n++
			}
		}
	}
	return n
}

// ok reports whether the run kept its promises.
func (r demoResult) ok() bool {
	return r.Unaccounted == 0 && r.DoubleDialed == 0 && r.AgentsInTwoCalls == 0 && r.CarrierOpen == 0 &&
		float64(r.Abandoned) <= r.AbandonCap*float64(r.AnsweredPerson) && r.Outcomes[string(campaign.OutcomeInterrupted)] == 0
}
