package memstore

import (
	"context"
	"time"

	"dialer"
	"dialer/campaign"
	"dialer/compliance"
)

// DetectorCounts implements campaign.Store.
func (s *Store) DetectorCounts(_ context.Context, id dialer.CampaignID, from, to time.Time, sampled bool) ([]compliance.DetectorCount, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := map[compliance.DetectorCount]int{}
	for _, c := range s.placed {
		n, ok := campaign.CountOf(c.Call)
		drawn := c.Heard.Agent != nil || c.Heard.Kept != ""
		if ok && c.Campaign == id && !c.PlacedAt.Before(from) && (to.IsZero() || c.PlacedAt.Before(to)) && (drawn || !sampled) {
			counts[n]++
		}
	}
	var all []compliance.DetectorCount
	for n, calls := range counts {
		n.Calls = calls
		all = append(all, n)
	}
	return all, nil
}

// LabelCall saves what somebody who heard the seconds of a call says.
func (s *Store) LabelCall(_ context.Context, id dialer.CallID, label, by string, now time.Time) (campaign.Call, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.calls[id]
	if kept == nil {
		return campaign.Call{}, dialer.Errorf(dialer.NotFound, "there is no call %s", id)
	}
	c, facts, err := campaign.Labelled(kept.Call, label, by, now)
	if err != nil {
		return campaign.Call{}, err
	}
	kept.Call = c
	s.appendFacts(c, now, facts)
	return c, nil
}
