package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"

	"dialer"
	"dialer/pacing/simulate"
	"dialer/simulation"
)

// SimulationSettings ask for a simulation: a scenario, of which everything has a
// default. Times are text, such as 90s, 45m or 1h30m.
type SimulationSettings struct {
	Campaign dialer.CampaignID `json:"from_campaign,omitempty" maxLength:"40" doc:"Begin with the laws, the team and the shift of this campaign, by its records; what the body says comes before it"`
	simulate.Scenario
}

// TransformSchema is called by huma.
func (*SimulationSettings) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	s.Required = nil
	return s
}

// SimulationView is a simulation that was asked for.
type SimulationView struct {
	ID        dialer.SimulationID `json:"id"`
	State     simulation.State    `json:"state" enum:"queued,running,done,failed,cancelled"`
	Progress  float64             `json:"progress" doc:"0 to 1"`
	CreatedAt time.Time           `json:"created_at"`
	CreatedBy string              `json:"created_by"`
	StartedAt *time.Time          `json:"started_at,omitempty"`
	EndedAt   *time.Time          `json:"ended_at,omitempty"`
	Campaign  dialer.CampaignID   `json:"from_campaign,omitempty"`
	Scenario  *SimulationScenario `json:"scenario,omitempty" doc:"What is simulated, with defaults; of a campaign once its records are read"`
	Remarks   map[string]string   `json:"remarks,omitempty" doc:"How each setting was found in the campaign's records"`
	Result    []simulate.Figures  `json:"result,omitempty" doc:"One object a policy, team and cap, as dialer simulate --json prints them"`
	Advice    []string            `json:"advice,omitempty" doc:"What follows, in sentences: how many agents, which cap, when finished"`
	Error     string              `json:"error,omitempty" doc:"Why it failed"`
}

// SimulationScenario is a scenario as it was simulated.
type SimulationScenario simulate.Scenario

// TransformSchema is called by huma.
func (*SimulationScenario) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	s.Required = nil
	return s
}

func viewSimulation(j simulation.Job) SimulationView {
	return SimulationView{
		ID: j.ID, State: j.State, Progress: j.Progress, CreatedAt: j.CreatedAt.UTC().Truncate(time.Millisecond), CreatedBy: j.By,
		StartedAt: stamp(j.StartedAt), EndedAt: stamp(j.EndedAt), Campaign: j.Campaign,
		Scenario: (*SimulationScenario)(j.Outcome.Scenario), Remarks: j.Outcome.Remarks,
		Result: j.Outcome.Figures, Advice: j.Outcome.Advice, Error: j.Outcome.Error,
	}
}

type SimulationPath struct {
	ID dialer.SimulationID `path:"id" maxLength:"40"`
}

func (s *Server) routeSimulations() {
	tags := []string{"simulations"}
	route(s, huma.Operation{
		OperationID: "create-simulation", Method: http.MethodPost, Path: "/v1/simulations", DefaultStatus: http.StatusAccepted,
		Summary: "Simulate shifts", Tags: tags,
		Description: "Virtual shifts that the pacers of production decide: how many agents, which cap, when finished? It is run in the background, " +
			"one at a time, with half a processor at most; ask for it again until its state is done, failed or cancelled. The same settings give the " +
			"same figures. The largest is 100,000 hours of agents (agents × hours × seeds × policies × teams × caps, ten agents a shift at least). " +
			"Results are kept for 30 days. The body is a scenario of docs/pacing.md as JSON.",
	}, s.createSimulation)
	route(s, huma.Operation{
		OperationID: "list-simulations", Method: http.MethodGet, Path: "/v1/simulations", Summary: "List simulations, the newest first", Tags: tags,
	}, func(ctx context.Context, in *struct{ Paging }) (*bodyOf[Page[SimulationView]], error) {
		return page(s, []string{"simulations"}, in.Paging, func(after string, limit int) ([]simulation.Job, error) {
			return s.store.ListSimulations(ctx, dialer.SimulationID(after), limit)
		}, func(j simulation.Job) string { return string(j.ID) }, viewSimulation)
	})
	route(s, huma.Operation{
		OperationID: "get-simulation", Method: http.MethodGet, Path: "/v1/simulations/{id}", Summary: "Get a simulation and what came of it", Tags: tags,
	}, func(ctx context.Context, in *SimulationPath) (*bodyOf[SimulationView], error) {
		j, err := s.store.GetSimulation(ctx, in.ID)
		if err != nil {
			return nil, err
		}
		return &bodyOf[SimulationView]{viewSimulation(j)}, nil
	})
	route(s, huma.Operation{
		OperationID: "cancel-simulation", Method: http.MethodDelete, Path: "/v1/simulations/{id}", DefaultStatus: http.StatusNoContent,
		Summary: "Cancel a simulation", Tags: tags, Description: "It stops within seconds and is kept as cancelled. One that has ended is a conflict.",
	}, func(ctx context.Context, in *SimulationPath) (*struct{}, error) {
		return nil, s.store.CancelSimulation(ctx, in.ID, s.now())
	})
}

// accepted is what is worked on and will be at its Location.
type accepted[T any] struct {
	Location string `header:"Location"`
	Body     T
}

func (s *Server) createSimulation(ctx context.Context, in *struct {
	Body    SimulationSettings
	RawBody []byte
}) (*accepted[SimulationView], error) {
	asked := SimulationSettings{Scenario: simulate.DefaultScenario()}
	if err := strict(in.RawBody, &asked); err != nil {
		return nil, dialer.Errorf(dialer.Invalid, "%s", err)
	}
	j := simulation.Job{
		ID: dialer.NewSimulationID(), State: simulation.Queued, By: callerOf(ctx).name(), CreatedAt: s.now(), Campaign: asked.Campaign,
	}
	// Of a campaign nobody knows the shift yet: its size is looked at again later.
	if err := mistakes(simulation.Check(&asked.Scenario)); err != nil {
		return nil, err
	}
	if j.Campaign == "" {
		j.Outcome.Scenario = &asked.Scenario
	} else if _, err := s.store.GetCampaign(ctx, j.Campaign); err != nil {
		return nil, fieldError("/from_campaign", invalid(err))
	}
	var settings map[string]any
	if err := json.Unmarshal(in.RawBody, &settings); err != nil {
		return nil, dialer.Errorf(dialer.Invalid, "%s", err)
	}
	delete(settings, "from_campaign")
	var err error
	if j.Settings, err = json.Marshal(settings); err != nil {
		return nil, err
	}
	if err := s.store.CreateSimulation(ctx, j); err != nil {
		return nil, err
	}
	return &accepted[SimulationView]{Location: "/v1/simulations/" + string(j.ID), Body: viewSimulation(j)}, nil
}

// invalid makes a refusal one about the request: what it names is not there.
func invalid(err error) error {
	if dialer.CodeOf(err) != dialer.NotFound {
		return err
	}
	return dialer.Errorf(dialer.Invalid, "%s", err)
}
