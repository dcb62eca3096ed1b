package siptrunk

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"dialer/telephony"
)

// A pulse is what is known of one target: whether calls may be spent on it. It
// is a circuit breaker. Calls that no response comes to open it, calls that get
// nothing but 503, and OPTIONS that are not answered. While it is open the
// target gets no calls, only OPTIONS; it is tried with a single call when that
// cannot tell. It is guarded by its line.
type pulse struct {
	target target

	// Of calls: in a row.
	silent  int
	refused int       // 503
	since   time.Time // the last silent one that counted
	held    time.Time // the target asked for no calls until then (503 Retry-After)

	// The open breaker.
	wait  time.Duration // zero while it is closed
	next  time.Time     // the next trial
	cause opening

	// Of OPTIONS: in a row.
	misses, replies int
	answers         bool // it has answered one
	spoke           bool // it has answered anything at all, ever
	deaf            bool // it takes calls and answers none
	asking          bool
	due             time.Time

	fault error // the last request could not even be sent to it; it says where
}

// An opening is what opened a breaker.
type opening string

const (
	bySilence opening = "no answer from %s: %d calls in a row"
	byRefusal opening = "%s answered 503 to %d calls in a row"
	byOptions opening = "no answer from %s to %d OPTIONS in a row"
)

// The limits of a breaker.
const (
	silentCalls     = 3
	refusedCalls    = 5
	missedOptions   = 3
	neededReplies   = 2
	leastWait       = 5 * time.Second
	mostWait        = time.Minute
	maxHold         = 30 * time.Second // one overloaded minute must not silence a campaign for an hour
	optionsEvery    = 15               // seconds
	quickOptions    = 2                // seconds to the second reply of a target that was down
	mostOptionsWait = 4 * time.Second
)

// open keeps calls from the target, twice as long as the last time when it was
// open already. It reports whether it was closed until now.
func (p *pulse) open(cause opening, now time.Time) (first bool) {
	first = p.wait == 0
	p.wait = min(max(2*p.wait, leastWait), mostWait)
	p.next, p.cause, p.replies = now.Add(p.wait), cause, 0
	p.due = now // look at once whether it is there at all
	return first
}

func (p *pulse) close() (back bool) {
	back = p.wait > 0
	p.wait, p.next, p.silent, p.refused, p.misses = 0, time.Time{}, 0, 0, 0
	return back
}

// refuses says why no call may go to the target now, or "". trial: one may, to
// see whether it answers again.
func (p *pulse) refuses(now time.Time) (why string, trial bool) {
	switch {
	case now.Before(p.held):
		return fmt.Sprintf("%s is overloaded and asked to wait until %s (503 Retry-After)", p.target.addr, p.held.UTC().Format(time.TimeOnly+"Z")), false
	case p.wait == 0:
		return "", false
	case p.answers && p.replies < neededReplies && p.cause != byRefusal:
		return p.why() + "; no calls until it answers OPTIONS", false
	case p.fault != nil && p.misses > 0: // a call would not get there either
		return p.why() + "; no calls until it can be reached", false
	case now.Before(p.next):
		left := p.next.Sub(now).Truncate(time.Second) + time.Second
		return fmt.Sprintf("%s; next try in %.0f s", p.why(), left.Seconds()), false
	}
	return "", true
}

func (p *pulse) why() string {
	if p.fault != nil {
		return p.fault.Error()
	}
	n := p.silent
	switch p.cause {
	case byRefusal:
		n = p.refused
	case byOptions:
		n = p.misses
	}
	why := fmt.Sprintf(string(p.cause), p.target.addr, n)
	if !p.spoke {
		why += ", nor ever before"
	}
	return why
}

// state tells how the target is, for people.
func (p *pulse) state(now time.Time) telephony.PeerState {
	s := telephony.PeerState{Address: p.target.addr.String(), Transport: p.target.transport, State: telephony.PeerUp}
	why, trial := p.refuses(now)
	switch {
	case now.Before(p.held):
		s.State, s.Why, s.Until = telephony.PeerHeld, why, &p.held
	case why != "":
		s.State, s.Why = telephony.PeerDown, why
		if now.Before(p.next) && (p.fault == nil || p.misses == 0) {
			s.Until = &p.next
		}
	case trial:
		s.State, s.Why = telephony.PeerUnproven, p.why()+"; one call tries it"
	case p.fault != nil:
		s.State, s.Why = telephony.PeerUnproven, p.fault.Error()
	case !p.spoke:
		s.State, s.Why = telephony.PeerUnproven, "it has not answered anything yet"
	}
	if s.Until != nil {
		at := s.Until.UTC()
		s.Until = &at
	}
	return s
}

// fail notes that a request could not be sent to the target, nil that one could.
func (p *pulse) fail(err error) {
	if p.fault = err; err != nil && !strings.Contains(err.Error(), p.target.addr.String()) {
		p.fault = fmt.Errorf("%s: %w", p.target.addr, err)
	}
}

// unheard notes a call, placed at a given time, to which no response came. It
// reports whether calls are kept from the target from now on. Calls that were
// placed before the last look at the silence say nothing new.
func (p *pulse) unheard(placed, now time.Time) (down bool) {
	if p.wait > 0 && !placed.After(p.since) {
		return false
	}
	if p.silent++; p.silent < silentCalls && p.wait == 0 {
		return false
	}
	p.since = now
	return p.open(bySilence, now)
}

// heard notes a response to a call. It reports whether calls were kept from the
// target until now.
func (p *pulse) heard(status int, now time.Time) (back, down bool) {
	p.silent, p.spoke, p.fault = 0, true, nil
	if p.misses > 0 && !p.answers {
		p.deaf = true
	}
	p.misses = 0
	if p.wait > 0 && p.cause != byRefusal {
		back = p.close()
	}
	switch {
	case status == 503:
		if p.refused++; p.refused >= refusedCalls {
			down = p.open(byRefusal, now)
		}
	case status > 100 && status != 401 && status != 407:
		p.refused = 0
		back = p.close() || back
	}
	return back, down
}

// replied notes the answer to an OPTIONS. All but 408 and 503 are a sign of life.
func (p *pulse) replied(status int, now time.Time) (back, down bool) {
	p.answers, p.spoke, p.deaf, p.fault = true, true, false, nil
	if status == 408 || status == 503 {
		return false, p.missed(now)
	}
	p.misses, p.replies = 0, p.replies+1
	if p.cause == byOptions && p.replies >= neededReplies {
		back = p.close()
	}
	return back, false
}

// unasked forgets the answers to OPTIONS: no more are sent, so that only a call
// can tell whether the target is there.
func (p *pulse) unasked() { p.answers, p.replies = false, 0 }

// missed notes an OPTIONS without an answer.
func (p *pulse) missed(now time.Time) (down bool) {
	p.misses, p.replies = p.misses+1, 0
	if p.misses < missedOptions || p.wait > 0 || p.deaf && p.fault == nil {
		return false
	}
	down = p.open(byOptions, now)
	p.due = time.Time{} // it was just asked
	if !p.answers {
		p.next = now // perhaps it answers none at all: a call will tell
	}
	return down
}

// pause is how long to wait before the next OPTIONS.
func (p *pulse) pause(cfg telephony.Trunk, unit time.Duration) time.Duration {
	pause := optionsPause(cfg, unit)
	if p.wait > 0 && p.replies > 0 || p.wait == 0 && p.fault != nil {
		pause = min(pause, quickOptions*unit)
	}
	return pause
}

func optionsPause(cfg telephony.Trunk, unit time.Duration) time.Duration {
	return time.Duration(cmp.Or(cfg.OptionsSeconds, optionsEvery)) * unit
}

// keepAlive sends OPTIONS to the targets of every trunk, keeps their addresses
// and registers with those that want it, until ctx ends.
func (e *Endpoint) keepAlive(ctx context.Context) {
	if e.sock.await(ctx) != nil {
		return
	}
	tick := time.NewTicker(e.unit() / 4)
	defer tick.Stop()
	routed := time.Now()
	for {
		now := time.Now()
		if now.Sub(routed) > nameLife {
			routed = now
			e.route.forget()
		}
		for _, l := range e.allLines() {
			e.lookAfter(ctx, l, now)
		}
		select {
		case <-ctx.Done():
			return
		case <-e.kick:
		case <-tick.C:
		}
	}
}

// unit is a second; tests shorten it.
func (e *Endpoint) unit() time.Duration {
	if e.cfg.second > 0 {
		return e.cfg.second
	}
	return time.Second
}

// lookAfter starts what is due for one trunk.
func (e *Endpoint) lookAfter(ctx context.Context, l *line, now time.Time) {
	if l.dueLookUp(now) {
		e.goWork("keeping a trunk's addresses", func() { _ = e.lookUp(ctx, l) }) // it tells of trouble itself
	}
	cfg, due := l.dueOptions(now)
	for _, t := range due {
		e.goWork("an OPTIONS", func() { e.sendOptions(ctx, l, cfg, t) })
	}
	e.keepRegistered(ctx, l, now)
}

// dueOptions returns the targets to be asked now, and marks them.
func (l *line) dueOptions(now time.Time) (cfg telephony.Trunk, due []target) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone || !l.cfg.Enabled || l.cfg.OptionsSeconds < 0 {
		return l.cfg, nil
	}
	for _, p := range l.pulses {
		if !p.asking && !now.Before(p.due) {
			p.asking = true
			due = append(due, p.target)
		}
	}
	return l.cfg, due
}

// sendOptions asks a target whether it is there (RFC 3261 11).
func (e *Endpoint) sendOptions(ctx context.Context, l *line, cfg telephony.Trunk, t target) {
	status := 0
	p, err := e.peerOf(cfg, t)
	fault := err
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, min(mostOptionsWait, e.cfg.NoResponse, optionsPause(cfg, e.unit())))
		defer cancel()
		err = e.reach(ctx, &p)
		if fault = err; errors.Is(err, context.DeadlineExceeded) {
			fault = fmt.Errorf("%s does not take a connection in time", t.addr)
		}
		from := &sip.FromHeader{Address: p.from}
		from.Params.Add("tag", newTag())
		uri := p.recipient
		uri.User = ""
		req := e.request(sip.OPTIONS, newTag(), p, p.addr, uri, from, &sip.ToHeader{Address: uri}, newTag(), 1)
		req.AppendHeader(&sip.ContactHeader{Address: e.contact(p)})
		req.AppendHeader(sip.NewHeader("Accept", "application/sdp"))
		var res *sip.Response
		if err == nil {
			res, err = e.do(ctx, p, req)
			fault = faultOf(err)
		}
		if err == nil {
			status = res.StatusCode
		}
	}
	if ctx.Err() != nil {
		return // we are shutting down
	}
	l.asked(e, t, status, err, fault)
}

// faultOf is the error of a request that did not get to its peer, nil when it
// was not answered.
func faultOf(err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, sip.ErrTransactionTimeout) {
		return nil
	}
	return err
}

// asked notes what an OPTIONS came to; status 0 is no answer, and fault says why
// it did not even get there.
func (l *line) asked(e *Endpoint, t target, status int, err, fault error) {
	now := time.Now()
	var back, down bool
	l.mu.Lock()
	p := l.pulse(t)
	p.asking = false
	switch {
	case l.cfg.OptionsSeconds < 0: // switched off meanwhile
	case status > 0:
		back, down = p.replied(status, now)
	default:
		p.fail(fault)
		down = p.missed(now)
	}
	if p.due.Before(now) {
		p.due = now.Add(p.pause(l.cfg, e.unit()))
	}
	l.mu.Unlock()
	l.say(e, t, back, down, err)
}

// connectionFailed has the peer at the other end of a lost connection asked soon
// whether it is there, and the registration that went over it made anew. Not at
// once: some peers close every connection after each answer.
func (e *Endpoint) connectionFailed(r route) {
	if e.onLost != nil {
		e.onLost(r)
	}
	soon := time.Now().Add(quickOptions * e.unit())
	for _, l := range e.allLines() {
		l.mu.Lock()
		if p := l.pulses[r.addr]; p != nil && p.target.transport == r.transport {
			p.due = sooner(p.due, soon)
			if l.reg.at.addr == r.addr && l.reg.wait == 0 {
				l.reg.due = sooner(l.reg.due, soon)
			}
		}
		l.mu.Unlock()
	}
}

func sooner(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// say logs that a target went down or came back.
func (l *line) say(e *Endpoint, t target, back, down bool, err error) {
	if !back && !down { // as after nearly every response: a logger is not free
		return
	}
	log := e.log.With("trunk", string(l.id), "peer", t.String())
	switch {
	case down && err != nil:
		log.Warn("the trunk's peer does not answer: no calls for a while", "err", err)
	case down:
		log.Warn("the trunk's peer takes no calls: none for a while")
	case back:
		log.Info("the trunk's peer answers again")
	}
}

// trunkSilent tells the line that no response came to the call; fault says why
// it did not get there.
func (c *call) trunkSilent(fault error) {
	if c.line == nil {
		return
	}
	c.line.mu.Lock()
	p := c.line.pulse(c.target)
	if fault != nil {
		p.fail(fault)
	}
	down := p.unheard(c.placedAt, time.Now())
	c.line.mu.Unlock()
	c.line.say(c.e, c.target, false, down, fault)
	if down {
		c.e.wake()
	}
}

// trunkSpoke tells it of a response.
func (c *call) trunkSpoke(status int) {
	if c.line == nil {
		return
	}
	if c.abandoned && c.slot == nil {
		c.slot = c.line.recall()
	}
	c.line.mu.Lock()
	back, down := c.line.pulse(c.target).heard(status, time.Now())
	c.line.mu.Unlock()
	c.line.say(c.e, c.target, back && !down, down, nil)
}

// hold keeps calls from a target that answered 503 with Retry-After.
func (l *line) hold(t target, d time.Duration, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pulse(t).held = now.Add(min(d, maxHold))
}
