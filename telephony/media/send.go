package media

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"time"

	"dialer/telephony"
)

const (
	// pauseAfter: a writer that is later than this has paused. What a leg may
	// hold back in a stall (queueFrames) is less, and is no pause.
	pauseAfter = 240 * time.Millisecond
	// pauseMargin is left behind the clock after a pause, for what a stalled
	// reader may still write in a burst: RTP time must not run ahead of real
	// time, since the far end would hold every later packet back.
	pauseMargin = queueFrames * telephony.FrameDuration
)

// outbound is the sending half of a Session. Whatever speaks (clip, frames,
// relay, digits), the far end hears one stream: one SSRC, one sequence, one
// clock.
type outbound struct {
	s *Session

	mu       sync.Mutex
	peer     netip.AddrPort
	remote   Remote
	ssrc     uint32
	sequence uint16 // of the next packet
	// timestamp of the next packet if it follows without a pause, and the
	// clock that says what it would be by the wall.
	timestamp      uint32
	clockTimestamp uint32
	clockAt        time.Time
	resume         bool   // the next audio packet begins a talkspurt
	keying         bool   // digits have the line
	packets        uint32 // with this SSRC, as octets
	octets         uint32
	sentTimestamp  uint32 // of the last packet, for the sender report
	sentAt         time.Time
	relay          relayed
	sealer         sealer // SRTP, nil when there is none
	packet         [12 + maxPayload + maxTrailer]byte
}

func (o *outbound) init(s *Session) {
	o.s = s
	o.ssrc, o.timestamp, o.sequence = newStart()
	o.clockTimestamp, o.clockAt, o.resume = o.timestamp, time.Now(), true
}

func (o *outbound) setRemote(r Remote, peer netip.AddrPort) (ssrc uint32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.remote, o.peer = r, peer
	o.protect(r.Crypto)
	return o.ssrc
}

func (o *outbound) setPeer(peer netip.AddrPort) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.peer = peer
}

// open reports whether there is somebody to send to.
func (o *outbound) open() bool {
	return o.remote.Send && o.peer.IsValid() && o.peer.Port() != 0 && !o.peer.Addr().IsUnspecified()
}

// writeFrame sends one frame and returns when, by RTP time, it is said.
func (o *outbound) writeFrame(f *telephony.Frame, now time.Time) (at time.Time, sent bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.open() || o.keying || o.relay.from != nil {
		o.resume = true
		return at, false
	}
	if late := samples(int(int32(o.clock(now) - o.timestamp))); late > pauseAfter {
		o.timestamp += uint32((late-pauseMargin)/telephony.FrameDuration) * telephony.FrameSamples
		o.resume = true
	} else if late < -clockJump {
		o.clockTimestamp, o.clockAt = o.timestamp, now
	}
	at = o.clockAt.Add(samples(int(int32(o.timestamp - o.clockTimestamp))))
	if f.Lost {
		// The far end conceals a gap better than we could.
		o.sequence++
		o.timestamp += telephony.FrameSamples
		return at, true
	}
	payload := o.remote.Codec.Encode(o.packet[12:12], f.Samples[:])
	o.sequence += o.sendAudio(o.resume, o.sequence, o.timestamp, len(payload), now)
	o.resume = false
	o.timestamp += telephony.FrameSamples
	return at, true
}

// clock is what the timestamp would be by the wall.
func (o *outbound) clock(now time.Time) uint32 {
	passed := now.Sub(o.clockAt)
	if passed > time.Minute {
		whole := passed.Truncate(time.Second)
		o.clockTimestamp += uint32(whole / time.Second * 8000)
		o.clockAt = o.clockAt.Add(whole)
		passed -= whole
	}
	return o.clockTimestamp + uint32(int64(passed)*8000/int64(time.Second))
}

// sendAudio sends the n samples that stand in o.packet behind the header, in as
// many packets as the far end wants them in, and returns how many these were.
func (o *outbound) sendAudio(marker bool, sequence uint16, timestamp uint32, n int, now time.Time) (packets uint16) {
	most := o.remote.maxSamples()
	if n <= most {
		o.send(o.remote.payloadType(), marker, sequence, timestamp, n, now)
		return 1
	}
	var whole [maxPayload]byte // sealing changes what stands in o.packet
	copy(whole[:], o.packet[12:12+n])
	for at := 0; at < n; at += most {
		part := copy(o.packet[12:], whole[at:min(at+most, n)])
		o.send(o.remote.payloadType(), marker && at == 0, sequence+packets, timestamp+uint32(at), part, now)
		packets++
	}
	return packets
}

// send sends the n bytes that stand in o.packet behind the header.
func (o *outbound) send(payloadType uint8, marker bool, sequence uint16, timestamp uint32, n int, now time.Time) {
	b := o.packet[:12+n]
	b[0] = 2 << 6
	b[1] = payloadType & 0x7f
	if marker {
		b[1] |= 0x80
	}
	binary.BigEndian.PutUint16(b[2:], sequence)
	binary.BigEndian.PutUint32(b[4:], timestamp)
	binary.BigEndian.PutUint32(b[8:], o.ssrc)
	o.octets += uint32(n)
	o.sentTimestamp, o.sentAt = timestamp, now
	b, ok := o.seal(b)
	if !ok {
		return
	}
	if err := o.s.rtp.send(b, o.peer); err != nil {
		// A lost packet like any other; Idle shows a path that is gone.
		return
	}
	o.packets++
	o.s.packetsOut.Add(1)
}
