// Package storetest is what every campaign.Store and dialer.EventLog must do,
// as tests: the database and the store in memory pass the same ones.
//
// Entry point: Run.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
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
	Lead(id dialer.LeadID) campaign.Lead
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
		{"EventsInCommitOrder", eventsInCommitOrder},
		{"WaitEvents", waitEvents},
		{"Tally", tally},
		{"CampaignState", campaignState},
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

// placed is a call to a lead that is about to be begun.
func (f *fixture) placed(l campaign.Lead) campaign.Call {
	return campaign.Call{
		ID: dialer.NewCallID(), Version: 1, Campaign: f.id, List: f.list, Lead: l.ID, Mode: campaign.Predictive,
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

func claimsAreNeverShared(t *testing.T, f *fixture) {
	const leads, claimers = 1000, 8
	f.add(1000, leads, func(l *campaign.Lead) { l.Priority = int(l.Number[len(l.Number)-1]-'0') % 3 })
	var mu sync.Mutex
	var all []dialer.LeadID
	var group sync.WaitGroup
	for range claimers {
		group.Go(func() {
			for dry := 0; dry < 3; {
				got, err := f.ClaimLeads(f.ctx, f.id, 17, "", now)
				if err != nil {
					t.Error(err)
					return
				}
				if len(got) == 0 { // others may hold locks on the last ones
					dry++
				}
				mu.Lock()
				for _, l := range got {
					all = append(all, l.ID)
				}
				mu.Unlock()
			}
		})
	}
	group.Wait()
	for _, l := range f.claim(leads) {
		all = append(all, l.ID)
	}
	slices.Sort(all)
	if n := len(slices.Compact(all)); n != leads || len(all) != leads {
		t.Errorf("%d claims of %d leads, want each of %d once", len(all), n, leads)
	}
}

func claimOrder(t *testing.T, f *fixture) {
	late := f.add(1, 2, nil)
	high := f.add(11, 2, func(l *campaign.Lead) { l.Priority = 5 })
	f.add(21, 1, func(l *campaign.Lead) { l.Priority = 9; l.Due = now.Add(time.Second) })
	early := f.add(31, 1, func(l *campaign.Lead) { l.Due = now.Add(-48 * time.Hour) })
	f.add(41, 1, func(l *campaign.Lead) { l.State = campaign.Done })
	var got, want []dialer.Number
	for _, l := range f.claim(100) {
		got = append(got, l.Number)
		if l.State != campaign.Claimed || l.Fields["name"] != "Ann" {
			t.Errorf("claimed %+v", l)
		}
	}
	for _, l := range [][]campaign.Lead{high, early, late} {
		for _, l := range l {
			want = append(want, l.Number)
		}
	}
	diff(t, "order of claims", got, want)
	if more := f.claim(100); len(more) != 0 {
		t.Errorf("%d leads were claimed twice, or before they are due", len(more))
	}
	counts, err := f.LeadsLeft(f.ctx, f.id, now)
	if err != nil {
		t.Fatal(err)
	}
	diff(t, "counts", counts, campaign.LeadCounts{
		Total: 7, Claimed: 5, Done: 1, NextDue: now.Add(time.Second),
		Later: map[string]int{"": 1}, DoneBy: map[string]int{"": 1},
	})
}

func callbacks(t *testing.T, f *fixture) {
	c := f.call(1)
	owner := dialer.NewAgentID()
	if maker, ok := f.Store.(interface{ AddAgent(dialer.AgentID) }); ok {
		maker.AddAgent(owner)
	}
	f.EndCall(ended(c, campaign.OutcomeConnected, compliance.ClassConnected),
		campaign.Next{State: campaign.Dialable, Due: now.Add(-time.Minute), Owner: owner, Why: "callback"})
	f.flush()
	if got := f.claim(10); len(got) != 0 {
		t.Errorf("anyone may claim an agent's own callback: %+v", got)
	}
	got, err := f.ClaimLeads(f.ctx, f.id, 10, owner, now)
	if err != nil || len(got) != 1 || got[0].Owner != owner {
		t.Errorf("the owner claims %+v, %v, want the callback", got, err)
	}
}

func releaseAndExclude(t *testing.T, f *fixture) {
	f.add(1, 3, nil)
	leads := f.claim(3)
	if err := f.ReleaseLeads(f.ctx, []dialer.LeadID{leads[0].ID}); err != nil {
		t.Fatal(err)
	}
	next := now.Add(time.Hour)
	for i, v := range []compliance.Verdict{{Rule: "window", Reason: "too early", NextAt: next}, {Rule: "attempt-cap", Reason: "five"}} {
		if err := f.ExcludeLead(f.ctx, leads[1+i], v, now); err != nil {
			t.Fatal(err)
		}
	}
	f.flush()
	if l := f.wantLead(leads[0].ID, campaign.Dialable, ""); l.Attempts != 0 {
		t.Errorf("a release costs %d attempts", l.Attempts)
	}
	if l := f.wantLead(leads[1].ID, campaign.Dialable, "window"); !l.Due.Equal(next) {
		t.Errorf("due %v, want %v", l.Due, next)
	}
	f.wantLead(leads[2].ID, campaign.Done, "attempt-cap")
	events, err := f.ReadEvents(f.ctx, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	var facts []dialer.Fact
	for _, e := range events {
		if e.Lead != "" {
			facts = append(facts, e.Fact)
		}
	}
	diff(t, "facts", facts, []dialer.Fact{
		dialer.LeadExcluded{Rule: "window", Reason: "too early", NextAt: next},
		dialer.LeadExcluded{Rule: "attempt-cap", Reason: "five"}, dialer.LeadRetired{Why: "attempt-cap"},
	})
}

func lifeOfACall(t *testing.T, f *fixture) {
	c := f.call(1)
	f.wantLead(c.Lead, campaign.Calling, "")
	step := func(state campaign.CallState, change func(*campaign.Call), facts ...dialer.Fact) {
		c.Version++
		c.State = state
		change(&c)
		f.UpdateCall(c, facts...)
	}
	agent := dialer.NewAgentID()
	step(campaign.Ringing, func(c *campaign.Call) { c.SentAt, c.RingingAt = now.Add(time.Millisecond), now.Add(time.Second) }, dialer.CallRinging{Status: 180})
	step(campaign.Answered, func(c *campaign.Call) { c.AnsweredAt = now.Add(5 * time.Second) }, dialer.CallAnswered{RingMS: 4000})
	step(campaign.Connected, func(c *campaign.Call) {
		c.Agent, c.ConnectedAt, c.AnsweredBy, c.AnsweredBySource = agent, now.Add(6*time.Second), "person", "amd"
		c.SpeechStartAt, c.GreetingEndAt, c.DecidedAt = now.Add(5*time.Second), now.Add(6*time.Second), now.Add(6*time.Second)
		c.Verdict, c.VerdictReason, c.Class = "human", "short greeting", compliance.ClassConnected
	}, dialer.CallConnected{AnswerToAgentMS: 1000})
	c = ended(c, campaign.OutcomeConnected, compliance.ClassConnected)
	c.SIPStatus, c.Q850, c.Media = 200, 16, telephony.MediaStats{PacketsIn: 9, Jitter: time.Millisecond}
	f.EndCall(c, campaign.Next{State: campaign.Done, Why: "connected"}, dialer.CallEnded{Outcome: "connected"})
	f.EndCall(c, campaign.Next{State: campaign.Dialable, Why: "again"}, dialer.CallEnded{Outcome: "connected"})
	f.flush()
	diff(t, "the call", f.kept(c.ID), c)
	diff(t, "facts", f.kinds(c.ID), []string{"call.placed", "call.ringing", "call.answered", "call.connected", "call.ended"})
	l := f.wantLead(c.Lead, campaign.Done, "connected")
	if l.Attempts != 1 || l.ByOutcome[campaign.OutcomeConnected] != 1 || l.LastOutcome != campaign.OutcomeConnected || len(l.Recent) != 1 {
		t.Errorf("the lead counts %+v", l)
	}
	// What is known later, such as the recording, is added to the ended call.
	c.Version++
	c.Recording = "a.wav"
	f.UpdateCall(c, dialer.RecordingSaved{Path: "a.wav"})
	f.flush()
	diff(t, "the call with its recording", f.kept(c.ID), c)
}

func beginRefusals(t *testing.T, f *fixture) {
	leads := f.add(1, 2, nil)
	f.want(f.BeginCall(f.ctx, f.placed(leads[0])), dialer.Conflict, "a lead that nobody claimed")
	claimed := f.claim(2)
	if err := f.AddDNC(f.ctx, "", claimed[0].Number, "test", now); err != nil {
		t.Fatal(err)
	}
	f.want(f.BeginCall(f.ctx, f.placed(claimed[0])), dialer.Forbidden, "a number on the global list")
	if err := f.AddDNC(f.ctx, f.id, claimed[1].Number, "test", now); err != nil {
		t.Fatal(err)
	}
	f.want(f.BeginCall(f.ctx, f.placed(claimed[1])), dialer.Forbidden, "a number on the campaign's list")
	found, err := f.DNCOf(f.ctx, f.id, []dialer.Number{claimed[0].Number, claimed[1].Number, "+12125559999"})
	if err != nil {
		t.Fatal(err)
	}
	diff(t, "DNCOf", found, map[dialer.Number]string{claimed[0].Number: "global", claimed[1].Number: "campaign"})
	if l := f.Lead(claimed[0].ID); l.State != campaign.Claimed || l.Attempts != 0 {
		t.Errorf("a refusal changed the lead: %+v", l)
	}
	f.add(11, 1, nil)
	l := f.claim(1)[0]
	if _, err := f.SetCampaignState(f.ctx, f.id, []campaign.State{campaign.Running}, campaign.Paused, "ann", "", now); err != nil {
		t.Fatal(err)
	}
	f.want(f.BeginCall(f.ctx, f.placed(l)), dialer.Conflict, "a paused campaign")
	broken, cancel := context.WithCancel(f.ctx)
	cancel()
	if err := f.BeginCall(broken, f.placed(l)); err == nil {
		t.Error("a call was begun after its context had ended")
	}
}

func oneOpenAttempt(t *testing.T, f *fixture) {
	c := f.call(1)
	f.list = dialer.NewListID() // the number may be on two lists
	f.add(1, 1, nil)
	l := f.claim(1)[0]
	f.want(f.BeginCall(f.ctx, f.placed(l)), dialer.Conflict, "a number with an open attempt")
	f.EndCall(ended(c, campaign.OutcomeBusy, compliance.ClassBusy), campaign.Next{State: campaign.Done, Why: "busy"})
	f.begin(f.placed(l)) // waits for the end

	// Many begin calls to one lead at once: one does.
	f.add(11, 1, nil)
	l = f.claim(1)[0]
	var began, refused int
	var mu sync.Mutex
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			err := f.BeginCall(f.ctx, f.placed(l))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				began++
			case dialer.CodeOf(err) == dialer.Conflict:
				refused++
			default:
				t.Error(err)
			}
		})
	}
	group.Wait()
	if began != 1 || refused != 7 {
		t.Errorf("%d calls began and %d were refused, want 1 and 7", began, refused)
	}
}

func agentInOneCall(t *testing.T, f *fixture) {
	agent := dialer.NewAgentID()
	f.add(1, 2, nil)
	leads := f.claim(2)
	first, second := f.placed(leads[0]), f.placed(leads[1])
	first.Agent, second.Agent = agent, agent
	f.begin(first)
	f.want(f.BeginCall(f.ctx, second), dialer.Conflict, "an agent in another call")
	f.EndCall(ended(first, campaign.OutcomeConnected, compliance.ClassConnected), campaign.Next{State: campaign.Done})
	f.begin(second)

	third := f.call(11)
	third.Version++
	third.State, third.Agent = campaign.Connected, agent
	f.UpdateCall(third, dialer.CallConnected{})
	f.flush()
	if got := f.kept(third.ID); got.Agent != "" {
		t.Errorf("agent %s is in two open calls", got.Agent)
	}
	// One wrong save does not hold up the others.
	third.Agent = ""
	third.Version++
	f.EndCall(ended(third, campaign.OutcomeFailed, compliance.ClassFailed), campaign.Next{State: campaign.Done})
	f.flush()
	if got := f.kept(third.ID); got.State != campaign.Ended {
		t.Errorf("the call is %s, want ended", got.State)
	}
}

func dncRace(t *testing.T, f *fixture) {
	const rounds = 20
	f.add(1, rounds, nil)
	for _, l := range f.claim(rounds) {
		c := f.placed(l)
		var group sync.WaitGroup
		var begun error
		group.Go(func() { begun = f.BeginCall(f.ctx, c, dialer.CallPlaced{To: c.To}) })
		group.Go(func() {
			if err := f.AddDNC(f.ctx, "", l.Number, "race", now); err != nil {
				t.Error(err)
			}
		})
		group.Wait()
		if begun != nil {
			f.want(begun, dialer.Forbidden, "begin against AddDNC")
			continue
		}
		events, err := f.ReadEvents(f.ctx, 0, 1000)
		if err != nil {
			t.Fatal(err)
		}
		placed := slices.IndexFunc(events, func(e dialer.Event) bool { return e.Call == c.ID })
		added := slices.IndexFunc(events, func(e dialer.Event) bool {
			fact, ok := e.Fact.(dialer.DNCChanged)
			return ok && fact.To == l.Number
		})
		if placed < 0 || added < 0 || placed > added {
			t.Errorf("a call was placed (event %d) after the number was on the list (event %d)", placed, added)
		}
	}
}

func staleSaves(t *testing.T, f *fixture) {
	c := f.call(1)
	newer := c
	newer.Version, newer.State, newer.RingingAt = 3, campaign.Ringing, now.Add(time.Second)
	f.UpdateCall(newer, dialer.CallRinging{})
	stale := c
	stale.Version, stale.SIPStatus = 2, 183
	f.UpdateCall(stale, dialer.CallAnswered{})
	back := newer
	back.Version, back.State = 4, campaign.Placed
	f.UpdateCall(back, dialer.CallAnswered{})
	f.flush()
	diff(t, "the call after stale saves", f.kept(c.ID), newer)
	diff(t, "facts", f.kinds(c.ID), []string{"call.placed", "call.ringing"})
}

func disposition(t *testing.T, f *fixture) {
	c := f.call(1)
	early := c
	early.Version, early.Disposition = 2, "SALE"
	f.want(f.DisposeCall(f.ctx, early, campaign.Next{State: campaign.Done}), dialer.Conflict, "a disposition before the talk")
	c = ended(c, campaign.OutcomeConnected, compliance.ClassConnected)
	f.EndCall(c, campaign.Next{State: campaign.Done, Why: "connected"})
	c.Version++
	c.Disposition, c.Note, c.DisposedAt = "CALLBACK", "ask for Bob\x00", now.Add(time.Minute)
	due := now.Add(24 * time.Hour)
	for range 2 {
		err := f.DisposeCall(f.ctx, c, campaign.Next{State: campaign.Dialable, Due: due, Why: "callback"}, dialer.CallDispositioned{Disposition: "CALLBACK"})
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := f.kept(c.ID); got.Disposition != "CALLBACK" || got.Outcome != campaign.OutcomeConnected {
		t.Errorf("the call has disposition %q and outcome %q", got.Disposition, got.Outcome)
	}
	if l := f.wantLead(c.Lead, campaign.Dialable, "callback"); !l.Due.Equal(due) {
		t.Errorf("due %v, want %v", l.Due, due)
	}
	diff(t, "facts", f.kinds(c.ID), []string{"call.placed", "call.dispositioned"})
	f.want(f.DisposeCall(f.ctx, campaign.Call{ID: dialer.NewCallID()}, campaign.Next{}), dialer.NotFound, "a call that is not there")
}

func dispositionBeforeEnd(t *testing.T, f *fixture) {
	c := f.call(1)
	c.Version++
	c.State, c.AnsweredAt, c.ConnectedAt = campaign.Connected, now, now
	f.UpdateCall(c)
	c.Version++
	c.Disposition, c.DisposedAt = "SALE", now
	if err := f.DisposeCall(f.ctx, c, campaign.Next{State: campaign.Done, Why: "SALE"}); err != nil {
		t.Fatal(err)
	}
	if l := f.Lead(c.Lead); l.State != campaign.Calling {
		t.Errorf("the lead is %s while its call is up", l.State)
	}
	f.EndCall(ended(c, campaign.OutcomeConnected, compliance.ClassConnected), campaign.Next{State: campaign.Dialable, Why: "connected"})
	f.flush()
	f.wantLead(c.Lead, campaign.Done, "SALE")
}

func orphans(t *testing.T, f *fixture) {
	ringing := f.call(1)
	answered := f.call(2)
	answered.Version++
	answered.State, answered.AnsweredAt, answered.Dialog = campaign.Answered, now, []byte("route and tags")
	f.UpdateCall(answered)
	machine := f.call(3)
	machine.Version++
	machine.State, machine.AnsweredAt, machine.AnsweredBy = campaign.Answered, now, "machine"
	f.UpdateCall(machine)
	talking := f.call(4)
	talking.Version++
	talking.State, talking.AnsweredAt, talking.ConnectedAt = campaign.Connected, now, now
	f.UpdateCall(talking)
	over := f.call(5)
	f.EndCall(ended(over, campaign.OutcomeBusy, compliance.ClassBusy), campaign.Next{State: campaign.Done, Why: "busy"})
	f.add(6, 1, nil)
	held := f.claim(1)[0]
	f.flush()

	f.Store = f.Restart()
	mine := f.call(7)
	settled, err := f.SettleOrphans(f.ctx, now.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	classes := map[dialer.CallID]compliance.Class{}
	for _, c := range settled {
		classes[c.ID] = c.Class
		if c.State != campaign.Ended || c.Outcome != campaign.OutcomeInterrupted {
			t.Errorf("an orphan is %s with outcome %q", c.State, c.Outcome)
		}
		if c.ID == answered.ID && string(c.Dialog) != "route and tags" {
			t.Errorf("the dialog is %q", c.Dialog)
		}
	}
	diff(t, "classes of orphans", classes, map[dialer.CallID]compliance.Class{
		ringing.ID: compliance.ClassFailed, answered.ID: compliance.ClassAbandonedSilent,
		machine.ID: compliance.ClassMachine, talking.ID: compliance.ClassConnected,
	})
	diff(t, "facts of the abandoned one", f.kinds(answered.ID), []string{"call.placed", "call.abandoned", "call.ended"})
	f.wantLead(held.ID, campaign.Dialable, "")
	f.wantLead(mine.Lead, campaign.Calling, "")
	if l := f.wantLead(ringing.Lead, campaign.Dialable, "interrupted"); l.Attempts != 1 || !l.Due.After(now.Add(time.Minute)) {
		t.Errorf("the lead of an interrupted call: %+v", l)
	}
	again, err := f.SettleOrphans(f.ctx, now.Add(time.Minute))
	if err != nil || len(again) != 0 {
		t.Errorf("settled a second time: %v, %v", again, err)
	}
	// The next start hangs up once more what may still be up.
	f.Store = f.Restart()
	again, err = f.SettleOrphans(f.ctx, now.Add(2*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	var ids []dialer.CallID
	for _, c := range again {
		ids = append(ids, c.ID)
	}
	want := []dialer.CallID{answered.ID, mine.ID}
	slices.Sort(ids)
	slices.Sort(want)
	diff(t, "orphans of the second restart", ids, want)
}

func eventsInCommitOrder(t *testing.T, f *fixture) {
	const writers, each = 8, 50
	ctx, stop := context.WithCancel(f.ctx)
	defer stop()
	var seen []dialer.Event
	followed := make(chan error, 1)
	go func() {
		var after int64
		for len(seen) < writers*each*2 {
			if err := f.WaitEvents(ctx, after); err != nil {
				followed <- err
				return
			}
			events, err := f.ReadEvents(ctx, after, 7)
			if err != nil {
				followed <- err
				return
			}
			for _, e := range events {
				if e.Seq <= after {
					followed <- fmt.Errorf("seq %d after %d", e.Seq, after)
					return
				}
				after = e.Seq
			}
			seen = append(seen, events...)
		}
		followed <- nil
	}()
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			for i := range each {
				n := numberOf(w*each + i)
				if err := f.AddDNC(ctx, f.id, n, "test", now); err != nil {
					t.Error(err)
					return
				}
				f.Record(dialer.Event{Campaign: f.id, Fact: dialer.PacingDecided{Dial: w, Reason: fmt.Sprint(i)}})
			}
		})
	}
	group.Wait()
	f.flush()
	all, err := f.ReadEvents(ctx, 0, 100_000)
	if err != nil || len(all) != writers*each*2 {
		t.Fatalf("%d events are in the log, %v, want %d", len(all), err, writers*each*2)
	}
	if err := <-followed; err != nil {
		t.Fatalf("the follower saw %d events: %v", len(seen), err)
	}
	diff(t, "what the follower saw", seen, all)
	last := map[int]int{}
	for _, e := range all {
		if p, ok := e.Fact.(dialer.PacingDecided); ok {
			if p.Reason != fmt.Sprint(last[p.Dial]) {
				t.Fatalf("writer %d: fact %s is out of order", p.Dial, p.Reason)
			}
			last[p.Dial]++
		}
	}
}

func waitEvents(t *testing.T, f *fixture) {
	ctx, cancel := context.WithCancelCause(f.ctx)
	gone := errors.New("gone")
	cancel(gone)
	if err := f.WaitEvents(ctx, 1<<40); !errors.Is(err, gone) {
		t.Errorf("WaitEvents without events: %v, want the cause of its context", err)
	}
	f.Record(dialer.Event{Campaign: f.id, Fact: dialer.PacingDecided{}})
	if err := f.WaitEvents(f.ctx, 0); err != nil {
		t.Error(err)
	}
}

func tally(t *testing.T, f *fixture) {
	for i, class := range []compliance.Class{
		compliance.ClassConnected, compliance.ClassConnected, compliance.ClassAbandonedMsg, compliance.ClassMachine, compliance.ClassLate,
	} {
		c := f.call(i)
		f.EndCall(ended(c, campaign.OutcomeConnected, class), campaign.Next{State: campaign.Done})
	}
	abandoned := f.call(11) // still up, and abandoned for good
	abandoned.Version++
	abandoned.State, abandoned.Class = campaign.Answered, compliance.ClassAbandonedMsg
	f.UpdateCall(abandoned)
	f.call(12) // up, not classed yet
	f.flush()
	got, err := f.AbandonTally(f.ctx, f.id, now.Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	diff(t, "tally", got.ByClass, map[compliance.Class]int{
		compliance.ClassConnected: 2, compliance.ClassAbandonedMsg: 2, compliance.ClassMachine: 1, compliance.ClassLate: 1,
	})
	if got, err := f.AbandonTally(f.ctx, f.id, now.Add(time.Hour)); err != nil || len(got.ByClass) != 0 {
		t.Errorf("tally since later: %v, %v", got, err)
	}
}

func campaignState(t *testing.T, f *fixture) {
	open, err := f.OpenCampaigns(f.ctx)
	if err != nil || len(open) != 1 || open[0].ID != f.id || open[0].Settings.MaxAttempts != 5 {
		t.Fatalf("open campaigns: %+v, %v", open, err)
	}
	c, err := f.SetCampaignState(f.ctx, f.id, []campaign.State{campaign.Running, campaign.Paused}, campaign.Stopped, "ann", "lunch", now)
	if err != nil || c.State != campaign.Stopped || c.Version != 2 || !c.StartedAt.Equal(now) {
		t.Errorf("stopped: %+v, %v", c, err)
	}
	_, err = f.SetCampaignState(f.ctx, f.id, []campaign.State{campaign.Running}, campaign.Paused, "ann", "", now)
	f.want(err, dialer.Conflict, "pause of a stopped campaign")
	_, err = f.SetCampaignState(f.ctx, dialer.NewCampaignID(), []campaign.State{campaign.Running}, campaign.Paused, "ann", "", now)
	f.want(err, dialer.NotFound, "pause of no campaign")
	if open, err := f.OpenCampaigns(f.ctx); err != nil || len(open) != 0 {
		t.Errorf("open campaigns: %+v, %v", open, err)
	}
	events, err := f.ReadEvents(f.ctx, 0, 10)
	if err != nil || len(events) != 1 {
		t.Fatalf("events %v, %v", events, err)
	}
	diff(t, "the fact", events[0].Fact, dialer.Fact(dialer.CampaignChanged{State: "stopped", By: "ann", Why: "lunch"}))
}
