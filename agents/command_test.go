package agents_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dialer"
	"dialer/agents"
)

func TestHangup(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := openFloor(t, agents.Config{})
		f.refused(f.r.Hangup("ann"), dialer.NotFound)
		f.ready(agent("ann"))
		f.refused(f.r.Hangup("ann"), dialer.Conflict)
		res := f.reserve("c")
		f.refused(f.r.Hangup("ann"), dialer.Conflict)
		f.must(res.Talk())
		if closed(res.HangupRequested()) {
			t.Fatal("a hang-up nobody asked for")
		}
		f.must(f.r.Hangup("ann"))
		f.must(f.r.Hangup("ann"))
		if !closed(res.HangupRequested()) || closed(res.Gone()) {
			t.Error("the holder was not told to end the call")
		}
		done := wrapUp(t.Context(), res, 0)
		f.refused(f.r.Hangup("ann"), dialer.Conflict)
		f.must(f.r.Dispose("ann", "c", agents.Disposition{Code: "sale"}, ""))
		<-done
	})
}

func TestDispose(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := openFloor(t, agents.Config{})
		f.ready(agent("ann"))
		said := agents.Disposition{Code: "callback", Note: "after six", Callback: time.Now().Add(time.Hour), Own: true}
		f.refused(f.r.Dispose("bob", "1", said, ""), dialer.NotFound)
		f.refused(f.r.Dispose("ann", "1", said, ""), dialer.Conflict)
		res := f.talking("1")
		f.refused(f.r.Dispose("ann", "1", said, ""), dialer.Conflict) // still up
		done := wrapUp(t.Context(), res, time.Minute)
		f.refused(f.r.Dispose("ann", "1", agents.Disposition{}, ""), dialer.Invalid)
		f.refused(f.r.Dispose("ann", "1", said, agents.Talking), dialer.Invalid)
		f.refused(f.r.Dispose("ann", "0", said, ""), dialer.Conflict) // not this call
		f.must(f.r.Dispose("ann", "1", said, agents.NotReady))
		if got := <-done; !got.ok || got.d != said {
			t.Errorf("got %+v", got)
		}
		f.is("ann", agents.NotReady, "")
		// The answer was lost on the way and the desktop says it again, at
		// another place on earth.
		again := said
		again.Callback = again.Callback.UTC()
		f.must(f.r.Dispose("ann", "1", again, agents.NotReady))
		again.Code = "sale"
		f.refused(f.r.Dispose("ann", "1", again, ""), dialer.Conflict)
		// Whoever held it asks late.
		if d, ok := res.WrapUp(t.Context(), 0); !ok || d != said {
			t.Errorf("asked again: %+v %v", d, ok)
		}
	})
}

func TestWrapUpLimit(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := openFloor(t, agents.Config{})
		d := f.ready(agent("ann"))
		start := time.Now()
		done := wrapUp(t.Context(), f.talking("1"), 30*time.Second)
		got := <-done
		if got.ok || got.at.Sub(start) != 30*time.Second {
			t.Errorf("wrap-up ended after %v: %+v", got.at.Sub(start), got)
		}
		f.is("ann", agents.Ready, "wrap-up limit")
		f.refused(f.r.Dispose("ann", "1", agents.Disposition{Code: "sale"}, ""), dialer.Conflict)
		var until time.Time
		for _, m := range d.messages() {
			if m.Kind == agents.WrapUpLimited {
				until = m.Until
			}
		}
		if !until.Equal(start.Add(30 * time.Second)) {
			t.Errorf("the desktop was told %v", until)
		}

		// What was asked for in the call holds after it.
		res := f.talking("2")
		f.must(f.r.SetNotReady("ann", "lunch"))
		<-wrapUp(t.Context(), res, time.Second)
		f.is("ann", agents.NotReady, "lunch")
		f.must(f.r.SetReady("ann"))

		// And can be taken back.
		res = f.talking("3")
		f.must(f.r.SetNotReady("ann", "lunch"))
		done = wrapUp(t.Context(), res, time.Second)
		f.must(f.r.SetReady("ann"))
		<-done
		f.is("ann", agents.Ready, "wrap-up limit")

		// The holder ends first.
		ctx, cancel := context.WithCancel(t.Context())
		done = wrapUp(ctx, f.talking("4"), time.Minute)
		cancel()
		if got := <-done; got.ok || got.at.Sub(time.Now()) != 0 {
			t.Errorf("got %+v", got)
		}
		f.is("ann", agents.Ready, "call ended")

		// Nothing was said: nothing to wrap up.
		if _, ok := f.reserve("5").WrapUp(t.Context(), time.Minute); ok {
			t.Error("a disposition came from nowhere")
		}
		f.is("ann", agents.Ready, "call ended")
	})
}

func TestNotReadyWhileReserved(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := openFloor(t, agents.Config{})
		f.ready(agent("ann"))
		res := f.reserve("c")
		f.must(f.r.SetNotReady("ann", "lunch"))
		f.is("ann", agents.Reserved, "call")
		if got := f.r.State("ann").Asked; got != agents.NotReady {
			t.Errorf("asked for %q", got)
		}
		res.Release("no answer")
		res.Release("no answer")
		f.is("ann", agents.NotReady, "lunch")
		if f.r.State("ann").Asked != "" {
			t.Error("what was asked for is still to come")
		}
	})
}

func TestPreview(t *testing.T) {
	type answer struct {
		dial bool
		err  error
	}
	preview := func(f *floor, res agents.Reservation, limit time.Duration) <-chan answer {
		c := make(chan answer, 1)
		go func() {
			ctx, cancel := context.WithTimeout(f.t.Context(), limit)
			defer cancel()
			dial, err := res.Preview(ctx)
			c <- answer{dial, err}
		}()
		synctest.Wait()
		return c
	}
	inBubble(t, func(t *testing.T) {
		f := openFloor(t, agents.Config{})
		d := f.ready(agent("ann"))
		f.refused(f.r.PreviewDial("ann", "1"), dialer.Conflict)
		f.refused(f.r.PreviewDial("bob", "1"), dialer.NotFound)

		res := f.reserve("1")
		f.refused(f.r.PreviewDial("ann", "1"), dialer.Conflict) // not asked yet
		got := preview(f, res, time.Minute)
		if snap := f.r.State("ann"); !snap.Preview || !snap.DecideBy.Equal(time.Now().Add(time.Minute)) {
			t.Errorf("snapshot %+v", snap)
		}
		f.refused(f.r.PreviewDial("ann", "0"), dialer.Conflict)
		f.must(f.r.PreviewDial("ann", "1"))
		f.refused(f.r.PreviewSkip("ann", "1"), dialer.Conflict) // decided
		if a := <-got; !a.dial || a.err != nil {
			t.Errorf("got %+v", a)
		}
		// It rings; the agent may give it up.
		f.must(f.r.Hangup("ann"))
		if !closed(res.HangupRequested()) {
			t.Error("the holder was not told")
		}
		res.Release("given up")

		res = f.reserve("2")
		got = preview(f, res, time.Minute)
		f.must(f.r.PreviewSkip("ann", "2"))
		if a := <-got; a.dial || a.err != nil {
			t.Errorf("got %+v", a)
		}
		res.Release("skipped")

		res = f.reserve("3")
		if a := <-preview(f, res, time.Minute); a.dial || !errors.Is(a.err, context.DeadlineExceeded) {
			t.Errorf("got %+v", a)
		}
		f.refused(f.r.PreviewDial("ann", "3"), dialer.Conflict)

		got = preview(f, res, time.Minute)
		d.Detach()
		time.Sleep(5 * time.Second)
		if a := <-got; a.dial || !errors.Is(a.err, agents.ErrGone) {
			t.Errorf("got %+v", a)
		}
		if _, err := res.Preview(t.Context()); !errors.Is(err, agents.ErrGone) {
			t.Error(err)
		}
	})
}

// A word that was accepted is heard, even as the time for it ends.
func TestPreviewAnsweredInTheLastInstant(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := openFloor(t, agents.Config{})
		f.ready(agent("ann"))
		var heard int
		for range 2000 {
			res := f.reserve("c")
			ctx, cancel := context.WithCancel(t.Context())
			var dial bool
			var said, err error
			var all sync.WaitGroup
			all.Go(func() { dial, err = res.Preview(ctx) })
			synctest.Wait()
			all.Go(cancel)
			all.Go(func() { said = f.r.PreviewDial("ann", "c") })
			all.Wait()
			if dial != (said == nil) || dial != (err == nil) {
				t.Fatalf("the agent was told %v, the holder %v, %v", said, dial, err)
			}
			if dial {
				heard++
			}
			res.Release("")
		}
		t.Logf("heard %d times", heard)
	})
}
