package simulate

import (
	"fmt"
	"strings"
)

// Advice answers how many agents, which cap and when finished, in sentences.
func Advice(of *Scenario, entries []Entry, all []Summary) []string {
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
	lines = append(lines, capAdvice(best)...)
	if of.Leads > 0 {
		lines = append(lines, listAdvice(of, entries, best))
	}
	if of.TalkHours > 0 {
		var talks []string
		for _, s := range best {
			talks = append(talks, fmt.Sprintf("%d agents%s %.1f h", s.Agents, limitOf(s, best), s.TalkHours))
		}
		say("In %g h talk in all: %s.", of.Hours, strings.Join(talks, ", "))
	}
	if of.Leads == 0 && of.TalkHours == 0 {
		return lines
	}
	goal := map[bool]string{true: fmt.Sprintf("%d leads", of.Leads), false: ""}[of.Leads > 0]
	if of.TalkHours > 0 {
		goal = strings.TrimPrefix(fmt.Sprintf("%s and %g h of talk", goal, of.TalkHours), " and ")
	}
	for _, s := range best {
		if s.reaches(of) && s.Agents == leastOf(of, best) {
			say("%d agents%s are enough for %s within %g h: the least of these teams that are.", s.Agents, limitOf(s, best), goal, of.Hours)
			return lines
		}
	}
	say("None of these teams is enough for %s within %g h.", goal, of.Hours)
	return lines
}

// capAdvice says what each cap is worth beside the lowest.
func capAdvice(best []Summary) []string {
	var lines []string
	for i := range best {
		for j := range best[:i] {
			low, high := best[j], best[i]
			if low.Agents != high.Agents {
				continue
			}
			if low.Cap > high.Cap {
				low, high = high, low
			}
			if low.Cap == high.Cap {
				continue
			}
			lines = append(lines, fmt.Sprintf("%d agents: a cap of %.3g %% instead of %.3g %% is worth %+.1f minutes of talk an hour and agent.",
				low.Agents, 100*high.Cap, 100*low.Cap, high.TalkPerHour.Value-low.TalkPerHour.Value))
			break
		}
	}
	return lines
}

func listAdvice(of *Scenario, entries []Entry, best []Summary) string {
	var when []string
	for _, s := range best {
		hours, within := finishes(&entries[0].World, &s)
		about := "about "
		if within {
			about = ""
		}
		when = append(when, fmt.Sprintf("%d agents%s after %s%.1f h", s.Agents, limitOf(s, best), about, hours))
	}
	return fmt.Sprintf("The list of %d leads is finished by %s.", of.Leads, strings.Join(when, ", by "))
}

// limitOf names the cap where there are several.
func limitOf(s Summary, best []Summary) string {
	for _, b := range best {
		if b.Cap != s.Cap {
			return fmt.Sprintf(" at %.3g %%", 100*s.Cap)
		}
	}
	return ""
}

// leastOf is the smallest team that is enough.
func leastOf(of *Scenario, best []Summary) int {
	least := 0
	for _, s := range best {
		if s.reaches(of) && (least == 0 || s.Agents < least) {
			least = s.Agents
		}
	}
	return least
}

// bestOf is, for each team and cap, the policy with the most occupancy of those
// that stay within the cap.
func bestOf(all []Summary) []Summary {
	var best []Summary
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
func likeProgressive(s Summary, all []Summary) string {
	for _, p := range all {
		if p.Policy == "progressive" && s.Policy != p.Policy && p.Agents == s.Agents && p.TalkPerHour.Value > 0 {
			return fmt.Sprintf(", as much in all as %.1f would with one call for each", float64(s.Agents)*s.TalkPerHour.Value/p.TalkPerHour.Value)
		}
	}
	return ""
}
