package api

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"dialer"
	"dialer/campaign"
	"dialer/pacing/simulate"
	"dialer/simulation"
)

func (m *memory) CreateSimulation(_ context.Context, j simulation.Job) error {
	return put(m, m.jobs, j.ID, j)
}

func (m *memory) GetSimulation(_ context.Context, id dialer.SimulationID) (simulation.Job, error) {
	return find(m, m.jobs, id)
}

func (m *memory) ListSimulations(_ context.Context, after dialer.SimulationID, limit int) ([]simulation.Job, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []simulation.Job
	for _, id := range slices.Backward(slices.Sorted(maps.Keys(m.jobs))) {
		if (after == "" || id < after) && len(out) < limit {
			out = append(out, m.jobs[id])
		}
	}
	return out, nil
}

func (m *memory) CancelSimulation(ctx context.Context, id dialer.SimulationID, now time.Time) error {
	j, err := m.GetSimulation(ctx, id)
	switch {
	case err != nil:
		return err
	case j.State == simulation.Done:
		return dialer.Errorf(dialer.Conflict, "the simulation is done: there is nothing to cancel")
	}
	j.State, j.EndedAt = simulation.Cancelled, now
	return put(m, m.jobs, id, j)
}

// TestSimulations: a manager asks, everybody on the staff looks, and what cannot be
// simulated is refused with its place.
func TestSimulations(t *testing.T) {
	h := open(t)
	const as, path = dialer.RoleManager, "/v1/simulations"
	c, err := h.db.CreateCampaign(t.Context(), campaign.Settings{Name: "Spring"}, "", time.Now())
	if err != nil {
		t.Fatal(err)
	}

	r := h.want(202, as, http.MethodPost, path, `{"agents":8,"talk":{"mean":"90s"},"caps":[0.01,0.03],"machines":0}`, "Idempotency-Key", "one")
	made := into[SimulationView](h, r)
	if r.Header.Get("Location") != path+"/"+string(made.ID) || made.State != simulation.Queued || made.CreatedBy == "" {
		t.Errorf("accepted at %q: %s", r.Header.Get("Location"), r.body)
	}
	if s := made.Scenario; s == nil || s.Agents != 8 || s.Talk.Mean != simulate.Secs(90) || s.Talk.Law != "lognormal" || s.Hours != 8 || s.Machines != 0 {
		t.Errorf("it will simulate %s", r.body)
	}
	if again := h.want(202, as, http.MethodPost, path, `{"agents":8,"talk":{"mean":"90s"},"caps":[0.01,0.03],"machines":0}`, "Idempotency-Key", "one"); string(again.body) != string(r.body) {
		t.Error("the same request made another simulation")
	}
	of := into[SimulationView](h, h.want(202, as, http.MethodPost, path, fmt.Sprintf(`{"from_campaign":%q,"seeds":2}`, c.ID)))
	if of.Campaign != c.ID || of.Scenario != nil {
		t.Errorf("of a campaign: %+v", of)
	}
	stored, err := h.db.GetSimulation(t.Context(), of.ID)
	if err != nil || string(stored.Settings) != `{"seeds":2}` {
		t.Errorf("%v: stored %s", err, stored.Settings)
	}
	h.want(202, as, http.MethodPost, path, `{}`)
	h.want(403, dialer.RoleSupervisor, http.MethodPost, path, `{}`)
	h.want(403, dialer.RoleAgent, http.MethodGet, path, nil)

	for body, places := range map[string][]string{
		`{"agents":-1}`:             {"body.agents"},
		`{"agents":6000,"hours":0}`: {"body.agents", "body.hours"},
		`{"answer_rate":1.5,"policies":["progressive","fast"],"away":[{"share":0.5,"from":"2h","to":"1h"}]}`: {"body.answer_rate", "body.policies.1", "body.away.0.to"},
		`{"ring":{"law":"gama"}}`:                        {"body.ring.law"},
		`{"wrap":{"law":"empirical","quantiles":["x"]}}`: {"body.wrap.quantiles.0"},
		`{"agents":500,"seeds":100}`:                     {"body.seeds"}, // too large
		`{"from_campaign":"cmp_none"}`:                   {"body.from_campaign"},
		`{"agent":5}`:                                    {"body.agent"},
	} {
		p := h.problem(h.want(422, as, http.MethodPost, path, body))
		var got []string
		for _, e := range p.Errors {
			got = append(got, e.Location)
		}
		slices.Sort(got)
		slices.Sort(places)
		if !slices.Equal(got, places) {
			t.Errorf("%s: mistakes at %q, not %q: %s", body, got, places, p.Detail)
		}
	}
	if p := h.problem(h.want(422, as, http.MethodPost, path, `{"agents":500,"seeds":100}`)); !strings.Contains(p.Detail, "the most is 100000") {
		t.Errorf("too large a simulation is told %q", p.Detail)
	}

	list := into[Page[SimulationView]](h, h.want(200, dialer.RoleCompliance, http.MethodGet, path+"?limit=2", nil))
	rest := into[Page[SimulationView]](h, h.want(200, dialer.RoleSupervisor, http.MethodGet, path+"?limit=2&cursor="+list.NextCursor, nil))
	var listed []dialer.SimulationID
	for _, v := range append(list.Items, rest.Items...) {
		listed = append(listed, v.ID)
	}
	if len(list.Items) != 2 || len(listed) != 3 || rest.NextCursor != "" || !slices.Contains(listed, made.ID) || !slices.IsSortedFunc(listed, func(a, b dialer.SimulationID) int { return strings.Compare(string(b), string(a)) }) {
		t.Errorf("pages of %q", listed)
	}
	one := path + "/" + string(made.ID)
	h.want(403, dialer.RoleSupervisor, http.MethodDelete, one, nil)
	h.want(204, as, http.MethodDelete, one, nil)
	if v := into[SimulationView](h, h.want(200, as, http.MethodGet, one, nil)); v.State != simulation.Cancelled || v.EndedAt == nil {
		t.Errorf("cancelled: %+v", v)
	}
	h.want(404, as, http.MethodGet, path+"/sim_none", nil)
	h.want(404, as, http.MethodDelete, path+"/sim_none", nil)

	// What came of it reads as the lines of dialer simulate --json.
	done := stored
	done.State, done.Progress = simulation.Done, 1
	done.Outcome = simulation.Outcome{Figures: []simulate.Figures{{Policy: "predictive", Agents: 8, Seeds: 2}}, Advice: []string{"8 agents …"}}
	put(h.db, h.db.jobs, done.ID, done)
	var v struct {
		Result []json.RawMessage `json:"result"`
		Advice []string          `json:"advice"`
	}
	if err := json.Unmarshal(h.want(200, as, http.MethodGet, path+"/"+string(done.ID), nil).body, &v); err != nil {
		t.Fatal(err)
	}
	if line, _ := json.Marshal(done.Outcome.Figures[0]); len(v.Result) != 1 || string(v.Result[0]) != string(line) || len(v.Advice) != 1 {
		t.Errorf("result %s", v.Result)
	}
	h.want(409, as, http.MethodDelete, path+"/"+string(done.ID), nil)
}
