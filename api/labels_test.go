package api

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"dialer"
	"dialer/campaign"
	"dialer/compliance"
	"dialer/report"
)

// The detector's error is served with its base, for each trunk, and the abandon
// report counts with it; a label of kept seconds changes both.
func TestDetectorErrorIsServed(t *testing.T) {
	h := open(t, func(c *Config) {
		c.Recordings = fstest.MapFS{"detection/a.wav": {Data: []byte("RIFF"), ModTime: time.Unix(1, 0)}}
	})
	made := h.want(201, dialer.RoleManager, http.MethodPost, "/v1/campaigns",
		`{"name":"a","amd":true,"detection":{"agent_share":0.1,"keep_share":0.1,"consent":true,"reactions":{"machine":"hang_up"}}}`)
	c := into[CampaignView](h, made)
	if d := c.Settings.Detection; d.Preset != "balanced" || d.Reactions["machine"] != campaign.ReactHangUp || d.Reactions["human"] != campaign.ReactAgent || d.KeepSeconds != 10 {
		t.Errorf("%+v", d)
	}
	h.want(422, dialer.RoleManager, http.MethodPatch, "/v1/campaigns/"+string(c.ID), `{"detection":{"reactions":{"machine":"ivr"}}}`, "If-Match", made.Header.Get("ETag"))

	at := time.Date(2026, 3, 10, 15, 0, 0, 0, time.UTC)
	for i := range 150 {
		call := campaign.Call{
			ID: dialer.CallID(fmt.Sprintf("cal_%d", i)), Campaign: c.ID, State: campaign.Ended, Trunk: "trk_1", PlacedAt: at, AnsweredAt: at.Add(time.Second), EndedAt: at.Add(time.Minute),
			Verdict: "machine", AnsweredBy: "machine", AnsweredBySource: "amd", Outcome: campaign.OutcomeMachine, Class: compliance.ClassMachine,
		}
		switch {
		case i < 20: // sampled
			call.AnsweredBySource, call.Heard.Agent, call.Trunk = "agent", &campaign.Draw{Value: 1, Share: 2}, "trk_2"
			if i == 0 {
				call.AnsweredBy, call.Class, call.ConnectedAt = "person", compliance.ClassConnected, at.Add(2*time.Second)
			}
		case i < 22:
			call.Heard.Kept = "detection/a.wav"
		case i >= 100:
			call.Verdict, call.AnsweredBy, call.AnsweredBySource, call.Class, call.ConnectedAt = "human", "person", "agent", compliance.ClassConnected, at.Add(2*time.Second)
		}
		h.db.calls[call.ID] = call
	}
	path := "/v1/campaigns/" + string(c.ID) + "/amd"
	got := into[report.DetectorReport](h, h.want(200, dialer.RoleSupervisor, http.MethodGet, path, nil))
	if fp := got.FalsePositives; fp.Found != 1 || fp.Sample != 20 || *fp.Share != 0.05 || *fp.High < 0.2 || got.Unverified != 80 || got.Unlabelled != 2 {
		t.Errorf("%+v", got.DetectorError)
	}
	if len(got.Trunks) != 2 || got.Trunks[0].FalsePositives.Share != nil || got.Trunks[1].FalsePositives.Sample != 20 || got.Verdicts[0] != (report.VerdictCount{Verdict: "machine", Calls: 100, Persons: 1, Others: 19, Unknown: 80}) {
		t.Errorf("%+v", got)
	}
	abandon := func() report.AbandonReport {
		return into[report.AbandonReport](h, h.want(200, dialer.RoleCompliance, http.MethodGet, "/v1/reports/abandon?campaign="+string(c.ID), nil))
	}
	r := abandon() // 4 of 80 hung up on; 51 known, none abandoned
	if r.Total.Abandoned != 0 || *r.FalsePositives != 4 || math.Abs(*r.Conservative-4.0/55) > 1e-9 || *r.ConservativeHigh <= *r.Conservative || r.Detector.Sample != 20 || *r.Detector.Of != 80 {
		t.Errorf("%+v, conservative %v", r.Detector, *r.Conservative)
	}
	text := h.want(200, dialer.RoleCompliance, http.MethodGet, "/v1/reports/abandon?format=text&campaign="+string(c.ID), nil)
	if !strings.Contains(string(text.body), "1 of 20") {
		t.Errorf("the report does not say of what the estimate is made: %s", text.body)
	}

	h.want(403, dialer.RoleManager, http.MethodGet, "/v1/calls/cal_20/seconds", nil)
	h.want(200, dialer.RoleCompliance, http.MethodGet, "/v1/calls/cal_20/seconds", nil)
	h.want(404, dialer.RoleCompliance, http.MethodGet, "/v1/calls/cal_30/seconds", nil)
	h.want(409, dialer.RoleCompliance, http.MethodPut, "/v1/calls/cal_30/label", `{"label":"human"}`)
	h.want(422, dialer.RoleCompliance, http.MethodPut, "/v1/calls/cal_20/label", `{"label":"dog"}`)
	labelled := into[CallView](h, h.want(200, dialer.RoleCompliance, http.MethodPut, "/v1/calls/cal_20/label", `{"label":"human"}`))
	if labelled.Class != compliance.ClassAbandonedSilent || labelled.Heard.Label != "human" || labelled.Heard.LabelBy == "" {
		t.Errorf("%+v", labelled)
	}
	if r := abandon(); r.Total.Abandoned != 1 || r.Detector.Persons != 2 || r.Detector.Sample != 21 || *r.Detector.Of != 79 {
		t.Errorf("after a label: %s, %+v", r.Total, r.Detector)
	}
}
