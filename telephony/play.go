package telephony

import (
	"context"
	"errors"
	"time"
)

// ErrLegEnded is returned when a leg ended before the work on it was done.
var ErrLegEnded = errors.New("the leg has ended")

// playLate is how late a frame may be before Play gives up catching up. A short
// hiccup is made good so that the clip keeps its length; after a longer one the
// rest is shifted, since a burst would be cut off by the far end's buffer and
// words of a legal notice lost.
const playLate = 3 * FrameDuration

// Play plays c to leg and returns when the last frame has been played, with the
// length of what was played. It fails with the error of ctx, with ErrLegEnded,
// or with the leg's write error. The leg encodes each frame as it is sent, which
// is under 1 % of sending it (docs/adr/0022).
func Play(ctx context.Context, leg Leg, c Clip) (played time.Duration, err error) {
	due := time.Now()
	for rest := c.Samples; ; {
		if err := until(ctx, leg, due); err != nil {
			return played, err
		}
		if len(rest) == 0 {
			return played, nil
		}
		var f Frame
		n := copy(f.Samples[:], rest)
		rest = rest[n:]
		if err := leg.WriteFrame(f); err != nil {
			return played, err
		}
		played += time.Duration(n) * time.Second / 8000
		now := time.Now()
		if now.Sub(due) > playLate {
			due = now
		}
		due = due.Add(FrameDuration)
	}
}

// until waits for a time; it fails when ctx or the leg ends first.
func until(ctx context.Context, leg Leg, due time.Time) error {
	wait := time.Until(due)
	if wait <= 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-leg.Done():
			return ErrLegEnded
		default:
			return nil
		}
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-leg.Done():
		return ErrLegEnded
	case <-timer.C:
		return nil
	}
}
