package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"

	"dialer/pacing/simulate"
)

// simulatedJSON is what --json prints of a policy.
type simulatedJSON struct {
	Policy            string   `json:"policy"`
	Agents            int      `json:"agents"`
	Cap               *float64 `json:"cap,omitempty"` // when several are compared
	Utilisation       float64  `json:"utilisation"`
	UtilisationSE     float64  `json:"utilisation_se"`
	AbandonRate       float64  `json:"abandon_rate"`
	AbandonRateSE     float64  `json:"abandon_rate_se"`
	WaitS             float64  `json:"wait_s"`
	WaitSE            float64  `json:"wait_s_se"`
	TalkMinPerHour    float64  `json:"talk_min_per_hour"`
	TalkMinPerHourSE  float64  `json:"talk_min_per_hour_se"`
	DialsPerConnect   float64  `json:"dials_per_connect"`
	DialsPerConnectSE float64  `json:"dials_per_connect_se"`
	Seeds             int      `json:"seeds"`
}

func printSimulatedJSON(out io.Writer, all []simulate.Summary, caps bool) error {
	encoder := json.NewEncoder(out)
	for _, s := range all {
		six := func(x float64) float64 { return math.Round(x*1e6) / 1e6 }
		o := simulatedJSON{Policy: s.Policy, Agents: s.Agents, Seeds: s.Seeds}
		if caps {
			o.Cap = &s.Cap
		}
		for _, f := range []struct {
			from      simulate.Estimate
			value, se *float64
		}{
			{s.Utilisation, &o.Utilisation, &o.UtilisationSE},
			{s.AbandonRate, &o.AbandonRate, &o.AbandonRateSE},
			{s.Wait, &o.WaitS, &o.WaitSE},
			{s.TalkPerHour, &o.TalkMinPerHour, &o.TalkMinPerHourSE},
			{s.DialsPerConnect, &o.DialsPerConnect, &o.DialsPerConnectSE},
		} {
			*f.value, *f.se = six(f.from.Value), six(f.from.SE)
		}
		if err := encoder.Encode(o); err != nil {
			return err
		}
	}
	return nil
}

// printSimulated prints a table and what it says.
func printSimulated(out io.Writer, entries []simulate.Entry, all []simulate.Summary) {
	w := entries[0].World
	list := ""
	if w.Leads > 0 {
		list = fmt.Sprintf(", %d leads", w.Leads)
	}
	fmt.Fprintf(out, "%g h%s, %d seeds; figures with their standard errors\n\n", w.Hours, list, all[0].Seeds)
	t := tabs(out)
	fmt.Fprintln(t, "policy\tagents\tcap\toccupancy %\tabandoned %\twait s\ttalk min/h\tdials/connect\tover cap\tworst hour %\tfinished h\t")
	for _, s := range all {
		finished := "-"
		if s.Finished > 0 {
			finished = fmt.Sprintf("%.2f", s.Finished/3600)
		}
		fmt.Fprintf(t, "%s\t%d\t%.3g %%\t%.1f ±%.1f\t%.2f ±%.2f\t%.1f ±%.1f\t%.1f ±%.1f\t%.2f ±%.2f\t%d of %d\t%.1f\t%s\t\n",
			s.Policy, s.Agents, 100*s.Cap, 100*s.Utilisation.Value, 100*s.Utilisation.SE, 100*s.AbandonRate.Value, 100*s.AbandonRate.SE,
			s.Wait.Value, s.Wait.SE, s.TalkPerHour.Value, s.TalkPerHour.SE, s.DialsPerConnect.Value, s.DialsPerConnect.SE,
			s.OverCap, s.Seeds, 100*s.WorstHour, finished)
	}
	t.Flush()
	fmt.Fprintln(out)
	for _, line := range advice(entries, all) {
		fmt.Fprintln(out, line)
	}
}

// advice answers how many agents, which cap and when finished, in sentences.
func advice(entries []simulate.Entry, all []simulate.Summary) []string {
	best := bestOf(all)
	if len(best) == 0 {
		return []string{"No policy stays within its cap here: choose a higher cap, or progressive."}
	}
	var lines []string
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	for _, s := range best {
		say("%d agents, cap %.3g %%: %s does best, each agent talks %.0f minutes an hour%s.",
			s.Agents, 100*s.Cap, s.Policy, s.TalkPerHour.Value, likeProgressive(s, all))
	}
	w := entries[0].World
	if w.Leads == 0 {
		return lines
	}
	var when []string
	least := 0
	for _, s := range best {
		hours, about := s.Finished/3600, ""
		if s.Finished == 0 {
			hours, about = float64(w.Leads)/max(s.Pace, 1e-9), "about "
		}
		limit := ""
		if len(best) > 1 && best[0].Cap != best[len(best)-1].Cap {
			limit = fmt.Sprintf(" at %.3g %%", 100*s.Cap)
		}
		when = append(when, fmt.Sprintf("%d agents%s after %s%.1f h", s.Agents, limit, about, hours))
		if s.Finished > 0 && (least == 0 || s.Agents < least) {
			least = s.Agents
		}
	}
	say("The list of %d leads is finished by %s.", w.Leads, strings.Join(when, ", by "))
	if least > 0 {
		say("Within %g h it takes at most %d agents.", w.Hours, least)
	} else {
		say("None of these teams finishes it within %g h.", w.Hours)
	}
	return lines
}

// bestOf is, for each team and cap, the policy with the most occupancy of those
// that stay within the cap.
func bestOf(all []simulate.Summary) []simulate.Summary {
	var best []simulate.Summary
	for _, s := range all {
		if s.AbandonRate.Value > s.Cap {
			continue
		}
		last := len(best) - 1
		switch {
		case last < 0 || best[last].Agents != s.Agents || best[last].Cap != s.Cap:
			best = append(best, s)
		case s.Utilisation.Value > best[last].Utilisation.Value:
			best[last] = s
		}
	}
	return best
}

// likeProgressive says how many agents would talk as much with one call for each.
func likeProgressive(s simulate.Summary, all []simulate.Summary) string {
	for _, p := range all {
		if p.Policy == "progressive" && s.Policy != p.Policy && p.Agents == s.Agents && p.TalkPerHour.Value > 0 {
			return fmt.Sprintf(", as much in all as %.1f would with one call for each", float64(s.Agents)*s.TalkPerHour.Value/p.TalkPerHour.Value)
		}
	}
	return ""
}
