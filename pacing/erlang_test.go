package pacing

import (
	"fmt"
	"math"
	"testing"

	"pgregory.net/rapid"
)

// TestErlang holds the formulas to published figures. Erlang B: loads at a given
// blocking from T. Frankel, "Tables for Traffic Management and Design" (1976), as
// they are reprinted in most textbooks, three digits each. Erlang C: closed forms
// for one to three agents.
func TestErlang(t *testing.T) {
	for _, c := range []struct {
		load   float64
		agents int
		want   float64
	}{
		{0.0101, 1, 0.01}, {0.869, 4, 0.01}, {4.46, 10, 0.01}, {12.03, 20, 0.01}, {84.1, 100, 0.01},
		{1, 1, 0.5}, {2, 2, 0.4}, {5.08, 10, 0.02}, {2.22, 5, 0.05}, {7.51, 10, 0.10},
	} {
		if got := ErlangB(c.load, c.agents); math.Abs(got-c.want) > c.want*0.01 {
			t.Errorf("ErlangB(%g, %d) = %.5f, the table says %g", c.load, c.agents, got, c.want)
		}
	}
	for _, c := range []struct {
		load   float64
		agents int
		want   float64
	}{
		{0.5, 1, 0.5},         // M/M/1: the load itself
		{1, 2, 1.0 / 3},       // closed form
		{2, 3, 4.0 / 9},       // closed form
		{8, 10, 0.4092},       // 8 erlangs, 10 agents
		{10, 9, 1}, {3, 0, 1}, // more work than hands
	} {
		if got := ErlangC(c.load, c.agents); math.Abs(got-c.want) > 0.0005 {
			t.Errorf("ErlangC(%g, %d) = %.5f, want %.4f", c.load, c.agents, got, c.want)
		}
	}
}

func TestErlangLargeAndHostile(t *testing.T) {
	if got := ErlangB(10_000, 10_000); !(got > 0.0078 && got < 0.0081) { // about sqrt(2/(pi n))
		t.Errorf("ErlangB(10000, 10000) = %g", got)
	}
	for _, c := range []struct {
		load   float64
		agents int
	}{{0, 0}, {0, 10}, {1e-300, 10_000}, {1e300, 10_000}, {math.Inf(1), 5}, {5, -1}} {
		b, w := ErlangB(c.load, c.agents), ErlangC(c.load, c.agents)
		if !(b >= 0 && b <= 1 && w >= 0 && w <= 1) {
			t.Errorf("load %g, %d agents: B %g, C %g are no chances", c.load, c.agents, b, w)
		}
	}
	if !math.IsNaN(ErlangB(-1, 3)) || !math.IsNaN(ErlangC(math.NaN(), 3)) {
		t.Error("a load that cannot be must give no figure")
	}
}

func TestErlangRecursion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		load, n := rapid.Float64Range(0.01, 500).Draw(t, "load"), rapid.IntRange(1, 600).Draw(t, "agents")
		before, b := ErlangB(load, n-1), ErlangB(load, n)
		if want := load * before / (float64(n) + load*before); math.Abs(b-want) > 1e-12 {
			t.Fatalf("B(%d) = %g, from B(%d) follows %g", n, b, n-1, want)
		}
		if c := ErlangC(load, n); c < b-1e-12 {
			t.Fatalf("waiting %g is rarer than blocking %g", c, b)
		}
	})
}

// TestErlangPublished holds waiting times to Table 1 of Garnett, Mandelbaum and
// Reiman, "Designing a Call Center with Impatient Customers" (MSOM 4(3), 2002):
// 48 calls a minute of one minute each, 50 agents, with and without a patience of
// two minutes. Times in seconds.
func TestErlangPublished(t *testing.T) {
	near := func(name string, got, want, off float64) {
		t.Helper()
		if !(math.Abs(got-want) <= off) {
			t.Errorf("%s is %.4f, published is %g", name, got, want)
		}
	}
	near("mean wait without impatience", ErlangCWait(48, 50, 60), 20.8, 0.05)
	near("utilisation without impatience", 48.0/50, 0.96, 0.001)
	near("90 % wait less than 58.1 s", ErlangCService(48, 50, 60, 58.1), 0.9, 0.001)
	q := ErlangA(48, 50, 60, 120)
	near("abandoned", q.Abandon, 0.031, 0.0005)
	near("mean wait", q.MeanWait, 3.7, 0.05)
	near("utilisation", q.Busy, 0.93, 0.005)
	// Halfin and Whitt (Operations Research 29(3), 1981): with load + β·√load
	// agents the chance to wait tends to 1/(1 + β·Φ(β)/φ(β)), 0.2234 for β = 1.
	near("chance to wait of 10,000 agents", ErlangC(9900.5, 10_000), 0.2234, 0.003)
}

// TestErlangALimits: without patience nobody waits and it is Erlang B; with
// endless patience nobody gives up and it is Erlang C; with load to spare those
// who cannot be taken give up.
func TestErlangALimits(t *testing.T) {
	near := func(name string, got, want, off float64) {
		t.Helper()
		if !(math.Abs(got-want) <= off) {
			t.Errorf("%s: %.6f, want %.6f", name, got, want)
		}
	}
	for _, c := range []struct {
		load   float64
		agents int
	}{{0.5, 1}, {8, 10}, {95, 100}, {980, 1000}, {9900, 10_000}} {
		name := fmt.Sprintf("%g erlangs, %d agents: ", c.load, c.agents)
		near(name+"impatient", ErlangA(c.load, c.agents, 100, 1e-9).Abandon, ErlangB(c.load, c.agents), 1e-6)
		patient := ErlangA(c.load, c.agents, 100, 1e9)
		near(name+"patient", patient.Wait, ErlangC(c.load, c.agents), 1e-4)
		near(name+"patient, mean wait", patient.MeanWait, ErlangCWait(c.load, c.agents, 100), 0.001*patient.MeanWait+1e-6)
		near(name+"overload", ErlangA(3*float64(c.agents)+100, c.agents, 100, 50).Abandon, 1-float64(c.agents)/(3*float64(c.agents)+100), 0.01)
	}
}

// TestErlangHostile: whatever is asked, shares are shares or NaN, and soon.
func TestErlangHostile(t *testing.T) {
	odd := []float64{math.NaN(), math.Inf(1), math.Inf(-1), -1, 0, 5e-324, 1e-9, 1, 9999, 10_000, 1e9, math.MaxFloat64}
	share := func(x float64) bool { return math.IsNaN(x) || x >= 0 && x <= 1 }
	for _, agents := range []int{math.MinInt, -1, 0, 1, 10_000} {
		for _, load := range odd {
			for _, handling := range odd {
				for _, other := range []float64{math.NaN(), math.Inf(1), -1, 0, 1e-9, 60, 1e9, math.MaxFloat64} {
					wait := ErlangCWait(load, agents, handling)
					q := ErlangA(load, agents, handling, other)
					if s := ErlangCService(load, agents, handling, other); !share(s) || wait < 0 ||
						!share(q.Wait) || !share(q.Abandon) || !share(q.Busy) || q.MeanWait < 0 {
						t.Fatalf("load %g, %d agents, handling %g, %g: service %g, wait %g, %+v", load, agents, handling, other, s, wait, q)
					}
				}
			}
		}
	}
}

// TestErlangMonotone: one agent more never makes it worse, and more patience
// loses fewer.
func TestErlangMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		load, n := rapid.Float64Range(0.01, 500).Draw(t, "load"), rapid.IntRange(1, 600).Draw(t, "agents")
		patience := rapid.Float64Range(0.1, 1000).Draw(t, "patience")
		one, two := ErlangA(load, n, 60, patience), ErlangA(load, n+1, 60, patience)
		if two.Abandon > one.Abandon+1e-9 || two.Wait > one.Wait+1e-9 || ErlangC(load, n+1) > ErlangC(load, n)+1e-12 {
			t.Fatalf("%d agents: %+v; one more: %+v", n, one, two)
		}
		if b := ErlangB(load, n); one.Abandon > b+1e-9 {
			t.Fatalf("%g give up, %g are lost without any queue", one.Abandon, b)
		}
		if more := ErlangA(load, n, 60, 2*patience); more.Abandon > one.Abandon+1e-9 {
			t.Fatalf("with twice the patience %g give up, not %g", more.Abandon, one.Abandon)
		}
	})
}

// TestAgentsFor: how many agents a service level takes.
func TestAgentsFor(t *testing.T) {
	good := func(n int) bool { return ErlangCService(8, n, 180, 20) >= 0.8 }
	if n := AgentsFor(10_000, good); !good(n) || good(n-1) {
		t.Errorf("%d agents for 8 erlangs: service %.3f, with one less %.3f", n, ErlangCService(8, n, 180, 20), ErlangCService(8, n-1, 180, 20))
	}
	if n := AgentsFor(5, good); n != 6 {
		t.Errorf("%d agents where 5 are not enough", n)
	}
	if n := AgentsFor(10, func(int) bool { return true }); n != 0 {
		t.Errorf("%d agents where none is needed", n)
	}
}

func BenchmarkErlangA(b *testing.B) {
	for b.Loop() {
		ErlangA(9900, 10_000, 135, 120)
	}
}
