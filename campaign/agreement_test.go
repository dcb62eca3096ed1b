package campaign_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"dialer"
	"dialer/agents"
	"dialer/amd"
	"dialer/campaign"
	"dialer/internal/memstore"
	"dialer/pacing"
	"dialer/pacing/simulate"
	"dialer/telephony"
	"dialer/telephony/simtrunk"
)

// An agreed shift is one of the engine in a world of pacing/simulate: the n-th
// call meets the n-th lead, and agents wrap up and rest by the same laws.
type agreedShift struct {
	w        simulate.World
	registry *agents.Registry
	hours    hours

	mu     sync.Mutex
	start  time.Time
	leads  *simulate.Leads
	staff  *rand.Rand
	called uint64
	people map[dialer.CallID]bool
}

// verdicts is what detection is to say of a lead. It travels as audio: the first
// packet holds it, the second comes when it is due.
const (
	verdictAt  = iota // of a person, of a machine
	greetingAt        // ms
)

func (a *agreedShift) script(inv telephony.Invite) simtrunk.Behaviour {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.called++
	l := a.leads.Call(a.called, time.Since(a.start).Seconds())
	switch {
	case l.Refused:
		return simtrunk.Behaviour{Ring: seconds(l.Ring), Cause: telephony.CauseBusy}
	case !l.Answers:
		return simtrunk.Behaviour{}
	}
	if l.Person {
		a.people[inv.Call] = true
	}
	verdict, greeting := int16(2), int16(5000)
	if l.Live {
		verdict = 1
	}
	if l.Person || l.Live { // a machine taken for one talks no longer
		greeting = int16(1000 * l.Greeting)
	}
	return simtrunk.Behaviour{
		Ring: seconds(l.Ring), Answer: true, TalkFor: seconds(l.Talk),
		Packets: []time.Duration{0, seconds(l.Detect) - telephony.FrameDuration},
		Audio: func(_ time.Duration, f *telephony.Frame) {
			f.Samples[verdictAt], f.Samples[greetingAt] = verdict, greeting
		},
	}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// A toldDetector says what the audio tells it to.
type toldDetector struct{ heard, lost time.Duration }

func (d *toldDetector) Events() []amd.Event { return nil }

func (d *toldDetector) Write(frame []int16) (amd.Result, bool) {
	d.heard += telephony.FrameDuration
	r := amd.Result{SpeechStart: 0, LastVoice: d.lost, GreetingEnd: -1}
	if frame == nil {
		return r, false
	}
	greeting := time.Duration(frame[greetingAt]) * time.Millisecond
	r.LastVoice = greeting
	d.lost = greeting
	if d.heard == telephony.FrameDuration {
		return r, false
	}
	r.GreetingEnd, r.Decided, r.Reason = greeting, d.heard, "told"
	r.Verdict = amd.Human
	if frame[verdictAt] != 1 {
		r.Verdict = amd.Machine
	}
	return r, true
}

// hours are how agents spend their time.
type hours struct {
	mu    sync.Mutex
	state map[dialer.AgentID]agents.State
	since map[dialer.AgentID]time.Time
	spent map[agents.State]time.Duration
	ended bool
}

// SaveAgentState implements agents.Saver.
func (h *hours) SaveAgentState(agent dialer.AgentID, _, to agents.State, _ int, _ string, _ dialer.CallID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.account(agent)
	h.state[agent] = to
}

func (h *hours) account(agent dialer.AgentID) {
	now := time.Now()
	if !h.ended {
		h.spent[h.state[agent]] += now.Sub(h.since[agent])
	}
	h.since[agent] = now
}

func (h *hours) occupancy() float64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	for agent := range h.state {
		h.account(agent)
	}
	h.ended = true
	busy, idle := h.spent[agents.Talking]+h.spent[agents.WrapUp], h.spent[agents.Ready]+h.spent[agents.Reserved]
	return busy.Seconds() / (busy + idle).Seconds()
}

// works is an agent's shift: wrap-ups, and a break when one is due, after a
// wrap-up or out of idleness.
func (a *agreedShift) works(t *testing.T, id dialer.AgentID) {
	if _, err := a.registry.Login(context.Background(), agents.Agent{ID: id, Name: string(id), Extension: string(id), Campaigns: []dialer.CampaignID{"cmp_1"}}); err != nil {
		t.Fatal(err)
	}
	desk, err := a.registry.Attach(id)
	if err != nil {
		t.Fatal(err)
	}
	every, rest := seconds(a.w.BreakEvery), seconds(a.w.BreakFor)
	due := a.start.Add(seconds(a.w.BreakEvery * (0.2 + 0.8*a.staff.Float64())))
	go func() {
		var bored *time.Timer
		for m := range desk.Messages() {
			if m.Kind != agents.StateChanged {
				continue
			}
			if bored != nil {
				bored.Stop()
			}
			switch m.State {
			case agents.Ready:
				bored = time.AfterFunc(max(time.Until(due), 30*time.Second), func() { a.registry.SetNotReady(id, "break") })
			case agents.NotReady:
				due = time.Now().Add(rest + every)
				time.AfterFunc(rest, func() { a.registry.SetReady(id) })
			case agents.WrapUp:
				a.mu.Lock()
				wrap := seconds(a.w.Wrap.Draw(a.staff))
				a.mu.Unlock()
				then := agents.Ready
				if time.Now().Add(wrap).After(due) {
					then = agents.NotReady
				}
				call := m.Call
				time.AfterFunc(wrap, func() { a.registry.Dispose(id, call, agents.Disposition{Code: "NOT_INTERESTED"}, then) })
			}
		}
	}()
	if err := a.registry.SetReady(id); err != nil {
		t.Fatal(err)
	}
}

// A logless store keeps calls and leads, and no facts: those of a day fill the
// memory, and nobody reads them.
type logless struct{ *memstore.Store }

func (s logless) BeginCall(ctx context.Context, c campaign.Call, _ ...dialer.Fact) error {
	return s.Store.BeginCall(ctx, c)
}
func (s logless) UpdateCall(c campaign.Call, _ ...dialer.Fact) { s.Store.UpdateCall(c) }
func (s logless) EndCall(c campaign.Call, next campaign.Next, _ ...dialer.Fact) {
	s.Store.EndCall(c, next)
}
func (s logless) Record(...dialer.Event) {}

// figures are what is compared.
type figures struct {
	occupancy, abandoned float64
	dialed, answered     int
}

func (f figures) String() string {
	return fmt.Sprintf("occupancy %.1f %%, abandoned %.2f %% of %d, %d dialed", 100*f.occupancy, 100*f.abandoned, f.answered, f.dialed)
}

// engineShift runs a world's shift on the engine, in a bubble.
func engineShift(t *testing.T, w simulate.World, seed uint64) (f figures) {
	bubble(t, func(t *testing.T) {
		a := &agreedShift{
			w: w, start: time.Now(), leads: simulate.NewLeads(&w, seed), staff: rand.New(rand.NewPCG(seed, 1<<63)),
			people: map[dialer.CallID]bool{},
			hours:  hours{state: map[dialer.AgentID]agents.State{}, since: map[dialer.AgentID]time.Time{}, spent: map[agents.State]time.Duration{}},
		}
		set := settings(campaign.Predictive)
		set.AMD, set.WrapUpLimitS, set.AbandonCap = true, 1800, &w.Cap
		set.RingTimeoutS, set.ConnectDeadlineMS = int(w.RingTimeout), int(1000*w.Window)
		if mistakes := set.Validate(); mistakes != nil {
			t.Fatal(mistakes)
		}
		store := memstore.New()
		store.AddAsset(messageSHA, wav(time.Second))
		store.AddCampaign(campaign.Campaign{ID: "cmp_1", State: campaign.Running, CreatedAt: a.start, StartedAt: a.start, Settings: set})
		for i := range int(float64(w.Agents)*w.Hours*150) + 1000 {
			l := lead(i)
			l.Number, l.Fields = dialer.Number(fmt.Sprintf("+1202%07d", 2_120_000+i)), nil
			store.AddLeads(l)
		}
		trunk := simtrunk.New(a.script)
		a.registry = agents.NewRegistry(agents.Config{Stations: simtrunk.NewStations(), Saver: &a.hours})
		sched := campaign.NewScheduler(campaign.Config{
			Store: logless{store}, Agents: a.registry, Carrier: trunk, NewDetector: func(amd.Config) amd.Detector { return &toldDetector{} },
		})
		ctx, stop := context.WithCancel(context.Background())
		var running sync.WaitGroup
		running.Go(func() { a.registry.Run(ctx) })
		for i := range w.Agents {
			a.works(t, dialer.AgentID(fmt.Sprintf("agt_%03d", i)))
		}
		running.Go(func() { sched.Run(context.Background()) })
		time.Sleep(seconds(3600 * w.Hours))

		f.occupancy = a.hours.occupancy()
		calls := store.Calls()
		f.dialed = len(calls)
		lost := 0
		for _, c := range calls {
			if !a.people[c.ID] || c.AnsweredAt.IsZero() {
				continue
			}
			f.answered++
			if c.Class.Abandoned() {
				lost++
			}
		}
		f.abandoned = float64(lost) / float64(max(f.answered, 1))
		sched.Close(errors.New("the shift is over"))
		stop()
		running.Wait()
		if dropped := store.Dropped(); len(dropped) > 0 {
			t.Errorf("%d saves out of order, the first: %s", len(dropped), dropped[0])
		}
	})
	return f
}

// simulatedShift runs it in the simulator.
func simulatedShift(t *testing.T, w simulate.World, seed uint64) figures {
	p, err := pacing.New(pacing.Config{Mode: pacing.Predictive, Cap: w.Cap})
	if err != nil {
		t.Fatal(err)
	}
	r := simulate.Run(w, p, nil, seed)
	return figures{r.Utilisation(), r.AbandonRate(), r.Dialed, r.Answered}
}

// The engine keeps agents as busy, and abandons as few, as the simulator says of
// the same shift: what its tables promise holds for what is run. AGREEMENT=full (make
// agreement) is whole days; a part of an hour is left to chance.
func TestEngineAgreesWithSimulator(t *testing.T) {
	type shift struct {
		agents              int
		hours               float64
		seeds               uint64
		occupancy, abandons float64 // how far they may be apart
	}
	shifts := []shift{{50, 0.5, 2, 0.02, 0.015}}
	switch {
	case os.Getenv("AGREEMENT") == "full":
		shifts = []shift{{20, 8, 3, 0.02, 0.01}, {200, 8, 3, 0.02, 0.01}}
	case raced:
		shifts = []shift{{50, 0.25, 1, 0.04, 0.03}}
	}
	for _, s := range shifts {
		w := simulate.Base(s.agents, 0.2, 120, s.hours)
		var occupancy, abandoned float64 // what the engine has more, on average
		for seed := range s.seeds {
			began := time.Now()
			engine := engineShift(t, w, seed+1)
			t.Logf("engine, %d agents, seed %d:    %s (%v)", s.agents, seed+1, engine, time.Since(began).Round(100*time.Millisecond))
			began = time.Now()
			simulated := simulatedShift(t, w, seed+1)
			t.Logf("simulator, %d agents, seed %d: %s (%v)", s.agents, seed+1, simulated, time.Since(began).Round(100*time.Millisecond))
			occupancy += (engine.occupancy - simulated.occupancy) / float64(s.seeds)
			abandoned += (engine.abandoned - simulated.abandoned) / float64(s.seeds)
		}
		t.Logf("%d agents, %g h: engine less simulator, occupancy %+.2f points, abandoned %+.2f points", s.agents, s.hours, 100*occupancy, 100*abandoned)
		if math.Abs(occupancy) > s.occupancy || math.Abs(abandoned) > s.abandons {
			t.Errorf("%d agents: they differ by more than %g and %g points", s.agents, 100*s.occupancy, 100*s.abandons)
		}
	}
}
