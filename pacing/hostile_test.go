package pacing

import (
	"math"
	"slices"
	"testing"
	"time"
)

// TestCountsBeyondThisWorld: counts that no floor has, alone and together, cost
// nothing but themselves.
func TestCountsBeyondThisWorld(t *testing.T) {
	laws := history(500).Laws(&Snapshot{})
	fields := []func(*Snapshot) *int{
		func(s *Snapshot) *int { return &s.Ready }, func(s *Snapshot) *int { return &s.Held }, func(s *Snapshot) *int { return &s.Waiting },
		func(s *Snapshot) *int { return &s.Lines }, func(s *Snapshot) *int { return &s.LeadsLeft },
		func(s *Snapshot) *int { return &s.Answered }, func(s *Snapshot) *int { return &s.Abandoned },
	}
	for _, huge := range []int{math.MaxInt, math.MaxInt - 1, math.MinInt, 1 << 31} {
		for set := range 1 << len(fields) {
			s := Snapshot{
				Now: time.Unix(1e9, 0), Ready: 3, Talking: ages(2, time.Second), Ringing: ages(2, time.Second),
				Answered: 400, Cap: 0.03, Lines: 9, LeadsLeft: 8, Laws: laws,
			}
			for i, field := range fields {
				if set&(1<<i) != 0 {
					*field(&s) = huge
				}
			}
			for _, c := range []Config{
				{Mode: Predictive, Burst: 12}, {Mode: Power, Ratio: 20, Burst: 12}, {Mode: Progressive, Burst: 12},
				{Mode: Predictive, Burst: 12, MaxLinesPerAgent: math.MaxFloat64},
			} {
				if d := pacerOf(t, c).Decide(s); d.Dial < 0 || d.Dial > max(min(s.Lines, s.LeadsLeft, 12), 0) {
					t.Fatalf("%s: dials %d of %d lines and %d leads", c.Mode, d.Dial, s.Lines, s.LeadsLeft)
				}
			}
		}
	}
}

// TestTenThousandAgents: decisions for the largest team stay within the bounds, and
// what cannot be told of ages and chances changes none.
func TestTenThousandAgents(t *testing.T) {
	s := known()
	s.Laws.Dialed = 20_000
	s.Answered, s.Abandoned, s.Lines, s.LeadsLeft = 5_000_000, 100_000, 40_000, 40_000
	s.Ready, s.Talking, s.WrapUp, s.Ringing = 500, ages(8500, 20*time.Millisecond), ages(1000, 10*time.Millisecond), ages(2000, 10*time.Millisecond)
	s.Talking[0], s.WrapUp[0], s.Ringing[0], s.Ringing[1] = math.MaxInt64, math.MinInt64, math.MaxInt64, math.MinInt64
	s.RingingChance = []float64{math.NaN(), math.Inf(1), math.Inf(-1)}
	s.NextChance = []float64{math.NaN(), math.Inf(1), math.Inf(-1)}
	d := pacerOf(t, Config{Mode: Predictive}).Decide(s)
	if d.Dial < 100 || d.Dial > 10_000 || math.IsNaN(d.ExpectedLoss+d.ExpectedFree+d.ExpectedAnswers+d.Threshold) {
		t.Errorf("%+v", d)
	}
}

// TestLargeWindowOnTape: millions of answers in a window of a month are on the tape
// as they are.
func TestLargeWindowOnTape(t *testing.T) {
	var r Recorder
	now := time.Unix(1e9, 0)
	if err := r.Begin(now, history(2000)); err != nil {
		t.Fatal(err)
	}
	if err := r.Configure(Config{Mode: Predictive, Cap: 0.03}); err != nil {
		t.Fatal(err)
	}
	d := r.Decide(Snapshot{Now: now, Ready: 20, Cap: 0.03, Answered: 5_000_000, Abandoned: 140_000, Lines: 100, LeadsLeft: 100})
	if d.Limit == LimitAllowance || math.Abs(d.Allowance-10_000) > 1e-6 {
		t.Errorf("140,000 of 5,000,000 abandoned at a cap of 3 %%: %s, %g may still be", d.Limit, d.Allowance)
	}
	var p Player
	for look, err := range p.Play(slices.Clone(r.Cut())) {
		if err != nil || look.Snapshot.Answered != 5_000_000 {
			t.Errorf("the tape says %d answered, %v", look.Snapshot.Answered, err)
		}
	}
}
