package evaluate

import (
	"time"

	"dialer/amd"
)

// An Outcome is what a detector made of one recording. Times count from its
// start; a negative time means that it did not happen.
type Outcome struct {
	Row
	Heard    amd.Result
	Greeting time.Duration // end of the greeting that the events tell
	Beep     amd.Beep      // the last beep; two in a row are one
	BeepTold time.Duration // when its start was noticed
	Late     time.Duration // when a machine was noticed behind a verdict that connects
	Events   []amd.Event
}

const (
	frameSize = 160
	frameTime = 20 * time.Millisecond
	// silenceAfter is how long a line stays open and silent behind a recording
	// that ends before the verdict.
	silenceAfter = 15 * time.Second
	// doubleBeep is the longest pause between two beeps that are one signal.
	doubleBeep = 400 * time.Millisecond
)

// Listen plays a recording to a detector, to its end and not further than its
// verdict behind it. When the recording ends first the line is silent.
func Listen(d amd.Detector, samples []int16) Outcome {
	o := Outcome{Greeting: -1, Beep: amd.Beep{Start: -1, End: -1}, BeepTold: -1, Late: -1}
	var frame [frameSize]int16
	length := time.Duration(len(samples)) * time.Second / 8000
	for at := time.Duration(0); at < length+silenceAfter; at += frameTime {
		n := copy(frame[:], samples)
		clear(frame[n:])
		samples = samples[n:]
		var done bool
		o.Heard, done = d.Write(frame[:])
		for _, e := range d.Events() {
			o.take(e)
		}
		if done && at+frameTime >= length {
			break
		}
	}
	if o.Beep.Start >= 0 && o.Beep.End < 0 {
		o.Beep.End = length
	}
	return o
}

// take keeps what an event says of the whole recording.
func (o *Outcome) take(e amd.Event) {
	o.Events = append(o.Events, e)
	switch e.Kind {
	case amd.GreetingEnded:
		if o.Beep.Start < 0 {
			o.Greeting = e.Start
		}
	case amd.BeepStarted:
		if o.Beep.Start < 0 || e.Start-o.Beep.End > doubleBeep {
			o.Beep = amd.Beep{Start: e.Start, End: -1, Hz: e.Hz}
			o.BeepTold = e.At
		}
		o.Beep.End = -1
	case amd.BeepEnded:
		o.Beep.End, o.Beep.Hz = e.End, e.Hz
	case amd.LateMachine:
		if o.Late < 0 {
			o.Late = e.At
		}
	}
}

// Right reports whether a verdict is the one of the label. Music that is played
// instead of ringing is both.
func (o *Outcome) Right() bool {
	return string(o.Heard.Verdict) == o.Label || o.Label == string(amd.Ringback) && o.Heard.Verdict == amd.Music
}
