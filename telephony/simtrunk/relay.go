package simtrunk

import (
	"context"
	"slices"
	"sync"

	"dialer/telephony"
)

// A relay joins two legs. It moves no frames unless somebody listens.
type relay struct {
	a, b *leg

	mu      sync.Mutex
	stopped bool
	cancel  context.CancelFunc // of the copiers; nil when there are none
	copiers sync.WaitGroup
}

// Relay implements telephony.Relayer for two legs of this package.
func (l *leg) Relay(to telephony.Leg) (stop func(), ok bool) {
	other, ok := to.(*leg)
	if !ok || other == l {
		return nil, false
	}
	r := &relay{a: l, b: other}
	l.joined(r, other)
	other.joined(r, l)
	r.refresh()
	return sync.OnceFunc(r.stop), true
}

// refresh starts or ends the copying of frames.
func (r *relay) refresh() {
	wanted := r.a.listened() || r.b.listened()
	r.mu.Lock()
	defer r.mu.Unlock()
	switch wanted = wanted && !r.stopped; {
	case wanted && r.cancel == nil:
		ctx, cancel := context.WithCancel(context.Background())
		r.cancel = cancel
		r.copiers.Go(func() { copyFrames(ctx, r.b, r.a) })
		r.copiers.Go(func() { copyFrames(ctx, r.a, r.b) })
	case !wanted && r.cancel != nil:
		r.cancel()
		r.cancel = nil
	}
}

func (r *relay) stop() {
	r.mu.Lock()
	r.stopped = true
	if r.cancel != nil {
		r.cancel()
		r.cancel = nil
	}
	r.mu.Unlock()
	r.copiers.Wait()
	r.a.parted(r)
	r.b.parted(r)
}

func copyFrames(ctx context.Context, to, from *leg) {
	for {
		f, err := from.ReadFrame(ctx)
		if err != nil || to.WriteFrame(f) != nil {
			return
		}
	}
}

// joined notes that the leg is relayed to another.
func (l *leg) joined(r *relay, other *leg) {
	l.mu.Lock()
	l.relays = append(l.relays, r)
	talk := other.station != "" && l.station == "" && !l.talked
	if talk {
		l.talked = true
		if l.patience != nil {
			l.patience.Stop()
		}
	}
	l.mu.Unlock()
	if talk && l.talkFor > 0 {
		l.after(l.talkFor, func() { l.end(telephony.Callee, telephony.CauseNormal) })
	}
	if l.onTalk != nil {
		l.onTalk(other)
	}
}

func (l *leg) parted(r *relay) {
	l.mu.Lock()
	l.relays = slices.DeleteFunc(l.relays, func(x *relay) bool { return x == r })
	l.mu.Unlock()
	if l.onPart != nil {
		l.onPart(r.other(l))
	}
}

func (r *relay) other(l *leg) *leg {
	if r.a == l {
		return r.b
	}
	return r.a
}
