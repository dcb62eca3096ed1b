package media

import (
	"errors"
	"fmt"
	"math/bits"
	"net"
	"net/netip"
	"time"

	"github.com/pion/rtcp"
)

// reportEvery is the interval of sender and receiver reports.
const reportEvery = 5 * time.Second

// ntpEpoch is the Unix time of NTP's zero.
const ntpEpoch = 2_208_988_800

// heardReport is what our next report must tell of the last one that came.
type heardReport struct {
	ssrc uint32
	ntp  uint32 // middle bits of its time
	at   time.Time
}

// reportRTCP reads reports and sends one each interval (RFC 3550 section 6).
// Who it comes from is checked as for RTP; what it says is only statistics.
func (s *Session) reportRTCP() {
	packet := make([]byte, 1500)
	var heard heardReport
	var before reported
	due := time.Now().Add(reportEvery)
	for {
		if err := s.control.SetReadDeadline(due); err != nil {
			return
		}
		n, from, err := s.control.ReadFromUDPAddrPort(packet)
		now := time.Now()
		switch {
		case err == nil:
			if s.in.mayReport(from.Addr().Unmap()) {
				heard.read(packet[:n], now)
			}
		case s.isClosed() || errors.Is(err, net.ErrClosed):
			return
		}
		// A flood of reports must not keep ours from leaving.
		if now.Before(due) {
			if err != nil {
				due = now // an ICMP error: nothing to wait for
			} else {
				continue
			}
		}
		due = now.Add(reportEvery)
		s.report(heard, &before, now)
	}
}

// mayReport tells whether an address is the far end's.
func (in *inbound) mayReport(from netip.Addr) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.agreed && from == in.peer.Addr()
}

func (h *heardReport) read(b []byte, now time.Time) {
	packets, err := rtcp.Unmarshal(b)
	if err != nil {
		return // a stranger's or a broken one: reports are only statistics
	}
	for _, p := range packets {
		if sr, ok := p.(*rtcp.SenderReport); ok {
			*h = heardReport{ssrc: sr.SSRC, ntp: uint32(sr.NTPTime >> 16), at: now}
		}
	}
}

// reported is what the last report said, for the fraction lost since.
type reported struct {
	ssrc             uint32
	expected, actual int64
}

func (s *Session) report(heard heardReport, before *reported, now time.Time) {
	reception := s.in.reception(heard, before, now)
	o := &s.out
	o.mu.Lock()
	ssrc, peer, open := o.ssrc, o.peer, o.open()
	var first rtcp.Packet = &rtcp.ReceiverReport{SSRC: ssrc, Reports: reception}
	if !o.sentAt.IsZero() && now.Sub(o.sentAt) < reportEvery {
		first = &rtcp.SenderReport{
			SSRC:        ssrc,
			NTPTime:     ntp(now),
			RTPTime:     o.sentTimestamp + uint32(now.Sub(o.sentAt)*8000/time.Second),
			PacketCount: uint32(s.packetsOut.Load()),
			OctetCount:  o.octets,
			Reports:     reception,
		}
	}
	o.mu.Unlock()
	if !open || peer.Port() == 65535 {
		return
	}
	b, err := rtcp.Marshal([]rtcp.Packet{first, &rtcp.SourceDescription{
		Chunks: []rtcp.SourceDescriptionChunk{{
			Source: ssrc,
			Items:  []rtcp.SourceDescriptionItem{{Type: rtcp.SDESCNAME, Text: fmt.Sprintf("%08x", bits.Reverse32(ssrc))}},
		}},
	}})
	if err != nil {
		s.log.Error("rtcp report", "err", err)
		return
	}
	// Lost like any other packet when it cannot be sent.
	_, _ = s.control.WriteToUDPAddrPort(b, netip.AddrPortFrom(peer.Addr(), peer.Port()+1))
}

// reception describes what we hear.
func (in *inbound) reception(heard heardReport, before *reported, now time.Time) []rtcp.ReceptionReport {
	in.mu.Lock()
	defer in.mu.Unlock()
	st := &in.stream
	if !st.live || now.Sub(st.lastAt) > reportEvery {
		return nil
	}
	expected := int64(st.highest-st.first) + 1
	if before.ssrc != st.ssrc {
		*before = reported{ssrc: st.ssrc}
	}
	fraction := int64(0)
	if e := expected - before.expected; e > 0 {
		fraction = max(0, min(255, 256*(e-(st.received-before.actual))/e))
	}
	before.expected, before.actual = expected, st.received
	r := rtcp.ReceptionReport{
		SSRC:               st.ssrc,
		FractionLost:       uint8(fraction),
		TotalLost:          uint32(min(st.lost(), 0x7fffff)),
		LastSequenceNumber: st.highest,
		Jitter:             uint32(st.jitter),
	}
	if heard.ssrc == st.ssrc && !heard.at.IsZero() {
		r.LastSenderReport = heard.ntp
		r.Delay = uint32(min(int64(now.Sub(heard.at))*65536/int64(time.Second), 1<<32-1))
	}
	return []rtcp.ReceptionReport{r}
}

// ntp is the 64 bit NTP time.
func ntp(t time.Time) uint64 {
	return uint64(t.Unix()+ntpEpoch)<<32 | uint64(t.Nanosecond())<<32/uint64(time.Second)
}
