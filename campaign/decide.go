package campaign

import (
	"fmt"
	"math"
	"slices"
	"time"

	"dialer"
	"dialer/agents"
	"dialer/pacing"
)

// decide asks the pacer and starts as many attempts.
func (r *runner) decide(c Campaign, counts agents.Counts, now time.Time) {
	r.mu.Lock()
	cfg := pacingOf(c.Settings)
	cfg.FalsePositives = r.missRate
	err := r.pacing.Configure(cfg)
	if err != nil {
		r.mu.Unlock()
		r.setTrouble(err.Error())
		return
	}
	d := r.pacing.Decide(r.snapshot(c, counts, now))
	r.decision, r.decided = d, now
	r.mu.Unlock()
	r.tell(c, counts, d, now)
	mode := c.Settings.Mode
	if mode.Overdials() && d.AgentFirst {
		mode = Progressive
	}
	for range min(d.Dial, len(r.hopper.leads)) {
		r.start(r.hopper.pop(), mode)
	}
}

// pacingOf is what the campaign's settings say to the pacer.
func pacingOf(s Settings) pacing.Config {
	c := pacing.Config{
		Mode: pacing.Mode(s.Mode), Ratio: s.Ratio, Cap: *s.AbandonCap,
		Undetected: !s.AMD, Strict: s.strict(), MaxLinesPerAgent: s.MaxLinesPerAgent, Burst: s.MaxBurst,
	}
	if s.AMD {
		c.FalsePositives = s.FalsePositives
	}
	if c.Cap == 0 && s.Mode.Overdials() {
		c.Mode = pacing.Progressive // nobody may be abandoned
	}
	return c
}

// strict reports whether the pacer keeps away from the cap.
func (s Settings) strict() bool { return s.Strict || s.AbandonWindow == WindowDay }

// snapshot is what the pacer gets to know. The caller holds mu.
func (r *runner) snapshot(c Campaign, counts agents.Counts, now time.Time) pacing.Snapshot {
	law := r.legal.figures()
	s := pacing.Snapshot{
		Now: now, Ready: counts.Ready, Talking: slices.Clone(counts.Talking), WrapUp: slices.Clone(counts.WrapUp),
		Answered: law.answered, Abandoned: law.abandoned, Cap: *c.Settings.AbandonCap,
		Lines: r.s.lines.free(c.Settings.Trunks()), LeadsLeft: len(r.hopper.leads),
	}
	if !counts.At.IsZero() {
		late := now.Sub(counts.At) // they were counted a moment after now
		for _, ages := range [...][]time.Duration{s.Talking, s.WrapUp} {
			for i := range ages {
				ages[i] += late
			}
		}
	}
	if r.chances.any() {
		for _, lead := range r.hopper.leads {
			s.NextChance = append(s.NextChance, r.chances.of(lead.AnswerProbability))
		}
	}
	rings := func(a *attempt, age time.Duration) {
		s.Ringing = append(s.Ringing, age)
		if r.chances.any() {
			s.RingingChance = append(s.RingingChance, r.chances.of(a.lead.AnswerProbability))
		}
	}
	for _, a := range r.attempts {
		switch a.phase {
		case phaseStarting:
			rings(a, 0)
			if a.line == "" {
				s.Lines--
			}
		case phaseRinging:
			rings(a, now.Sub(a.since))
		case phaseDetecting:
			s.Detecting = append(s.Detecting, now.Sub(a.since))
		case phaseWaiting:
			s.Waiting++
		default:
			continue
		}
		if a.holding {
			s.Held++
		}
	}
	return s
}

// How often a decision is told in the log: within toldSoon only once, so that one
// that sways between two limits fills no log; and when nothing changes, each
// toldAnyway. That makes 60 to 720 an hour of a running campaign.
const (
	toldSoon   = 5 * time.Second
	toldAnyway = time.Minute
)

// told is what the log knows of the decisions.
type told struct {
	at         time.Time
	policy     string
	limit      pacing.Limit
	agentFirst bool
	placed     int // calls since
}

// tell puts a decision in the log when it differs in kind from the last one there,
// or places many calls at once, and each minute.
func (r *runner) tell(c Campaign, counts agents.Counts, d pacing.Decision, now time.Time) {
	t := &r.told
	t.placed += d.Dial
	policy := policyOf(c.Settings)
	many := max(3, counts.LoggedIn()/4)
	same := t.policy == policy && t.limit == d.Limit && t.agentFirst == d.AgentFirst && d.Dial < many
	wait := toldSoon
	if same {
		wait = toldAnyway
	}
	if now.Sub(t.at) < wait {
		return
	}
	fact := decided(d)
	fact.Policy, fact.Placed = policy, t.placed
	fact.Seen.NotReady = counts.NotReady
	for _, trunk := range c.Settings.Trunks() {
		if on := r.s.cfg.Carrier.Capacity(trunk); on.Up {
			fact.Seen.CallsPerSecond += on.Tokens
		}
	}
	r.mu.Lock()
	fact.Tape, fact.Look = r.pacing.Began(), r.pacing.Looks()
	r.mu.Unlock()
	*t = told{at: now, policy: policy, limit: d.Limit, agentFirst: d.AgentFirst}
	r.s.cfg.Store.Record(dialer.Event{At: now, Campaign: r.id, Fact: fact})
}

// decided is a decision as the log keeps it.
func decided(d pacing.Decision) dialer.PacingDecided {
	// More digits would say no more, and fill the log.
	round := func(x float64) float64 {
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return 0 // JSON has no such number, and the log must be written
		}
		return math.Round(x*1e4) / 1e4
	}
	s := d.Seen
	return dialer.PacingDecided{
		Dial: d.Dial, AgentFirst: d.AgentFirst, Limit: string(d.Limit), Reason: d.Reason,
		Seen: dialer.PacingSeen{
			Ready: s.Ready, Held: s.Held, Talking: s.Talking, WrapUp: s.WrapUp,
			Ringing: s.Ringing, Detecting: s.Detecting, Waiting: s.Waiting,
			Answered: s.Answered, Abandoned: s.Abandoned, Cap: s.Cap, Lines: s.Lines, LeadsLeft: s.LeadsLeft,
		},
		ExpectedFree: round(d.ExpectedFree), ExpectedAnswers: round(d.ExpectedAnswers), ExpectedLoss: round(d.ExpectedLoss),
		Threshold: round(d.Threshold), Allowance: round(d.Allowance),
	}
}

// policyOf names what decides, for people.
func policyOf(s Settings) string {
	limit := fmt.Sprintf("cap %.4g %%", 100**s.AbandonCap)
	if s.AbandonWindow == WindowDay {
		limit += " a day"
	}
	if s.strict() {
		limit += ", strict"
	}
	switch s.Mode {
	case Power:
		return fmt.Sprintf("power, %g calls per agent, %s", s.Ratio, limit)
	case Predictive:
		return "predictive, " + limit
	default:
		return string(s.Mode)
	}
}
