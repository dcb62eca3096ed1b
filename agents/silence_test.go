package agents_test

import (
	"sync"
	"testing"
	"time"

	"dialer/agents"
	"dialer/telephony"
)

// The phone of an agent who waits, pauses or wraps up gets silence, so that
// neither it nor a NAT takes the leg for dead; during a talk there is the
// person's voice, and when the phone is gone nothing is sent.
func TestSilenceKeepsAnIdlePhone(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := openFloor(t, agents.Config{})
		var mu sync.Mutex
		var sent int
		var last time.Time
		var longest time.Duration
		f.phones.Hear(func(_ string, fr telephony.Frame) {
			mu.Lock()
			defer mu.Unlock()
			sent++
			longest = max(longest, time.Since(last))
			last = time.Now()
			if fr != (telephony.Frame{}) {
				t.Errorf("not silence: %v", fr)
			}
		})
		minute := func(what string, want int) {
			t.Helper()
			mu.Lock()
			sent, last, longest = 0, time.Now(), 0
			mu.Unlock()
			time.Sleep(time.Minute)
			mu.Lock()
			defer mu.Unlock()
			if sent < want-1 || sent > want+1 || (want > 0 && longest > time.Second) {
				t.Errorf("%s: %d frames in a minute, at most %v apart, want %d", what, sent, longest, want)
			}
		}
		f.login(agent("ann"))
		time.Sleep(300 * time.Millisecond)
		minute("not ready", 60)
		f.must(f.r.SetReady("ann"))
		minute("ready", 60)
		res := f.reserve("c")
		minute("reserved", 60)
		f.must(res.Talk())
		minute("talking", 0)
		done := wrapUp(t.Context(), res, time.Hour)
		minute("wrapping up", 60)
		f.must(f.r.Dispose("ann", "c", agents.Disposition{Code: "sale"}, ""))
		<-done
		minute("ready again", 60)
		f.phones.SwitchOff("ann")
		minute("without a phone", 0)
		f.phones.SwitchOn("ann")
		time.Sleep(2 * time.Minute)
		minute("with the phone back", 60)
		f.must(f.r.Logout("ann", false))
		minute("logged out", 0)
	})
}
