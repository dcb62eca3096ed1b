package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"dialer"
	"dialer/api"
	"dialer/campaign"
	"dialer/compliance"
	"dialer/telephony"
	"dialer/telephony/siptrunk/siptest"
)

var demoStart = time.Date(2026, 11, 22, 18, 0, 0, 0, time.UTC)

func after(s float64) *time.Time {
	t := demoStart.Add(time.Duration(s * float64(time.Second)))
	return &t
}

// books is a run in which every record has its INVITE and nothing overlaps.
func books() ([]api.CallView, []siptest.CallRecord) {
	call := func(id, agent string, sent, end float64) api.CallView {
		return api.CallView{
			ID: dialer.CallID(id), Agent: dialer.AgentID(agent), SentAt: after(sent), AnsweredAt: after(sent + 1),
			DecidedAt: after(sent + 2), ConnectedAt: after(sent + 2.1), EndedAt: after(end),
			Outcome: campaign.OutcomeConnected, Class: compliance.ClassConnected,
		}
	}
	invite := func(id, to string, at, end float64) siptest.CallRecord {
		return siptest.CallRecord{CallID: id + "@host", To: to, ArrivedAt: *after(at), EndedAt: *after(end)}
	}
	return []api.CallView{call("cal_1", "agt_1", 0, 10), call("cal_2", "agt_1", 10, 20), call("cal_3", "agt_2", 0, 20)},
		[]siptest.CallRecord{invite("cal_1", "+1", 0, 10), invite("cal_2", "+1", 10, 20), invite("cal_3", "+2", 0, 20)}
}

func TestDemoResultOfGoodBooks(t *testing.T) {
	calls, ledger := books()
	r := sumUp(calls, ledger, []siptest.PhoneState{{MostCalls: 1}})
	r.AbandonCap = 0.03
	if !r.ok() || r.Placed != 3 || r.Connected != 3 || r.AnsweredPerson != 3 || *r.AbandonRate != 0 {
		t.Errorf("got %+v", r)
	}
	if r.AnswerToAgent.P50 != 1100 || r.VerdictToAgent.P99 != 100 {
		t.Errorf("delays %+v %+v", r.AnswerToAgent, r.VerdictToAgent)
	}
}

// Each promise that the demo reports on must be seen to break.
func TestDemoResultSeesEachBrokenPromise(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(calls *[]api.CallView, ledger *[]siptest.CallRecord, phones *[]siptest.PhoneState)
		seen  func(demoResult) int
	}{
		{"an INVITE without a record", func(c *[]api.CallView, _ *[]siptest.CallRecord, _ *[]siptest.PhoneState) { *c = (*c)[:2] },
			func(r demoResult) int { return r.Unaccounted }},
		{"a record without its INVITE", func(_ *[]api.CallView, l *[]siptest.CallRecord, _ *[]siptest.PhoneState) { *l = (*l)[:2] },
			func(r demoResult) int { return r.Unaccounted }},
		{"two INVITEs for one record", func(_ *[]api.CallView, l *[]siptest.CallRecord, _ *[]siptest.PhoneState) {
			*l = append(*l, siptest.CallRecord{CallID: "cal_1@host", To: "+9", EndedAt: demoStart})
		}, func(r demoResult) int { return r.Unaccounted }},
		{"a number in two calls", func(_ *[]api.CallView, l *[]siptest.CallRecord, _ *[]siptest.PhoneState) { (*l)[2].To = "+1" },
			func(r demoResult) int { return min(r.DoubleDialed, 1) }},
		{"an agent in two talks", func(c *[]api.CallView, _ *[]siptest.CallRecord, _ *[]siptest.PhoneState) { (*c)[2].Agent = "agt_1" },
			func(r demoResult) int { return min(r.AgentsInTwoCalls, 1) }},
		{"a phone with two calls", func(_ *[]api.CallView, _ *[]siptest.CallRecord, p *[]siptest.PhoneState) { (*p)[0].MostCalls = 2 },
			func(r demoResult) int { return r.AgentsInTwoCalls }},
		{"a call left up", func(_ *[]api.CallView, l *[]siptest.CallRecord, _ *[]siptest.PhoneState) {
			(*l)[2].EndedAt = time.Time{}
		},
			func(r demoResult) int { return r.CarrierOpen }},
		{"more abandoned than the cap", func(c *[]api.CallView, _ *[]siptest.CallRecord, _ *[]siptest.PhoneState) {
			(*c)[0].Class = compliance.ClassAbandonedMsg
		}, func(r demoResult) int { return r.Abandoned }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			calls, ledger := books()
			phones := []siptest.PhoneState{{MostCalls: 1}}
			tt.spoil(&calls, &ledger, &phones)
			r := sumUp(calls, ledger, phones)
			r.AbandonCap = 0.03
			if tt.seen(r) != 1 || r.ok() {
				t.Errorf("not seen: %+v", r)
			}
		})
	}
}

func TestDemoLeadsAreValidAndDifferent(t *testing.T) {
	var b bytes.Buffer
	if err := writeDemoLeads(&b, 500, 7); err != nil {
		t.Fatal(err)
	}
	seen := map[dialer.Number]bool{}
	for row, err := range campaign.ReadLeads(&b, campaign.ReadOptions{Region: "US"}) {
		if err != nil || row.Reject != nil {
			t.Fatalf("row %d: %v %+v", row.Line, err, row.Reject)
		}
		if seen[row.Lead.Number] || row.Lead.Fields["First name"] == "" {
			t.Errorf("lead %+v", row.Lead)
		}
		seen[row.Lead.Number] = true
	}
	if len(seen) != 500 {
		t.Errorf("%d leads, want 500", len(seen))
	}
}

func TestDemoMessageIsAWAVFileThatCanBePlayed(t *testing.T) {
	clip, err := telephony.ReadWAV(bytes.NewReader(demoMessage()), "message")
	if err != nil || clip.Duration() < 2*time.Second {
		t.Errorf("%v long, %v", clip.Duration(), err)
	}
}

// TestScreenRedrawsInPlace plays a terminal: rows wrap at its width, and the
// screen must find its first row again whenever it draws.
func TestScreenRedrawsInPlace(t *testing.T) {
	l := campaign.Live{Mode: campaign.Predictive, State: campaign.Running, Calls: map[string]int{"ringing": 7, "talking": 5},
		Agents: campaign.LiveAgents{Ready: 3, Talking: 5, WrapUp: 4}}
	l.Decision.Reason = strings.Repeat("long ", 60)
	l.Trouble = strings.Repeat("troublé ", 30)
	for _, width := range []int{100, 80, 40, 200} {
		var b strings.Builder
		s := &screen{out: &b, live: true, width: func() int { return width }}
		for range 3 {
			b.Reset()
			s.show(time.Minute, l, siptest.Counts{Arrived: 40, Answered: 20})
			rows := 0
			for line := range strings.Lines(b.String()) {
				_, line, found := strings.Cut(line, "\x1b[2K")
				if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > width {
					t.Errorf("a line of %d columns on a terminal of %d: %q", n, width, line)
				}
				if found {
					rows++
				}
			}
			if rows != s.drawn {
				t.Errorf("%d rows drawn, %d remembered", rows, s.drawn)
			}
		}
		if up := fmt.Sprintf("\x1b[%dA", s.drawn); !strings.HasPrefix(b.String(), up) {
			t.Errorf("not redrawn in place: %q", b.String())
		}
		if width < 80 {
			continue
		}
		for _, want := range []string{"ready       3", "talking     5", "ringing       7"} {
			if !strings.Contains(b.String(), want) {
				t.Errorf("%q is not shown", want)
			}
		}
	}
	if got := columns(&strings.Builder{}); got != 80 {
		t.Errorf("a terminal that does not tell has %d columns, want 80", got)
	}
}
