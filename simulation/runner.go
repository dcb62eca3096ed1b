package simulation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"dialer"
	"dialer/pacing"
	"dialer/pacing/simulate"
)

// Config is what a Runner needs.
type Config struct {
	Store  Store
	AtOnce int // simulations at once; 0: none here
	Log    *slog.Logger
}

// A Runner works on jobs: few at once, one goroutine each, and so that calls do
// not notice.
type Runner struct{ cfg Config }

// NewRunner returns a Runner; it starts nothing.
func NewRunner(cfg Config) *Runner { return &Runner{cfg} }

const (
	lookEvery  = time.Second
	beatEvery  = 2 * time.Second
	storeLimit = 5 * time.Second
	// mostTries is how many processes may die over a job before it is given up: it
	// may be why they did.
	mostTries = 3
	// A simulation works for so long and rests for as long: half of a processor at
	// most, and no goroutine of a call waits longer for its turn than this.
	stint = 2 * time.Millisecond
)

// Run works on jobs until ctx ends. What is under way then stays claimed, and the
// next process begins it anew.
func (r *Runner) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for range r.cfg.AtOnce {
		wg.Go(func() { r.work(ctx) })
	}
	wg.Wait()
	<-ctx.Done()
	return nil
}

// work is one job after the other.
func (r *Runner) work(ctx context.Context) {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	away := false
	for {
		limited, cancel := context.WithTimeout(ctx, storeLimit)
		job, err := r.cfg.Store.ClaimSimulation(limited)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			if !away {
				r.cfg.Log.Warn("simulations wait for the database", "err", err)
			}
			away = true
		case job != nil:
			away = false
			r.do(ctx, job)
			continue
		default:
			away = false
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}

var errNotOurs = errors.New("the simulation was cancelled")

// do runs one job to its end, unless ctx ends first.
func (r *Runner) do(ctx context.Context, job *Job) {
	log := r.cfg.Log.With("simulation", string(job.ID))
	began := time.Now()
	working, stop := context.WithCancelCause(ctx)
	var p progress
	var beats sync.WaitGroup
	beats.Go(func() { r.beat(working, stop, job.ID, &p, log) })
	out, err := Outcome{}, error(nil)
	if job.Tries > mostTries {
		err = dialer.Errorf(dialer.Unavailable, "it was begun %d times and no process has lived to its end", mostTries)
	} else {
		out, err = r.simulate(working, job, &p)
	}
	cause := context.Cause(working)
	stop(nil)
	beats.Wait()
	if cause != nil { // cancelled, or the dialer stops
		return
	}
	state := Done
	if err != nil {
		state, out.Error = Failed, "internal error; the log has the cause"
		var told *dialer.Error
		if errors.As(err, &told) {
			out.Error = told.Error()
		} else {
			log.Error("a simulation failed", "err", err)
		}
	}
	// The result of half an hour is not lost to a moment without the database.
	for ctx.Err() == nil {
		limited, cancel := context.WithTimeout(ctx, storeLimit)
		err := r.cfg.Store.EndSimulation(limited, job.ID, state, out)
		cancel()
		if err == nil {
			log.Info("simulation ended", "state", string(state), "took", time.Since(began).Round(time.Millisecond))
			return
		}
		log.Warn("what came of a simulation is not saved yet", "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(lookEvery):
		}
	}
}

// beat saves the progress until ctx ends, and stops a job that is not ours any more.
func (r *Runner) beat(ctx context.Context, stop context.CancelCauseFunc, id dialer.SimulationID, p *progress, log *slog.Logger) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		limited, cancel := context.WithTimeout(ctx, storeLimit)
		ours, err := r.cfg.Store.BeatSimulation(limited, id, p.now())
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			log.Warn("the progress of a simulation is not saved", "err", err)
		case !ours:
			stop(errNotOurs)
			return
		}
	}
}

// simulate comes to the figures of a job. A scenario that makes the simulator
// panic costs itself and no call.
func (r *Runner) simulate(ctx context.Context, job *Job, p *progress) (out Outcome, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	base := simulate.DefaultScenario()
	if job.Campaign != "" {
		fitted, err := FromCampaign(ctx, r.cfg.Store, job.Campaign)
		if err != nil {
			return out, err
		}
		base, out.Remarks = fitted.Scenario, fitted.Remarks
	}
	s, err := Over(base, job.Settings)
	if err != nil {
		return out, err
	}
	out.Scenario = &s
	if found := Check(&s); len(found) > 0 {
		return out, found[0]
	}
	entries, err := s.Entries(ctx, func(of simulate.Policy) simulate.Policy { return p.watched(ctx, of) })
	if err != nil {
		return out, err
	}
	p.begin(len(entries)*s.Seeds, s.Hours, s.Warm)
	all, err := simulate.Compare(ctx, entries, simulate.Seeds(s.Seeds), 1, p.done)
	if err != nil {
		return out, err
	}
	out.Figures, out.Advice = simulate.FiguresOf(&s, entries, all), simulate.Advice(&s, entries, all)
	return out, nil
}

// progress is how far a job is: shifts done, and the share of the one under way.
type progress struct {
	mu         sync.Mutex
	all, ended int
	part       float64
	hours      float64
	warm       bool
}

func (p *progress) begin(all int, hours float64, warm bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all, p.hours, p.warm, p.part = all, hours, warm, 0
}

func (p *progress) done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended++
	p.part = 0
}

// at notes how many hours the shift under way has come to. With a warm start there
// are two of them; the first is half of it.
func (p *progress) at(hours float64, first bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all == 0 {
		return // a trial
	}
	share := hours / p.hours
	if p.warm {
		share /= 2
		if !first {
			share += 0.5
		}
	}
	p.part = max(p.part, min(share, 1))
}

func (p *progress) now() float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all == 0 {
		return 0
	}
	return min((float64(p.ended)+p.part)/float64(p.all), 1)
}

// watched is a policy whose pacers tell of the progress and rest.
func (p *progress) watched(ctx context.Context, of simulate.Policy) simulate.Policy {
	made := of.New
	first := false
	of.New = func(w *simulate.World) (pacing.Pacer, error) {
		inner, err := made(w)
		first = !first // of the two of a warm start
		return &restful{Pacer: inner, ctx: ctx, p: p, first: first, worked: time.Now()}, err
	}
	return of
}

// restful is a pacer that leaves the processor to others between decisions. It
// changes no decision.
type restful struct {
	pacing.Pacer
	ctx    context.Context
	p      *progress
	first  bool
	start  time.Time // of the shift, in its own time
	worked time.Time // since when without a rest
}

// Decide implements pacing.Pacer.
func (r *restful) Decide(s pacing.Snapshot) pacing.Decision {
	if r.start.IsZero() {
		r.start = s.Now
	}
	if d := time.Since(r.worked); d >= stint {
		r.p.at(s.Now.Sub(r.start).Hours(), r.first)
		timer := time.NewTimer(d)
		select {
		case <-timer.C:
		case <-r.ctx.Done():
			timer.Stop()
		}
		r.worked = time.Now()
	} else {
		runtime.Gosched()
	}
	return r.Pacer.Decide(s)
}
