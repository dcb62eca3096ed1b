package media

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

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
	offeredEvent   = 101     // the payload type that we offer for it
	maxSDP         = 1 << 16 // bytes
	maxMedia       = 16      // m= lines
)

// Offer describes a new stream from local. sessionID stays for the call and
// version grows by one with each change (RFC 3264 section 8). dir is one of
// the directions; "" is sendrecv.
func Offer(local netip.AddrPort, sessionID, version uint64, codecs []Codec, dir string) []byte {
	if dir == "" {
		dir = SendRecv
	}
	m := &sdp.MediaDescription{MediaName: sdp.MediaName{
		Media: "audio", Port: sdp.RangedPort{Value: int(local.Port())}, Protos: []string{"RTP", "AVP"},
	}}
	for _, c := range codecs {
		addCodec(m, c)
	}
	addEvent(m, offeredEvent, 8000)
	finish(m, dir)
	return describe(local, sessionID, version, m)
}

// ParseAnswer reads the far end's answer to an offer of these codecs.
func ParseAnswer(body []byte, offered []Codec) (Remote, error) {
	d, err := parse(body)
	if err != nil {
		return Remote{}, err
	}
	i, err := d.audio()
	if err != nil {
		return Remote{}, err
	}
	return d.remote(i, offered)
}

// Answer answers the far end's offer (a re-INVITE, a call to us) with the first
// of its codecs that is among ours. dir is what we would do; what the offer
// does not allow is left out. All media but the first usable audio is refused.
func Answer(offer []byte, local netip.AddrPort, sessionID, version uint64, codecs []Codec, dir string) ([]byte, Remote, error) {
	d, err := parse(offer)
	if err != nil {
		return nil, Remote{}, err
	}
	chosen, err := d.audio()
	if err != nil {
		return nil, Remote{}, err
	}
	r, err := d.remote(chosen, codecs)
	if err != nil {
		return nil, Remote{}, err
	}
	if dir == "" {
		dir = SendRecv
	}
	wants := directionOf(dir)
	r.Send, r.Receive = r.Send && wants.send, r.Receive && wants.receive

	var media []*sdp.MediaDescription
	for i, fields := range d.named {
		answer := &sdp.MediaDescription{MediaName: sdp.MediaName{
			Media: fields[0], Protos: strings.Split(fields[2], "/"), Formats: fields[3:],
		}}
		if i == chosen {
			answer.MediaName.Port.Value = int(local.Port())
			answer.MediaName.Formats = nil
			addCodec(answer, r.Codec)
			if r.DTMF != 0 {
				addEvent(answer, r.DTMF, r.DTMFClock)
			}
			finish(answer, directionName(r.Send, r.Receive))
		}
		media = append(media, answer)
	}
	r.Codecs = nil // it may send only what we have answered
	return describe(local, sessionID, version, media...), r, nil
}

func addCodec(m *sdp.MediaDescription, c Codec) {
	pt := strconv.Itoa(int(c.PayloadType()))
	m.MediaName.Formats = append(m.MediaName.Formats, pt)
	m.WithValueAttribute("rtpmap", pt+" "+c.Name()+"/8000")
}

func addEvent(m *sdp.MediaDescription, payloadType uint8, clock uint32) {
	pt := strconv.Itoa(int(payloadType))
	m.MediaName.Formats = append(m.MediaName.Formats, pt)
	m.WithValueAttribute("rtpmap", fmt.Sprintf("%s %s/%d", pt, telephoneEvent, clock))
	m.WithValueAttribute("fmtp", pt+" 0-15")
}

func finish(m *sdp.MediaDescription, dir string) {
	m.WithValueAttribute("ptime", "20")
	m.WithPropertyAttribute(dir)
}

func describe(local netip.AddrPort, sessionID, version uint64, media ...*sdp.MediaDescription) []byte {
	addrType := "IP6"
	if local.Addr().Is4() {
		addrType = "IP4"
	}
	d := sdp.SessionDescription{
		Origin: sdp.Origin{
			Username: "-",
			// Peers that keep these as signed numbers refuse larger ones.
			SessionID: sessionID &^ (1 << 63), SessionVersion: version &^ (1 << 63),
			NetworkType: "IN", AddressType: addrType, UnicastAddress: local.Addr().String(),
		},
		SessionName: "-",
		ConnectionInformation: &sdp.ConnectionInformation{
			NetworkType: "IN", AddressType: addrType, Address: &sdp.Address{Address: local.Addr().String()},
		},
		TimeDescriptions:  []sdp.TimeDescription{{}},
		MediaDescriptions: media,
	}
	b, err := d.Marshal()
	if err != nil {
		panic("media: " + err.Error()) // Marshal only fails on what it is not given here
	}
	return b
}

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

func isRTP(fields []string) bool {
	return strings.EqualFold(fields[2], "RTP/AVP") || strings.EqualFold(fields[2], "RTP/AVPF")
}

// audio returns the index of the audio to use.
func (d *description) audio() (int, error) {
	err := errors.New("the SDP has no audio")
	for i, fields := range d.named {
		switch {
		case !isAudio(fields):
		case !isRTP(fields):
			err = fmt.Errorf("the SDP wants audio over %s: only RTP/AVP is supported", printable(fields[2]))
		case d.MediaDescriptions[i].MediaName.Port.Value != 0:
			return i, nil
		default:
			err = fmt.Errorf("%w (m=audio 0)", ErrRejected)
		}
	}
	return 0, err
}

// remote reads media section i.
func (d *description) remote(i int, offered []Codec) (Remote, error) {
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
	if r.Codecs = d.codecs(m, offered); len(r.Codecs) == 0 {
		return Remote{}, fmt.Errorf("the SDP has none of our codecs %v: its audio formats are %s",
			offered, printable(strings.Join(m.MediaName.Formats, " ")))
	}
	r.Codec = r.Codecs[0]
	r.DTMF, r.DTMFClock = events(m)
	theirs := directionOf(d.direction(m))
	r.Send, r.Receive = theirs.receive, theirs.send
	if d.held(i) {
		r.Send = false
	}
	return r, nil
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
	text, _, _ := strings.Cut(c.Address.Address, "/") // a multicast address has a TTL
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

// held reports hold by address.
func (d *description) held(i int) bool {
	addr, err := d.address(i)
	return err == nil && addr.IsUnspecified()
}

// codecs returns those of ours that section m names, in its order.
func (d *description) codecs(m *sdp.MediaDescription, ours []Codec) []Codec {
	names := rtpmaps(m)
	var found []Codec
	for _, format := range m.MediaName.Formats {
		pt, err := strconv.ParseUint(format, 10, 7)
		if err != nil {
			continue
		}
		c := Codec(pt)
		if !slices.Contains(ours, c) || slices.Contains(found, c) {
			continue
		}
		if name, mapped := names[uint8(pt)]; mapped && !strings.EqualFold(name.name, c.Name()) {
			continue // a static payload type that was given to something else
		}
		found = append(found, c)
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
	name  string
	clock uint32
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
		rate, _, _ = strings.Cut(rate, "/")
		clock, err := strconv.ParseUint(strings.TrimSpace(rate), 10, 32)
		if err != nil || clock == 0 || clock > 1_000_000 {
			clock = 8000
		}
		found[uint8(pt)] = encoding{strings.TrimSpace(name), uint32(clock)}
	}
	return found
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
