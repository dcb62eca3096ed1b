package simtrunk

import (
	"context"
	"time"

	"dialer/telephony"
)

// A Behaviour is what a called number does. The zero value rings until the
// caller gives up.
type Behaviour struct {
	// Progress are the provisional responses; nil means one 180 at once.
	Progress []Progress
	// Early is heard before the answer by Invite.OnEarlyFrame.
	Early Audio
	// Ring is the time from the INVITE to the answer or the refusal.
	Ring time.Duration
	// Answer: it answers. Otherwise Cause is how it refuses; neither of them
	// means that it rings on.
	Answer bool
	Cause  telephony.Cause
	// Status is the SIP status of the refusal; 0 means the usual one of Cause.
	Status int
	// AnswerOnCancel: the answer crosses our CANCEL. Dial returns a ghost.
	AnswerOnCancel bool

	// Audio is what it says after the answer; nil is silence.
	Audio Audio
	// AudioFor is how long after the answer its packets come; 0 means to the
	// end, and a negative one that none ever comes.
	AudioFor time.Duration
	// Packets are the only ones that come, by what they are after the answer: a
	// far end that suppresses silence. nil means one every 20 ms. With the few
	// that a detector needs, a shift of thousands of calls costs little.
	Packets []time.Duration
	// HangupAfter is how long after the answer it hangs up if nobody was
	// connected; 0 means never.
	HangupAfter time.Duration
	// TalkFor is how long it talks with an agent before it hangs up, from the
	// moment its leg is relayed to a station's; 0 means until we hang up.
	TalkFor time.Duration
	// LoseAfter is how long after the answer the network loses the call.
	LoseAfter time.Duration
	// Digits are pressed after the answer.
	Digits []Press
	// Hears is called with each frame written to it. It must not block. A
	// relay does work for each frame only if this or a Tap is there.
	Hears func(telephony.Frame)
}

// Progress is one provisional response, some time after the INVITE.
type Progress struct {
	After  time.Duration
	Status int
	Media  bool
}

// A Press is one key press, some time after the answer.
type Press struct {
	After time.Duration
	Key   rune
}

// attempt is one INVITE on its way to an answer.
type attempt struct {
	trunk   *Trunk
	inv     telephony.Invite
	b       Behaviour
	placed  time.Time
	ringing time.Time
}

// defaultRing is how long it rings when Invite.RingTimeout is zero.
const defaultRing = 30 * time.Second

// ring returns nil once it is answered.
func (a *attempt) ring(ctx context.Context) error {
	giveUp := a.inv.RingTimeout
	if giveUp == 0 {
		giveUp = defaultRing
	}
	final := giveUp
	if (a.b.Answer || a.b.Cause != "") && a.b.Ring <= giveUp {
		final = a.b.Ring
	}
	progress := a.b.Progress
	if progress == nil {
		progress = []Progress{{Status: 180}}
	}
	early := a.b.Early
	if a.inv.OnEarlyFrame == nil {
		early = nil
	}

	for frame := time.Duration(0); ; {
		next := final
		if len(progress) > 0 {
			next = min(next, progress[0].After)
		}
		if early != nil {
			next = min(next, frame+telephony.FrameDuration)
		}
		if !sleep(ctx, time.Until(a.placed.Add(next))) {
			if a.b.Answer && a.b.Ring <= time.Since(a.placed) {
				return a.ghost(telephony.CauseCancelled)
			}
			return a.cancel(telephony.CauseCancelled, "Request Terminated")
		}
		if early != nil && next == frame+telephony.FrameDuration {
			f := telephony.Frame{Offset: frame - final}
			early(frame, &f)
			a.inv.OnEarlyFrame(f)
			frame = next
		}
		for len(progress) > 0 && progress[0].After <= next {
			a.progress(progress[0])
			progress = progress[1:]
		}
		if next < final {
			continue
		}
		switch {
		case ctx.Err() != nil && a.b.Answer && a.b.Ring <= giveUp:
			return a.ghost(telephony.CauseCancelled)
		case ctx.Err() != nil:
			return a.cancel(telephony.CauseCancelled, "Request Terminated")
		case a.b.Answer && a.b.Ring <= giveUp:
			return nil
		case a.b.Cause != "" && a.b.Ring <= giveUp:
			status := a.b.Status
			if status == 0 {
				status = statusOf[a.b.Cause]
			}
			return a.fail(a.b.Cause, status, "refused")
		default:
			return a.cancel(telephony.CauseNoAnswer, "rang out")
		}
	}
}

// sleep waits for d; it reports false when ctx ended first. A time that has
// come already takes no timer: under -race, two goroutines of a bubble that
// receive from timers already due can crash the detector (go.dev/issue/78156).
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (a *attempt) progress(p Progress) {
	now := time.Now()
	if a.ringing.IsZero() {
		a.ringing = now
	}
	if a.inv.OnProgress != nil {
		a.inv.OnProgress(telephony.Progress{Status: p.Status, Media: p.Media, At: now})
	}
}

// cancel is our CANCEL, and what comes of it.
func (a *attempt) cancel(cause telephony.Cause, reason string) error {
	if a.b.AnswerOnCancel {
		return a.ghost(cause)
	}
	return a.fail(cause, 487, reason)
}

// ghost is an answer after we had given up.
func (a *attempt) ghost(cause telephony.Cause) error {
	a.trunk.mu.Lock()
	a.trunk.stats.Ghosts++
	a.trunk.mu.Unlock()
	err := a.fail(cause, 200, "answered after the CANCEL")
	err.Ghost = true
	return err
}

func (a *attempt) fail(cause telephony.Cause, status int, reason string) *telephony.DialError {
	err := &telephony.DialError{
		Cause: cause, SIPStatus: status, Reason: reason,
		PlacedAt: a.placed, RingingAt: a.ringing, EndedAt: time.Now(),
	}
	if cause != telephony.CauseNotSent {
		err.Tries = a.try(status, reason)
	}
	return err
}

// statusOf is the SIP status with which a carrier mostly says a cause.
var statusOf = map[telephony.Cause]int{
	telephony.CauseBusy:        486,
	telephony.CauseNoAnswer:    480,
	telephony.CauseRejected:    603,
	telephony.CauseInvalid:     404,
	telephony.CauseCongestion:  503,
	telephony.CauseUnreachable: 408,
	telephony.CauseFailed:      500,
}
