package campaign_test

import (
	"testing"
	"time"

	"dialer/amd"
	"dialer/campaign"
	"dialer/compliance"
	"dialer/telephony"
	"dialer/telephony/simtrunk"
)

// Whoever answers has an agent in time, whatever the network does to their voice.
func TestConnectedInTimeWithoutAudio(t *testing.T) {
	hello := simtrunk.Human(600 * time.Millisecond) // from 0.4 to 1 s
	for name, in := range map[string]struct {
		audio    simtrunk.Audio
		audioFor time.Duration
		clock    compliance.ClockStart
		within   time.Duration // of the answer
		greeted  time.Duration // after it; 0 means not
	}{
		"no packet":                    {hello, -1, compliance.FromGreetingEnd, 2 * time.Second, 0},
		"no packet, from speech":       {hello, -1, compliance.FromSpeechStart, 2 * time.Second, 0},
		"no packet, from the answer":   {hello, -1, compliance.FromAnswer, 2 * time.Second, 0},
		"none after hello":             {hello, 1020 * time.Millisecond, compliance.FromGreetingEnd, 3 * time.Second, time.Second},
		"none after hello, speech":     {hello, 1020 * time.Millisecond, compliance.FromSpeechStart, 2400 * time.Millisecond, time.Second},
		"none after hello, answer":     {hello, 1020 * time.Millisecond, compliance.FromAnswer, 2 * time.Second, time.Second},
		"none within hello":            {hello, 700 * time.Millisecond, compliance.FromGreetingEnd, 2700 * time.Millisecond, 700 * time.Millisecond},
		"nothing is said, from speech": {nil, 0, compliance.FromSpeechStart, 2 * time.Second, 0},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				set := settings(campaign.Progressive)
				set.AMD, set.ConnectDeadlineMS, set.ClockStart = true, 2000, in.clock
				h := open(t, set, 1, func(telephony.Invite) simtrunk.Behaviour {
					return simtrunk.Behaviour{Ring: time.Second, Answer: true, Audio: in.audio, AudioFor: in.audioFor}
				})
				h.agent("agt_1", sale)
				time.Sleep(time.Minute)
				c := h.call(0)
				if wait := c.ConnectedAt.Sub(c.AnsweredAt); c.Class != compliance.ClassConnected || wait > in.within {
					t.Errorf("class %s, an agent %s after the answer (%s, %s)", c.Class, wait, c.Verdict, c.VerdictReason)
				}
				if greeted := c.GreetingEndAt.Sub(c.AnsweredAt); c.GreetingEndAt.IsZero() != (in.greeted == 0) ||
					in.greeted > 0 && (greeted-in.greeted).Abs() > 100*time.Millisecond {
					t.Errorf("greeted until %s, want %s", greeted, in.greeted)
				}
			})
		})
	}
}

// A greeting ends with its last word, not with the hang-up or the verdict: dead
// air would never be counted.
func TestGreetingEndsWithTheLastWord(t *testing.T) {
	for name, does := range map[string]simtrunk.Behaviour{
		"hangs up before the verdict": {HangupAfter: 1400 * time.Millisecond},
		"hangs up, audio was lost":    {HangupAfter: 2600 * time.Millisecond, AudioFor: 1200 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				set := settings(campaign.Progressive)
				set.AMD = true
				does.Ring, does.Answer, does.Audio = time.Second, true, simtrunk.Human(600*time.Millisecond)
				h := open(t, set, 1, func(telephony.Invite) simtrunk.Behaviour { return does })
				h.agent("agt_1", sale)
				time.Sleep(time.Minute)
				c := h.call(0)
				if c.Outcome != campaign.OutcomeCalleeEarly || (c.GreetingEndAt.Sub(c.AnsweredAt)-time.Second).Abs() > 100*time.Millisecond {
					t.Errorf("%s: the greeting ended %s after the answer, want 1 s", c.Outcome, c.GreetingEndAt.Sub(c.AnsweredAt))
				}
			})
		})
	}
}

// A detector that gives up says that somebody spoke, not that they still speak.
func TestUnknownInventsNoGreetingEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		set := settings(campaign.Progressive)
		set.AMD, set.ConnectDeadlineMS = true, 5000
		h := openWith(t, set, 1, person, func(cfg *campaign.Config) {
			cfg.NewDetector = func(amd.Config) amd.Detector {
				return amd.New(amd.Config{AfterGreeting: 10 * time.Second, MaxAnalysis: 4 * time.Second})
			}
		})
		h.agent("agt_1", sale)
		time.Sleep(time.Minute)
		c := h.call(0)
		if c.Verdict != string(amd.Unknown) || (c.GreetingEndAt.Sub(c.AnsweredAt)-1100*time.Millisecond).Abs() > 100*time.Millisecond {
			t.Errorf("%s: the greeting ended %s after the answer, want 1.1 s", c.Verdict, c.GreetingEndAt.Sub(c.AnsweredAt))
		}
	})
}
