package telephony

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files anew")

// sipText is a message with the line ends of the wire.
func sipText(lines ...string) string { return strings.Join(lines, "\r\n") }

// failover is a call that one carrier refuses after a challenge and another takes.
func failover() Ladder {
	start := time.Date(2026, 3, 10, 15, 0, 0, 0, time.UTC)
	us := netip.MustParseAddrPort("198.51.100.1:5060")
	one, two := netip.MustParseAddrPort("192.0.2.1:5060"), netip.MustParseAddrPort("[2001:db8::2]:5061")
	l := Ladder{Call: "cal_01jq"}
	add := func(ms int, sent bool, peer netip.AddrPort, text string) {
		transport := UDP
		if peer == two {
			transport = TLS
		}
		l.Messages = append(l.Messages, SIPMessage{
			At: start.Add(time.Duration(ms) * time.Millisecond), Sent: sent, Transport: transport, Local: us, Remote: peer, Data: []byte(text),
		})
	}
	message := func(first, branch, cseq string, more ...string) string {
		return sipText(append([]string{first, "Via: SIP/2.0/UDP 198.51.100.1:5060;branch=z9hG4bK." + branch, "From: <sip:+12025550143@198.51.100.1>;tag=a",
			"To: <sip:+12125550100@192.0.2.1>", "Call-ID: cal_01jq@abc", "CSeq: " + cseq}, more...)...)
	}
	const invite = "INVITE sip:+12125550100@192.0.2.1 SIP/2.0"
	digest := `Authorization: Digest username="us", realm="carrier", nonce="n1", uri="sip:x", response="6629fae49393a05397450978507c4ef1", cnonce="0a4f113b"`
	add(0, true, one, message(invite, "1", "1 INVITE", "", ""))
	add(500, true, one, message(invite, "1", "1 INVITE", "", ""))
	add(520, false, one, message("SIP/2.0 401 Unauthorized", "1", "1 INVITE", `WWW-Authenticate: Digest realm="carrier", nonce="n1"`, "", ""))
	add(521, true, one, message("ACK sip:+12125550100@192.0.2.1 SIP/2.0", "1", "1 ACK", "", ""))
	add(522, true, one, message(invite, "2", "2 INVITE", digest, "Content-Type: application/sdp", "",
		"v=0", "m=audio 20000 RTP/SAVP 0", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^20|1:32", ""))
	add(600, false, one, message("SIP/2.0 503 Service Unavailable", "2", "2 INVITE", "", ""))
	add(601, true, one, message("ACK sip:+12125550100@192.0.2.1 SIP/2.0", "2", "2 ACK", "", ""))
	add(610, true, two, message(invite, "3", "3 INVITE", "", ""))
	add(3200, false, two, message("SIP/2.0 200 OK", "3", "3 INVITE", "", "v=0", ""))
	add(3201, true, two, message("ACK sip:+12125550100@[2001:db8::2] SIP/2.0", "4", "3 ACK", "", ""))
	add(63201, false, two, message("BYE sip:dialer@198.51.100.1 SIP/2.0", "5", "7 BYE", "", ""))
	add(63202, true, two, message("SIP/2.0 200 OK", "5", "7 BYE", "", ""))
	return l
}

func TestLadderText(t *testing.T) {
	long := failover()
	long.Head, long.LeftOut = 2, 40
	long.Messages[3].Data = []byte("INFO sip:\x1b[31mx SIP/2.0\r\nContent-Type: application/dtmf-relay\r\n\r\nSignal=5\r\nDuration=160\r\n\xff")
	for name, l := range map[string]Ladder{"failover": failover(), "left_out": long, "empty": {Call: "cal_01jq"}} {
		got := l.Text()
		file := filepath.Join("testdata", "ladder_"+name+".txt")
		if *update {
			if err := os.MkdirAll("testdata", 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s is not as in %s; go test ./telephony -run LadderText -update, and look:\n%s", name, file, got)
		}
	}
}

func TestLadderOfParts(t *testing.T) {
	whole := failover()
	early, late := whole, whole
	early.Messages, late.Messages = whole.Messages[:9], whole.Messages[9:]
	early.LeftOut, early.Head = 3, 4
	got := JoinLadders([]Ladder{late, early})
	if len(got.Messages) != 12 || got.LeftOut != 3 || got.Head != 4 || got.Call != whole.Call || !got.Messages[11].At.After(got.Messages[0].At) {
		t.Errorf("%+v", got)
	}
	if none := JoinLadders(nil); len(none.Messages) != 0 || !none.Start().IsZero() {
		t.Errorf("%+v", none)
	}
}

func TestCalledStation(t *testing.T) {
	for to, want := range map[string]string{
		"<sip:anna@192.0.2.7>": "anna", "sip:1042@192.0.2.7;x=y": "1042", "<sip:+12025550143@c>": "", "<sip:001144205550@c>": "", "<sip:host>": "", "": "",
	} {
		if got := CalledStation([]byte("INVITE sip:x SIP/2.0\r\nt: " + to + "\r\n\r\n")); got != want {
			t.Errorf("%s: %q, want %q", to, got, want)
		}
	}
}
