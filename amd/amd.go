// Package amd tells a person from a machine by ear: 20 ms frames in, a verdict
// out as early as the evidence allows. It is pure: no clock, no I/O, no
// goroutines; one detector serves one call and one goroutine.
//
// It recognises no words or speakers, and it does not decide what becomes of the
// call: doubt is a verdict of its own, which campaign connects.
//
// Entry points: New, Detector.Write.
package amd

import "time"

// A Verdict is what answered.
type Verdict string

// The verdicts.
const (
	Human   Verdict = "human"
	Machine Verdict = "machine"
	Fax     Verdict = "fax"
	SIT     Verdict = "sit"
	Silence Verdict = "silence" // nothing was said; connect on doubt
	Unknown Verdict = "unknown" // undecided in time; connect on doubt
)

// Live reports whether the call goes to an agent: a person, or doubt.
func (v Verdict) Live() bool { return v == Human || v == Silence || v == Unknown }

// A Result is a verdict with its evidence. Times count from the first frame;
// a negative time means that it did not happen.
type Result struct {
	Verdict     Verdict
	Decided     time.Duration
	SpeechStart time.Duration
	LastVoice   time.Duration // end of the last word heard so far
	GreetingEnd time.Duration // known only when a pause has ended the greeting
	Reason      string        // the rule that decided, for people
}

// A Detector listens to one leg. After done it is not written again.
type Detector interface {
	// Write takes 160 samples at 8 kHz; nil is a lost packet: unknown, not silence.
	Write(frame []int16) (r Result, done bool)
}
