package amd

import (
	"math"
	"time"

	"dialer/amd/ear"
	"dialer/amd/forest"
)

// signals reads tones: what no voice says.
type signals struct {
	sit      int // tones of the announcement heard so far
	first    ear.Tone
	second   ear.Tone
	since    time.Duration // when the last of them began
	beeping  bool
	beepFrom time.Duration
	alone    time.Duration // end of a beep before any speech, 0: none
	features [ear.BeepFeatures]float32
}

const (
	// A beep has so many spectra at least, 10 ms apart, and stands above the mains'
	// harmonics; the model must be so sure.
	shortestBeep = 6
	lowestBeep   = 380
	sureBeep     = 0.6
	sureAlone    = 0.8 // before any speech: it may be music, or a television

	sureFax  = 340 * time.Millisecond
	sitTone  = 120 * time.Millisecond
	sitGap   = 150 * time.Millisecond
	longTone = 330 * time.Millisecond // of 276 and 380 ms
	// A beep that was the first thing heard may have been the first tone of SIT.
	beepAlone = 300 * time.Millisecond
)

// in reports whether a frequency lies within limits.
func in(hz, from, to float64) bool { return hz > from && hz < to }

// isBeep reports a tone that lasts, is none of those that have another meaning,
// and sounds like a beep to the model.
func (s *signals) isBeep(d *detector) bool {
	t := &d.ear.Tones.Current
	if t.Hops < shortestBeep || t.Hz < lowestBeep || dtmf(t) || exchange(t) {
		return false
	}
	d.ear.DescribeTone(&s.features)
	var score [1]float64
	d.model.beep.Scores(s.features[:], score[:])
	sure := sureBeep
	if d.ear.Cadence.All.Onset < 0 {
		sure = sureAlone
	}
	return forest.Logistic(score[0]) > sure
}

// dtmf reports a key of a telephone (ITU-T Q.23).
func dtmf(t *ear.Tone) bool {
	near := func(hz float64, of ...float64) bool {
		for _, f := range of {
			if math.Abs(hz-f) < 0.025*f {
				return true
			}
		}
		return false
	}
	low, high := min(t.Hz, t.Second()), max(t.Hz, t.Second())
	return near(low, 697, 770, 852, 941) && near(high, 1209, 1336, 1477, 1633)
}

// exchange reports two tones of ringback, busy or dial tone.
func exchange(t *ear.Tone) bool {
	low, high := min(t.Hz, t.Second()), max(t.Hz, t.Second())
	return low > 300 && low < 500 && high < 640
}

// hear notices beeps and the tones before announcements.
func (s *signals) hear(d *detector) {
	t, now := &d.ear.Tones.Current, d.ear.Now()
	s.announce(t, now)
	spoken := d.ear.Cadence.All.Onset >= 0
	switch {
	case s.beeping && d.ear.Tones.Ending:
		s.beeping = false
		e := &d.ear.Tones.Ended
		d.notice(Event{Kind: BeepEnded, Start: s.beepFrom, End: max(e.End, s.beepFrom), Hz: e.Hz})
		if !spoken {
			s.alone = e.End
		}
	case s.beeping && t.Hops == 0:
		s.beeping = false
	case !s.beeping && t.Hops > 0 && (spoken || t.Hz > 560 && !fax(t)) && s.isBeep(d):
		s.beeping, s.beepFrom = true, max(t.Start, 0)
		d.notice(Event{Kind: BeepStarted, Start: s.beepFrom, End: never, Hz: t.Hz})
		if spoken {
			d.correct(s.beepFrom)
		}
	}
}

func fax(t *ear.Tone) bool { return in(t.Hz, 1075, 1125) || in(t.Hz, 2075, 2125) }

// announce follows the three rising tones before a carrier's announcement
// (ITU-T E.180, Bellcore SR-2275).
func (s *signals) announce(t *ear.Tone, now time.Duration) {
	if t.Hops == 0 || t.Length() < sitTone-40*time.Millisecond {
		return
	}
	if s.sit > 0 && s.sit < 3 && t.Start > s.since+longTone+sitGap+100*time.Millisecond {
		s.sit = 0
	}
	switch {
	case in(t.Hz, 880, 1020):
		s.sit, s.first, s.since = 1, *t, t.Start
	case s.sit == 1 && in(t.Hz, 1330, 1470) && t.Start > s.since:
		s.sit, s.second, s.since = 2, *t, t.Start
	case s.sit == 2 && in(t.Hz, 1330, 1470):
		s.second = *t
	case s.sit == 2 && in(t.Hz, 1730, 1850) && t.Start > s.since:
		s.sit = 3
	}
}

// verdict is what tones alone say.
func (s *signals) verdict(d *detector) (v Verdict, code Code, reason string) {
	t := &d.ear.Tones.Current
	spoken := d.ear.Cadence.All.Onset >= 0
	switch {
	case s.sit == 3:
		return SIT, s.code(), "special information tones"
	case t.Hops > 0 && fax(t) && t.Second() == 0 && t.Length() >= sureFax && (!spoken || in(t.Hz, 2075, 2125)):
		if t.Hz < 1500 {
			return Fax, CNG, "tone of a calling fax"
		}
		return Fax, CED, "tone of an answering fax"
	case s.beeping && spoken:
		return Machine, NoCode, "beep after speech"
	case !spoken && s.alone > 0 && d.ear.Now() > s.alone+beepAlone && s.sit < 2:
		return Machine, NoCode, "a beep alone"
	}
	return "", NoCode, ""
}

// quiet reports that no tone is being heard that may soon say more than cadence.
func (s *signals) quiet(d *detector) bool {
	t := &d.ear.Tones.Current
	if s.sit > 0 && s.sit < 3 && d.ear.Now() < s.since+longTone+sitGap+100*time.Millisecond {
		return false
	}
	return t.Hops < ear.RealTone || t.Low()
}

// code reads the tones of an announcement: which of each pair, and how long.
func (s *signals) code() Code {
	low, long := s.first.Hz < 950, s.first.Length() > longTone
	lowSecond, longSecond := s.second.Hz < 1400, s.second.Length() > longTone
	switch {
	case low && lowSecond && !long && !longSecond:
		return Intercept
	case !low && lowSecond && long && !longSecond:
		return Vacant
	case low && !lowSecond && longSecond, !low && lowSecond && !long && longSecond:
		return ReorderSIT
	case !low && !lowSecond && longSecond, low && lowSecond && long && longSecond:
		return NoCircuit
	}
	return UnknownCode
}

// cadence tells busy from ringing: it comes more often than once in 1.4 s.
func (s *signals) cadence(d *detector, v Verdict) Code {
	if v != Ringback {
		return NoCode
	}
	if runs := d.ear.Cadence.LowRuns(); runs >= 2 && d.ear.Now()/time.Duration(runs) < 1400*time.Millisecond {
		return Busy
	}
	return Ringing
}
