// Package simulation runs virtual shifts in the background of a dialer and finds
// the laws of past campaigns. Jobs are kept by a Store, so that one whose process
// died is run again by the next; with the same seeds it comes to the same figures.
//
// What a shift is, and who decides in it, is pacing/simulate.
//
// Entry points: Job, Runner.Run, FromCampaign. Goroutines: Run owns one for each
// simulation under way.
package simulation

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	goexp "github.com/go-json-experiment/json"

	"dialer"
	"dialer/pacing/simulate"
)

// A State is where a job is.
type State string

// The states. The last three are ends.
const (
	Queued    State = "queued"
	Running   State = "running"
	Done      State = "done"
	Failed    State = "failed"
	Cancelled State = "cancelled"
)

// A Job is a simulation that was asked for.
type Job struct {
	ID       dialer.SimulationID
	State    State
	Progress float64 // 0 to 1
	By       string
	// Campaign whose laws it begins with; empty: the defaults.
	Campaign dialer.CampaignID
	// Settings are the scenario as it was asked for, as JSON: what is absent is as
	// the campaign has it, or the default.
	Settings                      json.RawMessage
	CreatedAt, StartedAt, EndedAt time.Time
	// Tries counts the processes that have begun it.
	Tries   int
	Outcome Outcome
}

// An Outcome is what came of a job.
type Outcome struct {
	// Scenario is what was simulated, with all defaults.
	Scenario *simulate.Scenario `json:"scenario,omitempty"`
	// Remarks say how each setting was found in the campaign's records.
	Remarks map[string]string  `json:"remarks,omitempty"`
	Figures []simulate.Figures `json:"figures,omitempty"`
	Advice  []string           `json:"advice,omitempty"`
	Error   string             `json:"error,omitempty"`
}

// MostHours is the largest simulation: hours of agents, over all policies, seeds,
// teams and caps. It takes up to an hour of half a processor.
const MostHours = 100_000

// Check returns every mistake of a scenario as *dialer.Error, and that it is too
// large as one.
func Check(s *simulate.Scenario) []*dialer.Error {
	var found []*dialer.Error
	for _, f := range simulate.Faults(s.Validate()) {
		found = append(found, dialer.Fieldf(pointer(f.Field), "%s", f.Err))
	}
	if len(found) > 0 {
		return found
	}
	if size := s.Size(); size > MostHours {
		found = append(found, dialer.Fieldf("/seeds", "%.0f hours of agents (agents × hours × seeds × policies × teams × caps; at least ten agents a shift) are too much "+
			"beside calls: the most is %d. Take fewer of them, or run dialer simulate on another machine", size, MostHours))
	}
	return found
}

// pointer writes the field of a Fault, away[0].to, as a JSON pointer.
func pointer(field string) string {
	if field == "" {
		return ""
	}
	return "/" + strings.NewReplacer(".", "/", "[", "/", "]", "").Replace(field)
}

// Over lays settings, as JSON, over a scenario.
func Over(s simulate.Scenario, settings []byte) (simulate.Scenario, error) {
	if err := goexp.Unmarshal(settings, &s); err != nil {
		return s, fmt.Errorf("reading the settings of a simulation: %w", err)
	}
	return s, nil
}

// A Store keeps jobs.
type Store interface {
	// CreateSimulation queues a job; one too many is an Unavailable.
	CreateSimulation(ctx context.Context, j Job) error
	// ClaimSimulation takes the oldest job that is queued, or whose process is
	// gone, for this process; nil when there is none.
	ClaimSimulation(ctx context.Context) (*Job, error)
	// BeatSimulation saves the progress of a job that this process has claimed and
	// keeps it from others for a minute. It reports false when the job is not
	// this process's any more: cancelled, or taken by another.
	BeatSimulation(ctx context.Context, id dialer.SimulationID, progress float64) (bool, error)
	// EndSimulation saves what came of a job, unless it is not this process's.
	EndSimulation(ctx context.Context, id dialer.SimulationID, to State, o Outcome) error
	PastStore
}
