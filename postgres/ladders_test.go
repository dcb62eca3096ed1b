package postgres

import (
	"compress/flate"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"dialer"
	"dialer/telephony"
)

// callLadder is what a call sends, with the random parts that no compression finds.
func callLadder() telephony.Ladder {
	l := telephony.Ladder{Call: dialer.NewCallID()}
	tag := func() string { return fmt.Sprintf("%016x%08x", rand.Uint64(), rand.Uint32()) }
	from, to, id := tag(), tag(), tag()
	for i, first := range []string{
		"INVITE sip:+12025550143@192.0.2.1 SIP/2.0", "SIP/2.0 100 Trying", "SIP/2.0 180 Ringing", "SIP/2.0 200 OK",
		"ACK sip:+12025550143@192.0.2.1 SIP/2.0", "BYE sip:+12025550143@192.0.2.1 SIP/2.0", "SIP/2.0 200 OK",
	} {
		text := first + "\r\nVia: SIP/2.0/UDP 198.51.100.1:5060;branch=z9hG4bK." + tag() + ";rport\r\nMax-Forwards: 70\r\n" +
			"From: \"Example\" <sip:+12125550100@198.51.100.1>;tag=" + from + "\r\nTo: <sip:+12025550143@192.0.2.1>;tag=" + to + "\r\n" +
			"Call-ID: " + string(l.Call) + "@" + id + "\r\nCSeq: 1 INVITE\r\nUser-Agent: dialer\r\nContact: <sip:dialer@198.51.100.1:5060>\r\n" +
			"Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE\r\nSupported: timer\r\nSession-Expires: 1800\r\n"
		if i == 0 || i == 3 {
			text += "Content-Type: application/sdp\r\nContent-Length: 250\r\n\r\nv=0\r\no=- " + fmt.Sprint(rand.Uint64()) + " 1 IN IP4 198.51.100.1\r\ns=-\r\n" +
				"c=IN IP4 198.51.100.1\r\nt=0 0\r\nm=audio 20000 RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n" +
				"a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n"
		}
		l.Messages = append(l.Messages, telephony.SIPMessage{At: noon.Add(time.Duration(i) * 100 * time.Millisecond), Data: []byte(text + "\r\n")})
	}
	return l
}

// TestLadderIsSmall: what a call costs the database is in docs/configuration.md.
func TestLadderIsSmall(t *testing.T) {
	packer, err := flate.NewWriter(nil, flate.DefaultCompression)
	check(t, err)
	body, err := packLadder(packer, callLadder())
	check(t, err)
	if t.Logf("%d bytes", len(body)); len(body) > 2000 {
		t.Errorf("a call takes %d bytes", len(body))
	}
}

// BenchmarkSaveLadders is a call's ladder masked, packed and saved with those of
// 200 others.
func BenchmarkSaveLadders(b *testing.B) {
	db := open(b)
	for b.Loop() {
		b.StopTimer()
		batch := make([]telephony.Ladder, 200)
		for i := range batch {
			batch[i] = callLadder()
		}
		b.StartTimer()
		if err := db.SaveLadders(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(200*b.N), "µs/call")
}
