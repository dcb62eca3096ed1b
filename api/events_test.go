package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"dialer"
	"dialer/campaign"
	"dialer/compliance"
	"dialer/report"
)

func placed(n int) dialer.Event {
	return dialer.Event{
		At: time.Unix(1e9, 123456789), Campaign: "cmp_1", Call: dialer.CallID(fmt.Sprint("cal_", n)),
		Fact: dialer.CallPlaced{Trunk: "trk_1", To: "+12025550143", Attempt: n},
	}
}

// follow opens the stream and returns its events as they come.
func (h *house) follow(query, last string) (next func() EventView, stop func()) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 20*time.Second)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.web.URL+"/v1/events/stream"+query, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+h.keys[dialer.RoleManager])
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	res, err := h.web.Client().Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" {
		h.t.Fatalf("stream: %d %v", res.StatusCode, res.Header)
	}
	lines := bufio.NewScanner(res.Body)
	stop = func() { cancel(); res.Body.Close() }
	h.t.Cleanup(stop)
	return func() EventView {
		h.t.Helper()
		var id string
		for lines.Scan() {
			if v, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
				id = v
			}
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				var e EventView
				if err := json.Unmarshal([]byte(data), &e); err != nil {
					h.t.Fatal(err)
				}
				if fmt.Sprint(e.Seq) != id {
					h.t.Fatalf("id %s, seq %d", id, e.Seq)
				}
				return e
			}
		}
		h.t.Fatalf("the stream ended: %v", lines.Err())
		return EventView{}
	}, stop
}

// TestStreamResumes: a reader that was cut off misses nothing and sees nothing
// twice.
func TestStreamResumes(t *testing.T) {
	h := open(t)
	for i := range 3 {
		h.db.record(placed(i))
	}
	next, stop := h.follow("", "") // from now on
	h.db.record(placed(3))
	e := next()
	if e.Seq != 4 || e.Type != "call.placed" || e.Call != "cal_3" || e.At.Format(time.RFC3339Nano) != "2001-09-09T01:46:40.123Z" {
		t.Fatalf("event %+v", e)
	}
	stop()
	h.db.record(placed(4), placed(5))
	next, _ = h.follow("", "4")
	for want := int64(5); want <= 6; want++ {
		if e := next(); e.Seq != want {
			t.Fatalf("resumed at %d, want %d", e.Seq, want)
		}
	}
	other := placed(6)
	other.Campaign = "cmp_2"
	h.db.record(other)
	next, _ = h.follow("?after=0&campaign_id=cmp_2", "")
	if e := next(); e.Seq != 7 {
		t.Errorf("filtered: %+v", e)
	}
	h.want(422, dialer.RoleManager, http.MethodGet, "/v1/events/stream?after=x", nil)
	h.want(422, dialer.RoleManager, http.MethodGet, "/v1/events/stream", nil, "Last-Event-ID", "-1")
	h.want(401, "", http.MethodGet, "/v1/events/stream", nil)
	h.want(403, dialer.RoleAgent, http.MethodGet, "/v1/events/stream", nil)

	page := into[EventPage](h, h.want(200, dialer.RoleManager, http.MethodGet, "/v1/events?after=2&limit=2", nil))
	if len(page.Items) != 2 || page.Items[0].Seq != 3 || page.After != 4 {
		t.Errorf("page %+v", page)
	}
	if page = into[EventPage](h, h.want(200, dialer.RoleManager, http.MethodGet, "/v1/events?after=7&wait_s=1", nil)); len(page.Items) != 0 || page.After != 7 {
		t.Errorf("nothing new: %+v", page)
	}
}

func TestStreamsAreBounded(t *testing.T) {
	h := open(t)
	for range maxStreams {
		h.s.streams <- struct{}{}
	}
	if p := h.problem(h.do(dialer.RoleManager, http.MethodGet, "/v1/events/stream", nil)); p.Status != 503 {
		t.Errorf("one stream too many: %+v", p)
	}
	for range maxStreams {
		<-h.s.streams
	}
}

func TestMetricsCountTheLog(t *testing.T) {
	h := open(t)
	h.db.record(placed(0)) // before the process began
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- h.s.Run(ctx) }()
	scrape := func(want string) {
		t.Helper()
		deadline := time.Now().Add(10 * time.Second)
		var got string
		for time.Now().Before(deadline) {
			if got = string(h.want(200, "", http.MethodGet, "/metrics", nil).body); strings.Contains(got, want) {
				return
			}
		}
		t.Fatalf("no %q in:\n%s", want, got)
	}
	scrape("dialer_event_seq 1")
	h.db.record(placed(1), placed(2),
		dialer.Event{Campaign: "cmp_1", Fact: dialer.CallConnected{AnswerToAgentMS: 180}},
		dialer.Event{Campaign: "cmp_1", Fact: dialer.CallAbandoned{Class: "abandoned_msg"}},
		dialer.Event{Campaign: "cmp_1", Fact: dialer.CallEnded{Outcome: "busy", Trunk: "trk_1", MOS: 4.31, AgentMOS: 3.2, Ghost: true}})
	scrape("dialer_event_seq 6")
	for _, want := range []string{
		`dialer_calls_placed_total{campaign="cmp_1",trunk="trk_1"} 2`,
		`dialer_calls_abandoned_total{campaign="cmp_1",cause="abandoned_msg"} 1`,
		`dialer_calls_ended_total{campaign="cmp_1",cause="busy"} 1`,
		`dialer_answer_to_agent_seconds_count{campaign="cmp_1"} 1`,
		`dialer_calls_ghosted_total{campaign="cmp_1"} 1`,
		`dialer_call_mos_bucket{trunk="trk_1",le="4.34"} 1`,
		`dialer_call_mos_bucket{trunk="trk_1",le="4.2"} 0`,
		`dialer_agent_mos_bucket{campaign="cmp_1",le="3.6"} 1`,
	} {
		scrape(want)
	}
	if strings.Contains(string(h.want(200, "", http.MethodGet, "/metrics", nil).body), "2025550143") {
		t.Error("a number is in the metrics")
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestHealth(t *testing.T) {
	var broken error
	h := open(t, func(c *Config) {
		c.Version = "1.2.3"
		c.Checks = map[string]func(context.Context) error{
			"database": func(context.Context) error { return broken },
			"stuck":    func(ctx context.Context) error { return nil },
		}
	})
	if r := h.want(200, "", http.MethodGet, "/livez", nil); !strings.Contains(string(r.body), "1.2.3") {
		t.Errorf("livez %s", r.body)
	}
	if r := h.want(200, "", http.MethodGet, "/readyz", nil); string(r.body) != `{"status":"ready","checks":{"database":"ok","stuck":"ok"}}` {
		t.Errorf("readyz %s", r.body)
	}
	broken = errors.New("no answer from the database")
	if r := h.want(503, "", http.MethodGet, "/readyz", nil); !strings.Contains(string(r.body), "no answer from the database") {
		t.Errorf("readyz %s", r.body)
	}
	if r := h.want(200, "", http.MethodGet, "/v1/openapi.yaml", nil); !strings.Contains(string(r.body), "openapi: 3.1") {
		t.Errorf("the contract is not served: %.100s", r.body)
	}
}

func TestAbandonReport(t *testing.T) {
	h := open(t)
	c, _ := h.aCampaign(`{"name":"a"}`)
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for i, class := range []compliance.Class{compliance.ClassConnected, compliance.ClassConnected, compliance.ClassAbandonedMsg, compliance.ClassBusy} {
		call := campaign.Call{
			ID: dialer.CallID(fmt.Sprint("cal_", i)), Campaign: c.ID, Class: class, State: campaign.Ended,
			To: "+12025550143", PlacedAt: at, EndedAt: at.Add(time.Minute), Outcome: campaign.OutcomeConnected,
		}
		if class.Answered() {
			call.AnsweredAt = at.Add(5 * time.Second)
		}
		if class == compliance.ClassConnected {
			call.ConnectedAt = at.Add(5*time.Second + 300*time.Millisecond)
		}
		h.db.calls[call.ID] = call
	}
	path := "/v1/reports/abandon?campaign=" + string(c.ID)
	r := into[report.AbandonReport](h, h.want(200, dialer.RoleCompliance, http.MethodGet, path, nil))
	if r.Total.Abandoned != 1 || r.Total.Answered != 3 || r.Total.WithinCap || r.Attempts != 4 || r.FromAnswer.Max != 300 {
		t.Errorf("report %+v", r)
	}
	csv := h.want(200, dialer.RoleCompliance, http.MethodGet, path+"&format=csv", nil)
	if !strings.Contains(string(csv.body), "abandoned_call,cal_2,+12025550143") || !strings.HasPrefix(csv.Header.Get("Content-Type"), "text/csv") {
		t.Errorf("CSV %s", csv.body)
	}
	if text := h.want(200, dialer.RoleCompliance, http.MethodGet, path+"&format=text", nil); !strings.Contains(string(text.body), "1/3 = 33.3333 %") {
		t.Errorf("text %s", text.body)
	}
	calls := into[Page[CallView]](h, h.want(200, dialer.RoleCompliance, http.MethodGet,
		"/v1/reports/abandon/calls?class=abandoned_msg&campaign="+string(c.ID), nil))
	if len(calls.Items) != 1 || calls.Items[0].ID != "cal_2" {
		t.Errorf("drill-down %+v", calls)
	}
	got := into[CallView](h, h.want(200, dialer.RoleCompliance, http.MethodGet, "/v1/calls/cal_0", nil))
	if got.ConnectedAt == nil || got.RingingAt != nil || got.TalkMS != 54700 {
		t.Errorf("call %+v", got)
	}
	h.want(422, dialer.RoleCompliance, http.MethodGet, "/v1/reports/abandon", nil)
	h.want(404, dialer.RoleCompliance, http.MethodGet, "/v1/reports/abandon?campaign=cmp_x", nil)
	h.want(422, dialer.RoleCompliance, http.MethodGet, path+"&from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", nil)
}
