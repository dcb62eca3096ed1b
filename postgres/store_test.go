package postgres

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"dialer"
	"dialer/campaign"
	"dialer/internal/pgtest"
	"dialer/internal/storetest"
)

// suiteStore lets the suite set up and read a database.
type suiteStore struct {
	*DB
	t    *testing.T
	url  string
	stop func()
}

func startSuite(t *testing.T, url string) *suiteStore {
	t.Helper()
	db, err := Open(t.Context(), url, quiet(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Register(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- db.Run(ctx) }()
	s := &suiteStore{DB: db, t: t, url: url, stop: func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		db.Close()
	}}
	t.Cleanup(func() { s.stop() })
	return s
}

func (s *suiteStore) Restart() storetest.Store {
	s.stop()
	s.stop = func() {}
	return startSuite(s.t, s.url)
}

func (s *suiteStore) exec(query string, args ...any) {
	s.t.Helper()
	if _, err := s.pool.Exec(context.Background(), query, args...); err != nil {
		s.t.Fatal(err)
	}
}

func (s *suiteStore) AddCampaign(c campaign.Campaign) {
	settings, err := jsonText(c.Settings)
	if err != nil {
		s.t.Fatal(err)
	}
	s.exec(`INSERT INTO campaigns VALUES ($1, $2, $3, $4, $5, $6)`, c.ID, c.State, c.Version, c.CreatedAt, at(c.StartedAt), settings)
}

func (s *suiteStore) AddAgent(id dialer.AgentID) {
	s.exec(`INSERT INTO agents (id, name) VALUES ($1, 'test')`, id)
}

func (s *suiteStore) AddLeads(leads ...campaign.Lead) {
	var batch pgx.Batch
	for i, l := range leads {
		if i == 0 {
			batch.Queue(`INSERT INTO lists VALUES ($1, $2, 'test', $3) ON CONFLICT DO NOTHING`, l.List, l.Campaign, time.Now())
		}
		fields, err := jsonText(l.Fields)
		if err != nil {
			s.t.Fatal(err)
		}
		batch.Queue(`INSERT INTO leads (id, list_id, campaign_id, number, fields, priority, state, due) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			l.ID, l.List, l.Campaign, l.Number, fields, l.Priority, l.State, l.Due)
	}
	if err := s.pool.SendBatch(context.Background(), &batch).Close(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *suiteStore) Lead(id dialer.LeadID) campaign.Lead {
	s.t.Helper()
	l, err := s.GetLead(context.Background(), "", id)
	if err != nil {
		s.t.Fatal(err)
	}
	return l
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Store { return startSuite(t, pgtest.New(t)) })
}
