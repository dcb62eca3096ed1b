package memstore

import (
	"context"
	"slices"
	"time"

	"dialer"
	"dialer/campaign"
)

// Events returns the whole log.
func (s *Store) Events() []dialer.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}

// ReadEvents implements dialer.EventLog.
func (s *Store) ReadEvents(_ context.Context, after int64, limit int) ([]dialer.Event, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rest := s.events[min(max(after, 0), int64(len(s.events))):]
	return slices.Clone(rest[:min(limit, len(rest))]), nil
}

// WaitEvents implements dialer.EventLog.
func (s *Store) WaitEvents(ctx context.Context, after int64) error {
	for {
		s.mu.Lock()
		last, grown := int64(len(s.events)), s.grown
		s.mu.Unlock()
		if last > after {
			return nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Record implements campaign.Store.
func (s *Store) Record(events ...dialer.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.append(events...)
}

// append adds events under the lock; their seq is their place, from 1.
func (s *Store) append(events ...dialer.Event) {
	if len(events) == 0 {
		return
	}
	for _, e := range events {
		if e.At.IsZero() {
			e.At = time.Now()
		}
		e.At = e.At.UTC().Truncate(time.Millisecond)
		e.Seq = int64(len(s.events)) + 1
		s.events = append(s.events, e)
	}
	close(s.grown)
	s.grown = make(chan struct{})
}

// appendFacts adds facts about a call.
func (s *Store) appendFacts(c campaign.Call, at time.Time, facts []dialer.Fact) {
	events := make([]dialer.Event, len(facts))
	for i, f := range facts {
		events[i] = dialer.Event{At: at, Campaign: c.Campaign, Lead: c.Lead, Call: c.ID, Agent: c.Agent, Fact: f}
	}
	s.append(events...)
}
