package campaign

import (
	"context"
	"encoding/json"
	"time"

	"dialer/pacing"
)

// saveEvery is how often what the pacer has learned is saved.
const saveEvery = time.Minute

// recall begins with what an earlier run has learned. What cannot be read is
// learned again.
func (r *runner) recall(ctx context.Context, now time.Time) error {
	if r.recalled {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, storeLimit)
	defer cancel()
	body, err := r.s.cfg.Store.Estimate(ctx, r.id)
	if err != nil {
		return err
	}
	r.recalled, r.savedAt = true, now
	if len(body) == 0 {
		return nil
	}
	learned, err := pacing.ReadEstimator(body)
	if err != nil {
		r.log.Warn("what the pacer had learned is damaged: it learns again", "err", err)
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	learned.RingMax = r.estimate.RingMax
	r.estimate, r.savedOf = learned, learned.Attempts
	return nil
}

// saveEstimate saves what has been learned since the last time.
func (r *runner) saveEstimate(ctx context.Context, now time.Time) {
	r.mu.Lock()
	attempts := r.estimate.Attempts
	body, err := json.Marshal(&r.estimate)
	r.mu.Unlock()
	r.savedAt = now
	if !r.recalled || attempts == r.savedOf {
		return
	}
	if err == nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeLimit)
		defer cancel()
		err = r.s.cfg.Store.SaveEstimate(ctx, r.id, body, now)
	}
	if err != nil {
		r.log.Warn("what the pacer has learned is not saved", "err", err)
		return
	}
	r.savedOf = attempts
}
