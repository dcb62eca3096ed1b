package media

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"dialer"
	"dialer/telephony"
)

// ErrNoDigits is returned by SendDigits when the far end did not agree to
// telephone-event.
var ErrNoDigits = errors.New("the far end takes no key presses (telephone-event was not agreed)")

const (
	keys = "0123456789*#ABCD" // by RFC 4733 event number

	// endLost: a key whose end packets were all lost is let go after this.
	endLost = 200 * time.Millisecond

	digitLength = 100 * time.Millisecond
	digitGap    = 80 * time.Millisecond
	endPackets  = 3
)

// keypad turns RFC 4733 packets into presses. All packets of one press carry
// the timestamp of its start: that tells copies from new presses, whichever of
// them are lost.
type keypad struct {
	down      bool
	key       byte
	timestamp uint32
	duration  uint32 // in clock ticks, of this segment
	earlier   uint32 // of segments before, for very long presses
	clock     uint32
	at        time.Time

	done          bool
	doneTimestamp uint32
}

func (k *keypad) event(timestamp uint32, payload []byte, clock uint32, now time.Time, press func(telephony.Digit)) {
	number, end := payload[0], payload[1]&0x80 != 0
	duration := uint32(binary.BigEndian.Uint16(payload[2:]))
	if int(number) >= len(keys) {
		return // flash, fax tones: not a key
	}
	if clock == 0 {
		clock = 8000
	}
	if k.done && k.old(timestamp) {
		return
	}
	switch {
	case k.down && timestamp == k.timestamp:
		if number != k.key {
			return
		}
		k.duration = max(k.duration, duration)
	case k.down && number == k.key && timestamp == k.timestamp+0xffff:
		// A press longer than the field holds goes on in another segment
		// (RFC 4733 section 2.5.1.3).
		k.earlier += 0xffff
		k.timestamp, k.duration = timestamp, duration
	case k.down && int32(timestamp-k.timestamp) < 0:
		return
	default:
		k.finish(press)
		*k = keypad{
			down: true, key: number, timestamp: timestamp, duration: duration, clock: clock,
			done: k.done, doneTimestamp: k.doneTimestamp,
		}
	}
	k.at = now
	if end {
		k.finish(press)
	}
}

// old tells a copy of a press that is over from a new one. After a jump of the
// far end's clock everything is new.
func (k *keypad) old(timestamp uint32) bool {
	d := int32(timestamp - k.doneTimestamp)
	return d <= 0 && d > -10*8000
}

// quiet hears that no key is down by what else arrives.
func (k *keypad) quiet(now time.Time, press func(telephony.Digit)) {
	if k.down && now.Sub(k.at) > endLost {
		k.finish(press)
	}
}

func (k *keypad) finish(press func(telephony.Digit)) {
	if !k.down {
		return
	}
	k.down, k.done, k.doneTimestamp = false, true, k.timestamp
	press(telephony.Digit{
		Key:      rune(keys[k.key]),
		Duration: time.Duration(k.earlier+k.duration) * time.Second / time.Duration(k.clock),
	})
}

// restart begins another stream, with another clock.
func (k *keypad) restart(press func(telephony.Digit)) {
	k.finish(press)
	*k = keypad{}
}

// toldTwice is how long after a press the same key, told in the other way, is
// that press again. A SIP message that is lost comes a second late.
const toldTwice = 2 * time.Second

// toldKeys remembers of each key how it was told of last: some far ends tell by
// RFC 4733 and by INFO at once.
type toldKeys [len(keys)]struct {
	at     time.Time
	byInfo bool
}

// again tells whether a press was told of in the other way before.
func (t *toldKeys) again(d telephony.Digit, at time.Time, byInfo bool) bool {
	i := strings.IndexRune(keys, d.Key)
	if i < 0 {
		return false
	}
	began := at
	if !byInfo {
		began = at.Add(-d.Duration) // RFC 4733 tells when the key is let go
	}
	last := &t[i]
	if !last.at.IsZero() && last.byInfo != byInfo && began.Sub(last.at) < toldTwice {
		return true
	}
	last.at, last.byInfo = at, byInfo
	return false
}

// Press delivers a key press that the far end has told of by SIP INFO, unless it
// has told of it by RFC 4733 as well.
func (s *Session) Press(d telephony.Digit) { s.pressed(d, time.Now()) }

func (s *Session) pressed(d telephony.Digit, now time.Time) {
	s.in.mu.Lock()
	defer s.in.mu.Unlock()
	if !s.in.closed {
		s.in.pressed(d, now, true)
	}
}

// SendDigits presses the keys 0-9 * # A-D, 100 ms each, and returns when the
// last is let go. Audio that is written or relayed meanwhile is dropped. It
// fails with an Invalid *dialer.Error, ErrNoDigits, ErrClosed or the error of
// ctx; a key that has begun is always ended.
func (s *Session) SendDigits(ctx context.Context, digits string) error {
	digits = strings.ToUpper(digits)
	for _, d := range digits {
		if !strings.ContainsRune(keys, d) {
			return dialer.Fieldf("digits", "%q is not a key: use 0-9 * # A-D", d)
		}
	}
	if err := s.out.key(true); err != nil {
		return err
	}
	defer s.out.key(false) //nolint:errcheck // letting go cannot fail
	tick := time.NewTicker(telephony.FrameDuration)
	defer tick.Stop()
	for _, d := range digits {
		if err := ctx.Err(); err != nil {
			return err
		}
		s.sendDigit(byte(strings.IndexRune(keys, d)), tick.C)
		for range digitGap/telephony.FrameDuration - (endPackets - 1) {
			select {
			case <-tick.C:
			case <-s.closed:
				return ErrClosed
			}
		}
	}
	return nil
}

func (s *Session) sendDigit(number byte, tick <-chan time.Time) {
	o := &s.out
	start := o.beginDigit(time.Now())
	const frames = int(digitLength / telephony.FrameDuration)
	for i := 1; i <= frames; i++ {
		select {
		case <-tick:
		case <-s.closed:
			return
		}
		length := time.Duration(i) * telephony.FrameDuration
		o.sendEvent(number, i == frames, i == 1, start, length)
	}
	// The end again, at the same pace: what loses one packet often loses the next.
	for range endPackets - 1 {
		select {
		case <-tick:
		case <-s.closed:
			return
		}
		o.sendEvent(number, true, false, start, digitLength)
	}
	o.endDigit(start + uint32(frames*telephony.FrameSamples))
}

// putEvent writes an event for another clock (RFC 4733 section 2.3): only its
// duration depends on that. What does not fit is as long as the field can say.
func putEvent(dst, event []byte, from, to uint32) int {
	n := copy(dst, event)
	if from = cmp.Or(from, 8000); from != cmp.Or(to, 8000) {
		duration := uint64(binary.BigEndian.Uint16(event[2:])) * uint64(cmp.Or(to, 8000)) / uint64(from)
		binary.BigEndian.PutUint16(dst[2:], uint16(min(duration, 0xffff)))
	}
	return n
}

// key takes the line for digits and gives it back.
func (o *outbound) key(down bool) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case !down:
		o.keying, o.resume = false, true
	case o.s.isClosed():
		return ErrClosed
	case o.remote.DTMF == 0 || !o.remote.Send:
		return ErrNoDigits
	case o.keying:
		return dialer.Errorf(dialer.Conflict, "digits are being sent already: wait until they are through")
	default:
		o.keying, o.relay.live = true, false
	}
	return nil
}

func (o *outbound) beginDigit(now time.Time) (timestamp uint32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if clock := o.clock(now); int32(clock-o.timestamp) > 0 {
		o.timestamp = clock
	}
	return o.timestamp
}

func (o *outbound) endDigit(timestamp uint32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if int32(timestamp-o.timestamp) > 0 {
		o.timestamp = timestamp
	}
}

func (o *outbound) sendEvent(number byte, end, marker bool, timestamp uint32, length time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.open() {
		return
	}
	const volume = 10 // dBm0 below zero
	event := o.packet[12:16]
	event[0], event[1] = number, volume
	if end {
		event[1] |= 0x80
	}
	clock := o.remote.DTMFClock
	if clock == 0 {
		clock = 8000
	}
	binary.BigEndian.PutUint16(event[2:], uint16(min(int64(length)*int64(clock)/int64(time.Second), 0xffff)))
	o.send(o.remote.DTMF, marker, o.sequence, timestamp, len(event), time.Now())
	o.sequence++
}
