package simulate

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"dialer/pacing"
)

// An Entry is a policy in a world.
type Entry struct {
	World  World
	Policy Policy
	// Warm lets the pacer begin with what it learned in one shift before, of the
	// same world with other people.
	Warm bool
}

// An Estimate is a figure with its standard error over the seeds.
type Estimate struct{ Value, SE float64 }

// A Summary is what came of an Entry over all seeds. Its figures are pooled: of
// the agents, calls and hours of all shifts together.
type Summary struct {
	Policy string
	Agents int
	Cap    float64
	Seeds  int

	Utilisation     Estimate // share of agents' time at work
	AbandonRate     Estimate // share of persons who answered
	Wait            Estimate // seconds before each call
	TalkPerHour     Estimate // minutes
	DialsPerConnect Estimate

	OverCap   int     // shifts that abandoned more than the cap
	WorstHour float64 // of all shifts
	Excess    int

	// Finished is when the list was, on average in seconds; 0 when it was not in
	// some shift. Pace is calls dialed an hour.
	Finished float64
	Pace     float64
	// TalkHours is what the team talks in a shift, on average.
	TalkHours float64
	Slices    []Slice // of all shifts together
}

// Compare runs every entry with every seed, on so many processors at once (0: all),
// and calls done after each shift. The result does not depend on the processors. What
// panics in a shift panics in the caller.
func Compare(ctx context.Context, entries []Entry, seeds []uint64, workers int, done func()) ([]Summary, error) {
	for i := range entries {
		if err := entries[i].World.Validate(); err != nil {
			return nil, err
		}
	}
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	results := make([]Result, len(entries)*len(seeds))
	errs := make([]error, len(results))
	var next atomic.Int64
	var wg sync.WaitGroup
	var calling sync.Mutex
	var panicked atomic.Pointer[string]
	for range min(workers, len(results)) {
		wg.Go(func() {
			// The caller may live on after a panic, which here would end all calls.
			defer func() {
				if v := recover(); v != nil {
					what := fmt.Sprintf("%v\n%s", v, debug.Stack())
					panicked.Store(&what)
				}
			}()
			for i := next.Add(1) - 1; i < int64(len(results)) && ctx.Err() == nil; i = next.Add(1) - 1 {
				e := &entries[i/int64(len(seeds))]
				results[i], errs[i] = e.run(ctx, seeds[i%int64(len(seeds))])
				if done != nil {
					calling.Lock()
					done()
					calling.Unlock()
				}
			}
		})
	}
	wg.Wait()
	if what := panicked.Load(); what != nil {
		panic(*what)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	all := make([]Summary, len(entries))
	for i := range entries {
		all[i] = summarise(&entries[i], results[i*len(seeds):(i+1)*len(seeds)])
	}
	return all, nil
}

// yesterday sets the seeds of a warm start apart from those that are measured.
const yesterday = 1 << 40

func (e *Entry) run(ctx context.Context, seed uint64) (Result, error) {
	var est *pacing.Estimator
	if e.Warm {
		p, err := e.Policy.New(&e.World)
		if err != nil {
			return Result{}, err
		}
		est = new(pacing.Estimator)
		w := e.World
		w.Leads = 0
		runShift(ctx, &w, p, est, seed+yesterday)
		if est, err = nextDay(est); err != nil {
			return Result{}, err
		}
	}
	p, err := e.Policy.New(&e.World)
	if err != nil {
		return Result{}, err
	}
	return runShift(ctx, &e.World, p, est, seed), nil
}

func summarise(e *Entry, results []Result) Summary {
	s := Summary{Policy: e.Policy.Name, Agents: e.World.Team(), Cap: e.World.Cap, Seeds: len(results)}
	ratio := func(of func(r *Result) (above, below float64)) Estimate { return pooled(results, of) }
	s.Utilisation = ratio(func(r *Result) (float64, float64) { return r.Talk + r.Wrap, r.Talk + r.Wrap + r.Idle })
	s.AbandonRate = ratio(func(r *Result) (float64, float64) { return float64(r.Counted), float64(r.Answered) })
	s.Wait = ratio(func(r *Result) (float64, float64) { return r.Idle, float64(r.Connected) })
	s.TalkPerHour = ratio(func(r *Result) (float64, float64) { return r.Talk / 60, (r.Talk + r.Wrap + r.Idle) / 3600 })
	s.DialsPerConnect = ratio(func(r *Result) (float64, float64) { return float64(r.Dialed), float64(r.Connected) })
	s.Pace = ratio(func(r *Result) (float64, float64) { return float64(r.Dialed), r.Length / 3600 }).Value
	finished := true
	for i := range results {
		r := &results[i]
		if r.AbandonRate() > e.World.Cap {
			s.OverCap++
		}
		s.WorstHour = max(s.WorstHour, r.WorstHour)
		s.Excess += r.Excess
		s.TalkHours += r.Talk / 3600 / float64(len(results))
		s.Finished += r.Finished / float64(len(results))
		finished = finished && r.Finished > 0
		for j, x := range r.Slices {
			if j == len(s.Slices) {
				s.Slices = append(s.Slices, Slice{})
			}
			t := &s.Slices[j]
			t.Busy, t.Idle = t.Busy+x.Busy, t.Idle+x.Idle
			t.Answered, t.Abandoned = t.Answered+x.Answered, t.Abandoned+x.Abandoned
		}
	}
	if !finished {
		s.Finished = 0
	}
	return s
}

// pooled is a ratio of sums, with the standard error of such a ratio.
func pooled(results []Result, of func(r *Result) (above, below float64)) Estimate {
	above, below := 0.0, 0.0
	for i := range results {
		a, b := of(&results[i])
		above, below = above+a, below+b
	}
	if below == 0 {
		return Estimate{}
	}
	e, sum, n := Estimate{Value: above / below}, 0.0, float64(len(results))
	for i := range results {
		a, b := of(&results[i])
		d := a - e.Value*b
		sum += d * d
	}
	if n > 1 {
		e.SE = math.Sqrt(sum*n/(n-1)) / below
	}
	return e
}

// Seeds are n seeds.
func Seeds(n int) []uint64 {
	seeds := make([]uint64, n)
	for i := range seeds {
		seeds[i] = uint64(i + 1)
	}
	return seeds
}
