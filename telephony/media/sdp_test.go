package media

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

var both = []Codec{PCMU, PCMA}

// parseAnswer reads an answer to an offer of ours.
func parseAnswer(b []byte, codecs []Codec) (Remote, error) {
	return NewNegotiation(netip.MustParseAddrPort("192.0.2.200:4000"), codecs, "").Accept(b)
}

// answer answers an offer from 192.0.2.2:5000.
func answer(offer []byte, codecs []Codec, dir string) ([]byte, Remote, error) {
	return NewNegotiation(netip.MustParseAddrPort("192.0.2.2:5000"), codecs, "").Answer(offer, dir)
}

// body makes SDP of its lines.
func body(lines ...string) []byte { return []byte(strings.Join(lines, "\r\n") + "\r\n") }

// plain is an ordinary description with these media lines.
func plain(lines ...string) []byte {
	return body(append([]string{"v=0", "o=- 1 1 IN IP4 192.0.2.1", "s=-", "c=IN IP4 192.0.2.1", "t=0 0"}, lines...)...)
}

func TestParseAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		body       []byte
		addr       string
		codec      Codec
		dtmf       uint8
		send, hear bool
	}{
		"plain":                {plain("m=audio 4000 RTP/AVP 0 101", "a=rtpmap:101 telephone-event/8000"), "192.0.2.1:4000", PCMU, 101, true, true},
		"A-law first":          {plain("m=audio 4000 RTP/AVP 8 0"), "192.0.2.1:4000", PCMA, 0, true, true},
		"no rtpmap":            {plain("m=audio 4000 RTP/AVP 0"), "192.0.2.1:4000", PCMU, 0, true, true},
		"events elsewhere":     {plain("m=audio 4000 RTP/AVP 0 96", "a=rtpmap:96 Telephone-Event/8000"), "192.0.2.1:4000", PCMU, 96, true, true},
		"events at two clocks": {plain("m=audio 4000 RTP/AVP 96 0 97", "a=rtpmap:96 telephone-event/48000", "a=rtpmap:97 telephone-event/8000"), "192.0.2.1:4000", PCMU, 97, true, true},
		"media c= wins":        {plain("m=audio 4000 RTP/AVP 0", "c=IN IP4 198.51.100.7"), "198.51.100.7:4000", PCMU, 0, true, true},
		"c= after a=":          {plain("m=audio 4000 RTP/AVP 0", "a=sendrecv", "c=IN IP4 198.51.100.7"), "198.51.100.7:4000", PCMU, 0, true, true},
		"c= of media only":     {body("v=0", "o=- 1 1 IN IP4 192.0.2.1", "s=-", "t=0 0", "m=audio 4000 RTP/AVP 0", "c=IN IP4 192.0.2.9"), "192.0.2.9:4000", PCMU, 0, true, true},
		"sendonly":             {plain("m=audio 4000 RTP/AVP 0", "a=sendonly"), "192.0.2.1:4000", PCMU, 0, false, true},
		"recvonly":             {plain("m=audio 4000 RTP/AVP 0", "a=recvonly"), "192.0.2.1:4000", PCMU, 0, true, false},
		"inactive":             {plain("a=inactive", "m=audio 4000 RTP/AVP 0"), "192.0.2.1:4000", PCMU, 0, false, false},
		"media direction wins": {plain("a=inactive", "m=audio 4000 RTP/AVP 0", "a=sendrecv"), "192.0.2.1:4000", PCMU, 0, true, true},
		"hold by address":      {plain("m=audio 4000 RTP/AVP 0", "c=IN IP4 0.0.0.0"), "0.0.0.0:4000", PCMU, 0, false, true},
		"video first":          {plain("m=video 5000 RTP/AVP 96", "a=rtpmap:96 H264/90000", "m=audio 4000 RTP/AVP 0"), "192.0.2.1:4000", PCMU, 0, true, true},
		"refused audio first":  {plain("m=audio 0 RTP/AVP 0", "m=audio 4000 RTP/AVP 8"), "192.0.2.1:4000", PCMA, 0, true, true},
		"LF and blank lines":   {[]byte("\nv=0\n\no=- 1 1 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\n\nm=audio 4000 RTP/AVP 0\n\n"), "192.0.2.1:4000", PCMU, 0, true, true},
		"odd o= and no s=, t=": {body("v=0", "o=root 99999999999999999999999 x IN IP4 host", "c=IN IP4 192.0.2.1", "m=audio 4000 RTP/AVP 0"), "192.0.2.1:4000", PCMU, 0, true, true},
		"AVPF":                 {plain("m=audio 4000 RTP/AVPF 0"), "192.0.2.1:4000", PCMU, 0, true, true},
		"IPv6":                 {plain("m=audio 4000 RTP/AVP 0", "c=IN IP6 2001:db8::1"), "[2001:db8::1]:4000", PCMU, 0, true, true},
		"loopback":             {plain("m=audio 4000 RTP/AVP 0", "c=IN IP4 127.0.0.1"), "127.0.0.1:4000", PCMU, 0, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := parseAnswer(c.body, both)
			if err != nil {
				t.Fatal(err)
			}
			if r.Addr != netip.MustParseAddrPort(c.addr) || r.Codec != c.codec || r.DTMF != c.dtmf || r.Send != c.send || r.Receive != c.hear {
				t.Errorf("got %+v; want %s %s, events %d, send %v, receive %v", r, c.addr, c.codec, c.dtmf, c.send, c.hear)
			}
		})
	}
}

func TestParseAnswerRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		body []byte
		says string
	}{
		"nothing":          {nil, "empty"},
		"not SDP":          {[]byte("<html>"), "not SDP"},
		"no media":         {plain(), "no audio"},
		"short m=":         {plain("m=audio 4000"), "m= line"},
		"only video":       {plain("m=video 5000 RTP/AVP 96"), "no audio"},
		"encrypted":        {plain("m=audio 4000 RTP/SAVP 0"), "SRTP"},
		"DTLS":             {plain("m=audio 4000 UDP/TLS/RTP/SAVPF 0"), "RTP/SAVP"},
		"other codec":      {plain("m=audio 4000 RTP/AVP 18"), "codec"},
		"codec redefined":  {plain("m=audio 4000 RTP/AVP 0", "a=rtpmap:0 G729/8000"), "codec"},
		"no address":       {body("v=0", "o=- 1 1 IN IP4 192.0.2.1", "s=-", "t=0 0", "m=audio 4000 RTP/AVP 0"), "c= line"},
		"multicast":        {plain("m=audio 4000 RTP/AVP 0", "c=IN IP4 224.2.1.1/127"), "multicast"},
		"broadcast":        {plain("m=audio 4000 RTP/AVP 0", "c=IN IP4 255.255.255.255"), "broadcast"},
		"unspecified IPv6": {plain("m=audio 4000 RTP/AVP 0", "c=IN IP6 ::"), "unspecified"},
		"link-local":       {plain("m=audio 4000 RTP/AVP 0", "c=IN IP4 169.254.169.254"), "link-local"},
		"host name":        {plain("m=audio 4000 RTP/AVP 0", "c=IN IP4 media.example"), "not an IP address"},
		"port too high":    {plain("m=audio 70000 RTP/AVP 0"), "70000"},
		"too long":         {plain(strings.Repeat("a=x\r\n", 20000)), "longer"},
		"too many media":   {plain(strings.Repeat("m=audio 4000 RTP/AVP 0\r\n", 40)), "m= lines"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := parseAnswer(c.body, both)
			if err == nil {
				t.Fatalf("accepted as %+v", r)
			}
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("%q does not say %q", err, c.says)
			}
		})
	}
	if _, err := parseAnswer(plain("m=audio 0 RTP/AVP 0"), both); !errors.Is(err, ErrRejected) {
		t.Errorf("m=audio 0: %v, want ErrRejected", err)
	}
	if _, err := parseAnswer(plain("m=audio 4000 RTP/AVP 8"), []Codec{PCMU}); err == nil {
		t.Error("a codec that was not offered was accepted")
	}
}

// Our own offer, answered by ourselves, agrees.
func TestOfferAndAnswerAgree(t *testing.T) {
	ours, theirs := netip.MustParseAddrPort("192.0.2.1:4000"), netip.MustParseAddrPort("192.0.2.2:5000")
	for _, c := range []struct{ offered, wanted, answered, theySend, weSend string }{
		{"", "", "sendrecv", "yes", "yes"},
		{SendOnly, SendRecv, "recvonly", "no", "yes"},
		{RecvOnly, SendRecv, "sendonly", "yes", "no"},
		{Inactive, SendRecv, "inactive", "no", "no"},
		{SendRecv, RecvOnly, "recvonly", "no", "yes"},
		{SendOnly, SendOnly, "inactive", "no", "no"},
	} {
		offerer := NewNegotiation(ours, both, "")
		offer := offerer.Offer(c.offered)
		answer, atTheirs, err := NewNegotiation(theirs, []Codec{PCMA, PCMU}, "").Answer(offer, c.wanted)
		if err != nil {
			t.Fatal(err)
		}
		atOurs, err := offerer.Accept(answer)
		if err != nil {
			t.Fatalf("%v in\n%s", err, answer)
		}
		yes := map[bool]string{true: "yes", false: "no"}
		if !strings.Contains(string(answer), "a="+c.answered+"\r\n") || yes[atTheirs.Send] != c.theySend || yes[atTheirs.Receive] != c.weSend {
			t.Errorf("offer %q, wanted %q: %+v\n%s", c.offered, c.wanted, atTheirs, answer)
		}
		if atOurs.Send != atTheirs.Receive || atOurs.Receive != atTheirs.Send || atOurs.Codec != PCMU || atTheirs.Codec != PCMU ||
			atOurs.DTMF != 101 || atTheirs.DTMF != 101 || atOurs.Addr != theirs || atTheirs.Addr != ours {
			t.Errorf("the two ends differ: %+v, %+v", atOurs, atTheirs)
		}
	}
}

func TestOfferIsPlainSDP(t *testing.T) {
	n := NewNegotiation(netip.MustParseAddrPort("192.0.2.1:4000"), both, "")
	n.id, n.version = 7, 3
	offer := string(n.Offer(""))
	want := "v=0\r\no=- 7 3 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n" +
		"m=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n" +
		"a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n"
	if offer != want {
		t.Errorf("the offer is\n%s\nwant\n%s", offer, want)
	}
}

// Each m= line of the offer is answered, all but one with port 0.
func TestAnswerToSeveralMedia(t *testing.T) {
	offer := plain("m=video 5000 RTP/AVP 96", "a=rtpmap:96 H264/90000", "m=audio 4000 RTP/AVP 18 8 97",
		"a=rtpmap:97 telephone-event/8000", "m=audio 4002 RTP/AVP 0", "m=image 4004 udptl t38")
	answer, r, err := answer(offer, both, "")
	if err != nil {
		t.Fatal(err)
	}
	if r.Codec != PCMA || r.DTMF != 97 || r.Addr.Port() != 4000 {
		t.Errorf("chosen: %+v", r)
	}
	var got []string
	for line := range strings.Lines(string(answer)) {
		if m, ok := strings.CutPrefix(strings.TrimSpace(line), "m="); ok {
			got = append(got, m)
		}
	}
	want := "video 0 RTP/AVP 96|audio 5000 RTP/AVP 8 97|audio 0 RTP/AVP 0|image 0 udptl t38"
	if strings.Join(got, "|") != want {
		t.Errorf("answered %q, want %q", strings.Join(got, "|"), want)
	}
}

func TestAnswerToHold(t *testing.T) {
	for name, offer := range map[string][]byte{
		"by address":   plain("m=audio 4000 RTP/AVP 0", "c=IN IP4 0.0.0.0"),
		"by direction": plain("m=audio 4000 RTP/AVP 0", "a=sendonly"),
	} {
		answer, r, err := answer(offer, both, "")
		if err != nil {
			t.Fatal(err)
		}
		if r.Send || !r.Receive || !strings.Contains(string(answer), "a=recvonly") {
			t.Errorf("hold %s: %+v\n%s", name, r, answer)
		}
	}
}

var seeds = [][]byte{
	plain("m=audio 4000 RTP/AVP 0 101", "a=rtpmap:101 telephone-event/8000", "a=fmtp:101 0-15", "a=sendrecv"),
	plain("m=video 5000 RTP/AVP 96", "m=audio 0/2 RTP/AVP 0", "m=audio 4000 RTP/SAVP 0"),
	[]byte("v=0\nc=IN IP4 0.0.0.0\nm=audio 99999999999 RTP/AVP 0 -1 300 a\na=rtpmap:\na=rtpmap:0\na=\n"),
	[]byte("v=0\r\nm=\r\nm=audio\r\nc=IN IP6 ::ffff:1.2.3.4%eth0/1/2\r\n"),
}

func FuzzParseAnswer(f *testing.F) {
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseAnswer(b, both)
		if err == nil && (!r.Addr.IsValid() || r.Addr.Port() == 0 || r.Addr.Addr().IsMulticast() || len(r.Formats) == 0 ||
			r.Send && r.Addr.Addr().IsUnspecified()) {
			t.Errorf("accepted as %+v", r)
		}
	})
}

func FuzzAnswer(f *testing.F) {
	for _, s := range seeds {
		f.Add(s, "sendrecv")
	}
	f.Fuzz(func(t *testing.T, b []byte, dir string) {
		answer, r, err := answer(b, both, dir)
		if err != nil {
			return
		}
		back, err := parseAnswer(answer, both)
		if err != nil {
			t.Fatalf("our answer cannot be read: %v\n%s", err, answer)
		}
		if back.Codec != r.Codec || back.Send != r.Receive || back.Receive != r.Send {
			t.Errorf("our answer says %+v, we go by %+v", back, r)
		}
	})
}
