package simtrunk

import (
	"context"
	"slices"
	"sync"
	"time"

	"dialer/telephony"
)

// leg is one call leg in memory. Frames are made when they are asked for, so a
// leg that nobody hears costs nothing.
type leg struct {
	audio    Audio
	hears    func(telephony.Frame)
	station  string        // the phone's name; empty for a trunk's leg
	talkFor  time.Duration // see Behaviour
	audioFor time.Duration
	packets  []time.Duration  // see Behaviour; nil is all
	onTalk   func(other *leg) // a relay to another leg began
	onPart   func(other *leg) // it ended
	onEnd    func()
	digits   chan telephony.Digit
	done     chan struct{}

	mu       sync.Mutex
	info     telephony.Info
	ended    bool
	next     int         // number of the frame that is heard next
	pace     *time.Timer // a reader's, kept for the next frame
	taps     []*tap
	relays   []*relay
	timers   []*time.Timer
	patience *time.Timer // ends the call unless somebody is connected
	talked   bool
}

type tap struct {
	f func(telephony.Frame, bool)
}

// waiting is how much a reader that stalled finds, at most.
const waiting = 200 * time.Millisecond

func newLeg(info telephony.Info, audio Audio, hears func(telephony.Frame)) *leg {
	return &leg{
		audio: audio, hears: hears, info: info,
		digits: make(chan telephony.Digit, 32),
		done:   make(chan struct{}),
	}
}

// after calls f some time from now unless the leg has ended.
func (l *leg) after(d time.Duration, f func()) *time.Timer {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return nil
	}
	t := time.AfterFunc(d, f)
	l.timers = append(l.timers, t)
	return t
}

func (l *leg) ReadFrame(ctx context.Context) (telephony.Frame, error) {
	l.mu.Lock()
	n, offset, comes := l.upcoming()
	due := l.info.AnsweredAt.Add(offset + telephony.FrameDuration)
	ended := l.ended
	l.mu.Unlock()
	if ended {
		return telephony.Frame{}, telephony.ErrLegEnded
	}
	if err := ctx.Err(); err != nil {
		return telephony.Frame{}, err
	}
	if !comes {
		select { // no packet comes any more
		case <-l.done:
			return telephony.Frame{}, telephony.ErrLegEnded
		case <-ctx.Done():
			return telephony.Frame{}, ctx.Err()
		}
	}
	if wait := time.Until(due); wait > 0 {
		if err := l.wait(ctx, wait); err != nil {
			return telephony.Frame{}, err
		}
	}
	f := telephony.Frame{Offset: offset}
	if l.audio != nil {
		l.audio(f.Offset, &f)
	}
	l.mu.Lock()
	l.next = n + 1
	l.info.Media.PacketsIn++
	taps := l.taps
	l.mu.Unlock()
	for _, t := range taps {
		t.f(f, false)
	}
	return f, nil
}

// upcoming is the number and the place of the frame that is read next, and
// whether it ever comes. A reader that stalled has missed some.
func (l *leg) upcoming() (n int, offset time.Duration, comes bool) {
	age := time.Since(l.info.AnsweredAt)
	if l.packets != nil {
		for n = l.next; n < len(l.packets); n++ {
			if offset = l.packets[n]; age-offset-telephony.FrameDuration <= waiting {
				return n, offset, l.audioFor == 0 || offset < l.audioFor
			}
		}
		return n, 0, false
	}
	n = l.next
	if late := age - time.Duration(n+1)*telephony.FrameDuration; late > waiting {
		n += int((late - waiting + telephony.FrameDuration - 1) / telephony.FrameDuration)
	}
	offset = time.Duration(n) * telephony.FrameDuration
	return n, offset, l.audioFor == 0 || offset < l.audioFor
}

// wait waits for the next frame to be due.
func (l *leg) wait(ctx context.Context, d time.Duration) error {
	l.mu.Lock()
	timer := l.pace
	l.pace = nil // another reader takes its own
	l.mu.Unlock()
	if timer == nil {
		timer = time.NewTimer(d)
	} else {
		timer.Reset(d)
	}
	defer func() {
		timer.Stop()
		l.mu.Lock()
		l.pace = timer
		l.mu.Unlock()
	}()
	select {
	case <-timer.C:
		return nil
	case <-l.done:
		return telephony.ErrLegEnded
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *leg) WriteFrame(f telephony.Frame) error {
	l.mu.Lock()
	if l.ended {
		l.mu.Unlock()
		return telephony.ErrLegEnded
	}
	l.info.Media.PacketsOut++
	taps := l.taps
	l.mu.Unlock()
	for _, t := range taps {
		t.f(f, true)
	}
	if l.hears != nil {
		l.hears(f)
	}
	return nil
}

func (l *leg) Digits() <-chan telephony.Digit { return l.digits }

func (l *leg) press(key rune) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return
	}
	select {
	case l.digits <- telephony.Digit{Key: key, Duration: 100 * time.Millisecond}:
	default: // nobody reads them
	}
}

func (l *leg) Tap(f func(telephony.Frame, bool)) (stop func()) {
	t := &tap{f}
	l.setTaps(func(taps []*tap) []*tap { return append(slices.Clone(taps), t) })
	return func() {
		l.setTaps(func(taps []*tap) []*tap {
			return slices.DeleteFunc(slices.Clone(taps), func(u *tap) bool { return u == t })
		})
	}
}

func (l *leg) setTaps(change func([]*tap) []*tap) {
	l.mu.Lock()
	l.taps = change(l.taps)
	relays := slices.Clone(l.relays)
	l.mu.Unlock()
	for _, r := range relays {
		r.refresh()
	}
}

// listened reports whether somebody hears what a relay passes.
func (l *leg) listened() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.ended && (len(l.taps) > 0 || l.hears != nil)
}

func (l *leg) alive() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.ended
}

func (l *leg) Info() telephony.Info {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.info
}

func (l *leg) Dialog() []byte               { return []byte(l.info.Call) }
func (l *leg) Hangup(cause telephony.Cause) { l.end(telephony.Caller, cause) }
func (l *leg) Done() <-chan struct{}        { return l.done }
func (l *leg) end(by telephony.Side, cause telephony.Cause) {
	l.mu.Lock()
	if l.ended {
		l.mu.Unlock()
		return
	}
	l.ended = true
	l.info.EndedAt, l.info.EndedBy, l.info.Cause = time.Now(), by, cause
	for _, t := range l.timers {
		t.Stop()
	}
	close(l.digits)
	l.mu.Unlock()
	if l.onEnd != nil {
		l.onEnd()
	}
	close(l.done)
}
