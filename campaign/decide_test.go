package campaign_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"dialer"
	"dialer/agents"
	"dialer/campaign"
)

// The log tells decisions with all that is behind them: those that differ in kind,
// at least one a minute and at most one in five seconds.
func TestDecisionsAreTold(t *testing.T) {
	bubble(t, func(t *testing.T) {
		set := settings(campaign.Predictive)
		set.AMD = true
		set.Detection.LateMachine = campaign.LateOff // listening on costs time
		h := openAfter(t, 400, set, 2000, population(3))
		for i := range 6 {
			h.agent(dialer.AgentID(fmt.Sprintf("agt_%02d", i)), answer{talk: 30 * time.Second, wrap: 10 * time.Second, said: agents.Disposition{Code: "NOT_INTERESTED"}})
		}
		time.Sleep(20 * time.Minute)
		placed := len(h.store.Calls())
		h.drain()
		var last time.Time
		calls, predicted := 0, 0
		for _, e := range h.store.Events() {
			d, ok := e.Fact.(dialer.PacingDecided)
			if !ok {
				continue
			}
			if gap := e.At.Sub(last); !last.IsZero() && (gap < 5*time.Second || gap > 61*time.Second) {
				t.Errorf("%s after the one before: %+v", gap, d)
			}
			last = e.At
			calls += d.Placed
			s := d.Seen
			if d.Policy != "predictive, cap 3 %" || d.Limit == "" || !strings.Contains(d.Reason, "dial") || s.Cap != 0.03 || s.Answered < 400 || s.CallsPerSecond == 0 {
				t.Errorf("%+v", d)
			}
			if n := s.Ready + s.Held + s.Talking + s.WrapUp; n > 6 {
				t.Errorf("%d agents: %+v", n, s)
			}
			if d.Threshold > 0 && d.ExpectedAnswers > 0 && d.ExpectedFree > 0 {
				predicted++
			}
		}
		if predicted < 10 || calls < placed*9/10 || calls > placed+20 {
			t.Errorf("%d decisions tell what was expected; they add up to %d calls, %d were placed", predicted, calls, placed)
		}
	})
}
