package telephony

import (
	"context"
	"sync"
	"time"
)

// A Relayer is a Leg that can pass packets straight to another one, without
// decoding and without a goroutine in between.
type Relayer interface {
	// Relay joins both directions until stop. It reports !ok when it does not
	// know how to reach to; nothing has changed then.
	Relay(to Leg) (stop func(), ok bool)
}

// bridgeLead is how far a bridge may write ahead of real time. More than that
// is a backlog: passing it on would leave its length behind as delay, for ever.
const bridgeLead = 3 * FrameDuration

// Bridge joins two legs so that each hears the other, until either is Done or
// ctx ends, and leaves both up. It returns nil when a leg ended and the error
// of ctx otherwise.
func Bridge(ctx context.Context, a, b Leg) error {
	part := Join(a, b)
	defer part()
	return wait(ctx, a, b)
}

// Join is Bridge for those who have something to do meanwhile: it returns as soon
// as each leg hears the other, and they do until part, which must be called.
func Join(a, b Leg) (part func()) {
	if stop, ok := relay(a, b); ok {
		return stop
	}
	copying, cancel := context.WithCancel(context.Background())
	var copiers sync.WaitGroup
	copiers.Go(func() { copyFrames(copying, b, a) })
	copiers.Go(func() { copyFrames(copying, a, b) })
	return func() {
		cancel()
		copiers.Wait()
	}
}

func relay(a, b Leg) (stop func(), ok bool) {
	from, ok := a.(Relayer)
	if !ok {
		return nil, false
	}
	if _, ok := b.(Relayer); !ok {
		return nil, false
	}
	return from.Relay(b)
}

func wait(ctx context.Context, a, b Leg) error {
	select {
	case <-a.Done():
		return nil
	case <-b.Done():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// copyFrames passes on what from hears, at most bridgeLead ahead of real time:
// what a leg had waiting before the bridge, or gathered in a stall, is dropped.
func copyFrames(ctx context.Context, to, from Leg) {
	var ahead time.Time // when all that was written has been played
	for {
		f, err := from.ReadFrame(ctx)
		if err != nil {
			return // the leg or the bridge ended; whoever joined them sees to that
		}
		now := time.Now()
		if ahead.Before(now) {
			ahead = now
		}
		if ahead.Sub(now) >= bridgeLead {
			continue
		}
		ahead = ahead.Add(FrameDuration)
		if err := to.WriteFrame(f); err != nil {
			return
		}
	}
}
