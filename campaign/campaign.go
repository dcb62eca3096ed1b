// Package campaign is the engine: who is called next (hopper), how many at once
// (runner, with a pacing.Pacer), what happens to each call (journey) and when a
// lead is tried again (recycle).
//
// It does no SQL and no SIP: a Store, an AgentPool and a telephony.Carrier stand
// behind its seams. Entry points: NewScheduler and Scheduler.Run, ReadLeads.
// Goroutines: one scheduler, one runner for each open campaign, one for each
// attempt; see docs/threads.md.
package campaign

import (
	"time"

	"dialer"
	"dialer/compliance"
)

// A Mode says how calls and agents are brought together.
type Mode string

// The modes.
const (
	Preview     Mode = "preview"     // the agent sees the lead, then dials or skips
	Progressive Mode = "progressive" // one agent held for each call
	Power       Mode = "power"       // a fixed ratio of calls to ready agents
	Predictive  Mode = "predictive"  // the pacer predicts
)

// A State is where a campaign is in its life.
type State string

// The states. Only a Running campaign dials.
const (
	Draft     State = "draft"
	Running   State = "running"
	Paused    State = "paused"    // talks go on, no new call
	Stopped   State = "stopped"   // as Paused, and the hopper is given back
	Completed State = "completed" // no lead is left to call
)

// A Campaign is a calling programme.
type Campaign struct {
	ID        dialer.CampaignID
	State     State
	Version   int // for If-Match; grows with each change
	CreatedAt time.Time
	StartedAt time.Time // first start; zero before
	Settings  Settings
}

// Settings are what a manager decides. The zero value of a field means its
// default, which Defaulted fills in. Durations are whole seconds or
// milliseconds, as their names say.
type Settings struct {
	Name  string         `json:"name"`
	Mode  Mode           `json:"mode"`
	Trunk dialer.TrunkID `json:"trunk_id"`
	// Backups are tried in this order when Trunk is down or full, or does not
	// take a call.
	Backups      []dialer.TrunkID `json:"backup_trunk_ids,omitempty"`
	CallerID     dialer.Number    `json:"caller_id"`
	CallerName   string           `json:"caller_name,omitempty"`
	RingTimeoutS int              `json:"ring_timeout_s"`
	Ratio        float64          `json:"ratio"` // power: calls per ready agent

	// Abandoned calls: cap as a share, the deadline and the event that starts
	// its clock, and the message played when it passes (an asset's SHA-256).
	AbandonCap        *float64              `json:"abandon_cap,omitempty"`
	ConnectDeadlineMS int                   `json:"connect_deadline_ms"`
	ClockStart        compliance.ClockStart `json:"clock_start"`
	Message           string                `json:"message_asset,omitempty"`

	// What the pacer is held to besides. The cap holds in each window; strict keeps
	// away from it, and always does where the window is a day. FalsePositives is
	// the share of people whom detection takes for machines: they count as
	// abandoned without being seen, and come off the cap. 0 lines per agent is no
	// bound; a burst of 0 is as many calls as agents at work, and at least 10.
	AbandonWindow    Window  `json:"abandon_window"`
	Strict           bool    `json:"strict"`
	FalsePositives   float64 `json:"amd_false_positives"`
	MaxLinesPerAgent float64 `json:"max_lines_per_agent"`
	MaxBurst         int     `json:"max_burst"`

	AMD       bool      `json:"amd"`
	Detection Detection `json:"detection"`
	Recording bool      `json:"recording"`

	// Region is the default region of numbers without a country code ("US").
	Region string `json:"region"`
	// Hours are in the called person's zone; Zone is the campaign's own, for
	// the periods of its reports.
	Hours       compliance.WeeklyHours `json:"hours"`
	Zone        string                 `json:"zone"`
	MaxAttempts int                    `json:"max_attempts"`
	MaxPerDay   int                    `json:"max_per_day"`

	Retry        map[Outcome]RetryRule `json:"retry,omitempty"`
	Dispositions []Disposition         `json:"dispositions,omitempty"`
	Script       string                `json:"script,omitempty"`

	WrapUpLimitS  int `json:"wrap_up_limit_s"`
	PreviewLimitS int `json:"preview_limit_s"`
}

// A Window is the time within which the share of abandoned calls may not exceed
// the cap.
type Window string

// The windows.
const (
	WindowPeriod Window = "30d" // 30 days from the campaign's first start (16 CFR 310.4(b)(4)(i))
	WindowDay    Window = "day" // a day in the campaign's zone
)

// A RetryRule says when a lead is tried again after an outcome. Max counts the
// attempts that ended so; 0 means never again.
type RetryRule struct {
	AfterS int `json:"after_s"`
	Max    int `json:"max"`
}

// A Disposition is a word with which an agent ends a call, and what follows.
type Disposition struct {
	Code  string `json:"code"`
	Label string `json:"label"`
	// At most one of the following. None means that the lead is done.
	Retry    *RetryRule `json:"retry,omitempty"`
	Callback bool       `json:"callback,omitempty"` // at a time that the agent gives
	DNC      bool       `json:"dnc,omitempty"`      // never call this number again
	// Machine: the agent heard a machine; corrects answered_by.
	Machine bool `json:"machine,omitempty"`
	// Unclear: the word does not say who answered; answered_by stays as it was.
	Unclear bool `json:"unclear,omitempty"`
}
