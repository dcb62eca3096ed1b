package api

import (
	"context"
	"iter"
	"time"

	"dialer"
	"dialer/agents"
	"dialer/campaign"
	"dialer/compliance"
	"dialer/report"
	"dialer/simulation"
	"dialer/telephony"
)

// A Store is all that the API keeps and reads, grouped by resource. What is not
// there is a NotFound *dialer.Error. Lists are in a stable order; after is the
// id of the last item of the page before, empty for the first page.
type Store interface {
	PeopleStore
	TrunkStore
	CampaignStore
	ListStore
	RosterStore
	DNCStore
	AssetStore
	CallStore
	ReplayStore
	SimulationStore
	// LastEvent returns the seq of the newest event, 0 when there is none.
	LastEvent(ctx context.Context) (int64, error)
}

// A PeopleStore keeps users and API keys. Passwords come as HashPassword made
// them, keys as the SHA-256 of their secret.
type PeopleStore interface {
	CreateUser(ctx context.Context, u dialer.User, passwordHash string) error
	GetUser(ctx context.Context, id dialer.UserID) (dialer.User, error)
	UserByName(ctx context.Context, name string) (u dialer.User, passwordHash string, err error)
	ListUsers(ctx context.Context, after dialer.UserID, limit int) ([]dialer.User, error)
	DeleteUser(ctx context.Context, id dialer.UserID) error

	CreateAPIKey(ctx context.Context, k dialer.APIKey, hash []byte) error
	// APIKey returns whom a key stands for, and its hash; a revoked key is
	// NotFound.
	APIKey(ctx context.Context, id dialer.KeyID) (u dialer.User, hash []byte, err error)
	ListAPIKeys(ctx context.Context, after dialer.KeyID, limit int) ([]dialer.APIKey, error)
	RevokeAPIKey(ctx context.Context, id dialer.KeyID) error
}

// A TrunkStore keeps trunks.
type TrunkStore interface {
	CreateTrunk(ctx context.Context, t telephony.Trunk) error
	GetTrunk(ctx context.Context, id dialer.TrunkID) (t telephony.Trunk, version int, err error)
	ListTrunks(ctx context.Context) ([]telephony.Trunk, error)
	// UpdateTrunk is a Conflict when the version is not the one given.
	UpdateTrunk(ctx context.Context, version int, t telephony.Trunk) error
	DeleteTrunk(ctx context.Context, id dialer.TrunkID) error
}

// A CampaignStore keeps campaigns.
type CampaignStore interface {
	CreateCampaign(ctx context.Context, s campaign.Settings, by string, now time.Time) (campaign.Campaign, error)
	GetCampaign(ctx context.Context, id dialer.CampaignID) (campaign.Campaign, error)
	ListCampaigns(ctx context.Context, after dialer.CampaignID, limit int) ([]campaign.Campaign, error)
	// UpdateCampaign is a Conflict when the version is not the one given.
	UpdateCampaign(ctx context.Context, id dialer.CampaignID, version int, s campaign.Settings, by string, now time.Time) (campaign.Campaign, error)
	SetCampaignState(ctx context.Context, id dialer.CampaignID, from []campaign.State, to campaign.State, by, why string, now time.Time) (campaign.Campaign, error)
	LeadsLeft(ctx context.Context, id dialer.CampaignID, now time.Time) (campaign.LeadCounts, error)
	// OutcomeCounts counts the campaign's ended calls by outcome.
	OutcomeCounts(ctx context.Context, id dialer.CampaignID) (map[campaign.Outcome]int, error)
	AbandonTally(ctx context.Context, id dialer.CampaignID, since time.Time) (compliance.Tally, error)
	// ListDecisions returns the told decisions of the campaign's pacer in [from,
	// to), the newest first; a zero time is no bound. after is the seq of the last
	// one of the page before, 0 for the first page.
	ListDecisions(ctx context.Context, id dialer.CampaignID, from, to time.Time, after int64, limit int) ([]dialer.Event, error)
}

// A ListStore keeps lists, leads and what was uploaded.
type ListStore interface {
	CreateList(ctx context.Context, l campaign.List) error
	GetList(ctx context.Context, id dialer.ListID) (campaign.List, error)
	ListLists(ctx context.Context, campaign dialer.CampaignID, after dialer.ListID, limit int) ([]campaign.List, error)

	// ImportLeads reads rows into a list, new leads all or nothing. An error that
	// rows yields ends the import, which is kept with its Error and no lead; it is
	// returned as well when it is not a *dialer.Error, and so not the file's
	// fault. Changes of leads that the list has follow in batches. One import too
	// many is an Unavailable.
	ImportLeads(ctx context.Context, list dialer.ListID, rows iter.Seq2[campaign.Row, error], update bool, now time.Time) (campaign.Import, error)
	GetImport(ctx context.Context, id dialer.ImportID) (campaign.Import, error)
	ListImports(ctx context.Context, list dialer.ListID, after dialer.ImportID, limit int) ([]campaign.Import, error)
	// ImportRejects returns the rejected rows with a line above after.
	ImportRejects(ctx context.Context, id dialer.ImportID, after, limit int) ([]campaign.Reject, error)

	// CreateLead adds one lead; a number that the list has already is a Conflict.
	CreateLead(ctx context.Context, list dialer.ListID, l campaign.Lead, now time.Time) (campaign.Lead, error)
	GetLead(ctx context.Context, list dialer.ListID, id dialer.LeadID) (campaign.Lead, error)
	LeadByExternalID(ctx context.Context, list dialer.ListID, external string) (campaign.Lead, error)
	ListLeads(ctx context.Context, list dialer.ListID, f campaign.LeadFilter, after dialer.LeadID, limit int) ([]campaign.Lead, error)
}

// A RosterStore keeps agents. ha1 is what the registrar checks an agent's phone
// against; empty leaves it as it is.
type RosterStore interface {
	CreateAgent(ctx context.Context, a agents.Agent, ha1 string) error
	GetAgent(ctx context.Context, id dialer.AgentID) (agents.Agent, error)
	ListAgents(ctx context.Context, after dialer.AgentID, limit int) ([]agents.Agent, error)
	UpdateAgent(ctx context.Context, a agents.Agent, ha1 string) error
	DeleteAgent(ctx context.Context, id dialer.AgentID) error
}

// A DNCStore keeps the do-not-call lists: one of all campaigns, and one of each.
type DNCStore interface {
	// AddDNC adds a number; an empty campaign means all.
	AddDNC(ctx context.Context, id dialer.CampaignID, n dialer.Number, source string, now time.Time) error
	RemoveDNC(ctx context.Context, id dialer.CampaignID, n dialer.Number, by string, now time.Time) error
	CheckDNC(ctx context.Context, n dialer.Number) ([]campaign.DNCEntry, error)
	ListDNC(ctx context.Context, id dialer.CampaignID, after dialer.Number, limit int) ([]campaign.DNCEntry, error)
}

// An AssetStore keeps audio by the SHA-256 of its file.
type AssetStore interface {
	PutAsset(ctx context.Context, sha, name string, wav []byte, now time.Time) error
	Asset(ctx context.Context, sha string) ([]byte, error)
}

// A CallStore reads calls.
type CallStore interface {
	GetCall(ctx context.Context, id dialer.CallID) (campaign.Call, error)
	ListCalls(ctx context.Context, f campaign.CallFilter, after dialer.CallID, limit int) ([]campaign.Call, error)
	CallEvents(ctx context.Context, id dialer.CallID) ([]dialer.Event, error)
	// LabelCall saves what somebody who heard the kept seconds of a call says.
	LabelCall(ctx context.Context, id dialer.CallID, label, by string, now time.Time) (campaign.Call, error)
	// DetectorCounts counts answered calls that the detector has judged, placed in
	// [from, to); a zero time is no bound.
	DetectorCounts(ctx context.Context, id dialer.CampaignID, from, to time.Time, sampled bool) ([]compliance.DetectorCount, error)
	// CallFacts yields the campaign's ended calls placed in [from, to); a zero
	// time is no bound.
	CallFacts(ctx context.Context, id dialer.CampaignID, from, to time.Time) iter.Seq2[report.CallFacts, error]
}

// A ReplayStore remembers the answers to requests with an Idempotency-Key for
// at least a day.
type ReplayStore interface {
	// ClaimKey takes a key for a request. It returns the remembered answer when
	// there is one, a Conflict while the first request is still worked on, and
	// an Invalid when the key was used for another request.
	ClaimKey(ctx context.Context, who, key, route string, body []byte, now time.Time) (*dialer.Answer, error)
	// KeepAnswer remembers the answer; nil gives the key back.
	KeepAnswer(ctx context.Context, who, key, route string, a *dialer.Answer) error
}

// A SimulationStore keeps simulations.
type SimulationStore interface {
	// CreateSimulation queues a job; one too many is an Unavailable.
	CreateSimulation(ctx context.Context, j simulation.Job) error
	GetSimulation(ctx context.Context, id dialer.SimulationID) (simulation.Job, error)
	// ListSimulations returns the newest first.
	ListSimulations(ctx context.Context, after dialer.SimulationID, limit int) ([]simulation.Job, error)
	// CancelSimulation ends a job; one that has ended otherwise is a Conflict.
	CancelSimulation(ctx context.Context, id dialer.SimulationID, now time.Time) error
}

// A Scheduler is what the API needs of the engine.
type Scheduler interface {
	// Wake makes the scheduler look at the campaigns at once.
	Wake()
	// Live tells how a campaign is this moment.
	Live(id dialer.CampaignID) campaign.Live
	// Diagnostics tells why a campaign is or is not dialing.
	Diagnostics(ctx context.Context, id dialer.CampaignID) (campaign.Diagnostics, error)
}
