package campaign_test

import (
	"errors"
	"testing"
	"time"

	"dialer/agents"
	"dialer/campaign"
	"dialer/compliance"
	"dialer/telephony"
)

// slowDisk takes some time to begin a recording and to end it.
func slowDisk(begin, end time.Duration) func(*campaign.Config) {
	return func(cfg *campaign.Config) {
		cfg.Record = func(c campaign.Call, _ telephony.Leg) func() (string, int64, error) {
			time.Sleep(begin)
			return func() (string, int64, error) {
				time.Sleep(end)
				return string(c.ID) + ".wav", 1000, nil
			}
		}
	}
}

// Neither the audio nor the agent waits for a disk, and the delay that is booked
// is the one that the person had.
func TestSlowDiskDelaysNobody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		set := settings(campaign.Progressive)
		set.Recording = true
		h := openWith(t, set, 1, person, slowDisk(4*time.Second, 20*time.Second))
		h.agent("agt_1", sale) // 30 s talk, 5 s wrap-up
		time.Sleep(6 * time.Second)
		c := h.call(0)
		if c.State != campaign.Connected || c.Class != compliance.ClassConnected || c.ConnectedAt.Sub(c.AnsweredAt) > 100*time.Millisecond {
			t.Errorf("1 s after the answer: %s %s, connected after %s", c.State, c.Class, c.ConnectedAt.Sub(c.AnsweredAt))
		}
		if talks := h.phones.Talks(); len(talks) != 1 || talks[0].From.After(c.ConnectedAt) {
			t.Errorf("talks %+v, connected at %s", talks, c.ConnectedAt)
		}
		time.Sleep(31 * time.Second)
		if s := h.registry.State("agt_1"); s.State != agents.WrapUp {
			t.Errorf("the agent is %s after the talk", s.State)
		}
		time.Sleep(5 * time.Second)
		if s := h.registry.State("agt_1"); s.State != agents.Ready {
			t.Errorf("the agent is %s after the disposition", s.State)
		}
		time.Sleep(20 * time.Second)
		if c = h.call(0); c.Disposition != "SALE" || c.Recording != string(c.ID)+".wav" {
			t.Errorf("disposition %q, recording %q", c.Disposition, c.Recording)
		}
		if kinds := h.kinds(); kinds[len(kinds)-1] != "recording.saved" {
			t.Errorf("facts %v", kinds)
		}
	})
}

// A recording that is saved while a disposition waits for the database does not
// overtake it.
func TestRecordingAndDispositionWhileTheDatabaseIsAway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		set := settings(campaign.Progressive)
		set.Recording = true
		h := openWith(t, set, 1, person, slowDisk(0, 10*time.Second))
		h.agent("agt_1", sale)
		time.Sleep(36 * time.Second)
		h.faults.set(errors.New("connection refused"))
		time.Sleep(20 * time.Second)
		h.faults.set(nil)
		time.Sleep(20 * time.Second)
		c := h.call(0)
		if l := h.lead(0); c.Disposition != "SALE" || l.Why != "SALE" || c.Recording == "" {
			t.Errorf("disposition %q, lead %s (%s), recording %q", c.Disposition, l.State, l.Why, c.Recording)
		}
	})
}

// A talk that ends while its file is still being made has its recording.
func TestTalkShorterThanTheDiskTakes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		set := settings(campaign.Progressive)
		set.Recording = true
		h := openWith(t, set, 1, person, slowDisk(30*time.Second, 0))
		h.agent("agt_1", answer{talk: time.Second, said: agents.Disposition{Code: "SALE"}})
		time.Sleep(time.Minute)
		if c := h.call(0); c.Disposition != "SALE" || c.Recording == "" {
			t.Errorf("disposition %q, recording %q", c.Disposition, c.Recording)
		}
	})
}
