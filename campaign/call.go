package campaign

import (
	"math"
	"time"

	"dialer"
	"dialer/compliance"
	"dialer/telephony"
)

// A CallState is where a call is. Moves are only forward; any state may end.
type CallState string

// The states of a call, in order.
const (
	Placed    CallState = "placed"    // committed; INVITE follows
	Ringing   CallState = "ringing"   // 18x
	Answered  CallState = "answered"  // 200 OK
	Queued    CallState = "queued"    // a person; waiting for an agent
	Connected CallState = "connected" // talking
	Ended     CallState = "ended"
)

// An Outcome is what the network saw of an attempt.
type Outcome string

// The outcomes.
const (
	OutcomeConnected   Outcome = "connected"    // a person talked with an agent
	OutcomeAbandoned   Outcome = "abandoned"    // a person, no agent in time
	OutcomeCalleeEarly Outcome = "hung-up"      // the person hung up before the deadline
	OutcomeMachine     Outcome = "machine"      // answering machine
	OutcomeMessage     Outcome = "message-left" // answering machine, which has the whole message
	OutcomeFax         Outcome = "fax"          //
	OutcomeBusy        Outcome = "busy"         //
	OutcomeNoAnswer    Outcome = "no-answer"    //
	OutcomeRejected    Outcome = "rejected"     //
	OutcomeInvalid     Outcome = "invalid"      // number does not exist
	OutcomeCongestion  Outcome = "congestion"   // carrier had no room
	OutcomeFailed      Outcome = "failed"       // anything else
	OutcomeCancelled   Outcome = "cancelled"    // we gave up (stop, agent gone)
	OutcomeInterrupted Outcome = "interrupted"  // this process died; attempt spent
)

// A Call is one attempt and its record. Zero times did not happen.
type Call struct {
	ID       dialer.CallID
	Version  int // grows with each save; saves apply in order
	Campaign dialer.CampaignID
	List     dialer.ListID
	Lead     dialer.LeadID
	Trunk    dialer.TrunkID
	Agent    dialer.AgentID
	Mode     Mode
	To, From dialer.Number
	Attempt  int
	State    CallState
	Outcome  Outcome // set when, and only when, Ended
	Class    compliance.Class
	Rules    string // evidence of the last check before the INVITE

	AnsweredBy       string // person, machine, fax, unknown; empty when not answered
	AnsweredBySource string // amd, agent, none
	Verdict          string // the detector's word and reason
	VerdictReason    string
	Heard            Heard

	PlacedAt       time.Time // committed
	SentAt         time.Time // INVITE sent; zero when it never was
	RingingAt      time.Time
	AnsweredAt     time.Time
	SpeechStartAt  time.Time
	GreetingEndAt  time.Time
	DecidedAt      time.Time // detection verdict
	ConnectedAt    time.Time // two-way audio with an agent
	MessageStartAt time.Time
	MessageEndAt   time.Time
	MessageSHA     string
	OptOutAt       time.Time
	EndedAt        time.Time
	EndedBy        telephony.Side
	Cause          telephony.Cause
	SIPStatus      int
	Q850           int
	Ghost          bool
	Tries          []telephony.Try // the peers that were asked, the one that took the call last
	Attestation    string          // A, B or C of the caller ID; "" when nothing was said

	Disposition string
	Note        string
	DisposedAt  time.Time
	Recording   string
	Media       telephony.MediaStats // of the person's leg
	AgentMedia  telephony.MediaStats // of the agent's leg, during the talk
	Dialog      []byte               // for ending the call from another process
}

// tried notes the peers that were asked; the last one is of the trunk that took
// the call, or refused it.
func (c *Call) tried(tries []telephony.Try) {
	if len(tries) == 0 {
		return
	}
	c.Tries, c.Trunk = tries, tries[len(tries)-1].Trunk
}

// hundredths rounds a MOS to what its estimate is good for.
func hundredths(mos float64) float64 { return math.Round(100*mos) / 100 }
