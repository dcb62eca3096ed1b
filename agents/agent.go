// Package agents knows who can talk: agents' sessions, their states as one
// table, and which of them takes the next call.
//
// Entry points: NewRegistry, Registry.Login, Registry.Reserve.
// Goroutines: Registry.Run ends what outlives its longest stay; each session
// has one that watches its leg.
package agents

import (
	"context"
	"time"

	"dialer"
	"dialer/telephony"
)

// A State is what an agent is doing.
type State string

// The states.
const (
	LoggedOut State = "logged_out"
	NotReady  State = "not_ready"
	Ready     State = "ready"
	Reserved  State = "reserved" // a call is coming: screen pop shown
	Talking   State = "talking"
	WrapUp    State = "wrap_up"
)

// An Agent is someone who talks with the people called.
type Agent struct {
	ID        dialer.AgentID
	Name      string
	Extension string              // SIP user of the phone
	URI       string              // fixed SIP address of the phone instead; optional
	Campaigns []dialer.CampaignID // whose calls they take
}

// Counts tells how many agents of a campaign are in which state. The slices
// hold the age of each stay.
type Counts struct {
	At       time.Time // when they were counted
	Ready    int
	Reserved int
	NotReady int
	Talking  []time.Duration
	WrapUp   []time.Duration
	// LongestIdle is the age of the longest Ready stay, 0 when there is none.
	LongestIdle time.Duration
}

// LoggedIn is the number of agents in any state but LoggedOut.
func (c Counts) LoggedIn() int {
	return c.Ready + c.Reserved + c.NotReady + len(c.Talking) + len(c.WrapUp)
}

// A Reservation is one agent held for one call. Whoever holds it releases it:
// after Release (or the end of wrap-up) it is spent, and Release is idempotent.
// That holds when the agent is Gone, too: one whose phone died in a talk is in
// WrapUp, and may still say what came of it, until the holder ends it.
type Reservation interface {
	Agent() Agent
	// Leg is the agent's phone, up for the whole shift.
	Leg() telephony.Leg
	// Offer sends the screen pop to the agent's desktop.
	Offer(pop any)
	// Preview waits for the agent's word on a previewed lead: true to dial.
	Preview(ctx context.Context) (dial bool, err error)
	// Talk moves the agent to Talking.
	Talk() error
	// HangupRequested is closed when the agent asks to end the call, or the
	// ringing that follows a preview.
	HangupRequested() <-chan struct{}
	// TellMachine tells the agent that the detector hears a machine, and why.
	TellMachine(reason string)
	// MachineSaid is closed when the agent says that it is one: they want to be
	// free, and the call goes on without them or ends.
	MachineSaid() <-chan struct{}
	// WrapUp moves the agent to WrapUp and waits for the disposition, at most
	// limit; ok is false when the limit passed or the agent left without one.
	// The agent is Ready (or what they asked for) again when it returns.
	WrapUp(ctx context.Context, limit time.Duration) (d Disposition, ok bool)
	// Release gives the agent back: Ready again if they were, unless gone.
	Release(reason string)
	// Gone is closed when the agent's leg or session ended.
	Gone() <-chan struct{}
}

// A Disposition is what an agent said of a call.
type Disposition struct {
	Code     string
	Note     string
	Callback time.Time // when a callback was agreed
	Own      bool      // the callback is the agent's own
}
