package media

import (
	"bytes"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/pion/rtcp"
)

// parsed reads what we made with another program's parser.
func parsed(t *testing.T, b []byte) []rtcp.Packet {
	t.Helper()
	packets, err := rtcp.Unmarshal(b)
	if err != nil {
		t.Fatalf("% x: %v", b, err)
	}
	return packets
}

// RTCP tells the far end how it is heard.
func TestReports(t *testing.T) {
	l := newListener(t)
	for i := range uint16(20) {
		if i%4 != 3 {
			l.put(i, uint32(i)*160, 1000)
		}
	}
	sr, err := rtcp.Marshal([]rtcp.Packet{&rtcp.SenderReport{SSRC: 1, NTPTime: 42 << 16}})
	if err != nil {
		t.Fatal(err)
	}
	l.receiveControl(sr, netip.AddrPortFrom(l.from.Addr(), 4001), l.now.Add(-time.Second))
	var before reported
	block, heard := l.in.reception(nil, &before, l.now)
	if !heard {
		t.Fatal("nothing is reported of a live stream")
	}
	var r rtcp.ReceptionReport
	if err := r.Unmarshal(block); err != nil {
		t.Fatal(err)
	}
	if r.SSRC != 1 || r.TotalLost != 4 || r.FractionLost != 53 || r.LastSenderReport != 42 || r.Delay != 65536 {
		t.Errorf("report %+v: want SSRC 1, 4 lost, fraction 53/256, LSR 42, DLSR 65536", r)
	}
	if _, heard := l.in.reception(nil, &before, l.now.Add(time.Minute)); heard {
		t.Error("a stream that has ended is reported")
	}
}

// Our sender report says what we sent, by both clocks, one port above the RTP;
// the end of the session is said as well.
func TestSenderReportOnTheWire(t *testing.T) {
	s, w := open(t), newWire(t, "127.0.0.1:0")
	s.SetRemote(remoteAt(netip.AddrPortFrom(w.addr.Addr(), w.addr.Port()-1), PCMU))
	speak(t, s, tone(400, 3))
	s.control.mu.Lock()
	due := s.control.due
	s.control.mu.Unlock()
	if until := time.Until(due); until > 3*reportEvery/4 {
		t.Errorf("the first report is due in %s", until)
	}
	s.keepReports(due)
	packets, from := w.readControl(t)
	sr, ok := packets[0].(*rtcp.SenderReport)
	if !ok || len(packets) != 2 {
		t.Fatalf("got %v, want a sender report and a source description", packets)
	}
	if from.Port() != s.Local().Port()+1 || sr.PacketCount != 3 || sr.OctetCount != 480 || sr.SSRC != s.out.ssrc {
		t.Errorf("from port %d: %+v", from.Port(), sr)
	}
	if seconds := int64(sr.NTPTime>>32) - ntpEpoch; seconds != due.Unix() {
		t.Errorf("NTP time %d s, want %d", seconds, due.Unix())
	}
	if sd, ok := packets[1].(*rtcp.SourceDescription); !ok || len(sd.Chunks) != 1 || len(sd.Chunks[0].Items[0].Text) != 8 {
		t.Errorf("got %v, want a name of 8 bytes", packets[1])
	}
	s.keepReports(due.Add(time.Millisecond)) // not due again
	s.Close()
	packets, _ = w.readControl(t)
	if bye, ok := packets[len(packets)-1].(*rtcp.Goodbye); !ok || bye.Sources[0] != s.out.ssrc {
		t.Errorf("got %v at the end, want a goodbye", packets)
	}
}

func (w wire) readControl(t *testing.T) ([]rtcp.Packet, netip.AddrPort) {
	t.Helper()
	b := make([]byte, 1500)
	_ = w.SetReadDeadline(time.Now().Add(deadline))
	n, from, err := w.ReadFromUDPAddrPort(b)
	if err != nil {
		t.Fatal(err)
	}
	return parsed(t, b[:n]), from
}

// What the far end reports of us: what it lost, and how long the way is.
func TestWhatTheFarEndReports(t *testing.T) {
	const there = 80 * time.Millisecond // from our report to its answer
	report := func(s *Session, change func(r *rtcp.ReceptionReport)) []byte {
		r := rtcp.ReceptionReport{
			SSRC: s.out.ssrc, TotalLost: 2,
			LastSenderReport: uint32(ntp(time.Now()) >> 16), Delay: uint32(there * 65536 / time.Second),
		}
		if change != nil {
			change(&r)
		}
		b, err := rtcp.Marshal([]rtcp.Packet{&rtcp.ReceiverReport{SSRC: 1, Reports: []rtcp.ReceptionReport{r}}})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, c := range map[string]struct {
		change func(r *rtcp.ReceptionReport)
		from   string
		trip   time.Duration // until it comes, beside what the far end held it
		lost   int64
		want   time.Duration
	}{
		"round trip":          {nil, "127.0.0.9:4001", 120 * time.Millisecond, 2, 120 * time.Millisecond},
		"from another port":   {nil, "127.0.0.9:9", 120 * time.Millisecond, 2, 120 * time.Millisecond},
		"clocks round":        {nil, "127.0.0.9:4001", 0, 2, time.Second / 65536},
		"no report of ours":   {func(r *rtcp.ReceptionReport) { r.LastSenderReport = 0 }, "127.0.0.9:4001", 0, 2, 0},
		"of somebody else":    {func(r *rtcp.ReceptionReport) { r.SSRC++ }, "127.0.0.9:4001", 0, 0, 0},
		"more than we sent":   {func(r *rtcp.ReceptionReport) { r.TotalLost = 1 << 22 }, "127.0.0.9:4001", 0, 5, time.Second / 65536},
		"doubled, not lost":   {func(r *rtcp.ReceptionReport) { r.TotalLost = 0xffffff }, "127.0.0.9:4001", 0, 0, time.Second / 65536},
		"from the future":     {func(r *rtcp.ReceptionReport) { r.LastSenderReport += 1 << 18 }, "127.0.0.9:4001", 0, 2, 0},
		"held for too long":   {nil, "127.0.0.9:4001", time.Minute, 2, 0},
		"a stranger's report": {nil, "127.0.0.8:4001", 120 * time.Millisecond, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			l := newListener(t)
			l.packetsOut.Store(5)
			l.put(1, 0, 1000)
			b := report(l.Session, c.change)
			l.receiveControl(b, netip.MustParseAddrPort(c.from), time.Now().Add(there+c.trip))
			s := l.Stats()
			if s.LostThere != c.lost {
				t.Errorf("%d lost there, want %d", s.LostThere, c.lost)
			}
			if d := s.RoundTrip - c.want; d < -time.Millisecond || d > 5*time.Millisecond {
				t.Errorf("round trip %s, want %s", s.RoundTrip, c.want)
			}
		})
	}
}

// RTCP goes where the far end said, or shares the port of RTP, both ways.
func TestWhereReportsGo(t *testing.T) {
	rtp, elsewhere := newWire(t, "127.0.0.1:0"), newWire(t, "127.0.0.1:0")
	s := open(t)
	r := remoteAt(rtp.addr, PCMU)
	r.Control = elsewhere.addr
	s.SetRemote(r)
	s.keepReports(time.Now().Add(reportEvery))
	if _, from := elsewhere.readControl(t); from.Port() != s.Local().Port()+1 {
		t.Errorf("a report came from port %d, want the one above RTP", from.Port())
	}
	r.Mux = true
	s.SetRemote(r)
	s.keepReports(time.Now().Add(3 * reportEvery))
	if _, from := rtp.readControl(t); from.Port() != s.Local().Port() {
		t.Errorf("a muxed report came from port %d, want that of RTP", from.Port())
	}
	b, err := rtcp.Marshal([]rtcp.Packet{&rtcp.SenderReport{SSRC: 77, NTPTime: 42 << 16}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rtp.WriteToUDPAddrPort(b, s.Local()); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool {
		s.in.mu.Lock()
		defer s.in.mu.Unlock()
		return s.in.report.ssrc == 77
	})
}

// The far end's description makes us send nothing to a third party: only to the
// host that the audio goes to, and to those of the trunk's media networks.
func TestReportsGoToNoThirdParty(t *testing.T) {
	at := netip.MustParseAddrPort
	for name, c := range map[string]struct{ said, want string }{
		"the same host":        {"127.0.0.9:4100", "127.0.0.9:4100"},
		"a media network":      {"127.0.1.7:4100", "127.0.1.7:4100"},
		"a third party":        {"192.0.2.7:4100", "127.0.0.9:4100"},
		"the port above alone": {"0.0.0.0:0", "127.0.0.9:4001"},
	} {
		s := open(t)
		r := remoteAt(at("127.0.0.9:4000"), PCMU)
		r.Control, r.Sources = at(c.said), []netip.Prefix{netip.MustParsePrefix("127.0.1.0/24")}
		s.SetRemote(r)
		if got, _ := s.out.controlTo(); got != at(c.want) {
			t.Errorf("%s: reports go to %s, want %s", name, got, c.want)
		}
	}
}

// A muted far end that sends only reports is there; one that never sent RTP, or
// said goodbye, is not.
func TestReportsKeepASilentLegAlive(t *testing.T) {
	put := func(l *listener, packets ...rtcp.Packet) {
		b, err := rtcp.Marshal(packets)
		if err != nil {
			t.Fatal(err)
		}
		l.receiveControl(b, l.from, time.Now())
	}
	rr := &rtcp.ReceiverReport{SSRC: 1}
	long := time.Now().Add(-time.Minute)
	for name, c := range map[string]struct {
		do   func(l *listener)
		lost bool
	}{
		"reports":        {func(l *listener) { put(l, rr) }, false},
		"goodbye":        {func(l *listener) { put(l, rr, &rtcp.Goodbye{Sources: []uint32{1}}) }, true},
		"nothing":        {func(*listener) {}, true},
		"not a compound": {func(l *listener) { put(l, &rtcp.Goodbye{Sources: []uint32{1}}) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			l := newListener(t)
			l.opened = long
			l.receive(packetOf(0, 1, 1, 0, spoken(1000)), l.from, long.Add(time.Second))
			c.do(l)
			if idle := l.Idle(); (idle > 50*time.Second) != c.lost {
				t.Errorf("idle for %s", idle)
			}
		})
	}
	l := newListener(t)
	l.opened = long
	put(l, rr)
	if idle := l.Idle(); idle < 50*time.Second {
		t.Errorf("idle for %s though no RTP ever came", idle)
	}
}

// crashers are inputs that have brought down other parsers, where this machine
// has them.
func crashers(f *testing.F) {
	dir, err := filepath.Abs("../..")
	if err != nil {
		f.Fatal(err)
	}
	found := 0
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		_ = filepath.WalkDir(filepath.Join(dir, "shared", "torture", "rtp"), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return nil
			}
			if b, err := os.ReadFile(path); err == nil {
				f.Add(corpusBytes(b))
				found++
			}
			return nil
		})
	}
	if found == 0 {
		f.Log("SKIPPED, since there is no directory shared/torture/rtp above: the inputs of others. Those of our own follow.")
		return
	}
	f.Logf("%d inputs of others", found)
}

// corpusBytes takes the []byte out of a Go fuzz corpus file; anything else is
// taken as it is.
func corpusBytes(b []byte) []byte {
	rest, ok := bytes.CutPrefix(b, []byte("go test fuzz v1\n[]byte("))
	if !ok {
		return b
	}
	s, err := strconv.Unquote(string(bytes.TrimSuffix(bytes.TrimSpace(rest), []byte(")"))))
	if err != nil {
		return b
	}
	return []byte(s)
}

// FuzzRTCP: whatever comes is survived, and what is believed another parser can
// read as well.
func FuzzRTCP(f *testing.F) {
	crashers(f)
	for _, p := range [][]rtcp.Packet{
		{&rtcp.SenderReport{SSRC: 1, Reports: []rtcp.ReceptionReport{{SSRC: 7, TotalLost: 3}}}, &rtcp.Goodbye{Sources: []uint32{1}}},
		{&rtcp.ReceiverReport{SSRC: 1}},
	} {
		b, err := rtcp.Marshal(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	l := newListener(f)
	r := remoteAt(l.from, PCMU)
	r.Mux = true
	l.SetRemote(r)
	l.packetsOut.Store(1000)
	f.Fuzz(func(t *testing.T, b []byte) {
		l.receiveControl(b, l.from, l.now)
		l.receive(b, l.from, l.now)
		if s := l.Stats(); s.LostThere < 0 || s.LostThere > 1000 || s.RoundTrip < 0 || s.RoundTrip > longestTrip {
			t.Errorf("% x made %+v", b, s)
		}
	})
}
