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
	}
	e := estimators.Draw(t, "history")
	s.Laws = e.Laws(&s)
	if rapid.Bool().Draw(t, "little left") {
		s.Abandoned = max(int(s.Cap*float64(answered+1))-rapid.IntRange(0, 4).Draw(t, "left"), 0)
	}
	return s
})

// estimators have seen something, or come from a file that somebody has edited.
var estimators = rapid.Custom(func(t *rapid.T) *Estimator {
	e := &Estimator{RingMax: time.Duration(rapid.IntRange(-1, 200).Draw(t, "ring max")) * time.Second}
	if rapid.Bool().Draw(t, "edited") {
		odd := rapid.Float64Range(-1e300, 1e300)
		e.Live = rapid.SliceOfN(odd, 0, 130).Draw(t, "live")
		e.Other = rapid.SliceOfN(odd, 0, 130).Draw(t, "other")
		e.Talk = Spans{N: odd.Draw(t, "n"), Sum: odd.Draw(t, "sum"), Log: odd.Draw(t, "log"), Log2: odd.Draw(t, "log2"),
			Ends: rapid.SliceOfN(odd, 0, 90).Draw(t, "ends")}
		e.Detect = Share{odd.Draw(t, "detect n"), odd.Draw(t, "detect yes")}
		e.Leaves = Share{odd.Draw(t, "leaves n"), odd.Draw(t, "leaves yes")}
		e.Attempts = rapid.Int().Draw(t, "attempts")
	}
	for range rapid.IntRange(0, 60).Draw(t, "attempts") {
		e.Ended(rapid.Bool().Draw(t, "live"), time.Duration(rapid.IntRange(-1, 100).Draw(t, "ring"))*time.Second)
	}
	for range rapid.IntRange(0, 10).Draw(t, "talks") {
		e.Talked(time.Duration(rapid.IntRange(-1, 1000).Draw(t, "talk")) * time.Second)
		e.Wrapped(time.Duration(rapid.IntRange(-1, 1000).Draw(t, "wrap"))*time.Second, rapid.Bool().Draw(t, "leaves"))
		e.Detected(rapid.Bool().Draw(t, "person"))
	}
	return e
})

var configs = rapid.Custom(func(t *rapid.T) Config {
	return Config{
		Mode:             rapid.SampledFrom([]Mode{Preview, Progressive, Power, Predictive}).Draw(t, "mode"),
		Ratio:            rapid.Float64Range(1, 20).Draw(t, "ratio"),
		MaxLinesPerAgent: rapid.SampledFrom([]float64{0, 1, 2.5}).Draw(t, "lines per agent"),
		Burst:            rapid.SampledFrom([]int{0, 1, 7}).Draw(t, "burst"),
		Strict:           rapid.Bool().Draw(t, "strict"),
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
		spent := max(s.Cap, 0)*float64(s.Answered)-float64(s.Abandoned) <= 0
		cold := c.Mode == Predictive && s.Laws.Dialed < min(25, 3*agents)
		single := c.Mode == Preview || c.Mode == Progressive
		guarded := c.Mode == Predictive || c.Mode == Power && s.Cap > 0
		if (single || guarded && spent || cold) && d.Dial > 0 && d.Dial+flight > s.Ready+s.Held {
			t.Fatalf("dial %d with %d in flight for %d agents: %s", d.Dial, flight, s.Ready+s.Held, d.Reason)
		}
		if d.AgentFirst != (single || guarded && spent) {
			t.Fatalf("each call gets its agent first: %v: %s", d.AgentFirst, d.Reason)
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
		Laws: history(2000).Laws(&Snapshot{}),
	}
}

// history has seen n attempts, a quarter answered after 6 to 18 seconds, talks of
// two minutes on average and wrap-ups of a quarter of one.
func history(n int) *Estimator {
	e := &Estimator{RingMax: 25 * time.Second}
	for i := range n {
		if i%4 != 0 {
			e.Ended(false, 25*time.Second)
			continue
		}
		e.Ended(true, time.Duration(6+i%13)*time.Second)
		e.Talked(time.Duration(i%241) * time.Second)
		e.Wrapped(time.Duration(i%31)*time.Second, false)
		e.Detected(true)
	}
	return e
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
		limit  Limit
		want   string
	}{
		{"predicting", Predictive, func(*Snapshot) {}, "agents", "2 of 2 agents ready"},
		{"warm-up by law", Predictive, func(s *Snapshot) { s.Answered, s.Abandoned = 0, 0 }, "warm-up", "0 people have answered, too few"},
		{"warm-up by data", Predictive, func(s *Snapshot) { s.Ready, s.Laws = 10, history(20).Laws(&Snapshot{}) }, "warm-up", "20 attempts have ended, 25 are needed"},
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

// TestSpent: a call may be risked while anything of the allowance is left (1 of 34
// is 2.94 %, 1 of 33 is 3.03 %), whatever the profile.
func TestSpent(t *testing.T) {
	for _, c := range []struct {
		strict              bool
		answered, abandoned int
		spent               bool
	}{
		{false, 0, 0, true}, {false, 1, 0, false}, {false, 33, 1, true}, {false, 34, 1, false}, {false, 100, 3, true},
		{true, 0, 0, true}, {true, 1, 0, false}, {true, 33, 1, true}, {true, 34, 1, false},
	} {
		s := known()
		s.Answered, s.Abandoned, s.Ready = c.answered, c.abandoned, 10
		for _, mode := range []Mode{Power, Predictive} {
			d := pacerOf(t, Config{Mode: mode, Ratio: 3, Burst: 100, Strict: c.strict}).Decide(s)
			if d.AgentFirst != c.spent || c.spent && d.Dial != s.Ready {
				t.Errorf("%s, strict %v, %d of %d abandoned: dials %d for %d agents, agent first %v (%s)",
					mode, c.strict, c.abandoned, c.answered, d.Dial, s.Ready, d.AgentFirst, d.Reason)
			}
		}
	}
}

func TestEstimatorLearns(t *testing.T) {
	e := Estimator{RingMax: 30 * time.Second}
	for i := range 4000 {
		e.Ended(i%5 == 0, 10*time.Second)
		e.Talked(time.Duration(40+i%41) * time.Second)
		e.Wrapped(10*time.Second, i%10 == 0)
		e.Detected(i%2 == 0)
	}
	l := e.Laws(&Snapshot{})
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
	near("detected live", l.DetectedLive, 0.5, 0.01)
	near("leaving", l.Leaving, 0.1, 0.01)
	if l.Dialed != 4000 {
		t.Errorf("%d dialed", l.Dialed)
	}
	for range 4000 { // the list turns worse: the old rate fades
		e.Ended(false, 10*time.Second)
	}
	if got := e.Laws(&Snapshot{Now: time.Unix(60, 0)}).LiveRate; got > 0.03 {
		t.Errorf("live rate %.3f after 4000 attempts without an answer", got)
	}
}

// TestConditional: what an agent has left depends on how long he has talked. In a
// mix of short and long talks one that has lasted is a long one.
func TestConditional(t *testing.T) {
	e := Estimator{RingMax: 30 * time.Second}
	for i := range 2000 {
		if i%2 == 0 {
			e.Talked(time.Duration(20+i%10) * time.Second)
		} else {
			e.Talked(time.Duration(500+i%200) * time.Second)
		}
		e.Wrapped(5*time.Second, false)
	}
	l := e.Laws(&Snapshot{})
	soon := func(age float64) float64 { return l.talkBy[spanBin(age)][8] } // some 20 s ahead
	if young, old, done := soon(18), soon(100), soon(600); !(young > 0.3 && old < 0.05 && done > 2*old) {
		t.Errorf("chance to be free in 20 s: %.2f after 18 s, %.2f after 100 s, %.2f after 600 s", young, old, done)
	}
}

// TestLevelChange: when people suddenly answer twice as often, that is known long
// before the memory has turned over, and chance alone does not raise it.
func TestLevelChange(t *testing.T) {
	e, now := history(4000), time.Unix(0, 0)
	ringing := ages(20, time.Second)
	pass := func(answers float64, minutes int) float64 {
		owed := 0.0
		for range minutes * 60 {
			now = now.Add(time.Second)
			l := e.Laws(&Snapshot{Now: now, Ringing: ringing})
			expected := 0.0
			for _, age := range ringing {
				expected += l.ring.hazard(age.Seconds() - 0.5)
			}
			for owed += answers * 0.25 / 25 * 20; owed >= 1; owed-- {
				e.Ended(true, 12*time.Second)
				for range 3 {
					e.Ended(false, 25*time.Second)
				}
			}
			_ = expected
		}
		return e.Laws(&Snapshot{Now: now.Add(time.Minute), Ringing: ringing}).LiveRate
	}
	before := e.Laws(&Snapshot{Now: now, Ringing: ringing}).LiveRate
	if after := pass(3, 6); after < 1.3*before {
		t.Errorf("three times the answers for six minutes: the live rate went from %.2f to %.2f only", before, after)
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
	back, err := ReadEstimator(data)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := back.Laws(&Snapshot{}), e.Laws(&Snapshot{}); !reflect.DeepEqual(got, want) {
		t.Errorf("after a restart the laws are\n%+v, before\n%+v", got, want)
	}
}

// TestReadEstimatorRefuses: what somebody has edited, or another version wrote,
// is no start.
func TestReadEstimatorRefuses(t *testing.T) {
	for _, data := range []string{
		``, `[]`, `{"attempts":-1}`, `{"live":[1,2],"other":[1,2]}`, `{"talk":{"n":-3}}`, `{"wrap":{"ends":[1]}}`,
		`{"detect":{"n":1,"yes":2}}`, `{"leaves":{"n":1e300}}`,
	} {
		if e, err := ReadEstimator([]byte(data)); err == nil || e.Attempts != 0 {
			t.Errorf("%s was read as %+v", data, e)
		}
	}
	if _, err := ReadEstimator([]byte(`{}`)); err != nil {
		t.Errorf("an estimator that knows nothing: %v", err)
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
	// 1 of 4 agents ready, 0 calls in flight, one call per agent: dial 1 (0 attempts have ended, 12 are needed to predict)
}

func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{20, 100, 500} {
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

func pacerOf(t testing.TB, c Config) Pacer {
	t.Helper()
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
