package campaign

import (
	"context"
	"time"

	"dialer"
	"dialer/agents"
	"dialer/compliance"
)

// A Store keeps leads and calls. A change and its facts are saved together, in
// one transaction.
type Store interface {
	// OpenCampaigns returns the campaigns that are Running or Paused.
	OpenCampaigns(ctx context.Context) ([]Campaign, error)
	// GetCampaign returns a campaign in any state; without one it is a NotFound.
	GetCampaign(ctx context.Context, id dialer.CampaignID) (Campaign, error)
	// SetCampaignState moves a campaign by compare-and-set; a *dialer.Error with
	// Conflict says that it was not in one of the from states.
	SetCampaignState(ctx context.Context, id dialer.CampaignID, from []State, to State, by, why string, now time.Time) (Campaign, error)

	// ClaimLeads takes up to n due leads, highest priority and longest due
	// first, no lead twice among claimers. owner limits it to an agent's own
	// callbacks when set; without it, leads owned by anyone are left out.
	ClaimLeads(ctx context.Context, id dialer.CampaignID, n int, owner dialer.AgentID, now time.Time) ([]Lead, error)
	// ReleaseLeads gives claimed leads back, no attempt spent.
	ReleaseLeads(ctx context.Context, ids []dialer.LeadID) error
	// ExcludeLead records that a rule forbade the call, and when to ask again.
	ExcludeLead(ctx context.Context, lead Lead, v compliance.Verdict, now time.Time) error
	// DNCOf returns for each number the name of the do-not-call list that holds
	// it ("global" or "campaign"), or nothing. For advice; BeginCall decides.
	DNCOf(ctx context.Context, id dialer.CampaignID, numbers []dialer.Number) (map[dialer.Number]string, error)
	// LeadsLeft counts leads by why they are or are not dialable now.
	LeadsLeft(ctx context.Context, id dialer.CampaignID, now time.Time) (LeadCounts, error)

	// BeginCall commits the attempt before it is dialed: the lead must still be
	// Claimed, the number on no do-not-call list (checked under the lock that
	// AddDNC takes), no attempt open for the lead or the number. It returns once
	// the commit is known; on any error the call must not be placed. A refusal
	// is a *dialer.Error: Forbidden (do-not-call) or Conflict.
	BeginCall(ctx context.Context, c Call, facts ...dialer.Fact) error
	// SaveDialog commits what another process needs to end the call; it goes
	// before the ACK, so it does not wait for what is queued.
	SaveDialog(ctx context.Context, id dialer.CallID, dialog []byte) error
	// UpdateCall saves c, queued and in order; it never blocks.
	UpdateCall(c Call, facts ...dialer.Fact)
	// EndCall closes the call and moves the lead, queued and in order.
	EndCall(c Call, next Next, facts ...dialer.Fact)
	// DisposeCall saves disposition and note of an ended or connected call and
	// moves the lead; it returns once committed. Saying the same twice is one.
	DisposeCall(ctx context.Context, c Call, next Next, facts ...dialer.Fact) error
	// Record saves facts that change no call: queued, in order.
	Record(e ...dialer.Event)

	// AddDNC puts a number on a do-not-call list; when it has returned, no
	// BeginCall for the number succeeds. An empty campaign means global.
	AddDNC(ctx context.Context, id dialer.CampaignID, n dialer.Number, source string, now time.Time) error
	// AbandonTally returns the legal counts of the campaign since a time.
	AbandonTally(ctx context.Context, id dialer.CampaignID, since time.Time) (compliance.Tally, error)
	// DetectorCounts counts answered calls that the detector has judged, placed in
	// [from, to), by what is known of them; a zero time is no bound. sampled limits
	// them to those of which a draw is recorded, which are quickly found.
	DetectorCounts(ctx context.Context, id dialer.CampaignID, from, to time.Time, sampled bool) ([]compliance.DetectorCount, error)
	// SaveEstimate keeps what a campaign's pacer has learned in place of what was
	// kept before; losing the last one in a crash of the server is fine.
	SaveEstimate(ctx context.Context, id dialer.CampaignID, body []byte, now time.Time) error
	// Estimate returns what SaveEstimate kept, nil when nothing was.
	Estimate(ctx context.Context, id dialer.CampaignID) ([]byte, error)
	// SaveTape keeps a part of the tape of a campaign's decisions for some weeks;
	// saying it twice is one, and losing the last ones in a crash is fine.
	SaveTape(ctx context.Context, part TapePart) error
	// Asset returns a stored audio file by its SHA-256.
	Asset(ctx context.Context, sha string) ([]byte, error)

	// SettleOrphans closes the open attempts of earlier runs of this node as
	// Interrupted and returns them, with their saved dialogs, so that calls
	// still up can be ended; leads left Claimed become Dialable. Those that are
	// up, or ring (Call.MayRing), are returned to later starts as well for some
	// minutes: this process may die before it has ended them.
	SettleOrphans(ctx context.Context, now time.Time) ([]Call, error)
}

// LeadCounts says how many leads there are, and why those are not dialed now.
type LeadCounts struct {
	Total, DueNow, Claimed, Calling, Done int
	Later                                 map[string]int // by Why: dialable, but not yet
	DoneBy                                map[string]int // by Why
	NextDue                               time.Time
}

// An AgentPool is what the engine needs of agents.
type AgentPool interface {
	// Reserve takes the longest-idle ready agent of the campaign for a call,
	// waiting until ctx ends. The wait is in order of asking.
	Reserve(ctx context.Context, id dialer.CampaignID, call dialer.CallID) (agents.Reservation, error)
	// ReserveAgent takes one given agent, if Ready.
	ReserveAgent(ctx context.Context, id dialer.CampaignID, agent dialer.AgentID, call dialer.CallID) (agents.Reservation, error)
	// Counts tells how many agents of the campaign are in which state, and for
	// how long.
	Counts(id dialer.CampaignID) agents.Counts
	// Ready returns the campaign's agents who can take a call now.
	Ready(id dialer.CampaignID) []dialer.AgentID
	// State returns how one agent is.
	State(agent dialer.AgentID) agents.Snapshot
	// Changed is signalled (capacity 1, never blocks) when an agent's state in
	// any campaign changes.
	Changed(id dialer.CampaignID) <-chan struct{}
}
