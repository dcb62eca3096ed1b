package siptrunk

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"dialer"
	"dialer/telephony"
)

// dueLookUp reports whether the trunk's names are to be looked up now.
func (l *line) dueLookUp(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.gone && l.looking == nil && !now.Before(l.lookAt)
}

// lookUp waits for the lookup of a trunk that runs, or begins now. It is nobody's
// own: who asked for it may go away, and others wait for it too.
func (e *Endpoint) lookUp(ctx context.Context, l *line) error {
	l.mu.Lock()
	done := l.looking
	begins := done == nil
	if begins {
		done = make(chan struct{})
		l.looking = done
	}
	cfg := l.cfg
	l.mu.Unlock()
	if begins && !e.goWork("a lookup", func() {
		defer l.looked(done)
		e.find(l, cfg)
	}) {
		l.looked(done)
		return errors.New("the dialer is shutting down")
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (l *line) looked(done chan struct{}) {
	l.mu.Lock()
	l.looking = nil
	l.mu.Unlock()
	close(done)
}

// find finds where a trunk's peers are; it ends with the endpoint.
func (e *Endpoint) find(l *line, cfg telephony.Trunk) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ending := make(chan struct{})
	go func() {
		defer close(ending)
		select {
		case <-e.stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	records, stale, err := e.names.records(ctx, cfg)
	over := ctx.Err() != nil
	cancel()
	<-ending
	if over {
		return
	}
	switch news := l.located(cfg, records, stale, err, time.Now(), e.unit()); {
	case news == nil:
	case err != nil:
		e.log.Warn("the trunk's address cannot be found", "trunk", string(l.id), "err", err)
	default:
		e.log.Warn("the trunk's names cannot all be looked up; the last addresses are used", "trunk", string(l.id), "err", stale)
	}
	e.admitTrunks()
}

// located takes in what a lookup found. It returns the trouble when it is new.
func (l *line) located(cfg telephony.Trunk, records []record, stale, err error, now time.Time, unit time.Duration) (news error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cfg.HostPort() != cfg.HostPort() || trunkTransport(l.cfg) != trunkTransport(cfg) || !slices.Equal(l.cfg.Backups, cfg.Backups) {
		return nil // of settings that have changed meanwhile
	}
	if (err != nil || stale != nil) && l.nowhere == nil && l.stale == nil {
		news = cmp.Or(err, stale)
	}
	l.lookAt = now.Add(failLife)
	if err != nil {
		if l.records == nil {
			l.nowhere = err
		} else {
			l.stale = err
		}
		return news
	}
	if stale == nil {
		l.lookAt = now.Add(nameLife)
	}
	l.records, l.nowhere, l.stale = records, nil, stale
	kept := map[netip.AddrPort]*pulse{}
	for _, t := range order(records) {
		if kept[t.addr] = l.pulses[t.addr]; kept[t.addr] == nil {
			// It is trusted at first; the OPTIONS after the first pause may say else.
			kept[t.addr] = &pulse{target: t, due: now.Add(optionsPause(cfg, unit))}
		}
	}
	l.pulses = kept
	return news
}

// targets returns the trunk's targets in the order of one call; the first call
// of a trunk may have to wait for DNS.
func (e *Endpoint) targets(ctx context.Context, l *line) ([]target, error) {
	for {
		l.mu.Lock()
		records, err := l.records, l.nowhere
		l.mu.Unlock()
		if records != nil || err != nil {
			return order(records), err
		}
		if err := e.lookUp(ctx, l); err != nil {
			return nil, err
		}
	}
}

// findOut looks up where a trunk is when that is not known, and returns what is
// closed when it has; nil when there is nothing to wait for.
func (e *Endpoint) findOut(ctx context.Context, id dialer.TrunkID) (done <-chan struct{}) {
	l, _ := e.line(id)
	if l == nil {
		return nil
	}
	l.mu.Lock()
	known := l.records != nil || l.nowhere != nil
	l.mu.Unlock()
	if known {
		return nil
	}
	found := make(chan struct{})
	if !e.goWork("finding a trunk", func() {
		defer close(found)
		e.lookUp(ctx, l)
	}) {
		return nil
	}
	return found
}
