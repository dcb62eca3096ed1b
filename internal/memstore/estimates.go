package memstore

import (
	"context"
	"slices"
	"time"

	"dialer"
)

// SaveEstimate implements campaign.Store.
func (s *Store) SaveEstimate(_ context.Context, id dialer.CampaignID, body []byte, _ time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.estimates[id] = slices.Clone(body)
	return nil
}

// Estimate implements campaign.Store.
func (s *Store) Estimate(_ context.Context, id dialer.CampaignID) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.estimates[id]), nil
}
