package telephony

import (
	"bytes"
	"strings"
	"testing"
)

// canary stands where a secret stands.
const canary = "C4n4ry"

func TestMaskSIP(t *testing.T) {
	for name, text := range map[string]string{
		"digest":             "Authorization: Digest username=\"u\", response=\"" + canary + "\", qop=auth, cnonce=\"" + canary + "\"",
		"digest, unquoted":   "proxy-AUTHORIZATION : Digest realm=\"r\",RESPONSE=" + canary + ",uri=\"sip:x\"",
		"digest, folded":     "Authorization: Digest username=\"u\",\r\n\tresponse = \"" + canary + "\"",
		"digest, cut off":    "Authorization: Digest response=\"" + canary,
		"basic":              "Authorization: Basic " + canary,
		"proof of the other": "Authentication-Info: qop=auth, rspauth=\"" + canary + "\"",
		"a carrier's token":  "X-Auth-Token: " + canary,
		"its next line":      "X-Api-Key:\r\n " + canary,
		"password in a URI":  "Contact: \"A\" <sip:bob:" + canary + "@192.0.2.1:5060;transport=tcp>",
		"SRTP key":           "Content-Type: application/sdp\r\n\r\nv=0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + canary + "|2^31|1:4;inline:" + canary,
		"SRTP key, cut off":  "X: y\r\n\r\nA=CRYPTO:1 X INLINE:" + canary,
		"SDP key":            "X: y\n\nk=base64:" + canary,
		"key press, Nortel":  "CSeq: 7 INFO\r\nContent-Type: application/vnd.nortelnetworks.digits\r\n\r\np=Digit-Collection\r\ny=Digits\r\nd=" + canary,
		"key press, colon":   "Content-Type: application/dtmf-relay\r\n\r\nSIGNAL : \"" + canary + "\"\r\nDuration: 100",
		"key press in parts": "CSeq: 7 INFO\r\nContent-Type: multipart/mixed;boundary=b\r\n\r\n--b\r\nContent-Type: application/dtmf-relay\r\n\r\n d : " + canary + "\r\n--b--",
		"key press":          "Content-Type: application/dtmf-relay\r\n\r\nSignal= " + canary + "\r\nDuration=100",
	} {
		got := MaskSIP([]byte("INVITE sip:x@y SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z\r\n" + text + "\r\n"))
		if bytes.Contains(got, []byte(canary)) || !bytes.Contains(got, []byte(mask)) {
			t.Errorf("%s: %q", name, got)
		}
		if again := MaskSIP(got); !bytes.Equal(again, got) {
			t.Errorf("%s: masked twice %q", name, again)
		}
	}
	for _, text := range []string{
		"INFO sip:x SIP/2.0\r\nc: application/dtmf\r\n\r\n7",
		"INFO sip:x SIP/2.0\r\n\r\n7\r\n",
		"INFO sip:x SIP/2.0\r\n\r\nd=7",
		"INFO sip:x SIP/2.0\r\nContent-Type: text/plain\r\n\r\nSignal:\t7",
	} {
		if got := MaskSIP([]byte(text)); bytes.Contains(got, []byte("7")) || !bytes.Contains(got, []byte(mask)) {
			t.Errorf("%q", got)
		}
	}
	if got := MaskSIP([]byte("INFO sip:x SIP/2.0\r\nc: application/dtmf\r\n\r\n 15\r\n")); bytes.Contains(got, []byte("15")) {
		t.Errorf("%q", got)
	}
	if got := MaskSIP([]byte("INVITE sip:a:" + canary + "@h SIP/2.0\r\n\r\n")); bytes.Contains(got, []byte(canary)) {
		t.Errorf("%q", got)
	}
}

// TestMaskLeavesTheRest: what helps in finding a fault stays.
func TestMaskLeavesTheRest(t *testing.T) {
	for _, text := range []string{
		"SIP/2.0 401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"r\", nonce=\"n\"\r\nContent-Length: 0\r\n\r\n",
		"INVITE sip:+12025550143@192.0.2.1:5060;user=phone SIP/2.0\r\nIdentity: eyJhbGciOiJFUzI1NiJ9..x;info=<https://c.example/a.crt>\r\n" +
			"To: <sip:bob@h:5060>\r\n\r\nv=0\r\no=- 1 1 IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n",
		"", "\r\n\r\n", "no SIP at all", "A\nB\n",
	} {
		if got := string(MaskSIP([]byte(text))); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}

func FuzzMaskSIP(f *testing.F) {
	f.Add([]byte(failover().Messages[4].Data))
	f.Add([]byte("INFO sip:x SIP/2.0\r\nc: application/dtmf\r\n\r\n7"))
	f.Add([]byte("\n\n a\r\nb:"))
	f.Fuzz(func(t *testing.T, data []byte) {
		got := MaskSIP(data)
		if bytes.Count(got, []byte("\n")) != bytes.Count(data, []byte("\n")) {
			t.Errorf("%q became %q", data, got)
		}
		l := Ladder{Messages: []SIPMessage{{Data: data}, {Data: data, Sent: true}}}
		for _, r := range l.Text() {
			if r < ' ' && r != '\n' && r != '\t' {
				t.Errorf("the text has the control character %q", r)
			}
		}
		CalledStation(data)
		if strings.Contains(SIPHeader(data, "Call-ID", "i"), "\n") {
			t.Error("a header has a line end")
		}
	})
}
