package campaign_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"dialer"
	"dialer/agents"
	"dialer/campaign"
	"dialer/compliance"
	"dialer/telephony"
	"dialer/telephony/simtrunk"
)

// population answers by chance: a third are people.
func population(seed uint64) func(telephony.Invite) simtrunk.Behaviour {
	r := rand.New(rand.NewPCG(seed, 1))
	ring := func() time.Duration { return time.Duration(3000+r.IntN(12000)) * time.Millisecond }
	var mu sync.Mutex // calls are placed by many goroutines
	return func(telephony.Invite) simtrunk.Behaviour {
		mu.Lock()
		defer mu.Unlock()
		switch p := r.Float64(); {
		case p < 0.33:
			return simtrunk.Behaviour{
				Ring: ring(), Answer: true, Audio: simtrunk.Human(700 * time.Millisecond),
				TalkFor: time.Duration(20000+r.ExpFloat64()*70000) * time.Millisecond, HangupAfter: 20 * time.Second,
			}
		case p < 0.55:
			return simtrunk.Behaviour{Ring: ring(), Answer: true, Audio: simtrunk.MachineGreeting(8 * time.Second), HangupAfter: 30 * time.Second}
		case p < 0.65:
			return simtrunk.Behaviour{Ring: 2 * time.Second, Cause: telephony.CauseBusy}
		case p < 0.70:
			return simtrunk.Behaviour{Ring: time.Second, Cause: telephony.CauseInvalid}
		}
		return simtrunk.Behaviour{}
	}
}

// An hour of twenty agents keeps them busy, stays within the cap and leaves
// nothing behind.
func TestShift(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: an hour of twenty agents takes some seconds")
	}
	bubble(t, func(t *testing.T) {
		set := settings(campaign.Predictive)
		set.AMD, set.Detection.LateMachine = true, campaign.LateOff
		h := open(t, set, 9000, population(7))
		for i := range 20 {
			h.agent(dialer.AgentID(fmt.Sprintf("agt_%02d", i)), answer{wrap: 15 * time.Second, said: agents.Disposition{Code: "NOT_INTERESTED"}})
		}
		warmUp, shift := 20*time.Minute, 40*time.Minute
		if raced {
			warmUp, shift = 2*time.Minute, 4*time.Minute
		}
		time.Sleep(warmUp)
		before := h.occupancy()
		time.Sleep(shift)
		live := h.sched.Live("cmp_1")
		after := h.occupancy()
		occupancy := float64(after[0]-before[0]) / float64(after[0]-before[0]+after[1]-before[1])

		tally := compliance.Tally{}
		for _, c := range h.store.Calls() {
			if c.State == campaign.Ended {
				tally.Add(c.Class)
			}
		}
		abandoned, answered, rate := tally.Rate()
		if rate == nil {
			t.Fatalf("nobody answered: %s", h.why())
		}
		t.Logf("%d calls, %d answered, %d abandoned (%.2f %%), occupancy %.1f %% after the warm-up; %s",
			len(h.store.Calls()), answered, abandoned, 100**rate, 100*occupancy, live.Decision.Reason)
		if !tally.WithinCap(0.03) {
			t.Errorf("%d of %d were abandoned", abandoned, answered)
		}
		if occupancy < 0.70 && !raced { // that soon each call still gets its agent first
			t.Errorf("occupancy %.1f %%", 100*occupancy)
		}
		late := tally.ByClass[compliance.ClassAbandonedSilent]
		if late > 0 {
			t.Errorf("%d people heard silence", late)
		}
		if dropped := h.store.Dropped(); len(dropped) > 0 {
			t.Errorf("%d saves out of order, the first: %s", len(dropped), dropped[0])
		}
		h.drain()
	})
}

// occupancy is the agents' time busy and idle so far, in milliseconds.
func (h *house) occupancy() [2]int64 {
	var sum [2]int64
	since := map[dialer.AgentID]time.Time{}
	state := map[dialer.AgentID]string{}
	account := func(agent dialer.AgentID, to string, at time.Time) {
		d := at.Sub(since[agent]).Milliseconds()
		switch state[agent] {
		case "talking", "wrap_up":
			sum[0] += d
		case "ready", "reserved":
			sum[1] += d
		}
		since[agent], state[agent] = at, to
	}
	for _, e := range h.store.Events() {
		if f, ok := e.Fact.(dialer.AgentStateChanged); ok {
			account(e.Agent, f.To, e.At)
		}
	}
	for agent := range since {
		account(agent, "", time.Now())
	}
	return sum
}

func (h *house) drain() {
	h.sched.Drain()
	select {
	case <-h.ended:
	case <-time.After(2 * time.Hour):
		h.t.Error("the drain has no end")
	}
}

// Whatever happens at whatever moment, a placed call ends exactly once and the
// log has no violation; the seed is printed.
func TestRandomEvents(t *testing.T) {
	for seed := range uint64(8) {
		mode := []campaign.Mode{campaign.Predictive, campaign.Power, campaign.Progressive, campaign.Preview}[seed%4]
		t.Run(fmt.Sprintf("%s seed %d", mode, seed), func(t *testing.T) {
			bubble(t, func(t *testing.T) { randomEvents(t, mode, seed) })
		})
	}
}

func randomEvents(t *testing.T, mode campaign.Mode, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 2))
	steps := 400
	if raced {
		steps = 100
	}
	set := settings(mode)
	set.AMD = seed%3 > 0
	if seed%3 == 2 {
		set.Detection.LateMachine = campaign.LateOff // it costs time
	}
	h := openAfter(t, 400, set, 300, population(seed))
	const crew = 6
	name := func(i int) dialer.AgentID { return dialer.AgentID(fmt.Sprintf("agt_%02d", i)) }
	codes := []string{"SALE", "NOT_INTERESTED", "CALLBACK", "DNC", "ANSWERING_MACHINE", ""}
	for i := range crew {
		h.agent(name(i), answer{
			dial: i > 0, talk: time.Duration(1+r.IntN(40)) * time.Second, wrap: time.Duration(r.IntN(20)) * time.Second,
			said: agents.Disposition{Code: codes[i], Callback: time.Now().Add(5 * time.Minute), Own: i%2 == 0},
		})
	}
	for range steps {
		time.Sleep(time.Duration(r.IntN(3000)) * time.Millisecond)
		agent := name(r.IntN(crew))
		switch r.IntN(12) {
		case 0:
			h.registry.SetNotReady(agent, "break")
		case 1, 2:
			h.registry.SetReady(agent)
		case 3:
			h.registry.Hangup(agent)
		case 4:
			h.phones.SwitchOff(string(agent))
			time.AfterFunc(5*time.Second, func() { h.phones.SwitchOn(string(agent)) })
		case 5, 6:
			if calls := h.store.Calls(); len(calls) > 0 {
				h.trunk.Hangup(calls[max(0, len(calls)-1-r.IntN(8))].ID)
			}
		case 7:
			if calls := h.store.Calls(); len(calls) > 0 {
				h.trunk.Press(calls[max(0, len(calls)-1-r.IntN(8))].ID, '9')
			}
		case 8:
			n := dialer.Number(fmt.Sprintf("+1202555%04d", r.IntN(300)))
			if err := h.store.AddDNC(t.Context(), "", n, "test", time.Now()); err != nil {
				t.Error(err)
			}
		case 9:
			h.trunk.SetDown("maintenance")
			time.AfterFunc(2*time.Second, func() { h.trunk.SetDown("") })
		case 10:
			h.faults.set(fmt.Errorf("connection refused"))
			time.AfterFunc(time.Duration(r.IntN(4000))*time.Millisecond, func() { h.faults.set(nil) })
		case 11:
			from, to := campaign.Running, campaign.Paused
			if r.IntN(2) == 0 {
				to = campaign.Stopped
			}
			if _, err := h.store.SetCampaignState(t.Context(), "cmp_1", []campaign.State{from}, to, "", "", time.Now()); err == nil {
				time.AfterFunc(3*time.Second, func() {
					h.store.SetCampaignState(t.Context(), "cmp_1", []campaign.State{to}, from, "", "", time.Now())
				})
			}
		}
	}
	time.Sleep(5 * time.Second)
	for i := range crew {
		h.phones.SwitchOn(string(name(i)))
	}
	h.drain()
	checkCalls(t, h)
	if n := len(h.store.Calls()); n < 2 {
		t.Errorf("only %d calls: %s", n, h.why())
	}
}

// checkCalls compares calls, facts and INVITEs.
func checkCalls(t *testing.T, h *house) {
	t.Helper()
	ends := map[dialer.CallID]int{}
	for _, e := range h.store.Events() {
		if _, ok := e.Fact.(dialer.CallEnded); ok {
			ends[e.Call]++
		}
	}
	sent := 0
	for _, c := range h.store.Calls() {
		if ends[c.ID] != 1 {
			t.Errorf("call %s has %d ends", c.ID, ends[c.ID])
		}
		if !c.SentAt.IsZero() {
			sent++
		}
		if c.Outcome == campaign.OutcomeConnected != !c.ConnectedAt.IsZero() {
			t.Errorf("call %s: outcome %s, connected at %v", c.ID, c.Outcome, c.ConnectedAt)
		}
		if !c.AnsweredAt.IsZero() && c.Class == "" {
			t.Errorf("call %s was answered and has no class", c.ID)
		}
	}
	if n := h.trunk.Stats().Placed; n != sent {
		t.Errorf("the carrier saw %d INVITEs, %d calls say they were sent", n, sent)
	}
}
