package media

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pion/sdp/v3"
)

// ErrRejected is wrapped by the error for a description that refuses audio
// (m=audio 0).
var ErrRejected = errors.New("the far end refuses audio")

// The directions of RFC 8866 section 6.7.
const (
	SendRecv = "sendrecv"
	SendOnly = "sendonly"
	RecvOnly = "recvonly"
	Inactive = "inactive"
)

const (
	telephoneEvent = "telephone-event"
	maxSDP         = 1 << 16 // bytes
	maxMedia       = 16      // m= lines
	maxCrypto      = 64      // a=crypto lines that are read
)

// description is a parsed body.
type description struct {
	sdp.SessionDescription
	named [][]string // the fields of each m= line as they came
}

// parse reads what it needs of a body: v=, c=, m= and a= lines. Everything else
// (o=, s=, t=, blank lines, LF alone, lines out of order) is no reason to lose a
// call that is otherwise plain. Of media that we would refuse only the m= line
// is kept: the parser knows fewer kinds than there are (m=image for fax).
func parse(body []byte) (*description, error) {
	if len(body) == 0 {
		return nil, errors.New("the SDP is empty")
	}
	if len(body) > maxSDP {
		return nil, fmt.Errorf("the SDP of %d bytes is longer than %d", len(body), maxSDP)
	}
	d := new(description)
	var session, attributes, media []string
	version, usable := false, false
	for line := range strings.Lines(string(body)) {
		line = strings.Trim(line, " \t\r\n\x00")
		if len(line) < 2 || line[1] != '=' {
			if line != "" && !version {
				break
			}
			continue
		}
		switch line[0] {
		case 'v':
			version = true
		case 'm':
			fields := strings.Fields(line[2:])
			if len(fields) < 4 {
				return nil, fmt.Errorf("the SDP has m= line %s, which names no media, port, protocol and format", printable(line))
			}
			if len(d.named) == maxMedia {
				return nil, fmt.Errorf("the SDP has more than %d m= lines", maxMedia)
			}
			d.named = append(d.named, fields)
			if usable = isAudio(fields) && isRTP(fields); !usable {
				line = "m=audio 0 RTP/AVP 0"
			}
			media = append(media, line)
		case 'c', 'a':
			switch {
			case len(media) > 0 && usable:
				media = append(media, line)
			case len(media) > 0:
			case line[0] == 'a':
				attributes = append(attributes, line)
			case len(session) == 0:
				session = append(session, line)
			}
		}
	}
	if !version {
		return nil, errors.New(`the body is not SDP: it does not begin with "v=0"`)
	}
	text := "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\n" + join(session) + "t=0 0\r\n" + join(attributes) + join(ordered(media))
	if err := d.UnmarshalString(text); err != nil {
		return nil, fmt.Errorf("the SDP cannot be read: %w", err)
	}
	return d, nil
}

func join(lines []string) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(l)
		b.WriteString("\r\n")
	}
	return b.String()
}

// ordered puts the c= line of each m= section before its attributes.
func ordered(lines []string) []string {
	sorted := make([]string, 0, len(lines))
	start := 0
	for i := 1; i <= len(lines); i++ {
		if i < len(lines) && lines[i][0] != 'm' {
			continue
		}
		section := lines[start:i]
		sorted = append(sorted, section[0])
		for _, kind := range []byte{'c', 'a'} {
			for _, l := range section[1:] {
				if l[0] == kind {
					sorted = append(sorted, l)
				}
			}
		}
		start = i
	}
	return sorted
}

func isAudio(fields []string) bool { return strings.EqualFold(fields[0], "audio") }

// profiles are the kinds of RTP that we speak, and whether they want SRTP. Plain
// ones allow it (RFC 8643).
var profiles = map[string]bool{"RTP/AVP": false, "RTP/AVPF": false, "RTP/SAVP": true, "RTP/SAVPF": true}

func isRTP(fields []string) bool {
	_, ok := profiles[strings.ToUpper(fields[2])]
	return ok
}

// profile is the kind of RTP that section i wants.
func (d *description) profile(i int) string { return strings.ToUpper(d.named[i][2]) }

// usable returns the first audio that take takes, else why there is none.
func (d *description) usable(take func(i int) error) (int, error) {
	err := errors.New("the SDP has no audio")
	for i, fields := range d.named {
		switch {
		case !isAudio(fields):
		case !isRTP(fields):
			err = fmt.Errorf("the SDP wants audio over %s: only RTP/AVP and RTP/SAVP are supported", printable(fields[2]))
		case d.MediaDescriptions[i].MediaName.Port.Value == 0:
			err = fmt.Errorf("%w (m=audio 0)", ErrRejected)
		default:
			if err = take(i); err == nil {
				return i, nil
			}
		}
	}
	return 0, err
}

// remote reads media section i.
func (d *description) remote(i int, ours []Codec) (Remote, error) {
	m := d.MediaDescriptions[i]
	addr, err := d.address(i)
	if err != nil {
		return Remote{}, err
	}
	port := m.MediaName.Port.Value
	if port < 1 || port > 65535 {
		return Remote{}, fmt.Errorf("the SDP has audio port %d, which is not between 1 and 65535", port)
	}
	r := Remote{Addr: netip.AddrPortFrom(addr, uint16(port))}
	if r.Formats = formats(m, ours); len(r.Formats) == 0 {
		return Remote{}, fmt.Errorf("the SDP has none of our codecs %v: its audio formats are %s",
			ours, printable(strings.Join(m.MediaName.Formats, " ")))
	}
	r.Codec, r.PayloadType = r.Formats[0].Codec, r.Formats[0].PayloadType
	r.DTMF, r.DTMFClock = events(m)
	r.Control, r.Mux = d.control(m, addr)
	r.MaxTime = maxTime(m)
	theirs := directionOf(d.direction(m))
	r.Send, r.Receive = theirs.receive, theirs.send
	if addr.IsUnspecified() {
		r.Send = false
	}
	return r, nil
}

// maxTime reads a=maxptime. Less than 10 ms nobody means.
func maxTime(m *sdp.MediaDescription) time.Duration {
	value, _ := m.Attribute("maxptime")
	ms, err := strconv.ParseUint(strings.TrimSpace(value), 10, 16)
	if err != nil || ms == 0 {
		return 0
	}
	return time.Duration(max(ms, 10)) * time.Millisecond
}

// control reads where the far end wants RTCP (RFC 3605, RFC 5761). An address
// that we would not send audio to is not believed for RTCP either; whether it may
// be another host than that of the audio is for Session.SetRemote to say.
func (d *description) control(m *sdp.MediaDescription, addr netip.Addr) (at netip.AddrPort, mux bool) {
	if _, mux = m.Attribute("rtcp-mux"); mux {
		return netip.AddrPort{}, true
	}
	value, _ := m.Attribute("rtcp")
	fields := strings.Fields(value)
	if len(fields) == 0 {
		return netip.AddrPort{}, false
	}
	port, err := strconv.ParseUint(fields[0], 10, 16)
	if err != nil || port == 0 {
		return netip.AddrPort{}, false
	}
	if len(fields) >= 4 {
		if a, err := unicast(fields[3]); err == nil && !a.IsUnspecified() {
			addr = a
		}
	}
	if addr.IsUnspecified() {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(addr, uint16(port)), false
}

// address is that of section i: its own c= line, else the session's.
func (d *description) address(i int) (netip.Addr, error) {
	c := d.MediaDescriptions[i].ConnectionInformation
	if c == nil {
		c = d.ConnectionInformation
	}
	if c == nil || c.Address == nil {
		return netip.Addr{}, errors.New("the SDP has no c= line: nowhere to send audio to")
	}
	return unicast(c.Address.Address)
}

// unicast reads an address that audio may go to.
func unicast(text string) (netip.Addr, error) {
	text, _, _ = strings.Cut(text, "/") // a multicast address has a TTL
	addr, err := netip.ParseAddr(text)
	addr = addr.Unmap()
	switch {
	case err != nil || addr.Zone() != "":
		return addr, fmt.Errorf("the SDP has address %s, which is not an IP address", printable(text))
	case addr.IsMulticast():
		return addr, fmt.Errorf("the SDP has multicast address %s: audio goes to one party only", addr)
	case addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return addr, fmt.Errorf("the SDP has broadcast address %s: audio goes to one party only", addr)
	case addr.IsLinkLocalUnicast():
		return addr, fmt.Errorf("the SDP has link-local address %s, which cannot be reached from here", addr)
	case addr.IsUnspecified() && addr.Is6():
		return addr, fmt.Errorf("the SDP has unspecified address %s: nowhere to send audio to", addr)
	}
	return addr, nil // 0.0.0.0 is hold in the manner of RFC 2543
}

// A Format is a codec by the payload type that stands for it.
type Format struct {
	PayloadType uint8
	Codec       Codec
}

// formats returns those of section m that are ours, in its order. A codec may
// have a dynamic payload type instead of its static one.
func formats(m *sdp.MediaDescription, ours []Codec) []Format {
	names := rtpmaps(m)
	var found []Format
	for _, format := range m.MediaName.Formats {
		pt, err := strconv.ParseUint(format, 10, 7)
		if err != nil {
			continue
		}
		f := Format{PayloadType: uint8(pt), Codec: Codec(pt)}
		if e, mapped := names[f.PayloadType]; mapped {
			i := slices.IndexFunc(ours, func(c Codec) bool { return strings.EqualFold(c.Name(), e.name) })
			if i < 0 || e.clock != 8000 || e.channels != 1 {
				continue
			}
			if f.Codec = ours[i]; pt < 35 && f.Codec != Codec(pt) {
				continue // a static payload type that was given to something else
			}
		}
		if slices.Contains(ours, f.Codec) && !slices.ContainsFunc(found, func(o Format) bool { return o.PayloadType == f.PayloadType }) {
			found = append(found, f)
		}
	}
	return found
}

// events finds telephone-event, at 8000 Hz by preference.
func events(m *sdp.MediaDescription) (payloadType uint8, clock uint32) {
	names := rtpmaps(m)
	for _, format := range m.MediaName.Formats {
		pt, err := strconv.ParseUint(format, 10, 7)
		if err != nil || pt == 0 {
			continue
		}
		e, ok := names[uint8(pt)]
		if !ok || !strings.EqualFold(e.name, telephoneEvent) {
			continue
		}
		if e.clock == 8000 {
			return uint8(pt), e.clock
		}
		if payloadType == 0 {
			payloadType, clock = uint8(pt), e.clock
		}
	}
	return payloadType, clock
}

type encoding struct {
	name     string
	clock    uint32
	channels uint64
}

// rtpmaps reads the a=rtpmap lines of m.
func rtpmaps(m *sdp.MediaDescription) map[uint8]encoding {
	found := make(map[uint8]encoding)
	for _, a := range m.Attributes {
		if !strings.EqualFold(a.Key, "rtpmap") {
			continue
		}
		format, rest, _ := strings.Cut(strings.TrimSpace(a.Value), " ")
		pt, err := strconv.ParseUint(format, 10, 7)
		if err != nil {
			continue
		}
		name, rate, _ := strings.Cut(strings.TrimSpace(rest), "/")
		rate, channels, _ := strings.Cut(rate, "/")
		clock, err := strconv.ParseUint(strings.TrimSpace(rate), 10, 32)
		if err != nil || clock == 0 || clock > 1_000_000 {
			clock = 8000
		}
		e := encoding{strings.TrimSpace(name), uint32(clock), 1}
		if n, err := strconv.ParseUint(strings.TrimSpace(channels), 10, 8); err == nil {
			e.channels = n
		}
		found[uint8(pt)] = e
	}
	return found
}

// cryptoOf returns the a=crypto lines of section m that we can use, and why the
// last of the others is none of them.
func cryptoOf(m *sdp.MediaDescription) (lines []cryptoLine, err error) {
	n := 0
	for _, a := range m.Attributes {
		if !strings.EqualFold(a.Key, "crypto") {
			continue
		}
		if n++; n > maxCrypto {
			break
		}
		l, why := parseCrypto(a.Value)
		if why != nil {
			err = why
			continue
		}
		lines = append(lines, l)
	}
	return lines, err
}

// direction is that of section m, else of the session, else sendrecv.
func (d *description) direction(m *sdp.MediaDescription) string {
	for _, attributes := range [][]sdp.Attribute{m.Attributes, d.Attributes} {
		for _, a := range attributes {
			switch key := strings.ToLower(strings.TrimSpace(a.Key)); key {
			case SendRecv, SendOnly, RecvOnly, Inactive:
				return key
			}
		}
	}
	return SendRecv
}

type ways struct{ send, receive bool }

func directionOf(name string) ways {
	return ways{
		send:    name == SendRecv || name == SendOnly,
		receive: name == SendRecv || name == RecvOnly,
	}
}

func directionName(send, receive bool) string {
	switch {
	case send && receive:
		return SendRecv
	case send:
		return SendOnly
	case receive:
		return RecvOnly
	}
	return Inactive
}

// printable quotes what a stranger wrote, cut to a length fit for a log.
func printable(s string) string {
	if len(s) > 80 {
		s = s[:80]
	}
	return strconv.Quote(s)
}
