package memstore

import (
	"context"
	"slices"
	"time"

	"dialer"
	"dialer/campaign"
)

// SaveTape implements campaign.Store.
func (s *Store) SaveTape(_ context.Context, part campaign.TapePart) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.ContainsFunc(s.tapes, func(p campaign.TapePart) bool {
		return p.Campaign == part.Campaign && p.Began.Equal(part.Began) && p.Part == part.Part
	}) {
		part.Body = slices.Clone(part.Body)
		s.tapes = append(s.tapes, part)
	}
	return nil
}

// Tapes returns the parts of a campaign's tapes that are needed to replay what was
// decided at or after from and before to: of each tape from its first part on.
func (s *Store) Tapes(_ context.Context, id dialer.CampaignID, from, to time.Time) (parts []campaign.TapePart, _ error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.tapes {
		if p.Campaign == id && p.From.Before(to) && slices.ContainsFunc(s.tapes, func(o campaign.TapePart) bool {
			return o.Campaign == id && o.Began.Equal(p.Began) && o.To.After(from)
		}) {
			parts = append(parts, p)
		}
	}
	return parts, nil
}
