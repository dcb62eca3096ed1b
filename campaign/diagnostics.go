package campaign

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"dialer"
	"dialer/agents"
	"dialer/compliance"
)

// Live is a campaign as it is this moment, for the wallboard.
type Live struct {
	Campaign dialer.CampaignID `json:"campaign_id"`
	State    State             `json:"state"`
	Mode     Mode              `json:"mode"`
	Calls    map[string]int    `json:"calls"` // by stage
	Hopper   int               `json:"hopper"`
	Agents   LiveAgents        `json:"agents"`
	// Occupancy is the share of the agents' time in talk and wrap-up since the
	// runner began; pauses are left out. nil when there was no time.
	Occupancy *float64     `json:"occupancy"`
	Abandon   LiveAbandon  `json:"abandon"`
	Decision  LiveDecision `json:"decision"`
	Trouble   string       `json:"trouble,omitempty"`
}

// LiveAgents counts the campaign's agents by state.
type LiveAgents struct {
	Ready        int   `json:"ready"`
	Reserved     int   `json:"reserved"`
	Talking      int   `json:"talking"`
	WrapUp       int   `json:"wrap_up"`
	NotReady     int   `json:"not_ready"`
	LongestIdleS int64 `json:"longest_idle_s"`
}

// LiveAbandon is the legal figure of the current period, as the pacer sees it.
type LiveAbandon struct {
	Answered  int      `json:"answered"`
	Abandoned int      `json:"abandoned"`
	Rate      *float64 `json:"rate"`
	Cap       float64  `json:"cap"`
	// Allowance is how many more calls may be abandoned now.
	Allowance float64 `json:"allowance"`
}

// LiveDecision is the pacer's last word.
type LiveDecision struct {
	Dial   int       `json:"dial"`
	Limit  string    `json:"limit,omitempty"`
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at,omitzero"`
}

// Diagnostics answers: why is it not dialing?
type Diagnostics struct {
	Summary  string         `json:"summary"` // one sentence in plain words
	Live     Live           `json:"live"`
	Leads    DiagnosedLeads `json:"leads"`
	Trunk    DiagnosedTrunk `json:"trunk"`
	Rule     *DiagnosedRule `json:"rule,omitempty"` // that last put a lead aside
	Warnings []string       `json:"warnings"`
}

// DiagnosedLeads counts leads by why they are or are not called now.
type DiagnosedLeads struct {
	Total   int            `json:"total"`
	DueNow  int            `json:"due_now"`
	Claimed int            `json:"claimed"`
	Calling int            `json:"calling"`
	Done    int            `json:"done"`
	Later   map[string]int `json:"later"`
	DoneBy  map[string]int `json:"done_by"`
	NextDue time.Time      `json:"next_due,omitzero"`
}

// DiagnosedTrunk is what the campaign's trunk can take.
type DiagnosedTrunk struct {
	Trunk    dialer.TrunkID `json:"trunk_id,omitempty"`
	Up       bool           `json:"up"`
	Why      string         `json:"why,omitempty"`
	Channels int            `json:"channels"`
	InUse    int            `json:"in_use"`
	Free     int            `json:"free"`
}

// DiagnosedRule is a rule that forbade a call.
type DiagnosedRule struct {
	Rule   string    `json:"rule"`
	Reason string    `json:"reason"`
	NextAt time.Time `json:"next_at,omitzero"`
	At     time.Time `json:"at"`
}

// Live returns how a campaign is this moment; one that is not open has no calls.
func (s *Scheduler) Live(id dialer.CampaignID) Live {
	counts := s.cfg.Agents.Counts(id)
	live := Live{
		Campaign: id, Calls: map[string]int{},
		Agents: LiveAgents{
			Ready: counts.Ready, Reserved: counts.Reserved, Talking: len(counts.Talking), WrapUp: len(counts.WrapUp),
			NotReady: counts.NotReady, LongestIdleS: int64(counts.LongestIdle / time.Second),
		},
	}
	if r := s.runner(id); r != nil {
		r.live(&live)
	}
	return live
}

func (r *runner) live(l *Live) {
	r.mu.Lock()
	defer r.mu.Unlock()
	set := r.campaign.Settings
	l.State, l.Mode, l.Hopper, l.Trouble = r.campaign.State, set.Mode, r.hopped, r.trouble
	for a := range r.attempts {
		l.Calls[string(a.phase)]++
	}
	if all := r.load.busy + r.load.idle; all > 0 {
		share := float64(r.load.busy) / float64(all)
		l.Occupancy = &share
	}
	law := r.legal.figures()
	l.Abandon = LiveAbandon{
		Answered: law.answered, Abandoned: law.abandoned, Cap: *set.AbandonCap,
		Allowance: *set.AbandonCap*float64(law.answered+1) - float64(law.abandoned),
	}
	if law.answered > 0 {
		rate := float64(law.abandoned) / float64(law.answered)
		l.Abandon.Rate = &rate
	}
	l.Decision = LiveDecision{Dial: r.decision.Dial, Limit: r.decision.Limit, Reason: r.decision.Reason, At: r.decided}
}

// Diagnostics says why a campaign is or is not dialing.
func (s *Scheduler) Diagnostics(ctx context.Context, id dialer.CampaignID) (Diagnostics, error) {
	now := time.Now()
	d := Diagnostics{Live: s.Live(id), Warnings: []string{}}
	left, err := s.cfg.Store.LeadsLeft(ctx, id, now)
	if err != nil {
		d.Warnings = append(d.Warnings, "the leads could not be counted: the database does not answer")
	}
	d.Leads = DiagnosedLeads{
		Total: left.Total, DueNow: left.DueNow, Claimed: left.Claimed, Calling: left.Calling, Done: left.Done,
		Later: left.Later, DoneBy: left.DoneBy, NextDue: left.NextDue,
	}
	var settings Settings
	if r := s.runner(id); r != nil {
		settings = r.current().Settings
		d.Rule = r.lastRule(now)
		c := s.cfg.Carrier.Capacity(settings.Trunk)
		d.Trunk = DiagnosedTrunk{settings.Trunk, c.Up, c.Why, c.Channels, c.InUse, c.Free()}
	}
	d.Warnings = append(d.Warnings, warnings(d.Live, settings)...)
	d.Summary = s.summary(d, now)
	return d, nil
}

// ruleShown is how long the last refusal of a rule is worth telling.
const ruleShown = 15 * time.Minute

func (r *runner) lastRule(now time.Time) *DiagnosedRule {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.blocked.Rule == "" || now.Sub(r.blockAt) > ruleShown {
		return nil
	}
	return &DiagnosedRule{r.blocked.Rule, r.blocked.Reason, r.blocked.NextAt, r.blockAt}
}

// summary is the first thing, in the order in which they would stop the dialing.
func (s *Scheduler) summary(d Diagnostics, now time.Time) string {
	s.mu.Lock()
	trouble := s.trouble
	s.mu.Unlock()
	l := d.Live
	agentCount := l.Agents.Ready + l.Agents.Reserved + l.Agents.Talking + l.Agents.WrapUp + l.Agents.NotReady
	switch {
	case s.dialing.Err() != nil:
		return "Not dialing: the dialer is shutting down; talks go on."
	case trouble != "":
		return "Not dialing: " + trouble + "."
	case l.State == "":
		return "Not dialing: the campaign is not started."
	case l.State != Running:
		return fmt.Sprintf("Not dialing: the campaign is %s.", l.State)
	case l.Trouble != "":
		return "Not dialing: " + l.Trouble + "."
	case d.Leads.Total == 0:
		return "Not dialing: the campaign has no leads; upload a list."
	case d.Leads.Done == d.Leads.Total:
		return "Not dialing: every lead is done (" + listCounts(d.Leads.DoneBy) + ")."
	case agentCount == 0:
		return "Not dialing: no agent of this campaign is logged in."
	case l.Agents.NotReady == agentCount:
		return fmt.Sprintf("Not dialing: none of the %s is ready.", plural(agentCount, "agent"))
	case d.Leads.DueNow+d.Leads.Claimed+d.Leads.Calling == 0:
		why := "Not dialing: no lead is due now; " + listCounts(d.Leads.Later) + " later"
		if !d.Leads.NextDue.IsZero() {
			why += ", the next in " + d.Leads.NextDue.Sub(now).Round(time.Second).String()
		}
		return why + "."
	case !d.Trunk.Up:
		return "Not dialing: the trunk is down: " + cmp.Or(d.Trunk.Why, "no reason is known") + "."
	case d.Trunk.Free == 0:
		return "Not dialing: the trunk is full: " + cmp.Or(d.Trunk.Why, "every channel is in use") + "."
	case l.Calls[string(phaseRinging)]+l.Calls[string(phaseStarting)] > 0 || l.Decision.Dial > 0:
		return "Dialing: " + l.Decision.Reason + "."
	}
	return "Not dialing this moment: " + cmp.Or(l.Decision.Reason, "the pacer has not decided yet") + "."
}

// listCounts writes counts by reason, greatest first.
func listCounts(by map[string]int) string {
	if len(by) == 0 {
		return "none"
	}
	keys := slices.SortedFunc(maps.Keys(by), func(a, b string) int {
		return cmp.Or(cmp.Compare(by[b], by[a]), cmp.Compare(a, b))
	})
	var parts []string
	for _, k := range keys[:min(len(keys), 5)] {
		parts = append(parts, fmt.Sprintf("%d %s", by[k], cmp.Or(k, "not called yet")))
	}
	return strings.Join(parts, ", ")
}

// warnings are what does not stop the dialing and should be known.
func warnings(l Live, set Settings) []string {
	var w []string
	if l.Abandon.Rate != nil && *l.Abandon.Rate > l.Abandon.Cap {
		w = append(w, fmt.Sprintf("%.2f %% of the answered calls were abandoned, the cap is %.2f %%: each call gets its agent first until the rate is below it",
			100**l.Abandon.Rate, 100*l.Abandon.Cap))
	}
	if set.Mode.Overdials() && l.State == Running && l.Abandon.Allowance < 1 && (l.Abandon.Rate == nil || *l.Abandon.Rate <= l.Abandon.Cap) {
		w = append(w, fmt.Sprintf("%d people have answered in this period, too few for the cap of %.2f %%: each call gets its agent first",
			l.Abandon.Answered, 100*l.Abandon.Cap))
	}
	if set.Mode == Predictive && !set.AMD && set.ClockStart == compliance.FromAnswer && set.ConnectDeadlineMS < 1000 {
		w = append(w, "the connect deadline is shorter than a second: few agents can be in time")
	}
	return w
}

var _ AgentPool = (*agents.Registry)(nil)
