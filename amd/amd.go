// Package amd tells a person from a machine by ear: 20 ms frames in, a verdict
// and events out as early as the evidence allows. It is pure: no clock, no I/O,
// no goroutines; one detector serves one call and one goroutine.
//
// It recognises no words or speakers, and it does not decide what becomes of the
// call: doubt is a verdict of its own, which campaign connects.
//
// Entry points: New, Detector.Write, Detector.Events.
package amd

import (
	"fmt"
	"time"
)

// A Verdict is what answered.
type Verdict string

// The verdicts.
const (
	Human     Verdict = "human"
	Machine   Verdict = "machine"
	Screening Verdict = "screening" // an assistant that asks who calls
	Fax       Verdict = "fax"
	SIT       Verdict = "sit"      // a carrier's announcement behind three tones
	Ringback  Verdict = "ringback" // the answered leg rings on, or is busy: Result.Code
	Music     Verdict = "music"
	Silence   Verdict = "silence" // nothing was said; connect on doubt
	Unknown   Verdict = "unknown" // undecided in time; connect on doubt
)

// Live reports whether the call goes to an agent: a person, or doubt.
func (v Verdict) Live() bool { return v == Human || v == Silence || v == Unknown }

// A Code says more of a verdict that tones have given.
type Code string

// The codes: of SIT by ITU-T E.180 and Bellcore SR-2275, of Fax by ITU-T T.30,
// of Ringback by cadence.
const (
	NoCode      Code = ""
	Vacant      Code = "vacant"
	Intercept   Code = "intercept"
	NoCircuit   Code = "no-circuit"
	ReorderSIT  Code = "reorder"
	CNG         Code = "cng"
	CED         Code = "ced"
	Ringing     Code = "ringing"
	Busy        Code = "busy"
	UnknownCode Code = "other"
)

// A Beep is the tone after which a machine records.
type Beep struct {
	Start, End time.Duration // negative when it has not happened
	Hz         float64
}

// A Result is a verdict with its evidence. Times count from the first frame;
// a negative time means that it did not happen.
type Result struct {
	Verdict     Verdict
	Decided     time.Duration
	SpeechStart time.Duration
	LastVoice   time.Duration // end of the last word heard so far
	GreetingEnd time.Duration // known only when a pause has ended the greeting
	Reason      string        // the rule that decided, for people
	Code        Code
	P           Probabilities // of what answered, when it was decided
}

// Probabilities are the model's opinion of the cadence heard; 0 to 1, together 1.
// A verdict that a tone has given needs no opinion.
type Probabilities struct {
	Human, Machine, Screening, Ringback, Music, Silence float64
}

// An EventKind is what a detector notices. They are spelt as users read them.
type EventKind string

// The kinds of events, each at most once in a Write.
const (
	// SpeechStarted comes when somebody begins to speak, and again each time that
	// speech goes on after a GreetingEnded: a message being played begins anew.
	SpeechStarted EventKind = "speech_start"
	// GreetingEnded comes when a pause has ended the greeting: Event.Start is the
	// end of its last word.
	GreetingEnded EventKind = "greeting_end"
	BeepStarted   EventKind = "beep_start"
	BeepEnded     EventKind = "beep_end"
	Decided       EventKind = "verdict"
	// LateMachine comes after a verdict that connects: what is heard since is a
	// machine. The verdict stands.
	LateMachine EventKind = "machine_late"
)

// An Event is something noticed at a time that lies a little back.
type Event struct {
	Kind    EventKind
	At      time.Duration // when it was noticed: the end of the frame that told
	Start   time.Duration // when it happened
	End     time.Duration // of a beep; negative otherwise
	Hz      float64       // of a beep
	Verdict Verdict       // of Decided
}

// A Detector listens to one leg.
type Detector interface {
	// Write takes 160 samples at 8 kHz; nil is a lost packet: unknown, not silence.
	// A frame without energy (comfort noise, DTX) is silence. Once done, the verdict
	// stands; whoever writes on gets events only.
	Write(frame []int16) (r Result, done bool)
	// Events are what the last Write has noticed; valid until the next Write.
	Events() []Event
}

// A Preset is how much certainty a machine verdict needs.
type Preset string

// The presets, from the fewest people called machines to the fewest machines connected.
const (
	Careful  Preset = "careful"
	Balanced Preset = "balanced"
	Fast     Preset = "fast"
)

// ParsePreset reads a preset; empty is Balanced.
func ParsePreset(s string) (Preset, error) {
	switch p := Preset(s); p {
	case "":
		return Balanced, nil
	case Careful, Balanced, Fast:
		return p, nil
	}
	return "", fmt.Errorf("%q is not careful, balanced or fast", s)
}
