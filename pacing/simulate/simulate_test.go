package simulate

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"dialer/pacing"
)

func policy(t testing.TB, name string) Policy {
	t.Helper()
	p, err := ParsePolicy(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func compare(t testing.TB, seeds int, entries ...Entry) []Summary {
	t.Helper()
	all, err := Compare(context.Background(), entries, Seeds(seeds), 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestTwiceTheSame(t *testing.T) {
	t.Parallel()
	w := Base(5, 0.2, 120, 0.25)
	w.CallsPerSecond, w.Lines, w.Leads = 3, 20, 1000
	entries := []Entry{{World: w, Policy: policy(t, "predictive")}, {World: w, Policy: policy(t, "adaptive"), Warm: true}}
	one, err := Compare(context.Background(), entries, Seeds(4), 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	done := 0
	four, err := Compare(context.Background(), entries, Seeds(4), 4, func() { done++ })
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(one, four) {
		t.Errorf("one processor: %+v\nfour: %+v", one, four)
	}
	if done != 8 {
		t.Errorf("%d shifts were reported done, not 8", done)
	}
	if one[0].Utilisation.SE == 0 {
		t.Error("another seed changed nothing")
	}
}

// worlds are small and cross every branch of a shift.
func worlds() map[string]World {
	all := map[string]World{"base": Base(8, 0.25, 60, 0.5)}
	set := func(name string, change func(*World)) {
		w := Base(8, 0.25, 60, 0.5)
		change(&w)
		all[name] = w
	}
	set("no detection", func(w *World) { w.Detect = nil })
	set("errors count", func(w *World) { w.CountFalsePositives, w.FalsePositive = true, 0.05 })
	set("short list", func(w *World) { w.Leads = 150 })
	set("one line too few", func(w *World) { w.Lines = 5 })
	set("two lines an agent", func(w *World) { w.LinesPerAgent = 2 })
	set("slow trunk", func(w *World) { w.CallsPerSecond = 0.3 })
	set("lunch", func(w *World) { w.Away = []Away{{0.5, 500, 1000}, {1, 1200, 1400}} })
	set("shifts", func(w *World) { w.Shifts = []Shift{{3, 0, 900}, {4, 450, 1800}, {1, 1500, 9999}} })
	set("answers change", func(w *World) { w.Answer = Answer{0.3, []Step{{500, 0.6}, {1200, 0}}, -0.5} })
	set("no breaks", func(w *World) { w.BreakEvery = 0 })
	set("mixed talks", func(w *World) {
		w.Talk = Mixed{Constant(5), 0.5, Empirical{[]float64{0, 10, 300}}}
		w.Wrap = Exponential{10}
	})
	return all
}

func TestNothingIsLost(t *testing.T) {
	for name, w := range worlds() {
		policies := []string{"power-3", "predictive"} // the least and the most careful
		if name == "base" || name == "lunch" {
			policies = append(policies, "progressive", "adaptive-hard", "adaptive-average-6", "strict")
		}
		for _, p := range policies {
			t.Run(name+"/"+p, func(t *testing.T) {
				t.Parallel()
				pacer, err := policy(t, p).New(&w)
				if err != nil {
					t.Fatal(err)
				}
				r := Run(w, pacer, nil, 7)
				if n := r.NoAnswer + r.Machines + r.FalsePositives + r.Abandoned + r.Connected + r.Open; n != r.Dialed {
					t.Errorf("%d calls were dialed and %d ended: %+v", r.Dialed, n, r)
				}
				if r.Dialed == 0 || r.Connected == 0 {
					t.Error("nobody was reached")
				}
				all := r.Talk + r.Wrap + r.Idle + r.Away
				if want := float64(r.Agents) * r.Length; math.Abs(all-want) > 1e-3 {
					t.Errorf("%.3f agent seconds of %.3f", all, want)
				}
				s := Slice{}
				for _, x := range r.Slices {
					s = Slice{s.Busy + x.Busy, s.Idle + x.Idle, s.Answered + x.Answered, s.Abandoned + x.Abandoned}
				}
				if math.Abs(s.Busy-r.Talk-r.Wrap) > 1e-3 || math.Abs(s.Idle-r.Idle) > 1e-3 || s.Abandoned != r.Counted {
					t.Errorf("the slices add up to %+v, not to %+v", s, r)
				}
				if r.Excess > 0 {
					t.Errorf("the pacer asked for %d calls more than it might", r.Excess)
				}
				if w.Leads > 0 && (r.Dialed != w.Leads || r.Finished == 0 || r.Open > 0) {
					t.Errorf("a list of %d: %+v", w.Leads, r)
				}
			})
		}
	}
}

// open dials at a fixed mean rate, whoever is there: a Poisson process, since
// what rings for a uniform second is spread evenly.
type open struct {
	rate float64
	r    *rand.Rand
	last time.Time
}

func (o *open) Decide(s pacing.Snapshot) pacing.Decision {
	d := pacing.Decision{}
	if s.Now.Nanosecond() == 0 && s.Now.After(o.last) {
		o.last = s.Now
		for x := o.r.ExpFloat64(); x < o.rate; x += o.r.ExpFloat64() {
			d.Dial++
		}
	}
	return d
}

// TestErlangB compares the loss at a fixed rate of calls, and without a queue,
// with Erlang's formula, which holds for every law of the talks.
func TestErlangB(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		agents int
		load   float64
		talk   Law
		hours  float64
	}{
		{1, 0.5, Exponential{6}, 3}, {5, 4, Lognormal{6, 1}, 1}, {10, 12, Constant(6), 0.5},
	} {
		w := Base(c.agents, 1, 6, c.hours) // short talks: as many calls in less time to simulate
		w.Ring, w.Greeting, w.Window, w.Detect = Uniform{0, 1}, Constant(0), 0, nil
		w.Talk, w.Wrap, w.BreakEvery = c.talk, Constant(0), 0
		r := Run(w, &open{rate: c.load / 6, r: rand.New(rand.NewPCG(1, 2))}, nil, 3)
		want := pacing.ErlangB(c.load, c.agents)
		// Loss comes in clumps: some three times the error of as many coins.
		err := 3 * 2 * math.Sqrt(want*(1-want)/float64(r.Answered))
		if got := r.AbandonRate(); math.Abs(got-want) > err {
			t.Errorf("%d agents, %g erlangs: %.4f of %d lost, Erlang B says %.4f ± %.4f", c.agents, c.load, got, r.Answered, want, err)
		}
	}
}

func TestProgressiveAbandonsNobody(t *testing.T) {
	t.Parallel()
	for _, agents := range []int{1, 5, 30} {
		w := Base(agents, 0.4, 60, 0.5)
		w.BreakEvery = 0
		if s := compare(t, 2, Entry{World: w, Policy: policy(t, "progressive")})[0]; s.AbandonRate.Value > 0 || s.TalkPerHour.Value < 20 {
			t.Errorf("%d agents: %+v", agents, s)
		}
	}
}

// TestProgressiveIsCalibrated holds the world to figures known of it.
func TestProgressiveIsCalibrated(t *testing.T) {
	t.Parallel()
	for p, want := range map[float64]float64{0.1: 0.435, 0.2: 0.61, 0.6: 0.843} {
		s := compare(t, 2, Entry{World: Base(10, p, 120, 2), Policy: policy(t, "progressive")})[0]
		if math.Abs(s.Utilisation.Value-want) > 0.02 {
			t.Errorf("answer rate %g: occupancy %.3f ± %.3f, not %.3f", p, s.Utilisation.Value, s.Utilisation.SE, want)
		}
	}
}

func TestPredictiveBeatsProgressive(t *testing.T) {
	t.Parallel()
	w := Base(10, 0.2, 120, 1.5)
	all := compare(t, 2, Entry{World: w, Policy: policy(t, "progressive")}, Entry{World: w, Policy: policy(t, "predictive")})
	if gain := all[1].Utilisation.Value - all[0].Utilisation.Value; gain < 0.10 {
		t.Errorf("predictive gains %.3f on %.3f", gain, all[0].Utilisation.Value)
	}
	if a := all[1].AbandonRate.Value; a > w.Cap || a == 0 {
		t.Errorf("predictive abandons %.4f at a cap of %g", a, w.Cap)
	}
}

func TestWarmStartHelps(t *testing.T) {
	t.Parallel()
	w := Base(5, 0.2, 120, 1)
	all := compare(t, 4, Entry{World: w, Policy: policy(t, "predictive")}, Entry{World: w, Policy: policy(t, "predictive"), Warm: true})
	if all[1].Utilisation.Value < all[0].Utilisation.Value {
		t.Errorf("cold %.3f, warm %.3f", all[0].Utilisation.Value, all[1].Utilisation.Value)
	}
}

// TestEveryPolicyMeetsTheSameLeads: with one seed the n-th lead dialed answers or
// not, rings, greets and talks as long, whoever paces and whenever they dial it.
// Comparisons rest on it: without it they would need some ten times the seeds.
func TestEveryPolicyMeetsTheSameLeads(t *testing.T) {
	t.Parallel()
	fates := func(name string, seed uint64) []Lead {
		w := Base(6, 0.3, 60, 0.4)
		p, err := policy(t, name).New(&w)
		if err != nil {
			t.Fatal(err)
		}
		r := newRun(&w, p, seed)
		var all []Lead
		r.after(0, tick, 0, 0)
		for len(r.todo) > 0 && r.todo[0].at <= r.end {
			e := r.todo.next()
			r.now = e.at
			before := r.res.Dialed
			r.handle(e)
			for id := before + 1; id <= r.res.Dialed; id++ {
				all = append(all, r.calls[uint64(id)].Lead)
			}
		}
		return all
	}
	of := fates("progressive", 1)
	for _, name := range []string{"power-3", "adaptive-tapered", "predictive"} {
		other := fates(name, 1)
		n := min(len(of), len(other))
		if n < 80 {
			t.Fatalf("%s dialed %d leads, progressive %d: too few to compare", name, len(other), len(of))
		}
		for i := range n {
			if of[i] != other[i] {
				t.Fatalf("lead %d: %+v with progressive, %+v with %s", i+1, of[i], other[i], name)
			}
		}
	}
	if another := fates("progressive", 2); of[0] == another[0] && of[1] == another[1] {
		t.Error("another seed brings the same leads")
	}
}

// TestPanicIsOfTheCaller: who runs a comparison beside calls can catch what goes
// wrong in it.
func TestPanicIsOfTheCaller(t *testing.T) {
	broken := Policy{Name: "broken", New: func(*World) (pacing.Pacer, error) { panic("out of its mind") }}
	defer func() {
		if v := recover(); !strings.Contains(fmt.Sprint(v), "out of its mind") {
			t.Errorf("recovered %v", v)
		}
	}()
	_, err := Compare(context.Background(), []Entry{{World: Base(1, 0.2, 60, 0.1), Policy: broken}}, Seeds(2), 2, nil)
	t.Errorf("no panic, but %v", err)
}

func TestGammaThatNeverEndsIsRefused(t *testing.T) {
	t.Parallel()
	for _, g := range []Gamma{{12, 1000, 6}, {12, 4, 1}, {12, 1000, 11}, {1e6, 1, 1e-6}} {
		if g.validate() == nil {
			t.Errorf("%+v would be drawn again and again", g)
		}
	}
	for _, g := range []Gamma{{12, 4, 25}, {12, 4, 6}, {12, 1, 1}, {12, 1000, 0}, {12, 1000, 12}} {
		if err := g.validate(); err != nil {
			t.Errorf("%+v: %v", g, err)
		}
	}
}
