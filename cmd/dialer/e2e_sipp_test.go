package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"dialer"
	"dialer/api"
	"dialer/campaign"
	"dialer/telephony"
	"dialer/telephony/siptrunk/siptest"
)

// voiceHz is the tone that sipp plays, so that it is known from every other
// sound that an agent may hear.
const voiceHz = 1000

// TestE2ESipp has sipp, a program of others, as the carrier. Each case is one
// call to one sipp: what its scenario wants of us is proved by its exit code,
// what the dialer made of the call by the record.
func TestE2ESipp(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	t.Parallel()
	sipp := installed(t, "sipp")
	r := newRig(t, "info")
	cases := []struct {
		scenario string
		outcome  campaign.Outcome
		status   int
		check    func(*testing.T, api.CallView)
	}{
		{"answer", campaign.OutcomeConnected, 200, nil},
		{"early", campaign.OutcomeConnected, 200, nil},
		{"bye-crossing", campaign.OutcomeConnected, 200, nil},
		{"busy", campaign.OutcomeBusy, 486, nil},
		{"congestion", campaign.OutcomeCongestion, 503, func(t *testing.T, c api.CallView) {
			if c.Q850 != 34 {
				t.Errorf("Q.850 cause %d, want 34 of the Reason header", c.Q850)
			}
		}},
		{"no-answer", campaign.OutcomeNoAnswer, 487, func(t *testing.T, c api.CallView) {
			if rang := c.EndedAt.Sub(*c.RingingAt); rang < 14*time.Second {
				t.Errorf("rang for %v, less than 15 s", rang)
			}
		}},
		// A person was there after all, and nobody for them: that is abandoned.
		{"late-answer", campaign.OutcomeAbandoned, 200, func(t *testing.T, c api.CallView) {
			if !c.Ghost || c.EndedBy != telephony.Caller {
				t.Errorf("ghost %v, ended by %s; want a ghost that we ended", c.Ghost, c.EndedBy)
			}
		}},
	}
	// All at once: two of them must ring for 15 s.
	type placed struct {
		campaign dialer.CampaignID
		seat     *seat
		carrier  *sippRun
	}
	all := make([]placed, len(cases))
	for i, c := range cases {
		p := &all[i]
		p.carrier = startSipp(t, sipp, c.scenario)
		var list dialer.ListID
		p.campaign, list = r.campaign(c.scenario, r.trunk(c.scenario, p.carrier.addr), nil)
		p.seat = r.seat(p.campaign, true)
		background(t, "agent", func(ctx context.Context) error {
			return r.work(ctx, p.seat, time.Second, 100*time.Millisecond, uint64(i))
		})
		r.post("/v1/lists/"+string(list)+"/leads", map[string]any{"number": fmt.Sprint("+1212456780", i)}, nil)
		r.post("/v1/campaigns/"+string(p.campaign)+"/start", nil, nil)
	}
	for i, c := range cases {
		t.Run(c.scenario, func(t *testing.T) {
			r, p := r.of(t), all[i]
			var call api.CallView
			r.until("the record of the call", 40*time.Second, func() (bool, any) {
				calls := r.calls(p.campaign)
				if len(calls) == 1 {
					call = calls[0]
				}
				talked := call.Outcome == campaign.OutcomeConnected
				return len(calls) == 1 && call.State == campaign.Ended && (!talked || call.Disposition != ""), calls
			})
			if call.Outcome != c.outcome || c.status != 0 && call.SIPStatus != c.status {
				t.Errorf("outcome %s with status %d, want %s with %d: %+v", call.Outcome, call.SIPStatus, c.outcome, c.status, call)
			}
			if c.outcome == campaign.OutcomeConnected {
				if call.Agent != p.seat.id || call.ConnectedAt == nil || call.EndedBy != telephony.Caller {
					t.Errorf("connected to %s at %v, ended by %s; want %s, ended by caller", call.Agent, call.ConnectedAt, call.EndedBy, p.seat.id)
				}
				// The phone keeps the last second that it heard.
				if share := siptest.Power(p.seat.phone.Recent(), voiceHz); share < 0.5 {
					t.Errorf("%.0f %% of what the agent heard was the person's tone; phone %+v", 100*share, p.seat.phone.State())
				}
			}
			p.carrier.wait(t)
			if c.check != nil {
				c.check(t, call)
			}
		})
	}
}

// A sippRun is one sipp with one call.
type sippRun struct {
	addr string
	dir  string
	done chan error
}

func startSipp(t *testing.T, sipp, scenario string) *sippRun {
	t.Helper()
	xml, err := filepath.Abs(filepath.Join("testdata", "e2e", scenario+".xml"))
	if err != nil {
		t.Fatal(err)
	}
	s := &sippRun{addr: freePort(t, "udp"), dir: t.TempDir(), done: make(chan error, 1)}
	var voice []byte
	for _, sample := range siptest.Tone(voiceHz, 2*time.Second) {
		voice = append(voice, telephony.EncodeULaw(sample))
	}
	if err := os.WriteFile(filepath.Join(s.dir, "voice.ulaw"), voice, 0o644); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(s.addr)
	_, media, _ := net.SplitHostPort(freePort(t, "udp"))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	cmd := exec.CommandContext(ctx, sipp, "-sf", xml, "-i", "127.0.0.1", "-p", port, "-mp", media,
		"-m", "1", "-nostdin", "-timeout", "50s", "-timeout_error",
		"-trace_msg", "-message_file", "messages.log", "-trace_err", "-error_file", "errors.log")
	cmd.Dir = s.dir
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	go func() {
		defer cancel()
		s.done <- cmd.Wait()
	}()
	t.Cleanup(func() {
		cancel()
		<-s.done
	})
	return s
}

// wait returns when sipp has ended, which must be well.
func (s *sippRun) wait(t *testing.T) {
	t.Helper()
	err := <-s.done
	s.done <- err
	if err != nil {
		t.Errorf("sipp: %v; want exit 0\n%s\n%s", err, tail(filepath.Join(s.dir, "errors.log"), 20), tail(filepath.Join(s.dir, "messages.log"), 200))
	}
}
