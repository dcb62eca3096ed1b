package report

import (
	"encoding/csv"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"dialer/compliance"
)

// WriteCSV writes the report as rows of section, item and value, for a
// spreadsheet. The lists of calls have a fourth and a fifth column.
func (r AbandonReport) WriteCSV(w io.Writer) error {
	out := csv.NewWriter(w)
	for _, row := range r.rows() {
		for i := range row {
			row[i] = safeCell(row[i])
		}
		if err := out.Write(row); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// e164 are the cells that may begin with + as they are.
var e164 = regexp.MustCompile(`^\+[0-9]{7,15}$`)

// safeCell keeps a spreadsheet from taking text for a formula.
func safeCell(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) && !e164.MatchString(s) {
		return "'" + s
	}
	return s
}

// rows are the header and one row per figure and call.
func (r AbandonReport) rows() [][]string {
	rows := [][]string{{"section", "item", "value", "detail", "at"}}
	add := func(section, item string, value any, more ...string) {
		row := []string{section, item, fmt.Sprint(value), "", ""}
		copy(row[3:], more)
		rows = append(rows, row)
	}
	add("report", "campaign_id", r.Campaign)
	add("report", "campaign_name", r.Name)
	add("report", "from", stamp(r.From))
	add("report", "to", stamp(r.To))
	add("report", "generated_at", stamp(r.GeneratedAt))
	add("report", "clock_start", r.Clock)
	add("report", "deadline_ms", r.DeadlineMS)
	add("report", "cap", r.Cap)
	add("report", "settings_as_of", stamp(r.SettingsAsOf), "calls keep the class of the settings they ended under")
	add("report", "classed_under_other_settings", r.ClassedOtherwise)
	add("rate", "formula", r.Formula)
	rate := func(section string, x Rate, more ...string) {
		value := ""
		if x.Rate != nil {
			value = strconv.FormatFloat(*x.Rate, 'f', 6, 64)
		}
		add(section, "abandoned", x.Abandoned, more...)
		add(section, "answered_person", x.Answered, more...)
		add(section, "rate", value, more...)
		add(section, "within_cap", x.WithinCap, more...)
	}
	rate("rate", r.Total)
	switch {
	case r.Detector == nil:
		add("rate", "rate_conservative", "not tested", "nobody listened to the calls that the detector called machines")
	case r.Conservative != nil:
		add("rate", "rate_conservative", strconv.FormatFloat(*r.Conservative, 'f', 6, 64), r.estimate())
	}
	for _, p := range r.Periods {
		rate(fmt.Sprintf("period_%d", p.Index), p.Rate, stamp(p.From), stamp(p.To))
	}
	add("attempts", "all", r.Attempts)
	for _, c := range r.Classes {
		add("attempts", string(c.Class), c.Count)
	}
	for _, d := range []struct {
		name string
		Quantiles
	}{{"connect_delay_from_clock_ms", r.FromClock}, {"connect_delay_from_answer_ms", r.FromAnswer}} {
		add(d.name, "count", d.Count)
		add(d.name, "p50", d.P50)
		add(d.name, "p95", d.P95)
		add(d.name, "p99", d.P99)
		add(d.name, "max", d.Max)
	}
	for _, b := range r.Ring {
		name := fmt.Sprintf("%d to %d s", b.FromS, b.ToS)
		if b.ToS == 0 {
			name = fmt.Sprintf("%d s and more", b.FromS)
		}
		add("ring_times", name, b.Count)
	}
	add("messages", "due", r.Messages.Due)
	add("messages", "started_in_time", r.Messages.InTime)
	add("messages", "started_late", r.Messages.Late)
	add("messages", "missing", r.Messages.Missing)
	for _, a := range r.Messages.Assets {
		add("message_asset", a.Name, a.Played, a.SHA256)
	}
	for _, id := range r.ShortRings {
		add("short_ring", string(id), "")
	}
	for _, c := range r.Late {
		add("late_call", string(c.Call), c.To, fmt.Sprintf("%d ms, agent %s", c.DelayMS, c.Agent), stamp(c.At))
	}
	for _, c := range r.Abandoned {
		add("abandoned_call", string(c.Call), c.To, string(c.Class), stamp(c.At))
	}
	for _, l := range r.cuts() {
		add("not_listed", l.name, l.n)
	}
	return rows
}

// estimate says of what the conservative rate is made.
func (r AbandonReport) estimate() string {
	d := *r.Detector
	text := fmt.Sprintf("with %.1f estimated false positives", *r.FalsePositives)
	switch {
	case d.ShareOfMachine > 0 && d.Of == nil:
		text += fmt.Sprintf(", %g %% of the calls classified machine", 100*d.ShareOfMachine)
	case d.MissRateLive > 0:
		text += fmt.Sprintf(", %g %% of the persons", 100*d.MissRateLive)
	}
	if d.Of != nil {
		text += fmt.Sprintf(", %.2f %% (%d of %d; 95 %%: %.2f to %.2f %%) of %d calls classified machine that nobody verified",
			100*d.ShareOfMachine, d.Persons, d.Sample, 100*d.Low, 100*d.High, *d.Of)
	}
	return text + fmt.Sprintf(" (%d calls, %s, %s)", d.Sample, printable(d.Method), stamp(d.TestedAt))
}

type cut struct {
	name string
	n    int
}

// cuts are the lists that do not hold all of their calls.
func (r AbandonReport) cuts() []cut {
	all := []cut{{"short_ring", r.NotListed.ShortRings}, {"late_call", r.NotListed.Late}, {"abandoned_call", r.NotListed.Abandoned}}
	return slices.DeleteFunc(all, func(c cut) bool { return c.n == 0 })
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}

// printable keeps names that people gave from moving the cursor.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '�'
		}
		return r
	}, s)
}

// WriteText writes the report for a terminal.
func (r AbandonReport) WriteText(w io.Writer) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(format string, args ...any) { fmt.Fprintf(out, format+"\n", args...) }
	line("Abandoned calls of %s (%s)", printable(r.Name), r.Campaign)
	if !r.From.IsZero() || !r.To.IsZero() {
		line("Calls placed\tfrom %s to %s", stamp(r.From), stamp(r.To))
	}
	line("Generated\t%s", stamp(r.GeneratedAt))
	line("")
	verdict := "within the cap"
	if !r.Total.WithinCap {
		verdict = "ABOVE THE CAP"
	}
	line("Rate\t%s\t%s of %.4g %%", r.Total, verdict, 100*r.Cap)
	line("  formula\t%s", r.Formula)
	line("  deadline\t%d ms after %s", r.DeadlineMS, r.Clock)
	line("  settings\tas of %s\tcalls keep the class of the settings they ended under; %d would have another now", stamp(r.SettingsAsOf), r.ClassedOtherwise)
	switch {
	case r.Detector == nil:
		line("  conservative\tnot tested\tnobody listened to the calls that the detector called machines")
	case r.Conservative != nil:
		line("  conservative\t%.4f %%\t%s", 100**r.Conservative, r.estimate())
	}
	for _, p := range r.Periods {
		line("  period %d\t%s\tfrom %s to %s", p.Index, p.Rate, stamp(p.From), stamp(p.To))
	}
	line("")
	line("Attempts\t%d", r.Attempts)
	for _, c := range r.Classes {
		line("  %s\t%d", c.Class, c.Count)
	}
	line("")
	line("Connect delay\tp50\tp95\tp99\tmax\t(ms)")
	if r.Clock != compliance.FromAnswer {
		line("  from %s\t%d\t%d\t%d\t%d\t", r.Clock, r.FromClock.P50, r.FromClock.P95, r.FromClock.P99, r.FromClock.Max)
	}
	line("  from answer\t%d\t%d\t%d\t%d\t", r.FromAnswer.P50, r.FromAnswer.P95, r.FromAnswer.P99, r.FromAnswer.Max)
	line("")
	line("Ring time\tattempts")
	for _, b := range r.Ring {
		if b.ToS == 0 {
			line("  %d s and more\t%d", b.FromS, b.Count)
		} else {
			line("  %d to %d s\t%d", b.FromS, b.ToS, b.Count)
		}
	}
	line("  given up before 15 s\t%d", len(r.ShortRings)+r.NotListed.ShortRings)
	line("")
	m := r.Messages
	line("Messages due\t%d\tin time %d, late %d, missing %d", m.Due, m.InTime, m.Late, m.Missing)
	for _, a := range m.Assets {
		line("  %s\tplayed %d\tsha256 %s", printable(a.Name), a.Played, a.SHA256)
	}
	for _, c := range r.Late {
		line("Late\t%s\t%s\t%d ms\tagent %s", c.Call, stamp(c.At), c.DelayMS, c.Agent)
	}
	for _, c := range r.Abandoned {
		line("Abandoned\t%s\t%s\t%s", c.Call, stamp(c.At), c.Class)
	}
	for _, l := range r.cuts() {
		line("%s\t%d more are not listed", l.name, l.n)
	}
	return out.Flush()
}
