package simulate

import "math"

// Figures are a Summary as programs read it; …_se are standard errors over the
// seeds.
type Figures struct {
	Policy            string   `json:"policy"`
	Agents            int      `json:"agents"`
	Cap               *float64 `json:"cap,omitempty" doc:"When several are compared"`
	Utilisation       float64  `json:"utilisation" doc:"Talk and wrap-up over these and waiting"`
	UtilisationSE     float64  `json:"utilisation_se"`
	AbandonRate       float64  `json:"abandon_rate" doc:"Share of the persons who answered"`
	AbandonRateSE     float64  `json:"abandon_rate_se"`
	WaitS             float64  `json:"wait_s" doc:"Wait of an agent for a call"`
	WaitSE            float64  `json:"wait_s_se"`
	TalkMinPerHour    float64  `json:"talk_min_per_hour" doc:"Of an agent"`
	TalkMinPerHourSE  float64  `json:"talk_min_per_hour_se"`
	DialsPerConnect   float64  `json:"dials_per_connect"`
	DialsPerConnectSE float64  `json:"dials_per_connect_se"`
	Seeds             int      `json:"seeds"`

	FinishedH *float64 `json:"finished_h,omitempty" doc:"When the list was, in hours; more than the shift when that was too short and the pace went on. When there is a list"`
	TalkHours *float64 `json:"talk_hours,omitempty" doc:"Of the team in the shift. When talk_hours are asked for"`
	Enough    *bool    `json:"enough,omitempty" doc:"Whether the team finishes the list and comes to the hours of talk within the shift, under the cap"`
}

// FiguresOf returns the figures of each entry.
func FiguresOf(s *Scenario, entries []Entry, all []Summary) []Figures {
	out := make([]Figures, len(all))
	six := func(x float64) float64 { return math.Round(x*1e6) / 1e6 }
	for i, sum := range all {
		o := &out[i]
		*o = Figures{Policy: sum.Policy, Agents: sum.Agents, Seeds: sum.Seeds}
		for _, f := range []struct {
			from      Estimate
			value, se *float64
		}{
			{sum.Utilisation, &o.Utilisation, &o.UtilisationSE},
			{sum.AbandonRate, &o.AbandonRate, &o.AbandonRateSE},
			{sum.Wait, &o.WaitS, &o.WaitSE},
			{sum.TalkPerHour, &o.TalkMinPerHour, &o.TalkMinPerHourSE},
			{sum.DialsPerConnect, &o.DialsPerConnect, &o.DialsPerConnectSE},
		} {
			*f.value, *f.se = six(f.from.Value), six(f.from.SE)
		}
		if len(s.Caps) > 1 {
			o.Cap = &sum.Cap
		}
		if s.Leads > 0 {
			hours, _ := finishes(&entries[i].World, &sum)
			hours = six(hours)
			o.FinishedH = &hours
		}
		if s.TalkHours > 0 {
			hours := six(sum.TalkHours)
			o.TalkHours = &hours
		}
		if s.Leads > 0 || s.TalkHours > 0 {
			enough := sum.reaches(s)
			o.Enough = &enough
		}
	}
	return out
}

// finishes is when the list is done, in hours, and whether that was within every
// shift; else it is what the pace promises.
func finishes(w *World, s *Summary) (hours float64, within bool) {
	if s.Finished > 0 {
		return s.Finished / 3600, true
	}
	return float64(w.Leads) / max(s.Pace, 1e-3), false
}

// reaches reports whether a team came to all that the scenario asks for.
func (s *Summary) reaches(of *Scenario) bool {
	return s.AbandonRate.Value <= s.Cap && (of.Leads == 0 || s.Finished > 0) && s.TalkHours >= of.TalkHours
}
