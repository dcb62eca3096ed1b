package campaign_test

import (
	"testing"
	"time"

	"dialer/agents"
	"dialer/campaign"
	"dialer/compliance"
	"dialer/telephony"
	"dialer/telephony/simtrunk"
)

// lateMachine is taken for a person at its first pause, and beeps later on.
func lateMachine(telephony.Invite) simtrunk.Behaviour {
	const ms = time.Millisecond
	return simtrunk.Behaviour{Ring: time.Second, Answer: true, Audio: simtrunk.Script(
		simtrunk.Quiet(400*ms), simtrunk.Speech(500*ms), simtrunk.Quiet(1400*ms), // "Hello." … here is an agent
		simtrunk.Speech(6*time.Second), simtrunk.Quiet(700*ms), simtrunk.Beep(1000, 400*ms),
	)}
}

// An agent who talks to a machine sees it at once, and one key leaves the
// machine to the message and makes them ready for the next call.
func TestLateMachine(t *testing.T) {
	const beepEnd = 9400 * time.Millisecond
	for name, in := range map[string]struct {
		mode     campaign.ListenMode
		late     campaign.Late
		key      bool // the agent presses it as soon as they are told
		outcome  campaign.Outcome
		by       string
		told     bool
		free     time.Duration // the agent is ready again so long after the answer
		disposed string
	}{
		"told, and the key":    {campaign.ListenSync, campaign.LateTell, true, campaign.OutcomeMessage, "agent", true, 10 * time.Second, "ANSWERING_MACHINE"},
		"told, and no key":     {campaign.ListenSync, campaign.LateTell, false, campaign.OutcomeConnected, "person", true, time.Minute, "SALE"},
		"freed":                {campaign.ListenSync, campaign.LateFree, false, campaign.OutcomeMessage, "amd", true, 10 * time.Second, ""},
		"nobody listens":       {campaign.ListenSync, campaign.LateOff, false, campaign.OutcomeConnected, "person", false, time.Minute, "SALE"},
		"the agent goes first": {campaign.ListenAsync, campaign.LateFree, false, campaign.OutcomeMessage, "amd", true, 10 * time.Second, ""},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				set := leaving(campaign.Progressive)
				set.Detection.Mode, set.Detection.LateMachine = in.mode, in.late
				h := open(t, set, 1, lateMachine)
				h.agent("agt_1", answer{talk: 40 * time.Second, wrap: time.Second, said: agents.Disposition{Code: "SALE"}})
				messages, stop := h.registry.Subscribe("agt_1")
				defer stop()
				told, free := time.Time{}, time.Time{}
				watched := make(chan struct{})
				go func() {
					defer close(watched)
					for m := range messages {
						switch {
						case m.Kind == agents.MachineHeard:
							told = m.At
							if in.key {
								if err := h.registry.Machine("agt_1", m.Call); err != nil {
									t.Error(err)
								}
							}
						case m.Kind == agents.StateChanged && m.State == agents.Ready && m.From == agents.WrapUp:
							free = m.At
						}
					}
				}()
				time.Sleep(2 * time.Minute)
				stop()
				<-watched
				c := h.call(0)
				if c.Outcome != in.outcome || (!c.Heard.LateMachineAt.IsZero()) != in.told || told.IsZero() == in.told || c.Disposition != in.disposed {
					t.Errorf("%s by %s, %+v; disposition %q, the agent told at %s", c.Outcome, c.AnsweredBySource, c.Heard, c.Disposition, told)
				}
				if in.mode == campaign.ListenAsync {
					if wait := c.ConnectedAt.Sub(c.AnsweredAt); wait > 50*time.Millisecond || c.Verdict == "" {
						t.Errorf("the agent came %s after the answer, verdict %q", wait, c.Verdict)
					}
				} else if c.Verdict != "human" {
					t.Errorf("verdict %s", c.Verdict)
				}
				if wait := free.Sub(c.AnsweredAt); free.IsZero() || wait > in.free {
					t.Errorf("the agent was free %s after the answer", wait)
				}
				if in.outcome != campaign.OutcomeMessage {
					return
				}
				if c.Class != compliance.ClassMachine || c.AnsweredBy != "machine" || c.AnsweredBySource != in.by {
					t.Errorf("%s, answered by %s (%s)", c.Class, c.AnsweredBy, c.AnsweredBySource)
				}
				if v := c.Heard.Voicemail; !v.Complete || v.After != "beep" || v.StartedAt.Sub(c.AnsweredAt.Add(beepEnd)) > 150*time.Millisecond {
					t.Errorf("%+v, %s after the answer", v, v.StartedAt.Sub(c.AnsweredAt))
				}
				if dropped := h.store.Dropped(); dropped != nil {
					t.Error(dropped)
				}
			})
		})
	}
}

// A person is talked with in peace.
func TestNoLateMachineForAPerson(t *testing.T) {
	bubble(t, func(t *testing.T) {
		set := leaving(campaign.Progressive)
		set.Detection.LateMachine = campaign.LateFree
		h := open(t, set, 1, person)
		h.agent("agt_1", sale)
		time.Sleep(2 * time.Minute)
		if c := h.call(0); c.Outcome != campaign.OutcomeConnected || !c.Heard.LateMachineAt.IsZero() || c.EndedAt.Sub(c.ConnectedAt) != 30*time.Second {
			t.Errorf("%s, %+v", c.Outcome, c.Heard)
		}
	})
}
