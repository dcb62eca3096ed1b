package agents_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"dialer"
	"dialer/agents"
)

// TestAnythingMayHappen throws a thousand random steps at a floor, a hundred
// times over: agents come, go, pause and say wrong things, phones and desktops
// die, calls come and give up. Whatever happens, agents move only as the table
// says, nobody has two calls, no call waits while an agent is free, calls are
// served in order, and at the end nothing is left.
func TestAnythingMayHappen(t *testing.T) {
	anything := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) step {
		return step{rapid.IntRange(0, 99).Draw(rt, "what"), rapid.Uint64().Draw(rt, "seed")}
	}), stepsEach, stepsEach)
	rapid.Check(t, func(rt *rapid.T) {
		steps := anything.Draw(rt, "steps")
		var faults []string
		inBubble(t, func(t *testing.T) {
			w := newWorld(t)
			for i := 0; i < len(steps) && !w.failed(); i++ {
				w.do(steps[i])
				synctest.Wait()
				w.check()
			}
			w.close()
			faults = w.faults
		})
		if len(faults) > 0 {
			rt.Fatal(faults)
		}
	})
}

// A step is one thing that happens on the floor: what, out of a hundred, and
// the seed of the chances in it.
type step struct {
	what int
	seed uint64
}

// world is a floor and what must be true of it.
type world struct {
	*floor
	ctx     context.Context
	giveUp  context.CancelFunc // ends every call
	calls   sync.WaitGroup
	desks   map[dialer.AgentID]*desk
	waiters map[dialer.CampaignID]int

	mu      sync.Mutex
	asked   int
	talking map[dialer.AgentID]dialer.CallID
	faults  []string
}

var campaigns = []dialer.CampaignID{"a", "b", "c"}

// people are six agents; each campaign has some of them alone.
var people = []agents.Agent{
	agent("1", "a"), agent("2", "a"), agent("3", "a", "b"),
	agent("4", "b"), agent("5", "b", "c"), agent("6", "a", "b", "c"),
}

func newWorld(t *testing.T) *world {
	w := &world{
		floor: openFloor(t, agents.Config{MaxReserved: time.Minute, MaxTalk: 5 * time.Minute, MaxWrapUp: 2 * time.Minute}),
		desks: map[dialer.AgentID]*desk{}, waiters: map[dialer.CampaignID]int{},
		talking: map[dialer.AgentID]dialer.CallID{},
	}
	w.ctx, w.giveUp = context.WithCancel(t.Context())
	return w
}

// close ends the shift in the middle of everything.
func (w *world) close() {
	w.floor.close()
	w.giveUp()
	w.calls.Wait()
	w.saved.check(w)
	served := map[string]int{}
	for _, m := range w.saved.moves {
		if m.to != agents.Reserved || strings.HasPrefix(string(m.call), "own") {
			continue
		}
		var campaign string
		var n int
		if _, err := fmt.Sscanf(string(m.call), "%1s-%d", &campaign, &n); err != nil {
			w.Errorf("reserved for %q", m.call)
		}
		if n < served[campaign] {
			w.Errorf("call %d of campaign %s was served after call %d", n, campaign, served[campaign])
		}
		served[campaign] = n
	}
}

// Errorf notes a fault; the lock must be free.
func (w *world) Errorf(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = append(w.faults, fmt.Sprintf(format, args...))
}

func (w *world) failed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.faults) > 0
}

func (w *world) do(s step) {
	r := rand.New(rand.NewPCG(s.seed, 0))
	a := people[r.IntN(len(people))]
	snap := w.r.State(a.ID)
	switch {
	case s.what < 6:
		// The phone may be off, the agent there already: refused, then.
		if _, err := w.r.Login(w.ctx, a); err != nil && dialer.CodeOf(err) == "" {
			w.Errorf("login: %v", err)
		}
	case s.what < 14:
		if d, err := w.r.Attach(a.ID); err == nil {
			go func() {
				for range d.Messages() {
				}
			}()
			w.desks[a.ID] = &desk{Desktop: d}
		}
	case s.what < 17:
		if d := w.desks[a.ID]; d != nil {
			d.Detach()
		}
	case s.what < 32:
		w.said(w.r.SetReady(a.ID), snap)
	case s.what < 36:
		w.said(w.r.SetNotReady(a.ID, "pause"), snap)
	case s.what < 40:
		w.said(w.r.Hangup(a.ID), snap)
	case s.what < 48:
		w.said(w.r.Dispose(a.ID, snap.Call, agents.Disposition{Code: "sale"}, ""), snap)
	case s.what < 50:
		w.said(w.r.PreviewDial(a.ID, snap.Call), snap)
	case s.what < 51:
		w.said(w.r.PreviewSkip(a.ID, snap.Call), snap)
	case s.what < 53:
		w.said(w.r.Logout(a.ID, r.IntN(2) == 0), snap)
	case s.what < 56:
		w.phones.Hangup(string(a.ID))
	case s.what < 57:
		w.phones.SwitchOff(string(a.ID))
	case s.what < 60:
		w.phones.SwitchOn(string(a.ID))
	case s.what < 62:
		a.Campaigns = slices.Clone(campaigns[r.IntN(3):])
		w.r.Update(a)
	case s.what < 80:
		w.call(rand.New(rand.NewPCG(s.seed, 1)))
	case s.what < 90:
		time.Sleep(time.Duration(r.IntN(2000)) * time.Millisecond)
	default:
		time.Sleep(time.Duration(r.IntN(60)) * time.Second)
	}
}

// said checks the answer to a command: done, or refused with a sentence and
// nothing changed.
func (w *world) said(err error, before agents.Snapshot) {
	if err == nil {
		return
	}
	if dialer.CodeOf(err) == "" || len(err.Error()) < 10 {
		w.Errorf("refused with %q", err)
	}
	if after := w.r.State(before.Agent); after.State != before.State || after.Asked != before.Asked {
		w.Errorf("refused (%v), but %s became %s", err, before.State, after.State)
	}
}

// call is one call, from asking for an agent to the end of wrap-up.
func (w *world) call(r *rand.Rand) {
	id := campaigns[r.IntN(len(campaigns))]
	w.asked++
	call := dialer.CallID(fmt.Sprintf("%s-%d", id, w.asked))
	if r.IntN(6) == 0 {
		a := people[r.IntN(len(people))]
		res, err := w.r.ReserveAgent(w.ctx, id, a.ID, "own-"+call)
		if err == nil {
			w.calls.Go(func() { w.journey(res, call, r) })
		}
		return
	}
	ctx, cancel := context.WithTimeout(w.ctx, time.Duration(r.IntN(20_000))*time.Millisecond)
	w.calls.Go(func() {
		defer cancel()
		w.count(id, 1)
		res, err := w.r.Reserve(ctx, id, call)
		w.count(id, -1)
		if err == nil {
			w.journey(res, call, r)
		}
	})
}

func (w *world) count(id dialer.CampaignID, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiters[id] += n
}

func (w *world) journey(res agents.Reservation, call dialer.CallID, r *rand.Rand) {
	upTo := func(seconds int) time.Duration { return time.Duration(1+r.IntN(seconds*1000)) * time.Millisecond }
	res.Offer("a lead")
	if r.IntN(4) == 0 {
		ctx, cancel := context.WithTimeout(w.ctx, upTo(40))
		dial, err := res.Preview(ctx)
		cancel()
		if !dial || err != nil {
			res.Release("skipped")
			return
		}
	}
	switch r.IntN(8) {
	case 0: // no answer
		w.pass(upTo(30), res.Gone(), res.HangupRequested())
		res.Release("no answer")
		return
	case 1: // a holder that forgets
		return
	}
	if res.Talk() != nil {
		res.Release("gone")
		return
	}
	agent := res.Agent().ID
	w.mu.Lock()
	if other, busy := w.talking[agent]; busy {
		w.faults = append(w.faults, fmt.Sprintf("%s has call %s and another", agent, other))
	}
	w.talking[agent] = call
	w.mu.Unlock()
	w.pass(upTo(400), res.Gone(), res.HangupRequested())
	w.mu.Lock()
	delete(w.talking, agent)
	w.mu.Unlock()
	switch r.IntN(6) {
	case 0:
		res.Release("no wrap-up")
	case 1: // forgets
	default:
		res.WrapUp(w.ctx, upTo(60))
	}
}

// pass lets time pass until one of the channels is closed.
func (w *world) pass(d time.Duration, a, b <-chan struct{}) {
	select {
	case <-time.After(d):
	case <-a:
	case <-b:
	case <-w.ctx.Done():
	}
}

// check is what must be true whenever nothing moves.
func (w *world) check() {
	w.mu.Lock()
	waiters, talking := maps.Clone(w.waiters), maps.Clone(w.talking)
	w.mu.Unlock()
	for _, id := range campaigns {
		c := w.r.Counts(id)
		if c.Ready > 0 && waiters[id] > 0 {
			w.Errorf("%d calls of %s wait though %d agents are ready", waiters[id], id, c.Ready)
		}
	}
	for _, s := range w.r.List() {
		inCall := s.State == agents.Reserved || s.State == agents.Talking || s.State == agents.WrapUp
		switch {
		case inCall != (s.Call != ""):
			w.Errorf("%s is %s with call %q", s.Agent, s.State, s.Call)
		case inCall == s.Until.IsZero():
			w.Errorf("%s may be %s until %v", s.Agent, s.State, s.Until)
		case inCall && time.Now().After(s.Until):
			w.Errorf("%s should have been %s until %v only", s.Agent, s.State, s.Until)
		case !s.Phone && s.State != agents.NotReady && s.State != agents.WrapUp:
			w.Errorf("%s is %s without a phone", s.Agent, s.State)
		case !s.Desktop && s.State == agents.Reserved && time.Since(s.Since) > time.Minute:
			w.Errorf("%s is %s without a desktop", s.Agent, s.State)
		}
		if talks := talking[s.Agent] != ""; talks && s.State != agents.Talking {
			w.Errorf("%s is %s while the holder lets them talk", s.Agent, s.State)
		}
	}
}
