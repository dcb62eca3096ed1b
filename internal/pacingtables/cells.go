package main

import (
	"fmt"

	"dialer/pacing/simulate"
)

type table struct {
	title    string
	policies []string
	cells    []cell
}

// sizes are the shifts of a team: long for the small ones, of whom one says little.
var sizes = []struct {
	agents int
	hours  float64
	seeds  int
	goals  [4]float64 // by answer rate, in percent of occupancy at a cap of 3 %
}{
	{1, 8, 24, [4]float64{47.8, 63.5, 75.0, 84.5}},
	{3, 8, 16, [4]float64{61.4, 69.8, 77.5, 84.9}},
	{5, 8, 12, [4]float64{68.2, 73.9, 79.6, 85.7}},
	{10, 8, 8, [4]float64{77.6, 80.6, 83.1, 87.3}},
	{20, 8, 4, [4]float64{84.5, 86.3, 87.7, 90.2}},
	{50, 4, 4, [4]float64{91.1, 92.1, 92.6, 93.8}},
	{100, 2, 4, [4]float64{94.1, 94.5, 95.2, 95.7}},
	{200, 2, 2, [4]float64{96.2, 96.7, 97.0, 97.5}},
	{500, 1, 2, [4]float64{97.1, 97.6, 98.1, 98.3}},
}

var rates = [...]float64{0.1, 0.2, 0.35, 0.6}

// hour holds the goals of a first hour from a cold start, at 10, 20 and 35 %.
var hour = []struct {
	agents, seeds int
	goals         [3]float64
}{
	{3, 32, [3]float64{56.0, 65.9, 76.0}},
	{5, 32, [3]float64{65.3, 71.3, 77.7}},
	{10, 24, [3]float64{74.9, 78.8, 82.1}},
	{20, 16, [3]float64{83.2, 85.1, 87.1}},
	{50, 8, [3]float64{90.1, 91.1, 92.0}},
}

func tables() []table {
	both := []string{"progressive", "predictive"}
	base := table{title: "Occupancy (abandoned), %: cap 3 %, talk 120 s, wrap-up 15 s", policies: both}
	for _, s := range sizes {
		for i, p := range rates {
			base.cells = append(base.cells, cell{
				name:  fmt.Sprintf("base/%d/%g", s.agents, p),
				world: simulate.Base(s.agents, p, 120, s.hours), seeds: s.seeds, goal: s.goals[i],
			})
		}
	}
	cold := table{title: "One hour from a cold start", policies: []string{"strict", "predictive"}}
	warm := table{title: "One hour that begins with what the day before has taught", policies: []string{"strict", "predictive"}}
	for _, h := range hour {
		for i, goal := range h.goals {
			name := fmt.Sprintf("%d/%g", h.agents, rates[i])
			w := simulate.Base(h.agents, rates[i], 120, 1)
			cold.cells = append(cold.cells, cell{name: "cold/" + name, world: w, seeds: h.seeds, goal: goal})
			if h.agents <= 20 && rates[i] == 0.2 {
				warm.cells = append(warm.cells, cell{name: "warm/" + name, world: w, seeds: h.seeds, goal: goal, warm: true})
			}
		}
	}
	peers := table{
		title:    "Pacers beside one another, 20 % answered; power ratios stop at the allowance as in production",
		policies: []string{"power-1.5", "power-2", "power-3", "adaptive-hard", "adaptive-average", "adaptive-tapered", "predictive"},
	}
	for _, s := range sizes {
		if s.agents == 5 || s.agents == 20 || s.agents == 100 {
			peers.cells = append(peers.cells, cell{
				name:  fmt.Sprintf("peers/%d", s.agents),
				world: simulate.Base(s.agents, 0.2, 120, min(s.hours, 4)), seeds: s.seeds,
			})
		}
	}
	return []table{base, cold, warm, changing(both), caps(both), peers}
}

// changing are worlds in which what was learned does not hold, or not for all.
func changing(policies []string) table {
	t := table{title: "Changing worlds, cap 3 %", policies: policies}
	for _, c := range []struct {
		name   string
		change func(*simulate.World)
	}{
		{"halved", func(w *simulate.World) { w.Answer.Steps = []simulate.Step{{From: w.Hours * 1800, Share: 0.1}} }},
		{"doubled", func(w *simulate.World) { w.Answer.Steps = []simulate.Step{{From: w.Hours * 1800, Share: 0.4}} }},
		{"drift", func(w *simulate.World) { w.Answer.Drift = -0.5 }},
		{"lunch", func(w *simulate.World) {
			w.Away = []simulate.Away{{Share: 0.5, From: w.Hours * 1800, To: w.Hours*1800 + 2700}}
		}},
		{"no-amd", func(w *simulate.World) { w.Detect = nil }},
		{"errors-count", func(w *simulate.World) { w.CountFalsePositives = true }},
		{"mixed-talks", func(w *simulate.World) {
			w.Talk = simulate.Mixed{First: simulate.Lognormal{Mean: 30, CV: 1}, Share: 0.5, Second: simulate.Lognormal{Mean: 210, CV: 1}}
		}},
		{"slow-answers", func(w *simulate.World) { w.Ring = simulate.Gamma{Mean: 18, Shape: 8, Max: 25} }},
		{"two-lines", func(w *simulate.World) { w.LinesPerAgent = 2 }},
	} {
		for _, n := range []struct{ agents, seeds int }{{5, 8}, {20, 4}} {
			w := simulate.Base(n.agents, 0.2, 120, 8)
			c.change(&w)
			t.cells = append(t.cells, cell{name: fmt.Sprintf("worlds/%d/%s", n.agents, c.name), world: w, seeds: n.seeds})
		}
	}
	return t
}

func caps(policies []string) table {
	t := table{title: "Caps, 20 % answered", policies: []string{"strict", policies[len(policies)-1]}}
	for _, n := range []struct {
		agents, seeds int
		hours         float64
	}{{5, 8, 8}, {20, 4, 8}, {100, 2, 2}} {
		for _, limit := range []float64{0.01, 0.03, 0.05} {
			w := simulate.Base(n.agents, 0.2, 120, n.hours)
			w.Cap = limit
			t.cells = append(t.cells, cell{name: fmt.Sprintf("caps/%d/%g", n.agents, limit), world: w, seeds: n.seeds})
		}
	}
	return t
}
