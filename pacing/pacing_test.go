package pacing

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

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

func TestNewRefuses(t *testing.T) {
	for want, c := range map[string]Config{
		`mode ""`:         {},
		`mode "fast"`:     {Mode: "fast"},
		"ratio 0":         {Mode: Power},
		"ratio 100":       {Mode: Power, Ratio: 100},
		"ratio NaN":       {Mode: Power, Ratio: math.NaN()},
		"cap 3":           {Mode: Predictive, Cap: 3},
		"burst -1":        {Mode: Preview, Burst: -1},
		"lines per agent": {Mode: Preview, MaxLinesPerAgent: -1},
	} {
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New(%+v): %v, want an error with %q", c, err, want)
		}
	}
}

// durations draws ages, absurd ones too.
func durations(label string, most int) *rapid.Generator[[]time.Duration] {
	return rapid.Custom(func(t *rapid.T) []time.Duration {
		ms := rapid.SliceOfN(rapid.Int64Range(-1000, 200_000), 0, most).Draw(t, label)
		out := make([]time.Duration, len(ms))
		for i, x := range ms {
			out[i] = time.Duration(x) * time.Millisecond
		}
		return out
	})
}

var snapshots = rapid.Custom(func(t *rapid.T) Snapshot {
	answered := rapid.IntRange(0, 3000).Draw(t, "answered")
	s := Snapshot{
		Ready:     rapid.IntRange(0, 60).Draw(t, "ready"),
		Held:      rapid.IntRange(0, 10).Draw(t, "held"),
		Talking:   durations("talking", 40).Draw(t, "talks"),
		WrapUp:    durations("wrapping", 20).Draw(t, "wraps"),
		Ringing:   durations("ringing", 80).Draw(t, "rings"),
		Detecting: durations("detecting", 10).Draw(t, "detections"),
		Waiting:   rapid.IntRange(0, 5).Draw(t, "waiting"),
		Answered:  answered,
		Abandoned: rapid.IntRange(0, answered/10+1).Draw(t, "abandoned"),
		Cap:       rapid.SampledFrom([]float64{0, 0.01, 0.03, 0.05, 0.1, 1, -1}).Draw(t, "cap"),
		Lines:     rapid.IntRange(-5, 200).Draw(t, "lines"),
		LeadsLeft: rapid.IntRange(-5, 200).Draw(t, "leads"),
		Laws: Laws{
			Dialed:   rapid.IntRange(0, 5000).Draw(t, "dialed"),
			LiveRate: rapid.SampledFrom([]float64{-1, 0, 0.01, 0.2, 0.6, 1, 2, math.NaN()}).Draw(t, "p"),
			RingMean: time.Duration(rapid.IntRange(-1, 40).Draw(t, "ring")) * time.Second,
			RingMax:  time.Duration(rapid.IntRange(-1, 90).Draw(t, "ring max")) * time.Second,
			TalkMean: time.Duration(rapid.IntRange(-1, 600).Draw(t, "talk")) * time.Second,
			WrapMean: time.Duration(rapid.IntRange(-1, 60).Draw(t, "wrap")) * time.Second,
		},
	}
	if rapid.Bool().Draw(t, "little left") {
		s.Abandoned = max(int(s.Cap*float64(answered+1))-rapid.IntRange(0, 4).Draw(t, "left"), 0)
	}
	if rapid.Bool().Draw(t, "learned") {
		s.Laws.Live = rapid.SliceOfN(rapid.Float64Range(-1, 50), 0, 120).Draw(t, "live")
		s.Laws.Other = rapid.SliceOfN(rapid.Float64Range(-1, 50), 0, 120).Draw(t, "other")
	}
	return s
})

var configs = rapid.Custom(func(t *rapid.T) Config {
	return Config{
		Mode:             rapid.SampledFrom([]Mode{Preview, Progressive, Power, Predictive}).Draw(t, "mode"),
		Ratio:            rapid.Float64Range(1, 20).Draw(t, "ratio"),
		MaxLinesPerAgent: rapid.SampledFrom([]float64{0, 1, 2.5}).Draw(t, "lines per agent"),
		Burst:            rapid.SampledFrom([]int{0, 1, 7}).Draw(t, "burst"),
	}
})

// TestBounds: no mode passes a bound in any branch, whatever it is told.
func TestBounds(t *testing.T) {
	for range 20 {
		checkBounds(t)
	}
}

func checkBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, s := configs.Draw(t, "config"), snapshots.Draw(t, "snapshot")
		p, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		d := p.Decide(s)
		if d.Dial < 0 || d.Dial > max(s.Lines, 0) || d.Dial > max(s.LeadsLeft, 0) {
			t.Fatalf("dial %d with %d lines and %d leads: %s", d.Dial, s.Lines, s.LeadsLeft, d.Reason)
		}
		agents := s.Ready + s.Held + len(s.Talking) + len(s.WrapUp)
		if c.Burst > 0 && d.Dial > c.Burst || d.Dial > max(10, agents) {
			t.Fatalf("dial %d is more than the burst", d.Dial)
		}
		flight := len(s.Ringing) + len(s.Detecting) + s.Waiting
		if up := d.Dial + flight + len(s.Talking); d.Dial > 0 && c.MaxLinesPerAgent > 0 && float64(up) > c.MaxLinesPerAgent*float64(agents) {
			t.Fatalf("%d calls up for %d agents", up, agents)
		}
		spent := s.Cap*float64(s.Answered+1)-float64(s.Abandoned) < 1
		cold := c.Mode == Predictive && s.Laws.Dialed < 25
		single := c.Mode == Preview || c.Mode == Progressive
		guarded := c.Mode == Predictive || c.Mode == Power && s.Cap > 0
		if (single || guarded && spent || cold) && d.Dial > 0 && d.Dial+flight > s.Ready+s.Held {
			t.Fatalf("dial %d with %d in flight for %d agents: %s", d.Dial, flight, s.Ready+s.Held, d.Reason)
		}
		if beyond := d.Dial + flight - s.Ready - s.Held; guarded && d.Dial > 0 && float64(beyond) > max(s.Cap*float64(s.Answered+1)-float64(s.Abandoned), 0) {
			t.Fatalf("%d calls in flight beyond the agents, only %g may be abandoned: %s", beyond, d.Allowance, d.Reason)
		}
		if agents == 0 && d.Dial > 0 {
			t.Fatalf("dial %d without any agent", d.Dial)
		}
		if d.Reason == "" || d.Limit == "" {
			t.Fatalf("a decision without reason: %+v", d)
		}
		if again := p.Decide(s); again != d {
			t.Fatalf("the same snapshot gave %+v and %+v", d, again)
		}
	})
}

// known is a campaign that predictive knows well.
func known() Snapshot {
	return Snapshot{
		Ready: 2, Cap: 0.03, Answered: 500, Abandoned: 5, Lines: 100, LeadsLeft: 1000,
		Laws: Laws{
			Dialed: 2000, LiveRate: 0.25, RingMean: 12 * time.Second, RingMax: 25 * time.Second,
			TalkMean: 2 * time.Minute, WrapMean: 15 * time.Second,
		},
	}
}

func ages(n int, step time.Duration) []time.Duration {
	out := make([]time.Duration, n)
	for i := range out {
		out[i] = time.Duration(i+1) * step
	}
	return out
}

func TestPredictive(t *testing.T) {
	p := pacerOf(t, Config{Mode: Predictive})
	s := known()
	s.Talking, s.WrapUp = ages(9, 20*time.Second), ages(1, 5*time.Second)
	idle := p.Decide(s)
	if idle.Dial <= s.Ready {
		t.Errorf("dials %d for %d ready agents at an answer rate of 25 %%: no better than progressive", idle.Dial, s.Ready)
	}
	s.Ringing = ages(idle.Dial, time.Second)
	if d := p.Decide(s); d.Dial > 1 {
		t.Errorf("dials %d more although %d are ringing", d.Dial, len(s.Ringing))
	}
	s.Ringing = nil
	s.Waiting = 4
	if d := p.Decide(s); d.Dial >= idle.Dial {
		t.Errorf("dials %d while 4 persons wait, %d while none does", d.Dial, idle.Dial)
	}
	s.Waiting, s.Ready = 0, 6
	if d := p.Decide(s); d.Dial <= idle.Dial {
		t.Errorf("dials %d with 6 ready, %d with 2", d.Dial, idle.Dial)
	}
	s.Abandoned = 14
	if d := p.Decide(s); d.Dial >= p.Decide(known()).Dial+20 {
		t.Errorf("dials %d with a nearly spent allowance", d.Dial)
	}
}

func TestReasons(t *testing.T) {
	for _, c := range []struct {
		name   string
		mode   Mode
		change func(*Snapshot)
		limit  string
		want   string
	}{
		{"predicting", Predictive, func(*Snapshot) {}, "agents", "2 of 2 agents ready"},
		{"warm-up by law", Predictive, func(s *Snapshot) { s.Answered, s.Abandoned = 32, 0 }, "warm-up", "32 people have answered, too few"},
		{"warm-up by data", Predictive, func(s *Snapshot) { s.Laws.Dialed = 20 }, "warm-up", "20 attempts have ended, 25 are needed"},
		{"spent", Predictive, func(s *Snapshot) { s.Abandoned = 15 }, "allowance", "15 of 500 answered were abandoned"},
		{"spent power", Power, func(s *Snapshot) { s.Abandoned = 15 }, "allowance", "one call per agent: dial 2"},
		{"lines", Predictive, func(s *Snapshot) { s.Ready, s.Lines = 12, 3 }, "lines", "dial"},
		{"few lines", Power, func(s *Snapshot) { s.Lines = 1 }, "lines", "only 1: trunk lines free"},
		{"few leads", Power, func(s *Snapshot) { s.LeadsLeft = 1 }, "leads", "only 1: leads that may be called now"},
		{"power", Power, func(*Snapshot) {}, "agents", "3 calls per agent: dial 6"},
		{"preview", Preview, func(s *Snapshot) { s.Held, s.Ringing = 1, ages(1, time.Second) }, "agents", "dial 2"},
	} {
		s := known()
		c.change(&s)
		d := pacerOf(t, Config{Mode: c.mode, Ratio: 3}).Decide(s)
		if d.Limit != c.limit && c.name != "lines" || !strings.Contains(d.Reason, c.want) {
			t.Errorf("%s: limit %q, reason %q; want %q and %q", c.name, d.Limit, d.Reason, c.limit, c.want)
		}
	}
}

// TestWarmUpBoundary: the first call that may be abandoned is the one of which
// 33 others are live (1 of 34 is 2.94 %, 1 of 33 is 3.03 %).
func TestWarmUpBoundary(t *testing.T) {
	p := pacerOf(t, Config{Mode: Predictive, Burst: 100})
	for answered, safe := range map[int]bool{32: true, 33: false} {
		s := known()
		s.Answered, s.Abandoned, s.Ready = answered, 0, 10
		if d := p.Decide(s); (d.Dial <= s.Ready) != safe {
			t.Errorf("%d answered: dials %d for %d agents (%s)", answered, d.Dial, s.Ready, d.Reason)
		}
	}
}

func TestEstimatorLearns(t *testing.T) {
	e := Estimator{RingMax: 30 * time.Second}
	for i := range 4000 {
		e.Placed()
		e.Ended(i%5 == 0, 10*time.Second)
		e.Talked(time.Duration(40+i%41) * time.Second)
		e.Wrapped(10 * time.Second)
		e.Detected(i%2 == 0)
	}
	l := e.Laws()
	near := func(name string, got, want, off float64) {
		t.Helper()
		if math.Abs(got-want) > off {
			t.Errorf("%s: learned %.3f, it is %.3f", name, got, want)
		}
	}
	near("live rate", l.LiveRate, 0.2, 0.005)
	near("ring", l.RingMean.Seconds(), 10.5, 0.1)
	near("talk", l.TalkMean.Seconds(), 60, 2)
	near("wrap", l.WrapMean.Seconds(), 10, 0.3)
	near("wrap CV", l.WrapCV, 0, 0.2)
	near("detected live", l.DetectedLive, 0.5, 0.01)
	if l.Dialed != 4000 || e.InFlight != 0 {
		t.Errorf("%d dialed, %d in flight", l.Dialed, e.InFlight)
	}
	for range 4000 { // the list turns worse: the old rate fades
		e.Placed()
		e.Ended(false, 10*time.Second)
	}
	if got := e.Laws().LiveRate; got > 0.03 {
		t.Errorf("live rate %.3f after 4000 attempts without an answer", got)
	}
}

func TestEstimatorWarmStart(t *testing.T) {
	e := Estimator{RingMax: 30 * time.Second}
	for i := range 300 {
		e.Ended(i%3 == 0, time.Duration(i%25)*time.Second)
		e.Talked(time.Duration(i) * time.Second)
	}
	data, err := json.Marshal(&e)
	if err != nil {
		t.Fatal(err)
	}
	var back Estimator
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if got, want := back.Laws(), e.Laws(); !reflect.DeepEqual(got, want) {
		t.Errorf("after a restart the laws are\n%+v, before\n%+v", got, want)
	}
}

func TestEstimatorHostile(t *testing.T) {
	e := Estimator{Live: []float64{1}, Other: []float64{1, 2, 3}} // a foreign warm start
	e.Ended(true, -time.Hour)
	e.Ended(false, math.MaxInt64)
	e.Talked(-1)
	e.Talked(math.MaxInt64)
	if l := e.Laws(); !(l.LiveRate > 0 && l.LiveRate < 1) || l.TalkMean < 0 || math.IsNaN(l.TalkCV) {
		t.Errorf("laws %+v", l)
	}
}

func Example() {
	p, err := New(Config{Mode: Predictive})
	if err != nil {
		fmt.Println(err)
		return
	}
	d := p.Decide(Snapshot{
		Ready:   1,
		Talking: []time.Duration{20 * time.Second, 90 * time.Second, 150 * time.Second},
		Cap:     0.03, Answered: 10, Lines: 30, LeadsLeft: 1000,
	})
	fmt.Println(d.Limit, d.Dial)
	fmt.Println(d.Reason)
	// Output:
	// warm-up 1
	// 1 of 4 agents ready, 0 calls in flight, one call per agent: dial 1 (10 people have answered, too few for one abandoned call within 3 %)
}

func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{10, 100, 500} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := known()
			s.Ready, s.Lines = n/20+1, 10*n
			s.Talking, s.WrapUp = ages(n*8/10, time.Second), ages(n/10, time.Second)
			s.Ringing = ages(n, 100*time.Millisecond)
			p := pacerOf(b, Config{Mode: Predictive})
			b.ReportAllocs()
			for b.Loop() {
				p.Decide(s)
			}
		})
	}
}
