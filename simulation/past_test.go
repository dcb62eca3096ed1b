package simulation

import (
	"testing"
	"time"

	"dialer/campaign"
	"dialer/pacing/simulate"
)

// TestPastCall: what a record counts as, and what is left out.
func TestPastCall(t *testing.T) {
	at := func(s float64) time.Time {
		return time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC).Add(time.Duration(s * float64(time.Second)))
	}
	base := campaign.Call{PlacedAt: at(0), SentAt: at(1), EndedAt: at(100)}
	for _, c := range []struct {
		name   string
		change func(*campaign.Call)
		want   simulate.PastCall
		out    bool
	}{
		{"a talk", func(c *campaign.Call) {
			c.Outcome, c.AnsweredAt, c.GreetingEndAt, c.DecidedAt, c.ConnectedAt = "connected", at(9), at(10), at(11), at(12)
		}, simulate.PastCall{End: simulate.PastPerson, Ring: 8, Greeting: 1, Detect: 2, Talk: 88}, false},
		{"abandoned", func(c *campaign.Call) { c.Outcome, c.AnsweredAt = "abandoned", at(5) },
			simulate.PastCall{End: simulate.PastPerson, Ring: 4, Greeting: -1, Detect: -1, Talk: -1}, false},
		{"a machine that an agent met", func(c *campaign.Call) {
			c.Outcome, c.AnsweredBy, c.AnsweredAt, c.ConnectedAt = "connected", "machine", at(21), at(95)
		}, simulate.PastCall{End: simulate.PastMachine, Ring: 20, Greeting: -1, Detect: -1, Talk: 5}, false},
		{"rang out", func(c *campaign.Call) { c.Outcome = "no-answer" }, simulate.PastCall{End: simulate.PastRangOut, Ring: 99, Greeting: -1, Detect: -1, Talk: -1}, false},
		{"congestion, never sent", func(c *campaign.Call) { c.Outcome, c.SentAt = "congestion", time.Time{} },
			simulate.PastCall{End: simulate.PastRefused, Ring: 100, Greeting: -1, Detect: -1, Talk: -1}, false},
		{"given up by us", func(c *campaign.Call) { c.Outcome = "cancelled" }, simulate.PastCall{}, true},
		{"cut off by a crash", func(c *campaign.Call) { c.Outcome = "interrupted" }, simulate.PastCall{}, true},
	} {
		call := base
		c.change(&call)
		got, ok := pastCall(&call, time.UTC)
		got.At = time.Time{}
		if ok == c.out || ok && got != c.want {
			t.Errorf("%s: %+v, %v; want %+v", c.name, got, ok, c.want)
		}
	}
}
