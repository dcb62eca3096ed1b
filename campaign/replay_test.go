package campaign_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"testing"
	"time"

	"dialer"
	"dialer/agents"
	"dialer/campaign"
	"dialer/pacing"
)

// A tapeStore is a store that may refuse tapes.
type tapeStore struct {
	campaign.Store
	refuses atomic.Bool
}

func (s *tapeStore) SaveTape(ctx context.Context, part campaign.TapePart) error {
	if s.refuses.Load() {
		return errors.New("the disk is full")
	}
	return s.Store.SaveTape(ctx, part)
}

// A run of the engine is replayed: every decision is the same again, and those
// that were told are told with the same figures. That holds over a change of the
// settings, a drained and a new engine, and for what follows a stretch that could
// not be saved.
func TestReplayOfARun(t *testing.T) {
	bubble(t, func(t *testing.T) {
		set := settings(campaign.Predictive)
		set.AMD = true
		set.Detection.LateMachine = campaign.LateOff // listening on costs time
		var tapes *tapeStore
		h := openHouse(t, 400, set, 4000, population(5), func(cfg *campaign.Config) {
			tapes = &tapeStore{Store: cfg.Store}
			cfg.Store, cfg.Version = tapes, "v1"
		})
		for i := range 6 {
			h.agent(dialer.AgentID(fmt.Sprintf("agt_%02d", i)), answer{talk: 30 * time.Second, wrap: 15 * time.Second, said: agents.Disposition{Code: "NOT_INTERESTED"}})
		}
		began := time.Now()
		time.Sleep(4 * time.Minute)
		limit := 0.05
		h.camp.Settings.AbandonCap = &limit
		h.store.AddCampaign(h.camp)
		time.Sleep(3 * time.Minute)
		tapes.refuses.Store(true)
		time.Sleep(13 * time.Minute)
		tapes.refuses.Store(false)
		time.Sleep(3 * time.Minute)
		h.drain()

		parts, err := h.store.Tapes(t.Context(), "cmp_1", began, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		type place struct {
			tape int64
			look int
		}
		replayed := map[place]pacing.Decision{}
		players := map[int64]*pacing.Player{}
		dialed := 0
		for _, p := range parts {
			tape := p.Began.UnixMilli()
			if players[tape] == nil {
				players[tape] = new(pacing.Player)
			}
			for look, err := range players[tape].Play(p.Body) {
				if err != nil {
					t.Fatal(err)
				}
				pacer, err := pacing.New(look.Config)
				if err != nil {
					t.Fatal(err)
				}
				d := pacer.Decide(look.Snapshot)
				if d.Dial != look.Dial || d.AgentFirst != look.AgentFirst || d.Limit != look.Limit {
					t.Fatalf("look %d at %s: %+v, was %d, %s", look.Number, look.At, d, look.Dial, look.Limit)
				}
				replayed[place{tape, look.Number}] = d
				dialed += d.Dial
			}
		}
		if len(players) != 2 || dialed < 100 {
			t.Fatalf("%d tapes with %d decisions, %d calls", len(players), len(replayed), dialed)
		}
		same, lost := 0, 0
		policies := map[string]int{}
		near := func(a, b float64) bool { return math.Abs(a-b) < 0.5001e-4 }
		for _, e := range h.store.Events() {
			told, ok := e.Fact.(dialer.PacingDecided)
			if !ok {
				continue
			}
			d, ok := replayed[place{told.Tape.UnixMilli(), told.Look}]
			if !ok {
				lost++
				continue
			}
			same++
			policies[told.Policy]++
			if d.Reason != told.Reason || d.Dial != told.Dial || string(d.Limit) != told.Limit || !near(d.ExpectedFree, told.ExpectedFree) ||
				!near(d.ExpectedAnswers, told.ExpectedAnswers) || !near(d.ExpectedLoss, told.ExpectedLoss) ||
				!near(d.Threshold, told.Threshold) || !near(d.Allowance, told.Allowance) {
				t.Errorf("told at %s: %+v\nreplayed: %+v", e.At, told, d)
			}
		}
		if lost < 8 || same < 8 || policies["predictive, cap 5 %"] == 0 || policies["predictive, cap 3 %"] == 0 {
			t.Errorf("%d told decisions are on no tape, %d are: %v", lost, same, policies)
		}
		bytes := 0
		for _, p := range parts {
			bytes += len(p.Body)
		}
		t.Logf("%d decisions, %d told, %d calls; %.1f bytes a decision", len(replayed), same+lost, dialed, float64(bytes)/float64(len(replayed)))
	})
}
