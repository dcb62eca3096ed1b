package memstore

import (
	"context"
	"slices"
	"time"

	"dialer"
	"dialer/telephony"
)

// SaveLadders keeps ladders of calls that are over.
func (s *Store) SaveLadders(_ context.Context, parts []telephony.Ladder) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range parts {
		known := func(have telephony.Ladder) bool { return have.Call == l.Call && have.Start().Equal(l.Start()) }
		if !slices.ContainsFunc(s.ladders, known) {
			s.ladders = append(s.ladders, l)
		}
	}
	slices.SortStableFunc(s.ladders, func(a, b telephony.Ladder) int { return a.Start().Compare(b.Start()) })
	return nil
}

// Ladders returns the parts of a call's SIP ladder.
func (s *Store) Ladders(_ context.Context, call dialer.CallID) ([]telephony.Ladder, error) {
	return s.laddersOf([]dialer.CallID{call}), nil
}

// StationLadders returns the parts of the last calls to an agent's phone.
func (s *Store) StationLadders(_ context.Context, station string, limit int) ([]telephony.Ladder, error) {
	s.mu.Lock()
	var calls []dialer.CallID
	for _, l := range slices.Backward(s.ladders) {
		if l.Station == station && len(calls) < limit {
			calls = append(calls, l.Call)
		}
	}
	s.mu.Unlock()
	return s.laddersOf(calls), nil
}

func (s *Store) laddersOf(calls []dialer.CallID) (found []telephony.Ladder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.ladders {
		if slices.Contains(calls, l.Call) {
			found = append(found, l)
		}
	}
	return found
}

// PruneLadders forgets the ladders that began before a time.
func (s *Store) PruneLadders(_ context.Context, before time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ladders = slices.DeleteFunc(s.ladders, func(l telephony.Ladder) bool { return l.Start().Before(before) })
	return nil
}
