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
	early    int           // frames from before the answer
	begun    bool          // the detector has heard something
	began    time.Duration // its first frame, from the answer
	next     time.Duration // the one it expects
}

// write takes one frame.
func (h *hearing) write(f *telephony.Frame) (r amd.Result, done bool) {
	if f.Offset < 0 && !h.begun && h.early < earlyFrames {
		h.early++ // ringback is not what answered
		return amd.Result{SpeechStart: -1, LastVoice: -1, GreetingEnd: -1}, false
	}
	if !h.begun {
		h.begun, h.began = true, min(max(f.Offset, 0), detectLimit)
		h.next = h.began
	}
	at := max(h.next, min(f.Offset, h.began+detectLimit)) // whatever the leg claims
	for ; at-h.next >= telephony.FrameDuration && !done; h.next += telephony.FrameDuration {
		r, done = h.detector.Write(nil) // no packet came for it
	}
	samples := f.Samples[:]
	if f.Lost {
		samples = nil
	}
	if !done {
		r, done = h.detector.Write(samples)
	}
	h.next = at + telephony.FrameDuration
	for _, t := range [...]*time.Duration{&r.SpeechStart, &r.LastVoice, &r.GreetingEnd, &r.Decided} {
		if *t >= 0 {
			*t += h.began
		}
	}
	return r, done
}
