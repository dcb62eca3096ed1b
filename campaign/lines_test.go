package campaign_test

import (
	"testing"
	"time"

	"dialer"
	"dialer/campaign"
	"dialer/telephony"
)

// Two campaigns that see the same free channel do not both spend an attempt.
func TestCampaignsShareATrunk(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := open(t, settings(campaign.Progressive), 20, person)
		h.trunk.Limit(1, 0)
		other := h.camp
		other.ID = "cmp_2"
		h.store.AddCampaign(other)
		for i := range 20 {
			l := lead(100 + i)
			l.Campaign, l.List = "cmp_2", "lst_2"
			h.store.AddLeads(l)
		}
		h.faults.mu.Lock()
		h.faults.slow = 50 * time.Millisecond
		h.faults.mu.Unlock()
		h.works = append(h.works, "cmp_2")
		for _, id := range []dialer.AgentID{"agt_1", "agt_2", "agt_3", "agt_4"} {
			h.agent(id, sale)
		}
		time.Sleep(10 * time.Minute)
		of := map[string]int{}
		for _, c := range h.store.Calls() {
			of[string(c.Campaign)]++
			if c.Cause == telephony.CauseNotSent {
				t.Errorf("%s: an attempt was spent at %s without an INVITE", c.Campaign, c.PlacedAt)
			}
		}
		if of["cmp_1"]+of["cmp_2"] < 10 {
			t.Errorf("calls %v, want the line to be used", of)
		}
		if n := h.trunk.Stats().Refused; n > 0 {
			t.Errorf("the carrier has refused %d calls", n)
		}
	})
}
