package campaign_test

import (
	"slices"
	"testing"
	"time"

	"dialer"
	"dialer/campaign"
	"dialer/telephony"
	"dialer/telephony/simtrunk"
)

// busy is a trunk that has no room, and says so at once.
func busy(telephony.Invite) simtrunk.Behaviour {
	return simtrunk.Behaviour{Progress: []simtrunk.Progress{}, Cause: telephony.CauseCongestion}
}

// withTrunks is a campaign over three trunks, the first as its script says.
func withTrunks(t *testing.T, leads int, first, others func(telephony.Invite) simtrunk.Behaviour) (*house, simtrunk.Carrier) {
	t.Helper()
	carrier := simtrunk.Carrier{"trk_1": simtrunk.New(first), "trk_2": simtrunk.New(others), "trk_3": simtrunk.New(others)}
	set := settings(campaign.Progressive)
	set.Backups = []dialer.TrunkID{"trk_2", "trk_3"}
	h := openWith(t, set, leads, person, func(c *campaign.Config) { c.Carrier, c.Reaper = carrier, carrier })
	return h, carrier
}

// A first trunk with no room lends its calls to the next, in order, and no
// trunk ever has more than its channels.
func TestFullTrunkOverflows(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, carrier := withTrunks(t, 60, person, person)
		carrier["trk_1"].Limit(2, 0)
		carrier["trk_2"].Limit(1, 0)
		carrier["trk_3"].Limit(3, 0)
		for _, id := range []dialer.AgentID{"agt_1", "agt_2", "agt_3", "agt_4", "agt_5", "agt_6", "agt_7", "agt_8"} {
			h.agent(id, sale)
		}
		time.Sleep(5 * time.Minute)
		for id, channels := range map[dialer.TrunkID]int{"trk_1": 2, "trk_2": 1, "trk_3": 3} {
			if s := carrier[id].Stats(); s.Peak != channels || s.Refused > 0 {
				t.Errorf("%s: %+v, want its %d channels full once and no call refused", id, s, channels)
			}
		}
		of := map[dialer.TrunkID]int{}
		for _, c := range h.store.Calls() {
			of[c.Trunk]++
			if len(c.Tries) != 1 || c.Tries[0].Trunk != c.Trunk {
				t.Errorf("the record names %s, its tries %v", c.Trunk, c.Tries)
			}
		}
		if of["trk_1"] == 0 || of["trk_2"] == 0 || of["trk_3"] == 0 {
			t.Errorf("calls by trunk %v", of)
		}
	})
}

// A trunk that is down is not asked, and is used again once it is back.
func TestTrunkThatIsDown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, carrier := withTrunks(t, 40, person, person)
		carrier["trk_1"].SetDown("no answer")
		h.agent("agt_1", sale)
		time.Sleep(3 * time.Minute)
		if a, b := carrier["trk_1"].Stats(), carrier["trk_2"].Stats(); a.Placed+a.Refused > 0 || b.Placed == 0 {
			t.Errorf("the first %+v, the second %+v", a, b)
		}
		carrier["trk_1"].SetDown("")
		before := carrier["trk_2"].Stats().Placed
		time.Sleep(3 * time.Minute)
		if a, b := carrier["trk_1"].Stats(), carrier["trk_2"].Stats(); a.Placed == 0 || b.Placed > before+1 {
			t.Errorf("back in service: the first %+v, the second %+v after %d", a, b, before)
		}
	})
}

// A trunk that takes no call hands it on; the record tells who was asked.
func TestRefusedCallGoesToTheNextTrunk(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, carrier := withTrunks(t, 1, busy, person)
		carrier["trk_2"].SetDown("no answer")
		h.agent("agt_1", sale)
		time.Sleep(time.Minute)
		calls := h.store.Calls()
		if len(calls) != 1 {
			t.Fatalf("%d calls", len(calls))
		}
		c := calls[0]
		var tried []dialer.TrunkID
		for _, try := range c.Tries {
			tried = append(tried, try.Trunk)
		}
		if c.Outcome != campaign.OutcomeConnected || c.Trunk != "trk_3" || !slices.Equal(tried, []dialer.TrunkID{"trk_1", "trk_3"}) || c.Tries[0].Status != 503 {
			t.Errorf("%s over %s after %+v", c.Outcome, c.Trunk, c.Tries)
		}
		var end dialer.CallEnded
		for _, e := range h.store.Events() {
			if f, ok := e.Fact.(dialer.CallEnded); ok {
				end = f
			}
		}
		if end.Trunk != "trk_3" || end.Tries != 2 {
			t.Errorf("the log says %+v", end)
		}
	})
}

// A call that no trunk takes tells which was asked last.
func TestEveryTrunkRefuses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, _ := withTrunks(t, 1, busy, busy)
		h.agent("agt_1", sale)
		time.Sleep(30 * time.Second)
		calls := h.store.Calls()
		if len(calls) != 1 || calls[0].Outcome != campaign.OutcomeCongestion || calls[0].Trunk != "trk_3" || len(calls[0].Tries) != 3 {
			t.Errorf("%+v", calls)
		}
	})
}
