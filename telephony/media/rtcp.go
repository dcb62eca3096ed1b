package media

import (
	"encoding/binary"
	"encoding/hex"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

// reportEvery is the mean interval of reports: the least that RFC 3550 section
// 6.2 allows, which two parties are far from needing more than. The first
// comes after half of it; each is moved by up to a half, so that those of many
// calls do not meet.
const reportEvery = 5 * time.Second

// ntpEpoch is the Unix time of NTP's zero.
const ntpEpoch = 2_208_988_800

// The packet types of RFC 3550 section 12.1.
const (
	senderReport      = 200
	receiverReport    = 201
	sourceDescription = 202
	goodbye           = 203
)

// control is what a session keeps for the reports it sends. What it hears in
// those of the far end is part of inbound.
type control struct {
	mu     sync.Mutex // taken before those of inbound and outbound
	due    time.Time
	sent   bool // a goodbye is due
	closed bool
	before reported
}

// reported is what the last report said, for the fraction lost since.
type reported struct {
	ssrc             uint32
	expected, actual int64
}

// heardReport is what the far end's reports say: when it sent the last one, and
// how it hears us.
type heardReport struct {
	ssrc      uint32
	ntp       uint32 // middle bits of its time
	at        time.Time
	lost      int64
	roundTrip time.Duration
}

// interval is the time to the next report.
func interval(mean time.Duration) time.Duration { return mean/2 + rand.N(mean) }

// keepReports sends a report when one is due.
func (s *Session) keepReports(now time.Time) {
	c := &s.control
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || now.Before(c.due) {
		return
	}
	c.due = now.Add(interval(reportEvery))
	s.report(false, now)
}

// endReports says goodbye, if anything was ever said (RFC 3550 section 6.3.7).
func (s *Session) endReports(now time.Time) {
	c := &s.control
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed && (c.sent || s.packetsOut.Load() > 0) {
		s.report(true, now)
	}
	c.closed = true
}

// report sends one compound packet. It is lost like any other when it cannot be
// sent. The caller holds s.control.mu.
func (s *Session) report(bye bool, now time.Time) {
	var room [160 + maxTrailer]byte
	reception, heard := s.in.reception(room[:0], &s.control.before, now)
	var packet [160 + maxTrailer]byte
	o := &s.out
	o.mu.Lock()
	defer o.mu.Unlock()
	to, mux := o.controlTo()
	if !to.IsValid() {
		return
	}
	b, ok := o.seal(o.compound(packet[:0], reception, heard, bye, now))
	if !ok {
		return
	}
	s.control.sent = true
	if mux {
		_ = s.rtp.send(b, to)
		return
	}
	_ = s.rtcp.send(b, to)
}

// controlTo is where the far end hears RTCP: where it said, else one port above
// that of its RTP (RFC 3550 section 11).
func (o *outbound) controlTo() (to netip.AddrPort, mux bool) {
	switch {
	case !o.peer.IsValid() || o.peer.Port() == 0 || o.peer.Addr().IsUnspecified():
		return to, false
	case o.remote.Mux:
		return o.peer, true
	case o.remote.Control.IsValid() && o.remote.Control.Port() != 0:
		return o.remote.Control, false
	case o.peer.Port() == 65535:
		return to, false
	}
	return netip.AddrPortFrom(o.peer.Addr(), o.peer.Port()+1), false
}

// compound appends a sender or receiver report, our name, and a goodbye.
func (o *outbound) compound(b, reception []byte, heard, bye bool, now time.Time) []byte {
	count := byte(0)
	if heard {
		count = 1
	}
	if !o.sentAt.IsZero() && now.Sub(o.sentAt) < reportEvery {
		b = append(b, 0x80|count, senderReport, 0, byte(6+len(reception)/4))
		b = binary.BigEndian.AppendUint32(b, o.ssrc)
		b = binary.BigEndian.AppendUint64(b, ntp(now))
		b = binary.BigEndian.AppendUint32(b, o.sentTimestamp+uint32(now.Sub(o.sentAt)*8000/time.Second))
		b = binary.BigEndian.AppendUint32(b, o.packets)
		b = binary.BigEndian.AppendUint32(b, o.octets)
	} else {
		b = append(b, 0x80|count, receiverReport, 0, byte(1+len(reception)/4))
		b = binary.BigEndian.AppendUint32(b, o.ssrc)
	}
	b = append(b, reception...)
	// A name that says nothing of us (RFC 7022), 8 bytes long; what follows it
	// ends the list and fills the word.
	b = append(b, 0x81, sourceDescription, 0, 5-1)
	b = binary.BigEndian.AppendUint32(b, o.ssrc)
	b = append(b, 1, 8)
	b = hex.AppendEncode(b, binary.BigEndian.AppendUint32(nil, bits.Reverse32(o.ssrc)))
	b = append(b, 0, 0)
	if bye {
		b = append(b, 0x81, goodbye, 0, 1)
		b = binary.BigEndian.AppendUint32(b, o.ssrc)
	}
	return b
}

// reception appends a report block on what we hear, if we hear something.
func (in *inbound) reception(b []byte, before *reported, now time.Time) (block []byte, heard bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	st := &in.stream
	if !st.live || now.Sub(st.lastAt) > 2*reportEvery {
		return b, false
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
	b = binary.BigEndian.AppendUint32(b, st.ssrc)
	b = binary.BigEndian.AppendUint32(b, uint32(fraction)<<24|uint32(min(st.lost(), 0x7fffff)))
	b = binary.BigEndian.AppendUint32(b, st.highest)
	b = binary.BigEndian.AppendUint32(b, uint32(st.jitter))
	var last, delay uint32
	if h := &in.report; h.ssrc == st.ssrc && !h.at.IsZero() {
		last = h.ntp
		delay = uint32(min(int64(now.Sub(h.at))*65536/int64(time.Second), 1<<32-1))
	}
	b = binary.BigEndian.AppendUint32(b, last)
	return binary.BigEndian.AppendUint32(b, delay), true
}

// receiveControl takes a datagram of the port for RTCP. It must survive
// anything that a stranger sends.
func (s *Session) receiveControl(datagram []byte, from netip.AddrPort, now time.Time) {
	s.in.mu.Lock()
	defer s.in.mu.Unlock()
	s.in.control(datagram, from, now)
}

// control takes RTCP and reports whether it was the far end's. What it says is
// only statistics: a goodbye ends no call, since SIP does that. The caller
// holds in.mu.
func (in *inbound) control(datagram []byte, from netip.AddrPort, now time.Time) bool {
	if in.closed || !in.agreed || !in.known(from.Addr()) {
		return false
	}
	b, ok := in.unseal(datagram)
	if !ok || !compound(b) {
		return false
	}
	alive := false
	for len(b) > 0 {
		size := 4 + 4*int(binary.BigEndian.Uint16(b[2:]))
		p, blocks := b[:size], int(b[0]&0x1f)
		b = b[size:]
		switch p[1] {
		case senderReport:
			if len(p) < 28 {
				continue
			}
			in.report.ssrc, in.report.at = binary.BigEndian.Uint32(p[4:]), now
			in.report.ntp = binary.BigEndian.Uint32(p[10:])
			alive = true
			in.told(p[28:], blocks, now)
		case receiverReport:
			if len(p) < 8 {
				continue
			}
			alive = true
			in.told(p[8:], blocks, now)
		case goodbye:
			alive = false
		}
	}
	if alive && in.stream.live {
		in.s.lastControl.Store(int64(now.Sub(in.s.opened)))
	}
	return true
}

// compound applies the checks of RFC 3550 appendix A.2: the first packet is a
// report, the lengths add up, and only the last one is padded.
func compound(b []byte) bool {
	if len(b) < 8 || b[0]&0x20 != 0 || b[1] != senderReport && b[1] != receiverReport {
		return false
	}
	for padded := false; len(b) > 0; {
		if len(b) < 4 || b[0]>>6 != 2 || padded {
			return false
		}
		size := 4 + 4*int(binary.BigEndian.Uint16(b[2:]))
		if size > len(b) {
			return false
		}
		padded = b[0]&0x20 != 0
		b = b[size:]
	}
	return true
}

// longestTrip is the longest round trip that is believed.
const longestTrip = 10 * time.Second

// told reads the report blocks on what we send (RFC 3550 section 6.4.1).
func (in *inbound) told(b []byte, blocks int, now time.Time) {
	in.s.out.mu.Lock()
	ours := in.s.out.ssrc
	in.s.out.mu.Unlock()
	for ; blocks > 0 && len(b) >= 24; blocks, b = blocks-1, b[24:] {
		if binary.BigEndian.Uint32(b) != ours {
			continue
		}
		// 24 bits with a sign: what came twice counts as less lost.
		lost := int64(int32(binary.BigEndian.Uint32(b[4:])<<8) >> 8)
		in.report.lost = max(0, min(lost, in.s.packetsOut.Load()))
		last, delay := binary.BigEndian.Uint32(b[16:]), binary.BigEndian.Uint32(b[20:])
		if last == 0 {
			continue // it has not heard a report of ours
		}
		trip := time.Duration(int32(uint32(ntp(now)>>16)-last-delay)) * time.Second / 65536
		if trip < -time.Second/100 || trip > longestTrip {
			continue
		}
		// Less than nothing is what the rounding of both clocks leaves.
		trip = max(trip, time.Second/65536)
		if in.report.roundTrip > 0 {
			trip = in.report.roundTrip + (trip-in.report.roundTrip)/4
		}
		in.report.roundTrip = trip
	}
}

// ntp is the 64 bit NTP time.
func ntp(t time.Time) uint64 {
	return uint64(t.Unix()+ntpEpoch)<<32 | uint64(t.Nanosecond())<<32/uint64(time.Second)
}
