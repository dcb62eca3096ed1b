package main

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"dialer/api"
	"dialer/campaign"
	"dialer/telephony"
	"dialer/telephony/siptrunk/siptest"
)

// TestE2ETorture throws every hostile message that is at hand at the running
// program, from a trunk's host and from a stranger, while a person and an agent
// talk. They notice nothing, the stranger hears nothing.
func TestE2ETorture(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	t.Parallel()
	sipp := installed(t, "sipp")
	signalling, media := tortures(t, "sip"), tortures(t, "rtp")
	signalling = append(signalling, ownTortures()...)
	r := newRig(t, "info")
	carrier := startSipp(t, sipp, "answer")
	id, list := r.campaign("torture", r.trunk("torture", carrier.addr), nil)
	s := r.seat(id, true)
	background(t, "agent", func(ctx context.Context) error {
		return r.work(ctx, s, 40*time.Second, 100*time.Millisecond, 1)
	})
	r.post("/v1/lists/"+string(list)+"/leads", map[string]any{"number": "+12124567899"}, nil)
	r.post("/v1/campaigns/"+string(id)+"/start", nil, nil)
	hears := func(when string) {
		t.Helper()
		for deadline := time.Now().Add(5 * time.Second); siptest.Power(s.phone.Recent(), voiceHz) < 0.5; {
			if time.Now().After(deadline) {
				t.Fatalf("%s, the agent does not hear the person; phone %+v", when, s.phone.State())
			}
			time.Sleep(50 * time.Millisecond) // the phone keeps the last second
		}
	}
	r.until("the call is connected", 20*time.Second, func() (bool, any) {
		calls := r.calls(id)
		return len(calls) == 1 && calls[0].ConnectedAt != nil, calls
	})
	hears("before")
	before := r.vmHWM()

	known, stranger := newAttacker(t, "127.0.0.1"), newAttacker(t, "127.14.75.9")
	for _, text := range signalling {
		known.send(r.sip, text)
		stranger.send(r.sip, text)
		known.settle(t, r.sip)
	}
	hears("after hostile SIP")
	for _, text := range signalling { // each on a connection of its own
		for _, host := range []string{"127.0.0.1", "127.14.75.9"} {
			answer, err := overTCP(host, r.sip, text)
			if err != nil {
				t.Fatalf("SIP over TCP: %v", err)
			}
			if host != "127.0.0.1" && answer != "" && !strings.Contains(answer, "REGISTER\r\n") {
				t.Errorf("a stranger was answered over TCP:\n%s", answer)
			}
		}
	}
	hears("after hostile SIP over TCP")
	for _, text := range media {
		for port := r.rtpLow; port < r.rtpLow+1000; port++ {
			to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port))
			known.send(to.String(), text)
			stranger.send(to.String(), text)
		}
	}
	hears("after hostile RTP")

	for _, answer := range stranger.got() {
		if !strings.Contains(answer, "REGISTER\r\n") {
			t.Errorf("a stranger was answered:\n%s", answer)
		}
	}
	if grown := r.vmHWM() - before; grown > 64<<20 {
		t.Errorf("the process has grown by %d MB", grown>>20)
	}
	var call api.CallView
	r.until("the record of the call", 60*time.Second, func() (bool, any) {
		calls := r.calls(id)
		if len(calls) == 1 {
			call = calls[0]
		}
		return call.State == campaign.Ended && call.Disposition != "", calls
	})
	if call.Outcome != campaign.OutcomeConnected || call.EndedBy != telephony.Caller {
		t.Errorf("the call ended as %s by %s: %+v", call.Outcome, call.EndedBy, call)
	}
	carrier.wait(t)
}

// tortures are the messages of a folder beside the repository, as they go on
// the wire.
func tortures(t *testing.T, folder string) [][]byte {
	t.Helper()
	root := filepath.Join("..", "..", "..", "shared", "torture", folder)
	if _, err := os.Stat(root); err != nil {
		t.Logf("NOT TESTED: no messages in ../shared/torture/%s beside the repository; only our own are sent", folder)
		return nil
	}
	var all [][]byte
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if len(b) > 0 && len(b) < 60_000 {
			all = append(all, b)
			if strings.HasPrefix(string(b), "go test fuzz v1") { // the input is within
				if _, quoted, ok := strings.Cut(string(b), "("); ok {
					var inner string
					if _, err := fmt.Sscanf(strings.TrimSuffix(strings.TrimSpace(quoted), ")"), "%q", &inner); err == nil && inner != "" {
						all = append(all, []byte(inner))
					}
				}
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// ownTortures are some of ours, so that the test stands alone.
func ownTortures() [][]byte {
	var all [][]byte
	for _, s := range []string{
		"", "\r\n\r\n", "\x00", "x", "INVITE", "SIP/2.0 200 OK\r\n\r\n", "INFO sip:x@y SIP/2.0\r\n\r\n",
		"BYE sip:x@y SIP/2.0\r\nVia: \r\nFrom: \r\nTo: \r\nCall-ID: \r\nCSeq: \r\n\r\n",
		strings.Repeat("A", 60_000), "INVITE sip:x@y SIP/2.0\r\n" + strings.Repeat("Via: SIP/2.0/UDP h;branch=z9hG4bK1\r\n", 1000) + "\r\n",
	} {
		all = append(all, []byte(s))
	}
	for _, method := range []string{"INVITE", "ACK", "BYE", "CANCEL", "INFO", "REFER", "SUBSCRIBE", "MESSAGE", "UPDATE", "PRACK"} {
		for _, length := range []string{"0", "-1", "99999", "4294967296"} {
			all = append(all, []byte(method+" sip:x@y SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK"+method+length+
				"\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:x@y>;tag=2\r\nCall-ID: "+method+length+"\r\nCSeq: 1 "+method+
				"\r\nContact: <<<<\"\r\nContent-Length: "+length+"\r\n\r\n"))
		}
	}
	return all
}

// An attacker sends datagrams and keeps what is said to it.
type attacker struct {
	conn *net.UDPConn
	mu   sync.Mutex
	all  []string
	n    int
}

func newAttacker(t *testing.T, host string) *attacker {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(host)})
	if err != nil {
		t.Fatal(err)
	}
	a := &attacker{conn: conn}
	var reading sync.WaitGroup
	reading.Go(func() {
		buf := make([]byte, 65536)
		for {
			n, _, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			a.mu.Lock()
			a.all = append(a.all, string(buf[:n]))
			a.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		conn.Close()
		reading.Wait()
	})
	return a
}

func (a *attacker) send(to string, b []byte) {
	addr, _ := netip.ParseAddrPort(to)
	_, _ = a.conn.WriteToUDPAddrPort(b, addr) // a port that is closed may answer with an error
}

// overTCP sends a message from a host and returns what is said to it.
func overTCP(host, to string, message []byte) (string, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(host)}, Timeout: 5 * time.Second}
	conn, err := d.Dial("tcp4", to)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_, _ = conn.Write(message) // it may be hung up on before the end
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
	answer, _ := io.ReadAll(conn)
	return string(answer), nil
}

func (a *attacker) got() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.all...)
}

// settle returns when OPTIONS is answered: all that came before has been heard.
func (a *attacker) settle(t *testing.T, to string) {
	t.Helper()
	a.n++
	id := fmt.Sprintf("settle-%d", a.n)
	for deadline := time.Now().Add(5 * time.Second); ; {
		a.send(to, []byte(fmt.Sprintf("OPTIONS sip:%s SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bK%s;rport\r\nMax-Forwards: 70\r\n"+
			"From: <sip:a@b>;tag=s\r\nTo: <sip:x@y>\r\nCall-ID: %s\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n", to, a.conn.LocalAddr(), id, id)))
		for range 100 { // as a client would, again after a while
			for _, answer := range a.got() {
				if strings.Contains(answer, "Call-ID: "+id+"\r\n") {
					a.mu.Lock()
					a.all = a.all[:0]
					a.mu.Unlock()
					return
				}
			}
			time.Sleep(time.Millisecond)
		}
		if time.Now().After(deadline) {
			t.Fatal("OPTIONS is not answered any more")
		}
	}
}
