package siptrunk

import (
	"fmt"
	"math"
	"sync"
	"time"

	"dialer"
	"dialer/telephony"
)

// A line is a trunk with what it carries now. It outlives changes of the
// trunk's settings, so that a cap holds over SetTrunks.
type line struct {
	mu     sync.Mutex
	cfg    telephony.Trunk
	inUse  int
	tokens float64
	filled time.Time
	gone   bool      // no longer configured
	held   time.Time // until then the trunk asked for no calls
	quiet  silence
}

// newLine returns a line whose bucket is empty: a restart in mid-campaign must
// not add a burst to the calls that the process before has just placed.
func newLine(cfg telephony.Trunk, now time.Time) *line {
	return &line{cfg: cfg, filled: now}
}

// burst is how many calls may leave at once: a fifth of a second's worth, so
// that the calls of any second stay close to CPS, and at least one.
func burst(cps float64) float64 { return max(1, cps/5) }

func (l *line) fill(now time.Time) {
	if d := now.Sub(l.filled); d > 0 {
		l.tokens = min(burst(l.cfg.CPS), l.tokens+d.Seconds()*l.cfg.CPS)
		l.filled = now
	}
}

// configure takes new settings; tokens earned so far were earned at the old rate.
func (l *line) configure(cfg telephony.Trunk, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fill(now)
	if cfg.HostPort() != l.cfg.HostPort() {
		l.quiet = silence{}
	}
	l.cfg, l.gone = cfg, false
	l.tokens = min(l.tokens, burst(cfg.CPS))
}

func (l *line) settings() telephony.Trunk {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cfg
}

func (l *line) remove() {
	l.mu.Lock()
	l.gone = true
	l.mu.Unlock()
}

// hold keeps calls from a trunk that answered 503 with Retry-After, for at most
// maxHold: one overloaded minute must not silence a campaign for an hour.
func (l *line) hold(d time.Duration, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = now.Add(min(d, maxHold))
}

const maxHold = 30 * time.Second

// A silence is what is known of a trunk that does not answer: neither calls nor
// leads are to be lost on it one after another, and it must be found when it is
// back. After silentCalls in a row it gets no calls for a while, then a single
// one as a trial, and twice the while if that one is not answered either.
type silence struct {
	calls int           // in a row
	since time.Time     // the last of them that counted
	wait  time.Duration // zero while the trunk is trusted
	next  time.Time     // the next trial
}

// The limits of a silence.
const (
	silentCalls = 3
	leastWait   = 5 * time.Second
	mostWait    = time.Minute
)

// unheard notes a call, placed at a given time, to which no response came. It
// reports whether calls are kept from the trunk from now on. Calls that were
// placed before the last look at the silence say nothing new. A nil line is a
// phone, of which nothing is kept.
func (l *line) unheard(placed, now time.Time) (down bool) {
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	q := &l.quiet
	if q.wait > 0 && !placed.After(q.since) {
		return false
	}
	q.calls++
	if q.calls < silentCalls {
		return false
	}
	first := q.wait == 0
	q.wait = min(max(2*q.wait, leastWait), mostWait)
	q.since, q.next = now, now.Add(q.wait)
	return first
}

// heard notes that the trunk has sent a response, whatever it says. It reports
// whether calls were kept from it until now.
func (l *line) heard() (back bool) {
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	back = l.quiet.wait > 0
	l.quiet = silence{}
	return back
}

func (l *line) down(now time.Time) string {
	switch {
	case l.gone:
		return "the trunk was removed"
	case !l.cfg.Enabled:
		return "the trunk is disabled"
	case now.Before(l.held):
		return "the trunk is overloaded and asked to wait (503 Retry-After)"
	case now.Before(l.quiet.next):
		left := l.quiet.next.Sub(now).Truncate(time.Second) + time.Second
		return fmt.Sprintf("no answer from %s: %d calls in a row; next try in %.0f s", l.cfg.HostPort(), l.quiet.calls, left.Seconds())
	}
	return ""
}

// take reserves a channel and a token, or says why it cannot.
func (l *line) take(now time.Time) (cfg telephony.Trunk, why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fill(now)
	switch {
	case l.down(now) != "":
		return l.cfg, l.down(now)
	case l.inUse >= l.cfg.Channels:
		return l.cfg, fmt.Sprintf("all %d channels of the trunk are in use", l.cfg.Channels)
	case l.tokens < 1:
		return l.cfg, fmt.Sprintf("the trunk takes %g calls a second", l.cfg.CPS)
	}
	if l.quiet.wait > 0 { // this call is the trial; no other goes beside it
		l.quiet.next = now.Add(l.quiet.wait)
	}
	l.inUse++
	l.tokens--
	return l.cfg, ""
}

func (l *line) release() {
	l.mu.Lock()
	l.inUse--
	l.mu.Unlock()
}

func (l *line) capacity(now time.Time) telephony.Capacity {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fill(now)
	c := telephony.Capacity{
		Up:       l.down(now) == "",
		Why:      l.down(now),
		Channels: l.cfg.Channels,
		InUse:    l.inUse,
		Tokens:   int(math.Floor(l.tokens)),
	}
	switch {
	case c.Up && c.InUse >= c.Channels:
		c.Why = "all channels are in use"
	case c.Up && l.quiet.wait > 0:
		c.Tokens = min(c.Tokens, 1)
		c.Why = fmt.Sprintf("no answer from %s: %d calls in a row; one call tries it", l.cfg.HostPort(), l.quiet.calls)
	}
	return c
}

// SetTrunks replaces the set of trunks. Calls on trunks that are no longer in
// it go on; a trunk that stays keeps its counts.
func (e *Endpoint) SetTrunks(trunks []telephony.Trunk) {
	now := time.Now()
	e.mu.Lock()
	keep := make(map[dialer.TrunkID]*line, len(trunks))
	for _, t := range trunks {
		l := e.lines[t.ID]
		if l == nil {
			l = newLine(t, now)
		} else {
			l.configure(t, now)
		}
		keep[t.ID] = l
	}
	for id, l := range e.lines {
		if keep[id] == nil {
			l.remove()
		}
	}
	e.lines = keep
	e.mu.Unlock()

	hosts := make([]string, 0, len(trunks))
	for _, t := range trunks {
		hosts = append(hosts, t.HostPort())
	}
	e.route.setTrunks(hosts)
}

func (e *Endpoint) line(id dialer.TrunkID) (l *line, draining bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.lines[id], e.draining
}

// Capacity tells what a trunk can take now.
func (e *Endpoint) Capacity(id dialer.TrunkID) telephony.Capacity {
	l, draining := e.line(id)
	if l == nil {
		return telephony.Capacity{Why: "no such trunk"}
	}
	c := l.capacity(time.Now())
	if draining {
		c.Up, c.Why = false, "the dialer is draining"
	}
	return c
}

// trunkSilent tells the trunk's line that no response came to the call.
func (c *call) trunkSilent() {
	if c.line.unheard(c.placedAt, time.Now()) {
		c.log.Warn("the trunk does not answer: no calls for a while", "address", c.peer.addr.String())
	}
}

// trunkSpoke tells it that one came.
func (c *call) trunkSpoke() {
	if c.line.heard() {
		c.log.Info("the trunk answers again")
	}
}

// A gate lets events pass at a steady rate. CANCELs go through one, since a
// thousand at once overflow the socket buffers of both sides.
type gate struct {
	every time.Duration
	burst int

	mu   sync.Mutex
	next time.Time
}

const cancelsPerSecond = 200

// wait returns how long to wait before the next event may pass.
func (g *gate) wait(now time.Time) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if earliest := now.Add(-time.Duration(g.burst) * g.every); g.next.Before(earliest) {
		g.next = earliest
	}
	g.next = g.next.Add(g.every)
	return max(0, g.next.Sub(now))
}
