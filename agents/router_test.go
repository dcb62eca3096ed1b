package agents_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dialer"
	"dialer/agents"
)

func TestLongestIdleIsFirst(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := openFloor(t, agents.Config{})
		f.ready(agent("ann"), agent("bob"), agent("cid"), agent("other", "service"))
		var order []dialer.AgentID
		var held []agents.Reservation
		for n := range 3 {
			res := f.reserve(dialer.CallID(fmt.Sprint(n)))
			held, order = append(held, res), append(order, res.Agent().ID)
		}
		if want := []dialer.AgentID{"ann", "bob", "cid"}; !slices.Equal(order, want) {
			t.Fatalf("order %v, want %v", order, want)
		}
		// Cid's call came to nothing: still idle for as long as before. Ann and
		// Bob talked; Bob is done first.
		f.must(held[0].Talk())
		f.must(held[1].Talk())
		held[1].Release("")
		time.Sleep(time.Second)
		held[0].Release("")
		held[2].Release("lost")
		if got := f.r.Counts(sales).LongestIdle; got != 3*time.Second {
			t.Errorf("longest idle %v", got)
		}
		order = nil
		for n := range 3 {
			order = append(order, f.reserve(dialer.CallID(fmt.Sprint("again", n))).Agent().ID)
		}
		if want := []dialer.AgentID{"cid", "bob", "ann"}; !slices.Equal(order, want) {
			t.Errorf("order %v, want %v", order, want)
		}
	})
}

func TestCallsAreServedInOrder(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := openFloor(t, agents.Config{})
		f.login(agent("ann", sales, "service"))
		f.login(agent("bob", "service"))
		var mu sync.Mutex
		var served []string
		ask := func(id dialer.CampaignID, call dialer.CallID, patience time.Duration) {
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				res, err := f.r.Reserve(ctx, id, call)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					served = append(served, fmt.Sprint(call, " ", err))
					return
				}
				served = append(served, fmt.Sprint(call, " ", res.Agent().ID))
				time.AfterFunc(time.Second, func() { res.Release("") })
			}()
			time.Sleep(time.Millisecond)
			synctest.Wait()
		}
		ask("service", "1", time.Hour)
		ask(sales, "2", time.Hour)
		ask(sales, "3", time.Second) // gives up
		ask("service", "4", time.Hour)
		ask(sales, "5", time.Hour)
		time.Sleep(2 * time.Second)
		f.must(f.r.SetReady("ann"))
		time.Sleep(10 * time.Second)
		mu.Lock()
		want := []string{"3 context deadline exceeded", "1 ann", "2 ann", "4 ann", "5 ann"}
		if !slices.Equal(served, want) {
			t.Errorf("served %q, want %q", served, want)
		}
		served = nil
		mu.Unlock()

		// Bob works for service only, Ann has waited longer.
		f.must(f.r.SetReady("bob"))
		ask("service", "6", time.Hour)
		ask("service", "7", time.Hour)
		ask(sales, "8", time.Hour)
		time.Sleep(10 * time.Second)
		mu.Lock()
		defer mu.Unlock()
		if want := []string{"6 ann", "7 bob", "8 ann"}; !slices.Equal(served, want) {
			t.Errorf("served %q, want %q", served, want)
		}
	})
}

// An agent is never lost when a call gives up in the instant it is served.
func TestGivingUpAsAnAgentComes(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := openFloor(t, agents.Config{})
		f.login(agent("ann"))
		var got, late int
		for n := range 2000 {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var res agents.Reservation
			var err error
			var all sync.WaitGroup
			all.Go(func() { res, err = f.r.Reserve(ctx, sales, "c") })
			if n%2 == 0 {
				synctest.Wait() // it waits in line
			}
			// Whichever is started last mostly comes first.
			if n%4 < 2 {
				all.Go(cancel)
			}
			all.Go(func() { f.must(f.r.SetReady("ann")) })
			if n%4 >= 2 {
				all.Go(cancel)
			}
			all.Wait()
			if err == nil {
				got++
				res.Release("")
			} else {
				late++
				if !errors.Is(err, context.Canceled) {
					t.Fatal(err)
				}
			}
			if s := f.r.State("ann").State; s != agents.Ready {
				t.Fatalf("ann is %s after %v", s, err)
			}
			f.must(f.r.SetNotReady("ann", ""))
		}
		t.Logf("%d got an agent, %d gave up", got, late)
		if c := f.r.Counts(sales); c.NotReady != 1 {
			t.Errorf("counts %+v", c)
		}
	})
}

func TestReserveAgent(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := openFloor(t, agents.Config{})
		f.ready(agent("ann"), agent("bob"))
		reserve := func(id dialer.CampaignID, a dialer.AgentID) (agents.Reservation, error) {
			return f.r.ReserveAgent(t.Context(), id, a, "c")
		}
		res, err := reserve(sales, "bob")
		f.must(err)
		if res.Agent().ID != "bob" {
			t.Errorf("got %s", res.Agent().ID)
		}
		_, err = reserve(sales, "bob")
		f.refused(err, dialer.Conflict)
		_, err = reserve("service", "ann")
		f.refused(err, dialer.Forbidden)
		_, err = reserve(sales, "nobody")
		f.refused(err, dialer.NotFound)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := f.r.ReserveAgent(ctx, sales, "ann", "c"); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if _, err := f.r.Reserve(ctx, sales, "c"); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		f.is("ann", agents.Ready, "")
		res.Release("")
	})
}

func TestCountsAndChanged(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := openFloor(t, agents.Config{})
		if c := f.r.Counts("nothing"); c.LoggedIn() != 0 {
			t.Errorf("counts of no campaign: %+v", c)
		}
		changed := f.r.Changed(sales)
		f.ready(agent("ann"), agent("bob"), agent("cid"), agent("dan"))
		f.login(agent("eve"))
		select {
		case <-changed:
		default:
			t.Error("logins were not signalled")
		}
		f.talking("1")
		done := wrapUp(t.Context(), f.talking("2"), 0)
		f.reserve("3")
		time.Sleep(10 * time.Second)
		c := f.r.Counts(sales)
		want := agents.Counts{
			Ready: 1, Reserved: 1, NotReady: 1, LongestIdle: 11 * time.Second,
			Talking: []time.Duration{10 * time.Second}, WrapUp: []time.Duration{10 * time.Second},
		}
		if c.Ready != 1 || c.Reserved != 1 || c.NotReady != 1 || c.LongestIdle != want.LongestIdle ||
			!slices.Equal(c.Talking, want.Talking) || !slices.Equal(c.WrapUp, want.WrapUp) || c.LoggedIn() != 5 {
			t.Errorf("got %+v, want %+v", c, want)
		}
		<-changed
		select {
		case <-changed:
			t.Error("one change is signalled twice")
		default:
		}
		f.must(f.r.Dispose("bob", "2", agents.Disposition{Code: "sale"}, ""))
		select {
		case <-changed:
		default:
			t.Error("the end of wrap-up was not signalled")
		}
		<-done
	})
}
