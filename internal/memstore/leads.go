package memstore

import (
	"cmp"
	"container/heap"
	"context"
	"maps"
	"slices"
	"time"

	"dialer"
	"dialer/campaign"
	"dialer/compliance"
)

// A lead is a kept lead. stamp grows with each change, so that entries of the
// heaps which were made before it can be told from those that hold.
type lead struct {
	campaign.Lead
	stamp int
	epoch int // of the claim
}

// A shelf holds the dialable leads of a campaign that one owner may take; no
// owner means anyone.
type shelf struct {
	campaign dialer.CampaignID
	owner    dialer.AgentID
}

// dueLeads orders dialable leads: later by due time, ready by priority.
type dueLeads struct{ later, ready entries }

type entry struct {
	*lead
	stamp int
}

type entries struct {
	list []entry
	less func(a, b *lead) bool
}

func (e *entries) Len() int           { return len(e.list) }
func (e *entries) Less(i, j int) bool { return e.less(e.list[i].lead, e.list[j].lead) }
func (e *entries) Swap(i, j int)      { e.list[i], e.list[j] = e.list[j], e.list[i] }
func (e *entries) Push(x any)         { e.list = append(e.list, x.(entry)) }
func (e *entries) Pop() any {
	last := e.list[len(e.list)-1]
	e.list = e.list[:len(e.list)-1]
	return last
}

func soonest(a, b *lead) bool {
	return cmp.Or(a.Due.Compare(b.Due), cmp.Compare(a.ID, b.ID)) < 0
}

func firstToCall(a, b *lead) bool {
	return cmp.Or(cmp.Compare(b.Priority, a.Priority), a.Due.Compare(b.Due), cmp.Compare(a.ID, b.ID)) < 0
}

// shelve notes a change of l and, when it is dialable, makes it claimable.
func (s *Store) shelve(l *lead) {
	l.stamp++
	if l.State != campaign.Dialable {
		return
	}
	key := shelf{l.Campaign, l.Owner}
	d, ok := s.due[key]
	if !ok {
		d = &dueLeads{entries{less: soonest}, entries{less: firstToCall}}
		s.due[key] = d
	}
	heap.Push(&d.later, entry{l, l.stamp})
}

// ClaimLeads implements campaign.Store.
func (s *Store) ClaimLeads(_ context.Context, id dialer.CampaignID, n int, owner dialer.AgentID, now time.Time) ([]campaign.Lead, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.due[shelf{id, owner}]
	if !ok {
		return nil, nil
	}
	for d.later.Len() > 0 && !d.later.list[0].Due.After(now) {
		if e := heap.Pop(&d.later).(entry); e.stamp == e.lead.stamp {
			heap.Push(&d.ready, e)
		}
	}
	var claimed []campaign.Lead
	for len(claimed) < n && d.ready.Len() > 0 {
		e := heap.Pop(&d.ready).(entry)
		if e.stamp != e.lead.stamp {
			continue
		}
		e.State = campaign.Claimed
		e.epoch = s.epoch
		s.shelve(e.lead)
		claimed = append(claimed, copyLead(e.Lead))
	}
	return claimed, nil
}

// ReleaseLeads implements campaign.Store.
func (s *Store) ReleaseLeads(_ context.Context, ids []dialer.LeadID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		if l, ok := s.leads[id]; ok && l.State == campaign.Claimed {
			l.State = campaign.Dialable
			s.shelve(l)
		}
	}
	return nil
}

// ExcludeLead implements campaign.Store.
func (s *Store) ExcludeLead(_ context.Context, excluded campaign.Lead, v compliance.Verdict, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, ok := s.leads[excluded.ID]
	if !ok || l.State != campaign.Claimed {
		s.drop("exclusion of lead %s, which is not claimed", excluded.ID)
		return nil
	}
	l.Why = cmp.Or(v.Rule, v.Reason)
	facts := []dialer.Fact{dialer.LeadExcluded{Rule: v.Rule, Reason: v.Reason, NextAt: v.NextAt}}
	if v.NextAt.IsZero() {
		l.State = campaign.Done
		facts = append(facts, dialer.LeadRetired{Why: l.Why})
	} else {
		l.State, l.Due = campaign.Dialable, v.NextAt
	}
	s.shelve(l)
	for _, f := range facts {
		s.append(dialer.Event{At: now, Campaign: l.Campaign, Lead: l.ID, Fact: f})
	}
	return nil
}

// LeadsLeft implements campaign.Store.
func (s *Store) LeadsLeft(_ context.Context, id dialer.CampaignID, now time.Time) (campaign.LeadCounts, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := campaign.LeadCounts{Later: map[string]int{}, DoneBy: map[string]int{}}
	for _, l := range s.order {
		if l.Campaign != id {
			continue
		}
		counts.Total++
		switch l.State {
		case campaign.Dialable:
			if !l.Due.After(now) {
				counts.DueNow++
				continue
			}
			counts.Later[l.Why]++
			if counts.NextDue.IsZero() || l.Due.Before(counts.NextDue) {
				counts.NextDue = l.Due
			}
		case campaign.Claimed:
			counts.Claimed++
		case campaign.Calling:
			counts.Calling++
		case campaign.Done:
			counts.Done++
			counts.DoneBy[l.Why]++
		}
	}
	return counts, nil
}

// DNCOf implements campaign.Store.
func (s *Store) DNCOf(_ context.Context, id dialer.CampaignID, numbers []dialer.Number) (map[dialer.Number]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := map[dialer.Number]string{}
	for _, n := range numbers {
		if name := s.onDNC(id, n); name != "" {
			found[n] = name
		}
	}
	return found, nil
}

// onDNC names the list that holds n, or returns "".
func (s *Store) onDNC(id dialer.CampaignID, n dialer.Number) string {
	switch {
	case s.dnc[dncEntry{number: n}]:
		return "global"
	case s.dnc[dncEntry{id, n}]:
		return "campaign"
	}
	return ""
}

// AddDNC implements campaign.Store.
func (s *Store) AddDNC(_ context.Context, id dialer.CampaignID, n dialer.Number, source string, now time.Time) error {
	if !n.Valid() {
		return dialer.Fieldf("number", "%q is not a number in E.164 form (+, then 7 to 15 digits)", n)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := dncEntry{id, n}
	if s.dnc[key] {
		return nil
	}
	s.dnc[key] = true
	scope := "campaign"
	if id == "" {
		scope = "global"
	}
	s.append(dialer.Event{At: now, Campaign: id, Fact: dialer.DNCChanged{To: n, Scope: scope, Added: true, Source: source}})
	return nil
}

// Leads returns every lead as it stands, in the order of adding.
func (s *Store) Leads() []campaign.Lead {
	s.mu.Lock()
	defer s.mu.Unlock()
	leads := make([]campaign.Lead, len(s.order))
	for i, l := range s.order {
		leads[i] = copyLead(l.Lead)
	}
	return leads
}

func copyLead(l campaign.Lead) campaign.Lead {
	l.Fields = maps.Clone(l.Fields)
	l.ByOutcome = maps.Clone(l.ByOutcome)
	l.Recent = slices.Clone(l.Recent)
	return l
}
