package campaign_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"dialer"
	"dialer/agents"
	"dialer/campaign"
	"dialer/compliance"
	"dialer/telephony"
	"dialer/telephony/simtrunk"
)

// person answers after 5 s and greets.
func person(telephony.Invite) simtrunk.Behaviour {
	return simtrunk.Behaviour{Ring: 5 * time.Second, Answer: true, Audio: simtrunk.Human(700 * time.Millisecond)}
}

var sale = answer{dial: true, talk: 30 * time.Second, wrap: 5 * time.Second, said: agents.Disposition{Code: "SALE", Note: "two"}}

func TestJourneyOfEachMode(t *testing.T) {
	served := []string{"call.placed", "call.ringing", "call.answered", "call.classified", "agent.offered", "call.connected", "call.ended", "lead.retired", "call.dispositioned", "lead.retired"}
	agentFirst := []string{"agent.offered", "call.placed", "call.ringing", "call.answered", "call.classified", "call.connected", "call.ended", "lead.retired", "call.dispositioned", "lead.retired"}
	previewed := slices.DeleteFunc(slices.Clone(agentFirst), func(k string) bool { return k == "call.classified" })
	for mode, want := range map[campaign.Mode][]string{
		campaign.Progressive: agentFirst,
		campaign.Preview:     previewed,
		campaign.Power:       served,
		campaign.Predictive:  served,
	} {
		t.Run(string(mode), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				set := settings(mode)
				set.AMD = true
				limit := 0.1
				set.AbandonCap = &limit
				h := openAfter(t, 50, set, 1, person)
				h.agent("agt_1", sale)
				time.Sleep(2 * time.Minute)

				if diff := cmp.Diff(want, h.kinds()); diff != "" {
					t.Error(diff)
				}
				c := h.call(len(h.store.Calls()) - 1)
				if c.State != campaign.Ended || c.Outcome != campaign.OutcomeConnected || c.Class != compliance.ClassConnected ||
					c.Disposition != "SALE" || c.Note != "two" || c.Agent != "agt_1" || c.EndedBy != telephony.Caller || c.AnsweredBy != "person" {
					t.Errorf("call %+v", c)
				}
				if c.Mode != mode {
					t.Errorf("mode %s, want %s", c.Mode, mode)
				}
				if l := h.lead(0); l.State != campaign.Done || l.Why != "SALE" || l.Attempts != 1 {
					t.Errorf("lead %+v", l)
				}
				pops := h.pops["agt_1"]
				if len(pops) != 1 || pops[0].Fields["first"] != "Ada" || pops[0].Number != "+12025550000" || len(pops[0].Dispositions) == 0 {
					t.Errorf("screen pops %+v", pops)
				}
				if s := h.registry.State("agt_1"); s.State != agents.Ready {
					t.Errorf("the agent is %s", s.State)
				}
				if got, _ := h.store.GetCampaign(t.Context(), "cmp_1"); got.State != campaign.Completed {
					t.Errorf("the campaign is %s: %s", got.State, h.why())
				}
			})
		})
	}
}

func TestAbandonedCallHearsTheMessageAtTheDeadline(t *testing.T) {
	bubble(t, func(t *testing.T) {
		heard := time.Time{}
		h := openAfter(t, 50, settings(campaign.Power), 1, func(telephony.Invite) simtrunk.Behaviour {
			b := person(telephony.Invite{})
			b.Hears = func(telephony.Frame) {
				if heard.IsZero() {
					heard = time.Now()
				}
			}
			b.Digits = []simtrunk.Press{{After: 4 * time.Second, Key: '9'}}
			return b
		})
		h.agent("agt_1", sale)
		time.Sleep(3 * time.Second) // it rings
		if err := h.registry.SetNotReady("agt_1", "break"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second)

		c := h.call(0)
		if c.Class != compliance.ClassAbandonedMsg || c.Outcome != campaign.OutcomeAbandoned || c.MessageSHA != messageSHA {
			t.Errorf("class %s, outcome %s, message %q", c.Class, c.Outcome, c.MessageSHA)
		}
		if wait := heard.Sub(c.AnsweredAt); wait < 1900*time.Millisecond || wait > 2020*time.Millisecond {
			t.Errorf("the message began %s after the answer, want the 2 s deadline", wait)
		}
		if c.OptOutAt.IsZero() {
			t.Error("key 9 was not taken")
		}
		dnc, _ := h.store.DNCOf(t.Context(), "cmp_1", []dialer.Number{c.To})
		if dnc[c.To] != "global" {
			t.Errorf("the number is on list %q", dnc[c.To])
		}
		if l := h.lead(0); l.State != campaign.Done || l.Why != "dnc" {
			t.Errorf("lead %s (%s)", l.State, l.Why)
		}
		want := []string{"call.placed", "call.ringing", "call.answered", "call.abandoned", "message.started", "message.ended", "dnc.changed", "call.opted_out", "call.ended", "lead.retired"}
		if diff := cmp.Diff(want, h.kinds()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestOutcomesAndRecycling(t *testing.T) {
	for name, in := range map[string]struct {
		does    simtrunk.Behaviour
		outcome campaign.Outcome
		class   compliance.Class
		state   campaign.LeadState
		due     time.Duration
	}{
		"busy":      {simtrunk.Behaviour{Ring: time.Second, Cause: telephony.CauseBusy}, campaign.OutcomeBusy, compliance.ClassBusy, campaign.Dialable, 5 * time.Minute},
		"no answer": {simtrunk.Behaviour{}, campaign.OutcomeNoAnswer, compliance.ClassNoAnswer, campaign.Dialable, time.Hour},
		"invalid":   {simtrunk.Behaviour{Ring: time.Second, Cause: telephony.CauseInvalid}, campaign.OutcomeInvalid, compliance.ClassInvalid, campaign.Done, 0},
		"machine":   {simtrunk.Behaviour{Ring: time.Second, Answer: true, Audio: simtrunk.MachineGreeting(9 * time.Second)}, campaign.OutcomeMachine, compliance.ClassMachine, campaign.Dialable, 4 * time.Hour},
		"fax":       {simtrunk.Behaviour{Ring: time.Second, Answer: true, Audio: simtrunk.Fax()}, campaign.OutcomeFax, compliance.ClassMachine, campaign.Done, 0},
		"hung up at once": {simtrunk.Behaviour{Ring: time.Second, Answer: true, HangupAfter: 500 * time.Millisecond},
			campaign.OutcomeCalleeEarly, compliance.ClassCalleeEarly, campaign.Done, 0},
		"ghost": {simtrunk.Behaviour{AnswerOnCancel: true}, campaign.OutcomeAbandoned, compliance.ClassAbandonedSilent, campaign.Dialable, 72 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				set := settings(campaign.Progressive)
				set.AMD = true
				set.ConnectDeadlineMS = 5000 // time to hear a fax
				h := open(t, set, 1, func(telephony.Invite) simtrunk.Behaviour { return in.does })
				h.agent("agt_1", sale)
				time.Sleep(time.Minute)
				c, l := h.call(0), h.lead(0)
				if c.Outcome != in.outcome || c.Class != in.class {
					t.Errorf("outcome %s class %s (%s %s), want %s %s", c.Outcome, c.Class, c.Verdict, c.VerdictReason, in.outcome, in.class)
				}
				if l.State != in.state {
					t.Errorf("lead %s (%s), want %s", l.State, l.Why, in.state)
				}
				if got := l.Due.Sub(c.EndedAt).Round(time.Second); in.state == campaign.Dialable && got != in.due {
					t.Errorf("due after %s, want %s", got, in.due)
				}
				if s := h.registry.State("agt_1"); s.State != agents.Ready {
					t.Errorf("the agent is %s", s.State)
				}
				if c.Ghost != (name == "ghost") {
					t.Errorf("ghost %v", c.Ghost)
				}
			})
		})
	}
}

func TestDoNotCallWhileInTheHopper(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := open(t, settings(campaign.Progressive), 3, person)
		h.agent("agt_1", sale)
		time.Sleep(3 * time.Second) // one rings, two are in the hopper
		if err := h.store.AddDNC(t.Context(), "", "+12025550001", "test", time.Now()); err != nil {
			t.Fatal(err)
		}
		if err := h.store.AddDNC(t.Context(), "", "+12025550000", "test", time.Now()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if c := h.call(0); c.Outcome != campaign.OutcomeCancelled {
			t.Errorf("a second later it still rings: %s", c.State)
		}
		time.Sleep(3 * time.Minute)
		called := map[dialer.Number]campaign.Outcome{}
		for _, c := range h.store.Calls() {
			called[c.To] = c.Outcome
		}
		if _, ok := called["+12025550001"]; ok {
			t.Error("a number on the do-not-call list was called")
		}
		if called["+12025550000"] != campaign.OutcomeCancelled || called["+12025550002"] != campaign.OutcomeConnected {
			t.Errorf("calls %v", called)
		}
		if l := h.lead(1); l.State != campaign.Done || l.Why != "dnc" {
			t.Errorf("lead %s (%s)", l.State, l.Why)
		}
	})
}

// TestStopLetsPhonesRing: a phone must ring for a legal minimum, so what rings at
// the stop rings on, and who answers has their agent; no other call is placed.
func TestStopLetsPhonesRing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := open(t, settings(campaign.Progressive), 20, person)
		h.agent("agt_1", answer{talk: time.Minute, said: agents.Disposition{Code: "SALE"}})
		time.Sleep(10 * time.Second) // the first talks
		h.agent("agt_2", sale)
		time.Sleep(2 * time.Second) // the second's call rings
		now := time.Now()
		if _, err := h.store.SetCampaignState(t.Context(), "cmp_1", []campaign.State{campaign.Running}, campaign.Stopped, "", "", now); err != nil {
			t.Fatal(err)
		}
		h.sched.Wake()
		synctest.Wait()
		if c := h.call(1); c.State != campaign.Ringing && c.State != campaign.Placed {
			t.Errorf("the ringing call is %s %s", c.State, c.Outcome)
		}
		if c := h.call(0); c.State != campaign.Connected {
			t.Errorf("the talk is %s", c.State)
		}
		time.Sleep(2 * time.Minute)
		if c := h.call(0); c.Disposition != "SALE" || c.EndedAt.Sub(c.ConnectedAt) != time.Minute {
			t.Errorf("the talk was cut: %s", c.EndedAt.Sub(c.ConnectedAt))
		}
		if c := h.call(1); c.Outcome != campaign.OutcomeConnected {
			t.Errorf("the call that rang has ended as %s", c.Outcome)
		}
		if n := len(h.store.Calls()); n != 2 {
			t.Errorf("%d calls, want 2", n)
		}
		for i, l := range h.store.Leads() {
			if l.State == campaign.Claimed {
				t.Errorf("lead %d is left in the hopper", i)
			}
		}
	})
}

func TestDatabaseAwayStopsDialingNotTalking(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := open(t, settings(campaign.Progressive), 50, person)
		h.agent("agt_1", answer{talk: 40 * time.Second, wrap: time.Second, said: agents.Disposition{Code: "SALE"}})
		time.Sleep(10 * time.Second)
		h.faults.set(errors.New("connection refused"))
		time.Sleep(time.Second)
		before := h.trunk.Stats().Placed
		h.agent("agt_2", sale)
		time.Sleep(time.Minute)
		if n := h.trunk.Stats().Placed - before; n > 0 {
			t.Errorf("%d calls were placed without a database", n)
		}
		if why := h.why(); !strings.Contains(why, "database") {
			t.Errorf("diagnostics say %q", why)
		}
		c := h.call(0)
		if c.Outcome != campaign.OutcomeConnected || c.EndedAt.Sub(c.ConnectedAt) != 40*time.Second {
			t.Errorf("the talk was cut: %s", c.EndedAt.Sub(c.ConnectedAt))
		}
		h.faults.set(nil)
		time.Sleep(10 * time.Second)
		if c := h.call(0); c.Disposition != "SALE" {
			t.Errorf("the disposition said while the database was away is %q", c.Disposition)
		}
		if n := h.trunk.Stats().Placed - before; n == 0 {
			t.Errorf("nothing was dialed 10 s after the database came back: %s", h.why())
		}
	})
}

func TestDrainLetsTalksEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := open(t, settings(campaign.Progressive), 50, person)
		h.agent("agt_1", answer{talk: time.Minute, wrap: 5 * time.Second, said: agents.Disposition{Code: "SALE"}})
		time.Sleep(10 * time.Second)
		h.agent("agt_2", sale)
		time.Sleep(2 * time.Second)
		h.sched.Drain()
		time.Sleep(time.Second)
		select {
		case <-h.ended:
			t.Fatal("Run returned during a talk")
		default:
		}
		placed := h.trunk.Stats().Placed
		time.Sleep(time.Minute)
		<-h.ended
		if n := h.trunk.Stats().Placed; n != placed {
			t.Errorf("%d calls were placed after the drain", n-placed)
		}
		if c := h.call(0); c.Disposition != "SALE" {
			t.Errorf("the talk ended with %q %s", c.Disposition, c.Outcome)
		}
		if c := h.call(1); c.Outcome != campaign.OutcomeConnected {
			t.Errorf("the call that rang at the drain ended as %s", c.Outcome)
		}
	})
}

func TestCloseEndsTalks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := open(t, settings(campaign.Progressive), 5, person)
		h.agent("agt_1", answer{})
		time.Sleep(10 * time.Second)
		h.sched.Close(nil)
		<-h.ended
		if c := h.call(0); c.Outcome != campaign.OutcomeConnected || c.EndedBy != telephony.Caller {
			t.Errorf("the talk ended as %s by %s", c.Outcome, c.EndedBy)
		}
	})
}

func TestOwnCallbackGoesToItsAgent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := open(t, settings(campaign.Predictive), 1, person)
		at := time.Now().Add(10 * time.Minute)
		h.agent("agt_1", answer{talk: 10 * time.Second, said: agents.Disposition{Code: "CALLBACK", Callback: at, Own: true}, then: agents.Disposition{Code: "SALE"}})
		time.Sleep(time.Minute)
		if l := h.lead(0); l.Owner != "agt_1" || !l.Due.Equal(at) || l.State != campaign.Dialable {
			t.Fatalf("lead %+v", l)
		}
		h.agent("agt_2", sale)
		time.Sleep(10 * time.Minute)
		calls := h.store.Calls()
		if len(calls) != 2 || calls[1].Agent != "agt_1" || calls[1].PlacedAt.Before(at) || calls[1].Mode != campaign.Progressive {
			t.Fatalf("%d calls, the last %+v", len(calls), calls[len(calls)-1])
		}
		if wait := calls[1].PlacedAt.Sub(at); wait > 10*time.Second {
			t.Errorf("the callback came %s late", wait)
		}
	})
}

func TestPreviewSkip(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := open(t, settings(campaign.Preview), 2, person)
		h.agent("agt_1", answer{dial: false})
		time.Sleep(10 * time.Second)
		if n := len(h.store.Calls()); n != 0 {
			t.Errorf("%d calls of skipped leads", n)
		}
		for i := range 2 {
			if l := h.lead(i); l.State != campaign.Dialable || l.Why != "skipped" || l.Attempts != 0 {
				t.Errorf("lead %d: %s (%s), %d attempts", i, l.State, l.Why, l.Attempts)
			}
		}
		if why := h.why(); !strings.Contains(why, "2 leads wait after an agent skipped them") {
			t.Errorf("diagnostics say %q", why)
		}
	})
}

func TestAgentPhoneLostInTheTalk(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := open(t, settings(campaign.Progressive), 1, person)
		h.agent("agt_1", answer{})
		time.Sleep(8 * time.Second)
		h.agent("agt_2", sale)
		time.Sleep(2 * time.Second)
		h.phones.SwitchOff("agt_1")
		time.Sleep(time.Minute)
		c := h.call(0)
		if c.Agent != "agt_2" || c.Disposition != "SALE" || len(h.phones.Talks()) != 2 {
			t.Errorf("the person had agent %s, disposition %q, %d talks", c.Agent, c.Disposition, len(h.phones.Talks()))
		}
		if gap := h.phones.Talks()[1].From.Sub(h.phones.Talks()[0].To); gap > 2*time.Second {
			t.Errorf("the person waited %s for another agent", gap)
		}
	})
	bubble(t, func(t *testing.T) { // and nobody else is there
		h := open(t, settings(campaign.Progressive), 1, person)
		h.agent("agt_1", answer{})
		time.Sleep(10 * time.Second)
		h.phones.SwitchOff("agt_1")
		time.Sleep(3 * time.Second)
		if c := h.call(0); c.MessageStartAt.IsZero() || c.State == campaign.Ended {
			t.Errorf("3 s after the agent was lost: %s, message %v", c.State, c.MessageStartAt)
		}
		time.Sleep(time.Minute)
		if c := h.call(0); c.Outcome != campaign.OutcomeConnected || c.Class != compliance.ClassConnected {
			t.Errorf("outcome %s, class %s", c.Outcome, c.Class)
		}
	})
	bubble(t, func(t *testing.T) { // and the agent has something to say of the call
		h := open(t, settings(campaign.Progressive), 1, person)
		h.agent("agt_1", answer{})
		time.Sleep(10 * time.Second)
		h.phones.SwitchOff("agt_1")
		time.Sleep(50 * time.Second) // the message has been played
		c := h.call(0)
		if s := h.registry.State("agt_1"); c.State != campaign.Ended || s.State != agents.WrapUp || s.Call != c.ID {
			t.Fatalf("the call is %s, its agent %s with call %q", c.State, s.State, s.Call)
		}
		if err := h.registry.Dispose("agt_1", c.ID, agents.Disposition{Code: "DNC"}, ""); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if s := h.registry.State("agt_1"); s.State != agents.NotReady || s.Reason != "phone gone" {
			t.Errorf("the agent is %s (%s)", s.State, s.Reason)
		}
		if c := h.call(0); c.Disposition != "DNC" {
			t.Errorf("disposition %q", c.Disposition)
		}
	})
}

// A reaper takes note of the ringing calls that it is to give up.
type reaper struct {
	*simtrunk.Trunk
	cancelled chan telephony.Invite
}

func (r reaper) CancelOrphan(_ context.Context, inv telephony.Invite) error {
	r.cancelled <- inv
	return nil
}

func TestOutsideTheHours(t *testing.T) {
	bubble(t, func(t *testing.T) { // a bubble begins on Saturday 2000-01-01 00:00 UTC
		set := settings(campaign.Progressive)
		set.Hours, _ = compliance.ParseHours("Fri 20:00-23:00")
		h := open(t, set, 3, person)
		h.agent("agt_1", sale)
		time.Sleep(time.Minute)
		if n := len(h.store.Calls()); n > 0 {
			t.Fatalf("%d calls on Friday evening in New York", n)
		}
		if why := h.why(); !strings.Contains(why, "3 leads wait for their calling hours; the first opens") {
			t.Errorf("diagnostics say %q", why)
		}
		time.Sleep(time.Hour)
		if n := len(h.store.Calls()); n == 0 {
			t.Errorf("nothing was called after 20:00: %s", h.why())
		}
	})
}

// The message and the wish of the person need no database.
func TestMessageAndOptOutWhileTheDatabaseIsAway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := openAfter(t, 50, settings(campaign.Power), 1, func(inv telephony.Invite) simtrunk.Behaviour {
			b := person(inv)
			b.Digits = []simtrunk.Press{{After: 3 * time.Second, Key: '9'}}
			return b
		})
		h.agent("agt_1", sale)
		time.Sleep(3 * time.Second)
		h.faults.set(errors.New("connection refused"))
		if err := h.registry.SetNotReady("agt_1", "break"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		c := h.call(0)
		if wait := c.MessageStartAt.Sub(c.AnsweredAt); c.MessageStartAt.IsZero() || wait > 2020*time.Millisecond {
			t.Errorf("the message began %s after the answer", wait)
		}
		if n := h.trunk.Stats().InUse; n != 0 || c.State == campaign.Ended {
			t.Errorf("%d legs up, call %s: want the person gone and the attempt open until the wish is saved", n, c.State)
		}
		h.faults.set(nil)
		time.Sleep(10 * time.Second)
		c = h.call(0)
		dnc, _ := h.store.DNCOf(t.Context(), "cmp_1", []dialer.Number{c.To})
		if dnc[c.To] != "global" || c.State != campaign.Ended || c.OptOutAt.IsZero() {
			t.Errorf("list %q, call %s, opted out %v", dnc[c.To], c.State, c.OptOutAt)
		}
	})
}

// An agent who is free only in the last instant comes too late for the law, when
// the message has still been in time.
func TestNoAgentInTheLastInstant(t *testing.T) {
	for name, in := range map[string]struct {
		ready time.Duration // after the answer
		want  compliance.Class
	}{
		"in time":      {1950 * time.Millisecond, compliance.ClassConnected},
		"the last one": {1990 * time.Millisecond, compliance.ClassAbandonedMsg},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h := openAfter(t, 50, settings(campaign.Power), 1, person)
				h.agent("agt_1", sale)
				time.Sleep(3 * time.Second) // it rings
				if err := h.registry.SetNotReady("agt_1", "break"); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				answer := h.call(0).PlacedAt.Add(5 * time.Second)
				time.Sleep(time.Until(answer.Add(in.ready)))
				if err := h.registry.SetReady("agt_1"); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				c := h.call(0)
				if c.Class != in.want {
					t.Errorf("class %s, want %s (agent after %s, message after %s)", c.Class, in.want, c.ConnectedAt.Sub(c.AnsweredAt), c.MessageStartAt.Sub(c.AnsweredAt))
				}
			})
		})
	}
}

// A pause that the store knows before the engine does costs the lead nothing.
func TestLeadIsGivenBackWhenTheCampaignIsPaused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		first := true
		h := open(t, settings(campaign.Progressive), 2, func(inv telephony.Invite) simtrunk.Behaviour {
			if first {
				first = false
				return simtrunk.Behaviour{Ring: 2500 * time.Millisecond, Cause: telephony.CauseBusy}
			}
			return person(inv)
		})
		h.agent("agt_1", sale)
		time.Sleep(2400 * time.Millisecond)
		set := func(from, to campaign.State) {
			t.Helper()
			if _, err := h.store.SetCampaignState(t.Context(), "cmp_1", []campaign.State{from}, to, "", "", time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		set(campaign.Running, campaign.Paused)
		time.Sleep(2 * time.Second)
		if l := h.lead(1); l.State == campaign.Calling || l.Attempts != 0 || l.Why != "" || l.Due.After(time.Now()) {
			t.Errorf("during the pause the lead is %s (%s), %d attempts, due %s", l.State, l.Why, l.Attempts, l.Due)
		}
		set(campaign.Paused, campaign.Running)
		h.sched.Wake()
		time.Sleep(2 * time.Second)
		if n := len(h.store.Calls()); n != 2 {
			t.Errorf("%d calls 2 s after the pause: %s", n, h.why())
		}
	})
}
