package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"dialer"
)

func eventsInCommitOrder(t *testing.T, f *fixture) {
	const writers, each = 8, 50
	ctx, stop := context.WithCancel(f.ctx)
	defer stop()
	var seen []dialer.Event
	followed := make(chan error, 1)
	go func() {
		var after int64
		for len(seen) < writers*each*2 {
			if err := f.WaitEvents(ctx, after); err != nil {
				followed <- err
				return
			}
			events, err := f.ReadEvents(ctx, after, 7)
			if err != nil {
				followed <- err
				return
			}
			for _, e := range events {
				if e.Seq <= after {
					followed <- fmt.Errorf("seq %d after %d", e.Seq, after)
					return
				}
				after = e.Seq
			}
			seen = append(seen, events...)
		}
		followed <- nil
	}()
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			for i := range each {
				n := numberOf(w*each + i)
				if err := f.AddDNC(ctx, f.id, n, "test", now); err != nil {
					t.Error(err)
					return
				}
				f.Record(dialer.Event{Campaign: f.id, Fact: dialer.PacingDecided{Dial: w, Reason: fmt.Sprint(i)}})
			}
		})
	}
	group.Wait()
	f.flush()
	all, err := f.ReadEvents(ctx, 0, 100_000)
	if err != nil || len(all) != writers*each*2 {
		t.Fatalf("%d events are in the log, %v, want %d", len(all), err, writers*each*2)
	}
	if err := <-followed; err != nil {
		t.Fatalf("the follower saw %d events: %v", len(seen), err)
	}
	diff(t, "what the follower saw", seen, all)
	last := map[int]int{}
	for _, e := range all {
		if p, ok := e.Fact.(dialer.PacingDecided); ok {
			if p.Reason != fmt.Sprint(last[p.Dial]) {
				t.Fatalf("writer %d: fact %s is out of order", p.Dial, p.Reason)
			}
			last[p.Dial]++
		}
	}
}

func waitEvents(t *testing.T, f *fixture) {
	ctx, cancel := context.WithCancelCause(f.ctx)
	gone := errors.New("gone")
	cancel(gone)
	if err := f.WaitEvents(ctx, 1<<40); !errors.Is(err, gone) {
		t.Errorf("WaitEvents without events: %v, want the cause of its context", err)
	}
	f.Record(dialer.Event{Campaign: f.id, Fact: dialer.PacingDecided{}})
	if err := f.WaitEvents(f.ctx, 0); err != nil {
		t.Error(err)
	}
}
