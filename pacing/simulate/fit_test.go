package simulate

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// pastOf is what a dialer would have recorded of n calls in a world, made evenly
// over the hours from ten o'clock on.
func pastOf(w World, n int) Past {
	p := Past{Cap: w.Cap, Window: w.Window, RingTimeout: w.RingTimeout, AMD: w.Detect != nil}
	leads := NewLeads(&w, 1)
	start := time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC)
	for i := range n {
		now := w.length() * float64(i) / float64(n)
		l := leads.Call(uint64(i+1), now)
		c := PastCall{At: start.Add(time.Duration(now * float64(time.Second))), Ring: l.Ring, Greeting: -1, Detect: -1, Talk: -1}
		switch {
		case l.Answers:
			c.End, c.Detect = PastMachine, l.Detect
			if l.Person {
				c.End, c.Greeting = PastPerson, l.Greeting
			}
			if l.Live {
				c.Talk = l.Talk
			}
		case l.Refused:
			c.End = PastRefused
		}
		p.Calls = append(p.Calls, c)
	}
	return p
}

// moves are those of a team in three days: eight hours from ten o'clock on, four of
// ten agents from noon to four only, a rest of five minutes after fifty at work.
func moves(wrap Law) []PastMove {
	var all []PastMove
	r := rand.New(rand.NewPCG(1, 2))
	for day := range 3 {
		for a := range 10 {
			name := fmt.Sprint("agent ", a)
			at := time.Date(2026, 3, 2+day, 10, 1, 0, 0, time.UTC)
			end := at.Add(8*time.Hour - 3*time.Minute)
			if a >= 6 {
				at, end = at.Add(2*time.Hour), at.Add(6*time.Hour-3*time.Minute)
			}
			state := "logged_out"
			move := func(to string, lasts float64) {
				all = append(all, PastMove{At: at, Agent: name, From: state, To: to})
				state, at = to, at.Add(time.Duration(lasts*float64(time.Second)))
			}
			move("not_ready", 60)
			rested := at
			for at.Before(end) {
				move("ready", 30)
				move("talking", 60)
				move("wrap_up", wrap.Draw(r))
				if at.Sub(rested) > 50*time.Minute {
					move("not_ready", 300)
					rested = at
				}
			}
			move("not_ready", 5)
			move("logged_out", 0)
		}
	}
	return all
}

// TestFit: the laws that are found in the records of a campaign are those that it
// was simulated with.
func TestFit(t *testing.T) {
	w := Base(10, 0.25, 90, 8)
	w.Answer.Steps = []Step{{0, 0.3}, {4 * 3600, 0.2}}
	w.Ring, w.MachineRing = Gamma{9, 4, 22}, Gamma{15, 6, 22}
	w.RingTimeout, w.Wrap, w.FalsePositive, w.FalseNegative, w.Cap = 22, Lognormal{20, 0.5}, 0, 0.1, 0.02
	p := pastOf(w, 20_000)
	p.Team = TeamOf(moves(w.Wrap))
	f, err := Fit(p)
	if err != nil {
		t.Fatal(err)
	}
	s := &f.Scenario
	got, err := s.World()
	if err != nil {
		t.Fatal(err)
	}
	near := func(what string, got, want, by float64) {
		t.Helper()
		if math.Abs(got-want) > by {
			t.Errorf("%s is %.4g, want %.4g ± %.2g", what, got, want, by)
		}
	}
	near("answer rate", s.AnswerRate, 0.25, 0.01)
	near("of the first hour", got.Answer.at(60, got.length()), 0.3, 0.03)
	near("of the last hour", got.Answer.at(7.9*3600, got.length()), 0.2, 0.03)
	// Machines that would have answered after the timeout rang out.
	near("machines", s.Machines, 0.44, 0.03)
	near("busy", s.Busy, 0.05, 0.01)
	near("busy after", s.BusyAfter.Seconds(), 2, 0.01)
	near("cap", s.Cap, 0.02, 0)
	near("ring timeout", s.RingTimeout.Seconds(), 22, 1)
	near("machines that agents met", s.FalseNegatives, 0.1, 0.02)
	near("breaks every", s.Breaks.Every.Seconds(), 3000, 300)
	near("breaks for", s.Breaks.For.Seconds(), 300, 3)
	for _, l := range []struct {
		name      string
		got, want Law
	}{
		{"ring", got.Ring, w.Ring}, {"ring of machines", got.MachineRing, w.MachineRing}, {"talk", got.Talk, w.Talk}, {"wrap", got.Wrap, w.Wrap},
		{"detection", got.Detect, w.Detect}, {"greeting", got.Greeting, w.Greeting}, {"machine talk", got.MachineTalk, w.MachineTalk},
	} {
		a, b := drawn(l.got), drawn(l.want)
		near("mean of "+l.name, mean(a), mean(b), 0.04*mean(b))
		for _, q := range []float64{0.1, 0.5, 0.9} {
			near(fmt.Sprintf("quantile %g of %s", q, l.name), quantile(a, q), quantile(b, q), 0.08*quantile(b, q)+0.1)
		}
	}
	if s.Talk.Law != "lognormal" || s.Detection.Law != "empirical" {
		t.Errorf("talk is %s and detection %s", s.Talk.Law, s.Detection.Law)
	}
	if want := "[{6 0s 8h} {4 2h 6h}]"; shown(s.Shifts) != want || s.Hours != 8 {
		t.Errorf("shifts %s of %g h, want %s", shown(s.Shifts), s.Hours, want)
	}
	for name, want := range map[string]string{"answer_rate": "of 20,000 calls", "talk": "talks, mean 9", "shifts": "from 10:00 on", "answer_rates": "of 8"} {
		if !strings.Contains(f.Remarks[name], want) {
			t.Errorf("%s is said to be %q, without %q", name, f.Remarks[name], want)
		}
	}
}

func shown(turns []Turn) string {
	var all []string
	for _, t := range turns {
		from, _ := t.From.MarshalText()
		to, _ := t.To.MarshalText()
		all = append(all, fmt.Sprintf("{%d %s %s}", t.Agents, from, to))
	}
	return "[" + strings.Join(all, " ") + "]"
}

func drawn(l Law) []float64 {
	r := rand.New(rand.NewPCG(3, 4))
	x := make([]float64, 20_000)
	for i := range x {
		x[i] = l.Draw(r)
	}
	return slices.Sorted(slices.Values(x))
}

// TestFitOfLittle: of too few calls nothing is said; a law of which little was seen
// stays as it is, and that is said.
func TestFitOfLittle(t *testing.T) {
	w := Base(10, 0.2, 90, 1)
	if _, err := Fit(pastOf(w, 150)); err == nil || !strings.Contains(err.Error(), "150 of its calls") {
		t.Errorf("150 calls: %v", err)
	}
	if _, err := Fit(Past{}); err == nil {
		t.Error("nothing was fitted")
	}
	p := pastOf(w, 400)
	n := 0
	for i := range p.Calls { // most talks were not kept
		if p.Calls[i].End == PastPerson {
			if n++; n > 7 {
				p.Calls[i].Talk = -1
			}
		}
	}
	f, err := Fit(p)
	if err != nil {
		t.Fatal(err)
	}
	if f.Scenario.Talk.Mean != DefaultScenario().Talk.Mean || !strings.Contains(f.Remarks["talk"], "7 talks are too few: the default") {
		t.Errorf("talk %+v: %s", f.Scenario.Talk, f.Remarks["talk"])
	}
	for _, name := range []string{"wrap", "breaks", "hours"} {
		if !strings.Contains(f.Remarks[name], "default") {
			t.Errorf("%s: %q", name, f.Remarks[name])
		}
	}
	w.Detect = nil
	if f, err = Fit(pastOf(w, 4000)); err != nil || f.Scenario.AMD {
		t.Errorf("without detection: %v, %+v", err, f.Scenario)
	}
}

// FuzzTeamOf: moves that make no sense, out of order or of agents never heard of,
// come to a team that can be simulated.
func FuzzTeamOf(f *testing.F) {
	f.Add([]byte{0, 1, 10, 1, 2, 200, 2, 4, 9, 4, 0, 3})
	f.Fuzz(func(t *testing.T, data []byte) {
		states := []string{"logged_out", "not_ready", "ready", "talking", "wrap_up", ""}
		at := time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC)
		var all []PastMove
		for i := 0; i+2 < len(data); i += 3 {
			at = at.Add(time.Duration(int8(data[i+2])) * 10 * time.Minute)
			all = append(all, PastMove{At: at, Agent: string(data[i] >> 6), From: states[int(data[i]&63)%6], To: states[int(data[i+1])%6]})
		}
		p := pastOf(Base(5, 0.3, 60, 1), 300)
		p.Team = TeamOf(all)
		fitted, err := Fit(p)
		if err != nil {
			t.Fatalf("%+v: %v", p.Team, err)
		}
		if _, err := fitted.Scenario.World(); err != nil {
			t.Fatal(err)
		}
	})
}
