package simulation

import (
	"context"
	"iter"
	"time"

	"dialer"
	"dialer/agents"
	"dialer/campaign"
	"dialer/compliance"
	"dialer/pacing/simulate"
)

// A PastStore reads what campaigns have left behind.
type PastStore interface {
	GetCampaign(ctx context.Context, id dialer.CampaignID) (campaign.Campaign, error)
	// PastCalls yields the campaign's newest ended calls, at most so many, the
	// newest first. Of a call it has what an outcome and its times are.
	PastCalls(ctx context.Context, id dialer.CampaignID, most int) iter.Seq2[campaign.Call, error]
	// AgentMoves yields the moves of agents from one state to another in
	// [from, to), in the order of the log, at most so many.
	AgentMoves(ctx context.Context, from, to time.Time, most int) iter.Seq2[dialer.Event, error]
}

// How much of the past is looked at.
const (
	mostPastCalls = 100_000
	mostPastMoves = 500_000
	longestPast   = 31 * 24 * time.Hour
)

// FromCampaign finds the scenario of a past campaign: from its newest 100,000
// calls, at most the last 31 days of them, and the moves of its agents.
func FromCampaign(ctx context.Context, store PastStore, id dialer.CampaignID) (simulate.Fitted, error) {
	c, err := store.GetCampaign(ctx, id)
	if err != nil {
		return simulate.Fitted{}, err
	}
	set := c.Settings.Defaulted()
	zone, err := time.LoadLocation(set.Zone)
	if err != nil {
		zone = time.UTC
	}
	past := simulate.Past{
		Cap: *set.AbandonCap, AMD: set.AMD,
		Window: float64(set.ConnectDeadlineMS) / 1000, RingTimeout: float64(set.RingTimeoutS),
	}
	calls, team := map[dialer.CallID]bool{}, map[dialer.AgentID]bool{}
	var first, last time.Time
	for call, err := range store.PastCalls(ctx, id, mostPastCalls) {
		if err != nil {
			return simulate.Fitted{}, err
		}
		if last.IsZero() {
			last = call.EndedAt.Add(time.Hour) // for the wrap-up, and the end of the shift
		}
		if last.Sub(call.PlacedAt) > longestPast {
			break
		}
		first = call.PlacedAt.Add(-time.Hour)
		if p, ok := pastCall(&call, zone); ok {
			past.Calls = append(past.Calls, p)
		}
		if call.Agent != "" {
			calls[call.ID], team[call.Agent] = true, true
		}
	}
	var moves []simulate.PastMove
	if len(team) > 0 {
		for e, err := range store.AgentMoves(ctx, first, last, mostPastMoves) {
			if err != nil {
				return simulate.Fitted{}, err
			}
			f, ok := e.Fact.(dialer.AgentStateChanged)
			if !ok || !team[e.Agent] {
				continue
			}
			moves = append(moves, simulate.PastMove{
				At: e.At.In(zone), Agent: string(e.Agent), From: f.From, To: f.To,
				Other: f.From == string(agents.WrapUp) && e.Call != "" && !calls[e.Call],
			})
		}
	}
	past.Team = simulate.TeamOf(moves)
	fitted, err := simulate.Fit(past)
	if err != nil {
		return simulate.Fitted{}, dialer.Errorf(dialer.Conflict, "campaign %s: %s", id, err)
	}
	return fitted, nil
}

// pastCall is what a record tells of an attempt; false when the attempt was ours
// to end, or never left.
func pastCall(c *campaign.Call, zone *time.Location) (simulate.PastCall, bool) {
	sent := c.SentAt
	if sent.IsZero() {
		sent = c.PlacedAt
	}
	since := func(from, to time.Time) float64 {
		if from.IsZero() || to.Before(from) {
			return -1
		}
		return to.Sub(from).Seconds()
	}
	p := simulate.PastCall{At: sent.In(zone), Greeting: -1, Detect: -1, Talk: -1}
	switch c.Outcome {
	case campaign.OutcomeCancelled, campaign.OutcomeInterrupted:
		return p, false
	case campaign.OutcomeConnected, campaign.OutcomeAbandoned, campaign.OutcomeCalleeEarly:
		p.End = simulate.PastPerson
		if c.Class == compliance.ClassMachine || c.AnsweredBy == compliance.AnsweredByMachine || c.AnsweredBy == compliance.AnsweredByFax {
			p.End = simulate.PastMachine
		}
	case campaign.OutcomeMachine, campaign.OutcomeMessage, campaign.OutcomeFax:
		p.End = simulate.PastMachine
	case campaign.OutcomeNoAnswer:
		p.End = simulate.PastRangOut
	default:
		p.End = simulate.PastRefused
	}
	if c.AnsweredAt.IsZero() {
		p.Ring = since(sent, c.EndedAt)
		return p, true
	}
	p.Ring = since(sent, c.AnsweredAt)
	p.Greeting, p.Detect = since(c.AnsweredAt, c.GreetingEndAt), since(c.AnsweredAt, c.DecidedAt)
	if !c.ConnectedAt.IsZero() {
		p.Talk = since(c.ConnectedAt, c.EndedAt)
	}
	return p, true
}
