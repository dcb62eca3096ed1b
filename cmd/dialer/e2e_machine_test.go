package main

import (
	"bytes"
	"context"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dialer/amd/evaluate"
	"dialer/api"
	"dialer/campaign"
	"dialer/report"
	"dialer/telephony/siptrunk/siptest"
)

// TestE2EMachines calls a machine, a number that the network announces and a
// person over real SIP: the message is on the machine's tape from the beep on, the
// announcement needs no answer, and what was kept of the machine can be heard,
// labelled and exported.
func TestE2EMachines(t *testing.T) {
	if testing.Short() {
		t.Skip("takes twenty seconds")
	}
	t.Parallel()
	r := newRig(t, "info")
	carrier, err := siptest.NewCarrier(siptest.CarrierConfig{
		Listen: "127.0.0.1:0",
		Script: func(number string, _ int) (siptest.Behaviour, bool) {
			switch number[len(number)-1] {
			case '1':
				return siptest.Behaviour{
					Kind: siptest.Machine, Ring: 200 * time.Millisecond, SpeakAfter: 300 * time.Millisecond, Audio: "voicemail-2",
					BeepHz: 1000, BeepLength: 400 * time.Millisecond, Talk: time.Minute,
				}, true
			case '2':
				return siptest.Behaviour{Kind: siptest.Announcement, Audio: "announcement-1", EarlyMedia: true}, true
			}
			return siptest.Behaviour{
				Kind: siptest.Human, Ring: 200 * time.Millisecond, SpeakAfter: 300 * time.Millisecond, Audio: "hello-1", Voice: "person-1",
				Patience: time.Minute, Talk: time.Minute,
			}, true
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	background(t, "carrier", carrier.Run)
	message := make([]int16, 8000)
	for i := range message {
		message[i] = int16(8000 * math.Sin(2*math.Pi*300*float64(i)/8000))
	}
	var asset struct {
		SHA256 string `json:"sha256"`
	}
	if err := r.api.call(t.Context(), http.MethodPost, "/v1/assets?name=mailbox", "audio/wav", bytes.NewReader(pcm(message)), &asset); err != nil {
		t.Fatal(err)
	}
	id, list := r.campaign("machines", r.trunk("carrier", carrier.Addr().String()), map[string]any{"amd": true, "detection": map[string]any{
		"reactions": map[string]any{"machine": "message"}, "voicemail_asset": asset.SHA256, "keep_share": 1, "keep_seconds": 10, "consent": true,
	}})
	seat := r.seat(id, true)
	for _, number := range []string{"+12124567891", "+12124567892", "+12124567893"} {
		r.post("/v1/lists/"+string(list)+"/leads", map[string]any{"number": number}, nil)
	}
	background(t, "agent", func(ctx context.Context) error { return r.work(ctx, seat, 2*time.Second, 100*time.Millisecond, 1) })
	r.post("/v1/campaigns/"+string(id)+"/start", nil, nil)
	calls := map[byte]api.CallView{}
	r.until("the calls are over", 90*time.Second, func() (bool, any) {
		for _, c := range r.calls(id) {
			if c.State == campaign.Ended && (c.AnsweredAt == nil || c.Heard.Kept != "") {
				calls[c.To[len(c.To)-1]] = c
			}
		}
		return len(calls) == 3, calls
	})

	machine := calls['1']
	v := machine.Heard.Voicemail
	if machine.Outcome != campaign.OutcomeMessage || machine.Verdict != "machine" || !v.Complete || v.After != "beep" || v.PlayedMS != 1000 || machine.Agent != "" {
		t.Errorf("the machine: %s (%s, %s), %+v", machine.Outcome, machine.Verdict, machine.VerdictReason, machine.Heard)
	}
	for _, c := range carrier.Calls() {
		if !strings.HasSuffix(c.To, "1") {
			continue
		}
		wait := c.HeardAt.Sub(c.BeepEndAt)
		t.Logf("the machine heard the message %s after its beep", wait)
		if wait < -100*time.Millisecond || wait > 500*time.Millisecond { // with the play-out of a busy machine; 150 ms is measured in virtual time
			t.Errorf("the machine heard the message %s after its beep", wait)
		}
	}
	if c := calls['2']; c.Outcome != campaign.OutcomeInvalid || !c.Heard.Early || c.Verdict != "sit" || c.AnsweredAt != nil {
		t.Errorf("the announcement: %s (%s, %s), %+v", c.Outcome, c.Verdict, c.VerdictReason, c.Heard)
	}
	if c := calls['3']; c.Outcome != campaign.OutcomeConnected || c.Agent != seat.id || !c.Heard.Keep.Taken() {
		t.Errorf("the person: %s (%s, %s)", c.Outcome, c.Verdict, c.VerdictReason)
	}

	if err := r.api.call(t.Context(), http.MethodPut, "/v1/calls/"+string(machine.ID)+"/label", "application/json", strings.NewReader(`{"label":"machine"}`), nil); err != nil {
		t.Fatal(err)
	}
	var detector report.DetectorReport
	r.get("/v1/campaigns/"+string(id)+"/amd", &detector)
	if fp := detector.FalsePositives; fp.Sample != 1 || fp.Found != 0 || fp.High == nil || len(detector.Trunks) != 1 {
		t.Errorf("%+v", detector)
	}
	dir := filepath.Join(t.TempDir(), "export")
	out, err := exec.Command(program(t), "amd", "export", "--config", r.config(), "--campaign", string(id), dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text, err := os.ReadFile(filepath.Join(dir, "manifest.csv"))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := evaluate.ReadManifest(bytes.NewReader(text))
	if err != nil || len(rows) == 0 {
		t.Fatalf("%v: %s", err, text)
	}
	heard := false
	for _, row := range rows {
		heard = heard || row.File == string(machine.ID)+".wav" && row.Label == "machine"
	}
	if !heard {
		t.Errorf("the machine is not in the manifest: %s", text)
	}
	said, err := exec.Command(program(t), "amd", "classify", filepath.Join(dir, string(machine.ID)+".wav")).Output()
	if err != nil || !bytes.Contains(said, []byte(`"verdict":"machine"`)) {
		t.Errorf("%v: %s", err, said)
	}
}
