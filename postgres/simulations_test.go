package postgres

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"dialer"
	"dialer/internal/pgtest"
	"dialer/pacing/simulate"
	"dialer/simulation"
)

// TestSimulations: each job is claimed by one node at a time, one whose process is
// gone by another or by the next start, and what was cancelled or taken away is
// nobody's who had it before.
func TestSimulations(t *testing.T) {
	url := pgtest.New(t)
	one := startSuite(t, url)
	two, err := Open(t.Context(), url, quiet(t))
	check(t, err)
	defer two.Close()
	check(t, two.Register(t.Context(), 2))
	campaign, _ := aList(t, one.DB)

	ids := []dialer.SimulationID{dialer.NewSimulationID(), dialer.NewSimulationID(), dialer.NewSimulationID()}
	slices.Sort(ids) // of one millisecond they may be in any order
	for i := range ids {
		j := simulation.Job{ID: ids[i], By: "ann", Settings: []byte(fmt.Sprintf(`{"seeds": %d}`, i+1)), CreatedAt: noon}
		if i == 1 {
			j.Campaign = campaign
		}
		check(t, one.CreateSimulation(t.Context(), j))
	}
	if err := one.CreateSimulation(t.Context(), simulation.Job{ID: dialer.NewSimulationID(), Campaign: "cmp_none", Settings: []byte(`{}`), CreatedAt: noon}); dialer.CodeOf(err) != dialer.NotFound {
		t.Errorf("of no campaign: %v", err)
	}
	claim := func(db *DB, want dialer.SimulationID, tries int) {
		t.Helper()
		j, err := db.ClaimSimulation(t.Context())
		check(t, err)
		switch {
		case want == "" && j != nil:
			t.Fatalf("claimed %+v", j)
		case want != "" && (j == nil || j.ID != want || j.State != simulation.Running || j.Tries != tries || j.StartedAt.IsZero()):
			t.Fatalf("claimed %+v, want %s at try %d", j, want, tries)
		}
	}
	beat := func(db *DB, id dialer.SimulationID, want bool) {
		t.Helper()
		ours, err := db.BeatSimulation(t.Context(), id, 0.25)
		check(t, err)
		if ours != want {
			t.Errorf("the job is this process's: %v", ours)
		}
	}
	claim(one.DB, ids[0], 1)
	claim(two, ids[1], 1)
	beat(one.DB, ids[0], true)
	beat(two, ids[0], false)
	j, err := one.GetSimulation(t.Context(), ids[1])
	check(t, err)
	if j.Campaign != campaign || string(j.Settings) != `{"seeds": 2}` || j.By != "ann" || !j.CreatedAt.Equal(noon) {
		t.Errorf("read back as %+v", j)
	}

	// The process dies: the next in its place begins its job anew, at once.
	one = one.Restart().(*suiteStore)
	claim(one.DB, ids[0], 2)
	// A node stays silent for more than a minute: another one takes its job.
	claim(one.DB, ids[2], 1)
	claim(one.DB, "", 0)
	one.exec(`UPDATE simulations SET beat_at = now() - interval '61 s' WHERE id = $1`, ids[1])
	claim(one.DB, ids[1], 2)
	beat(two, ids[1], false)
	check(t, two.EndSimulation(t.Context(), ids[1], simulation.Failed, simulation.Outcome{Error: "late"}))

	s := simulate.DefaultScenario()
	out := simulation.Outcome{Scenario: &s, Figures: []simulate.Figures{{Policy: "predictive", Agents: 5}}, Advice: []string{"5 agents …"}}
	check(t, one.EndSimulation(t.Context(), ids[1], simulation.Done, out))
	j, err = one.GetSimulation(t.Context(), ids[1])
	check(t, err)
	if j.State != simulation.Done || j.Progress != 1 || j.EndedAt.IsZero() || len(j.Outcome.Figures) != 1 || j.Outcome.Scenario.Talk.Mean != s.Talk.Mean {
		t.Errorf("done: %+v", j)
	}
	check(t, one.CancelSimulation(t.Context(), ids[2], time.Now()))
	check(t, one.CancelSimulation(t.Context(), ids[2], time.Now()))
	beat(one.DB, ids[2], false)
	check(t, one.EndSimulation(t.Context(), ids[2], simulation.Done, out))
	if j, _ = one.GetSimulation(t.Context(), ids[2]); j.State != simulation.Cancelled || len(j.Outcome.Figures) > 0 {
		t.Errorf("cancelled: %+v", j)
	}
	if err := one.CancelSimulation(t.Context(), ids[1], time.Now()); dialer.CodeOf(err) != dialer.Conflict {
		t.Errorf("cancelling what is done: %v", err)
	}
	if err := one.CancelSimulation(t.Context(), "sim_none", time.Now()); dialer.CodeOf(err) != dialer.NotFound {
		t.Errorf("cancelling nothing: %v", err)
	}
	page, err := one.ListSimulations(t.Context(), "", 2)
	check(t, err)
	rest, err := one.ListSimulations(t.Context(), page[1].ID, 2)
	check(t, err)
	if page[0].ID != ids[2] || len(rest) != 1 || rest[0].ID != ids[0] {
		t.Errorf("pages %+v, %+v", page, rest)
	}

	// What ended 30 days ago is forgotten; what runs is not, however old.
	one.exec(`UPDATE simulations SET ended_at = now() - interval '31 days' WHERE id = $1`, ids[1])
	one.exec(`UPDATE simulations SET created_at = now() - interval '90 days', started_at = now() - interval '90 days' WHERE id = $1`, ids[0])
	if !one.housekeeping(t.Context()) {
		t.Error("no housekeeping")
	}
	if page, err = one.ListSimulations(t.Context(), "", 10); err != nil || len(page) != 2 || page[0].ID != ids[2] || page[1].ID != ids[0] {
		t.Errorf("kept: %+v, %v", page, err)
	}

	// Too many may not wait.
	one.exec(`INSERT INTO simulations (id, state, created_by, settings, created_at) SELECT 'sim_' || n, 'queued', 'x', '{}', now() FROM generate_series(1, 100) n`)
	if err := one.CreateSimulation(t.Context(), simulation.Job{ID: dialer.NewSimulationID(), Settings: []byte(`{}`), CreatedAt: noon}); dialer.CodeOf(err) != dialer.Unavailable {
		t.Errorf("the 101st: %v", err)
	}
}
