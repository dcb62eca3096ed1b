package siptest

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// A session is what one side's SDP (RFC 8866) says of its audio.
type session struct {
	far     netip.AddrPort
	law     *law
	pt      uint8 // payload type of the audio
	digitPT uint8 // of telephone-event (RFC 4733), 0 when not offered
	// wants: the far side takes our audio; sends: it sends its own.
	wants, sends bool
}

var errNoCodec = errors.New("no audio at PCMU or PCMA in the offer")

// parseSession reads an offer or answer and chooses the codec that the far
// side names first.
func parseSession(body []byte) (session, error) {
	s := session{wants: true, sends: true}
	var sessionHost, mediaHost string
	var formats []string
	port, inAudio, seenMedia := 0, false, false
	maps := map[string]string{"0": "PCMU/8000", "8": "PCMA/8000"}
	for line := range strings.SplitSeq(string(body), "\n") {
		key, value, ok := strings.Cut(strings.TrimRight(line, "\r"), "=")
		if !ok {
			continue
		}
		switch {
		case key == "m":
			inAudio = !seenMedia && strings.HasPrefix(value, "audio ")
			seenMedia = seenMedia || inAudio
			if f := strings.Fields(value); inAudio && len(f) > 3 && f[2] == "RTP/AVP" {
				port, _ = strconv.Atoi(f[1])
				formats = f[3:]
			}
		case key == "c" && (inAudio || !seenMedia):
			host := value[strings.LastIndexByte(value, ' ')+1:]
			host, _, _ = strings.Cut(host, "/")
			if inAudio {
				mediaHost = host
			} else {
				sessionHost = host
			}
		case key == "a" && inAudio && strings.HasPrefix(value, "rtpmap:"):
			if pt, name, ok := strings.Cut(value[len("rtpmap:"):], " "); ok {
				maps[pt] = strings.ToUpper(name)
			}
		case key == "a" && (inAudio || !seenMedia):
			switch value {
			case "sendonly":
				s.wants = false
			case "recvonly":
				s.sends = false
			case "inactive":
				s.wants, s.sends = false, false
			}
		}
	}
	if mediaHost == "" {
		mediaHost = sessionHost
	}
	for _, f := range formats {
		pt, err := strconv.ParseUint(f, 10, 7)
		if err != nil {
			continue
		}
		switch strings.TrimSuffix(maps[f], "/1") {
		case "PCMU/8000":
			if s.law == nil {
				s.law, s.pt = ulaw, uint8(pt)
			}
		case "PCMA/8000":
			if s.law == nil {
				s.law, s.pt = alaw, uint8(pt)
			}
		case "TELEPHONE-EVENT/8000":
			s.digitPT = uint8(pt)
		}
	}
	if s.law == nil || port < 1 || port > 65535 {
		return session{}, errNoCodec
	}
	host, err := netip.ParseAddr(mediaHost)
	if err != nil {
		return session{}, fmt.Errorf("media address %q is not an IP address", mediaHost)
	}
	if host.IsUnspecified() { // hold in the way of RFC 2543
		s.wants = false
	}
	s.far = netip.AddrPortFrom(host.Unmap(), uint16(port))
	return s, nil
}

// answer writes our SDP: the answer to s, or an offer when s has no codec.
func (s session) answer(local netip.AddrPort, id uint64) []byte {
	family := "IP4"
	if local.Addr().Is6() {
		family = "IP6"
	}
	type format struct {
		pt   uint8
		name string
	}
	formats := []format{{ulaw.pt, ulaw.name}, {alaw.pt, alaw.name}}
	digits, direction := uint8(101), "sendrecv"
	if s.law != nil {
		formats, digits = []format{{s.pt, s.law.name}}, s.digitPT
		switch {
		case !s.wants && !s.sends:
			direction = "inactive"
		case !s.wants:
			direction = "recvonly"
		case !s.sends:
			direction = "sendonly"
		}
	}
	var list, maps strings.Builder
	for _, f := range formats {
		fmt.Fprintf(&list, " %d", f.pt)
		fmt.Fprintf(&maps, "a=rtpmap:%d %s/8000\r\n", f.pt, f.name)
	}
	if digits != 0 {
		fmt.Fprintf(&list, " %d", digits)
		fmt.Fprintf(&maps, "a=rtpmap:%d telephone-event/8000\r\na=fmtp:%d 0-15\r\n", digits, digits)
	}
	return fmt.Appendf(nil, "v=0\r\no=- %d %d IN %s %s\r\ns=-\r\nc=IN %s %s\r\nt=0 0\r\nm=audio %d RTP/AVP%s\r\n%sa=ptime:20\r\na=%s\r\n",
		id, id, family, local.Addr(), family, local.Addr(), local.Port(), list.String(), maps.String(), direction)
}
