package memstore

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"dialer"
	"dialer/campaign"
	"dialer/internal/storetest"
)

type store struct{ *Store }

func (store) Flush(context.Context) error { return nil }

func (s store) Lead(id dialer.LeadID) campaign.Lead {
	l, err := s.GetLead(context.Background(), id)
	if err != nil {
		panic(err)
	}
	return l
}

func (s store) Restart() storetest.Store {
	s.Store.Restart()
	return s
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Store { return store{New()} })
}

// TestBubble: waiting for events blocks durably, so a bubble's time goes on.
func TestBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New()
		go func() {
			time.Sleep(time.Hour)
			s.Record(dialer.Event{Fact: dialer.PacingDecided{}})
		}()
		if err := s.WaitEvents(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
	})
}
