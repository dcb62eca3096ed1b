package compliance

import (
	"math"
	"testing"
)

// TestConservativeRate holds the vectors A2 and A3: 980 connected, 20 abandoned
// and 1,500 machines.
func TestConservativeRate(t *testing.T) {
	tl := tally(1000, 20)
	tl.AddN(ClassMachine, 1500)
	for _, c := range []struct {
		name     string
		test     DetectorTest
		fp, rate float64
	}{
		{"A2", DetectorTest{ShareOfMachine: 0.015}, 22.5, 4.1565},
		{"A3", DetectorTest{MissRateLive: 0.02}, 20.4082, 3.9600},
		{"no test", DetectorTest{}, 0, 2},
		{"absurd", DetectorTest{MissRateLive: 1, ShareOfMachine: -3}, 0, 2},
	} {
		fp, rate := c.test.FalsePositives(tl), tl.ConservativeRate(c.test)
		if math.Abs(fp-c.fp) > 1e-4 || rate == nil || math.Abs(100**rate-c.rate) > 1e-4 {
			t.Errorf("%s: %.4f false positives, want %.4f; rate %v, want %g %%", c.name, fp, c.fp, rate, c.rate)
		}
	}
	if rate := (Tally{}).ConservativeRate(DetectorTest{ShareOfMachine: 0.01}); rate != nil {
		t.Errorf("nobody answered and the rate is %v", *rate)
	}
}
