package media

import (
	"time"

	"dialer/telephony"
)

// relayed says how the packets of another session are renumbered into ours.
// Differences stay as they are, so gaps and pauses reach the far end as such.
type relayed struct {
	from       *Session // nil when nobody relays into us
	generation uint32   // of from's stream
	live       bool     // the differences hold
	first      uint16   // sequence of the first packet
	packets    int
	split      bool   // packets went on as several
	sequence   uint16 // to add
	timestamp  uint32 // to add
}

// Relay passes the packets of s to the far end of to and the other way round,
// from the next packet on, until stop. Like codecs are not decoded. Where s was
// relayed before, the later call wins.
func (s *Session) Relay(to *Session) (stop func()) {
	s.in.relay(to)
	if to != s {
		to.in.relay(s)
	}
	return func() {
		s.in.unrelay(to)
		if to != s {
			to.in.unrelay(s)
		}
	}
}

func (in *inbound) relay(to *Session) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed {
		return
	}
	if in.relayTo != nil && in.relayTo != to {
		in.relayTo.out.unrelay(in.s)
	}
	in.relayTo = to
	in.n = 0 // what waits to be read is of before
	to.out.relayFrom(in.s)
}

func (in *inbound) unrelay(to *Session) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.relayTo == to {
		in.relayTo = nil
	}
	to.out.unrelay(in.s)
}

func (o *outbound) relayFrom(from *Session) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.relay = relayed{from: from}
}

func (o *outbound) unrelay(from *Session) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.relay.from == from {
		o.relay = relayed{}
		o.resume = true
	}
}

// forward sends a packet that from heard, at once.
func (o *outbound) forward(from *Session, generation uint32, p packet, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	r := &o.relay
	if r.from != from {
		return
	}
	if !o.open() || o.keying {
		r.live, o.resume = false, true
		return
	}
	if !r.live || r.generation != generation {
		o.join(generation, p, now)
	}
	if r.packets < maxJump && int16(p.sequence-r.first) < 0 {
		return // its number would be one that we have used
	}
	r.packets++

	payloadType, n, ok := o.payloadOf(p)
	if !ok {
		r.sequence-- // what is left out must not look lost
		return
	}
	sequence, timestamp := p.sequence+r.sequence, p.timestamp+r.timestamp
	switch {
	case p.kind == kindEvent:
		o.send(payloadType, p.marker || o.resume, sequence, timestamp, n, now)
	case r.split && int16(sequence-o.sequence) < 0:
		return // late, and its numbers went to the parts of others
	default:
		more := o.sendAudio(p.marker || o.resume, sequence, timestamp, n, now) - 1
		r.split = r.split || more > 0
		r.sequence += more
		sequence += more
	}
	o.resume = false
	if int16(sequence-o.sequence) >= 0 {
		o.sequence = sequence + 1
	}
	if next := timestamp + uint32(n); p.kind != kindEvent && int32(next-o.timestamp) > 0 {
		o.timestamp = next
	}
}

// join takes up another stream where ours stands.
func (o *outbound) join(generation uint32, p packet, now time.Time) {
	start := o.timestamp
	if behind := int32(o.clock(now) - start); behind > 0 {
		start += uint32(behind) / telephony.FrameSamples * telephony.FrameSamples
	}
	o.relay.live, o.relay.generation = true, generation
	o.relay.first, o.relay.packets, o.relay.split = p.sequence, 0, false
	o.relay.sequence = o.sequence - p.sequence
	o.relay.timestamp = start - p.timestamp
	o.resume = true
}

// payloadOf writes the payload for our far end behind the header.
func (o *outbound) payloadOf(p packet) (payloadType uint8, n int, ok bool) {
	switch p.kind {
	case kindEvent:
		return o.remote.DTMF, putEvent(o.packet[12:], p.payload, p.clock, o.remote.DTMFClock), o.remote.DTMF != 0
	case kindNoise:
		// Comfort noise was not agreed with this far end: a frame of silence.
		for i := range 160 {
			o.packet[12+i] = o.remote.Codec.silence()
		}
		return o.remote.payloadType(), 160, true
	}
	return o.remote.payloadType(), len(p.codec.transcode(o.packet[12:12], p.payload, o.remote.Codec)), true
}
