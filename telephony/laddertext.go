package telephony

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// The measures of a ladder in text, in characters.
const (
	marginWidth = 11 // the offset
	rungWidth   = 40 // from one lifeline to the next
	mostPeers   = 6  // lifelines beside ours; further peers share the last
)

// Text draws the ladder for a screen with fixed-width letters: a lifeline for us
// and one for each peer, an arrow for each message, then the messages in full.
func (l Ladder) Text() string {
	var b strings.Builder
	rungs := l.Rungs()
	fmt.Fprintf(&b, "SIP of %s, %d messages", l.Call, len(rungs)+l.LeftOut)
	if len(rungs) == 0 {
		return b.String() + "\n"
	}
	start := l.Start()
	fmt.Fprintf(&b, ", from %s\n\n", start.UTC().Format("2006-01-02 15:04:05.000 UTC"))

	columns, us := l.columns()
	head := pad("", marginWidth) + pad("us "+us, rungWidth)
	lines := pad("", marginWidth)
	for _, peer := range columns {
		head += pad(peer, rungWidth)
	}
	lines += strings.Repeat(pad("|", rungWidth), len(columns)+1)
	b.WriteString(strings.TrimRight(head, " ") + "\n" + strings.TrimRight(lines, " ") + "\n")
	for i, r := range rungs {
		if i == l.Head && l.LeftOut > 0 {
			fmt.Fprintf(&b, "%s… %d messages were not kept …\n", pad("", marginWidth), l.LeftOut)
		}
		to := slices.Index(columns, r.peer())
		if to < 0 {
			to = len(columns) - 1
		}
		b.WriteString(pad(offset(r, start), marginWidth) + arrow(r, to, len(columns)) + "\n")
	}
	for i, r := range rungs {
		if i == l.Head && l.LeftOut > 0 {
			fmt.Fprintf(&b, "\n--- %d messages were not kept ---\n", l.LeftOut)
		}
		way := r.peer() + " -> us"
		if r.Sent {
			way = "us -> " + r.peer()
		}
		again := ""
		if r.Again {
			again = ", again"
		}
		fmt.Fprintf(&b, "\n--- %d: %s, %s%s ---\n%s\n", i+1, offset(r, start), way, again, strings.TrimRight(r.Text, "\n"))
	}
	return b.String()
}

// columns are the peers in the order of their first message, and our address
// when there was but one.
func (l Ladder) columns() (peers []string, us string) {
	for i, m := range l.Messages {
		local := m.Local.String()
		if i == 0 {
			us = local
		} else if us != local {
			us = ""
		}
		peer := Rung{SIPMessage: m}.peer()
		switch {
		case slices.Contains(peers, peer):
		case len(peers) < mostPeers:
			peers = append(peers, peer)
		default:
			peers[mostPeers-1] = "other peers"
		}
	}
	return peers, us
}

func (r Rung) peer() string { return string(r.Transport) + " " + r.Remote.String() }

// offset is when a message was on the wire, in seconds after the first.
func offset(r Rung, start time.Time) string {
	return fmt.Sprintf("%+.3fs", r.At.Sub(start).Seconds())
}

// arrow draws one message between our lifeline and a peer's.
func arrow(r Rung, to, peers int) string {
	label := r.Label
	if r.Again {
		label += " again"
	}
	inner := (to+1)*rungWidth - 1 // between the two lifelines
	if room := inner - 4; utf8.RuneCountInString(label) > room {
		label = string([]rune(label)[:room-1]) + "…"
	}
	dashes := inner - 3 - utf8.RuneCountInString(label)
	left := dashes / 2
	line := strings.Repeat("-", left) + " " + label + " " + strings.Repeat("-", dashes-left)
	if r.Sent {
		line += ">"
	} else {
		line = "<" + line
	}
	line = "|" + line + "|"
	for range peers - to - 1 {
		line += strings.Repeat(" ", rungWidth-1) + "|"
	}
	return line
}

// pad fills s with spaces to n characters, and cuts what is longer.
func pad(s string, n int) string {
	if have := utf8.RuneCountInString(s); have < n {
		return s + strings.Repeat(" ", n-have)
	}
	return string([]rune(s)[:n-1]) + " "
}
