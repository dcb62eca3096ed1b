package amd

import (
	"time"

	"dialer/amd/ear"
	"dialer/amd/forest"
)

// Config bounds an analysis. A zero field means its default.
type Config struct {
	// Preset is Balanced by default.
	Preset Preset
	// HangUpCost is the price of hanging up on a person, in seconds of an agent's
	// time; 0 is the preset's.
	HangUpCost time.Duration
	// InitialSilence without any speech ends the analysis as Silence; 4 s.
	InitialSilence time.Duration
	// MaxAnalysis ends it as Unknown; 8 s.
	MaxAnalysis time.Duration
	// AfterGreeting is the shortest pause that ends a greeting; the preset's.
	AfterGreeting time.Duration
	// Model is the one that comes with the package by default.
	Model *Model
}

// The lengths of frames, and of what stands out in them.
const (
	frameTime = ear.FrameTime
	frameSize = ear.FrameSize

	never = -1 * time.Nanosecond
)

// New returns a detector of one call.
//
// Tones that no voice makes decide at once. Otherwise the model says every 40 ms
// how probable each class is, and the cheapest decision is taken: to hang up, to
// connect, or to listen on, which costs the more the longer a pause has lasted.
// What stays in doubt is connected.
//
// Write allocates nothing.
func New(c Config) Detector {
	d := &detector{policy: newPolicy(c), model: c.Model, result: Result{SpeechStart: never, LastVoice: never, GreetingEnd: never}}
	if d.model == nil {
		d.model = standard
	}
	d.ear = *ear.New(d.model.voice)
	return d
}

type detector struct {
	policy
	model  *Model
	ear    ear.Ear
	result Result
	done   bool
	signal signals

	p        Probabilities
	opinions int // frames since the last
	sure     int // opinions in a row that say no person
	score    [len(Classes)]float64
	features [ear.Features]float32

	events   [6]Event
	noticed  int  // events of the last frame
	greeting bool // somebody speaks; a GreetingEnded follows
	voiced   int  // frames of voice at the verdict
	late     bool // LateMachine was noticed
}

// Write implements Detector. A frame of another length than 160 samples is
// taken for what its samples are worth.
func (d *detector) Write(frame []int16) (Result, bool) {
	if len(frame) > frameSize {
		frame = frame[:frameSize]
	}
	d.noticed = 0
	d.ear.Hear(frame)
	if d.opinions++; d.opinions == 2 {
		d.opinions = 0
		if !d.done || !d.late && d.result.Verdict.Live() { // nobody asks otherwise
			d.opine()
		}
	}
	d.follow()
	d.signal.hear(d)
	if !d.done {
		d.judge()
	} else {
		d.reconsider()
	}
	return d.result, d.done
}

// Events implements Detector.
func (d *detector) Events() []Event { return d.events[:d.noticed] }

func (d *detector) notice(e Event) {
	if d.noticed < len(d.events) {
		e.At = d.ear.Now()
		d.events[d.noticed] = e
		d.noticed++
	}
}

// opine asks the model.
func (d *detector) opine() {
	d.ear.Cadence.Describe(&d.features)
	d.model.call.Scores(d.features[:], d.score[:])
	forest.Softmax(d.score[:])
	s := &d.score
	d.p = Probabilities{Human: s[0], Machine: s[1], Screening: s[2], Ringback: s[3], Music: s[4], Silence: s[5]}
}

// frames is a time of so many frames.
func frames(n int) time.Duration { return time.Duration(n) * frameTime }

// pause is how long nothing like speech was heard, or nothing as loud as the
// speaker, which people around the phone do not end.
func (d *detector) pause() time.Duration {
	c := &d.ear.Cadence
	if c.Near.Onset < 0 {
		return frames(c.All.Silence)
	}
	return frames(max(c.All.Silence, c.Near.Silence-d.murmur))
}

// follow notices speech and its end, before a verdict and after it.
func (d *detector) follow() {
	w := &d.ear.Cadence.All
	if !d.done && w.Onset >= 0 {
		d.result.SpeechStart, d.result.LastVoice = frames(w.Onset), frames(w.End)
		if n := d.ear.Cadence.Near.End; n > 0 && d.pause() > frames(w.Silence) {
			d.result.LastVoice = frames(n)
		}
	}
	switch {
	case !d.greeting && w.Segment > 0 && w.Silence == 0:
		d.greeting = true
		d.notice(Event{Kind: SpeechStarted, Start: frames(w.Since), End: never})
	case d.greeting && frames(w.Silence) >= d.shortestPause:
		d.greeting = false
		d.notice(Event{Kind: GreetingEnded, Start: frames(w.End), End: never})
	}
}

// judge ends the analysis when the evidence is enough.
func (d *detector) judge() {
	now, c := d.ear.Now(), &d.ear.Cadence
	if v, code, reason := d.signal.verdict(d); v != "" {
		d.result.Code = code
		d.decide(v, reason)
		return
	}
	live := d.p.Human + d.p.Silence
	if d.opinions == 0 {
		if live <= d.doubt {
			d.sure++
		} else {
			d.sure = 0
		}
	}
	spoken := c.All.Onset >= 0
	likeliest, reason := d.notLive()
	switch {
	case d.sure >= 2 && d.signal.quiet(d) && likeliest != Ringback && likeliest != Music:
		d.decide(likeliest, reason)
	case d.signal.quiet(d) && frames(c.All.Voiced) >= longestGreeting && live <= longDoubt && (likeliest == Machine || likeliest == Screening):
		d.decide(likeliest, "speaks longer than people greet")
	case now >= longestTail && live <= ringDoubt && d.signal.quiet(d) && (likeliest == Ringback || likeliest == Music):
		d.result.Code = d.signal.cadence(d, likeliest)
		d.decide(likeliest, reason)
	case spoken && d.p.Human > d.p.Silence && d.pause() >= d.shortestPause && 1-live <= d.patience(d.pause()):
		d.result.GreetingEnd = d.result.LastVoice
		d.decide(Human, "a greeting and a pause")
	case (!spoken || d.p.Silence > d.p.Human) && d.ear.Lost() <= c.Frames/4 && now >= d.InitialSilence && (d.p.Ringback+d.p.Music < 0.5 || !c.Toned()):
		d.decide(Silence, "no speech")
	case now >= d.MaxAnalysis:
		d.decide(Unknown, "undecided in time")
	}
}

// notLive is the likeliest of those that nobody answers.
func (d *detector) notLive() (Verdict, string) {
	best, v, reason := d.p.Machine, Machine, "speaks like a machine"
	if d.p.Screening > best {
		best, v, reason = d.p.Screening, Screening, "speaks like an assistant"
	}
	if d.p.Ringback > best {
		best, v, reason = d.p.Ringback, Ringback, "it rings on, or is busy"
	}
	if d.p.Music > best {
		v, reason = Music, "music plays"
	}
	return v, reason
}

// reconsider looks behind a verdict that connects: a machine that talks on.
func (d *detector) reconsider() {
	w := &d.ear.Cadence.All
	if d.late || !d.result.Verdict.Live() || d.opinions != 0 {
		return
	}
	if frames(w.Voiced-d.voiced) >= lateVoice && d.p.Machine+d.p.Screening >= lateSure {
		d.correct(d.ear.Now())
	}
}

// correct notices that a machine was connected.
func (d *detector) correct(start time.Duration) {
	if d.done && !d.late && d.result.Verdict.Live() {
		d.late = true
		d.notice(Event{Kind: LateMachine, Start: start, End: never})
	}
}

func (d *detector) decide(v Verdict, reason string) {
	d.done = true
	d.voiced = d.ear.Cadence.All.Voiced
	d.result.Verdict, d.result.Decided, d.result.Reason, d.result.P = v, d.ear.Now(), reason, d.p
	d.notice(Event{Kind: Decided, Start: d.ear.Now(), End: never, Verdict: v})
}
