package pacing_test

import (
	"fmt"
	"time"

	"dialer/pacing"
)

// Another program tells a Floor what it sees and asks the pacer on each event.
func ExampleFloor() {
	pacer, err := pacing.New(pacing.Config{Mode: pacing.Predictive})
	if err != nil {
		fmt.Println(err)
		return
	}
	floor := pacing.NewFloor(25 * time.Second)
	at := time.Date(2026, 3, 10, 9, 0, 0, 0, time.UTC)
	decide := func() {
		d := pacer.Decide(floor.Snapshot(at, pacing.Outside{Answered: 40, Cap: 0.03, Lines: 30, LeadsLeft: 1000}))
		fmt.Println(d.Dial, d.Limit, d.AgentFirst)
	}
	floor.Observe(pacing.Event{At: at, Kind: pacing.AgentReady, Agent: 1})
	decide()
	floor.Observe(pacing.Event{At: at, Kind: pacing.CallPlaced, Call: 7})
	decide()
	at = at.Add(9 * time.Second)
	floor.Observe(pacing.Event{At: at, Kind: pacing.CallAnswered, Call: 7})
	floor.Observe(pacing.Event{At: at, Kind: pacing.CallClassified, Call: 7, Live: true})
	floor.Observe(pacing.Event{At: at, Kind: pacing.CallConnected, Call: 7, Agent: 1})
	floor.Observe(pacing.Event{At: at, Kind: pacing.AgentReady, Agent: 2})
	decide()
	// Output:
	// 1 warm-up false
	// 0 warm-up false
	// 1 warm-up false
}
