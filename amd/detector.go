package amd

import "time"

// Config bounds an analysis. A zero field means its default.
type Config struct {
	// Preset is Balanced by default.
	Preset Preset
	// HangUpCost is the price of hanging up on a person, in seconds of an agent's
	// time; 0 is the preset's.
	HangUpCost time.Duration
	// InitialSilence without any speech ends the analysis as Silence; 4 s.
	InitialSilence time.Duration
	// MaxAnalysis ends it as Unknown; 7 s.
	MaxAnalysis time.Duration
	// MaxGreeting is how much voice the greeting of a person has at most; with
	// more it is a machine; 2.7 s.
	MaxGreeting time.Duration
	// AfterGreeting is the pause that ends a greeting; 700 ms. After longer
	// greetings it is longer by up to a half.
	AfterGreeting time.Duration
}

func (c Config) defaulted() Config {
	def := func(d *time.Duration, otherwise time.Duration) {
		if *d <= 0 {
			*d = otherwise
		}
	}
	def(&c.InitialSilence, 4*time.Second)
	def(&c.MaxAnalysis, 7*time.Second)
	def(&c.MaxGreeting, 2700*time.Millisecond)
	def(&c.AfterGreeting, 700*time.Millisecond)
	return c
}

// frameTime is the length of one frame, and frameSize its samples at 8 kHz.
const (
	frameTime = 20 * time.Millisecond
	frameSize = 160
)

// Durations of speech and tones, in frames.
const (
	shortestWord = 4  // less voice than this is a click
	longestGap   = 8  // a pause within a phrase
	sureTone     = 18 // 360 ms of fax tone
	sureBeep     = 9  // 180 ms of one steady tone
	sitTone      = 6  // 120 ms of each of the three tones
)

// New returns a detector of one call. It decides by cadence: how long there was
// silence, how much voice came, and how long the pause after it lasts. Tones
// that no voice makes decide at once. What stays in doubt is connected.
//
// Write allocates nothing.
func New(c Config) Detector {
	return &detector{
		Config: c.defaulted(),
		result: Result{SpeechStart: never, LastVoice: never, GreetingEnd: never},
	}
}

const never = -1 * time.Nanosecond

type detector struct {
	Config
	result Result
	done   bool

	now    time.Duration // end of the last frame
	frames int
	heard  int // frames that were not lost

	voice voiceActivity
	tone  toneMeter

	word    int // frames of voice in the present word
	voiced  int // frames of voice in all words
	pause   int // frames since the last voice
	sit     int // tones of the announcement heard so far
	ringing int // frames of ringback or busy tone
	pending int // frames that may be a vowel or the beginning of a tone

	events   [6]Event
	noticed  int  // events of the last frame
	greeting bool // somebody speaks; a GreetingEnded follows
	beep     Beep
}

// Write implements Detector. A frame of another length than 160 samples is
// taken for what its samples are worth.
func (d *detector) Write(frame []int16) (Result, bool) {
	d.now += frameTime
	d.frames++
	d.noticed = 0
	before := d.result
	if len(frame) > 0 {
		d.heard++
		d.listen(frame)
	}
	d.follow()
	if d.done {
		d.result = before
		return d.result, true
	}
	d.judge()
	return d.result, d.done
}

// Events implements Detector.
func (d *detector) Events() []Event { return d.events[:d.noticed] }

func (d *detector) notice(e Event) {
	if d.noticed < len(d.events) {
		e.At = d.now
		d.events[d.noticed] = e
		d.noticed++
	}
}

// follow notices speech, its end, and beeps, before a verdict and after it.
func (d *detector) follow() {
	quiet := time.Duration(d.pause) * frameTime
	switch {
	case !d.greeting && d.word >= shortestWord && d.pause == 0:
		d.greeting = true
		d.notice(Event{Kind: SpeechStarted, Start: max(d.now-time.Duration(d.word)*frameTime, 0), End: never})
	case d.greeting && quiet >= d.pauseAfter(time.Duration(d.voiced)*frameTime):
		d.greeting = false
		d.notice(Event{Kind: GreetingEnded, Start: d.now - quiet, End: never})
	}
	t := d.tone.last
	beeping := t.kind != ringTone && t.kind != faxTone && t.run >= sureBeep && d.voiced > 0
	switch {
	case beeping && d.beep.Hz == 0:
		d.beep = Beep{Start: max(d.now-time.Duration(t.run)*frameTime, 0), End: never, Hz: t.hz}
		d.notice(Event{Kind: BeepStarted, Start: d.beep.Start, End: never, Hz: t.hz})
		if d.done && d.result.Verdict.Live() {
			d.notice(Event{Kind: LateMachine, Start: d.beep.Start, End: never})
		}
	case !beeping && d.beep.Hz > 0:
		d.beep.End = d.now - frameTime
		d.notice(Event{Kind: BeepEnded, Start: d.beep.Start, End: d.beep.End, Hz: d.beep.Hz})
		d.beep = Beep{}
	}
}

// listen takes one frame into account.
func (d *detector) listen(frame []int16) {
	if len(frame) > frameSize {
		frame = frame[:frameSize]
	}
	loud := d.voice.hear(frame)
	t := d.tone.hear(frame, loud)
	switch {
	case t.run >= realTone:
		d.pending = 0
		if t.kind == ringTone {
			d.ringing++
			d.rest()
		} // any other may become a beep: it is no pause after a greeting
	case t.run > 0: // a tone begins, or a vowel
		d.pending++
	case loud:
		for ; d.pending > 0; d.pending-- {
			d.speak(d.now - time.Duration(d.pending)*frameTime)
		}
		d.speak(d.now)
	default:
		d.pending = 0
		d.rest()
	}
}

// rest counts a frame without voice.
func (d *detector) rest() {
	d.pause++
	if d.pause > longestGap {
		d.word = 0
	}
}

// speak counts a frame of voice that ended at a time. Only what has lasted as
// long as a short word counts; a click leaves nothing.
func (d *detector) speak(at time.Duration) {
	d.word++
	switch {
	case d.word == shortestWord:
		d.voiced += shortestWord
		if d.result.SpeechStart < 0 {
			d.result.SpeechStart = max(at-shortestWord*frameTime, 0)
		}
	case d.word > shortestWord:
		d.voiced++
	default:
		return
	}
	d.pause = 0
	d.result.LastVoice = at
}

// judge ends the analysis when the evidence is enough.
func (d *detector) judge() {
	spoken := time.Duration(d.voiced) * frameTime
	quiet := time.Duration(d.pause) * frameTime
	switch t := d.tone.last; {
	case t.kind == faxTone && t.run >= sureTone:
		d.decide(Fax, "fax tone")
		return
	case d.announced(t):
		d.decide(SIT, "special information tones")
		return
	case t.kind != ringTone && t.kind != faxTone && t.run >= sureBeep && d.voiced > 0:
		d.decide(Machine, "beep after speech")
		return
	}
	switch {
	case spoken > d.MaxGreeting:
		d.decide(Machine, "long greeting")
	case d.voiced > 0 && quiet >= d.pauseAfter(spoken):
		d.result.GreetingEnd = d.result.LastVoice
		d.decide(Human, "short greeting and a pause")
	case d.voiced == 0 && d.ringing == 0 && d.heard == d.frames && d.now >= d.InitialSilence:
		d.decide(Silence, "no speech")
	case d.now >= d.MaxAnalysis && d.voiced == 0 && d.ringing > 0:
		d.decide(Unknown, "ringback or busy tone")
	case d.now >= d.MaxAnalysis:
		d.decide(Unknown, "undecided in time")
	}
}

// pauseAfter is the pause that ends a greeting: people who say more also pause
// within it.
func (d *detector) pauseAfter(spoken time.Duration) time.Duration {
	return d.AfterGreeting + d.AfterGreeting/2*min(spoken, d.MaxGreeting)/d.MaxGreeting
}

// announced follows the three rising tones before a carrier's announcement
// (ITU-T E.180, Bellcore SR-2275).
func (d *detector) announced(t tone) bool {
	if t.kind == sitFirst+toneKind(d.sit) && t.run == sitTone {
		d.sit++
	}
	return d.sit == 3
}

func (d *detector) decide(v Verdict, reason string) {
	d.done = true
	d.result.Verdict, d.result.Decided, d.result.Reason = v, d.now, reason
	d.notice(Event{Kind: Decided, Start: d.now, End: never, Verdict: v})
}
