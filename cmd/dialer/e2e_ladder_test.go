package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"dialer"
	"dialer/api"
	"dialer/campaign"
	"dialer/telephony/siptrunk/siptest"
)

// TestE2ELadder places real calls over a trunk where nobody answers and a backup
// that asks for a password: each has its SIP in order, before and after a restart,
// and no credential is in it. The record tells who was asked and how the audio was.
func TestE2ELadder(t *testing.T) {
	if testing.Short() {
		t.Skip("takes ten seconds")
	}
	t.Parallel()
	const password = "s3cret-of-the-trunk"
	r := newRig(t, "info")
	carrier, err := siptest.NewCarrier(siptest.CarrierConfig{
		Listen: "127.0.0.1:0", User: "us", Password: password,
		Script: func(number string, _ int) (siptest.Behaviour, bool) {
			if strings.HasSuffix(number, "2") {
				return siptest.Behaviour{Kind: siptest.Busy, Status: 486, Ring: 100 * time.Millisecond}, true
			}
			return siptest.Behaviour{
				Kind: siptest.Human, Ring: 200 * time.Millisecond, Audio: "hello-1", Voice: "person-1", Patience: time.Minute, Talk: time.Minute,
			}, true
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	background(t, "carrier", carrier.Run)
	var down, trunk api.TrunkView
	r.post("/v1/trunks", map[string]any{"name": "down", "address": "127.0.0.1:9", "channels": 1, "cps": 1}, &down)
	r.post("/v1/trunks", map[string]any{
		"name": "carrier", "address": carrier.Addr().String(), "channels": 10, "cps": 10, "username": "us", "password": password,
	}, &trunk)
	id, list := r.campaign("ladder", down.ID, map[string]any{"backup_trunk_ids": []dialer.TrunkID{trunk.ID}})
	seat := r.seat(id, true)
	for _, number := range []string{"+12124567891", "+12124567892"} {
		r.post("/v1/lists/"+string(list)+"/leads", map[string]any{"number": number}, nil)
	}
	background(t, "agent", func(ctx context.Context) error { return r.work(ctx, seat, 2*time.Second, 100*time.Millisecond, 1) })
	r.post("/v1/campaigns/"+string(id)+"/start", nil, nil)
	var calls []api.CallView
	r.until("both calls are over", 90*time.Second, func() (bool, any) {
		calls = r.calls(id)
		return len(calls) == 2 && calls[0].State == campaign.Ended && calls[1].State == campaign.Ended, calls
	})
	want := map[campaign.Outcome][]string{
		campaign.OutcomeConnected: {">INVITE", "<401", ">ACK", ">INVITE", "<180", "<200", ">ACK", ">BYE", "<200"},
		campaign.OutcomeBusy:      {">INVITE", "<401", ">ACK", ">INVITE", "<486", ">ACK"},
	}
	look := func(when string) {
		t.Helper()
		for _, c := range calls {
			path := "/v1/calls/" + string(c.ID) + "/sip"
			var l api.LadderView
			r.get(path, &l)
			rest := want[c.Outcome]
			for _, m := range l.Messages {
				word, _, _ := strings.Cut(strings.TrimPrefix(m.First, "SIP/2.0 "), " ")
				if got := map[string]string{"out": ">", "in": "<"}[m.Direction] + word; len(rest) > 0 && got == rest[0] {
					rest = rest[1:]
				}
				if m.Remote != carrier.Addr().String() && m.Remote != "127.0.0.1:9" || !strings.Contains(m.Text, string(c.ID)) {
					t.Errorf("%s: a message of %s with %s:\n%s", when, c.ID, m.Remote, m.Text)
				}
			}
			text := r.text(path + "?format=text")
			if len(rest) > 0 || c.Outcome == "" {
				t.Errorf("%s: the ladder of a call that was %s does not go on with %v:\n%s", when, c.Outcome, rest, text)
			}
			if strings.Contains(text, password) || strings.Count(text, `response="`) != strings.Count(text, `response="***"`) || !strings.Contains(text, `username="us"`) {
				t.Errorf("%s: the credentials are not as they should be shown:\n%s", when, text)
			}
		}
	}
	look("at once")
	if text := r.text("/v1/agents/" + string(seat.id) + "/sip?format=text"); !strings.Contains(text, " INVITE -") || !strings.Contains(text, "sip:"+seat.ext+"@") {
		t.Errorf("the agent's phone:\n%s", text)
	}
	for _, c := range calls {
		if n := len(c.Tries); c.Trunk != trunk.ID || n == 0 || c.Tries[n-1].Trunk != trunk.ID || c.Tries[n-1].Status == 0 {
			t.Errorf("the record names the trunk %s after the tries %+v", c.Trunk, c.Tries)
		}
		if c.Outcome != campaign.OutcomeConnected {
			continue
		}
		if c.Media == nil || c.Media.In < 50 || c.Media.Codec == "" || c.AgentMedia == nil || c.AgentMedia.In < 50 {
			t.Errorf("media %+v, of the agent %+v", c.Media, c.AgentMedia)
		} else {
			t.Logf("heard of the person: %+v; of the agent: %+v", *c.Media, *c.AgentMedia)
		}
	}
	r.stop()
	r.start()
	look("after a restart")
	r.replayed(id, 2)
}

// replayed decides again what the campaign has decided before it stopped, on the
// real clock and out of the database: exactly that.
func (r *rig) replayed(id dialer.CampaignID, calls int) {
	r.t.Helper()
	cmd := exec.CommandContext(r.t.Context(), program(r.t), "pacing", "replay", "--config", r.config(), "--campaign", string(id),
		"--from", "10m", "--policy", "power-2", "--json")
	out, err := cmd.Output()
	if err != nil {
		r.t.Fatalf("dialer pacing replay: %v\n%s", err, stderrOf(err))
	}
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	var last struct {
		Totals replayTotals `json:"totals"`
	}
	if err := json.Unmarshal(lines[len(lines)-1], &last); err != nil {
		r.t.Fatal(err)
	}
	t := last.Totals
	if t.Decisions < 5 || t.Same != t.Decisions || t.Calls["recorded"] < calls || t.Calls["replayed"] != t.Calls["recorded"] || len(lines) < 2 {
		r.t.Errorf("%d lines, the last of them: %s", len(lines), lines[len(lines)-1])
	}
	r.t.Logf("%s", lines[len(lines)-1])
}

// text reads what is not JSON.
func (r *rig) text(path string) string {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, "http://"+r.http+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+r.token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		r.t.Fatalf("GET %s: %s, %v\n%s", path, res.Status, err, body)
	}
	return string(body)
}
