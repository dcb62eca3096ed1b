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
	p := pacer{Config: c}
	switch c.Mode {
	case Power:
		p.want = p.power
	case Predictive:
		p.want = p.predictive
	default:
		p.want = oneToOne
	}
	return p, nil
}

// A pacer asks its mode how many calls it wants and then bounds them, so that no
// branch of a mode can pass a bound.
type pacer struct {
	Config
	want func(Snapshot) Decision
}

// Decide implements Pacer.
func (p pacer) Decide(s Snapshot) Decision {
	s = s.sane(p.Cap)
	d := p.want(s)
	d.Allowance = s.allowance()
	return p.bound(s, d)
}

// bound is the last step of every decision.
func (p pacer) bound(s Snapshot, d Decision) Decision {
	for _, b := range [...]struct {
		most      int
		name, why string
	}{
		{p.burst(s), "burst", "the most in one decision"},
		{p.linesLeft(s), "lines-per-agent", "lines left for these agents"},
		{p.spare(s), "allowance", "if all in flight are answered, no more may find no agent"},
		{s.Lines, "lines", "trunk lines free"},
		{s.LeadsLeft, "leads", "leads that may be called now"},
	} {
		if most := max(b.most, 0); d.Dial > most {
			d.Reason += fmt.Sprintf("; only %d: %s", most, b.why)
			d.Dial, d.Limit = most, b.name
		}
	}
	return d
}

// burst is the most calls of one decision.
func (p pacer) burst(s Snapshot) int {
	if p.Burst > 0 {
		return p.Burst
	}
	return max(10, s.agents())
}

// linesLeft is how many more calls the agents at work may have up.
func (p pacer) linesLeft(s Snapshot) int {
	if p.MaxLinesPerAgent == 0 {
		return math.MaxInt
	}
	return int(min(p.MaxLinesPerAgent*float64(s.agents()), 1e9)) - s.inFlight() - len(s.Talking)
}

// spare is how many more calls may be in flight so that, should a person answer
// every one of them before any talk ends, no more are abandoned than the
// allowance holds. No order of answers can then pass the cap. Power without a
// cap promises nothing.
func (p pacer) spare(s Snapshot) int {
	if p.Mode == Power && s.Cap == 0 {
		return math.MaxInt
	}
	return s.Ready + s.Held + int(max(s.allowance(), 0)) - s.inFlight()
}

// sane replaces counts that cannot be, so that a fault elsewhere never dials more.
func (s Snapshot) sane(limit float64) Snapshot {
	if !(s.Cap > 0) {
		s.Cap = limit
	}
	s.Cap = min(s.Cap, 1)
	s.Ready, s.Held, s.Waiting = max(s.Ready, 0), max(s.Held, 0), max(s.Waiting, 0)
	s.Answered, s.Abandoned = max(s.Answered, 0), max(s.Abandoned, 0)
	return s
}

// agents is the number of agents at work.
func (s Snapshot) agents() int { return s.Ready + s.Held + len(s.Talking) + len(s.WrapUp) }

// inFlight is the number of calls that have no agent yet.
func (s Snapshot) inFlight() int { return len(s.Ringing) + len(s.Detecting) + s.Waiting }

// allowance is how many of the answers to come may be abandoned; below 1 none
// may, because it would count among the answered too.
func (s Snapshot) allowance() float64 {
	return s.Cap*float64(s.Answered+1) - float64(s.Abandoned)
}
