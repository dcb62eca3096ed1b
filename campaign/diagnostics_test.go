package campaign

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dialer"
	"dialer/agents"
	"dialer/telephony"
)

// TestSummary is the sentence for each situation in which somebody may ask.
func TestSummary(t *testing.T) {
	now := time.Date(2026, 11, 22, 21, 12, 0, 0, time.UTC) // a Sunday
	monday := time.Date(2026, 11, 23, 15, 0, 0, 0, time.UTC)
	agents := func(v *view) { v.Live.Agents.Ready = 1 }
	later := func(due time.Time, why ...any) func(*view) {
		return func(v *view) {
			agents(v)
			v.Leads.DueNow, v.Leads.NextDue = 0, due
			for i := 0; i < len(why); i += 2 {
				v.Leads.Later[why[i].(string)] = why[i+1].(int)
			}
		}
	}
	done := func(state State) func(*view) {
		return func(v *view) {
			v.Live.State, v.open, v.dialable = state, false, 0
			v.Leads = DiagnosedLeads{Total: 7, Done: 7, DoneBy: map[string]int{"connected": 5, "dnc": 2}}
		}
	}
	state := func(s State) func(*view) { return func(v *view) { v.Live.State, v.open = s, false } }
	for _, c := range []struct {
		name   string
		change func(*view)
		want   string
	}{
		{"shutting down", func(v *view) { v.draining = true }, "Not dialing: the dialer is shutting down; talks go on."},
		{"draft", state(Draft), "Not dialing: the campaign is a draft; start it."},
		{"paused", state(Paused), "Not dialing: the campaign is paused; talks go on."},
		{"stopped", state(Stopped), "Not dialing: the campaign is stopped."},
		{"completed", done(Completed), "Not dialing: the campaign is completed: every lead is done (5 connected, 2 do-not-call)."},
		{"stopped and done", done(Stopped), "Not dialing: the campaign is stopped: every lead is done (5 connected, 2 do-not-call)."},
		{"completed, leads added", state(Completed), "Not dialing: the campaign is completed, but 5 leads can be called again; start it."},
		{"completed without leads", func(v *view) { v.Live.State, v.Leads, v.dialable = Completed, DiagnosedLeads{}, 0 }, "Not dialing: the campaign is completed; it has no leads."},
		{"completed, not counted", func(v *view) { v.Live.State, v.Leads, v.dialable = Completed, DiagnosedLeads{}, -1 }, "Not dialing: the campaign is completed."},
		{"running and done", func(v *view) { done(Running)(v); v.open = true }, "Not dialing: every lead is done (5 connected, 2 do-not-call)."},
		{"just started", func(v *view) { v.open = false }, "Not dialing: the campaign has been started this moment."},
		{"engine without database", func(v *view) { v.trouble = "the database does not answer" }, "Not dialing: the database does not answer."},
		{"not counted", func(v *view) { v.Leads, v.dialable = DiagnosedLeads{}, -1 }, "Not dialing: the database does not answer."},
		{"nothing known", func(v *view) { v.Live.State, v.open, v.Leads, v.dialable = "", false, DiagnosedLeads{}, -1 }, "Not dialing: the database does not answer."},
		{"trouble", func(v *view) { v.Live.Trouble = "the message is not loaded" }, "Not dialing: the message is not loaded."},
		{"no leads", func(v *view) { v.Leads, v.dialable = DiagnosedLeads{}, 0 }, "Not dialing: the campaign has no leads; upload a list."},
		{"no agent", func(*view) {}, "Not dialing: no agent of this campaign is logged in."},
		{"one not ready", func(v *view) { v.Live.Agents.NotReady = 1 }, "Not dialing: none of the 1 agent is ready."},
		{"trunk down", func(v *view) {
			agents(v)
			v.Trunk = DiagnosedTrunk{Why: "no answer from 192.0.2.1:5060: 3 calls in a row; next try in 20 s"}
		}, "Not dialing: the trunk is down: no answer from 192.0.2.1:5060: 3 calls in a row; next try in 20 s."},
		{"outside hours", later(monday, "window", 5), "Not dialing: 5 leads wait for their calling hours; the first opens Mon 09:00 in America/Chicago (in 17 h 48 min)."},
		{"one lead outside hours", later(now.Add(90*time.Second), "window", 1), "Not dialing: 1 lead waits for their calling hours; the first opens Sun 15:13 in America/Chicago (in 2 min)."},
		{"retries", later(now.Add(2500*time.Millisecond), "no-answer", 2), "Not dialing: 2 leads wait after no answer; the first is due Sun 15:12 in America/Chicago (in 3 s)."},
		{"many reasons", later(now.Add(10*24*time.Hour), "window", 6, "no-answer", 5, "busy", 4, "failed", 3, "callback", 2, "INTERESTED", 1), "Not dialing: 21 leads wait: 6 for their calling hours, 5 after no answer, 4 after a busy line, 3 after a call that failed, 2 for an agreed callback, 1 for other reasons; the first is due Wed 2 Dec 15:12 in America/Chicago (in 10 days 0 h)."},
		{"dialing", func(v *view) { agents(v); v.Live.Decision = LiveDecision{Dial: 2, Reason: "dial 2"} }, "Dialing: dial 2."},
		{"ringing on the last channel", func(v *view) {
			agents(v)
			v.Live.Calls["ringing"], v.Live.Decision.Reason, v.Trunk.ChannelsFree = 1, "1 call ringing", 0
		}, "Dialing: 1 call ringing."},
		{"trunk full", func(v *view) { agents(v); v.Trunk.InUse, v.Trunk.ChannelsFree = 10, 0 }, "Not dialing: the trunk is full: 10 of 10 channels are in use."},
		{"every trunk down", func(v *view) {
			agents(v)
			v.Trunk = DiagnosedTrunk{Trunk: "trk_1", Why: "no answer"}
			v.Backups = []DiagnosedTrunk{{Trunk: "trk_2", Why: "disabled"}}
		}, "Not dialing: every trunk is down (trk_1: no answer; trk_2: disabled)."},
		{"one trunk down, the other full", func(v *view) {
			agents(v)
			v.Trunk = DiagnosedTrunk{Trunk: "trk_1", Why: "no answer", Channels: 10}
			v.Backups = []DiagnosedTrunk{{Trunk: "trk_2", Up: true, Channels: 5, InUse: 5}}
		}, "Not dialing: all trunks are full: 5 of 5 channels are in use."},
		{"one trunk full, the other at its rate", func(v *view) {
			agents(v)
			v.Trunk.ChannelsFree = 0
			v.Backups = []DiagnosedTrunk{{Trunk: "trk_2", Up: true, Channels: 5, ChannelsFree: 5}}
		}, "Not dialing: the trunks take no more calls in this second."},
		{"room on the other trunk", func(v *view) {
			agents(v)
			v.Trunk.ChannelsFree = 0
			v.Backups = []DiagnosedTrunk{{Trunk: "trk_2", Up: true, Channels: 5, ChannelsFree: 5, CallsPerSecondNow: 1}}
		}, "Not dialing this moment: the pacer has not decided yet."},
		{"trunk at its rate", func(v *view) { agents(v); v.Trunk.CallsPerSecondNow = 0 }, "Not dialing: the trunk takes no more calls in this second."},
		{"agents busy", func(v *view) { v.Live.Agents.Talking, v.Live.Decision.Reason = 1, "0 of 1 agents ready" }, "Not dialing this moment: 0 of 1 agents ready."},
		{"undecided", func(v *view) { agents(v) }, "Not dialing this moment: the pacer has not decided yet."},
	} {
		v := view{
			Diagnostics: Diagnostics{
				Live:  Live{State: Running, Calls: map[string]int{}},
				Leads: DiagnosedLeads{Total: 5, DueNow: 5, Later: map[string]int{}},
				Trunk: DiagnosedTrunk{Trunk: "trk_1", Up: true, Channels: 10, ChannelsFree: 10, CallsPerSecondNow: 2},
			},
			now: now, set: Settings{Zone: "America/Chicago"}, open: true, dialable: 5,
		}
		c.change(&v)
		if got := v.summary(); got != c.want {
			t.Errorf("%s:\n got %q\nwant %q", c.name, got, c.want)
		}
	}
}

// TestEveryReasonHasWords: nothing that the engine writes is told as a code.
func TestEveryReasonHasWords(t *testing.T) {
	reasons := []string{"window", "day-cap", "callback", "skipped"}
	for _, o := range Outcomes() {
		reasons = append(reasons, string(o))
	}
	for _, why := range reasons {
		if got := waitsFor(why); got == "after "+why {
			t.Errorf("%s is told as %q", why, got)
		}
	}
	if got := waitsFor("INTERESTED"); got != "after INTERESTED" {
		t.Errorf("an agent's own word became %q", got)
	}
}

// asleep is a store that does not answer before the caller gives up.
type asleep struct {
	Store
	campaign *Campaign // known nevertheless
	left     *LeadCounts
}

func (a asleep) GetCampaign(ctx context.Context, _ dialer.CampaignID) (Campaign, error) {
	if a.campaign != nil {
		return *a.campaign, nil
	}
	<-ctx.Done()
	return Campaign{}, ctx.Err()
}

func (a asleep) LeadsLeft(ctx context.Context, _ dialer.CampaignID, _ time.Time) (LeadCounts, error) {
	if a.left != nil {
		return *a.left, nil
	}
	<-ctx.Done()
	return LeadCounts{}, ctx.Err()
}

type oneTrunk struct{ telephony.Carrier }

func (oneTrunk) Capacity(id dialer.TrunkID) telephony.Capacity {
	if id != "trk_1" {
		return telephony.Capacity{Why: "no such trunk"}
	}
	return telephony.Capacity{Up: true, Channels: 30, InUse: 4, Tokens: 1}
}

// TestDiagnosticsWithoutDatabase: the answer comes within two seconds with what
// is in memory, and says why it is not more.
func TestDiagnosticsWithoutDatabase(t *testing.T) {
	for name, known := range map[string]*Campaign{"nothing": nil, "no lead counts": {ID: "cmp_1", State: Running}} {
		synctest.Test(t, func(t *testing.T) {
			s := NewScheduler(Config{Store: asleep{campaign: known}, Agents: agents.NewRegistry(agents.Config{}), Carrier: oneTrunk{}})
			s.runners["cmp_1"] = newRunner(s, Campaign{ID: "cmp_1", State: Running, Settings: Settings{Trunk: "trk_1"}})
			began := time.Now()
			d, err := s.Diagnostics(t.Context(), "cmp_1")
			if took := time.Since(began); err != nil || took > 2*time.Second {
				t.Fatalf("%s: after %s: %v", name, took, err)
			}
			if !slices.Contains(d.Warnings, "the database does not answer") || !strings.Contains(d.Summary, "the database does not answer") {
				t.Errorf("%s: %q, warnings %q", name, d.Summary, d.Warnings)
			}
			if d.Live.State != Running || d.Trunk.ChannelsFree != 26 {
				t.Errorf("%s: what is in memory is missing: %+v", name, d)
			}
		})
	}
}

// TestDiagnosticsOfClosedCampaign: a campaign that no runner has taken up is
// told from what is stored, its trunk as it is.
func TestDiagnosticsOfClosedCampaign(t *testing.T) {
	c := Campaign{ID: "cmp_1", State: Completed, Settings: Settings{Trunk: "trk_1"}}
	left := LeadCounts{Total: 7, Done: 7, DoneBy: map[string]int{"connected": 5, "dnc": 2}}
	s := NewScheduler(Config{Store: asleep{campaign: &c, left: &left}, Agents: agents.NewRegistry(agents.Config{}), Carrier: oneTrunk{}})
	d, err := s.Diagnostics(t.Context(), "cmp_1")
	if err != nil || d.Summary != "Not dialing: the campaign is completed: every lead is done (5 connected, 2 do-not-call)." {
		t.Errorf("%q, %v", d.Summary, err)
	}
	if want := (DiagnosedTrunk{Trunk: "trk_1", Up: true, Channels: 30, InUse: 4, ChannelsFree: 26, CallsPerSecondNow: 1}); d.Trunk != want {
		t.Errorf("trunk %+v, want %+v", d.Trunk, want)
	}
	c.Settings.Trunk = ""
	if d, _ = s.Diagnostics(t.Context(), "cmp_1"); d.Trunk.Why != "no trunk is assigned" {
		t.Errorf("trunk %+v", d.Trunk)
	}
}

// TestDiagnosticsOfBackups: who calls over what is told.
func TestDiagnosticsOfBackups(t *testing.T) {
	c := Campaign{ID: "cmp_1", State: Running, Settings: Settings{Trunk: "trk_9", Backups: []dialer.TrunkID{"trk_1", "trk_8"}}}
	s := NewScheduler(Config{Store: asleep{campaign: &c, left: &LeadCounts{Total: 1}}, Agents: agents.NewRegistry(agents.Config{}), Carrier: oneTrunk{}})
	d, err := s.Diagnostics(t.Context(), "cmp_1")
	if err != nil || len(d.Backups) != 2 || d.Backups[0].ChannelsFree != 26 || d.Backups[1].Why != "no such trunk" {
		t.Errorf("backups %+v, %v", d.Backups, err)
	}
	for _, want := range []string{"the trunk trk_9 is down (no such trunk): calls go over the backup trunks", "the backup trunk trk_8 is down: no such trunk"} {
		if !slices.Contains(d.Warnings, want) {
			t.Errorf("%q is missing in %q", want, d.Warnings)
		}
	}
}

// TestDiagnosticsOfNothing: what is not there is said so.
func TestDiagnosticsOfNothing(t *testing.T) {
	s := NewScheduler(Config{Store: nothing{}, Agents: agents.NewRegistry(agents.Config{}), Carrier: oneTrunk{}})
	if _, err := s.Diagnostics(t.Context(), "cmp_1"); dialer.CodeOf(err) != dialer.NotFound {
		t.Errorf("got %v", err)
	}
}

type nothing struct{ Store }

func (nothing) GetCampaign(context.Context, dialer.CampaignID) (Campaign, error) {
	return Campaign{}, errors.Join(dialer.Errorf(dialer.NotFound, "there is no such campaign"))
}
