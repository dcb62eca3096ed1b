package campaign

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"dialer"
	"dialer/amd"
	"dialer/telephony"
)

// Config is what a Scheduler needs.
type Config struct {
	Store   Store
	Agents  AgentPool
	Carrier telephony.Carrier
	// Reaper ends calls that an earlier process left up; nil when there is none.
	Reaper telephony.OrphanReaper
	// NewDetector makes the detector of one call; nil means amd's own.
	NewDetector func(amd.Config) amd.Detector
	// Record begins to record a call and returns how to end it; both may wait
	// for the disk, nobody waits for them. nil records nothing.
	Record func(call Call, leg telephony.Leg) (stop func() (path string, bytes int64, err error))
	// Keep is as Record, for the seconds that are kept for labelling.
	Keep func(call Call, leg telephony.Leg) (stop func() (path string, bytes int64, err error))
	// Version of the program, for the tape of decisions.
	Version string
	Log     *slog.Logger
}

// A Scheduler runs every open campaign: a runner for each, an attempt for each
// call. It ends in two steps: when dialing ends no call is placed any more and
// what rings is cancelled, while talks go on; Close ends them too.
type Scheduler struct {
	cfg  Config
	log  *slog.Logger
	kick chan struct{}

	dialing context.Context
	drain   context.CancelCauseFunc
	calling context.Context
	close   context.CancelCauseFunc
	calls   sync.WaitGroup // attempts
	lines   lines

	mu      sync.Mutex
	runners map[dialer.CampaignID]*runner
	trouble string
	panics  []time.Time
}

// NewScheduler returns a scheduler that does nothing before Run.
func NewScheduler(cfg Config) *Scheduler {
	if cfg.NewDetector == nil {
		cfg.NewDetector = amd.New
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Scheduler{
		cfg: cfg, log: cfg.Log, kick: make(chan struct{}, 1),
		runners: map[dialer.CampaignID]*runner{},
		lines:   lines{carrier: cfg.Carrier, taken: map[dialer.TrunkID]int{}},
	}
	s.dialing, s.drain = context.WithCancelCause(context.Background())
	s.calling, s.close = context.WithCancelCause(context.Background())
	return s
}

// follow is how often the open campaigns are looked up.
const follow = time.Second

// Run dials the open campaigns until ctx or Drain ends the dialing, and returns
// when every call is over. It may be called once.
func (s *Scheduler) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, s.Drain)()
	defer s.close(errClosed)
	var clock, runners sync.WaitGroup
	watched, done := context.WithCancel(context.Background())
	clock.Go(func() { s.watchClock(watched) })
	defer clock.Wait()
	defer done()

	if s.settle() {
		s.followCampaigns(&runners)
	}
	// The runners see their calls out and give the leads back.
	for _, r := range s.running() {
		r.wake()
	}
	runners.Wait()
	s.calls.Wait()
	return nil
}

// settle closes what earlier runs of this node have left open, before anything
// is dialed. It reports whether dialing may begin.
func (s *Scheduler) settle() bool {
	for s.dialing.Err() == nil {
		ctx, cancel := context.WithTimeout(s.dialing, 6*storeLimit)
		open, err := s.cfg.Store.OpenCampaigns(ctx) // first: the orphans are told once
		var orphans []Call
		if err == nil {
			orphans, err = s.cfg.Store.SettleOrphans(ctx, time.Now())
		}
		cancel()
		if err == nil {
			s.endOrphans(orphans, open)
			return true
		}
		s.setTrouble("the database does not answer: calls of the last run are not settled yet", err)
		s.pause(follow)
	}
	return false
}

// endOrphans hangs up what may still be up, and cancels what may still ring, at
// whichever of its campaign's trunks that is.
func (s *Scheduler) endOrphans(orphans []Call, open []Campaign) {
	if s.cfg.Reaper == nil {
		return
	}
	ctx, cancel := context.WithTimeout(s.calling, 10*time.Second)
	defer cancel()
	var ending sync.WaitGroup
	slots := make(chan struct{}, 200) // most wait for an answer
	settings := map[dialer.CampaignID]Settings{}
	for _, c := range open {
		settings[c.ID] = c.Settings
	}
	for _, c := range orphans {
		rings := c.MayRing(time.Now())
		if len(c.Dialog) == 0 && !rings {
			continue
		}
		slots <- struct{}{}
		ending.Go(func() {
			defer func() { <-slots }()
			var err error
			if rings {
				err = s.cfg.Reaper.CancelOrphan(ctx, telephony.Invite{
					Call: c.ID, To: c.To, From: c.From, Trunk: c.Trunk, Backups: settings[c.Campaign].backupsOf(c.Trunk),
				})
			} else {
				err = s.cfg.Reaper.EndOrphan(ctx, c.Dialog)
			}
			if err != nil {
				s.log.Warn("a call of the last run could not be ended", "call", c.ID, "err", err)
			}
		})
	}
	ending.Wait()
}

// followCampaigns keeps a runner for each open campaign until dialing ends.
func (s *Scheduler) followCampaigns(runners *sync.WaitGroup) {
	for s.dialing.Err() == nil {
		ctx, cancel := context.WithTimeout(s.dialing, storeLimit)
		open, err := s.cfg.Store.OpenCampaigns(ctx)
		cancel()
		switch {
		case err == nil:
			s.setTrouble("", nil)
			s.adopt(open, runners)
		case s.dialing.Err() == nil:
			s.setTrouble("the database does not answer", err)
			for _, r := range s.running() {
				r.storeFailed(err)
			}
		}
		s.pause(follow)
	}
}

// adopt tells the runners of their campaigns, and starts those that are missing.
func (s *Scheduler) adopt(open []Campaign, runners *sync.WaitGroup) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := map[dialer.CampaignID]bool{}
	for _, c := range open {
		seen[c.ID] = true
		if r := s.runners[c.ID]; r != nil {
			r.update(c)
			continue
		}
		r := newRunner(s, c)
		s.runners[c.ID] = r
		runners.Go(func() {
			defer s.forget(r)
			r.run()
		})
	}
	for id, r := range s.runners {
		if !seen[id] {
			c := r.current()
			if c.State == Running || c.State == Paused {
				c.State = Stopped // or completed; either way no more is dialed
			}
			r.update(c)
		}
	}
}

func (s *Scheduler) forget(r *runner) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.runners, r.id)
	s.Wake() // the campaign may be open again
}

func (s *Scheduler) running() []*runner {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*runner, 0, len(s.runners))
	for _, r := range s.runners {
		all = append(all, r)
	}
	return all
}

func (s *Scheduler) runner(id dialer.CampaignID) *runner {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.runners[id]
}

// pause waits, but no longer than until Wake or the end of dialing.
func (s *Scheduler) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.kick:
	case <-s.dialing.Done():
	}
}

// Wake makes the scheduler look at once at the open campaigns: one was changed.
func (s *Scheduler) Wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// Drain ends the dialing, as the end of Run's context does: no new INVITE, the
// hopper is given back, what rings is cancelled. Talks end by themselves.
func (s *Scheduler) Drain() { s.drain(errDraining) }

// Close ends the talks too, and the wrap-ups. Run returns soon after.
func (s *Scheduler) Close(cause error) {
	if cause == nil {
		cause = errClosed
	}
	s.drain(cause)
	s.close(cause)
}

// The heartbeat of the pause detector.
const (
	heartbeat  = 100 * time.Millisecond
	stoodStill = time.Second
)

// watchClock sees that the process stood still: a stopped machine, or one that
// was moved. Nobody knows what has changed meanwhile, so every attempt that is
// not answered is given up, before a stale INVITE is sent again.
func (s *Scheduler) watchClock(ctx context.Context) {
	ticker := time.NewTicker(heartbeat)
	defer ticker.Stop()
	last := time.Now()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		now := time.Now()
		// The wall clock sees a suspended machine, where the other stands still.
		gap := max(now.Sub(last), now.Round(0).Sub(last.Round(0)))
		last = now
		if gap <= stoodStill {
			continue
		}
		n := 0
		for _, r := range s.running() {
			n += r.giveUpUnanswered(errStoodStill, func(*attempt) bool { return true })
		}
		s.log.Warn("the process stood still: attempts not answered are given up", "gap", gap, "attempts", n)
	}
}

// panicLimit is how many faults of the program in a minute end the dialing.
const panicLimit = 10

func (s *Scheduler) panicked() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	recent := s.panics[:0]
	for _, at := range s.panics {
		if now.Sub(at) < time.Minute {
			recent = append(recent, at)
		}
	}
	s.panics = append(recent, now)
	if len(s.panics) > panicLimit {
		s.log.Error("too many faults of the program in a minute: dialing ends")
		s.drain(errDraining)
	}
}

func (s *Scheduler) setTrouble(why string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if why != s.trouble && why != "" {
		s.log.Warn("not dialing", "why", why, "err", err)
	}
	s.trouble = why
}
