package siptrunk

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dialer"
	"dialer/telephony"
)

// A scenario of sipp is a list of steps. sipp ends with 0 when all of them
// happened as they stand there, and with 1 when anything else did.
type scenario []string

// recv waits for a request; each check is a header, or "body", and an expression
// that it must match. Of an INVITE what is needed to answer it late is kept.
func recv(method string, checks ...[2]string) string {
	step := fmt.Sprintf(`<recv request="%s" crlf="true" rrs="true" timeout="15000"><action>`, method)
	for i, c := range checks {
		step += expect(c[0], c[1], fmt.Sprintf("check%d", i))
	}
	if method == "INVITE" {
		step += expect("Via:", ".*", "via") + expect("CSeq:", ".*", "cseq") + expect("From:", ".*", "from")
	}
	return strings.Replace(step+"</action></recv>", "<action></action>", "", 1)
}

func expect(where, what, name string) string {
	in := `search_in="hdr" header="` + where + `"`
	if where == "body" {
		in = `search_in="body"`
	}
	return fmt.Sprintf(`<ereg regexp="%s" %s check_it="true" assign_to="%s"/>`, what, in, name)
}

// saySaved answers the INVITE after another request has come.
func saySaved(status string, headers ...string) string {
	return strings.NewReplacer("[last_Via:]", "Via:[$via]", "[last_CSeq:]", "CSeq:[$cseq]").Replace(say(status, headers...))
}

// say answers the last request.
func say(status string, headers ...string) string {
	retrans := ""
	if strings.HasPrefix(status, "2") && len(headers) > 0 { // the answer to an INVITE is repeated until the ACK
		retrans = ` retrans="500"`
	}
	return "<send" + retrans + "><![CDATA[\n" + message("SIP/2.0 "+status, append([]string{
		"[last_Via:]", "[last_From:]", "[last_To:];tag=there[call_number]", "[last_Call-ID:]", "[last_CSeq:]",
		"Contact: <sip:there@[local_ip]:[local_port];transport=[transport]>",
	}, headers...)) + "]]></send>"
}

// sayTo answers a request in the dialog, whose To has a tag.
func sayTo(status string, headers ...string) string {
	return strings.Replace(say(status, headers...), ";tag=there[call_number]", "", 1)
}

// request sends a request of the dialog.
func request(method string, cseq int, headers ...string) string {
	return `<send retrans="500"><![CDATA[` + "\n" + message(method+" [next_url] SIP/2.0", append([]string{
		fmt.Sprintf("Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=z9hG4bK-there-%s-%d-[call_number]", method, cseq),
		"Max-Forwards: 70", "From: <sip:there@[local_ip]>;tag=there[call_number]", "To:[$from]", "[last_Call-ID:]",
		fmt.Sprintf("CSeq: %d %s", cseq, method), "Contact: <sip:there@[local_ip]:[local_port];transport=[transport]>",
	}, headers...)) + "]]></send>"
}

const audio = "AUDIO"

func message(start string, headers []string) string {
	body := ""
	for i, h := range headers {
		if mode, ok := strings.CutPrefix(h, audio); ok {
			headers[i] = "Content-Type: application/sdp"
			body = "v=0\no=there 1 [cseq] IN IP4 [local_ip]\ns=-\nc=IN IP4 [local_ip]\nt=0 0\nm=audio [media_port] RTP/AVP 0\na=rtpmap:0 PCMU/8000\n"
			if mode != "" {
				body += "a=" + strings.TrimSpace(mode) + "\n"
			}
		}
	}
	return "\n" + start + "\n" + strings.Join(headers, "\n") + "\nContent-Length: [len]\n\n" + body + "\n"
}

func pause(d time.Duration) string {
	return fmt.Sprintf(`<pause milliseconds="%d"/>`, d.Milliseconds())
}

func answered(s ...string) string { return recvResponse(200, s...) }

// recvResponse waits for the answer to a request of ours, whose body may have to
// match.
func recvResponse(status int, body ...string) string {
	step := fmt.Sprintf(`<recv response="100" optional="true"/><recv response="%d" crlf="true" timeout="5000">`, status)
	for _, b := range body {
		step += fmt.Sprintf(`<action>%s</action>`, expect("body", b, "answer"))
	}
	return step + `</recv>`
}

// confirm sends the ACK of our re-INVITE.
func confirm(cseq int) string {
	return strings.Replace(request("ACK", cseq), ` retrans="500"`, "", 1)
}

// A sippPeer is one sipp with one call.
type sippPeer struct {
	t    *testing.T
	addr string
	dir  string
	done chan error
}

func startScenario(t *testing.T, transport string, steps scenario) *sippPeer {
	t.Helper()
	sipp, err := exec.LookPath("sipp")
	if err != nil {
		t.Skip("NOT TESTED: sipp is not installed; scripts/setup test installs it")
	}
	p := &sippPeer{t: t, dir: t.TempDir(), done: make(chan error, 1)}
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0") // a port that is free in both families of sockets
	if err != nil {
		t.Fatal(err)
	}
	p.addr = conn.LocalAddr().String()
	conn.Close()
	text := `<?xml version="1.0" encoding="ISO-8859-1" ?><scenario name="` + t.Name() + `">` + strings.Join(steps, "\n")
	seen := ""
	for _, name := range []string{"via", "cseq", "from", "check0", "check1", "check2", "answer"} {
		if strings.Contains(text, `assign_to="`+name+`"`) && !strings.Contains(text, "[$"+name+"]") {
			seen += "," + name
		}
	}
	if seen != "" { // sipp refuses what is assigned and not used
		text += `<Reference variables="` + seen[1:] + `"/>`
	}
	file := filepath.Join(p.dir, "scenario.xml")
	if err := os.WriteFile(file, []byte(text+"</scenario>"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(p.addr)
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
	cmd := exec.CommandContext(ctx, sipp, "-sf", file, "-i", "127.0.0.1", "-p", port, "-t", transport, "-m", "1", "-nostdin",
		"-timeout", "30s", "-timeout_error", "-trace_msg", "-message_file", "messages.log", "-trace_err", "-error_file", "errors.log")
	cmd.Dir = p.dir
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	go func() { defer cancel(); p.done <- cmd.Wait() }()
	t.Cleanup(func() { cancel(); p.ended() })
	if transport == "t1" { // nobody repeats a connection that is refused
		for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
			if c, err := net.Dial("tcp4", p.addr); err == nil {
				c.Close()
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("sipp does not listen")
			}
		}
	}
	return p
}

func (p *sippPeer) ended() error {
	err := <-p.done
	p.done <- err
	return err
}

// well returns when sipp has ended, which must be with all steps done.
func (p *sippPeer) well() {
	p.t.Helper()
	if err := p.ended(); err != nil || p.t.Failed() {
		errors, _ := os.ReadFile(filepath.Join(p.dir, "errors.log"))
		messages, _ := os.ReadFile(filepath.Join(p.dir, "messages.log"))
		p.t.Errorf("sipp: %v\n%s\n%s", err, errors, messages[max(0, len(messages)-6000):])
	}
}

func (p *sippPeer) trunk(o telephony.TrunkOptions) telephony.Trunk {
	return telephony.Trunk{
		ID: "trk_test", Name: "sipp", Address: p.addr, Username: "acme", Password: "s3cret", Realm: "sipp.invalid",
		Channels: 10, CPS: 1000, Enabled: true, TrunkOptions: o,
	}
}

// TestSipp is one call for each of what a carrier may do, sipp being the carrier.
func TestSipp(t *testing.T) {
	ring := say("180 Ringing")
	ok := say("200 OK", audio)
	bye := []string{recv("BYE"), sayTo("200 OK")}
	talk := func(before ...string) scenario { return append(append(scenario{}, before...), bye...) }
	challenge := func(code, header string) string {
		return say(code, header+`: Digest realm="sipp.invalid", nonce="abc123", qop="auth", algorithm=MD5`)
	}
	credentials := [2]string{"Proxy-Authorization:", `Digest .*username=.acme.*realm=.sipp.invalid.*qop=.?auth`}
	credentials401 := [2]string{"Authorization:", credentials[1]}
	for _, tc := range []struct {
		name    string
		steps   scenario
		options telephony.TrunkOptions
		cause   telephony.Cause // "" is an answered call
		status  int
		during  func(t *testing.T, leg telephony.Leg)
	}{
		{name: "answer", steps: talk(recv("INVITE"), ring, ok, recv("ACK"))},
		{name: "answer over TCP", steps: talk(recv("INVITE"), ring, ok, recv("ACK")), options: telephony.TrunkOptions{Transport: telephony.TCP}},
		{name: "busy", steps: scenario{recv("INVITE"), ring, say("486 Busy Here"), recv("ACK")}, cause: telephony.CauseBusy, status: 486},
		{name: "no such number", steps: scenario{recv("INVITE"), say("404 Not Found"), recv("ACK")}, cause: telephony.CauseInvalid, status: 404},
		{name: "nobody anywhere", steps: scenario{recv("INVITE"), say("604 Does Not Exist Anywhere"), recv("ACK")}, cause: telephony.CauseInvalid, status: 604},
		{name: "congestion", steps: scenario{recv("INVITE"), say("503 Service Unavailable"), recv("ACK")}, cause: telephony.CauseCongestion, status: 503},
		{
			name:  "no answer",
			steps: scenario{recv("INVITE"), ring, recv("CANCEL"), say("200 OK"), saySaved("487 Request Terminated"), recv("ACK")},
			cause: telephony.CauseNoAnswer, status: 487,
		},
		{
			name:  "answer in spite of CANCEL",
			steps: scenario{recv("INVITE"), ring, recv("CANCEL"), say("200 OK"), saySaved("200 OK", audio), recv("ACK"), recv("BYE"), sayTo("200 OK")},
			cause: telephony.CauseNoAnswer,
		},
		{name: "fifteen times ringing", steps: talk(append(append([]string{recv("INVITE")}, strings.Split(strings.Repeat(ring+"\x00", 15), "\x00")[:15]...), ok, recv("ACK"))...)},
		{name: "183 with audio, 200 without", steps: talk(recv("INVITE"), say("183 Session Progress", audio), say("200 OK", "Server: sipp"), recv("ACK"))},
		{name: "180 with audio, 200 without", steps: talk(recv("INVITE"), say("180 Ringing", audio), say("200 OK", "Server: sipp"), recv("ACK"))},
		{
			name: "407 on INVITE and BYE",
			steps: scenario{
				recv("INVITE"), challenge("407 Proxy Authentication Required", "Proxy-Authenticate"), recv("ACK"),
				recv("INVITE", credentials), ring, ok, recv("ACK"),
				recv("BYE"), strings.Replace(challenge("407 Proxy Authentication Required", "Proxy-Authenticate"), ";tag=there[call_number]", "", 1),
				recv("BYE", credentials), sayTo("200 OK"),
			},
		},
		{
			name: "401",
			steps: talk(recv("INVITE"), challenge("401 Unauthorized", "WWW-Authenticate"), recv("ACK"),
				recv("INVITE", credentials401), ok, recv("ACK")),
		},
		{
			name: "hold by the far end",
			steps: talk(recv("INVITE"), ok, recv("ACK"), pause(100*time.Millisecond),
				request("INVITE", 1, audio+" sendonly"), answered("a=recvonly"), confirm(1), pause(100*time.Millisecond),
				request("INVITE", 2, audio+" sendrecv"), answered("m=audio"), confirm(2)),
		},
		{
			name: "hold by us, glare first",
			steps: talk(recv("INVITE"), ok, recv("ACK"),
				recv("INVITE", [2]string{"body", "a=sendonly"}), sayTo("491 Request Pending"), recv("ACK"),
				recv("INVITE", [2]string{"body", "a=sendonly"}), sayTo("200 OK", audio+" recvonly"), recv("ACK")),
			during: func(t *testing.T, leg telephony.Leg) {
				if err := leg.(telephony.Holder).Hold(t.Context(), true); err != nil {
					t.Errorf("hold: %v", err)
				}
			},
		},
		{
			name: "422",
			steps: talk(recv("INVITE", [2]string{"Session-Expires:", "90"}), say("422 Session Interval Too Small", "Min-SE: 600"), recv("ACK"),
				recv("INVITE", [2]string{"Session-Expires:", "600"}, [2]string{"Min-SE:", "600"}),
				say("200 OK", "Session-Expires: 600;refresher=uac", "Require: timer", audio), recv("ACK")),
			options: telephony.TrunkOptions{SessionSeconds: 90},
		},
		{
			name:  "far end hangs up",
			steps: scenario{recv("INVITE"), ok, recv("ACK"), pause(100 * time.Millisecond), request("BYE", 1), answered()},
			during: func(t *testing.T, leg telephony.Leg) {
				awaitDone(t, leg)
				if by := leg.Info().EndedBy; by != telephony.Callee {
					t.Errorf("ended by %s", by)
				}
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			transport := "u1"
			if tc.options.Transport == telephony.TCP {
				transport = "t1"
			}
			tc.options.OptionsSeconds = -1 // sipp would take an OPTIONS for its call
			p := startScenario(t, transport, tc.steps)
			e := startEndpoint(t, nil, p.trunk(tc.options))
			inv := invite()
			inv.RingTimeout = 2 * time.Second
			d := dial(t, t.Context(), e, inv)
			if tc.cause != "" {
				if f := d.failed(); f.Cause != tc.cause || tc.status != 0 && f.SIPStatus != tc.status {
					t.Errorf("ended as %s with %d, want %s with %d", f.Cause, f.SIPStatus, tc.cause, tc.status)
				} else if tc.status == 0 && !f.Ghost {
					t.Error("the ghost is not counted")
				}
			} else if leg := d.answered(); tc.during != nil {
				tc.during(t, leg)
				leg.Hangup(telephony.CauseNormal)
			} else {
				if strings.Contains(tc.name, "hold") {
					time.Sleep(time.Second) // the far end does its part by itself
				}
				leg.Hangup(telephony.CauseNormal)
			}
			p.well()
		})
	}
}

// TestSippFailover: a carrier that is full sends its calls to the next one.
func TestSippFailover(t *testing.T) {
	full := startScenario(t, "u1", scenario{recv("INVITE"), say("503 Service Unavailable", "Retry-After: 60"), recv("ACK")})
	good := startScenario(t, "u1", scenario{recv("INVITE"), say("180 Ringing"), say("200 OK", audio), recv("ACK"), recv("BYE"), sayTo("200 OK")})
	first, second := full.trunk(telephony.TrunkOptions{OptionsSeconds: -1}), good.trunk(telephony.TrunkOptions{OptionsSeconds: -1})
	second.ID, second.Name = "trk_second", "second"
	e := startEndpoint(t, nil, first, second)
	inv := invite()
	inv.Backups = []dialer.TrunkID{second.ID}
	leg := dial(t, t.Context(), e, inv).answered()
	if info := leg.Info(); info.Trunk != second.ID || len(info.Tries) == 0 || info.Tries[0].Status != 503 {
		t.Errorf("answered on %s after %+v", info.Trunk, info.Tries)
	}
	leg.Hangup(telephony.CauseNormal)
	full.well()
	good.well()
}
