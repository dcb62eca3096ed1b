package campaign

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"dialer"
	"dialer/agents"
	"dialer/compliance"
	"dialer/pacing"
)

// How often a runner looks at what.
const (
	tick       = 400 * time.Millisecond // while nothing happens
	gather     = 200 * time.Millisecond // between looks that events cause
	tallyEvery = 5 * time.Second
	ownEvery   = 5 * time.Second        // an agent's own callbacks, while they are ready
	doneEvery  = 5 * time.Second        // whether any lead is left
	heedEvery  = 800 * time.Millisecond // do-not-call lists, for what rings
	storeLimit = 5 * time.Second        // for one call of the store
)

// A phase is where an attempt is, as the pacer and the wallboard see it.
type phase string

const (
	phaseStarting  phase = "starting" // not sent: agent, preview, commit
	phaseRinging   phase = "ringing"
	phaseDetecting phase = "detecting"
	phaseWaiting   phase = "waiting" // a person without an agent
	phaseTalking   phase = "talking"
	phaseMessage   phase = "message"   // a person hears the abandoned-call message
	phaseVoicemail phase = "voicemail" // a machine greets, or hears the campaign's message
	phaseWrapUp    phase = "wrap_up"
)

// A runner dials one open campaign: it keeps the hopper, asks the pacer and
// starts attempts. Its goroutine is run; what is below mu is shared with the
// attempts and with those who look on.
type runner struct {
	s    *Scheduler
	id   dialer.CampaignID
	log  *slog.Logger
	kick chan struct{}

	// Of the goroutine alone.
	hopper    hopper
	chances   chances
	polledAt  time.Time
	doneAt    time.Time
	ownLooked time.Time
	heeded    time.Time
	ownAt     map[dialer.AgentID]time.Time
	told      told
	recalled  bool      // what an earlier run has learned is read
	missedAt  time.Time // when missRate was counted
	savedAt   time.Time
	savedOf   int       // attempts behind what is saved
	taped     time.Time // when the tape began
	tapedTo   time.Time // what was cut of it
	part      int       // the next one
	looks     int       // on what was cut
	unsaved   []TapePart

	mu       sync.Mutex
	campaign Campaign // with defaults
	rules    string   // those of compliance that it sets, in words
	dialing  context.Context
	stop     context.CancelCauseFunc
	attempts []*attempt      // each knows its place
	returned []Lead          // of attempts that did not begin
	unsure   []dialer.LeadID // of attempts that may have begun
	legal    legal
	pacing   pacing.Recorder
	missRate float64 // persons taken for machines
	decision pacing.Decision
	decided  time.Time
	message  kept   // the abandoned-call message
	mailbox  kept   // what is left on machines
	trouble  string // why nothing is dialed although it should be
	failed   bool   // trouble is the store's, until it answers again
	blocked  compliance.Verdict
	blockAt  time.Time
	load     load
	hopped   int // leads in the hopper
}

// load is how agents have spent their time since the runner began.
type load struct {
	at         time.Time
	busy, idle time.Duration // agents' time
}

func newRunner(s *Scheduler, c Campaign) *runner {
	r := &runner{
		s: s, id: c.ID, log: s.log.With("campaign", c.ID),
		kick: make(chan struct{}, 1),
	}
	r.dialing, r.stop = context.WithCancelCause(s.dialing)
	r.update(c)
	return r
}

// update takes in the campaign as the store has it. One that is stopped or
// completed gives up what is ringing; one that is paused lets it ring.
func (r *runner) update(c Campaign) {
	c.Settings = c.Settings.Defaulted()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rules == "" || c.Version != r.campaign.Version {
		r.rules = r.candidate(c, Lead{}).Rules()
	}
	r.campaign = c
	r.pacing.RingMax(time.Duration(c.Settings.RingTimeoutS) * time.Second)
	switch open := c.State == Running || c.State == Paused; {
	case !open:
		r.stop(errStopped)
	case r.dialing.Err() != nil && r.s.dialing.Err() == nil:
		r.dialing, r.stop = context.WithCancelCause(r.s.dialing)
	}
	r.wake()
}

func (r *runner) wake() {
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// current is the campaign as last seen.
func (r *runner) current() Campaign {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.campaign
}

// over reports whether the runner has nothing more to do.
func (r *runner) over() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.dialing.Err() != nil && len(r.attempts) == 0 && len(r.returned)+len(r.unsure) == 0
}

// run dials until the campaign is closed and its calls are over.
func (r *runner) run() {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	changed := r.s.cfg.Agents.Changed(r.id)
	var woken time.Time
	for {
		r.step(time.Now())
		// Leads that cannot be given back at a shutdown are settled at the start.
		if r.over() && len(r.hopper.leads) == 0 && (len(r.hopper.release) == 0 || r.s.dialing.Err() != nil) {
			r.save(r.s.dialing, time.Now())
			return
		}
		select {
		case <-ticker.C:
			continue
		case <-changed:
		case <-r.kick:
		}
		// A large team has hundreds of events a second: those of the next moments
		// are looked at together.
		time.Sleep(gather - time.Since(woken))
		woken = time.Now()
		ticker.Reset(tick)
	}
}

// step is one look at everything.
func (r *runner) step(now time.Time) {
	r.mu.Lock()
	c, dialing := r.campaign, r.dialing
	open := c.State == Running && dialing.Err() == nil
	for _, lead := range r.returned {
		if open && lead.Owner == "" {
			r.hopper.putBack(lead)
		} else {
			r.hopper.release = append(r.hopper.release, lead.ID)
		}
	}
	r.hopper.release = append(r.hopper.release, r.unsure...)
	r.returned, r.unsure = nil, nil
	r.mu.Unlock()

	counts := r.s.cfg.Agents.Counts(r.id)
	r.measure(counts, now)
	if !open || counts.LoggedIn() == 0 {
		r.hopper.empty()
	}
	// Leads go back even when no more are to be dialed.
	if err := r.giveUpLeads(context.WithoutCancel(dialing)); err != nil {
		r.storeFailed(err)
	}
	if err := r.heed(dialing, now); err != nil && dialing.Err() == nil {
		r.storeFailed(err)
	}
	if open {
		r.dial(dialing, c, counts, now)
	}
	if now.Sub(r.savedAt) >= saveEvery {
		r.save(dialing, now)
	}
	r.mu.Lock()
	r.hopped = len(r.hopper.leads)
	r.mu.Unlock()
}

// heed gives up what is not answered yet to numbers that were put on a
// do-not-call list meanwhile, within a second whoever put them there.
func (r *runner) heed(ctx context.Context, now time.Time) error {
	if now.Sub(r.heeded) < heedEvery {
		return nil
	}
	r.heeded = now
	var numbers []dialer.Number
	r.mu.Lock()
	for _, a := range r.attempts {
		if a.phase == phaseStarting || a.phase == phaseRinging {
			numbers = append(numbers, a.lead.Number)
		}
	}
	r.mu.Unlock()
	if len(numbers) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, storeLimit)
	defer cancel()
	forbidden, err := r.s.cfg.Store.DNCOf(ctx, r.id, numbers)
	if len(forbidden) > 0 {
		r.giveUpUnanswered(errOptedOut, func(a *attempt) bool { return forbidden[a.lead.Number] != "" })
	}
	return err
}

// dial places the calls that are due.
func (r *runner) dial(ctx context.Context, c Campaign, counts agents.Counts, now time.Time) {
	if err := r.prepare(ctx, c, now); err != nil {
		if ctx.Err() == nil {
			r.storeFailed(err)
		}
		return
	}
	if why := r.unready(c); why != "" {
		r.setTrouble(why)
		return
	}
	if counts.LoggedIn() > 0 {
		err := r.fill(ctx, counts.LoggedIn(), now)
		if err == nil {
			err = r.ownCallbacks(ctx, now)
		}
		if err != nil {
			if ctx.Err() == nil {
				r.storeFailed(err)
			}
			return
		}
	}
	r.decide(c, counts, now)
	if err := r.complete(ctx, now); err != nil && ctx.Err() == nil {
		r.storeFailed(err)
	}
}

// prepare looks at the legal figures and loads the message. While the store is
// away it is asked each second, and its answer ends the trouble.
func (r *runner) prepare(ctx context.Context, c Campaign, now time.Time) error {
	r.mu.Lock()
	failed, known := r.failed, r.legal.known
	r.mu.Unlock()
	wait := tallyEvery
	if failed || !known {
		wait = time.Second
	}
	since := periodStart(c, now)
	if r.polledAt.IsZero() || now.Sub(r.polledAt) >= wait {
		r.polledAt = now
		limited, cancel := context.WithTimeout(ctx, storeLimit)
		defer cancel()
		tally, err := r.s.cfg.Store.AbandonTally(limited, r.id, since)
		if err != nil {
			return err
		}
		r.mu.Lock()
		r.legal.look(tally, since, now)
		r.failed = false
		r.mu.Unlock()
		r.setTrouble("")
	} else if failed || !known {
		return errors.New(cmp.Or(r.troubleNow(), "the database has not answered yet"))
	}
	if err := r.recall(ctx, now); err != nil {
		return err
	}
	if err := r.lookAtDetector(ctx, c, since, now); err != nil {
		return err
	}
	return r.loadClips(ctx, c, now)
}

// unready says what the campaign lacks for dialing, if anything.
func (r *runner) unready(c Campaign) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case c.Settings.Mode.Overdials() && !r.message.has(c.Settings.Message):
		return cmp.Or(r.trouble, "the abandoned-call message is not loaded: upload one, or use mode progressive")
	case c.Settings.CallerID == "" || c.Settings.Trunk == "":
		return "the campaign has no caller ID or no trunk"
	}
	return ""
}

// start sends a lead on its journey.
func (r *runner) start(lead Lead, mode Mode) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dialing.Err() != nil {
		r.returned = append(r.returned, lead)
		return
	}
	c := r.campaign
	a := &attempt{
		s: r.s, r: r, campaign: c, lead: lead, calling: r.s.calling, phase: phaseStarting, since: time.Now(),
		rules: r.rules, saving: make(chan struct{}, 1), over: make(chan struct{}),
		call: Call{
			ID: dialer.NewCallID(), Campaign: c.ID, List: lead.List, Lead: lead.ID, Trunk: c.Settings.Trunk, Mode: mode,
			To: lead.Number, From: c.Settings.CallerID, Attempt: lead.Attempts + 1, State: Placed,
		},
	}
	a.log = r.log.With("call", a.call.ID, "lead", lead.ID)
	a.ringing, a.giveUp = context.WithCancelCause(r.s.calling)
	dialing, stop := context.WithCancelCause(a.ringing)
	a.dialing = dialing
	a.unhook = context.AfterFunc(r.dialing, func() { stop(context.Cause(r.dialing)) })
	a.place = len(r.attempts)
	r.attempts = append(r.attempts, a)
	r.s.calls.Go(a.run)
}

// ownMode is the journey of an agent's own callback: the agent comes first.
func (r *runner) ownMode(c Campaign) Mode {
	if c.Settings.Mode == Preview {
		return Preview
	}
	return Progressive
}

// ownCallbacks dials what ready agents have promised to do themselves.
func (r *runner) ownCallbacks(ctx context.Context, now time.Time) error {
	if now.Sub(r.ownLooked) < time.Second {
		return nil
	}
	r.ownLooked = now
	asked := map[dialer.AgentID]time.Time{} // who is ready again is asked for at once
	for _, agent := range r.s.cfg.Agents.Ready(r.id) {
		at, ok := r.ownAt[agent]
		if !ok || now.Sub(at) >= ownEvery {
			at = now
			if _, err := r.claim(ctx, 1, agent, now); err != nil {
				return err
			}
		}
		asked[agent] = at
	}
	r.ownAt = asked
	return nil
}

// complete ends the campaign when no lead is left to call, now or later.
func (r *runner) complete(ctx context.Context, now time.Time) error {
	r.mu.Lock()
	busy := len(r.attempts) > 0
	r.mu.Unlock()
	none := now.Sub(r.hopper.emptyAt) < doneEvery // the store had no lead that is due
	if busy || !none || len(r.hopper.leads) > 0 || now.Sub(r.doneAt) < doneEvery {
		return nil
	}
	r.doneAt = now
	ctx, cancel := context.WithTimeout(ctx, storeLimit)
	defer cancel()
	left, err := r.s.cfg.Store.LeadsLeft(ctx, r.id, now)
	if err != nil || left.Total == 0 || left.Done < left.Total {
		return err
	}
	_, err = r.s.cfg.Store.SetCampaignState(ctx, r.id, []State{Running}, Completed, "", "no lead is left to call", now)
	if dialer.CodeOf(err) == dialer.Conflict {
		return nil // somebody stopped it meanwhile
	}
	r.s.Wake()
	return err
}
