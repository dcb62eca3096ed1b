package siptrunk

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"dialer"
	"dialer/telephony"
)

// A line is a trunk with what it carries now. It outlives changes of the
// trunk's settings, so that a cap holds over SetTrunks.
type line struct {
	id dialer.TrunkID

	mu    sync.Mutex
	cfg   telephony.Trunk
	gone  bool // no longer configured
	inUse int
	rate  rate

	records []record // where its peers are; nil until that is known
	nowhere error    // why nothing is known
	stale   error    // what could not be looked up of late
	lookAt  time.Time
	looking chan struct{} // closed with the lookup that runs; nil without
	pulses  map[netip.AddrPort]*pulse

	reg upstream
}

func newLine(cfg telephony.Trunk, now time.Time) *line {
	l := &line{id: cfg.ID, rate: rate{filled: now}, pulses: map[netip.AddrPort]*pulse{}}
	l.configure(cfg, now)
	return l
}

// configure takes new settings. A peer that has moved is trusted again.
func (l *line) configure(cfg telephony.Trunk, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if cfg.HostPort() != l.cfg.HostPort() || trunkTransport(cfg) != trunkTransport(l.cfg) || !slices.Equal(cfg.Backups, l.cfg.Backups) {
		l.records, l.nowhere, l.stale, l.lookAt = nil, nil, nil, time.Time{}
		clear(l.pulses)
	}
	if cfg.OptionsSeconds < 0 {
		for _, p := range l.pulses {
			p.unasked()
		}
	}
	if l.gone {
		l.reg.closed, l.reg.due = false, time.Time{}
	}
	if cfg.CA != l.cfg.CA || cfg.ServerName != l.cfg.ServerName || cfg.OptionsSeconds != l.cfg.OptionsSeconds {
		for _, p := range l.pulses { // what failed may work now
			if p.fault != nil {
				p.fault, p.due = nil, now
				p.close()
			}
		}
	}
	l.reg.configure(l.cfg, cfg)
	l.cfg, l.gone = cfg, false
	l.rate.set(cfg.CPS, now)
}

func (l *line) settings() telephony.Trunk {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cfg
}

// remove takes the trunk out and reports whether it still has calls.
func (l *line) remove() (busy bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone = true
	return l.inUse > 0
}

// pulse returns what is known of a target; of one that the trunk no longer has
// nothing is kept.
func (l *line) pulse(t target) *pulse {
	if p := l.pulses[t.addr]; p != nil {
		return p
	}
	return &pulse{target: t}
}

// nameAt returns the configured name of the peer at an address.
func (l *line) nameAt(addr netip.AddrPort, otherwise string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p := l.pulses[addr]; p != nil {
		return p.target.name
	}
	return otherwise
}

// down says why the trunk takes no calls at all, or "". trials is how many of
// its targets may be tried with one call each, when none is trusted.
func (l *line) down(now time.Time) (why string, trials int) {
	switch {
	case l.gone:
		return "the trunk was removed", 0
	case !l.cfg.Enabled:
		return "the trunk is disabled", 0
	case l.records == nil && l.nowhere != nil:
		return l.nowhere.Error(), 0
	}
	if why := l.reg.down(l.cfg, now); why != "" {
		return why, 0
	}
	var whys []string
	trusted := len(l.pulses) == 0
	for _, p := range l.pulses {
		switch why, trial := p.refuses(now); {
		case why != "":
			whys = append(whys, why)
		case trial:
			trials++
		default:
			trusted = true
		}
	}
	switch {
	case trusted:
		return "", 0
	case trials > 0:
		return "", trials
	}
	slices.Sort(whys)
	return strings.Join(whys[:min(len(whys), 3)], "; "), 0
}

// take reserves a channel and the right to place a call at a time that is at most
// longest from now, or says why it cannot.
func (l *line) take(now time.Time, longest time.Duration) (cfg telephony.Trunk, s *slot, why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.rate.next(now)
	switch why, _ := l.down(now); {
	case why != "":
		return l.cfg, nil, why
	case l.inUse >= l.cfg.Channels:
		return l.cfg, nil, fmt.Sprintf("all %d channels of the trunk are in use", l.cfg.Channels)
	case at.Sub(now) > longest:
		return l.cfg, nil, fmt.Sprintf("the trunk takes %g calls a second", l.cfg.CPS)
	}
	l.inUse++
	l.rate.turn(at)
	return l.cfg, &slot{line: l, users: 1, at: at}, ""
}

// again is the turn of a further INVITE for a call that has a channel already.
func (l *line) again(now time.Time, longest time.Duration) (at time.Time, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at = l.rate.next(now)
	if at.Sub(now) > longest {
		return at, false
	}
	l.rate.turn(at)
	return at, true
}

// admits reserves a target for one call, or says why it gets none.
func (l *line) admits(t target, now time.Time) (why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.pulse(t)
	why, trial := p.refuses(now)
	if why == "" && trial {
		p.next = now.Add(p.wait) // no other goes beside it
	}
	return why
}

// A slot is a channel of a trunk while a call uses it: the Dial that looks for a
// peer, the INVITE that is on its way, the leg. It is given back by the last.
type slot struct {
	line  *line
	at    time.Time // of the first INVITE
	users int       // guarded by line.mu
}

// share adds a user. The slot of a call to a phone is nil.
func (s *slot) share() *slot {
	if s != nil {
		s.line.mu.Lock()
		s.users++
		s.line.mu.Unlock()
	}
	return s
}

func (s *slot) release() {
	if s == nil {
		return
	}
	s.line.mu.Lock()
	if s.users--; s.users == 0 {
		s.line.inUse--
	}
	s.line.mu.Unlock()
}

// recall counts a call that was given up as lost and had no channel any more: its
// peer has spoken after all, so the carrier has a channel on it. The cap may be
// passed by it; no call is placed until it is not.
func (l *line) recall() *slot {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inUse++
	return &slot{line: l, users: 1}
}

func (l *line) capacity(now time.Time) telephony.Capacity {
	l.mu.Lock()
	defer l.mu.Unlock()
	why, trials := l.down(now)
	c := telephony.Capacity{
		Up: why == "", Why: why,
		Channels: l.cfg.Channels, InUse: l.inUse, Tokens: l.rate.free(now),
	}
	switch {
	case !c.Up:
	case c.InUse >= c.Channels:
		c.Why = "all channels are in use"
	case trials > 0:
		c.Tokens = min(c.Tokens, trials)
		for _, p := range l.pulses {
			if why, trial := p.refuses(now); why == "" && trial {
				c.Why = p.why() + "; one call tries it"
			}
		}
	case l.unproven() != "":
		c.Why = l.unproven()
	case l.stale != nil:
		c.Why = l.stale.Error() + "; the last addresses are used"
	}
	return c
}

// unproven says that nothing was ever heard of any target, or "".
func (l *line) unproven() string {
	for _, p := range l.pulses {
		if p.spoke {
			return ""
		}
	}
	for _, p := range l.pulses {
		if p.fault != nil {
			return p.fault.Error()
		}
		if p.misses > 0 {
			return p.target.addr.String() + " has never answered anything yet"
		}
	}
	return ""
}

// Peers tells how each address of a trunk is, in the order of preference.
func (e *Endpoint) Peers(id dialer.TrunkID) []telephony.PeerState {
	l, _ := e.line(id)
	if l == nil {
		return nil
	}
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []telephony.PeerState
	for _, t := range targetsOf(l.records, func(int) int { return 0 }) {
		all = append(all, l.pulse(t).state(now))
	}
	return all
}

// SetTrunks replaces the set of trunks. Calls on trunks that are no longer in
// it go on; a trunk that stays, or comes back before they have ended, keeps its
// counts.
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
		if byAddress(t) { // known at once, without DNS
			records, _, err := e.names.records(context.Background(), t)
			l.located(t, records, nil, err, now, e.unit())
		}
	}
	for id, l := range e.lines {
		if keep[id] != nil {
			continue
		}
		if l.remove() {
			keep[id] = l
		}
		e.unregister(l)
	}
	e.lines = keep
	e.mu.Unlock()
	e.admitTrunks()
	e.wake()
}

// byAddress reports whether a trunk names no host that DNS must find.
func byAddress(t telephony.Trunk) bool {
	return !slices.ContainsFunc(append([]string{t.Address}, t.Backups...), func(name string) bool {
		host, _, err := hostAndPort(name, t.Transport)
		if err != nil {
			return true
		}
		_, err = netip.ParseAddr(host)
		return err != nil
	})
}

// wake has what is due for trunks looked at now.
func (e *Endpoint) wake() {
	select {
	case e.kick <- struct{}{}:
	default:
	}
}

func (e *Endpoint) allLines() []*line {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Collect(maps.Values(e.lines))
}

// admitTrunks tells the guard of the trunks' hosts.
func (e *Endpoint) admitTrunks() {
	var hosts []netip.Addr
	for _, l := range e.allLines() {
		l.mu.Lock()
		for at := range l.pulses {
			hosts = append(hosts, at.Addr())
		}
		l.mu.Unlock()
	}
	e.sock.peers.setTrunks(hosts)
}

// toTrunk reports whether a request to host, found at addr, would reach a trunk,
// on whatever port. On the loopback, where all is one host, the port counts.
func (e *Endpoint) toTrunk(ctx context.Context, host string, addr netip.AddrPort) bool {
	for _, l := range e.allLines() {
		e.targets(ctx, l) // so that its addresses are known; a failure is told by its calls
		l.mu.Lock()
		cfg, known := l.cfg, slices.Collect(maps.Keys(l.pulses))
		l.mu.Unlock()
		if slices.Contains(known, addr) {
			return true
		}
		if addr.Addr().IsLoopback() {
			continue
		}
		for _, name := range append([]string{cfg.Address}, cfg.Backups...) {
			if named, _, err := hostAndPort(name, cfg.Transport); err == nil && strings.EqualFold(strings.TrimSuffix(named, "."), strings.TrimSuffix(host, ".")) {
				return true
			}
		}
		if slices.ContainsFunc(known, func(a netip.AddrPort) bool { return a.Addr() == addr.Addr() }) {
			return true
		}
	}
	return false
}

// ofTrunk reports whether a host is one of a trunk's.
func (e *Endpoint) ofTrunk(id dialer.TrunkID, host netip.Addr) bool {
	l, _ := e.line(id)
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for at := range l.pulses {
		if at.Addr() == host {
			return true
		}
	}
	return false
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
