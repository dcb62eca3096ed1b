package campaign_test

import (
	"crypto/sha256"
	"encoding/binary"
	"testing"
	"time"

	"dialer/agents"
	"dialer/campaign"
	"dialer/compliance"
	"dialer/telephony"
	"dialer/telephony/simtrunk"
)

// sampled is a campaign of which a share of machine verdicts goes to agents.
func sampled(mode campaign.Mode, share float64) campaign.Settings {
	set := settings(mode)
	set.AMD, set.Detection.AgentShare, set.Detection.LateMachine = true, share, campaign.LateOff
	set.Retry = map[campaign.Outcome]campaign.RetryRule{campaign.OutcomeMachine: {Max: 0}}
	return set
}

func machine(telephony.Invite) simtrunk.Behaviour {
	return simtrunk.Behaviour{Ring: time.Second, Answer: true, Audio: simtrunk.MachineGreeting(9 * time.Second)}
}

// An agent's word on a sampled verdict is what the call counts as: a person whom
// the detector took for a machine is no machine, and the campaign's error is known.
func TestSampledVerdicts(t *testing.T) {
	for name, in := range map[string]struct {
		said  string
		class compliance.Class
		by    string
		found int
		known int
	}{
		"a person":  {"SALE", compliance.ClassLate, "person", 1, 1}, // the verdict took longer than the law gives
		"a machine": {"ANSWERING_MACHINE", compliance.ClassMachine, "machine", 0, 1},
		"who knows": {"NO_CONTACT", compliance.ClassMachine, "machine", 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h := open(t, sampled(campaign.Progressive, 1), 1, machine)
				h.agent("agt_1", answer{talk: 30 * time.Second, wrap: time.Second, said: agents.Disposition{Code: in.said}})
				time.Sleep(2 * time.Minute)
				c := h.call(0)
				if c.Verdict != "machine" || !c.Heard.Agent.Taken() || c.Outcome != campaign.OutcomeConnected || c.Class != in.class || c.AnsweredBy != in.by {
					t.Errorf("%s %s, answered by %s, %+v", c.Outcome, c.Class, c.AnsweredBy, c.Heard)
				}
				counts, err := h.store.DetectorCounts(t.Context(), "cmp_1", time.Time{}, time.Time{}, true)
				if e := compliance.ErrorOf(counts); err != nil || e.FalsePositives.Found != in.found || e.FalsePositives.Sample != in.known || e.Unverified != 1-in.known || e.Sampled != 1 {
					t.Errorf("%+v, %v", e, err)
				}
			})
		})
	}
}

// The draw is recorded with each machine verdict, taken or not, and anybody can
// draw it again from the id of the call.
func TestDrawsCanBeAudited(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const calls = 60
		h := open(t, sampled(campaign.Progressive, 0.25), calls, machine)
		h.agent("agt_1", answer{talk: time.Second, wrap: time.Second, said: agents.Disposition{Code: "SALE"}})
		h.agent("agt_2", answer{talk: time.Second, wrap: time.Second, said: agents.Disposition{Code: "SALE"}})
		time.Sleep(time.Hour)
		taken := 0
		for i := range calls {
			c := h.call(i)
			sum := sha256.Sum256([]byte("agent:" + string(c.ID)))
			value := int(binary.BigEndian.Uint64(sum[:8]) % 1_000_000)
			d := c.Heard.Agent
			if d == nil || d.Value != value || d.Share != 250_000 {
				t.Fatalf("draw %+v, want %d", d, value)
			}
			if connected := !c.ConnectedAt.IsZero(); connected != d.Taken() {
				t.Errorf("drawn %+v, connected %v", *d, connected)
			}
			if d.Taken() {
				taken++
			}
		}
		if taken < 4 || taken > 28 { // 15 are expected; four deviations
			t.Errorf("%d of %d were sampled", taken, calls)
		}
	})
}

// A sampled machine for which no agent is free is a machine: it hears no message
// for people, and nobody was abandoned.
func TestSampledWithoutAnAgent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := openAfter(t, 50, sampled(campaign.Power, 1), 1, machine)
		h.agent("agt_1", sale)
		time.Sleep(800 * time.Millisecond) // it rings
		if err := h.registry.SetNotReady("agt_1", "break"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if c := h.call(0); c.Outcome != campaign.OutcomeMachine || c.Class != compliance.ClassMachine || !c.MessageStartAt.IsZero() {
			t.Errorf("%s %s, message at %s", c.Outcome, c.Class, c.MessageStartAt)
		}
	})
}

// Seconds are kept of the share that was drawn, with consent only, and what is
// saved of them comes after the end of the call.
func TestSecondsAreKept(t *testing.T) {
	for name, consent := range map[string]bool{"with consent": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				set := settings(campaign.Progressive)
				set.AMD, set.Detection.Consent, set.Detection.KeepSeconds = true, consent, 5
				if consent {
					set.Detection.KeepShare = 1
				}
				var for5s time.Duration
				h := openWith(t, set, 1, machine, func(cfg *campaign.Config) {
					cfg.Keep = func(c campaign.Call, leg telephony.Leg) func() (string, int64, error) {
						began := time.Now()
						return func() (string, int64, error) {
							for5s = time.Since(began)
							return "detection/" + string(c.ID) + ".wav", 80_000, nil
						}
					}
				})
				h.agent("agt_1", sale)
				time.Sleep(time.Minute)
				c := h.call(0)
				if kept := c.Heard.Kept != ""; kept != consent || c.Heard.Keep.Taken() != consent {
					t.Errorf("%+v", c.Heard)
				}
				if consent && (for5s == 0 || for5s > 5*time.Second) {
					t.Errorf("%s were kept", for5s)
				}
				if dropped := h.store.Dropped(); dropped != nil {
					t.Error(dropped)
				}
			})
		})
	}
}

// What the sample says of persons hung up on is kept below the cap by pacing.
func TestPacingKnowsOfPersonsTakenForMachines(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := openAfter(t, 950, sampled(campaign.Predictive, 0.05), 0, person)
		h.agent("agt_1", sale)
		h.faults.mu.Lock()
		h.faults.counts = []compliance.DetectorCount{
			{Verdict: "machine", Calls: 1000}, {Verdict: "machine", Sampled: true, Truth: "person", Calls: 2}, {Verdict: "machine", Sampled: true, Truth: "machine", Calls: 98},
		}
		h.faults.mu.Unlock()
		time.Sleep(11 * time.Minute)
		// 2 % of 1,000 are 20 persons, beside 950 who are known: 2.06 %, told as 2.5 %.
		if got := h.sched.Live("cmp_1").Abandon.Missed; got != 0.025 {
			t.Errorf("%g of the persons are taken for machines, for the pacer", got)
		}
	})
}
