package telephony

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// testLeg is a leg in memory: what is put into heard is read from it, what is
// written to it is kept.
type testLeg struct {
	Leg
	heard chan Frame
	done  chan struct{}

	mu      sync.Mutex
	written []Frame
	at      []time.Time
	hungUp  bool
}

func newTestLeg() *testLeg {
	return &testLeg{heard: make(chan Frame, 100), done: make(chan struct{})}
}

func (l *testLeg) ReadFrame(ctx context.Context) (Frame, error) {
	select {
	case f := <-l.heard:
		return f, nil
	case <-l.done:
		return Frame{}, ErrLegEnded
	case <-ctx.Done():
		return Frame{}, ctx.Err()
	}
}

func (l *testLeg) WriteFrame(f Frame) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.written, l.at = append(l.written, f), append(l.at, time.Now())
	return nil
}

func (l *testLeg) Done() <-chan struct{} { return l.done }
func (l *testLeg) Hangup(Cause)          { l.hungUp = true }

func (l *testLeg) sent() []Frame {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.written
}

func frameOf(v int16) (f Frame) {
	f.Samples[0] = v
	return f
}

func TestJoinReturnsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newTestLeg(), newTestLeg()
		part := Join(a, b)
		a.heard <- frameOf(1)
		b.heard <- frameOf(2)
		synctest.Wait()
		if len(a.sent()) != 1 || len(b.sent()) != 1 {
			t.Errorf("%d and %d frames passed, want one each way", len(a.sent()), len(b.sent()))
		}
		part() // or its goroutines keep the bubble alive
		a.heard <- frameOf(3)
		synctest.Wait()
		if len(b.sent()) != 1 {
			t.Error("legs that were parted hear each other")
		}
	})
}

func TestBridgeJoinsBothWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newTestLeg(), newTestLeg()
		ended := make(chan error, 1)
		go func() { ended <- Bridge(t.Context(), a, b) }()
		for i := range int16(50) {
			a.heard <- frameOf(1 + i)
			b.heard <- frameOf(101 + i)
			time.Sleep(FrameDuration)
		}
		for name, c := range map[string]struct {
			got   []Frame
			first int16
		}{"b": {b.sent(), 1}, "a": {a.sent(), 101}} {
			if len(c.got) != 50 {
				t.Fatalf("%s was sent %d frames, want 50", name, len(c.got))
			}
			for i, f := range c.got {
				if f.Samples[0] != c.first+int16(i) {
					t.Fatalf("%s: frame %d is %d", name, i, f.Samples[0])
				}
			}
		}
		close(a.done)
		if err := <-ended; err != nil {
			t.Errorf("Bridge: %v after a hung up, want nil", err)
		}
		if a.hungUp || b.hungUp {
			t.Error("Bridge hung up a leg")
		}
	})
}

func TestBridgeEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- Bridge(ctx, newTestLeg(), newTestLeg()) }()
		synctest.Wait()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Bridge: %v, want canceled", err)
		}
	})
}

// What a leg has waiting, from before the bridge or from a stall, must not make
// everything that follows late.
func TestBridgeDropsBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		a, b := newTestLeg(), newTestLeg()
		for range 10 {
			a.heard <- frameOf(1)
		}
		start := time.Now()
		ended := make(chan error, 1)
		go func() { ended <- Bridge(ctx, a, b) }()
		for i := range 100 {
			time.Sleep(FrameDuration)
			a.heard <- frameOf(2)
			if i == 50 {
				for range 10 {
					a.heard <- frameOf(3)
				}
			}
		}
		synctest.Wait()
		cancel()
		<-ended
		elapsed := int(time.Since(start) / FrameDuration)
		if n := len(b.sent()); n > elapsed+4 || n < elapsed-1 {
			t.Errorf("%d frames written in %d frame times: the far end is that far behind", n, elapsed)
		}
		if first := b.at[0].Sub(start); first > FrameDuration {
			t.Errorf("the first frame went out after %s, want within a frame", first)
		}
	})
}

type relayLeg struct {
	*testLeg
	knows   bool
	relayed Leg
	stopped bool
}

func (l *relayLeg) Relay(to Leg) (func(), bool) {
	if !l.knows {
		return nil, false
	}
	l.relayed = to
	return func() { l.stopped = true }, true
}

func TestBridgeRelaysWhenBothCan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := &relayLeg{testLeg: newTestLeg(), knows: true}, &relayLeg{testLeg: newTestLeg(), knows: true}
		ended := make(chan error, 1)
		go func() { ended <- Bridge(t.Context(), a, b) }()
		synctest.Wait()
		if a.relayed != Leg(b) || a.stopped {
			t.Error("the legs are not relayed")
		}
		close(b.done)
		<-ended
		if !a.stopped {
			t.Error("the relay goes on after the bridge")
		}
	})
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		a, b := &relayLeg{testLeg: newTestLeg()}, &relayLeg{testLeg: newTestLeg()}
		ended := make(chan error, 1)
		go func() { ended <- Bridge(ctx, a, b) }()
		a.heard <- frameOf(7)
		synctest.Wait()
		if len(b.sent()) != 1 {
			t.Error("legs that do not know each other exchange no frames")
		}
		cancel()
		<-ended
	})
}

func TestPlayKeepsPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leg, start := newTestLeg(), time.Now()
		clip := Clip{Samples: make([]int16, 100*FrameSamples+40)}
		played, err := Play(t.Context(), leg, clip)
		if err != nil || played != clip.Duration() {
			t.Errorf("played %s, %v; want %s", played, err, clip.Duration())
		}
		if len(leg.written) != 101 {
			t.Fatalf("%d frames written, want 101", len(leg.written))
		}
		for i, at := range leg.at {
			if late := at.Sub(start.Add(time.Duration(i) * FrameDuration)); late != 0 {
				t.Fatalf("frame %d is %s off", i, late)
			}
		}
		if took := time.Since(start); took != 101*FrameDuration {
			t.Errorf("Play returned after %s, want when the last frame was played", took)
		}
	})
}

// slowLeg takes long over one frame, as a process that was stopped does.
type slowLeg struct {
	*testLeg
	stall map[int]time.Duration
}

func (l *slowLeg) WriteFrame(f Frame) error {
	time.Sleep(l.stall[len(l.written)])
	return l.testLeg.WriteFrame(f)
}

func TestPlayAfterStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leg, start := &slowLeg{newTestLeg(), map[int]time.Duration{10: 30 * time.Millisecond, 30: 300 * time.Millisecond}}, time.Now()
		if _, err := Play(t.Context(), leg, Clip{Samples: make([]int16, 50*FrameSamples)}); err != nil {
			t.Fatal(err)
		}
		if late := leg.at[20].Sub(start); late != 20*FrameDuration {
			t.Errorf("after a hiccup of 30 ms frame 20 went out at %s, want 400ms", late)
		}
		for i := 32; i < 50; i++ {
			if gap := leg.at[i].Sub(leg.at[i-1]); gap != FrameDuration {
				t.Errorf("after a stall of 300 ms frame %d follows after %s: a burst cuts words off", i, gap)
			}
		}
	})
}

func TestPlayEnds(t *testing.T) {
	clip := Clip{Samples: make([]int16, 8000)}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 110*time.Millisecond)
		defer cancel()
		played, err := Play(ctx, newTestLeg(), clip)
		if !errors.Is(err, context.DeadlineExceeded) || played != 120*time.Millisecond {
			t.Errorf("with its context: %s, %v; want 120ms and deadline exceeded", played, err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		leg := newTestLeg()
		time.AfterFunc(50*time.Millisecond, func() { close(leg.done) })
		if played, err := Play(t.Context(), leg, clip); !errors.Is(err, ErrLegEnded) || played != 60*time.Millisecond {
			t.Errorf("with its leg: %s, %v; want 60ms and ErrLegEnded", played, err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		if played, err := Play(t.Context(), newTestLeg(), Clip{}); played != 0 || err != nil {
			t.Errorf("an empty clip: %s, %v", played, err)
		}
	})
}
