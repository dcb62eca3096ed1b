package ladder

import (
	"context"
	"time"

	"dialer"
	"dialer/telephony"
)

// Run saves the ladders of calls that are over and forgets what is old, until ctx
// ends; then it saves what there is.
func (r *Recorder) Run(ctx context.Context) error {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	var prune, retry time.Time
	away := false
	for {
		select {
		case <-ctx.Done():
			r.sweep(time.Now(), true)
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveLimit)
			defer cancel()
			for r.save(ctx) == nil && r.Stats().Waiting > 0 {
			}
			return nil
		case <-ticker.C:
		}
		now := time.Now()
		r.sweep(now, false)
		if now.Before(retry) {
			continue
		}
		err := r.save(ctx)
		if err == nil && !now.Before(prune) {
			if err = r.prune(ctx, now); err == nil {
				prune = now.Add(pruneEvery)
			}
		}
		switch {
		case err == nil:
			away = false
		case ctx.Err() == nil:
			retry = now.Add(saveLimit)
			if !away {
				r.log.Warn("SIP ladders wait for the database", "waiting", r.Stats().Waiting, "err", err)
			}
			away = true
		}
	}
}

// sweep takes the ladders that are over out of the live ones.
func (r *Recorder) sweep(now time.Time, all bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.shards {
		for call, t := range r.shards[i].take(now, all) {
			if t.unasked {
				r.unasked.Add(-1)
			}
			r.over = append(r.over, t.ladder(call))
		}
	}
	// Half of the memory is for calls that are up.
	waiting, drop := 0, 0
	for _, l := range r.over {
		waiting += size(l)
	}
	for ; waiting > mostMemory/2; drop++ {
		n := size(r.over[drop])
		waiting -= n
		r.bytes.Add(int64(-n))
		r.lost.Add(1)
	}
	r.over = append(r.over[:0:0], r.over[drop:]...)
}

// take takes the tracks that are over out of a shard: they are nobody else's then.
func (s *shard) take(now time.Time, all bool) map[dialer.CallID]*track {
	s.mu.Lock()
	defer s.mu.Unlock()
	over := map[dialer.CallID]*track{}
	for call, t := range s.live {
		idle := now.Sub(t.last)
		if all || idle >= quiet || t.done && idle >= linger {
			delete(s.live, call)
			over[call] = t
		}
	}
	return over
}

func size(l telephony.Ladder) (n int) {
	for _, m := range l.Messages {
		n += len(m.Data)
	}
	return n
}

// save gives the store what waits, without its secrets, one batch at a time.
func (r *Recorder) save(ctx context.Context) error {
	for {
		r.mu.Lock()
		batch := append([]telephony.Ladder(nil), r.over[:min(len(r.over), saveAtOnce)]...)
		r.mu.Unlock()
		if len(batch) == 0 {
			return nil
		}
		clean := make([]telephony.Ladder, len(batch))
		for i, l := range batch {
			clean[i] = masked(l)
		}
		limited, cancel := context.WithTimeout(ctx, saveLimit)
		err := r.store.SaveLadders(limited, clean)
		cancel()
		if err != nil {
			return err
		}
		r.mu.Lock()
		for _, l := range batch {
			r.bytes.Add(int64(-size(l)))
		}
		r.over = r.over[len(batch):] // only Run takes away
		r.mu.Unlock()
	}
}

// prune forgets what is older than it is to be kept.
func (r *Recorder) prune(ctx context.Context, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, saveLimit)
	defer cancel()
	return r.store.PruneLadders(ctx, now.Add(-r.keep))
}
