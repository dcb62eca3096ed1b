package simulation_test

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"dialer"
	"dialer/campaign"
	"dialer/internal/pgtest"
	"dialer/pacing/simulate"
	"dialer/postgres"
	"dialer/simulation"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// TestFromCampaign: a campaign's records in PostgreSQL, made from known laws, come
// to these laws, and the job of a campaign simulates with them.
func TestFromCampaign(t *testing.T) {
	url := pgtest.New(t)
	db, err := postgres.Open(t.Context(), url, slog.New(slog.DiscardHandler), postgres.AllowDataLoss())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	share := 0.02
	c, err := db.CreateCampaign(t.Context(), campaign.Settings{
		Name: "Spring", AMD: true, AbandonCap: &share, Zone: "America/New_York", ConnectDeadlineMS: 1500, RingTimeoutS: 20,
	}, "", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	other, err := db.CreateCampaign(t.Context(), campaign.Settings{Name: "Autumn"}, "", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	w := simulate.Base(4, 0.3, 60, 6)
	w.Ring, w.RingTimeout, w.Wrap, w.FalsePositive = simulate.Gamma{Mean: 8, Shape: 4, Max: 20}, 20, simulate.Lognormal{Mean: 25, CV: 0.6}, 0
	write(t, url, c.ID, &w, 4000)

	f, err := simulation.FromCampaign(t.Context(), db, c.ID)
	if err != nil {
		t.Fatal(err)
	}
	s := f.Scenario
	for _, x := range []struct {
		what          string
		got, want, by float64
	}{
		{"answer rate", s.AnswerRate, 0.3, 0.02}, {"machines", s.Machines, 0.45, 0.03}, {"busy", s.Busy, 0.05, 0.015},
		{"talk", s.Talk.Mean.Seconds(), 60, 4}, {"wrap", s.Wrap.Mean.Seconds(), 25, 1.5}, {"busy after", s.BusyAfter.Seconds(), 2, 0.01},
		{"cap", s.Cap, 0.02, 0}, {"window", s.Window.Seconds(), 1.5, 0}, {"ring timeout", s.RingTimeout.Seconds(), 20, 0}, {"hours", s.Hours, 6, 0},
	} {
		if math.Abs(x.got-x.want) > x.by {
			t.Errorf("%s is %.4g, want %.4g ± %.2g", x.what, x.got, x.want, x.by)
		}
	}
	// Nine o'clock in New York.
	if len(s.Shifts) != 1 || s.Shifts[0].Agents != 4 || !strings.Contains(f.Remarks["shifts"], "from 09:00 on") {
		t.Errorf("shifts %+v: %s", s.Shifts, f.Remarks["shifts"])
	}
	if !s.AMD || s.Ring.Law != "empirical" || f.Remarks["talk"] == "" {
		t.Errorf("%+v\n%+v", s, f.Remarks)
	}

	if err := db.Register(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	spring := queue(t, db, c.ID, `{"hours":0.1,"seeds":1,"policies":["progressive"],"talk":{"mean":"30s"}}`)
	autumn := queue(t, db, other.ID, `{}`)
	ctx, stop := context.WithCancel(t.Context())
	over := make(chan struct{})
	go func() {
		defer close(over)
		simulation.NewRunner(simulation.Config{Store: db, AtOnce: 1, Log: slog.New(slog.DiscardHandler)}).Run(ctx)
	}()
	if j := ended(t, db, spring); j.State != simulation.Done || j.Outcome.Scenario.Wrap.Mean != s.Wrap.Mean ||
		j.Outcome.Scenario.Talk.Mean != simulate.Secs(30) || j.Outcome.Remarks["wrap"] == "" || len(j.Outcome.Figures) != 1 {
		t.Errorf("of the campaign: %+v", j)
	}
	if j := ended(t, db, autumn); j.State != simulation.Failed || !strings.Contains(j.Outcome.Error, "0 of its calls have ended") {
		t.Errorf("of one that never dialed: %+v", j)
	}
	stop()
	<-over
}

func queue(t *testing.T, db *postgres.DB, of dialer.CampaignID, settings string) dialer.SimulationID {
	t.Helper()
	j := simulation.Job{ID: dialer.NewSimulationID(), Campaign: of, Settings: []byte(settings), CreatedAt: time.Now()}
	if err := db.CreateSimulation(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	return j.ID
}

// ended waits for the end of a job.
func ended(t *testing.T, db *postgres.DB, id dialer.SimulationID) simulation.Job {
	t.Helper()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for until := time.Now().Add(time.Minute); time.Now().Before(until); <-look.C {
		j, err := db.GetSimulation(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if !j.EndedAt.IsZero() {
			return j
		}
	}
	t.Fatalf("%s has not ended in a minute", id)
	return simulation.Job{}
}

// write writes the records of n calls and of a team of four, as they were last week.
func write(t *testing.T, url string, id dialer.CampaignID, w *simulate.World, n int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	zone, err := time.LoadLocation("America/New_York")
	if err != nil {
		t.Fatal(err)
	}
	day := time.Now().AddDate(0, 0, -3)
	start := time.Date(day.Year(), day.Month(), day.Day(), 9, 0, 0, 0, zone)
	after := func(from time.Time, s float64) time.Time { return from.Add(time.Duration(s * float64(time.Second))) }

	leads := simulate.NewLeads(w, 1)
	rows := make([][]any, n)
	for i := range rows {
		now := w.Hours * 3600 * float64(i) / float64(n)
		l, sent := leads.Call(uint64(i+1), now), after(start, now)
		ended := after(sent, l.Ring)
		var answered, decided, connected, agent any
		outcome, class, by := "no-answer", "no_answer", ""
		if l.Answers {
			answered, decided = ended, after(ended, l.Detect)
			ended = after(ended, l.Detect)
			outcome, class, by = "machine", "machine", "machine"
			if l.Live {
				connected, ended, agent = ended, after(ended, l.Talk), fmt.Sprintf("agt_%d", i%4)
				outcome, class, by = "connected", "connected", "person"
				if l.Machine {
					class, by = "machine", "machine"
				}
			}
		} else if l.Refused {
			outcome, class = "busy", "busy"
		}
		rows[i] = []any{dialer.NewCallID(), sent, 3, id, "lst_1", "led_1", agent, "predictive", "+12025550143", "+12025550100", 1, "ended", outcome, class, by,
			sent, answered, decided, connected, ended}
	}
	copyRows(t, conn, "calls", []string{"id", "placed_at", "version", "campaign_id", "list_id", "lead_id", "agent_id", "mode", "to_number", "from_number",
		"attempt", "state", "outcome", "class", "answered_by", "sent_at", "answered_at", "decided_at", "connected_at", "ended_at"}, rows)

	type move struct {
		at       time.Time
		agent    string
		from, to string
	}
	var moves []move
	r := rand.New(rand.NewPCG(1, 1))
	for a := range 5 { // the fifth works for others
		at, state := after(start, 20), "logged_out"
		next := func(to string, lasts float64) {
			moves = append(moves, move{at: at, agent: fmt.Sprintf("agt_%d", a), from: state, to: to})
			state, at = to, after(at, lasts)
		}
		next("not_ready", 30)
		for at.Before(after(start, w.Hours*3600-600)) {
			next("ready", 40)
			next("talking", 60)
			next("wrap_up", w.Wrap.Draw(r))
		}
		next("not_ready", 1)
		next("logged_out", 0)
	}
	rows = rows[:0]
	for _, m := range moves {
		rows = append(rows, []any{m.at, m.agent, "agent.state_changed", fmt.Sprintf(`{"from":%q,"to":%q}`, m.from, m.to)})
	}
	copyRows(t, conn, "events", []string{"at", "agent_id", "kind", "data"}, rows)
}

func copyRows(t *testing.T, conn *pgx.Conn, table string, columns []string, rows [][]any) {
	t.Helper()
	if _, err := conn.CopyFrom(t.Context(), pgx.Identifier{table}, columns, pgx.CopyFromRows(rows)); err != nil {
		t.Fatal(err)
	}
}
