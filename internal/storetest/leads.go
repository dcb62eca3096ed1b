package storetest

import (
	"slices"
	"sync"
	"testing"
	"time"

	"dialer"
	"dialer/campaign"
	"dialer/compliance"
)

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
