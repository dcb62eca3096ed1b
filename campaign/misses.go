package campaign

import (
	"context"
	"math"
	"time"

	"dialer/compliance"
)

// detectorEvery is how often the detector's error is counted.
const detectorEvery = 10 * time.Minute

// lookAtDetector counts how many persons the detector takes for machines, where a
// random sample tells: pacing keeps that much below the cap. It is rounded to
// half percents, so that the pacer, which remembers, is not made anew each time.
func (r *runner) lookAtDetector(ctx context.Context, c Campaign, since, now time.Time) error {
	set := c.Settings.Detection
	if !c.Settings.AMD || set.AgentShare == 0 && set.KeepShare == 0 {
		r.setMissRate(0)
		return nil
	}
	if !r.missedAt.IsZero() && now.Sub(r.missedAt) < detectorEvery {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, storeLimit)
	defer cancel()
	counts, err := r.s.cfg.Store.DetectorCounts(ctx, r.id, since, time.Time{}, true)
	if err != nil {
		return err
	}
	r.mu.Lock()
	answered := r.legal.figures().answered
	r.mu.Unlock()
	r.missedAt = now
	r.setMissRate(math.Ceil(compliance.ErrorOf(counts).MissRate(answered)*200) / 200)
	return nil
}

func (r *runner) setMissRate(share float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.missRate = share
}
