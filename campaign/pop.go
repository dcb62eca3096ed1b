package campaign

import (
	"time"

	"dialer"
)

// A ScreenPop is what an agent sees when a call is reserved for them. Times are
// UTC; the limits are seconds.
type ScreenPop struct {
	Call          dialer.CallID     `json:"call_id"`
	Campaign      dialer.CampaignID `json:"campaign_id"`
	CampaignName  string            `json:"campaign_name"`
	Mode          Mode              `json:"mode"`
	Lead          dialer.LeadID     `json:"lead_id"`
	Number        dialer.Number     `json:"number"`
	ExternalID    string            `json:"external_id,omitempty"`
	Fields        map[string]string `json:"fields,omitempty"`
	Callback      bool              `json:"callback,omitempty"` // this agent's own
	History       PopHistory        `json:"history"`
	Script        string            `json:"script,omitempty"`
	Dispositions  []Disposition     `json:"dispositions"`
	WrapUpLimitS  int               `json:"wrap_up_limit_s"`
	PreviewLimitS int               `json:"preview_limit_s,omitempty"` // when there is something to decide
}

// PopHistory is what came of earlier attempts.
type PopHistory struct {
	Attempts    int             `json:"attempts"`
	ByOutcome   map[Outcome]int `json:"by_outcome,omitempty"`
	LastOutcome Outcome         `json:"last_outcome,omitempty"`
	Why         string          `json:"why,omitempty"` // disposition or outcome that made it due again
	LastAt      time.Time       `json:"last_at,omitzero"`
}

// screenPop shows a lead to an agent.
func screenPop(c Campaign, call Call, lead Lead) ScreenPop {
	pop := ScreenPop{
		Call:         call.ID,
		Campaign:     c.ID,
		CampaignName: c.Settings.Name,
		Mode:         call.Mode,
		Lead:         lead.ID,
		Number:       lead.Number,
		ExternalID:   lead.ExternalID,
		Fields:       lead.Fields,
		Callback:     lead.Owner != "",
		History: PopHistory{
			Attempts: lead.Attempts, ByOutcome: lead.ByOutcome, LastOutcome: lead.LastOutcome, Why: lead.Why,
		},
		Script:       c.Settings.Script,
		Dispositions: c.Settings.Dispositions,
		WrapUpLimitS: c.Settings.WrapUpLimitS,
	}
	if n := len(lead.Recent); n > 0 {
		pop.History.LastAt = lead.Recent[n-1]
	}
	if call.Mode == Preview {
		pop.PreviewLimitS = c.Settings.PreviewLimitS
	}
	return pop
}
