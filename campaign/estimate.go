package campaign

import (
	"context"
	"encoding/json"
	"time"

	"dialer"
	"dialer/pacing"
)

// saveEvery is how often what the pacer has learned is saved, and the tape of its
// decisions.
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
	learned := pacing.Estimator{}
	if len(body) > 0 {
		if learned, err = pacing.ReadEstimator(body); err != nil {
			r.log.Warn("what the pacer had learned is damaged: it learns again", "err", err)
			learned = pacing.Estimator{}
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	learned.RingMax = r.pacing.Estimator.RingMax
	r.savedOf = learned.Attempts
	r.beginTape(&learned, now)
	return nil
}

// save saves what has been learned and recorded since the last time.
func (r *runner) save(ctx context.Context, now time.Time) {
	r.savedAt = now
	if !r.recalled {
		return
	}
	r.saveTape(ctx, now)
	r.mu.Lock()
	attempts := r.pacing.Estimator.Attempts
	body, err := json.Marshal(&r.pacing.Estimator)
	r.mu.Unlock()
	if attempts == r.savedOf {
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

// A TapePart is a part of the tape of a campaign's decisions (pacing.Recorder).
type TapePart struct {
	Campaign dialer.CampaignID
	Began    time.Time // of the tape, which it names
	Part     int       // 0 is the first
	From, To time.Time // what it tells of
	Version  string    // of the program that decided
	Body     []byte
}

// How long one tape goes on, and how much of it may wait for the store.
const (
	// A replay reads a tape from its beginning. Beginning a new one costs the
	// pacer the memory of whether the level of answers has just changed.
	tapeLongest = 4 * time.Hour
	mostUnsaved = 10 // parts
	// A clock that was set, or a machine that slept: the times on the tape would
	// no longer be those of the log.
	mostDrift = time.Second
)

// beginTape begins a new tape; should that fail, there is none. The caller holds
// mu.
func (r *runner) beginTape(learned *pacing.Estimator, now time.Time) {
	if err := r.pacing.Begin(now, learned); err != nil {
		r.log.Warn("decisions cannot be replayed: no tape is kept", "err", err)
		r.pacing = pacing.Recorder{Estimator: *learned}
	}
	r.taped, r.tapedTo, r.part, r.looks = now, now, 0, 0
}

// saveTape saves the parts that are not saved yet, in order.
func (r *runner) saveTape(ctx context.Context, now time.Time) {
	r.cutTape(now)
	for len(r.unsaved) > 0 {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeLimit)
		err := r.s.cfg.Store.SaveTape(ctx, r.unsaved[0])
		cancel()
		if err != nil {
			r.log.Warn("the tape of the pacer's decisions is not saved", "err", err)
			break
		}
		r.unsaved = r.unsaved[1:]
	}
	drift := now.Round(0).Sub(r.taped.Round(0)) - now.Sub(r.taped)
	if len(r.unsaved) <= mostUnsaved && now.Sub(r.taped) < tapeLongest && drift.Abs() < mostDrift {
		return
	}
	if len(r.unsaved) > mostUnsaved {
		r.unsaved = nil // that stretch cannot be replayed
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.beginTape(&r.pacing.Estimator, now)
}

// cutTape takes what was recorded since the last time as a part to be saved. A
// part without a decision waits for one.
func (r *runner) cutTape(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pacing.Looks() == r.looks {
		return
	}
	r.looks = r.pacing.Looks()
	r.unsaved = append(r.unsaved, TapePart{
		Campaign: r.id, Began: r.pacing.Began(), Part: r.part, From: r.tapedTo, To: now, Version: r.s.cfg.Version, Body: r.pacing.Cut(),
	})
	r.part++
	r.tapedTo = now
}
