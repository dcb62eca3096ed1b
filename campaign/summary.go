package campaign

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// A view is what the summary is written from.
type view struct {
	Diagnostics
	now      time.Time
	set      Settings // with defaults
	open     bool     // a runner has taken the campaign up
	draining bool
	trouble  string // of the whole dialer
	dialable int    // leads that are not done; -1 when the database did not say
}

// summary is the first thing that stops the dialing, in one sentence.
func (v view) summary() string {
	why, dialing := v.why()
	switch {
	case dialing:
		return "Dialing: " + why + "."
	case v.Live.State == Running && why == "":
		return "Not dialing this moment: " + cmp.Or(v.Live.Decision.Reason, "the pacer has not decided yet") + "."
	}
	return "Not dialing: " + why + "."
}

// why says it without the frame; empty when nothing stands in the way.
func (v view) why() (why string, dialing bool) {
	l := v.Live
	counted := v.dialable >= 0
	switch {
	case v.draining:
		return "the dialer is shutting down; talks go on", false
	case l.State == Draft:
		return "the campaign is a draft; start it", false
	case l.State == Paused:
		return "the campaign is paused; talks go on", false
	case l.State == Stopped || l.State == Completed:
		why := "the campaign is " + string(l.State)
		switch {
		case counted && v.Leads.Total == 0:
			return why + "; it has no leads", false
		case v.dialable == 0:
			return why + ": every lead is done (" + doneWords(v.Leads.DoneBy) + ")", false
		case counted && l.State == Completed:
			return why + ", but " + plural(v.dialable, "lead") + " can be called again; start it", false
		}
		return why, false
	case v.trouble != "":
		return v.trouble, false
	case l.Trouble != "":
		return l.Trouble, false
	case !counted:
		return databaseAway, false
	case !v.open:
		return "the campaign has been started this moment", false
	case v.Leads.Total == 0:
		return "the campaign has no leads; upload a list", false
	case v.dialable == 0:
		return "every lead is done (" + doneWords(v.Leads.DoneBy) + ")", false
	}
	return v.whyNow()
}

// whyNow is why for a running campaign that has leads.
func (v view) whyNow() (why string, dialing bool) {
	l := v.Live
	up, down := v.trunksUp()
	agents := l.Agents.Ready + l.Agents.Reserved + l.Agents.Talking + l.Agents.WrapUp + l.Agents.NotReady
	switch {
	case agents == 0:
		return "no agent of this campaign is logged in", false
	case l.Agents.NotReady == agents:
		return fmt.Sprintf("none of the %s is ready", plural(agents, "agent")), false
	case !up:
		return down, false
	case v.Leads.DueNow+v.Leads.Claimed+v.Leads.Calling == 0:
		return v.waiting(), false
	case l.Calls[string(phaseRinging)]+l.Calls[string(phaseStarting)] > 0 || l.Decision.Dial > 0:
		return l.Decision.Reason, true
	}
	return v.full(), false
}

// trunks are those that the campaign calls over, in the order of trying.
func (v view) trunks() []DiagnosedTrunk { return append([]DiagnosedTrunk{v.Trunk}, v.Backups...) }

// trunksUp reports whether any trunk is up, and else why none is.
func (v view) trunksUp() (up bool, why string) {
	var down []string
	for _, t := range v.trunks() {
		if t.Up {
			return true, ""
		}
		down = append(down, fmt.Sprintf("%s: %s", t.Trunk, cmp.Or(t.Why, "no reason is known")))
	}
	if len(down) == 1 {
		return false, "the trunk is down: " + cmp.Or(v.Trunk.Why, "no reason is known")
	}
	return false, "every trunk is down (" + strings.Join(down, "; ") + ")"
}

// full says that no trunk has room, or "".
func (v view) full() string {
	the, takes, channels, inUse := "the trunk is", "the trunk takes", 0, 0
	if len(v.Backups) > 0 {
		the, takes = "all trunks are", "the trunks take"
	}
	spent := false
	for _, t := range v.trunks() {
		if t.ChannelsFree > 0 && t.CallsPerSecondNow > 0 {
			return ""
		}
		spent = spent || t.ChannelsFree > 0
		if t.Up {
			channels, inUse = channels+t.Channels, inUse+t.InUse
		}
	}
	if spent {
		return takes + " no more calls in this second"
	}
	return fmt.Sprintf("%s full: %d of %d channels are in use", the, inUse, channels)
}

// waiting says what the leads wait for, and until when.
func (v view) waiting() string {
	n := 0
	for _, m := range v.Leads.Later {
		n += m
	}
	verb := " wait "
	if n == 1 {
		verb = " waits "
	}
	why, comes := plural(n, "lead")+verb, "is due"
	if len(v.Leads.Later) == 1 {
		for reason := range v.Leads.Later {
			why += waitsFor(reason)
			if reason == "window" {
				comes = "opens"
			}
		}
	} else {
		why = strings.TrimSpace(why) + ": " + counts(v.Leads.Later, waitsFor)
	}
	if v.Leads.NextDue.IsZero() {
		return why
	}
	return fmt.Sprintf("%s; the first %s %s", why, comes, when(v.Leads.NextDue, v.now, v.set.Zone))
}

// when tells a time in the campaign's zone, and how far off it is.
func when(at, now time.Time, zone string) string {
	loc, err := time.LoadLocation(zone)
	if err != nil {
		loc = time.UTC // Validate refuses it
	}
	layout := "Mon 15:04"
	if at.Sub(now) > 6*24*time.Hour {
		layout = "Mon 2 Jan 15:04"
	}
	return fmt.Sprintf("%s in %s (in %s)", at.In(loc).Format(layout), loc, lapse(at.Sub(now)))
}

// lapse writes a duration as people do, to two units.
func lapse(d time.Duration) string {
	if d = max(d, 0); d < time.Minute {
		return fmt.Sprintf("%d s", (d+time.Second-1)/time.Second)
	}
	m := int(d.Round(time.Minute) / time.Minute)
	switch h := m / 60; {
	case h == 0:
		return fmt.Sprintf("%d min", m)
	case h < 48:
		return fmt.Sprintf("%d h %d min", h, m%60)
	default:
		return fmt.Sprintf("%d days %d h", h/24, h%24)
	}
}

// waitsFor is the reason of a lead that is dialable later, in plain words.
func waitsFor(why string) string {
	switch why {
	case "":
		return "for their first call"
	case "window":
		return "for their calling hours"
	case "day-cap":
		return "for another day: today's attempts are used up"
	case "callback":
		return "for an agreed callback"
	case "skipped":
		return "after an agent skipped them"
	case string(OutcomeNoAnswer):
		return "after no answer"
	case string(OutcomeBusy):
		return "after a busy line"
	case string(OutcomeFailed):
		return "after a call that failed"
	case string(OutcomeCongestion):
		return "after a call for which the trunk had no room"
	case string(OutcomeMachine):
		return "after an answering machine"
	case string(OutcomeMessage):
		return "after a message was left"
	case string(OutcomeFax):
		return "after a fax machine"
	case string(OutcomeConnected):
		return "after a talk"
	case string(OutcomeAbandoned):
		return "after an abandoned call"
	case string(OutcomeCalleeEarly):
		return "after they hung up early"
	case string(OutcomeRejected):
		return "after a call that was rejected"
	case string(OutcomeCancelled):
		return "after a call that was given up"
	case string(OutcomeInterrupted):
		return "after a call that a crash interrupted"
	case string(OutcomeInvalid):
		return "after an invalid number"
	}
	return "after " + why // an agent's own word
}

// doneWords are counts of leads that are done.
func doneWords(by map[string]int) string {
	return counts(by, func(why string) string {
		switch why {
		case "dnc":
			return "do-not-call"
		case "attempt-cap":
			return "attempts used up"
		case "zone":
			return "time zone not known"
		case "number":
			return "not a number that may be called"
		case string(OutcomeNoAnswer):
			return "no answer"
		case string(OutcomeInvalid):
			return "invalid number"
		case string(OutcomeMachine):
			return "answering machine"
		case string(OutcomeMessage):
			return "message left"
		case string(OutcomeCalleeEarly):
			return "hung up early"
		case string(OutcomeCongestion):
			return "no room on the trunk"
		case "":
			return "no reason known"
		}
		return why
	})
}

// counts writes counts by reason, greatest first, the small ones together.
func counts(by map[string]int, word func(string) string) string {
	if len(by) == 0 {
		return "none"
	}
	keys := slices.SortedFunc(maps.Keys(by), func(a, b string) int {
		return cmp.Or(cmp.Compare(by[b], by[a]), cmp.Compare(a, b))
	})
	const most = 5
	var parts []string
	others := 0
	for i, k := range keys {
		if i < most {
			parts = append(parts, fmt.Sprintf("%d %s", by[k], word(k)))
		} else {
			others += by[k]
		}
	}
	if others > 0 {
		parts = append(parts, fmt.Sprintf("%d for other reasons", others))
	}
	return strings.Join(parts, ", ")
}
