package siptrunk

import (
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dialer/telephony"
)

// TestDeadPort: calls to a peer that says nothing take the trunk down within
// the time to wait for a response, and its first word brings it back.
func TestDeadPort(t *testing.T) {
	t.Parallel()
	p := newRawPeer(t)
	e := startEndpoint(t, func(c *Config) { c.NoResponse = 50 * time.Millisecond }, testTrunk(p))
	awaitUp := func(up bool) telephony.Capacity {
		t.Helper()
		for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) { // capacity has no event
			if c := e.Capacity("trk_test"); c.Up == up {
				return c
			}
			if time.Now().After(deadline) {
				t.Fatalf("capacity stays %+v", e.Capacity("trk_test"))
			}
		}
	}
	awaitTokens(t, e, 3)
	calls := []*dialed{
		dial(t, t.Context(), e, invite()), dial(t, t.Context(), e, invite()), dial(t, t.Context(), e, invite()),
	}
	first := p.expect("INVITE")
	if c := awaitUp(false); !strings.HasPrefix(c.Why, "no answer from "+p.addr().String()+": 3 calls in a row, nor ever before; next try in ") {
		t.Errorf("why %q", c.Why)
	}
	if err := dial(t, t.Context(), e, invite()).failed(); err.Cause != telephony.CauseNotSent {
		t.Errorf("a call to the dead trunk: %+v", err)
	}
	p.reply(first, reply{status: "486 Busy Here", tag: "x"})
	awaitUp(true)
	select {
	case <-calls[0].done:
	case <-calls[1].done:
	case <-calls[2].done:
	case <-time.After(patience):
		t.Error("the refused call did not end")
	}
}

// TestCapsUnderConcurrency: whatever calls begin, ask another peer, are given up
// and heard again, in virtual time: never more calls begun than channels, and in
// no second more INVITEs than the trunk takes, promised turns included.
func TestCapsUnderConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const channels, cps = 7, 12
		l := aLine(time.Now(), func(c *telephony.Trunk) { c.Channels, c.CPS = channels, cps })
		var mu sync.Mutex
		var invites []time.Time
		calls, most := 0, 0
		sent := func() {
			mu.Lock()
			invites = append(invites, time.Now())
			mu.Unlock()
		}
		var all sync.WaitGroup
		for i := range 200 {
			all.Go(func() {
				rnd := rand.New(rand.NewPCG(uint64(i), 1))
				pause := func(most time.Duration) { time.Sleep(time.Duration(rnd.Int64N(int64(most)))) }
				for range 20 {
					pause(3 * time.Second)
					_, s, why := l.take(time.Now(), 0)
					if why != "" {
						continue
					}
					mu.Lock()
					calls++
					most = max(most, calls)
					mu.Unlock()
					sent()
					for range rnd.IntN(3) { // further peers
						pause(500 * time.Millisecond)
						if at, ok := l.again(time.Now(), 4*time.Second); ok {
							time.Sleep(time.Until(at))
							sent()
							share := s.share()
							pause(time.Second)
							share.release()
						}
					}
					pause(2 * time.Second)
					mu.Lock()
					calls--
					mu.Unlock()
					s.release()
				}
			})
		}
		all.Wait()
		if most != channels {
			t.Errorf("%d calls at once on %d channels", most, channels)
		}
		slices.SortFunc(invites, time.Time.Compare)
		for i := range invites {
			if j := i + cps; j < len(invites) && invites[j].Sub(invites[i]) < time.Second {
				t.Fatalf("%d INVITEs within %s", cps+1, invites[j].Sub(invites[i]))
			}
		}
		if c := l.capacity(time.Now()); c.InUse != 0 || len(invites) < 300 {
			t.Errorf("%d channels left in use after %d INVITEs", c.InUse, len(invites))
		}
	})
}
