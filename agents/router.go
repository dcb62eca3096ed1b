package agents

import (
	"container/list"
	"context"
	"slices"
	"time"

	"dialer"
)

// A pool is a campaign's agents and the calls that wait for one.
type pool struct {
	members []*Session
	waiters list.List // of *waiter, in order of asking
	changed chan struct{}
}

// A waiter is a call that waits for an agent.
type waiter struct {
	ticket   int64
	campaign dialer.CampaignID
	call     dialer.CallID
	res      *reservation  // set before served is closed; nil when dismissed
	served   chan struct{} // closed when it is out of the list
}

// pool returns the campaign's pool, which stays for good.
func (r *Registry) pool(id dialer.CampaignID) *pool {
	p := r.pools[id]
	if p == nil {
		p = &pool{changed: make(chan struct{}, 1)}
		r.pools[id] = p
	}
	return p
}

func (p *pool) signal() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

func (p *pool) dismiss() {
	for e := p.waiters.Front(); e != nil; e = p.waiters.Front() {
		close(p.waiters.Remove(e).(*waiter).served)
	}
}

// longestIdle returns the available agent who has waited longest, or nil.
func (p *pool) longestIdle() *Session {
	var best *Session
	for _, s := range p.members {
		if s.available() && (best == nil || s.idle.Before(best.idle)) {
			best = s
		}
	}
	return best
}

// match gives an agent to the call that has waited longest in any of their
// campaigns.
func (r *Registry) match(s *Session) {
	if !s.available() {
		return
	}
	var first *list.Element
	for _, id := range s.agent.Campaigns {
		e := r.pool(id).waiters.Front()
		if e != nil && (first == nil || e.Value.(*waiter).ticket < first.Value.(*waiter).ticket) {
			first = e
		}
	}
	if first == nil {
		return
	}
	w := first.Value.(*waiter)
	r.pool(w.campaign).waiters.Remove(first)
	w.res = s.reserve(w.call)
	close(w.served)
}

func (s *Session) reserve(call dialer.CallID) *reservation {
	s.res = newReservation(s, call)
	s.asked, s.askedReason = "", ""
	s.move(Reserved, "call")
	return s.res
}

// Reserve takes the longest-idle ready agent of the campaign for a call,
// waiting until ctx ends. Calls are served in the order of asking. An agent
// assigned in the instant ctx ends is returned: err is nil then.
func (r *Registry) Reserve(ctx context.Context, id dialer.CampaignID, call dialer.CallID) (Reservation, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil, errClosing
	}
	p := r.pool(id)
	// Whoever waits already finds no agent either: an available agent and a
	// waiter never meet in one pool.
	if s := p.longestIdle(); s != nil {
		defer r.mu.Unlock()
		return s.reserve(call), nil
	}
	r.tickets++
	w := &waiter{ticket: r.tickets, campaign: id, call: call, served: make(chan struct{})}
	place := p.waiters.PushBack(w)
	r.mu.Unlock()

	select {
	case <-w.served:
	case <-ctx.Done():
		r.mu.Lock()
		select {
		case <-w.served:
		default:
			p.waiters.Remove(place)
		}
		r.mu.Unlock()
		if w.res == nil {
			return nil, ctx.Err()
		}
	}
	if w.res == nil {
		return nil, errClosing
	}
	return w.res, nil
}

// ReserveAgent takes one given agent for a call, now: a Conflict says that they
// are not Ready, Forbidden that the campaign is not theirs.
func (r *Registry) ReserveAgent(ctx context.Context, id dialer.CampaignID, agent dialer.AgentID, call dialer.CallID) (Reservation, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s, err := r.session(agent)
	switch {
	case err != nil:
		return nil, err
	case !slices.Contains(s.agent.Campaigns, id):
		return nil, dialer.Errorf(dialer.Forbidden, "%s does not work for campaign %s", agent, id)
	case !s.available():
		return nil, dialer.Errorf(dialer.Conflict, "%s is not ready for a call (%s)", agent, s.state)
	}
	return s.reserve(call), nil
}

// Counts tells how many agents of the campaign are in which state, and for how
// long. An agent who is Ready but has no desktop this moment cannot take a call
// and counts as NotReady.
func (r *Registry) Counts(id dialer.CampaignID) Counts {
	r.mu.Lock()
	defer r.mu.Unlock()
	var c Counts
	p := r.pools[id]
	if p == nil {
		return c
	}
	now := time.Now()
	c.Talking = make([]time.Duration, 0, len(p.members))
	c.At = now
	for _, s := range p.members {
		switch age := now.Sub(s.since); s.state {
		case Ready:
			if !s.available() {
				c.NotReady++
				continue
			}
			c.Ready++
			c.LongestIdle = max(c.LongestIdle, now.Sub(s.idle))
		case Reserved:
			c.Reserved++
		case NotReady:
			c.NotReady++
		case Talking:
			c.Talking = append(c.Talking, age)
		case WrapUp:
			c.WrapUp = append(c.WrapUp, age)
		case LoggedOut:
		}
	}
	return c
}

// Ready returns the campaign's agents who can take a call now.
func (r *Registry) Ready(id dialer.CampaignID) []dialer.AgentID {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ready []dialer.AgentID
	if p := r.pools[id]; p != nil {
		for _, s := range p.members {
			if s.available() {
				ready = append(ready, s.agent.ID)
			}
		}
	}
	return ready
}

// Changed is signalled when the campaign's Counts changed. It has a capacity of
// one and is for one reader: the campaign's runner.
func (r *Registry) Changed(id dialer.CampaignID) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pool(id).changed
}
