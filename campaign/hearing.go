package campaign

import (
	"time"

	"dialer/amd"
	"dialer/telephony"
)

// earlyFrames is how many frames from before the answer a leg may have waiting.
const earlyFrames = 10

// hearing feeds a detector by the time of the leg's media. What its results call
// zero is the answer, whenever the first packet came.
type hearing struct {
	detector amd.Detector
	limit    time.Duration // of what is filled in for packets that did not come
	early    int           // frames from before the answer
	begun    bool          // the detector has heard something
	began    time.Duration // its first frame, from the answer
	next     time.Duration // the one it expects
	far      farEnd
	events   []amd.Event // of the last write
}

func newHearing(d amd.Detector) *hearing {
	return &hearing{detector: d, limit: detectLimit, far: farEnd{lastVoice: -1, beep: amd.Beep{Start: -1, End: -1}}}
}

// write takes one frame.
func (h *hearing) write(f *telephony.Frame) (r amd.Result, done bool) {
	h.events = h.events[:0]
	if f.Offset < 0 && !h.begun && h.early < earlyFrames {
		h.early++ // ringback is not what answered
		return amd.Result{SpeechStart: -1, LastVoice: -1, GreetingEnd: -1}, false
	}
	if !h.begun {
		h.begun, h.began = true, min(max(f.Offset, 0), detectLimit)
		h.next = h.began
	}
	at := max(h.next, min(f.Offset, h.began+h.limit)) // whatever the leg claims
	for ; at-h.next >= telephony.FrameDuration; h.next += telephony.FrameDuration {
		h.put(nil) // no packet came for it
	}
	samples := f.Samples[:]
	if f.Lost {
		samples = nil
	}
	r, done = h.put(samples)
	h.next = at + telephony.FrameDuration
	for _, t := range [...]*time.Duration{&r.SpeechStart, &r.LastVoice, &r.GreetingEnd, &r.Decided} {
		if *t >= 0 {
			*t += h.began
		}
	}
	return r, done
}

// put gives the detector one frame and takes its events.
func (h *hearing) put(samples []int16) (r amd.Result, done bool) {
	r, done = h.detector.Write(samples)
	for _, e := range h.detector.Events() {
		for _, t := range [...]*time.Duration{&e.At, &e.Start, &e.End} {
			if *t >= 0 {
				*t += h.began
			}
		}
		h.far.note(e)
		h.events = append(h.events, e)
	}
	return r, done
}

// farEnd is what the far end is doing, by the events so far.
type farEnd struct {
	speaking  bool
	spoke     time.Duration // since when it speaks
	lastVoice time.Duration // end of its last speech; negative when there was none
	beeping   bool
	beep      amd.Beep // the last one
	beeps     int      // that have ended
}

func (v *farEnd) note(e amd.Event) {
	switch e.Kind {
	case amd.SpeechStarted:
		v.speaking, v.spoke = true, e.Start
	case amd.GreetingEnded:
		v.speaking, v.lastVoice = false, e.Start
	case amd.BeepStarted:
		v.speaking, v.beeping, v.beep = false, true, amd.Beep{Start: e.Start, End: -1, Hz: e.Hz}
	case amd.BeepEnded:
		v.beeping, v.beep = false, amd.Beep{Start: e.Start, End: e.End, Hz: e.Hz}
		v.beeps++
	}
}
