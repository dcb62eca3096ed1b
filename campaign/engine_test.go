package campaign_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dialer"
	"dialer/agents"
	"dialer/campaign"
	"dialer/compliance"
	"dialer/internal/memstore"
	"dialer/telephony"
	"dialer/telephony/simtrunk"
)

// A house is the engine on real parts in memory: store, carrier, phones and
// agents, in one bubble.
type house struct {
	t        *testing.T
	store    *memstore.Store
	faults   *faults
	trunk    *simtrunk.Trunk
	phones   *simtrunk.Stations
	registry *agents.Registry
	sched    *campaign.Scheduler
	camp     campaign.Campaign
	stop     context.CancelFunc  // of dialing
	ended    chan struct{}       // Run has returned
	works    []dialer.CampaignID // what agents work for

	mu   sync.Mutex
	pops map[dialer.AgentID][]campaign.ScreenPop
}

// faults is a store that can be away.
type faults struct {
	*memstore.Store
	mu    sync.Mutex
	away  error
	slow  time.Duration // of the begin of a call
	extra int           // people who answered before the test
	bug   bool          // the next save panics
	// counts are what the detector is said to have done
	counts []compliance.DetectorCount
	// what panics of a call's end: 0 nothing, 1 its first save, 2 each, once saved
	endBug int
}

func (f *faults) EndCall(c campaign.Call, next campaign.Next, facts ...dialer.Fact) {
	f.mu.Lock()
	bug := f.endBug
	if bug == 1 {
		f.endBug = 0
	}
	f.mu.Unlock()
	if bug == 1 {
		panic("a bug")
	}
	f.Store.EndCall(c, next, facts...)
	if bug == 2 {
		panic("a bug")
	}
}

func (f *faults) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.away = err
}

func (f *faults) now() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.away
}

func (f *faults) UpdateCall(c campaign.Call, facts ...dialer.Fact) {
	f.mu.Lock()
	bug := f.bug
	f.bug = false
	f.mu.Unlock()
	if bug {
		panic("a bug")
	}
	f.Store.UpdateCall(c, facts...)
}

func (f *faults) OpenCampaigns(ctx context.Context) ([]campaign.Campaign, error) {
	if err := f.now(); err != nil {
		return nil, err
	}
	return f.Store.OpenCampaigns(ctx)
}

func (f *faults) ClaimLeads(ctx context.Context, id dialer.CampaignID, n int, owner dialer.AgentID, now time.Time) ([]campaign.Lead, error) {
	if err := f.now(); err != nil {
		return nil, err
	}
	return f.Store.ClaimLeads(ctx, id, n, owner, now)
}

func (f *faults) BeginCall(ctx context.Context, c campaign.Call, facts ...dialer.Fact) error {
	if err := f.now(); err != nil {
		return err
	}
	f.mu.Lock()
	slow := f.slow
	f.mu.Unlock()
	time.Sleep(slow)
	return f.Store.BeginCall(ctx, c, facts...)
}

func (f *faults) AbandonTally(ctx context.Context, id dialer.CampaignID, since time.Time) (compliance.Tally, error) {
	if err := f.now(); err != nil {
		return compliance.Tally{}, err
	}
	t, err := f.Store.AbandonTally(ctx, id, since)
	f.mu.Lock()
	defer f.mu.Unlock()
	t.AddN(compliance.ClassConnected, f.extra)
	return t, err
}

func (f *faults) DetectorCounts(ctx context.Context, id dialer.CampaignID, from, to time.Time, sampled bool) ([]compliance.DetectorCount, error) {
	f.mu.Lock()
	counts := f.counts
	f.mu.Unlock()
	if counts != nil {
		return counts, f.now()
	}
	return f.Store.DetectorCounts(ctx, id, from, to, sampled)
}

func (f *faults) DisposeCall(ctx context.Context, c campaign.Call, next campaign.Next, facts ...dialer.Fact) error {
	if err := f.now(); err != nil {
		return err
	}
	return f.Store.DisposeCall(ctx, c, next, facts...)
}

func (f *faults) AddDNC(ctx context.Context, id dialer.CampaignID, n dialer.Number, source string, now time.Time) error {
	if err := f.now(); err != nil {
		return err
	}
	return f.Store.AddDNC(ctx, id, n, source, now)
}

const messageSHA = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

// wav is a message of a length.
func wav(d time.Duration) []byte {
	n := int(d/time.Millisecond) * 16
	var b bytes.Buffer
	b.WriteString("RIFF")
	binary.Write(&b, binary.LittleEndian, uint32(36+n))
	b.WriteString("WAVEfmt ")
	binary.Write(&b, binary.LittleEndian, struct {
		Size              uint32
		Format, Channels  uint16
		Rate, Bytes       uint32
		Align, BitsSample uint16
	}{16, 1, 1, 8000, 16000, 2, 16})
	b.WriteString("data")
	binary.Write(&b, binary.LittleEndian, uint32(n))
	for i := range n / 2 {
		binary.Write(&b, binary.LittleEndian, int16(i%1000))
	}
	return b.Bytes()
}

// settings are those of a campaign that may call at any time.
func settings(mode campaign.Mode) campaign.Settings {
	hours, err := compliance.ParseHours("Mon-Sun 00:00-24:00")
	if err != nil {
		panic(err)
	}
	return campaign.Settings{
		Name: "Spring", Mode: mode, Trunk: "trk_1", CallerID: "+12025550100", Message: messageSHA, Hours: hours,
		MaxPerDay: 50, MaxAttempts: 50,
	}
}

// open starts the engine with a new campaign and leads, in a bubble.
func open(t *testing.T, set campaign.Settings, leads int, script func(telephony.Invite) simtrunk.Behaviour) *house {
	t.Helper()
	return openAfter(t, 0, set, leads, script)
}

// openAfter is open for a campaign of which so many calls were answered before,
// so that it may be past its warm-up.
func openAfter(t *testing.T, answered int, set campaign.Settings, leads int, script func(telephony.Invite) simtrunk.Behaviour) *house {
	t.Helper()
	return openHouse(t, answered, set, leads, script, func(*campaign.Config) {})
}

// openWith is open with another part of the engine.
func openWith(t *testing.T, set campaign.Settings, leads int, script func(telephony.Invite) simtrunk.Behaviour, with func(*campaign.Config)) *house {
	t.Helper()
	return openHouse(t, 0, set, leads, script, with)
}

func openHouse(t *testing.T, answered int, set campaign.Settings, leads int, script func(telephony.Invite) simtrunk.Behaviour, with func(*campaign.Config)) *house {
	t.Helper()
	h := &house{t: t, store: memstore.New(), phones: simtrunk.NewStations(), ended: make(chan struct{}), works: []dialer.CampaignID{"cmp_1"}, pops: map[dialer.AgentID][]campaign.ScreenPop{}}
	h.faults = &faults{Store: h.store, extra: answered}
	h.trunk = simtrunk.New(script)
	if mistakes := set.Validate(); mistakes != nil {
		t.Fatal(mistakes)
	}
	h.store.AddAsset(messageSHA, wav(3*time.Second))
	h.camp = campaign.Campaign{ID: "cmp_1", State: campaign.Running, CreatedAt: time.Now(), StartedAt: time.Now(), Settings: set}
	h.store.AddCampaign(h.camp)
	for i := range leads {
		h.store.AddLeads(lead(i))
	}
	h.registry = agents.NewRegistry(agents.Config{Stations: h.phones, Saver: saver{h.store}})
	ctx, stopAgents := context.WithCancel(context.Background())
	agentsGone := make(chan struct{})
	go func() {
		defer close(agentsGone)
		if err := h.registry.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	cfg := campaign.Config{Store: h.faults, Agents: h.registry, Carrier: h.trunk, Reaper: h.trunk}
	with(&cfg)
	h.sched = campaign.NewScheduler(cfg)
	dialing, stop := context.WithCancel(context.Background())
	h.stop = stop
	go func() {
		defer close(h.ended)
		if err := h.sched.Run(dialing); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		stop()
		h.sched.Close(errors.New("the test is over"))
		<-h.ended
		stopAgents()
		<-agentsGone
		h.audit()
	})
	return h
}

func lead(i int) campaign.Lead {
	return campaign.Lead{
		ID: dialer.LeadID(fmt.Sprintf("led_%05d", i)), List: "lst_1", Campaign: "cmp_1",
		Number: dialer.Number(fmt.Sprintf("+1202555%04d", i)), Zone: "America/New_York",
		Fields: map[string]string{"first": "Ada"},
	}
}

// A saver puts agents' moves in the log.
type saver struct{ *memstore.Store }

func (s saver) SaveAgentState(agent dialer.AgentID, from, to agents.State, _ int, reason string, call dialer.CallID) {
	s.Record(dialer.Event{Agent: agent, Call: call, Fact: dialer.AgentStateChanged{From: string(from), To: string(to), Reason: reason}})
}

// audit is what must hold of every log.
func (h *house) audit() {
	h.t.Helper()
	for _, v := range compliance.Audit(h.store.Events()) {
		h.t.Errorf("audit: %+v", v)
	}
	open := 0
	for _, c := range h.store.Calls() {
		if c.State != campaign.Ended {
			open++
			h.t.Errorf("call %s is left %s", c.ID, c.State)
		}
	}
	if h.phones.InTwoCalls() > 0 {
		h.t.Errorf("%d times an agent was in two calls", h.phones.InTwoCalls())
	}
	if s := h.trunk.Stats(); s.InUse != 0 {
		h.t.Errorf("%d legs are left up", s.InUse)
	}
	for _, l := range h.store.Leads() {
		if l.State == campaign.Calling || l.State == campaign.Claimed && h.faults.now() == nil {
			h.t.Errorf("lead %s is left %s", l.ID, l.State)
		}
	}
}

// An answer is what an agent does with a call.
type answer struct {
	dial  bool          // previews
	talk  time.Duration // then hang up; 0 waits for the person to hang up
	wrap  time.Duration
	said  agents.Disposition
	then  agents.Disposition // of every call but the first
	after agents.State       // "" is Ready again
}

// agent logs in, is ready and treats every call alike, until the session ends.
func (h *house) agent(id dialer.AgentID, does answer) {
	h.t.Helper()
	ctx := context.Background()
	session, err := h.registry.Login(ctx, agents.Agent{ID: id, Name: string(id), Extension: string(id), Campaigns: h.works})
	if err != nil {
		h.t.Fatal(err)
	}
	desk, err := h.registry.Attach(id)
	if err != nil {
		h.t.Fatal(err)
	}
	go func() {
		calls := 0
		for m := range desk.Messages() {
			switch m.Kind {
			case agents.Offer:
				h.mu.Lock()
				h.pops[id] = append(h.pops[id], m.Pop.(campaign.ScreenPop))
				h.mu.Unlock()
			case agents.PreviewAsked:
				if does.dial {
					h.registry.PreviewDial(id, m.Call)
				} else {
					h.registry.PreviewSkip(id, m.Call)
				}
			case agents.StateChanged:
				switch m.State {
				case agents.Talking:
					if does.talk > 0 {
						time.AfterFunc(does.talk, func() { h.registry.Hangup(id) })
					}
				case agents.WrapUp:
					if calls++; calls > 1 && does.then.Code != "" {
						does.said = does.then
					}
					if does.said.Code != "" {
						call, said := m.Call, does.said
						time.AfterFunc(does.wrap, func() { h.registry.Dispose(id, call, said, does.after) })
					}
				}
			}
		}
	}()
	_ = session
	if err := h.registry.SetReady(id); err != nil {
		h.t.Fatal(err)
	}
}

// facts returns the kinds of the facts about calls and leads, in order.
func (h *house) kinds() []string {
	var kinds []string
	for _, e := range h.store.Events() {
		switch e.Fact.(type) {
		case dialer.PacingDecided, dialer.AgentStateChanged, dialer.CampaignChanged:
		default:
			kinds = append(kinds, e.Fact.Kind())
		}
	}
	return kinds
}

func (h *house) call(i int) campaign.Call {
	h.t.Helper()
	calls := h.store.Calls()
	if len(calls) <= i {
		h.t.Fatalf("%d calls, want more than %d; %s", len(calls), i, h.why())
	}
	return calls[i]
}

func (h *house) why() string {
	d, err := h.sched.Diagnostics(context.Background(), "cmp_1")
	if err != nil {
		return err.Error()
	}
	return d.Summary
}

func (h *house) lead(i int) campaign.Lead {
	h.t.Helper()
	return h.store.Leads()[i]
}

func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}
