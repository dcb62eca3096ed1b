package simulate

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// A PastMove is an agent who goes from one state to another. The states are those
// of docs/states.md.
type PastMove struct {
	At       time.Time // in the zone in which the team works
	Agent    string
	From, To string
	// Other: it is about a call of another campaign.
	Other bool
}

// A PastTeam is what the moves of agents tell. Durations are seconds.
type PastTeam struct {
	Wraps  []float64
	Breaks int     // how many
	Rested float64 // in all of them
	Worked float64 // beside them
	// Start is the beginning of the day whose shifts are Turns, which count from it.
	Start time.Time
	Turns []Turn
}

// A break is a pause of this length between two times at work; what is shorter is
// a moment between two calls, what is longer is another part of the day.
const (
	shortestBreak = 20 * time.Second
	longestBreak  = 2 * time.Hour
	turnGrid      = 15 * time.Minute
)

// TeamOf reads the moves of agents, each agent's in order of time. The shifts are
// those of the day with the most work.
func TeamOf(moves []PastMove) PastTeam {
	var t PastTeam
	type spell struct {
		state  string
		since  time.Time
		paused time.Time // began a pause after work; zero: none
	}
	now := map[string]*spell{}
	type day struct {
		date  string
		agent string
	}
	type work struct {
		from, to time.Time
		busy     time.Duration
	}
	days := map[day]*work{}
	for _, m := range moves {
		s := now[m.Agent]
		if s == nil || s.state != m.From {
			now[m.Agent] = &spell{state: m.To, since: m.At} // what was before is not known
			continue
		}
		d := m.At.Sub(s.since)
		if working(s.state) && d >= 0 {
			t.Worked += d.Seconds()
			key := day{s.since.Format(time.DateOnly), m.Agent}
			if days[key] == nil {
				days[key] = &work{from: s.since}
			}
			days[key].to = m.At
			days[key].busy += d
			if s.state == "wrap_up" && !m.Other {
				t.Wraps = append(t.Wraps, d.Seconds())
			}
		}
		switch {
		case m.To == "not_ready" && working(s.state):
			s.paused = m.At
		case m.To == "logged_out":
			s.paused = time.Time{}
		case working(m.To) && !s.paused.IsZero():
			if rest := m.At.Sub(s.paused); rest >= shortestBreak && rest <= longestBreak {
				t.Breaks++
				t.Rested += rest.Seconds()
			}
			s.paused = time.Time{}
		}
		s.state, s.since = m.To, m.At
	}
	busy := map[string]time.Duration{}
	for key, w := range days {
		busy[key.date] += w.busy
	}
	best := ""
	for _, date := range slices.Sorted(maps.Keys(busy)) {
		if best == "" || busy[date] >= busy[best] {
			best = date
		}
	}
	byTurn := map[[2]time.Time]int{}
	for key, w := range days {
		if key.date != best || w.to.Sub(w.from) < turnGrid {
			continue
		}
		from := w.from.Truncate(turnGrid)
		to := w.to.Add(turnGrid - 1).Truncate(turnGrid)
		byTurn[[2]time.Time{from, to}]++
		if t.Start.IsZero() || from.Before(t.Start) {
			t.Start = from
		}
	}
	for times, n := range byTurn {
		t.Turns = append(t.Turns, Turn{Agents: n, From: Span(times[0].Sub(t.Start)), To: Span(times[1].Sub(t.Start))})
	}
	slices.SortFunc(t.Turns, func(a, b Turn) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To)) })
	return t
}

// working reports whether an agent in this state takes calls.
func working(state string) bool {
	return state == "ready" || state == "reserved" || state == "talking" || state == "wrap_up"
}
