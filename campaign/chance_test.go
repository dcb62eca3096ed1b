package campaign_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"dialer"
	"dialer/agents"
	"dialer/campaign"
	"dialer/pacing"
	"dialer/telephony"
	"dialer/telephony/simtrunk"
)

// What a list says of its leads reaches the pacer as a relation to the mean: of
// leads at 0.6 and at 0.2 the first count three times as much, and those of which
// nothing is said as the mean.
func TestAnswerProbabilityReachesThePacer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		set := settings(campaign.Predictive)
		set.AMD = true
		h := openAfter(t, 400, set, 0, func(telephony.Invite) simtrunk.Behaviour { return simtrunk.Behaviour{} })
		for i := range 600 {
			l := lead(i)
			l.AnswerProbability = []float64{0.6, 0.2, 0}[i%3]
			h.store.AddLeads(l)
		}
		began := time.Now()
		for i := range 4 {
			h.agent(dialer.AgentID(fmt.Sprintf("agt_%02d", i)), answer{said: agents.Disposition{Code: "NOT_INTERESTED"}})
		}
		time.Sleep(3 * time.Minute)
		h.drain()
		parts, err := h.store.Tapes(t.Context(), "cmp_1", began, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		var player pacing.Player
		next, ringing := map[float64]int{}, 0
		for _, p := range parts {
			for look, err := range player.Play(p.Body) {
				if err != nil {
					t.Fatal(err)
				}
				for _, c := range look.Snapshot.NextChance {
					next[c]++
				}
				ringing += len(look.Snapshot.RingingChance)
			}
		}
		high, low, other := 0, 0, 0
		for c, n := range next {
			switch {
			case c > 1.4 && c < 1.6:
				high += n
			case c > 0.45 && c < 0.55:
				low += n
			case c != 1:
				other += n
			}
		}
		if high == 0 || low == 0 || next[1] == 0 || other > (high+low)/5 || ringing == 0 {
			t.Errorf("%d high, %d low, %d as the mean, %d others; %d of what rang", high, low, next[1], other, ringing)
		}
	})
}

func TestAnswerProbabilityOfAList(t *testing.T) {
	text := "phone,Answer_Probability\n2025550143,0.12\n2025550144,\n2025550145,1.5\n2025550146,0\n2025550147,NaN\n"
	var got []string
	for row, err := range campaign.ReadLeads(strings.NewReader(text), campaign.ReadOptions{Region: "US"}) {
		if err != nil {
			t.Fatal(err)
		}
		if row.Reject != nil {
			got = append(got, row.Reject.Field)
			continue
		}
		got = append(got, fmt.Sprint(row.Lead.AnswerProbability))
	}
	if want := "0.12 0 Answer_Probability 0.001 Answer_Probability"; strings.Join(got, " ") != want {
		t.Errorf("%v, want %s", got, want)
	}
}
