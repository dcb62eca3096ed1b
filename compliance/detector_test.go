package compliance

import (
	"fmt"
	"math"
	"testing"
	"testing/quick"
	"time"
)

// The intervals of amd.md and of Wilson's own paper, to the digit printed.
func TestProportion(t *testing.T) {
	for _, c := range []struct {
		found, sample int
		want          string
	}{
		{5, 278, "0.018 0.008-0.041"}, {11, 278, "0.040 0.022-0.069"}, {0, 10, "0.000 0.000-0.278"}, {10, 10, "1.000 0.722-1.000"}, {1, 1, "1.000 0.207-1.000"},
	} {
		p := NewProportion(c.found, c.sample)
		if got := fmt.Sprintf("%.3f %.3f-%.3f", *p.Share, *p.Low, *p.High); got != c.want {
			t.Errorf("%d of %d: %s, want %s", c.found, c.sample, got, c.want)
		}
	}
	if p := NewProportion(0, 0); p.Share != nil || p.Low != nil || p.High != nil {
		t.Errorf("nothing seen: %+v", p)
	}
	if err := quick.Check(func(a, b uint16) bool {
		found, sample := int(min(a, b)), int(max(a, b, 1))
		p := NewProportion(found, sample)
		return 0 <= *p.Low && *p.Low <= *p.Share+1e-12 && *p.Share <= *p.High+1e-12 && *p.High <= 1 && !math.IsNaN(*p.Low)
	}, nil); err != nil {
		t.Error(err)
	}
}

// What is verified is no estimate, and what is estimated says of how many.
func TestDetectorErrorAndTheConservativeRate(t *testing.T) {
	counts := []DetectorCount{
		{Verdict: "machine", Calls: 950},                                       // hung up on, unseen
		{Verdict: "machine", Sampled: true, Truth: "machine", Calls: 38},       //
		{Verdict: "machine", Sampled: true, Truth: "person", Calls: 1},         //
		{Verdict: "machine", Sampled: true, Truth: "human", Calls: 1},          // labelled by ear
		{Verdict: "machine", Sampled: true, Calls: 10},                         // nobody said
		{Verdict: "human", Truth: "person", Calls: 900},                        //
		{Verdict: "human", Truth: "machine", Late: true, Calls: 100},           //
		{Verdict: "human", Calls: 7},                                           // no disposition
		{Verdict: "screening", Truth: "person", Calls: 5},                      // put through
		{Verdict: "sit", Calls: 40}, {Verdict: "silence", Truth: "", Calls: 3}, //
	}
	e := ErrorOf(counts)
	if p := e.FalsePositives; p.Found != 2 || p.Sample != 40 || e.Unverified != 1000 || e.Sampled != 50 || e.Unlabelled != 10 || e.Late != 100 {
		t.Errorf("%+v", e)
	}
	if p := e.Missed; p.Found != 100 || p.Sample != 1000 {
		t.Errorf("missed machines %+v", p)
	}
	test := e.Test(time.Unix(0, 0))
	var tally Tally
	tally.AddN(ClassConnected, 950)
	tally.AddN(ClassMachine, 1138)
	if fp := test.FalsePositives(tally); math.Abs(fp-50) > 1e-9 { // 5 % of 1,000 and not of 1,138
		t.Errorf("%g false positives", fp)
	}
	if rate := tally.ConservativeRate(test); math.Abs(*rate-0.05) > 1e-9 {
		t.Errorf("conservative rate %g", *rate)
	}
	if high := tally.ConservativeRate(test.Highest()); *high < 0.1 || *high > 0.2 {
		t.Errorf("with the upper end %g", *high)
	}
	if m := e.MissRate(950); math.Abs(m-0.05) > 1e-9 {
		t.Errorf("P(machine | live) is %g", m)
	}
	few := ErrorOf([]DetectorCount{{Verdict: "machine", Truth: "person", Calls: 29}, {Verdict: "machine", Calls: 100}})
	if m := few.MissRate(10); m != 0 {
		t.Errorf("29 labels are enough for %g", m)
	}
	if (DetectorError{}).Test(time.Unix(0, 0)) != (DetectorTest{}) {
		t.Error("a test without a sample")
	}
}
