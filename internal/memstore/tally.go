package memstore

import (
	"context"
	"maps"
	"time"

	"dialer"
	"dialer/campaign"
	"dialer/compliance"
)

// A tally is what AbandonTally was asked for last, kept up with each change of a
// call: a runner asks every few seconds, and a shift has hundreds of thousands.
type tally struct {
	since   time.Time
	byClass map[compliance.Class]int
}

func (t *tally) add(c campaign.Call, n int) {
	if c.Class != "" && !c.PlacedAt.Before(t.since) {
		t.byClass[c.Class] += n
	}
}

// keep takes a call in as it is now.
func (s *Store) keep(kept *call, c campaign.Call) {
	if t := s.tallies[c.Campaign]; t != nil {
		t.add(kept.Call, -1)
		t.add(c, 1)
	}
	kept.Call = c
}

// AbandonTally implements campaign.Store.
func (s *Store) AbandonTally(_ context.Context, id dialer.CampaignID, since time.Time) (compliance.Tally, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tallies[id]
	if t == nil || !t.since.Equal(since) {
		t = &tally{since, map[compliance.Class]int{}}
		for _, c := range s.placed {
			if c.Campaign == id {
				t.add(c.Call, 1)
			}
		}
		s.tallies[id] = t
	}
	return compliance.Tally{ByClass: maps.Clone(t.byClass)}, nil
}
