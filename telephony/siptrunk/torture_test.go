package siptrunk

import (
	"bytes"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"dialer/telephony"
)

var update = flag.Bool("update", false, "write docs/sip-torture.md")

// repository is the folder of go.mod.
func repository(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
	}
	t.Fatal("no go.mod above this folder")
	return ""
}

// corpus is a folder of messages of others, which lie beside the repository on
// machines that have them; our own stand in syntax_test.go.
func corpus(t *testing.T, folder string) string {
	t.Helper()
	root := filepath.Join(repository(t), "..", "shared", "torture", folder)
	if _, err := os.Stat(root); err != nil {
		t.Skipf("NOT TESTED: no messages in ../shared/torture/%s beside the repository", folder)
	}
	return root
}

// torture are the SIP messages of the corpus, by file name.
func torture(t *testing.T) map[string]string {
	t.Helper()
	messages := map[string]string{}
	err := filepath.WalkDir(corpus(t, "sip"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		name := strings.TrimSuffix(d.Name(), ".dat")
		if filepath.Ext(d.Name()) != ".dat" { // other folders use a name twice
			name = filepath.Base(filepath.Dir(path)) + "/" + d.Name()
			b = bytes.ReplaceAll(bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
		}
		messages[name] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return messages
}

// A listener hears what is sent to one host, on the ports that the messages of
// RFC 4475 name.
type listener struct {
	*rawPeer
	mu    sync.Mutex
	heard []*rawMessage
}

func newListener(t *testing.T, host string) *listener {
	t.Helper()
	l := &listener{}
	for _, port := range []int{5060, 5050, 5070} {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(host), Port: port})
		if err != nil {
			t.Fatal(err)
		}
		p := readRaw(t, conn)
		p.serve.Store(ptr(func(m *rawMessage) {
			l.mu.Lock()
			l.heard = append(l.heard, m)
			l.mu.Unlock()
		}))
		if port == 5060 {
			l.rawPeer = p
		}
	}
	return l
}

// answersTo are the first lines of what was said to a message, without
// repetitions.
func (l *listener) answersTo(text string) []string {
	sent := readHead([]byte(text))
	l.mu.Lock()
	defer l.mu.Unlock()
	var lines []string
	for _, m := range l.heard {
		same := m.get("Call-ID") != "" && slices.Contains(sent.all("call-id"), m.get("Call-ID")) ||
			len(sent.all("call-id")) == 0 && strings.Join(m.all("Via"), "") == strings.Join(sent.all("via"), "")
		if line := strings.TrimPrefix(m.start, "SIP/2.0 "); same && !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return lines
}

// probe returns when the endpoint has heard all that was sent before.
func (l *listener) probe(t *testing.T, e *Endpoint, n int) {
	t.Helper()
	text := outside("OPTIONS", l.rawPeer, e, n)
	l.send(e.Addr(), text)
	for deadline := time.Now().Add(patience); len(l.answersTo(text)) == 0; {
		if time.Now().After(deadline) {
			t.Fatal("OPTIONS is not answered any more")
		}
		time.Sleep(time.Millisecond) // what is heard is looked through, not told
	}
}

// TestRFC4475 sends the 49 messages from a trunk's host, and holds our answers
// against the RFC and against docs/sip-torture.md.
func TestRFC4475(t *testing.T) {
	messages := torture(t)
	l := newListener(t, "127.14.75.1")
	e := startEndpoint(t, withPhones, telephony.Trunk{
		ID: "trk_test", Name: "test", Address: l.addr().String(), Channels: 10, CPS: 100, Enabled: true,
	})
	if err := e.sock.await(t.Context()); err != nil {
		t.Fatal(err)
	}
	stranger := newListener(t, "127.14.75.2")
	for i, c := range rfc4475 {
		text, ok := messages[c.file]
		if !ok {
			t.Fatalf("no message %s", c.file)
		}
		l.send(e.Addr(), text)
		stranger.send(e.Addr(), text)
		l.probe(t, e, i)
	}
	var table strings.Builder
	good := 0
	for _, c := range rfc4475 {
		got := l.answersTo(messages[c.file])
		for deadline := time.Now().Add(patience); len(got) == 0 && c.right[0] != "-" && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
			got = l.answersTo(messages[c.file])
		}
		if len(got) == 0 {
			got = []string{"-"}
		}
		status, _, _ := strings.Cut(got[0], " ")
		verdict := "right"
		if len(got) > 1 || !slices.Contains(c.right, status) {
			verdict = "**wrong**"
			t.Errorf("%s (%s) got %q, want one of %q", c.file, c.says, got, c.right)
		} else {
			good++
		}
		if status == "-" {
			got = []string{"nothing"}
		}
		fmt.Fprintf(&table, "| %s | %s | %s | %s | %s |\n", c.section, c.file, c.says, strings.Join(got, "; "), verdict)
	}
	for _, c := range rfc4475 {
		if got := stranger.answersTo(messages[c.file]); len(got) > 0 && !strings.HasPrefix(messages[c.file], "REGISTER ") {
			t.Errorf("a stranger's %s was answered: %q", c.file, got)
		}
	}
	doc := filepath.Join(repository(t), "docs", "sip-torture.md")
	if *update {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		before, rest, _ := strings.Cut(string(text), "| --- | --- | --- | --- | --- |\n")
		_, after, _ := strings.Cut(rest, "\n\n")
		out := before + "| --- | --- | --- | --- | --- |\n" + table.String() + "\n" + after
		if err := os.WriteFile(doc, []byte(out), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if text, err := os.ReadFile(doc); err != nil || !strings.Contains(string(text), table.String()) {
		t.Errorf("docs/sip-torture.md says otherwise (%v); run go test ./telephony/siptrunk -run TestRFC4475 -update", err)
	}
	t.Logf("%d of %d right", good, len(rfc4475))
}

// asResponse makes of any message a response to an INVITE of ours, with its own
// status when none is given: what must be right is, the rest is as it was.
func asResponse(text, status string, invite *rawMessage, tag string) string {
	h := readHead([]byte(text))
	var b strings.Builder
	if start := h.start; strings.HasPrefix(start, "SIP/2.0 ") && status == "" {
		b.WriteString(start + "\r\n")
	} else {
		b.WriteString("SIP/2.0 " + status + "\r\n")
	}
	for _, name := range []string{"Via", "From", "Call-ID", "CSeq"} {
		b.WriteString(name + ": " + invite.get(name) + "\r\n")
	}
	b.WriteString("To: " + invite.get("To") + ";tag=" + tag + "\r\n")
	for i, f := range h.fields {
		switch f.name {
		case "from", "to", "call-id", "cseq":
			continue
		case "via":
			if i > 0 && h.fields[i-1].name == "via" { // the first makes room for ours
				b.WriteString(f.raw + ": " + f.value + "\r\n")
			}
			continue
		}
		b.WriteString(f.raw + ": " + f.value + "\r\n")
	}
	return b.String() + "\r\n" + string(h.body)
}

// TestTortureAsResponses: whatever a carrier answers to our INVITE, Dial comes
// back, and a person who answers is connected or hung up.
func TestTortureAsResponses(t *testing.T) {
	messages := torture(t)
	p := newRawPeer(t)
	e := startEndpoint(t, func(c *Config) { c.RTPHigh = 21999 }, testTrunk(p))
	live := upOn(t, e, p)
	stop := live.rtp.stream(netip.AddrPortFrom(e.Addr().Addr(), offeredRTP(t, live.invite).Port()), 0x55)
	defer stop()
	for name, text := range messages {
		d := dial(t, t.Context(), e, invite())
		inv := p.expect("INVITE")
		to := inv.from
		p.send(to, text) // as it is: of another call
		p.send(to, asResponse(text, "180 Ringing", inv, "t1"))
		p.send(to, asResponse(text, "183 Session Progress", inv, "t2"))
		p.send(to, asResponse(text, "183", inv, "t1")) // and no reason
		p.send(to, asResponse(text, "200 OK", inv, "t1"))
		p.reply(inv, reply{status: "200 OK", tag: "t3", body: sdp(someSDPPort)}) // when all that was refused
		d.wait()
		if d.err == nil {
			d.leg.Hangup(telephony.CauseNormal)
		}
		for { // every branch that answered is ended
			m := p.await("BYE", patience)
			if m == nil {
				t.Fatalf("%s: no BYE", name)
			}
			p.ok(m)
			if strings.Contains(m.get("To"), "t3") {
				break
			}
		}
	}
	select {
	case <-live.leg.Done():
		t.Errorf("the live call was lost: %+v", live.leg.Info())
	default:
	}
	live.end(t, 1)
}

// TestResponsesOfRFC4475 is what its five responses do to a call of ours.
func TestResponsesOfRFC4475(t *testing.T) {
	messages := torture(t)
	for _, tc := range []struct {
		file     string
		answered bool
	}{
		{"unreason", true}, {"noreason", false}, {"bigcode", false}, {"scalarlg", false}, {"bcast", false},
	} {
		t.Run(tc.file, func(t *testing.T) {
			p := newRawPeer(t)
			e := startEndpoint(t, nil, testTrunk(p))
			d := dial(t, t.Context(), e, invite())
			inv := p.expect("INVITE")
			text := asResponse(messages[tc.file], "", inv, "odd")
			if tc.file == "scalarlg" { // its CSeq is what is wrong
				text = strings.Replace(text, "CSeq: "+inv.get("CSeq"), "CSeq: 9292394834772304023312 INVITE", 1)
			}
			p.send(inv.from, text)
			if !tc.answered {
				p.reply(inv, answerSDP)
			}
			tag := d.answered().d.tag
			if tc.answered != (tag == "odd") {
				t.Errorf("the call is with %q", tag)
			}
			d.leg.Hangup(telephony.CauseNormal)
			p.ok(p.expect("BYE"))
		})
	}
}
