package campaign_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"dialer"
	"dialer/agents"
	"dialer/campaign"
	"dialer/compliance"
	"dialer/telephony"
	"dialer/telephony/simtrunk"
)

func TestOrphansAreSettledFirst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := open(t, settings(campaign.Progressive), 2, person)
		h.agent("agt_1", answer{})
		time.Sleep(10 * time.Second)
		// The process dies; its legs stay up at the carrier.
		h.store.Restart()
		next := campaign.NewScheduler(campaign.Config{Store: h.store, Agents: h.registry, Carrier: h.trunk, Reaper: h.trunk})
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			next.Run(t.Context())
		}()
		synctest.Wait()
		c := h.call(0)
		if c.Outcome != campaign.OutcomeInterrupted {
			t.Errorf("the orphan is %s %s", c.State, c.Outcome)
		}
		if n := h.trunk.Stats().InUse; n != 0 {
			t.Errorf("%d orphans are still up", n)
		}
		next.Close(nil)
		<-ended
	})
}

func TestOrphansThatRingAreCancelled(t *testing.T) {
	bubble(t, func(t *testing.T) {
		set := settings(campaign.Progressive)
		set.Backups = []dialer.TrunkID{"trk_b", "trk_c"}
		h := open(t, set, 1, func(telephony.Invite) simtrunk.Behaviour { return simtrunk.Behaviour{} })
		h.agent("agt_1", answer{})
		time.Sleep(10 * time.Second)
		placed := h.call(0)
		h.store.Restart()
		r := reaper{h.trunk, make(chan telephony.Invite, 8)}
		next := campaign.NewScheduler(campaign.Config{Store: h.store, Agents: h.registry, Carrier: h.trunk, Reaper: r})
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			next.Run(t.Context())
		}()
		synctest.Wait()
		next.Close(nil)
		<-ended
		if len(r.cancelled) != 1 {
			t.Fatalf("%d calls were cancelled, want the one that rang", len(r.cancelled))
		}
		if inv := <-r.cancelled; inv.Call != placed.ID || inv.To != placed.To || inv.From != placed.From || inv.Trunk != placed.Trunk || !slices.Equal(inv.Backups, set.Backups) {
			t.Errorf("cancelled %+v, want %s to %s", inv, placed.ID, placed.To)
		}
	})
}

// A fault of the program in a call ends that call and nothing else.
func TestPanicEndsOneCall(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := open(t, settings(campaign.Progressive), 2, person)
		h.agent("agt_1", sale)
		time.Sleep(3 * time.Second) // it rings
		h.faults.mu.Lock()
		h.faults.bug = true // in the save of its answer
		h.faults.mu.Unlock()
		time.Sleep(time.Minute)
		if c := h.call(0); c.Class != compliance.ClassAbandonedSilent || c.State != campaign.Ended {
			t.Errorf("the broken call is %s %s", c.State, c.Outcome)
		}
		if c := h.call(1); c.Disposition != "SALE" {
			t.Errorf("the next call came to %s %q", c.Outcome, c.Disposition)
		}
	})
}

// A fault in the end of a call costs neither the process, the line nor the agent.
func TestPanicInTheCleanUp(t *testing.T) {
	for name, in := range map[string]struct {
		bug     int
		outcome campaign.Outcome
	}{"once": {1, campaign.OutcomeConnected}, "always": {2, campaign.OutcomeConnected}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h := open(t, settings(campaign.Progressive), 2, person)
				h.agent("agt_1", sale)
				time.Sleep(10 * time.Second) // they talk
				h.faults.mu.Lock()
				h.faults.endBug = in.bug
				h.faults.mu.Unlock()
				time.Sleep(26 * time.Second)
				if n := h.trunk.Stats().InUse; n > 1 {
					t.Errorf("%d lines are up after the talk", n)
				}
				h.faults.mu.Lock()
				h.faults.endBug = 0
				h.faults.mu.Unlock()
				time.Sleep(time.Minute)
				if c := h.call(0); c.State != campaign.Ended || c.Outcome != in.outcome || c.Class != compliance.ClassConnected {
					t.Errorf("the broken call is %s %s %s", c.State, c.Outcome, c.Class)
				}
				if c := h.call(1); c.Disposition != "SALE" {
					t.Errorf("the next call came to %s %q", c.Outcome, c.Disposition)
				}
				if s := h.registry.State("agt_1"); s.State != agents.Ready {
					t.Errorf("the agent is %s", s.State)
				}
			})
		})
	}
}
