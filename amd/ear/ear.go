// Package ear turns the audio of a leg into what a detector decides on: how much
// each frame is like speech, the tones in it, and the cadence of both since the
// answer. It is pure, causal and allocates nothing.
//
// Entry point: Ear.Hear.
package ear

import (
	"math"
	"time"

	"dialer/amd/forest"
)

// The frames that come in.
const (
	FrameSize = 160 // samples at 8 kHz
	FrameTime = 20 * time.Millisecond

	hop     = 80 // samples between two spectra
	hopTime = 10 * time.Millisecond
)

// bands are the limits of the frequency bands, in steps of 31.25 Hz: 190 to 3440 Hz,
// about as wide as the ear's.
var bands = [...]int{6, 9, 12, 16, 20, 25, 31, 39, 49, 61, 75, 92, 110}

const bandCount = len(bands) - 1

// An Ear listens to one leg. The zero Ear is not ready: use New.
type Ear struct {
	voice *forest.Forest // what tells speech; nil when its features are to be learned

	past  [window]int16 // the newest samples last
	fresh int           // of them, since the last gap
	power [half + 1]float64

	Tones   Tones
	Sound   Sound
	Cadence Cadence
	frames  int
	lost    int
}

// New returns an ear that tells speech by trees over Sound.Features.
func New(voice *forest.Forest) *Ear {
	e := &Ear{voice: voice}
	e.Tones.init()
	e.Cadence.init()
	return e
}

// Now is the end of the last frame.
func (e *Ear) Now() time.Duration { return time.Duration(e.frames) * FrameTime }

// Hear takes a frame; one that is empty was lost.
func (e *Ear) Hear(frame []int16) {
	e.frames++
	if len(frame) == 0 {
		e.lost++
		e.fresh = 0
		e.Tones.miss()
		e.Cadence.lose()
		return
	}
	var bandPower [bandCount]float64
	spectra := 0
	for h := range FrameSize / hop {
		copy(e.past[:], e.past[hop:])
		piece := e.past[window-hop:]
		clear(piece)
		if h*hop < len(frame) {
			copy(piece, frame[h*hop:])
		}
		e.fresh = min(e.fresh+hop, window)
		at := e.Now() - FrameTime + time.Duration(h+1)*hopTime
		if e.fresh < window && e.frames > 2 { // behind a gap: a cut would look like a click
			e.Tones.skip()
			continue
		}
		powers(&e.past, &e.power)
		e.Tones.hear(&e.power, at)
		for b := range bandCount {
			for k := bands[b]; k < bands[b+1]; k++ {
				bandPower[b] += e.power[k]
			}
		}
		spectra++
	}
	if spectra == 0 {
		e.Cadence.lose()
		return
	}
	e.Sound.hear(&bandPower, spectra, &e.power, &e.Tones)
	p := 0.0
	if e.voice != nil {
		var score [1]float64
		e.voice.Scores(e.Sound.Features[:], score[:])
		p = forest.Logistic(score[0])
	}
	e.Cadence.hear(p, &e.Sound, &e.Tones)
}

// VoiceFeatures is how many numbers describe a frame.
const VoiceFeatures = bandCount + 22

// A Sound is one frame by its spectrum and by what came shortly before.
type Sound struct {
	Features [VoiceFeatures]float32

	Level                float64 // dB of full scale
	Periodic             float64
	started              bool
	before               [4]float64 // levels of the frames before
	band, floor          [bandCount]float64
	fast, slow, peak     float64 // floors of the level, and its peak
	near, mid, far       float64 // level above the fast floor, smoothed over 60, 200, 600 ms
	voiced, longVoiced   float64
	flux, longFlux, move float64
	mean, square         float64 // of the level, over 500 ms
}

// smooth moves a mean by one frame of many.
func smooth(mean *float64, x, frames float64) { *mean += (x - *mean) / frames }

func (s *Sound) hear(power *[bandCount]float64, spectra int, spectrum *[half + 1]float64, tones *Tones) {
	// A sine of full scale has (32768*window/4)^2 in its line; it is 0 dB here.
	const scale = 1 / (32768.0 * 32768 * window * window / 16)
	var now [bandCount]float64
	total, logs := 0.0, 0.0
	for b := range now {
		p := power[b] * scale / float64(spectra)
		total += p
		now[b] = 10 * math.Log10(p+1e-10)
		logs += 10 * math.Log10(p/float64(bands[b+1]-bands[b])+1e-11)
	}
	s.Level = 10 * math.Log10(total+1e-9)
	flat := logs/float64(bandCount) - (10 * math.Log10(total/float64(bands[bandCount]-bands[0])+1e-11)) // 0: like white noise
	s.Periodic = periodicity(spectrum)
	if !s.started {
		s.started = true
		s.band, s.floor = now, now
		s.fast = min(s.Level, -45)
		s.slow, s.peak = s.fast, s.fast+15
		s.before = [4]float64{s.Level, s.Level, s.Level, s.Level}
		s.mean, s.square = s.Level, s.Level*s.Level
		for b := range s.floor {
			s.floor[b] = min(s.floor[b], -50)
		}
	}
	flux := 0.0
	for b := range now {
		flux += math.Abs(now[b]-s.band[b]) / float64(bandCount)
		s.floor[b] = follow(s.floor[b], now[b], 0.06)
	}
	s.band = now
	s.fast, s.slow = follow(s.fast, s.Level, 0.16), follow(s.slow, s.Level, 0.03)
	s.peak -= 0.03
	s.peak = max(s.peak, s.Level-3, s.slow+6)
	above := s.Level - s.fast
	smooth(&s.near, above, 3)
	smooth(&s.mid, above, 10)
	smooth(&s.far, above, 30)
	smooth(&s.voiced, s.Periodic, 5)
	smooth(&s.longVoiced, s.Periodic, 20)
	smooth(&s.flux, flux, 5)
	smooth(&s.longFlux, flux, 20)
	smooth(&s.move, math.Abs(s.Level-s.before[0]), 20)
	smooth(&s.mean, s.Level, 25)
	smooth(&s.square, s.Level*s.Level, 25)

	f := s.Features[:0]
	for b := range now {
		f = append(f, float32(min(now[b]-s.floor[b], 50)))
	}
	low := now[1] + now[2] + now[3] - now[8] - now[9] - now[10]
	f = append(f, float32(s.Level), float32(above), float32(s.Level-s.slow), float32(s.Level-s.peak), float32(s.peak-s.slow),
		float32(flat), float32(tones.share), float32(s.Periodic), float32(low/3),
		float32(s.Level-s.before[0]), float32(s.Level-s.before[3]), float32(flux),
		float32(s.near), float32(s.mid), float32(s.far), float32(s.voiced), float32(s.longVoiced),
		float32(s.flux), float32(s.longFlux), float32(s.move), float32(math.Sqrt(max(s.square-s.mean*s.mean, 0))), float32(tones.steady))
	_ = f[VoiceFeatures-1]
	copy(s.before[1:], s.before[:3])
	s.before[0] = s.Level
}

// follow moves a floor down fast and up slowly, by a step in dB.
func follow(floor, level, up float64) float64 {
	if level < floor {
		return max(floor+(level-floor)*0.4, -85)
	}
	return min(floor+up, level)
}

// Lost is how many frames were lost.
func (e *Ear) Lost() int { return e.lost }
