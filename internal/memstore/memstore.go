// Package memstore keeps campaigns, leads, calls and events in memory, for
// tests that run inside a testing/synctest bubble, where sockets may not enter.
// Nothing is kept when the process ends, so no user ever meets it; postgres is
// the store of the program. Both pass internal/storetest.
//
// Entry points: New, AddCampaign, AddLeads, then the methods of campaign.Store
// and dialer.EventLog. Restart plays a crash. Goroutines: none; every save is
// applied by its caller under one short lock.
package memstore

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"dialer"
	"dialer/campaign"
	"dialer/telephony"
)

var (
	_ campaign.Store  = (*Store)(nil)
	_ dialer.EventLog = (*Store)(nil)
)

// A Store is a campaign.Store and a dialer.EventLog in memory.
type Store struct {
	mu        sync.Mutex
	epoch     int
	campaigns map[dialer.CampaignID]*campaign.Campaign
	leads     map[dialer.LeadID]*lead
	order     []*lead // as added
	due       map[shelf]*dueLeads
	calls     map[dialer.CallID]*call
	placed    []*call // as placed
	openLead  map[dialer.LeadID]*call
	openTo    map[dialer.Number]*call
	openAgent map[dialer.AgentID]*call
	dnc       map[dncEntry]bool
	assets    map[string][]byte
	events    []dialer.Event
	grown     chan struct{} // closed when events were added
	dropped   []string
	ladders   []telephony.Ladder
	estimates map[dialer.CampaignID][]byte
	tallies   map[dialer.CampaignID]*tally
	tapes     []campaign.TapePart
}

type dncEntry struct {
	campaign dialer.CampaignID // empty: global
	number   dialer.Number
}

// New returns an empty store.
func New() *Store {
	return &Store{
		epoch:     1,
		campaigns: map[dialer.CampaignID]*campaign.Campaign{},
		leads:     map[dialer.LeadID]*lead{},
		due:       map[shelf]*dueLeads{},
		calls:     map[dialer.CallID]*call{},
		openLead:  map[dialer.LeadID]*call{},
		openTo:    map[dialer.Number]*call{},
		openAgent: map[dialer.AgentID]*call{},
		dnc:       map[dncEntry]bool{},
		assets:    map[string][]byte{},
		estimates: map[dialer.CampaignID][]byte{},
		tallies:   map[dialer.CampaignID]*tally{},
		grown:     make(chan struct{}),
	}
}

// AddCampaign adds or replaces a campaign as given.
func (s *Store) AddCampaign(c campaign.Campaign) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.campaigns[c.ID] = &c
}

// AddLeads adds leads. One without an id gets one, one without a state is
// Dialable.
func (s *Store) AddLeads(leads ...campaign.Lead) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range leads {
		if l.ID == "" {
			l.ID = dialer.NewLeadID()
		}
		if l.State == "" {
			l.State = campaign.Dialable
		}
		kept := &lead{Lead: copyLead(l)}
		s.leads[l.ID] = kept
		s.order = append(s.order, kept)
		s.shelve(kept)
	}
}

// AddAsset stores an audio file under its SHA-256.
func (s *Store) AddAsset(sha string, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.assets[sha] = slices.Clone(data)
}

// Asset implements campaign.Store.
func (s *Store) Asset(_ context.Context, sha string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	data, ok := s.assets[sha]
	if !ok {
		return nil, dialer.Errorf(dialer.NotFound, "no audio file has the SHA-256 %s: upload it first", sha)
	}
	return slices.Clone(data), nil
}

// Restart plays the death of the process and a new start: what was claimed or
// open belongs to an earlier run from now on, see SettleOrphans.
func (s *Store) Restart() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch++
}

// Calls returns every call in the order of placing.
func (s *Store) Calls() []campaign.Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls := make([]campaign.Call, len(s.placed))
	for i, c := range s.placed {
		calls[i] = c.Call
	}
	return calls
}

// GetCall returns one call.
func (s *Store) GetCall(_ context.Context, id dialer.CallID) (campaign.Call, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.calls[id]
	if !ok {
		return campaign.Call{}, dialer.Errorf(dialer.NotFound, "there is no call %s", id)
	}
	return c.Call, nil
}

// GetLead returns one lead.
func (s *Store) GetLead(_ context.Context, id dialer.LeadID) (campaign.Lead, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, ok := s.leads[id]
	if !ok {
		return campaign.Lead{}, dialer.Errorf(dialer.NotFound, "there is no lead %s", id)
	}
	return copyLead(l.Lead), nil
}

// GetCampaign returns one campaign.
func (s *Store) GetCampaign(_ context.Context, id dialer.CampaignID) (campaign.Campaign, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.campaigns[id]
	if !ok {
		return campaign.Campaign{}, dialer.Errorf(dialer.NotFound, "there is no campaign %s", id)
	}
	return *c, nil
}

// Dropped tells which saves were refused, and why: each is a fault of the
// caller, such as a version that did not grow.
func (s *Store) Dropped() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.dropped)
}

func (s *Store) drop(format string, args ...any) {
	s.dropped = append(s.dropped, fmt.Sprintf(format, args...))
}

// OpenCampaigns implements campaign.Store.
func (s *Store) OpenCampaigns(context.Context) ([]campaign.Campaign, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var open []campaign.Campaign
	for _, c := range s.campaigns {
		if c.State == campaign.Running || c.State == campaign.Paused {
			open = append(open, *c)
		}
	}
	slices.SortFunc(open, func(a, b campaign.Campaign) int {
		return cmp.Compare(a.ID, b.ID)
	})
	return open, nil
}

// SetCampaignState implements campaign.Store.
func (s *Store) SetCampaignState(_ context.Context, id dialer.CampaignID, from []campaign.State, to campaign.State, by, why string, now time.Time) (campaign.Campaign, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.campaigns[id]
	switch {
	case !ok:
		return campaign.Campaign{}, dialer.Errorf(dialer.NotFound, "there is no campaign %s", id)
	case !slices.Contains(from, c.State):
		return campaign.Campaign{}, dialer.Errorf(dialer.Conflict, "the campaign is %s and cannot become %s", c.State, to)
	}
	c.State = to
	c.Version++
	if to == campaign.Running && c.StartedAt.IsZero() {
		c.StartedAt = now
	}
	s.append(dialer.Event{At: now, Campaign: id, Fact: dialer.CampaignChanged{State: string(to), By: by, Why: why}})
	return *c, nil
}
