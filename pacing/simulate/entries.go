package simulate

import (
	"context"
	"math"
	"slices"
)

// Entries are every policy in every team and under every cap. When the scenario
// names no team but a list to finish or hours of talk to come to, a short trial
// finds the teams around the one that is enough. wrap, when not nil, is put around
// every policy, those of the trial among them.
func (s *Scenario) Entries(ctx context.Context, wrap func(Policy) Policy) ([]Entry, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	w, err := s.World()
	if err != nil {
		return nil, err
	}
	policies := make([]Policy, len(s.Policies))
	for i, name := range s.Policies {
		if policies[i], err = ParsePolicy(name); err != nil {
			return nil, err
		}
		if wrap != nil {
			policies[i] = wrap(policies[i])
		}
	}
	teams, caps := s.Teams, s.Caps
	if s.seeksTeam() {
		if teams, err = enough(ctx, w, policies, s.TalkHours); err != nil {
			return nil, err
		}
	}
	if len(teams) == 0 {
		teams = []int{w.Agents}
	}
	if len(caps) == 0 {
		caps = []float64{s.Cap}
	}
	var entries []Entry
	for _, agents := range teams {
		for _, limit := range caps {
			w := w
			w.Agents, w.Cap = agents, limit
			for _, p := range policies {
				entries = append(entries, Entry{World: w, Policy: p, Warm: s.Warm})
			}
		}
	}
	return entries, nil
}

// seeksTeam reports whether the scenario asks how many agents are enough.
func (s *Scenario) seeksTeam() bool {
	return s.Agents == 0 && len(s.Teams) == 0 && len(s.Shifts) == 0 && (s.Leads > 0 || s.TalkHours > 0)
}

// soughtTeams is how many teams are compared when one is sought.
const soughtTeams = 5

// sizeTeam is the team that a shift costs as much as at least: an hour has its
// seconds however few the agents are.
const sizeTeam = 10

// Size is what simulating the scenario costs, in hours of agents, ten of them at
// least in every shift.
func (s *Scenario) Size() float64 {
	agents := 0
	for _, n := range s.Teams {
		agents += n
	}
	switch w, _ := s.World(); {
	case agents > 0:
		agents = max(agents, sizeTeam*len(s.Teams))
	case s.seeksTeam():
		agents = soughtTeams * max(s.roughTeam(), sizeTeam)
	default:
		agents = max(w.Team(), sizeTeam)
	}
	runs := float64(max(len(s.Caps), 1) * len(s.Policies) * s.Seeds)
	if s.Warm {
		runs *= 2
	}
	return float64(agents) * s.Hours * runs
}

// roughTeam guesses from means how many agents are enough when all of them talk
// half of the time.
func (s *Scenario) roughTeam() int {
	n := s.TalkHours / (s.Hours / 2)
	n = max(n, float64(s.Leads)*s.AnswerRate*(s.Talk.Mean.Seconds()+1)/(s.Hours*1800))
	return int(min(math.Ceil(n), MostAgents))
}

// enough returns the teams around the least one that finishes the list or comes to
// the hours of talk within the shift: by the pace of short trials, the second one
// with about the team that the first has found, since large teams wait less.
func enough(ctx context.Context, w World, policies []Policy, talkHours float64) ([]int, error) {
	trial := w
	trial.Leads, trial.Hours, trial.Agents = 0, min(w.Hours, 1), defaultTeam
	need := 1.0
	for range 2 {
		best := 0.0 // done per agent and hour, as a share of what is to be done
		for _, p := range policies {
			r, err := (&Entry{World: trial, Policy: p, Warm: true}).run(ctx, trialSeed)
			if err != nil {
				return nil, err
			}
			if r.AbandonRate() > w.Cap && p.Name != "progressive" {
				continue
			}
			worked := (r.Talk + r.Wrap + r.Idle) / 3600
			pace := math.Inf(1)
			if w.Leads > 0 {
				pace = float64(r.Dialed) / worked / float64(w.Leads)
			}
			if talkHours > 0 {
				pace = min(pace, r.Talk/3600/worked/talkHours)
			}
			best = max(best, pace)
		}
		if best > 0 {
			need = 1 / (best * w.Hours)
		}
		trial.Agents = int(min(max(math.Round(need), 1), 100))
	}
	var teams []int
	for _, x := range [soughtTeams]float64{0.75, 0.9, 1, 1.1, 1.3} {
		teams = append(teams, int(min(max(math.Ceil(x*need), 1), MostAgents)))
	}
	return slices.Compact(teams), ctx.Err()
}

// trialSeed sets the trials apart from the seeds that are measured.
const trialSeed = 1 << 41
