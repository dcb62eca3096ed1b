package amd

import "time"

// A policy is how certain a decision must be.
type policy struct {
	Config
	// doubt is the probability of a person up to which it is cheaper to hang up.
	doubt float64
	// shortestPause ends a greeting when there is no doubt at all; each second of
	// pause behind it makes the caller put up with more doubt.
	shortestPause time.Duration
	atOnce, more  float64
	// murmur is for how many frames longer than the speaker others must be quiet.
	murmur int
}

const (
	// machineCost is what it costs to connect a machine, in seconds of an agent:
	// to hear it, to end it, to be ready again.
	machineCost = 8 * time.Second
	// What a late correction needs: voice behind the verdict, and certainty.
	lateVoice = 1200 * time.Millisecond
	lateSure  = 0.98
	// A tail of ringback, or music before a greeting, is shorter than this.
	longestTail = 3500 * time.Millisecond
	ringDoubt   = 0.05 // then nobody was heard for so long that less certainty will do
	// Nobody greets with so much voice; the model, which knows no such person, may
	// be less certain. Of 270 recorded people one spoke for 4.4 s.
	longestGreeting = 4500 * time.Millisecond
	longDoubt       = 0.1
)

// prices are the presets': what hanging up on a person costs in seconds of an agent.
var prices = map[Preset]time.Duration{
	Careful:  800 * time.Second,
	Balanced: 400 * time.Second,
	Fast:     150 * time.Second,
}

func newPolicy(c Config) policy {
	def := func(d *time.Duration, otherwise time.Duration) {
		if *d <= 0 {
			*d = otherwise
		}
	}
	price, known := prices[c.Preset]
	if !known {
		price = prices[Balanced]
	}
	def(&c.HangUpCost, price)
	def(&c.InitialSilence, 4*time.Second)
	def(&c.MaxAnalysis, 8*time.Second)
	p := policy{
		Config: c, shortestPause: 580 * time.Millisecond, atOnce: 0.13, more: 0.5, murmur: 35,
		doubt: machineCost.Seconds() / (machineCost + c.HangUpCost).Seconds(),
	}
	if c.AfterGreeting > 0 {
		p.shortestPause = c.AfterGreeting
	}
	return p
}

// patience is the probability of a machine that a pause of some length makes
// cheaper to connect than to wait on.
func (p *policy) patience(pause time.Duration) float64 {
	over := (pause - p.shortestPause).Seconds()
	return p.atOnce + p.more*over*over/(0.6+over)
}
