package ear

import "math"

// Features is how many numbers describe what was heard since the answer.
const Features = 52

// A Cadence is what was heard since the answer: words, pauses, levels, tones.
// Times in it are frames of 20 ms.
type Cadence struct {
	Frames int
	All    Words // everything that is like speech
	Near   Words // what is about as loud as the loudest speaker

	P                float64 // that the last frame is speech
	short, mid, long float64 // P, smoothed over 160, 500, 1500 ms
	speech           float64 // level of the speech, dB
	noise            float64 // level of what is none
	noises           int
	before           float64 // level before the first word
	level            float64 // smoothed over 160 ms
	pauseLevel       float64 // mean of the present pause
	pausePeriodic    float64
	periodic         float64 // of speech
	restless         float64 // mean |P-0.5| < 0.5 tells babble
	lost             int

	tone, low, lowTone, pair int // frames of any tone, of low ones
	lowest, highest          int // longest low tone, longest other one
	lowRuns                  int // low tones that have ended
	sinceLow                 int
	sinceTone                int
}

// Words counts the words of one kind.
type Words struct {
	Onset   int // frame of the first word; -1: none
	Voiced  int // frames of all words
	Silence int // frames since the last word
	Segment int // the present one, or 0
	Count   int // segments so far
	Longest int
	First   int // length of the first segment, and of the pause behind it
	Gap     int
	Last    int // length of the last segment before the present one
	LastGap int
	MaxGap  int
	pending int
	Since   int // frame of the last word's end
	End     int // and of its last voice
}

const (
	// ShortestWord has less voice than this many frames, or it is a click.
	ShortestWord = 4
	// LongestGap is the pause within a segment.
	LongestGap = 8
)

func (c *Cadence) init() {
	c.All.Onset, c.Near.Onset = -1, -1
	c.speech, c.noise = -30, -60
}

// lose notes a frame that is unknown: no silence grows, no word ends.
func (c *Cadence) lose() {
	c.Frames++
	c.lost++
}

func (c *Cadence) hear(p float64, s *Sound, t *Tones) {
	c.Frames++
	toned := t.Current.Hops >= RealTone
	if toned && (t.Current.Hops > 12 || !t.Current.Low()) {
		p = min(p, 0.3)
	}
	c.P = p
	voice := p > 0.5
	smooth(&c.short, p, 8)
	smooth(&c.mid, p, 25)
	smooth(&c.long, p, 75)
	smooth(&c.restless, math.Abs(p-0.5), 25)
	smooth(&c.level, s.Level, 8)
	if c.Frames == 1 {
		c.level = s.Level
	}
	c.All.hear(voice, c.Frames)
	c.Near.hear(p > 0.7 && s.Level > c.speech-12, c.Frames)
	if voice {
		if c.All.Voiced < 15 { // the first words set the level
			c.speech = max(c.speech, s.Level)
			if c.All.Voiced == 0 {
				c.speech = s.Level
			}
		}
		rate := 40.0
		if s.Level > c.speech {
			rate = 10
		}
		smooth(&c.speech, s.Level, rate)
		smooth(&c.periodic, s.Periodic, 25)
	} else if p < 0.3 {
		c.noises = min(c.noises+1, 50)
		smooth(&c.noise, s.Level, float64(c.noises))
		if c.All.Onset < 0 {
			c.before = c.noise
		}
		n := float64(max(min(c.All.Silence, 25), 1))
		smooth(&c.pauseLevel, s.Level, n)
		smooth(&c.pausePeriodic, s.Periodic, n)
	}
	c.sinceTone++
	c.sinceLow++
	if toned {
		run := t.Current.Hops / 2
		if t.Current.Low() {
			c.low++
			c.lowest = max(c.lowest, run)
			c.sinceLow = 0
		} else {
			c.highest = max(c.highest, run)
		}
		c.tone++
		if t.Current.Second() > 0 {
			c.pair++
		}
		c.sinceTone = 0
	}
	if t.Ending && t.Ended.Low() && t.Ended.Hops > 10 {
		c.lowRuns++
	}
}

// hear counts a frame.
func (w *Words) hear(voice bool, frame int) {
	if !voice {
		w.Silence++
		w.pending = max(w.pending-1, 0)
		if w.Silence > LongestGap && w.Segment > 0 {
			w.Last = w.Segment
			if w.Count == 1 {
				w.First = w.Segment
			}
			w.Segment = 0
		}
		return
	}
	w.pending++
	if w.Segment == 0 && w.pending < ShortestWord {
		w.Silence++
		return
	}
	if w.Segment == 0 { // a word begins; it was one from its first frame on
		gap := max(w.Silence-w.pending+1, 0)
		if w.Onset < 0 {
			w.Onset = max(frame-w.pending, 0)
		} else {
			w.LastGap = gap
			w.MaxGap = max(w.MaxGap, gap)
			if w.Count == 1 {
				w.Gap = gap
			}
		}
		w.Count++
		w.Since = frame - w.pending
		w.Voiced += w.pending - 1
	}
	w.Voiced++
	w.pending = ShortestWord
	w.Silence = 0
	w.End = frame
	w.Segment = frame - w.Since
	w.Longest = max(w.Longest, w.Segment)
}

// Describe fills in the features that a verdict rests on.
func (c *Cadence) Describe(x *[Features]float32) {
	f := x[:0]
	add := func(v ...float32) { f = append(f, v...) }
	add(float32(c.Frames))
	for _, w := range [...]*Words{&c.All, &c.Near} {
		since := -1
		if w.Onset >= 0 {
			since = c.Frames - w.Onset
		}
		add(float32(w.Onset), float32(since), float32(w.Voiced), float32(w.Silence), float32(w.Segment), float32(w.Count),
			float32(w.Longest), float32(w.First), float32(w.Gap), float32(w.Last), float32(w.LastGap), float32(w.MaxGap))
	}
	pause := 0.0
	if c.All.Onset >= 0 {
		pause = c.level - c.speech
	}
	add(float32(c.short), float32(c.mid), float32(c.long), float32(c.restless),
		float32(pause), float32(c.speech-c.noise), float32(c.level-c.noise), float32(c.noise-c.before),
		float32(c.pauseLevel-c.speech), float32(c.pausePeriodic), float32(c.periodic), float32(c.noise),
		float32(c.lost), float32(c.tone), float32(c.low), float32(c.pair), float32(c.lowest), float32(c.highest),
		float32(c.lowRuns), float32(min(c.sinceLow, 300)), float32(min(c.sinceTone, 300)))
	if c.All.Onset >= 0 {
		add(float32(c.All.Voiced)/float32(c.Frames-c.All.Onset+1), float32(c.Near.Voiced)/float32(c.All.Voiced+1),
			float32(c.All.Voiced)/float32(c.All.Count+1))
	} else {
		add(-1, -1, -1)
	}
	clear(x[len(f):])
}

// LowRuns is how many low tones have ended.
func (c *Cadence) LowRuns() int { return c.lowRuns }

// Toned reports whether any tone was heard.
func (c *Cadence) Toned() bool { return c.tone > 0 }
