package pacing

import (
	"fmt"
	"math"
)

// A Mode is how calls are matched to agents.
type Mode string

// The modes. Preview and progressive hold one agent for each call; they differ
// in who starts it. Power places a fixed number of calls per free agent;
// predictive as many as the abandon cap allows.
const (
	Preview     Mode = "preview"
	Progressive Mode = "progressive"
	Power       Mode = "power"
	Predictive  Mode = "predictive"
)

// Config chooses and bounds a pacer.
type Config struct {
	Mode Mode
	// Ratio is the number of calls per free agent in power mode, 1 to 20.
	Ratio float64
	// Cap is the allowed abandoned share, 0.03 for 3 %, when the snapshot has
	// none. With no cap at all predictive dials one call per agent.
	Cap float64
	// FalsePositives is the share of persons whom detection takes for machines.
	// They count as abandoned, so predictive aims that much below the cap.
	FalsePositives float64
	// Undetected: nothing tells machines from persons, so that both are in the
	// figures. Predictive then aims at 85 % of the cap.
	Undetected bool
	// Strict suits a window of a day: predictive aims at 90 % of the cap and
	// keeps one call more in reserve.
	Strict bool
	// MaxLinesPerAgent bounds the calls up at once, talks included, per agent at
	// work; 0 means no bound.
	MaxLinesPerAgent float64
	// Burst bounds the calls of one decision; 0 means the number of agents at
	// work, and at least 10.
	Burst int
}

// Validate says what is wrong with the configuration, or nothing.
func (c Config) Validate() error {
	bad := func(x float64) bool { return math.IsNaN(x) || math.IsInf(x, 0) }
	switch {
	case c.Mode != Preview && c.Mode != Progressive && c.Mode != Power && c.Mode != Predictive:
		return fmt.Errorf("pacing: mode %q is not preview, progressive, power or predictive", c.Mode)
	case c.Mode == Power && !(c.Ratio >= 1 && c.Ratio <= 20):
		return fmt.Errorf("pacing: ratio %g is not between 1 and 20 calls per free agent", c.Ratio)
	case bad(c.Cap) || c.Cap < 0 || c.Cap > 1:
		return fmt.Errorf("pacing: cap %g is not a share between 0 and 1 (3 %% is 0.03)", c.Cap)
	case bad(c.FalsePositives) || c.FalsePositives < 0 || c.FalsePositives > 1:
		return fmt.Errorf("pacing: false positives of %g are not a share between 0 and 1", c.FalsePositives)
	case bad(c.MaxLinesPerAgent) || c.MaxLinesPerAgent < 0:
		return fmt.Errorf("pacing: %g lines per agent is below 0", c.MaxLinesPerAgent)
	case c.Burst < 0:
		return fmt.Errorf("pacing: burst %d is below 0", c.Burst)
	}
	return nil
}

// New returns the pacer of a mode. It is safe for use by one goroutine at a time.
func New(c Config) (Pacer, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	p := &pacer{Config: c}
	switch c.Mode {
	case Power:
		p.want = p.power
	case Predictive:
		p.want = p.predictive
	default:
		p.want = agentFirst
	}
	return p, nil
}

// A pacer asks its mode how many calls it wants and then bounds them, so that no
// branch of a mode can pass a bound.
type pacer struct {
	Config
	want     func(*Snapshot) Decision
	forecast forecast // kept for its memory
}

// Decide implements Pacer.
func (p *pacer) Decide(given Snapshot) Decision {
	s := given.sane(p.Cap)
	d := p.want(s)
	d.Seen, d.Allowance = s.counts(), s.allowance()
	return p.bound(s, d)
}

// bound is the last step of every decision.
func (p *pacer) bound(s *Snapshot, d Decision) Decision {
	for _, b := range [...]struct {
		most int
		name Limit
		why  string
	}{
		{p.burst(s), LimitBurst, "the most in one decision"},
		{p.linesLeft(s), LimitLinesPerAgent, "lines left for these agents"},
		{s.Lines, LimitLines, "trunk lines free"},
		{s.LeadsLeft, LimitLeads, "leads that may be called now"},
	} {
		if most := max(b.most, 0); d.Dial > most {
			d.Reason += fmt.Sprintf("; only %d: %s", most, b.why)
			d.Dial, d.Limit = most, b.name
		}
	}
	return d
}

// burst is the most calls of one decision.
func (p *pacer) burst(s *Snapshot) int {
	if p.Burst > 0 {
		return p.Burst
	}
	return max(10, s.agents())
}

// linesLeft is how many more calls the agents at work may have up.
func (p *pacer) linesLeft(s *Snapshot) int {
	if p.MaxLinesPerAgent == 0 {
		return math.MaxInt
	}
	return int(min(p.MaxLinesPerAgent*float64(s.agents()), 1e9)) - s.inFlight() - len(s.Talking)
}

// sane replaces counts that cannot be, so that a fault elsewhere never dials more.
func (s Snapshot) sane(limit float64) *Snapshot {
	if !(s.Cap > 0) {
		s.Cap = limit
	}
	s.Cap = min(s.Cap, 1)
	s.boundCounts()
	if s.Laws == nil || s.Laws.ringBy == nil {
		s.Laws = new(Estimator).Laws(&s)
	}
	return &s
}
