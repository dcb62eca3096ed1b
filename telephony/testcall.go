package telephony

import (
	"context"
	"time"

	"dialer"
)

// A TestCall is a call over one trunk that somebody asked for, to see whether
// the trunk works. Whoever asks has made sure that the number may be called.
type TestCall struct {
	Call     dialer.CallID
	Trunk    dialer.TrunkID
	To, From dialer.Number
	// Talk is how long the call is kept up when it is answered; the person hears
	// silence.
	Talk time.Duration
}

// A TestReport is what happened, step by step.
type TestReport struct {
	Call     dialer.CallID `json:"call_id"`
	Answered bool          `json:"answered"`
	Cause    Cause         `json:"cause" doc:"How it ended"`
	Status   int           `json:"sip_status,omitempty"`
	Steps    []TestStep    `json:"steps"`
	Tries    []Try         `json:"tries"`
	Targets  []string      `json:"targets" doc:"Where the trunk's peers are, in the order in which they are tried: transport:address:port"`
	Media    TestMedia     `json:"media"`
	Advice   string        `json:"advice"`
}

// A TestStep is one thing that happened.
type TestStep struct {
	AfterMS int64  `json:"after_ms" doc:"Since the test began"`
	What    string `json:"what"`
}

// TestMedia is what is known of the audio of a test call.
type TestMedia struct {
	Codec       string  `json:"codec,omitempty"`
	Secured     bool    `json:"secured" doc:"The audio was SRTP"`
	Heard       int64   `json:"packets_heard"`
	Sent        int64   `json:"packets_sent"`
	Lost        int64   `json:"packets_lost"`
	JitterMS    float64 `json:"jitter_ms"`
	RoundTripMS float64 `json:"round_trip_ms,omitempty" doc:"By RTCP; absent when the far end sends none"`
}

// A TrunkTester places test calls.
type TrunkTester interface {
	// TestCall places the call and returns when it is over, at most a minute later.
	// What went wrong is in the report.
	TestCall(ctx context.Context, t TestCall) TestReport
}
