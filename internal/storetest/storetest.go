// Package storetest is what every campaign.Store and dialer.EventLog must do,
// as tests: the database and the store in memory pass the same ones.
//
// Entry point: Run.
package storetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dialer"
	"dialer/campaign"
	"dialer/compliance"
	"dialer/telephony"
)

// A Store is a store under test, with what tests need beside its seams.
type Store interface {
	campaign.Store
	dialer.EventLog

	AddCampaign(c campaign.Campaign)
	AddLeads(leads ...campaign.Lead)
	GetCall(ctx context.Context, id dialer.CallID) (campaign.Call, error)
	MarkGhost(call dialer.CallID, at time.Time)
	LabelCall(ctx context.Context, id dialer.CallID, label, by string, now time.Time) (campaign.Call, error)
	Lead(id dialer.LeadID) campaign.Lead
	SaveLadders(ctx context.Context, parts []telephony.Ladder) error
	Ladders(ctx context.Context, call dialer.CallID) ([]telephony.Ladder, error)
	StationLadders(ctx context.Context, station string, limit int) ([]telephony.Ladder, error)
	PruneLadders(ctx context.Context, before time.Time) error
	// Flush waits for what was queued.
	Flush(ctx context.Context) error
	// Restart is the death of the process and the next start.
	Restart() Store
}

// now is the time of the tests: with microseconds, which every store keeps.
var now = time.Date(2026, 3, 10, 15, 0, 0, 123456000, time.UTC)

// Run tests the stores that open makes, a fresh one for each test.
func Run(t *testing.T, open func(t *testing.T) Store) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, f *fixture)
	}{
		{"ClaimsAreNeverShared", claimsAreNeverShared},
		{"ClaimOrder", claimOrder},
		{"Callbacks", callbacks},
		{"ReleaseAndExclude", releaseAndExclude},
		{"LifeOfACall", lifeOfACall},
		{"BeginRefusals", beginRefusals},
		{"OneOpenAttempt", oneOpenAttempt},
		{"AgentInOneCall", agentInOneCall},
		{"DNCRace", dncRace},
		{"StaleSaves", staleSaves},
		{"Disposition", disposition},
		{"DispositionBeforeEnd", dispositionBeforeEnd},
		{"Orphans", orphans},
		{"Ghosts", ghosts},
		{"EventsInCommitOrder", eventsInCommitOrder},
		{"WaitEvents", waitEvents},
		{"Tally", tally},
		{"TallyIsARecount", tallyIsARecount},
		{"CampaignState", campaignState},
		{"Ladders", ladders},
		{"Estimates", estimates},
		{"Tapes", tapes},
		{"DetectorCounts", detectorCounts},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			test.run(t, newFixture(ctx, t, open(t)))
		})
	}
}

// A fixture is a store with one running campaign.
type fixture struct {
	Store
	t    *testing.T
	ctx  context.Context
	id   dialer.CampaignID
	list dialer.ListID
}

func newFixture(ctx context.Context, t *testing.T, s Store) *fixture {
	f := &fixture{s, t, ctx, dialer.NewCampaignID(), dialer.NewListID()}
	s.AddCampaign(campaign.Campaign{
		ID: f.id, State: campaign.Running, Version: 1, CreatedAt: now, StartedAt: now,
		Settings: campaign.Settings{Name: "test", MaxAttempts: 5},
	})
	return f
}

func numberOf(i int) dialer.Number { return dialer.Number(fmt.Sprintf("+1212555%04d", i)) }

// add adds leads that are due, with numbers from first on.
func (f *fixture) add(first, n int, change func(*campaign.Lead)) []campaign.Lead {
	f.t.Helper()
	leads := make([]campaign.Lead, n)
	for i := range leads {
		leads[i] = campaign.Lead{
			ID: dialer.NewLeadID(), List: f.list, Campaign: f.id, Number: numberOf(first + i),
			State: campaign.Dialable, Due: now.Add(time.Duration(i) * time.Millisecond).Add(-time.Hour),
			Fields: map[string]string{"name": "Ann"},
		}
		if change != nil {
			change(&leads[i])
		}
	}
	f.AddLeads(leads...)
	return leads
}

func (f *fixture) claim(n int) []campaign.Lead {
	f.t.Helper()
	leads, err := f.ClaimLeads(f.ctx, f.id, n, "", now)
	if err != nil {
		f.t.Fatal(err)
	}
	return leads
}

// CallID returns a fresh id as one made at a time would be.
func CallID(at time.Time) dialer.CallID {
	id := []byte(dialer.NewCallID())
	for i, ms := 13, at.UnixMilli(); i > 3; i-- {
		id[i] = "0123456789abcdefghjkmnpqrstvwxyz"[ms&31]
		ms >>= 5
	}
	return dialer.CallID(id)
}

// placed is a call to a lead that is about to be begun.
func (f *fixture) placed(l campaign.Lead) campaign.Call {
	return campaign.Call{
		ID: CallID(now), Version: 1, Campaign: f.id, List: f.list, Lead: l.ID, Mode: campaign.Predictive,
		To: l.Number, From: "+12125550000", Attempt: l.Attempts + 1, State: campaign.Placed, PlacedAt: now, Rules: "window",
	}
}

func (f *fixture) begin(c campaign.Call) {
	f.t.Helper()
	if err := f.BeginCall(f.ctx, c, dialer.CallPlaced{To: c.To, From: c.From, Attempt: c.Attempt}); err != nil {
		f.t.Fatal(err)
	}
}

// call begins a call to a fresh lead.
func (f *fixture) call(number int) campaign.Call {
	f.t.Helper()
	f.add(number, 1, nil)
	leads := f.claim(1)
	if len(leads) != 1 {
		f.t.Fatalf("claimed %d leads, want 1", len(leads))
	}
	c := f.placed(leads[0])
	f.begin(c)
	return c
}

func ended(c campaign.Call, outcome campaign.Outcome, class compliance.Class) campaign.Call {
	c.Version++
	c.State, c.Outcome, c.Class = campaign.Ended, outcome, class
	c.EndedAt, c.EndedBy, c.Cause = now.Add(30*time.Second), telephony.Callee, telephony.CauseNormal
	return c
}

func (f *fixture) flush() {
	f.t.Helper()
	if err := f.Flush(f.ctx); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) kept(id dialer.CallID) campaign.Call {
	f.t.Helper()
	c, err := f.GetCall(f.ctx, id)
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

func (f *fixture) want(err error, code dialer.Code, what string) {
	f.t.Helper()
	if dialer.CodeOf(err) != code {
		f.t.Errorf("%s: got %v, want %s", what, err, code)
	}
}

func (f *fixture) wantLead(id dialer.LeadID, state campaign.LeadState, why string) campaign.Lead {
	f.t.Helper()
	l := f.Lead(id)
	if l.State != state || l.Why != why {
		f.t.Errorf("the lead is %s because of %q, want %s because of %q", l.State, l.Why, state, why)
	}
	return l
}

// kinds returns the names of the facts about a call, in order.
func (f *fixture) kinds(id dialer.CallID) (names []string) {
	f.t.Helper()
	events, err := f.ReadEvents(f.ctx, 0, 100_000)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, e := range events {
		if e.Call == id {
			names = append(names, e.Fact.Kind())
		}
	}
	return names
}

func diff(t *testing.T, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s: - want, + got\n%s", what, d)
	}
}
