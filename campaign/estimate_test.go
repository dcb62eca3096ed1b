package campaign_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"dialer"
	"dialer/agents"
	"dialer/campaign"
	"dialer/pacing"
)

// What the pacer learns is kept when the dialing ends.
func TestEstimateIsSaved(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := open(t, settings(campaign.Predictive), 200, population(1))
		h.agent("agt_1", answer{talk: 20 * time.Second, said: agents.Disposition{Code: "NOT_INTERESTED"}})
		time.Sleep(5 * time.Minute)
		early, err := h.store.Estimate(t.Context(), "cmp_1")
		if err != nil || early == nil {
			t.Errorf("after five minutes %d bytes are saved: %v", len(early), err)
		}
		h.drain()
		body, err := h.store.Estimate(t.Context(), "cmp_1")
		if err != nil {
			t.Fatal(err)
		}
		e, err := pacing.ReadEstimator(body)
		sent := 0
		for _, c := range h.store.Calls() {
			if !c.SentAt.IsZero() {
				sent++
			}
		}
		if err != nil || e.Attempts == 0 || e.Attempts > sent || e.Attempts < sent-2 {
			t.Errorf("of %d attempts %d are in what was saved: %v", sent, e.Attempts, err)
		}
	})
}

// A campaign predicts from its first call when an earlier run has learned, and
// begins with care when what that has left cannot be read.
func TestWarmStart(t *testing.T) {
	learned := pacing.Estimator{}
	for i := range 400 {
		learned.Ended(i%4 == 0, 10*time.Second)
	}
	sound, err := json.Marshal(&learned)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		body  []byte
		limit pacing.Limit
	}{{"learned", sound, pacing.LimitAgents}, {"damaged", sound[:len(sound)/2], pacing.LimitWarmUp}, {"new", nil, pacing.LimitWarmUp}} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h := openHouse(t, 400, settings(campaign.Predictive), 200, population(1), func(cfg *campaign.Config) {
					if err := cfg.Store.SaveEstimate(t.Context(), "cmp_1", c.body, time.Now()); err != nil {
						t.Error(err)
					}
				})
				for i := range 10 {
					h.agent(dialer.AgentID(fmt.Sprintf("agt_%02d", i)), answer{talk: 20 * time.Second, said: agents.Disposition{Code: "NOT_INTERESTED"}})
				}
				time.Sleep(2 * time.Second)
				if d := h.sched.Live("cmp_1").Decision; d.Limit != string(c.limit) {
					t.Errorf("the first calls are bounded by %q: %s", d.Limit, d.Reason)
				}
				h.drain()
			})
		})
	}
}
