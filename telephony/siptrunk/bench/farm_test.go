package bench

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// farmVariable makes the test program a farm.
const farmVariable = "DIALER_BENCH_FARM"

func TestMain(m *testing.M) {
	if os.Getenv(farmVariable) != "" {
		if err := serveFarm(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "farm:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// A farm is the far ends of all calls, in another process: it answers every
// INVITE, sends 50 packets a second on each call with the time in them, and
// tells from those that come back how long they took.
type farm struct {
	addr  string
	tb    testing.TB
	in    io.WriteCloser
	out   *bufio.Scanner
	child *exec.Cmd
}

// A heard is what a farm heard since it was last asked.
type heard struct {
	Calls          int
	Sent, Received int64
	Median, P99    time.Duration // one way, through us
	Max            time.Duration
}

func startFarm(tb testing.TB) *farm {
	tb.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), farmVariable+"=1")
	child.Stderr = os.Stderr
	in, err := child.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := child.Start(); err != nil {
		tb.Fatal(err)
	}
	f := &farm{tb: tb, in: in, out: bufio.NewScanner(out), child: child}
	tb.Cleanup(func() {
		_ = in.Close()
		_ = child.Wait()
	})
	f.addr = f.line()
	return f
}

func (f *farm) line() string {
	f.tb.Helper()
	if !f.out.Scan() {
		f.tb.Fatal("the farm is gone")
	}
	return f.out.Text()
}

func (f *farm) ask(what string) (h heard) {
	f.tb.Helper()
	if _, err := fmt.Fprintln(f.in, what); err != nil {
		f.tb.Fatal(err)
	}
	if err := json.Unmarshal([]byte(f.line()), &h); err != nil {
		f.tb.Fatal(err)
	}
	return h
}

// heard returns what came back since the last call.
func (f *farm) heard() heard { f.tb.Helper(); return f.ask("heard") }

// hush ends the talking and returns what came back since the last call, the
// last packets included.
func (f *farm) hush() heard { f.tb.Helper(); return f.ask("hush") }

// speak begins to talk again.
func (f *farm) speak() { f.tb.Helper(); f.ask("speak") }

// stall stops this process for 300 ms, as a busy host would, while the far ends
// talk on.
func (f *farm) stall() { f.tb.Helper(); f.ask("stall") }

// An end is one far end of the farm.
type end struct {
	conn *net.UDPConn
	to   netip.AddrPort
	seq  uint16
	time uint32
	ssrc uint32
}

type farmState struct {
	sip  *net.UDPConn
	mu   sync.Mutex
	ends map[string]*end // by Call-ID
	heard
	delays []time.Duration
	hushed bool
}

func serveFarm(in io.Reader, out io.Writer) error {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return err
	}
	_ = conn.SetReadBuffer(4 << 20)
	s := &farmState{sip: conn, ends: map[string]*end{}}
	fmt.Fprintln(out, conn.LocalAddr())
	go s.answer()
	go s.speak()
	for commands := bufio.NewScanner(in); commands.Scan(); {
		switch commands.Text() {
		case "hush", "speak":
			s.mu.Lock()
			s.hushed = commands.Text() == "hush"
			s.mu.Unlock()
			if s.hushed {
				time.Sleep(500 * time.Millisecond) // what is on its way
			}
		case "stall":
			parent := os.Getppid()
			if err := syscall.Kill(parent, syscall.SIGSTOP); err != nil {
				return err
			}
			time.Sleep(300 * time.Millisecond)
			if err := syscall.Kill(parent, syscall.SIGCONT); err != nil {
				return err
			}
		}
		if err := json.NewEncoder(out).Encode(s.take()); err != nil {
			return err
		}
	}
	return nil // whoever started us is gone
}

func (s *farmState) take() heard {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.heard
	h.Calls = len(s.ends)
	slices.Sort(s.delays)
	if n := len(s.delays); n > 0 {
		h.Median, h.P99, h.Max = s.delays[n/2], s.delays[n*99/100], s.delays[n-1]
	}
	s.heard, s.delays = heard{}, s.delays[:0]
	return h
}

// answer serves SIP as far as a call needs it.
func (s *farmState) answer() {
	buf := make([]byte, 65536)
	for {
		n, from, err := s.sip.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		request := string(buf[:n])
		method, _, _ := strings.Cut(request, " ")
		body := ""
		switch method {
		case "INVITE":
			port, err := s.begin(request)
			if err != nil {
				fmt.Fprintln(os.Stderr, "farm:", err)
				continue
			}
			body = fmt.Sprintf("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"+
				"m=audio %d RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n", port)
		case "BYE":
			s.mu.Lock()
			if e := s.ends[header(request, "Call-ID")]; e != nil {
				delete(s.ends, header(request, "Call-ID"))
				_ = e.conn.Close()
			}
			s.mu.Unlock()
		case "ACK", "SIP/2.0":
			continue
		}
		var r strings.Builder
		r.WriteString("SIP/2.0 200 OK\r\n")
		for line := range strings.SplitSeq(request, "\r\n") {
			if line == "" {
				break
			}
			name, _, _ := strings.Cut(line, ":")
			switch name = strings.TrimSpace(name); {
			case strings.EqualFold(name, "To") && !strings.Contains(line, "tag="):
				r.WriteString(line + ";tag=farm\r\n")
			case strings.EqualFold(name, "Via"), strings.EqualFold(name, "From"), strings.EqualFold(name, "To"),
				strings.EqualFold(name, "Call-ID"), strings.EqualFold(name, "CSeq"):
				r.WriteString(line + "\r\n")
			}
		}
		fmt.Fprintf(&r, "Contact: <sip:farm@%s>\r\n", s.sip.LocalAddr())
		if body != "" {
			r.WriteString("Content-Type: application/sdp\r\n")
		}
		fmt.Fprintf(&r, "Content-Length: %d\r\n\r\n%s", len(body), body)
		_, _ = s.sip.WriteToUDPAddrPort([]byte(r.String()), from)
	}
}

func header(message, name string) string {
	for line := range strings.SplitSeq(message, "\r\n") {
		if n, v, ok := strings.Cut(line, ":"); ok && strings.EqualFold(strings.TrimSpace(n), name) {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// begin opens the socket of a call and starts to listen.
func (s *farmState) begin(invite string) (port int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := header(invite, "Call-ID")
	if e := s.ends[id]; e != nil { // repeated
		return e.conn.LocalAddr().(*net.UDPAddr).Port, nil
	}
	var host string
	var to int
	for line := range strings.SplitSeq(invite, "\r\n") {
		_, _ = fmt.Sscanf(line, "c=IN IP4 %s", &host)
		_, _ = fmt.Sscanf(line, "m=audio %d", &to)
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return 0, err
	}
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return 0, err
	}
	e := &end{conn: conn, to: netip.AddrPortFrom(addr, uint16(to)), ssrc: uint32(len(s.ends) + 1)}
	s.ends[id] = e
	go s.listen(e)
	return conn.LocalAddr().(*net.UDPAddr).Port, nil
}

func (s *farmState) listen(e *end) {
	buf := make([]byte, 2048)
	for {
		n, err := e.conn.Read(buf)
		if err != nil {
			return
		}
		if now := time.Now().UnixNano(); n == 172 {
			s.mu.Lock()
			s.Received++
			s.delays = append(s.delays, time.Duration(now-int64(binary.BigEndian.Uint64(buf[12:]))))
			s.mu.Unlock()
		}
	}
}

// speak sends a frame of every call each 20 ms, spread over four slots.
func (s *farmState) speak() {
	const slots = 4
	packet := make([]byte, 172)
	packet[0] = 0x80
	due := time.Now()
	for round := 0; ; round++ {
		due = due.Add(20 * time.Millisecond / slots)
		time.Sleep(time.Until(due))
		s.mu.Lock()
		for _, e := range s.ends {
			if s.hushed || int(e.ssrc)%slots != round%slots {
				continue
			}
			e.seq++
			e.time += 160
			binary.BigEndian.PutUint16(packet[2:], e.seq)
			binary.BigEndian.PutUint32(packet[4:], e.time)
			binary.BigEndian.PutUint32(packet[8:], e.ssrc)
			binary.BigEndian.PutUint64(packet[12:], uint64(time.Now().UnixNano()))
			if _, err := e.conn.WriteToUDPAddrPort(packet, e.to); err == nil {
				s.Sent++
			}
		}
		s.mu.Unlock()
	}
}
