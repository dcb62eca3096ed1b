package agents_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dialer"
	"dialer/agents"
	"dialer/telephony"
	"dialer/telephony/simtrunk"
)

func TestLoginRingsThePhone(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := openFloor(t, agents.Config{})
		f.phones.AnswerAfter(3 * time.Second)
		start := time.Now()
		s, err := f.r.Login(t.Context(), agent("ann"))
		f.must(err)
		if took := time.Since(start); took != 3*time.Second || f.phones.Up() != 1 {
			t.Errorf("login took %v, %d phones up", took, f.phones.Up())
		}
		f.is("ann", agents.NotReady, "logged in")
		if s.Agent().Name != "Agent ann" || closed(s.Done()) {
			t.Errorf("session %+v", s.Agent())
		}
		f.must(f.r.Logout("ann", false))
		synctest.Wait()
		if f.phones.Up() != 0 || !closed(s.Done()) {
			t.Error("the phone is up after the logout")
		}
		f.is("ann", agents.LoggedOut, "")
		f.must(func() error { _, err := f.r.Login(t.Context(), agent("ann")); return err }())
	})
}

func TestLoginRefused(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := openFloor(t, agents.Config{})
		login := func(a agents.Agent, opts ...agents.LoginOption) error {
			_, err := f.r.Login(t.Context(), a, opts...)
			return err
		}
		f.refused(login(agents.Agent{Extension: "1"}), dialer.Invalid)
		f.refused(login(agents.Agent{ID: "x"}), dialer.Invalid)

		f.phones.SwitchOff("bob")
		f.refused(login(agent("bob")), dialer.Unavailable)

		f.phones.AnswerAfter(time.Minute)
		start := time.Now()
		f.refused(login(agent("cid")), dialer.Unavailable)
		if took := time.Since(start); took != 30*time.Second {
			t.Errorf("rang for %v", took)
		}

		f.phones.AnswerAfter(5 * time.Second)
		first := make(chan error, 1)
		go func() { first <- login(agent("dan")) }()
		synctest.Wait()
		f.refused(login(agent("dan"), agents.TakeOver), dialer.Conflict) // still ringing
		f.refused(f.r.SetReady("dan"), dialer.NotFound)
		f.must(<-first)
		f.refused(login(agent("dan")), dialer.Conflict)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := f.r.Login(ctx, agent("eve")); err == nil {
			t.Error("a login that was given up succeeded")
		}
		f.is("eve", agents.LoggedOut, "")
		if got := len(f.r.List()); got != 1 {
			t.Errorf("%d logged in, want only dan", got)
		}
	})
}

func TestLoginTakesOver(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := openFloor(t, agents.Config{})
		first, err := f.r.Login(t.Context(), agent("ann"))
		f.must(err)
		a := agent("ann", sales, "service")
		second, err := f.r.Login(t.Context(), a, agents.TakeOver)
		f.must(err)
		if first != second || f.phones.Up() != 1 {
			t.Error("taking over made a second session")
		}
		if got := f.r.Counts("service").NotReady; got != 1 {
			t.Errorf("the new campaign has %d agents", got)
		}
		f.r.Update(agent("ann", "service"))
		if got := f.r.Counts(sales).LoggedIn(); got != 0 {
			t.Errorf("the old campaign still has %d agents", got)
		}
		f.r.Update(agent("nobody"))
	})
}

func TestShutdown(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := openFloor(t, agents.Config{})
		d := f.ready(agent("ann"))
		f.ready(agent("bob"))
		f.login(agent("cid"))
		talk := f.talking("call 1")
		wrap := f.talking("call 2")
		done := wrapUp(t.Context(), wrap, 0)
		waits := make(chan error, 1)
		go func() {
			_, err := f.r.Reserve(t.Context(), sales, "call 3")
			waits <- err
		}()
		f.phones.AnswerAfter(time.Minute)
		logs := make(chan error, 1)
		go func() {
			_, err := f.r.Login(t.Context(), agent("dan"))
			logs <- err
		}()
		synctest.Wait()
		f.close()

		if !closed(talk.Gone()) || !closed(talk.HangupRequested()) {
			t.Error("the holder of a talk was not told")
		}
		if got := <-done; got.ok {
			t.Error("wrap-up ended with a disposition")
		}
		f.refused(<-waits, dialer.Unavailable)
		f.refused(<-logs, dialer.Unavailable)
		<-d.shut
		_, err := f.r.Login(t.Context(), agent("eve"))
		f.refused(err, dialer.Unavailable)
		_, err = f.r.Reserve(t.Context(), sales, "call 4")
		f.refused(err, dialer.Unavailable)
		if err := f.r.Run(t.Context()); err == nil {
			t.Error("Run may be called twice")
		}
		talk.Release("late")
		talk.Offer("late")
		if !errors.Is(talk.Talk(), agents.ErrGone) {
			t.Error("talking after the end")
		}
	})
}

func TestPhoneLost(t *testing.T) {
	tests := map[string]struct {
		before func(*floor) agents.Reservation // then the phone is lost
		state  agents.State
		reason string
	}{
		"while not ready": {func(f *floor) agents.Reservation { f.login(agent("ann")); return nil }, agents.NotReady, "logged in"},
		"while ready":     {func(f *floor) agents.Reservation { f.ready(agent("ann")); return nil }, agents.NotReady, "phone gone"},
		"while reserved":  {func(f *floor) agents.Reservation { f.ready(agent("ann")); return f.reserve("c") }, agents.NotReady, "phone gone"},
		"while talking":   {func(f *floor) agents.Reservation { f.ready(agent("ann")); return f.talking("c") }, agents.WrapUp, "phone gone"},
		"in wrap-up": {func(f *floor) agents.Reservation {
			f.ready(agent("ann"))
			res := f.talking("c")
			wrapUp(f.t.Context(), res, 0)
			return res
		}, agents.WrapUp, "call ended"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				f := openFloor(t, agents.Config{})
				res := tt.before(f)
				f.phones.SwitchOff("ann")
				f.is("ann", tt.state, tt.reason)
				if res != nil {
					if !closed(res.Gone()) {
						t.Error("the holder was not told")
					}
					if got := f.r.State("ann").State; got == agents.WrapUp {
						// The desktop is still there to say what came of it.
						done := wrapUp(t.Context(), res, 0)
						f.must(f.r.Dispose("ann", "c", agents.Disposition{Code: "sale"}, agents.Ready))
						f.is("ann", agents.NotReady, "phone gone")
						if got := <-done; !got.ok || got.d.Code != "sale" {
							t.Errorf("the disposition was lost: %+v", got)
						}
					}
					res.Release("gone")
				}
				f.refused(f.r.SetReady("ann"), dialer.Conflict)

				f.phones.SwitchOn("ann")
				time.Sleep(3 * time.Second)
				synctest.Wait()
				if f.phones.Up() != 1 || !f.r.State("ann").Phone {
					t.Fatal("the phone was not called again")
				}
				f.must(f.r.SetReady("ann"))
				again := f.talking("next")
				again.Release("")
			})
		})
	}
}

// A person whose agent's phone died is told at once, and another agent can be
// had for the same call.
func TestPhoneLostWhileTalkingFreesThePerson(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := openFloor(t, agents.Config{})
		f.ready(agent("ann"), agent("bob"))
		res := f.talking("c")
		if res.Agent().ID != "ann" {
			t.Fatalf("got %s", res.Agent().ID)
		}
		start := time.Now()
		f.phones.Hangup("ann")
		<-res.Gone()
		<-res.Leg().Done()
		res.Release("phone gone")
		f.refused(f.r.Dispose("ann", "c", agents.Disposition{Code: "sale"}, ""), dialer.Conflict)
		other := f.talking("c")
		if other.Agent().ID != "bob" || time.Since(start) != 0 {
			t.Errorf("%s after %v", other.Agent().ID, time.Since(start))
		}
		other.Release("done")
	})
}

func TestPhoneKeepsRinging(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := openFloor(t, agents.Config{})
		d := f.login(agent("ann"))
		f.phones.SwitchOff("ann")
		time.Sleep(time.Hour)
		f.phones.AnswerAfter(time.Second)
		f.phones.SwitchOn("ann")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if f.phones.Up() != 1 {
			t.Fatal("the phone was not called again")
		}
		if got := d.kinds(); !slices.Equal(got, []agents.Kind{agents.Current, agents.Notice, agents.Notice}) {
			t.Errorf("the desktop was told %v", got)
		}
		// A logout stops the ringing.
		f.phones.AnswerAfter(20 * time.Second)
		f.phones.Hangup("ann")
		time.Sleep(4 * time.Second)
		f.must(f.r.Logout("ann", false))
		time.Sleep(time.Minute)
		if f.phones.Up() != 0 {
			t.Error("a logged-out agent's phone was answered")
		}
	})
}

// A phone that nobody answers is rung ever less often, until the agent is there
// again.
func TestUnansweredPhoneIsRungSeldom(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		rings := &rung{Stations: simtrunk.NewStations()}
		r := agents.NewRegistry(agents.Config{Stations: rings})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			r.Run(ctx)
		}()
		defer func() { stop(); <-ended }()
		if _, err := r.Login(t.Context(), agent("ann")); err != nil {
			t.Fatal(err)
		}
		d, err := r.Attach("ann")
		if err != nil {
			t.Fatal(err)
		}
		rings.AnswerAfter(time.Hour) // never
		rings.Hangup("ann")
		time.Sleep(time.Hour)
		synctest.Wait()
		var pauses []time.Duration
		for i, at := range rings.times() {
			if i > 1 { // the first is the login
				pauses = append(pauses, at.Sub(rings.times()[i-1])-30*time.Second)
			}
		}
		want := []time.Duration{6 * time.Second, 12 * time.Second, 24 * time.Second, 48 * time.Second, time.Minute, time.Minute}
		if len(pauses) < len(want) || !slices.Equal(pauses[:len(want)], want) || pauses[len(pauses)-1] != time.Minute {
			t.Errorf("pauses between rings are %v, want %v and so on", pauses, want)
		}
		if at := r.State("ann").State; at != agents.NotReady {
			t.Errorf("an agent with a desktop is %s after an hour without the phone", at)
		}
		// Who comes back need not wait for the next ring.
		for n := len(rings.times()); len(rings.times()) == n; {
			time.Sleep(time.Second)
		}
		time.Sleep(31 * time.Second) // the ringing ends, a pause of a minute begins
		rings.AnswerAfter(time.Second)
		d.Detach()
		if _, err := r.Attach("ann"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if rings.Up() != 1 {
			t.Error("the phone was not rung when the agent came back")
		}
	})
}

// rung notes when phones are rung.
type rung struct {
	*simtrunk.Stations
	mu sync.Mutex
	at []time.Time
}

func (r *rung) Ring(ctx context.Context, s telephony.Station) (telephony.Leg, error) {
	r.mu.Lock()
	r.at = append(r.at, time.Now())
	r.mu.Unlock()
	return r.Stations.Ring(ctx, s)
}

func (r *rung) times() []time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.at)
}

// Who goes home without a logout is logged out: their phone must not ring all
// night.
func TestForgottenLogout(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := openFloor(t, agents.Config{})
		d := f.login(agent("ann"))
		bob := f.login(agent("bob"))
		f.phones.AnswerAfter(time.Hour)
		f.phones.Hangup("ann")
		time.Sleep(time.Hour)
		f.is("ann", agents.NotReady, "logged in") // the desktop is open
		d.Detach()
		time.Sleep(5*time.Minute - time.Second)
		f.is("ann", agents.NotReady, "logged in")
		time.Sleep(time.Second)
		synctest.Wait()
		f.is("ann", agents.LoggedOut, "")
		if got := f.saved.of("ann"); got[len(got)-1] != "not_ready>logged_out phone and desktop gone" {
			t.Errorf("moves are %v", got)
		}
		// A phone that is up is a shift, with or without a desktop.
		bob.Detach()
		time.Sleep(time.Hour)
		f.is("bob", agents.NotReady, "logged in")
		f.phones.Hangup("bob")
		time.Sleep(5*time.Minute + time.Second)
		synctest.Wait()
		f.is("bob", agents.LoggedOut, "")
	})
}

func TestLogout(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := openFloor(t, agents.Config{})
		f.refused(f.r.Logout("ann", true), dialer.NotFound)

		f.ready(agent("ann"))
		f.must(f.r.Logout("ann", false))

		f.ready(agent("ann"))
		res := f.reserve("c")
		f.refused(f.r.Logout("ann", false), dialer.Conflict)
		f.must(f.r.Logout("ann", true))
		if !closed(res.Gone()) || !errors.Is(res.Talk(), agents.ErrGone) {
			t.Error("the holder was not told of a forced logout")
		}

		f.ready(agent("ann"))
		res = f.talking("c")
		f.refused(f.r.Logout("ann", false), dialer.Conflict)
		f.must(f.r.Logout("ann", true))
		if !closed(res.Gone()) || !closed(res.HangupRequested()) {
			t.Error("the holder was not told of a forced logout")
		}
		if _, ok := res.WrapUp(t.Context(), time.Minute); ok {
			t.Error("a disposition came from nowhere")
		}

		f.ready(agent("ann"))
		done := wrapUp(t.Context(), f.talking("c"), time.Minute)
		f.must(f.r.Logout("ann", false))
		if got := <-done; got.ok {
			t.Error("a disposition came from nowhere")
		}
		f.is("ann", agents.LoggedOut, "")
	})
}

func TestLongestStays(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := openFloor(t, agents.Config{MaxReserved: time.Minute, MaxTalk: time.Hour, MaxWrapUp: 10 * time.Minute})
		f.ready(agent("ann"))
		res := f.reserve("c")
		time.Sleep(time.Minute - 1)
		f.is("ann", agents.Reserved, "call")
		time.Sleep(1)
		f.is("ann", agents.Ready, "reserved too long")
		if !closed(res.Gone()) || !errors.Is(res.Talk(), agents.ErrGone) {
			t.Error("the holder was not told")
		}

		res = f.talking("c")
		time.Sleep(time.Hour)
		f.is("ann", agents.WrapUp, "talked too long")
		if !closed(res.HangupRequested()) {
			t.Error("the holder was not told to end the call")
		}
		done := wrapUp(t.Context(), res, 0)
		time.Sleep(10 * time.Minute)
		f.is("ann", agents.Ready, "wrap-up limit")
		if got := <-done; got.ok {
			t.Error("a disposition came from nowhere")
		}
		// A holder that is never heard of again.
		f.talking("c")
		time.Sleep(2 * time.Hour)
		f.is("ann", agents.Ready, "wrap-up limit")
	})
}

func TestConnectTone(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := openFloor(t, agents.Config{ConnectTone: true})
		var frames, loud int
		f.phones.Hear(func(_ string, fr telephony.Frame) {
			frames++
			if slices.Max(fr.Samples[:]) > 4000 {
				loud++
			}
		})
		f.ready(agent("ann"))
		if loud != 0 {
			t.Error("an idle agent hears something")
		}
		time.Sleep(500 * time.Millisecond) // between two frames of silence
		synctest.Wait()
		frames = 0
		start := time.Now()
		res := f.talking("c")
		if took := time.Since(start); took != 200*time.Millisecond || frames != 10 || loud != 10 {
			t.Errorf("%d frames, %d of them loud, in %v", frames, loud, took)
		}
		res.Release("done")
	})
}
