package telephony

import (
	"math"
	"testing"
	"time"
)

// TestMOS: the figures that ITU-T G.107 and G.113 give for G.711.
func TestMOS(t *testing.T) {
	for _, c := range []struct {
		loss        float64
		jitter, rtt time.Duration
		want        float64
	}{
		{0, 0, 0, 4.40},
		{0, 0, 200 * time.Millisecond, 4.35},
		{0.01, 0, 0, 4.32},
		{0.05, 0, 0, 3.90},
		{0.20, 0, 0, 2.61},
		{0, 50 * time.Millisecond, 600 * time.Millisecond, 2.91},
		{1, time.Second, 5 * time.Second, 1},
	} {
		if got := EstimateMOS(c.loss, c.jitter, c.rtt); math.Abs(got-c.want) > 0.02 {
			t.Errorf("loss %g, jitter %s, round trip %s: %.2f, want %.2f", c.loss, c.jitter, c.rtt, got, c.want)
		}
	}
	last := 5.0
	for p := range 101 {
		got := EstimateMOS(float64(p)/100, 0, 0)
		if got > last || got < 1 {
			t.Errorf("at a loss of %d %% %.3f after %.3f", p, got, last)
		}
		last = got
	}
}

func TestStatsOfATalk(t *testing.T) {
	before := MediaStats{PacketsIn: 50_000, PacketsOut: 50_000, Lost: 9000, LostThere: 100, MOS: 2.5}
	now := MediaStats{PacketsIn: 51_000, PacketsOut: 51_000, Lost: 8999, LostThere: 150, Jitter: time.Millisecond, Codec: "PCMU", MOS: 2.5}
	got := now.Since(before)
	if got.PacketsIn != 1000 || got.Lost != 0 || got.MOS < 4.3 || math.Abs(got.LossThere()-0.05) > 1e-9 || got.Codec != "PCMU" {
		t.Errorf("%+v", got)
	}
	if idle := before.Since(before); idle.MOS != 0 || idle.Loss() != 0 {
		t.Errorf("nothing was heard: %+v", idle)
	}
}
