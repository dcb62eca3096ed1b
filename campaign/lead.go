package campaign

import (
	"time"

	"dialer"
)

// A List is an uploaded file of leads; it belongs to one campaign.
type List struct {
	ID        dialer.ListID
	Campaign  dialer.CampaignID
	Name      string
	CreatedAt time.Time
}

// A LeadState is where a lead is.
type LeadState string

// The states of a lead.
const (
	Dialable LeadState = "dialable" // may be called from Due on
	Claimed  LeadState = "claimed"  // in a runner's hopper
	Calling  LeadState = "calling"  // an attempt is open
	Done     LeadState = "done"     // will not be called again
)

// A Lead is one person on a list.
type Lead struct {
	ID         dialer.LeadID
	List       dialer.ListID
	Campaign   dialer.CampaignID
	ExternalID string
	Number     dialer.Number
	Zone       string            // IANA zone when the list gave one
	Fields     map[string]string // every other column, as uploaded
	Priority   int               // higher first
	// AnswerProbability is how likely a person answers, as the list says it; 0
	// when it does not.
	AnswerProbability float64
	State             LeadState
	Due               time.Time
	Why               string // for people: why it is not dialable, or why Due is later
	// Owner is the agent whose callback this is; only they may take it.
	Owner       dialer.AgentID
	Attempts    int
	ByOutcome   map[Outcome]int // attempts ended so
	Recent      []time.Time     // attempts of the last 48 hours
	LastOutcome Outcome
}

// Next is what becomes of a lead after an attempt or a disposition.
type Next struct {
	State LeadState // Dialable or Done
	Due   time.Time
	Owner dialer.AgentID
	Why   string
}
