package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"dialer/campaign"
	"dialer/telephony/siptrunk/siptest"
)

// screen shows a running campaign: redrawn in place on a terminal, a line each
// time elsewhere.
type screen struct {
	out   io.Writer
	live  bool
	width func() int // columns of the terminal now
	drawn int        // lines on the terminal
}

func newScreen(out io.Writer) *screen {
	return &screen{out: out, live: isTerminal(out), width: func() int { return columns(out) }}
}

// columns is how wide the terminal behind out is; 80 when it does not say.
func columns(out io.Writer) int {
	if f, ok := out.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			return width
		}
	}
	return 80
}

func (s *screen) show(since time.Duration, l campaign.Live, c siptest.Counts) {
	if !s.live {
		fmt.Fprintln(s.out, statusLine(since, l, c))
		return
	}
	// A line that wraps would take two rows, and the way back up would end short.
	lines, width := statusScreen(since, l, c), s.width()
	var b strings.Builder
	if s.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", s.drawn)
	}
	for _, line := range lines {
		b.WriteString("\x1b[2K" + cut(line, width) + "\n")
	}
	b.WriteString("\x1b[J") // what a narrower terminal has wrapped before
	s.drawn = len(lines)
	io.WriteString(s.out, b.String())
}

// stages of a call, as the screen shows them.
func stages(l campaign.Live) (ringing, listening, waiting, talking int) {
	return l.Calls["ringing"], l.Calls["detecting"], l.Calls["waiting"], l.Calls["talking"]
}

func statusLine(since time.Duration, l campaign.Live, c siptest.Counts) string {
	ringing, listening, waiting, talking := stages(l)
	return fmt.Sprintf("%4.0fs  agents: %d ready %d reserved %d talking %d wrap-up %d away  calls: %d ringing %d listening %d waiting %d talking  "+
		"placed %d answered %d  occupancy %s  abandoned %d of %d (%s, cap %s)  longest idle %d s",
		since.Seconds(), l.Agents.Ready, l.Agents.Reserved, l.Agents.Talking, l.Agents.WrapUp, l.Agents.NotReady,
		ringing, listening, waiting, talking, c.Arrived, c.Answered,
		percent(l.Occupancy), l.Abandon.Abandoned, l.Abandon.Answered, percent(l.Abandon.Rate), percent(&l.Abandon.Cap), l.Agents.LongestIdleS)
}

func statusScreen(since time.Duration, l campaign.Live, c siptest.Counts) []string {
	ringing, listening, waiting, talking := stages(l)
	a := l.Agents
	all := max(1, a.Ready+a.Reserved+a.Talking+a.WrapUp+a.NotReady)
	bar := func(n int) string { return strings.Repeat("█", (n*24+all/2)/all) }
	lines := []string{
		fmt.Sprintf("Demo campaign, %s, %s            %s", l.Mode, l.State, since.Round(time.Second)),
		"",
		"Agents                               Calls",
		fmt.Sprintf("  ready     %3d %-20.20s  ringing    %4d", a.Ready, bar(a.Ready), ringing),
		fmt.Sprintf("  reserved  %3d %-20.20s  listening  %4d", a.Reserved, bar(a.Reserved), listening),
		fmt.Sprintf("  talking   %3d %-20.20s  waiting    %4d", a.Talking, bar(a.Talking), waiting),
		fmt.Sprintf("  wrap-up   %3d %-20.20s  talking    %4d", a.WrapUp, bar(a.WrapUp), talking),
		fmt.Sprintf("  away      %3d %-20.20s  placed     %4d, answered %d", a.NotReady, bar(a.NotReady), c.Arrived, c.Answered),
		"",
		fmt.Sprintf("Occupancy %s     abandoned %d of %d persons: %s (cap %s)     longest idle %d s",
			percent(l.Occupancy), l.Abandon.Abandoned, l.Abandon.Answered, percent(l.Abandon.Rate), percent(&l.Abandon.Cap), a.LongestIdleS),
		"Pacer: " + l.Decision.Reason,
	}
	if l.Trouble != "" {
		lines = append(lines, "Trouble: "+l.Trouble)
	} else {
		lines = append(lines, "")
	}
	return lines
}

// cut shortens a line to width columns; each rune of the screen takes one.
func cut(line string, width int) string {
	r := []rune(line)
	if len(r) <= width {
		return line
	}
	return string(r[:max(0, width-1)]) + "…"
}

// percent prints a share, or a dash when there is none.
func percent(share *float64) string {
	if share == nil {
		return "–"
	}
	return fmt.Sprintf("%.1f %%", *share*100)
}
