package media

import (
	"net/netip"
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
