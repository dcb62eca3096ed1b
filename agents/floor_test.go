package agents_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dialer"
	"dialer/agents"
	"dialer/telephony"
	"dialer/telephony/simtrunk"
)

// The one campaign of most tests.
const sales dialer.CampaignID = "sales"

// A floor is a registry with its phones, in a synctest bubble.
type floor struct {
	t      *testing.T
	r      *agents.Registry
	phones *simtrunk.Stations
	saved  *saved
	stop   context.CancelFunc // ends Run
	ended  chan struct{}      // closed when Run has returned
}

func openFloor(t *testing.T, cfg agents.Config) *floor {
	t.Helper()
	f := &floor{t: t, phones: simtrunk.NewStations(), saved: &saved{}, ended: make(chan struct{})}
	cfg.Stations, cfg.Saver, cfg.Log = f.phones, f.saved, slog.New(bugs{t})
	f.r = agents.NewRegistry(cfg)
	ctx, stop := context.WithCancel(t.Context())
	f.stop = stop
	go func() {
		defer close(f.ended)
		if err := f.r.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(f.close)
	return f
}

// close ends the shift; what is left over then is a fault.
func (f *floor) close() {
	f.stop()
	<-f.ended
	if n := f.phones.Up(); n != 0 {
		f.t.Errorf("%d phones are still up after Run", n)
	}
	if left := f.r.List(); len(left) != 0 {
		f.t.Errorf("still logged in after Run: %v", left)
	}
	f.saved.check(f.t)
}

// saved is a Saver that checks what it is given.
type saved struct {
	mu    sync.Mutex
	moves []move
}

type move struct {
	agent    dialer.AgentID
	from, to agents.State
	version  int
	reason   string
	call     dialer.CallID
}

func (s *saved) SaveAgentState(agent dialer.AgentID, from, to agents.State, version int, reason string, call dialer.CallID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.moves = append(s.moves, move{agent, from, to, version, reason, call})
}

// of returns the moves of one agent, as "from>to reason".
func (s *saved) of(agent dialer.AgentID) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, m := range s.moves {
		if m.agent == agent {
			out = append(out, fmt.Sprintf("%s>%s %s", m.from, m.to, m.reason))
		}
	}
	return out
}

// check holds every move against the table, and everybody against going home.
func (s *saved) check(t interface{ Errorf(string, ...any) }) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := map[dialer.AgentID]move{}
	for _, m := range s.moves {
		before, ok := last[m.agent]
		if !ok {
			before = move{to: agents.LoggedOut}
		}
		want := before.version + 1
		if before.to == agents.LoggedOut {
			want = 1
		}
		if m.from != before.to || m.version != want || !agents.CanMove(m.from, m.to) {
			t.Errorf("%s: after %+v came %+v", m.agent, before, m)
		}
		last[m.agent] = m
	}
	for agent, m := range last {
		if m.to != agents.LoggedOut {
			t.Errorf("%s was left %s", agent, m.to)
		}
	}
}

// bugs fails the test when the registry reports one.
type bugs struct{ t *testing.T }

func (b bugs) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelError }
func (b bugs) WithAttrs([]slog.Attr) slog.Handler           { return b }
func (b bugs) WithGroup(string) slog.Handler                { return b }
func (b bugs) Handle(_ context.Context, r slog.Record) error {
	b.t.Errorf("logged as an error: %s", r.Message)
	return nil
}

func agent(id dialer.AgentID, campaigns ...dialer.CampaignID) agents.Agent {
	if len(campaigns) == 0 {
		campaigns = []dialer.CampaignID{sales}
	}
	return agents.Agent{ID: id, Name: "Agent " + string(id), Extension: string(id), Campaigns: campaigns}
}

// A desk is an attached desktop whose messages are read.
type desk struct {
	*agents.Desktop
	mu   sync.Mutex
	got  []agents.Message
	shut chan struct{} // closed with the channel of messages
}

func (f *floor) attach(id dialer.AgentID) *desk {
	f.t.Helper()
	desktop, err := f.r.Attach(id)
	if err != nil {
		f.t.Fatal(err)
	}
	d := &desk{Desktop: desktop, shut: make(chan struct{})}
	go func() {
		defer close(d.shut)
		for m := range desktop.Messages() {
			d.mu.Lock()
			d.got = append(d.got, m)
			d.mu.Unlock()
		}
	}()
	return d
}

// messages returns what came so far.
func (d *desk) messages() []agents.Message {
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.got)
}

func (d *desk) kinds() []agents.Kind {
	var out []agents.Kind
	for _, m := range d.messages() {
		out = append(out, m.Kind)
	}
	return out
}

// login logs an agent in, with a desktop.
func (f *floor) login(a agents.Agent) *desk {
	f.t.Helper()
	if _, err := f.r.Login(f.t.Context(), a); err != nil {
		f.t.Fatal(err)
	}
	return f.attach(a.ID)
}

// ready logs agents in and makes them Ready, a second after each other.
func (f *floor) ready(as ...agents.Agent) *desk {
	f.t.Helper()
	var d *desk
	for _, a := range as {
		d = f.login(a)
		f.must(f.r.SetReady(a.ID))
		time.Sleep(time.Second)
	}
	return d
}

func (f *floor) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// refused checks that an error is for people and says why.
func (f *floor) refused(err error, code dialer.Code) {
	f.t.Helper()
	if dialer.CodeOf(err) != code {
		f.t.Errorf("got %v (%s), want a refusal: %s", err, dialer.CodeOf(err), code)
	}
}

func (f *floor) is(id dialer.AgentID, want agents.State, reason string) {
	f.t.Helper()
	synctest.Wait()
	if got := f.r.State(id); got.State != want || got.Reason != reason {
		f.t.Errorf("%s is %s (%q), want %s (%q)", id, got.State, got.Reason, want, reason)
	}
}

func (f *floor) reserve(call dialer.CallID) agents.Reservation {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Second)
	defer cancel()
	res, err := f.r.Reserve(ctx, sales, call)
	if err != nil {
		f.t.Fatalf("reserve for %s: %v", call, err)
	}
	return res
}

// talking reserves an agent for a call and connects it.
func (f *floor) talking(call dialer.CallID) agents.Reservation {
	f.t.Helper()
	res := f.reserve(call)
	f.must(res.Talk())
	return res
}

// wrapUp runs WrapUp; the result comes on the channel.
func wrapUp(ctx context.Context, res agents.Reservation, limit time.Duration) <-chan result {
	c := make(chan result, 1)
	go func() {
		d, ok := res.WrapUp(ctx, limit)
		c <- result{d, ok, time.Now()}
	}()
	synctest.Wait()
	return c
}

type result struct {
	d  agents.Disposition
	ok bool
	at time.Time
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// inBubble runs a test in virtual time.
func inBubble(t *testing.T, f func(t *testing.T)) { t.Helper(); synctest.Test(t, f) }

var _ telephony.Stations = (*simtrunk.Stations)(nil)
