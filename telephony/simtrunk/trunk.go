// Package simtrunk is a carrier and agents' phones in memory, for tests that
// run whole shifts in a testing/synctest bubble. It speaks no SIP and opens no
// socket; siptrunk/siptest is the carrier that does.
//
// Entry points: New and NewStations. What a called person does is a Behaviour,
// given by a script for each call.
// Goroutines: none while legs are up; only a relay that somebody listens to has
// two, ended by its stop. Everything else is timers and the caller's.
package simtrunk

import (
	"context"
	"sync"
	"time"

	"dialer"
	"dialer/telephony"
)

// A Trunk is a carrier in memory. It is a telephony.Carrier, a
// telephony.OrphanReaper, and one trunk under whatever name it is asked for.
type Trunk struct {
	script func(telephony.Invite) Behaviour

	mu       sync.Mutex
	down     string // why it takes no calls
	channels int
	cps      float64 // 0: no limit
	tokens   float64
	filled   time.Time // when tokens was right
	stats    Stats
	legs     map[dialer.CallID]*leg
}

// Stats counts what a trunk has seen.
type Stats struct {
	Placed   int // INVITEs
	Refused  int // calls it had no room for; not among Placed
	Answered int // calls returned by Dial
	Ghosts   int // answered while we gave up
	InUse    int
	Peak     int // most channels in use at once
}

// New returns a trunk that is up and has no limits. script says what the one
// called does; it is called once for each INVITE and must not block.
func New(script func(inv telephony.Invite) Behaviour) *Trunk {
	return &Trunk{script: script, channels: unlimited, legs: map[dialer.CallID]*leg{}}
}

const unlimited = 1 << 30

// Limit sets the most calls at once and the most new calls a second; 0 means no
// limit. The bucket holds one second's calls.
func (t *Trunk) Limit(channels int, cps float64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if channels == 0 {
		channels = unlimited
	}
	t.channels, t.cps, t.tokens, t.filled = channels, cps, max(1, cps), time.Now()
}

// SetDown takes the trunk out of service, with a reason for people; an empty
// one brings it back. Calls that are up stay up.
func (t *Trunk) SetDown(why string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.down = why
}

// Stats returns the counts so far.
func (t *Trunk) Stats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stats
}

// Capacity implements telephony.Carrier.
func (t *Trunk) Capacity(dialer.TrunkID) telephony.Capacity {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fill()
	c := telephony.Capacity{Up: t.down == "", Why: t.down, Channels: t.channels, InUse: t.stats.InUse, Tokens: unlimited}
	if t.cps > 0 {
		c.Tokens = int(t.tokens)
	}
	if c.Up && c.Free() == 0 {
		c.Why = t.full()
	}
	return c
}

func (t *Trunk) fill() {
	now := time.Now()
	t.tokens = min(max(1, t.cps), t.tokens+now.Sub(t.filled).Seconds()*t.cps)
	t.filled = now
}

// full says why no call may be placed now, if so.
func (t *Trunk) full() string {
	switch {
	case t.down != "":
		return t.down
	case t.stats.InUse >= t.channels:
		return "all channels are in use"
	case t.cps > 0 && t.tokens < 1:
		return "too many calls this second"
	}
	return ""
}

// admit takes a channel and a token, or says why there is none.
func (t *Trunk) admit() (why string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fill()
	if why = t.full(); why != "" {
		t.stats.Refused++
		return why
	}
	t.tokens--
	t.stats.Placed++
	t.stats.InUse++
	t.stats.Peak = max(t.stats.Peak, t.stats.InUse)
	return ""
}

func (t *Trunk) free() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stats.InUse--
}

// Dial implements telephony.Carrier. A call for which there is no room fails
// with telephony.CauseNotSent.
func (t *Trunk) Dial(ctx context.Context, inv telephony.Invite) (telephony.Leg, error) {
	a := &attempt{trunk: t, inv: inv, placed: time.Now()}
	if ctx.Err() != nil {
		return nil, a.fail(telephony.CauseNotSent, 0, "given up before the INVITE")
	}
	if why := t.admit(); why != "" {
		return nil, a.fail(telephony.CauseNotSent, 0, why)
	}
	if inv.OnAdmitted != nil {
		inv.OnAdmitted()
	}
	a.b = t.script(inv)
	if err := a.ring(ctx); err != nil {
		t.free()
		return nil, err
	}
	return t.answer(a), nil
}

// answer puts up the leg.
func (t *Trunk) answer(a *attempt) *leg {
	l := newLeg(telephony.Info{
		Call: a.inv.Call, Trunk: a.inv.Trunk,
		PlacedAt: a.placed, RingingAt: a.ringing, AnsweredAt: time.Now(),
		SIPStatus: 200, Reason: "OK", Tries: a.try(200, ""),
	}, a.b.Audio, a.b.Hears)
	l.talkFor, l.audioFor, l.packets = a.b.TalkFor, a.b.AudioFor, a.b.Packets
	l.onEnd = func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.stats.InUse--
		if t.legs[a.inv.Call] == l {
			delete(t.legs, a.inv.Call)
		}
	}
	t.mu.Lock()
	t.stats.Answered++
	t.legs[a.inv.Call] = l
	t.mu.Unlock()

	if a.b.HangupAfter > 0 {
		l.patience = l.after(a.b.HangupAfter, func() { l.end(telephony.Callee, telephony.CauseNormal) })
	}
	if a.b.LoseAfter > 0 {
		l.after(a.b.LoseAfter, func() { l.end(telephony.Network, telephony.CauseMediaLost) })
	}
	for _, d := range a.b.Digits {
		l.after(d.After, func() { l.press(d.Key) })
	}
	return l
}

// leg returns the leg of a call that is up, or nil.
func (t *Trunk) leg(call dialer.CallID) *leg {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.legs[call]
}

// Hangup makes the person hang up. It does nothing when the call is not up.
func (t *Trunk) Hangup(call dialer.CallID) {
	if l := t.leg(call); l != nil {
		l.end(telephony.Callee, telephony.CauseNormal)
	}
}

// Press makes the person press a key.
func (t *Trunk) Press(call dialer.CallID, key rune) {
	if l := t.leg(call); l != nil {
		l.press(key)
	}
}

// CancelOrphan implements telephony.OrphanReaper. What rang for a process that
// is gone is gone with it.
func (t *Trunk) CancelOrphan(context.Context, telephony.Invite) error { return nil }

// EndOrphan implements telephony.OrphanReaper.
func (t *Trunk) EndOrphan(_ context.Context, dialog []byte) error {
	if l := t.leg(dialer.CallID(dialog)); l != nil {
		l.Hangup(telephony.CauseNormal)
	}
	return nil
}
