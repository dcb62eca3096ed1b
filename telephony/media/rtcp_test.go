package media

import (
	"net/netip"
	"testing"
	"time"

	"github.com/pion/rtcp"
)

// RTCP tells the far end how it is heard.
func TestReports(t *testing.T) {
	l := newListener(t)
	for i := range uint16(20) {
		if i%4 != 3 {
			l.put(i, uint32(i)*160, 1000)
		}
	}
	var before reported
	r := l.in.reception(heardReport{ssrc: 1, ntp: 42, at: l.now.Add(-time.Second)}, &before, l.now)
	if len(r) != 1 {
		t.Fatalf("%d reports, want 1", len(r))
	}
	if r[0].SSRC != 1 || r[0].TotalLost != 4 || r[0].FractionLost != 53 || r[0].LastSenderReport != 42 || r[0].Delay != 65536 {
		t.Errorf("report %+v: want SSRC 1, 4 lost, fraction 53/256, LSR 42, DLSR 65536", r[0])
	}
	if r := l.in.reception(heardReport{}, &before, l.now.Add(time.Minute)); r != nil {
		t.Error("a stream that has ended is reported")
	}
}

// Our sender report says what we sent, by both clocks, one port above the RTP.
func TestSenderReportOnTheWire(t *testing.T) {
	s, w := open(t), newWire(t, "127.0.0.1:0")
	s.SetRemote(remoteAt(netip.AddrPortFrom(w.addr.Addr(), w.addr.Port()-1), PCMU))
	speak(t, s, tone(400, 3))
	now := time.Now()
	s.report(heardReport{}, &reported{}, now)
	b := make([]byte, 1500)
	_ = w.SetReadDeadline(time.Now().Add(deadline))
	n, from, err := w.ReadFromUDPAddrPort(b)
	if err != nil {
		t.Fatal(err)
	}
	packets, err := rtcp.Unmarshal(b[:n])
	if err != nil {
		t.Fatal(err)
	}
	sr, ok := packets[0].(*rtcp.SenderReport)
	if !ok || len(packets) != 2 {
		t.Fatalf("got %v, want a sender report and a source description", packets)
	}
	if from.Port() != s.Local().Port()+1 || sr.PacketCount != 3 || sr.OctetCount != 480 || sr.SSRC != s.out.ssrc {
		t.Errorf("from port %d: %+v", from.Port(), sr)
	}
	if seconds := int64(sr.NTPTime>>32) - ntpEpoch; seconds != now.Unix() {
		t.Errorf("NTP time %d s, want %d", seconds, now.Unix())
	}
}
