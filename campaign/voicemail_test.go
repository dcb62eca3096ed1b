package campaign_test

import (
	"testing"
	"time"

	"dialer/agents"
	"dialer/amd"
	"dialer/campaign"
	"dialer/compliance"
	"dialer/telephony"
	"dialer/telephony/simtrunk"
)

// leaving is a campaign that leaves its message on machines.
func leaving(mode campaign.Mode) campaign.Settings {
	set := settings(mode)
	set.AMD = true
	set.Detection.Voicemail = messageSHA // 3 s
	set.Detection.Reactions = map[amd.Verdict]campaign.Reaction{amd.Machine: campaign.ReactMessage}
	return set
}

// A message begins when the machine records, and anew when it did not yet.
func TestMessageIsLeft(t *testing.T) {
	const ms, s = time.Millisecond, time.Second
	for name, in := range map[string]struct {
		greeting []simtrunk.Part
		hangup   time.Duration
		records  time.Duration // when the machine begins to record, after the answer
		late     time.Duration // how much later the message may begin, the last time
		after    string
		restarts int
		outcome  campaign.Outcome
		played   time.Duration
	}{
		"after a beep": {
			greeting: []simtrunk.Part{simtrunk.Quiet(300 * ms), simtrunk.Speech(6 * s), simtrunk.Quiet(700 * ms), simtrunk.Beep(1000, 400*ms)},
			records:  7400 * ms, late: 150 * ms, after: "beep", outcome: campaign.OutcomeMessage, played: 3 * s,
		},
		"a beep decides": {
			greeting: []simtrunk.Part{simtrunk.Quiet(300 * ms), simtrunk.Speech(1200 * ms), simtrunk.Quiet(400 * ms), simtrunk.Beep(850, 300*ms)},
			records:  2200 * ms, late: 150 * ms, after: "beep", outcome: campaign.OutcomeMessage, played: 3 * s,
		},
		"without a beep": {
			greeting: []simtrunk.Part{simtrunk.Quiet(300 * ms), simtrunk.Speech(6 * s)}, // its last 300 ms are breath
			records:  6*s + 2*s, late: 400 * ms, after: "silence", outcome: campaign.OutcomeMessage, played: 3 * s,
		},
		"the greeting goes on": {
			greeting: []simtrunk.Part{
				simtrunk.Quiet(300 * ms), simtrunk.Speech(6 * s), simtrunk.Quiet(3200 * ms), simtrunk.Speech(4 * s), simtrunk.Quiet(500 * ms), simtrunk.Beep(1000, 400*ms),
			},
			records: 14400 * ms, late: 150 * ms, after: "beep", restarts: 1, outcome: campaign.OutcomeMessage, played: 3 * s,
		},
		"a beep after the silence": {
			greeting: []simtrunk.Part{simtrunk.Quiet(300 * ms), simtrunk.Speech(6 * s), simtrunk.Quiet(3500 * ms), simtrunk.Beep(1400, 500*ms)},
			records:  10300 * ms, late: 150 * ms, after: "beep", restarts: 1, outcome: campaign.OutcomeMessage, played: 3 * s,
		},
		"the machine hangs up": {
			greeting: []simtrunk.Part{simtrunk.Quiet(300 * ms), simtrunk.Speech(6 * s), simtrunk.Quiet(700 * ms), simtrunk.Beep(1000, 400*ms)},
			hangup:   8400 * ms,
			records:  7400 * ms, late: 150 * ms, after: "beep", outcome: campaign.OutcomeMachine, played: s,
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h := open(t, leaving(campaign.Progressive), 1, func(telephony.Invite) simtrunk.Behaviour {
					return simtrunk.Behaviour{Ring: s, Answer: true, Audio: simtrunk.Script(in.greeting...), HangupAfter: in.hangup}
				})
				h.agent("agt_1", sale)
				time.Sleep(7 * s)
				if s := h.registry.State("agt_1"); name != "a beep decides" && s.State != agents.Ready {
					t.Errorf("the agent is %s while a machine greets", s.State)
				}
				time.Sleep(time.Minute)
				c := h.call(0)
				v := c.Heard.Voicemail
				if c.Outcome != in.outcome || c.Class != compliance.ClassMachine || c.Verdict != string(amd.Machine) || c.Heard.Reaction != campaign.ReactMessage {
					t.Errorf("%s %s, %s by %s: %+v", c.Outcome, c.Class, c.Verdict, c.VerdictReason, c.Heard)
				}
				if late := v.StartedAt.Sub(c.AnsweredAt.Add(in.records)); late < -40*ms || late > in.late {
					t.Errorf("it began %s after the machine recorded", late)
				}
				if v.After != in.after || v.Restarts != in.restarts || v.SHA != messageSHA || v.Complete != (in.outcome == campaign.OutcomeMessage) {
					t.Errorf("%+v", v)
				}
				if d := time.Duration(v.PlayedMS)*ms - in.played; d.Abs() > 150*ms {
					t.Errorf("%d ms were played, want about %s", v.PlayedMS, in.played)
				}
				if in.after == "beep" && (c.Heard.BeepEndAt.Sub(c.AnsweredAt.Add(in.records)).Abs() > 60*ms || c.Heard.BeepHz < 800) {
					t.Errorf("the beep: %+v", c.Heard)
				}
				l := h.lead(0)
				if done := in.outcome == campaign.OutcomeMessage; (l.State == campaign.Done) != done || l.Why != string(in.outcome) {
					t.Errorf("the lead is %s: %s", l.State, l.Why)
				}
			})
		})
	}
}

// A line that never stops talking is left alone some time.
func TestMessageIsNotWaitedForForEver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := open(t, leaving(campaign.Progressive), 1, func(telephony.Invite) simtrunk.Behaviour {
			return simtrunk.Behaviour{Ring: time.Second, Answer: true, Audio: simtrunk.Script(simtrunk.Speech(time.Hour))}
		})
		h.agent("agt_1", sale)
		time.Sleep(3 * time.Minute)
		c := h.call(0)
		if c.Outcome != campaign.OutcomeMachine || c.EndedAt.Sub(c.AnsweredAt) > 100*time.Second || c.Heard.Voicemail.PlayedMS != 0 {
			t.Errorf("%s after %s: %+v", c.Outcome, c.EndedAt.Sub(c.AnsweredAt), c.Heard)
		}
	})
}

// What becomes of each class is the campaign's to say.
func TestReactions(t *testing.T) {
	machine := simtrunk.MachineGreeting(9 * time.Second)
	for name, in := range map[string]struct {
		audio   simtrunk.Audio
		does    map[amd.Verdict]campaign.Reaction
		outcome campaign.Outcome
		state   campaign.LeadState
		talked  bool
	}{
		"a machine is tried again":     {machine, nil, campaign.OutcomeMachine, campaign.Dialable, false},
		"a machine is done with":       {machine, map[amd.Verdict]campaign.Reaction{amd.Machine: campaign.ReactHangUp}, campaign.OutcomeMachine, campaign.Done, false},
		"a machine goes to an agent":   {machine, map[amd.Verdict]campaign.Reaction{amd.Machine: campaign.ReactAgent}, campaign.OutcomeConnected, campaign.Done, true},
		"silence goes to an agent":     {nil, nil, campaign.OutcomeConnected, campaign.Done, true},
		"silence, hung up on, is lost": {nil, map[amd.Verdict]campaign.Reaction{amd.Silence: campaign.ReactRetry}, campaign.OutcomeAbandoned, campaign.Dialable, false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				set := settings(campaign.Progressive)
				set.AMD, set.Detection.Reactions = true, in.does
				h := open(t, set, 1, func(telephony.Invite) simtrunk.Behaviour {
					return simtrunk.Behaviour{Ring: time.Second, Answer: true, Audio: in.audio}
				})
				h.agent("agt_1", sale)
				time.Sleep(time.Minute)
				c := h.call(0)
				if l := h.lead(0); c.Outcome != in.outcome || l.State != in.state || (len(h.phones.Talks()) > 0) != in.talked {
					t.Errorf("%s (%s), lead %s (%s), talks %v", c.Outcome, c.Verdict, l.State, l.Why, h.phones.Talks())
				}
			})
		})
	}
}

// What the network announces before an answer is the outcome, and nobody waits
// for the ringing to end.
func TestEarlyAnnouncements(t *testing.T) {
	const ms = time.Millisecond
	vacant := simtrunk.Script(simtrunk.Quiet(500*ms), simtrunk.Beep(985, 380*ms), simtrunk.Beep(1371, 276*ms), simtrunk.Beep(1777, 380*ms), simtrunk.Quiet(100*ms), simtrunk.Speech(20*time.Second))
	var cadence []simtrunk.Part
	for range 4 { // ringback before the announcement
		cadence = append(cadence, simtrunk.Beep(425, time.Second), simtrunk.Quiet(4*time.Second))
	}
	var busy []simtrunk.Part
	for range 60 {
		busy = append(busy, simtrunk.Beep(425, 500*ms), simtrunk.Quiet(500*ms))
	}
	later := simtrunk.Script(append(cadence, simtrunk.Beep(985, 380*ms), simtrunk.Beep(1371, 276*ms), simtrunk.Beep(1777, 380*ms))...)
	for name, in := range map[string]struct {
		early   simtrunk.Audio
		cause   telephony.Cause
		outcome campaign.Outcome
		by      time.Duration // the attempt is over
		verdict string
	}{
		"an announcement":      {vacant, "", campaign.OutcomeInvalid, 3 * time.Second, "sit"},
		"behind ringback":      {later, "", campaign.OutcomeInvalid, 23 * time.Second, "sit"},
		"ringback alone":       {simtrunk.Script(cadence...), "", campaign.OutcomeNoAnswer, 27 * time.Second, ""},
		"speech and a refusal": {simtrunk.Script(simtrunk.Speech(3 * time.Second)), telephony.CauseFailed, campaign.OutcomeFailed, 3 * time.Second, ""},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				set := settings(campaign.Progressive)
				set.AMD = true
				h := open(t, set, 1, func(telephony.Invite) simtrunk.Behaviour {
					b := simtrunk.Behaviour{Progress: []simtrunk.Progress{{Status: 183, Media: true}}, Early: in.early, Ring: 1700 * ms, Cause: in.cause}
					return b
				})
				h.agent("agt_1", sale)
				time.Sleep(45 * time.Second)
				c := h.call(0)
				if in.verdict == "sit" && c.Heard.Code != "vacant" {
					t.Errorf("the tones of a vacant number say %q", c.Heard.Code)
				}
				if c.Outcome != in.outcome || c.EndedAt.Sub(c.PlacedAt) > in.by || c.Verdict != in.verdict || c.Heard.Early != (in.verdict != "") {
					t.Errorf("%s after %s: verdict %q (%s), %+v", c.Outcome, c.EndedAt.Sub(c.PlacedAt), c.Verdict, c.VerdictReason, c.Heard)
				}
			})
		})
	}
}
