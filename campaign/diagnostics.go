package campaign

import (
	"cmp"
	"context"
	"fmt"
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
	// Allowance is how many more calls may be abandoned: cap times answered, less
	// the abandoned.
	Allowance float64 `json:"allowance"`
	// Missed is the estimated share of persons whom the detector takes for machines,
	// in steps of half a percent; pacing aims that much below the cap.
	Missed float64 `json:"missed_persons"`
}

// LiveDecision is the pacer's last word.
type LiveDecision struct {
	Dial   int    `json:"dial"`
	Limit  string `json:"limit,omitempty"`
	Reason string `json:"reason,omitempty"`
	// AgentFirst: each call has an agent held for it before it is placed.
	AgentFirst bool      `json:"agent_first"`
	At         time.Time `json:"at,omitzero"`
}

// Diagnostics answers: why is it not dialing?
type Diagnostics struct {
	Summary string         `json:"summary"` // one sentence in plain words
	Live    Live           `json:"live"`
	Leads   DiagnosedLeads `json:"leads"`
	Trunk   DiagnosedTrunk `json:"trunk"`
	// Backups are the campaign's other trunks, in the order of trying.
	Backups  []DiagnosedTrunk `json:"backup_trunks"`
	Rule     *DiagnosedRule   `json:"rule,omitempty"` // that last put a lead aside
	Warnings []string         `json:"warnings"`
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
	// ChannelsFree are calls that still have room; 0 while the trunk is down.
	ChannelsFree int `json:"channels_free"`
	// CallsPerSecondNow is how many calls the calls-per-second limit lets out
	// at this instant; it fills up again within a second.
	CallsPerSecondNow int `json:"calls_per_second_now"`
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
	for _, a := range r.attempts {
		l.Calls[string(a.phase)]++
	}
	if all := r.load.busy + r.load.idle; all > 0 {
		share := float64(r.load.busy) / float64(all)
		l.Occupancy = &share
	}
	law := r.legal.figures()
	l.Abandon = LiveAbandon{
		Answered: law.answered, Abandoned: law.abandoned, Cap: *set.AbandonCap,
		Allowance: *set.AbandonCap*float64(law.answered) - float64(law.abandoned),
		Missed:    r.missRate,
	}
	if law.answered > 0 {
		rate := float64(law.abandoned) / float64(law.answered)
		l.Abandon.Rate = &rate
	}
	d := r.decision
	l.Decision = LiveDecision{Dial: d.Dial, Limit: string(d.Limit), Reason: d.Reason, AgentFirst: d.AgentFirst, At: r.decided}
}

// lookTime is how long the database may take to tell its part.
const lookTime = 2 * time.Second

// databaseAway is what is told instead of that part.
const databaseAway = "the database does not answer"

// Diagnostics says why a campaign is or is not dialing. It takes no longer than
// two seconds: without the database it tells what is in memory.
func (s *Scheduler) Diagnostics(ctx context.Context, id dialer.CampaignID) (Diagnostics, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	v := view{Diagnostics: Diagnostics{Live: s.Live(id), Warnings: []string{}}, now: time.Now(), draining: s.dialing.Err() != nil}
	v.dialable = -1
	d := &v.Diagnostics
	c, err := s.cfg.Store.GetCampaign(ctx, id)
	switch {
	case err == nil:
		d.Live.State = c.State
	case dialer.CodeOf(err) != "":
		return Diagnostics{}, err // there is none
	}
	r := s.runner(id)
	if r != nil {
		c = r.current() // what is dialed by
		d.Rule = r.lastRule(v.now)
	}
	v.set, v.open = c.Settings.Defaulted(), r != nil
	if d.Live.Mode == "" && c.ID != "" {
		d.Live.Mode, d.Live.Abandon.Cap = v.set.Mode, *v.set.AbandonCap
	}
	var left LeadCounts
	if err == nil {
		left, err = s.cfg.Store.LeadsLeft(ctx, id, v.now)
	}
	if err == nil {
		v.dialable = left.Total - left.Done
	} else {
		d.Warnings = append(d.Warnings, databaseAway)
	}
	d.Leads = DiagnosedLeads{
		Total: left.Total, DueNow: left.DueNow, Claimed: left.Claimed, Calling: left.Calling, Done: left.Done,
		Later: left.Later, DoneBy: left.DoneBy, NextDue: left.NextDue,
	}
	d.Trunk = DiagnosedTrunk{Why: "no trunk is assigned"}
	if v.set.Trunk != "" {
		d.Trunk = s.diagnose(v.set.Trunk)
	}
	d.Backups = []DiagnosedTrunk{}
	for _, id := range v.set.Backups {
		d.Backups = append(d.Backups, s.diagnose(id))
	}
	s.mu.Lock()
	v.trouble = s.trouble
	s.mu.Unlock()
	d.Warnings = append(d.Warnings, warnings(*d, v.set)...)
	d.Summary = v.summary()
	return *d, nil
}

func (s *Scheduler) diagnose(id dialer.TrunkID) DiagnosedTrunk {
	t := s.cfg.Carrier.Capacity(id)
	d := DiagnosedTrunk{Trunk: id, Up: t.Up, Why: t.Why, Channels: t.Channels, InUse: t.InUse, CallsPerSecondNow: t.Tokens}
	if t.Up {
		d.ChannelsFree = max(0, t.Channels-t.InUse)
	}
	return d
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

// warnings are what does not stop the dialing and should be known.
func warnings(d Diagnostics, set Settings) []string {
	var w []string
	l := d.Live
	switch {
	case d.Trunk.Up && d.Trunk.Why != "":
		w = append(w, "the trunk: "+d.Trunk.Why)
	case !d.Trunk.Up && len(d.Backups) > 0:
		w = append(w, fmt.Sprintf("the trunk %s is down (%s): calls go over the backup trunks", d.Trunk.Trunk, cmp.Or(d.Trunk.Why, "no reason is known")))
	}
	for _, b := range d.Backups {
		switch {
		case !b.Up:
			w = append(w, fmt.Sprintf("the backup trunk %s is down: %s", b.Trunk, cmp.Or(b.Why, "no reason is known")))
		case b.Why != "":
			w = append(w, fmt.Sprintf("the backup trunk %s: %s", b.Trunk, b.Why))
		}
	}
	if l.Abandon.Rate != nil && *l.Abandon.Rate > l.Abandon.Cap {
		w = append(w, fmt.Sprintf("%.2f %% of the answered calls were abandoned, the cap is %.2f %%: each call gets its agent first until the rate is below it",
			100**l.Abandon.Rate, 100*l.Abandon.Cap))
	}
	if set.Mode.Overdials() && l.State == Running && l.Decision.AgentFirst && (l.Abandon.Rate == nil || *l.Abandon.Rate <= l.Abandon.Cap) {
		w = append(w, fmt.Sprintf("%d of %d people who answered in this period were abandoned, the cap of %.2f %% allows no more: each call gets its agent first",
			l.Abandon.Abandoned, l.Abandon.Answered, 100*l.Abandon.Cap))
	}
	if set.Mode == Predictive && !set.AMD && set.ClockStart == compliance.FromAnswer && set.ConnectDeadlineMS < 1000 {
		w = append(w, "the connect deadline is shorter than a second: few agents can be in time")
	}
	return w
}

var _ AgentPool = (*agents.Registry)(nil)
