package agents_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"dialer"
	"dialer/agents"
)

func TestNoCallWithoutADesktop(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := openFloor(t, agents.Config{})
		_, err := f.r.Login(t.Context(), agent("ann"))
		f.must(err)
		f.refused(f.r.SetReady("ann"), dialer.Conflict)
		d := f.attach("ann")
		f.must(f.r.SetReady("ann"))

		d.Detach()
		d.Detach()
		if c := f.r.Counts(sales); c.Ready != 0 || c.NotReady != 1 {
			t.Errorf("an agent without a desktop counts as ready: %+v", c)
		}
		_, err = f.r.ReserveAgent(t.Context(), sales, "ann", "c")
		f.refused(err, dialer.Conflict)

		// A call that waits gets them when they are back in time.
		got := make(chan agents.Reservation, 1)
		go func() { got <- f.reserveSoon("c") }()
		time.Sleep(4 * time.Second)
		synctest.Wait()
		if len(got) != 0 {
			t.Fatal("an agent without a desktop got a call")
		}
		d = f.attach("ann")
		res := <-got
		res.Release("lost")
		f.is("ann", agents.Ready, "lost")

		d.Detach()
		time.Sleep(5*time.Second - 1)
		f.is("ann", agents.Ready, "lost")
		time.Sleep(1)
		f.is("ann", agents.NotReady, "desktop gone")
		d = f.attach("ann")
		f.is("ann", agents.NotReady, "desktop gone")
		f.must(f.r.SetReady("ann"))
		_ = d
	})
}

// reserveSoon waits up to a minute.
func (f *floor) reserveSoon(call dialer.CallID) agents.Reservation {
	c := make(chan struct{})
	time.AfterFunc(time.Minute, func() { close(c) })
	res, err := f.r.Reserve(f.t.Context(), sales, call)
	if err != nil {
		f.t.Error(err)
	}
	return res
}

func TestDesktopGoneDuringACall(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := openFloor(t, agents.Config{})
		d := f.ready(agent("ann"))
		res := f.reserve("reserved")
		d.Detach()
		time.Sleep(5 * time.Second)
		f.is("ann", agents.NotReady, "desktop gone")
		if !closed(res.Gone()) {
			t.Error("the holder was not told")
		}

		// A talk goes on, and a desktop that is back in time changes nothing.
		d = f.attach("ann")
		f.must(f.r.SetReady("ann"))
		res = f.talking("talk")
		d.Detach()
		time.Sleep(time.Hour)
		f.is("ann", agents.Talking, "connected")
		d = f.attach("ann")
		if snap := d.messages()[0].Snapshot; snap == nil || snap.State != agents.Talking || snap.Call != "talk" {
			t.Errorf("the desktop that came back was told %+v", snap)
		}
		done := wrapUp(t.Context(), res, time.Minute)
		f.must(f.r.Dispose("ann", "talk", agents.Disposition{Code: "sale"}, ""))
		f.is("ann", agents.Ready, "disposed")
		<-done

		// One that stays away: not ready after the call.
		res = f.talking("alone")
		d.Detach()
		time.Sleep(time.Minute)
		done = wrapUp(t.Context(), res, time.Minute)
		f.is("ann", agents.WrapUp, "call ended")
		<-done
		f.is("ann", agents.NotReady, "desktop gone")
	})
}

func TestSecondDesktopTakesOver(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := openFloor(t, agents.Config{})
		_, err := f.r.Attach("ann")
		f.refused(err, dialer.NotFound)
		first := f.ready(agent("ann"))
		second := f.attach("ann")
		<-first.shut
		if got := first.messages(); got[len(got)-1].Kind != agents.Replaced {
			t.Errorf("the first desktop's last word was %+v", got[len(got)-1])
		}
		first.Detach() // its websocket closes now
		time.Sleep(time.Minute)
		f.is("ann", agents.Ready, "")
		res := f.reserve("c")
		res.Offer("pop")
		if got := second.kinds(); !slices.Contains(got, agents.Offer) {
			t.Errorf("the second desktop was told %v", got)
		}
		res.Release("")
	})
}

func TestMessagesOfACall(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := openFloor(t, agents.Config{})
		d := f.ready(agent("ann"))
		watcher, stop := f.r.Subscribe("ann")
		if m := <-watcher; m.Kind != agents.Current || m.Snapshot.State != agents.Ready || !m.Snapshot.Desktop || !m.Snapshot.Phone {
			t.Errorf("a watcher was told first %+v", m)
		}
		res := f.reserve("c")
		res.Offer(map[string]string{"name": "Ada"})
		if snap := f.r.State("ann"); snap.Call != "c" || snap.Pop == nil {
			t.Errorf("snapshot %+v", snap)
		}
		f.must(res.Talk())
		f.must(f.r.SetNotReady("ann", "lunch"))
		done := wrapUp(t.Context(), res, time.Minute)
		f.must(f.r.Dispose("ann", "c", agents.Disposition{Code: "sale"}, ""))
		<-done
		f.is("ann", agents.NotReady, "lunch")

		want := []agents.Kind{
			agents.Current, agents.StateChanged, // ready
			agents.StateChanged, agents.Offer, agents.StateChanged, // reserved, talking
			agents.Asked, agents.StateChanged, agents.CallEnded, agents.WrapUpLimited, agents.StateChanged,
		}
		got := d.messages()
		if !slices.Equal(d.kinds(), want) {
			t.Errorf("got  %v\nwant %v", d.kinds(), want)
		}
		for i, m := range got {
			if i > 0 && m.Seq != got[i-1].Seq+1 {
				t.Errorf("message %d has number %d after %d", i, m.Seq, got[i-1].Seq)
			}
		}
		stop()
		stop()
		if !f.r.State("ann").Desktop {
			t.Error("a watcher who left took the desktop along")
		}
		n := 0
		for range watcher {
			n++
		}
		if n != len(want)-2 {
			t.Errorf("the watcher got %d messages", n)
		}
		none, stop := f.r.Subscribe("nobody")
		if _, open := <-none; open {
			t.Error("an agent who is not there sends messages")
		}
		stop()
	})
}

// A desktop that reads nothing is dropped, and its agent gets no more calls.
func TestStalledDesktopIsDropped(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := openFloor(t, agents.Config{})
		_, err := f.r.Login(t.Context(), agent("ann"))
		f.must(err)
		d, err := f.r.Attach("ann")
		f.must(err)
		f.must(f.r.SetReady("ann"))
		for n := 0; f.r.State("ann").Desktop; n++ {
			if n > 100 {
				t.Fatal("nobody reads, and nobody minds")
			}
			if res, err := f.r.ReserveAgent(t.Context(), sales, "ann", "c"); err == nil {
				res.Release("")
			}
		}
		n := 0
		for range d.Messages() {
			n++
		}
		if n != 64 {
			t.Errorf("%d messages had waited", n)
		}
		time.Sleep(5 * time.Second)
		f.is("ann", agents.NotReady, "desktop gone")
	})
}

func TestListAndPauses(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := openFloor(t, agents.Config{})
		f.login(agent("bob"))
		f.login(agent("ann"))
		f.must(f.r.SetNotReady("ann", "training"))
		f.is("ann", agents.NotReady, "training")
		f.must(f.r.SetReady("ann"))
		f.must(f.r.SetReady("ann"))
		f.must(f.r.SetNotReady("ann", "lunch"))
		f.is("ann", agents.NotReady, "lunch")
		list := f.r.List()
		if len(list) != 2 || list[0].Agent != "ann" || list[1].Agent != "bob" || list[0].Name != "Agent ann" {
			t.Errorf("list %+v", list)
		}
		if got := f.saved.of("ann"); !slices.Equal(got, []string{
			"logged_out>not_ready logged in", "not_ready>ready ", "ready>not_ready lunch",
		}) {
			t.Errorf("saved %q", got)
		}
	})
}
