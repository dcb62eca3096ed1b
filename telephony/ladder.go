package telephony

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"time"

	"dialer"
)

// A SIPMessage is one SIP message as it was on the wire.
type SIPMessage struct {
	At            time.Time
	Sent          bool // by us
	Transport     Transport
	Local, Remote netip.AddrPort
	Data          []byte
}

// A Ladder is the SIP of one call: what an operator asks for first. Of a call
// with very many messages only the first and the last are kept.
type Ladder struct {
	Call dialer.CallID
	// Station is the extension of the agent's phone that was called, and empty
	// when a number was.
	Station  string
	Messages []SIPMessage // in the order of the wire
	// LeftOut is how many were not kept, after the first Head messages.
	LeftOut, Head int
}

// Start is the time of the first message.
func (l Ladder) Start() time.Time {
	if len(l.Messages) == 0 {
		return time.Time{}
	}
	return l.Messages[0].At
}

// JoinLadders puts the parts of one call together, whatever their order.
func JoinLadders(parts []Ladder) Ladder {
	slices.SortStableFunc(parts, func(a, b Ladder) int { return a.Start().Compare(b.Start()) })
	var all Ladder
	for _, p := range parts {
		all.Call = p.Call
		if all.Station == "" {
			all.Station = p.Station
		}
		if p.LeftOut > 0 {
			all.LeftOut, all.Head = all.LeftOut+p.LeftOut, len(all.Messages)+p.Head
		}
		all.Messages = append(all.Messages, p.Messages...)
	}
	return all
}

// A Rung is a message of a ladder, taken apart for showing.
type Rung struct {
	SIPMessage
	First string // the start line
	Label string // "INVITE", "180 Ringing (INVITE)"
	Text  string // the message with its secrets masked and line ends of \n
	Again bool   // a retransmission of an earlier one
}

// Rungs takes the messages apart. Their secrets are masked.
func (l Ladder) Rungs() []Rung {
	seen := map[string]bool{}
	out := make([]Rung, len(l.Messages))
	for i, m := range l.Messages {
		r := Rung{SIPMessage: m, Text: shownText(MaskSIP(m.Data))}
		r.First, _, _ = strings.Cut(r.Text, "\n")
		if status, ok := strings.CutPrefix(r.First, "SIP/2.0 "); ok {
			_, method, _ := strings.Cut(SIPHeader(m.Data, "CSeq", ""), " ")
			r.Label = status + " (" + shownText([]byte(strings.TrimSpace(method))) + ")"
		} else {
			r.Label, _, _ = strings.Cut(r.First, " ")
		}
		// RFC 3261 17.2.3: the branch and the method name the transaction. Forks
		// differ in their To.
		key := strings.Join([]string{m.Remote.String(), r.First, branchOf(m.Data), SIPHeader(m.Data, "CSeq", ""), SIPHeader(m.Data, "To", "t")}, "\x00")
		if m.Sent {
			key += "\x00sent"
		}
		r.Again, seen[key] = seen[key], true
		out[i] = r
	}
	return out
}

func branchOf(data []byte) string {
	_, branch, _ := strings.Cut(SIPHeader(data, "Via", "v"), "branch=")
	if i := strings.IndexAny(branch, ";, \t"); i >= 0 {
		branch = branch[:i]
	}
	return branch
}

// CalledStation is the user part of whom an INVITE calls, and empty when that is
// a phone number: agents' extensions have at most six digits.
func CalledStation(invite []byte) string {
	_, user, _ := strings.Cut(SIPHeader(invite, "To", "t"), "sip:")
	user, _, found := strings.Cut(user, "@")
	digits := strings.Trim(user, "+*#0123456789") == ""
	if !found || strings.ContainsAny(user, "<>;: \t") || len(user) > 64 || digits && len(user) > 6 {
		return ""
	}
	return shownText([]byte(user))
}

// SIPHeader returns the value of the first header of a name, or of its compact
// form, as it stands there; "" when there is none. It makes no copy of the rest.
func SIPHeader(data []byte, name, compact string) string {
	_, rest := cutLine(data)
	for len(rest) > 0 {
		var line []byte
		if line, rest = cutLine(rest); len(line) == 0 {
			return ""
		}
		n := bytes.IndexByte(line, ':')
		if n < 0 {
			continue
		}
		got := bytes.TrimRight(line[:n], " \t")
		if len(got) == len(name) && strings.EqualFold(string(got), name) || len(got) == len(compact) && compact != "" && strings.EqualFold(string(got), compact) {
			value := line[n+1:]
			for len(rest) > 0 && (rest[0] == ' ' || rest[0] == '\t') { // folded
				line, rest = cutLine(rest)
				value = append(bytes.Clone(value), line...)
			}
			return string(bytes.TrimSpace(value))
		}
	}
	return ""
}

// cutLine cuts at the first line end, which may lack its \r.
func cutLine(data []byte) (line, rest []byte) {
	i := bytes.IndexByte(data, '\n')
	if i < 0 {
		return data, nil
	}
	return bytes.TrimSuffix(data[:i], []byte{'\r'}), data[i+1:]
}
