package dialer

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// An Event is one thing that happened. Events are written in the transaction
// that changes the state they tell of, and read in commit order by Seq.
type Event struct {
	Seq      int64      `json:"seq"`
	At       time.Time  `json:"at"`
	Campaign CampaignID `json:"campaign_id,omitempty"`
	Lead     LeadID     `json:"lead_id,omitempty"`
	Call     CallID     `json:"call_id,omitempty"`
	Agent    AgentID    `json:"agent_id,omitempty"`
	Fact     Fact       `json:"-"`
}

// A Fact is what an Event tells: one of the structs of this file.
type Fact interface {
	// Kind is the stable name of the fact, "noun.verb".
	Kind() string
}

// An EventLog is the one record of what happened.
type EventLog interface {
	// ReadEvents returns up to limit events with Seq > after, in commit order.
	ReadEvents(ctx context.Context, after int64, limit int) ([]Event, error)
	// WaitEvents blocks until there are events after the given one.
	WaitEvents(ctx context.Context, after int64) error
}

// The facts. Times are UTC with milliseconds; durations are milliseconds and
// named so.
type (
	// CampaignChanged: a manager created, edited, started, paused, resumed or
	// stopped a campaign.
	CampaignChanged struct {
		State string `json:"state"`
		By    string `json:"by,omitempty"`
		Why   string `json:"why,omitempty"`
	}
	// ImportFinished: an upload of leads ended.
	ImportFinished struct {
		Import   ImportID `json:"import_id"`
		List     ListID   `json:"list_id"`
		Rows     int      `json:"rows"`
		Created  int      `json:"created"`
		Updated  int      `json:"updated"`
		Skipped  int      `json:"skipped"`
		Rejected int      `json:"rejected"`
	}
	// LeadExcluded: a rule forbade a call to a lead that was about to be made.
	LeadExcluded struct {
		Rule   string    `json:"rule"`
		Reason string    `json:"reason"`
		NextAt time.Time `json:"next_at,omitzero"`
	}
	// LeadRetired: the lead will not be called again in this campaign.
	LeadRetired struct {
		Why string `json:"why"`
	}
	// PacingDecided: how many calls to place now, and why. One is told when a
	// decision differs in kind from the last that was told, and each minute.
	PacingDecided struct {
		Policy     string `json:"policy"` // mode and what bounds it, such as "predictive, cap 3 %"
		Dial       int    `json:"dial"`
		Placed     int    `json:"placed"` // calls of all decisions since the last that was told, this one with them
		AgentFirst bool   `json:"agent_first"`
		Limit      string `json:"limit,omitempty"` // what kept it from being more
		Reason     string `json:"reason"`          // a sentence

		Seen            PacingSeen `json:"seen"`
		ExpectedFree    float64    `json:"expected_free"`    // agents, when a call dialed now would be answered
		ExpectedAnswers float64    `json:"expected_answers"` // persons, of the calls in flight
		ExpectedLoss    float64    `json:"expected_loss"`    // persons for whom no agent is expected, with these calls
		Threshold       float64    `json:"threshold"`        // loss per live answer that one more call may cause
		Allowance       float64    `json:"allowance"`        // calls that may still be abandoned

		// Tape and Look find the decision in what is kept for a replay; zero when
		// nothing is.
		Tape time.Time `json:"tape,omitzero"`
		Look int       `json:"look,omitempty"`
	}
	// CallPlaced: an attempt is committed; its INVITE follows.
	CallPlaced struct {
		Trunk   TrunkID `json:"trunk_id"`
		To      Number  `json:"to"`
		From    Number  `json:"from"`
		Attempt int     `json:"attempt"`
		Rules   string  `json:"rules"`
	}
	// CallRinging: the first 18x came.
	CallRinging struct {
		Status int `json:"status"`
	}
	// CallAnswered: the 200 OK came.
	CallAnswered struct {
		PDDMS  int64 `json:"pdd_ms"`
		RingMS int64 `json:"ring_ms"`
	}
	// CallClassified: the detector gave its verdict.
	CallClassified struct {
		Verdict        string `json:"verdict"`
		DecidedMS      int64  `json:"decided_ms"`
		SpeechStartMS  int64  `json:"speech_start_ms"`
		GreetingEndMS  int64  `json:"greeting_end_ms"`
		DetectorReason string `json:"reason,omitempty"`
		Code           string `json:"code,omitempty"`     // vacant, busy, ced, …
		Reaction       string `json:"reaction,omitempty"` // agent, message, retry, hang_up
		Sampled        bool   `json:"sampled,omitempty"`  // goes to an agent by draw, whatever the verdict
		Early          bool   `json:"early,omitempty"`    // heard before the answer
	}
	// CallMachineLate: an agent has the call, and what is heard now is a machine.
	CallMachineLate struct {
		AtMS  int64 `json:"at_ms"`           // from the answer
		Freed bool  `json:"freed,omitempty"` // the agent was freed
		// By whom it was said: amd or agent.
		By string `json:"by"`
	}
	// VoicemailStarted: the message for machines began to play.
	VoicemailStarted struct {
		Asset    string `json:"asset"`
		SHA      string `json:"sha256"`
		After    string `json:"after"`              // beep or silence
		Restarts int    `json:"restarts,omitempty"` // the greeting went on
	}
	// VoicemailEnded: the machine has it, or it was broken off.
	VoicemailEnded struct {
		PlayedMS int64 `json:"played_ms"`
		Complete bool  `json:"complete"`
	}
	// CallKept: the first seconds of the person's side are on disk, for labelling.
	CallKept struct {
		Path   string `json:"path"`
		Bytes  int64  `json:"bytes"`
		Failed string `json:"failed,omitempty"`
	}
	// CallLabelled: somebody listened to them and said who had answered.
	CallLabelled struct {
		Label string `json:"label"`
		By    string `json:"by"`
	}
	// AgentOffered: a call is reserved for an agent; this is the screen pop.
	AgentOffered struct {
		Mode string `json:"mode"`
		Pop  any    `json:"pop"`
	}
	// CallConnected: the person and the agent hear each other.
	CallConnected struct {
		AnswerToAgentMS  int64 `json:"answer_to_agent_ms"`
		VerdictToAgentMS int64 `json:"verdict_to_agent_ms"`
	}
	// CallAbandoned: no agent had the person within the deadline.
	CallAbandoned struct {
		Class string `json:"class"`
	}
	// MessageStarted: the abandoned-call message began to play.
	MessageStarted struct {
		Asset string `json:"asset"`
		SHA   string `json:"sha256"`
	}
	// MessageEnded: it was heard to the end, or broken off.
	MessageEnded struct {
		PlayedMS int64 `json:"played_ms"`
		Complete bool  `json:"complete"`
	}
	// OptedOut: the person asked not to be called again.
	OptedOut struct {
		To  Number `json:"to"`
		How string `json:"how"`
	}
	// DNCChanged: a number was added to or taken from a do-not-call list.
	DNCChanged struct {
		To     Number `json:"to"`
		Scope  string `json:"scope"`
		Added  bool   `json:"added"`
		Source string `json:"source"`
	}
	// CallEnded: the attempt is over; every placed call has exactly one.
	CallEnded struct {
		Outcome   string `json:"outcome"`
		EndedBy   string `json:"ended_by"`
		SIPStatus int    `json:"sip_status,omitempty"`
		Q850      int    `json:"cause,omitempty"`
		TalkMS    int64  `json:"talk_ms"`
		Class     string `json:"class"`
		Ghost     bool   `json:"ghost,omitempty"`
		// Trunk that took the call or was asked last, and how many peers were.
		Trunk TrunkID `json:"trunk_id,omitempty"`
		Tries int     `json:"tries,omitempty"`
		// MOS of what the person's leg and the agent's brought us, 1 to 4.4.
		MOS      float64 `json:"mos,omitempty"`
		AgentMOS float64 `json:"agent_mos,omitempty"`
	}
	// CallGhosted: the far end answered after we had given the call up and its
	// record was closed; the answer was ended at once. The carrier bills it.
	CallGhosted struct{}
	// CallDispositioned: the agent said what came of the call.
	CallDispositioned struct {
		Disposition string `json:"disposition"`
		Note        string `json:"note,omitempty"`
	}
	// CallbackScheduled: the person is to be called again at a given time.
	CallbackScheduled struct {
		At  time.Time `json:"at"`
		Own bool      `json:"own"` // only by the agent who agreed it
	}
	// AgentStateChanged: an agent moved from one state to another.
	AgentStateChanged struct {
		From   string `json:"from"`
		To     string `json:"to"`
		Reason string `json:"reason,omitempty"`
	}
	// RecordingSaved: the audio of a call is on disk.
	RecordingSaved struct {
		Path   string `json:"path"`
		Bytes  int64  `json:"bytes"`
		Failed string `json:"failed,omitempty"`
	}
)

// PacingSeen is what a pacer saw when it decided.
type PacingSeen struct {
	Ready          int     `json:"ready"` // agents
	Held           int     `json:"held"`  // agents reserved for calls not yet answered
	Talking        int     `json:"talking"`
	WrapUp         int     `json:"wrap_up"`
	NotReady       int     `json:"not_ready"`
	Ringing        int     `json:"ringing"` // calls
	Detecting      int     `json:"detecting"`
	Waiting        int     `json:"waiting"`  // persons without an agent
	Answered       int     `json:"answered"` // persons, in the legal window
	Abandoned      int     `json:"abandoned"`
	Cap            float64 `json:"cap"`
	Lines          int     `json:"lines"`            // calls that the trunks can take now
	CallsPerSecond int     `json:"calls_per_second"` // of these, what the trunks' rate lets out now
	LeadsLeft      int     `json:"leads_left"`       // in the hopper
}

// Kind implementations: the stable names of the facts.
func (CampaignChanged) Kind() string   { return "campaign.changed" }
func (ImportFinished) Kind() string    { return "import.finished" }
func (LeadExcluded) Kind() string      { return "lead.excluded" }
func (LeadRetired) Kind() string       { return "lead.retired" }
func (PacingDecided) Kind() string     { return "pacing.decided" }
func (CallPlaced) Kind() string        { return "call.placed" }
func (CallRinging) Kind() string       { return "call.ringing" }
func (CallAnswered) Kind() string      { return "call.answered" }
func (CallClassified) Kind() string    { return "call.classified" }
func (CallMachineLate) Kind() string   { return "call.machine_late" }
func (VoicemailStarted) Kind() string  { return "voicemail.started" }
func (VoicemailEnded) Kind() string    { return "voicemail.ended" }
func (CallKept) Kind() string          { return "call.kept" }
func (CallLabelled) Kind() string      { return "call.labelled" }
func (AgentOffered) Kind() string      { return "agent.offered" }
func (CallConnected) Kind() string     { return "call.connected" }
func (CallAbandoned) Kind() string     { return "call.abandoned" }
func (MessageStarted) Kind() string    { return "message.started" }
func (MessageEnded) Kind() string      { return "message.ended" }
func (OptedOut) Kind() string          { return "call.opted_out" }
func (DNCChanged) Kind() string        { return "dnc.changed" }
func (CallEnded) Kind() string         { return "call.ended" }
func (CallGhosted) Kind() string       { return "call.ghosted" }
func (CallDispositioned) Kind() string { return "call.dispositioned" }
func (CallbackScheduled) Kind() string { return "callback.scheduled" }
func (AgentStateChanged) Kind() string { return "agent.state_changed" }
func (RecordingSaved) Kind() string    { return "recording.saved" }

// kinds decodes a stored fact by its name.
var kinds = map[string]func([]byte) (Fact, error){}

func register[F Fact](zero F) {
	kinds[zero.Kind()] = func(data []byte) (Fact, error) {
		var f F
		if err := json.Unmarshal(data, &f); err != nil {
			return nil, err
		}
		return f, nil
	}
}

func init() {
	register(CampaignChanged{})
	register(ImportFinished{})
	register(LeadExcluded{})
	register(LeadRetired{})
	register(PacingDecided{})
	register(CallPlaced{})
	register(CallRinging{})
	register(CallAnswered{})
	register(CallClassified{})
	register(CallMachineLate{})
	register(VoicemailStarted{})
	register(VoicemailEnded{})
	register(CallKept{})
	register(CallLabelled{})
	register(AgentOffered{})
	register(CallConnected{})
	register(CallAbandoned{})
	register(MessageStarted{})
	register(MessageEnded{})
	register(OptedOut{})
	register(DNCChanged{})
	register(CallEnded{})
	register(CallGhosted{})
	register(CallDispositioned{})
	register(CallbackScheduled{})
	register(AgentStateChanged{})
	register(RecordingSaved{})
}

// ParseFact turns a stored fact back into its struct.
func ParseFact(kind string, data []byte) (Fact, error) {
	parse, ok := kinds[kind]
	if !ok {
		return nil, fmt.Errorf("dialer: unknown fact %q", kind)
	}
	f, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("dialer: fact %s: %w", kind, err)
	}
	return f, nil
}

// MarshalJSON writes the event with its fact as "type" and "data".
func (e Event) MarshalJSON() ([]byte, error) {
	type plain Event
	kind := ""
	if e.Fact != nil {
		kind = e.Fact.Kind()
	}
	return json.Marshal(struct {
		Type string `json:"type"`
		plain
		Data Fact `json:"data"`
	}{kind, plain(e), e.Fact})
}
