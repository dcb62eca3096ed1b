package campaign

import (
	"time"

	"dialer"
	"dialer/compliance"
)

// What the store and the API exchange beside campaigns, leads and calls.

// An Import is one upload of leads.
type Import struct {
	ID                                        dialer.ImportID
	List                                      dialer.ListID
	StartedAt, EndedAt                        time.Time
	Rows, Created, Updated, Skipped, Rejected int
	Error                                     string // why nothing was kept
}

// A LeadFilter narrows a list of leads; zero fields do not.
type LeadFilter struct {
	State  LeadState
	Number dialer.Number
}

// A CallFilter narrows a list of calls; zero fields do not.
type CallFilter struct {
	Campaign dialer.CampaignID
	Lead     dialer.LeadID
	Agent    dialer.AgentID
	Number   dialer.Number
	Outcome  Outcome
	Class    compliance.Class
	Kept     bool      // its first seconds are
	ToLabel  bool      // its seconds are kept, and nobody has said who it was
	From, To time.Time // placed at or after From, and before To
}

// A DNCEntry is a number that must not be called.
type DNCEntry struct {
	Number   dialer.Number
	Campaign dialer.CampaignID // empty: all campaigns
	Source   string
	AddedAt  time.Time
}
