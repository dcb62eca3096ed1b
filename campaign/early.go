package campaign

import (
	"errors"
	"sync"

	"dialer"
	"dialer/amd"
	"dialer/telephony"
)

var errAnnounced = errors.New("the network announced that nobody can be reached")

// early hears what comes before the answer: what is announced there needs no
// answer and no agent. It is called by the carrier.
type early struct {
	fresh  func() amd.Detector
	giveUp func() // the announcement has been heard: nobody will answer

	mu       sync.Mutex
	detector amd.Detector
	result   amd.Result // the last that tones have told
}

// hear takes one frame. Ringback and speech tell nothing of the outcome; the
// listening begins anew behind them.
func (e *early) hear(f telephony.Frame) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.result.Verdict == amd.SIT {
		return
	}
	if e.detector == nil {
		e.detector = e.fresh()
	}
	samples := f.Samples[:]
	if f.Lost {
		samples = nil
	}
	r, done := e.detector.Write(samples)
	if !done {
		return
	}
	e.detector = nil
	switch {
	case r.Verdict == amd.SIT:
		e.result = r
		e.giveUp()
	case r.Verdict == amd.Ringback && r.Code == amd.Busy:
		e.result = r
	}
}

// announced is the outcome of a call that was not answered, by what was heard.
// The network's own word on a busy or wrong number stands.
func (a *attempt) announced(e *early, outcome Outcome) Outcome {
	e.mu.Lock()
	r := e.result
	e.mu.Unlock()
	if r.Verdict == "" || outcome == OutcomeAbandoned {
		return outcome
	}
	switch outcome {
	case OutcomeNoAnswer, OutcomeCancelled, OutcomeFailed, OutcomeCongestion:
		outcome = outcomeOfVerdict(r)
	}
	a.save(func(c *Call) {
		c.Verdict, c.VerdictReason = string(r.Verdict), r.Reason
		c.Heard.Code, c.Heard.Early = string(r.Code), true
		c.EndedBy = telephony.Network
	}, dialer.CallClassified{
		Verdict: string(r.Verdict), DecidedMS: -1, SpeechStartMS: -1, GreetingEndMS: -1,
		DetectorReason: r.Reason, Code: string(r.Code), Early: true,
	})
	return outcome
}
