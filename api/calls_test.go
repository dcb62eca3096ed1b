package api

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"dialer"
	"dialer/campaign"
	"dialer/telephony"
)

func TestCallTellsItsQuality(t *testing.T) {
	h := open(t)
	h.db.calls["cal_1"] = campaign.Call{
		ID: "cal_1", State: campaign.Ended, Trunk: "trk_2", Attestation: "A", Ghost: true,
		Tries: []telephony.Try{{Trunk: "trk_1", Peer: "udp:192.0.2.1:5060", Status: 503}, {Trunk: "trk_2", Peer: "udp:192.0.2.2:5060", Status: 200}},
		Media: telephony.MediaStats{
			PacketsIn: 900, PacketsOut: 1000, Lost: 100, LostThere: 250, Jitter: 1234 * time.Microsecond,
			RoundTrip: 40 * time.Millisecond, MOS: 3.2049, Codec: "PCMA", Secured: true,
		},
	}
	h.db.calls["cal_2"] = campaign.Call{ID: "cal_2", State: campaign.Ended}
	got := into[CallView](h, h.want(200, dialer.RoleSupervisor, http.MethodGet, "/v1/calls/cal_1", nil))
	want := MediaView{
		MOS: 3.2, Codec: "PCMA", Secured: true, LossHeard: 0.1, LossSent: 0.25, JitterMS: 1.2, TripMS: 40,
		In: 900, Out: 1000, Lost: 100, LostThere: 250,
	}
	if got.Media == nil || *got.Media != want || got.AgentMedia != nil {
		t.Errorf("media %+v, of the agent %+v", got.Media, got.AgentMedia)
	}
	if len(got.Tries) != 2 || got.Tries[0].Status != 503 || got.Attestation != "A" || !got.Ghost {
		t.Errorf("%+v", got)
	}
	if list := h.want(200, dialer.RoleSupervisor, http.MethodGet, "/v1/calls", nil); strings.Count(string(list.body), `"media"`) != 1 {
		t.Errorf("list %s", list.body)
	}
}

func TestBackupTrunksMustBeThere(t *testing.T) {
	h := open(t)
	ids := make([]dialer.TrunkID, 2)
	for i := range ids {
		ids[i] = into[TrunkView](h, h.want(201, dialer.RoleAdmin, http.MethodPost, "/v1/trunks",
			fmt.Sprintf(`{"name":"t%d","address":"192.0.2.%d","channels":1,"cps":1}`, i, i+1))).ID
	}
	r := h.want(422, dialer.RoleManager, http.MethodPost, "/v1/campaigns",
		fmt.Sprintf(`{"name":"a","trunk_id":%q,"backup_trunk_ids":[%q,"trk_none",%q]}`, ids[0], ids[1], ids[0]))
	for _, place := range []string{"body.backup_trunk_ids.1", "body.backup_trunk_ids.2"} {
		if !strings.Contains(string(r.body), place) {
			t.Errorf("%s is not named in %s", place, r.body)
		}
	}
	made := h.want(201, dialer.RoleManager, http.MethodPost, "/v1/campaigns",
		fmt.Sprintf(`{"name":"a","trunk_id":%q,"backup_trunk_ids":[%q]}`, ids[0], ids[1]))
	c := into[CampaignView](h, made)
	path, tag := "/v1/campaigns/"+string(c.ID), made.Header.Get("ETag")
	h.want(422, dialer.RoleManager, http.MethodPatch, path, `{"backup_trunk_ids":["trk_none"]}`, "If-Match", tag)
	changed := h.want(200, dialer.RoleManager, http.MethodPatch, path, `{"backup_trunk_ids":null}`, "If-Match", tag)
	if got := into[CampaignView](h, changed).Settings.Backups; len(got) != 0 {
		t.Errorf("backups %v", got)
	}
}
