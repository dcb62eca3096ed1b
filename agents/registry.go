package agents

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"dialer"
	"dialer/telephony"
)

// A Saver keeps agents' moves. SaveAgentState is called in the order of the
// moves and while the registry is locked: it queues and returns at once.
type Saver interface {
	// SaveAgentState records one move. version counts the moves of a session:
	// 1 is the login, and each move adds one. call is the call the agent is
	// held for, if any.
	SaveAgentState(agent dialer.AgentID, from, to State, version int, reason string, call dialer.CallID)
}

// Config is what a Registry needs. Zero durations mean the defaults.
type Config struct {
	Stations telephony.Stations
	Saver    Saver // nil saves nothing
	Log      *slog.Logger

	// The longest stays, against holders of a reservation that never end it.
	// A campaign's own wrap-up limit comes with Reservation.WrapUp.
	MaxReserved time.Duration // 10 minutes
	MaxTalk     time.Duration // 4 hours
	MaxWrapUp   time.Duration // 30 minutes

	// DesktopGrace is how long an agent may be without a desktop before they
	// are NotReady: 5 s.
	DesktopGrace time.Duration
	// RingFor is how long an agent's phone is rung at once: 30 s.
	RingFor time.Duration
	// RingAgain is the pause before a phone that was lost is rung again: 3 s.
	// It doubles each time, up to RingSeldom: 60 s.
	RingAgain, RingSeldom time.Duration
	// Forgotten is how long an agent may be without phone and desktop, both,
	// before they are logged out: 5 minutes.
	Forgotten time.Duration
	// ConnectTone plays a short beep to the agent when a call is connected. It
	// delays the connection by its 200 ms.
	ConnectTone bool
}

// A Registry holds the sessions of all agents logged in at this node and gives
// them to calls. It is campaign.AgentPool.
//
// One mutex guards all sessions; what is done under it are moves in memory,
// never I/O. Nothing works before Run is called.
type Registry struct {
	cfg     Config
	log     *slog.Logger
	running chan struct{} // closed when Run begins
	wake    chan struct{} // an earlier deadline than the one Run waits for

	mu       sync.Mutex
	closed   bool
	sessions map[dialer.AgentID]*Session
	pools    map[dialer.CampaignID]*pool
	tickets  int64     // waiters so far, for their order across campaigns
	nextDue  time.Time // what Run waits for
	phones   sync.WaitGroup
}

// NewRegistry returns a registry with nobody logged in.
func NewRegistry(cfg Config) *Registry {
	cfg.MaxReserved = cmp.Or(cfg.MaxReserved, 10*time.Minute)
	cfg.MaxTalk = cmp.Or(cfg.MaxTalk, 4*time.Hour)
	cfg.MaxWrapUp = cmp.Or(cfg.MaxWrapUp, 30*time.Minute)
	cfg.DesktopGrace = cmp.Or(cfg.DesktopGrace, 5*time.Second)
	cfg.RingFor = cmp.Or(cfg.RingFor, 30*time.Second)
	cfg.RingAgain = cmp.Or(cfg.RingAgain, 3*time.Second)
	cfg.RingSeldom = cmp.Or(cfg.RingSeldom, time.Minute)
	cfg.Forgotten = cmp.Or(cfg.Forgotten, 5*time.Minute)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Registry{
		cfg:      cfg,
		log:      cfg.Log,
		running:  make(chan struct{}),
		wake:     make(chan struct{}, 1),
		sessions: map[dialer.AgentID]*Session{},
		pools:    map[dialer.CampaignID]*pool{},
	}
}

// Run ends what outlives its longest stay. When ctx ends it logs everybody out,
// hangs up their phones and returns once no goroutine of the registry is left.
// It may be called once.
func (r *Registry) Run(ctx context.Context) error {
	r.mu.Lock()
	select {
	case <-r.running:
		r.mu.Unlock()
		return errors.New("agents: Run was called twice")
	default:
		close(r.running)
	}
	r.mu.Unlock()

	var alive sync.WaitGroup
	alive.Go(func() { r.keepAlive(ctx) })
	defer alive.Wait()
	for {
		timer := time.NewTimer(r.expire())
		select {
		case <-timer.C:
		case <-r.wake:
		case <-ctx.Done():
			timer.Stop()
			r.close()
			r.phones.Wait()
			return nil
		}
		timer.Stop()
	}
}

// idleCheck is how long Run sleeps when no stay has an end.
const idleCheck = time.Hour

// expire ends every stay that is over and returns how long until the next.
func (r *Registry) expire() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	r.nextDue = now.Add(idleCheck)
	for _, s := range r.sessions {
		if due := s.due(); !due.IsZero() && !due.After(now) {
			s.expire(now)
		}
		// What follows the end of a stay may have an end of its own.
		if due := s.due(); !due.IsZero() && due.Before(r.nextDue) {
			r.nextDue = due
		}
	}
	return r.nextDue.Sub(now)
}

// plan makes Run look again at due.
func (r *Registry) plan(due time.Time) {
	if due.IsZero() || !due.Before(r.nextDue) {
		return
	}
	r.nextDue = due
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *Registry) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for _, p := range r.pools {
		p.dismiss()
	}
	for _, s := range r.sessions {
		s.end("shutdown")
	}
}

// A LoginOption changes what Login does.
type LoginOption int

// TakeOver makes Login of an agent who is logged in already return their
// session, with the given Agent's name and campaigns, instead of a Conflict.
const TakeOver LoginOption = 1

// Login rings the agent's phone, whose leg then stays up for the whole shift,
// and returns the session, NotReady and without a desktop.
//
// An agent who is logged in already gets a Conflict, or with TakeOver the
// session there is. A phone that does not answer is Unavailable.
func (r *Registry) Login(ctx context.Context, a Agent, opts ...LoginOption) (*Session, error) {
	if a.ID == "" {
		return nil, dialer.Fieldf("id", "is empty: say which agent logs in")
	}
	if a.Extension == "" && a.URI == "" {
		return nil, dialer.Fieldf("extension", "is empty: give agent %s an extension or a SIP URI", a.ID)
	}
	select {
	case <-r.running:
	case <-ctx.Done():
		return nil, fmt.Errorf("agents: login of %s: %w", a.ID, ctx.Err())
	}

	s, isNew, err := r.admit(a, opts)
	if err != nil || !isNew {
		return s, err
	}
	leg, err := s.ring(ctx)
	if err := s.begin(leg, err); err != nil {
		if leg != nil {
			leg.Hangup(telephony.CauseNormal)
		}
		r.phones.Done()
		return nil, err
	}
	go func() {
		defer r.phones.Done()
		s.keepPhone(leg)
	}()
	return s, nil
}

// admit returns the session to log in, or the one that is taken over.
func (r *Registry) admit(a Agent, opts []LoginOption) (s *Session, isNew bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, false, errClosing
	}
	s = r.sessions[a.ID]
	switch {
	case s == nil:
		s = newSession(r, a)
		r.sessions[a.ID] = s
		r.phones.Add(1) // the goroutine that will watch the phone
		return s, true, nil
	case s.state == LoggedOut:
		return nil, false, dialer.Errorf(dialer.Conflict, "%s is being logged in already: answer the phone", a.ID)
	}
	for _, o := range opts {
		if o == TakeOver {
			s.update(a)
			return s, false, nil
		}
	}
	return nil, false, dialer.Errorf(dialer.Conflict, "%s is logged in already: take the session over, or log it out first", a.ID)
}

// Update gives a logged-in agent a new name and campaigns; a new phone is used
// from the next ring on. It does nothing for an agent who is not logged in.
func (r *Registry) Update(a Agent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.sessions[a.ID]; s != nil && s.state != LoggedOut {
		s.update(a)
	}
}

// session returns the session of a logged-in agent.
func (r *Registry) session(id dialer.AgentID) (*Session, error) {
	s := r.sessions[id]
	if s == nil || s.state == LoggedOut {
		return nil, dialer.Errorf(dialer.NotFound, "%s is not logged in: log in first", id)
	}
	return s, nil
}

var errClosing = dialer.Errorf(dialer.Unavailable, "the dialer is shutting down: try again in a moment")
