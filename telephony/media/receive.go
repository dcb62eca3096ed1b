package media

import (
	"math"
	"net/netip"
	"sync"
	"time"

	"github.com/pion/rtp"

	"dialer/telephony"
)

const (
	comfortNoise = 13 // static payload type, RFC 3389

	// latchWindow after the answer, a far end behind NAT may show the port from
	// which it really sends, by latchPackets packets in a row.
	latchWindow  = 5 * time.Second
	latchPackets = 3
	// The source of the RTP is silent when another one that is trusted may take
	// over, and lost when the far end's stream may go on from another port.
	sourceSilent = 200 * time.Millisecond
	sourceLost   = time.Second
	// A jump of more than maxJump in the sequence, or another SSRC, is another
	// stream. It needs latchPackets in a row while the present one is alive.
	maxJump     = 1000
	streamAlive = 100 * time.Millisecond

	// queueFrames is how much a reader that stalls finds waiting: 200 ms.
	queueFrames = 10
)

// kind is what an RTP packet carries.
type kind uint8

const (
	kindAudio kind = iota
	kindNoise
	kindEvent
)

// packet is one accepted RTP packet; payload is valid while it is handled.
type packet struct {
	kind      kind
	codec     Codec
	clock     uint32 // of an event, in Hz; 0 means 8000
	marker    bool
	sequence  uint16
	timestamp uint32
	payload   []byte
}

// inbound is the receiving half of a Session.
type inbound struct {
	s       *Session
	arrived chan struct{} // a frame was queued

	// telling is held from making frames to the end of telling the taps of
	// them, so that these hear in order and may call the Session.
	telling sync.Mutex
	mu      sync.Mutex // taken after telling

	untold    []untold
	closed    bool
	header    rtp.Header
	remote    Remote
	agreed    bool // SetRemote was called
	agreedAt  time.Time
	peer      netip.AddrPort // where we send: remote.Addr, or the port it was latched to
	source    netip.AddrPort // whose RTP is believed
	opener    opener         // undoes SRTP, nil when there is none
	resting   *unseal        // the last opener, while there is none
	ours      uint32         // the SSRC of what we send
	wasPlain  bool           // at any time after the answer
	heard     bool           // something came from source
	latch     runOf
	agreeing  runOf // of the agreed address, while another one is the source
	stream    stream
	newcomer  runOf
	lost      int64 // of earlier streams
	report    heardReport
	keys      keypad
	presses   toldKeys
	assembler assembler
	queue     [queueFrames]telephony.Frame
	head, n   int
	relayTo   *Session
	arrivals  *arrivals // nil when nobody hears packets as they come
}

func (in *inbound) init(s *Session) {
	in.s = s
	in.arrived = make(chan struct{}, 1)
	in.assembler.emit = in.frame
}

func (in *inbound) setRemote(r Remote, now time.Time) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.agreed || r.Addr != in.remote.Addr {
		in.peer, in.source, in.heard, in.agreedAt = r.Addr, r.Addr, false, now
		in.latch, in.agreeing = runOf{}, runOf{}
	}
	in.remote, in.agreed = r, true
	in.wasPlain = in.wasPlain || r.Crypto == nil && in.s.answered.Load() != nil
	in.protect(r.Crypto)
	in.ours = in.s.out.setRemote(r, in.peer)
}

// untold is a frame that taps are still to hear.
type untold struct {
	frame telephony.Frame
	by    *Session
	sent  bool
}

// tell lets the taps hear what was made. The caller holds in.telling alone.
func (in *inbound) tell() {
	list := in.untold
	in.untold = list[:0] // first, so that a faulty tap is told of each frame once
	for i := range list {
		u := &list[i]
		u.by.taps.hear(u.frame, u.sent)
		u.by = nil
	}
}

// receive takes one datagram. It must survive anything that a stranger sends.
func (s *Session) receive(datagram []byte, from netip.AddrPort, now time.Time) {
	s.in.telling.Lock()
	defer s.in.telling.Unlock()
	s.take(datagram, from, now)
	s.in.tell()
}

func (s *Session) take(datagram []byte, from netip.AddrPort, now time.Time) {
	in := &s.in
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.remote.Mux && isControl(datagram) {
		if !in.control(datagram, from, now) {
			s.rejected.Add(1)
		}
		return
	}
	p, ok := in.accept(datagram, from, now)
	if !ok {
		s.rejected.Add(1)
		return
	}
	s.packetsIn.Add(1)
	s.lastIn.Store(int64(now.Sub(s.opened)))

	if p.kind == kindEvent {
		in.keys.event(p.timestamp, p.payload, in.remote.DTMFClock, now, in.press)
	} else {
		in.keys.quiet(now, in.press)
	}
	to := in.relayTo
	if to != nil {
		to.out.forward(s, in.stream.generation, p, now)
	}
	direct := to == nil && in.arrivals != nil
	if direct {
		in.arrivals.take(p, in.stream.generation, now.Sub(s.opened))
	}
	if to == nil && !direct || s.taps.any() || to != nil && to.taps.any() {
		in.assembler.push(p, now)
	} else {
		// Nobody listens to samples. Whoever does next starts afresh.
		in.assembler.skip(p, now)
	}
}

// accept decides whether a datagram belongs to this leg.
func (in *inbound) accept(datagram []byte, from netip.AddrPort, now time.Time) (packet, bool) {
	if in.closed || !in.agreed || len(datagram) < 12 || !in.known(from.Addr()) {
		return packet{}, false
	}
	// Also of what is not heard, on hold: SRTP counts every packet.
	datagram, ok := in.unseal(datagram)
	if !ok || !in.remote.Receive {
		return packet{}, false
	}
	n, err := in.header.Unmarshal(datagram)
	if err != nil || in.header.Version != 2 || n > len(datagram) {
		return packet{}, false
	}
	h := &in.header
	if in.opener != nil && h.SSRC == in.ours {
		return packet{}, false // our own, thrown back
	}
	p := packet{
		marker: h.Marker, sequence: h.SequenceNumber, timestamp: h.Timestamp, payload: datagram[n:],
	}
	if h.Padding {
		if len(p.payload) == 0 {
			return packet{}, false
		}
		pad := int(p.payload[len(p.payload)-1])
		if pad == 0 || pad > len(p.payload) {
			return packet{}, false
		}
		p.payload = p.payload[:len(p.payload)-pad]
	}
	if !in.classify(&p, h.PayloadType) || !in.fromPeer(from, h, now) || !in.inStream(h, now) {
		return packet{}, false
	}
	return p, true
}

// classify says what the packet carries; only what was agreed is taken.
func (in *inbound) classify(p *packet, payloadType uint8) bool {
	switch {
	case len(p.payload) > maxPayload:
		return false
	case in.remote.isEvent(payloadType):
		p.kind, p.clock = kindEvent, in.remote.DTMFClock
		return len(p.payload) >= 4
	case payloadType == comfortNoise:
		p.kind = kindNoise
		return true
	}
	codec, ok := in.remote.codecOf(payloadType)
	p.kind, p.codec = kindAudio, codec
	return ok && len(p.payload) > 0
}

// known tells whether an address may be the far end's: others are turned away
// before anything is done with what they send.
func (in *inbound) known(from netip.Addr) bool {
	return in.remote.names(from)
}

// fromPeer tells whether the sender is the far end: the one source that is
// believed, at first the agreed address. Another takes its place by a run of
// latchPackets and if
//   - it has the agreed address and another port (NAT), soon after the answer
//     while nothing came from the source; or later, when the source has been lost
//     and this one goes on with its stream, which no stranger knows;
//   - it is the agreed address, or of an allowed network, while the source is
//     silent;
//   - it is the agreed address, soon after the answer: whoever was there first
//     may be a stranger behind the same NAT.
//
// We send to the agreed address, or to that port of it, and nowhere else.
func (in *inbound) fromPeer(from netip.AddrPort, h *rtp.Header, now time.Time) bool {
	if from == in.source {
		in.heard = true
		return true
	}
	silent := time.Duration(math.MaxInt64)
	if in.heard {
		silent = now.Sub(in.stream.lastAt)
	}
	to := in.peer
	run := &in.latch
	switch {
	case from == in.remote.Addr:
		if silent < sourceSilent && !in.mayLatch(now) {
			return false
		}
		run, to = &in.agreeing, from
	case from.Addr() == in.remote.Addr.Addr():
		found := silent > sourceLost && h.SSRC == in.stream.ssrc && in.stream.near(h.SequenceNumber)
		if !found && (in.heard || !in.mayLatch(now)) {
			return false
		}
		to = from
	case !in.remote.allows(from.Addr()) || silent < sourceSilent:
		return false
	}
	if run.add(from, h.SSRC, h.SequenceNumber) < latchPackets {
		return false
	}
	in.source, in.heard, in.latch, in.agreeing = from, true, runOf{}, runOf{}
	if to != in.peer {
		in.peer = to
		in.s.out.setPeer(to)
	}
	in.s.log.Debug("rtp comes from elsewhere than agreed", "agreed", in.remote.Addr, "from", from)
	return true
}

func (in *inbound) mayLatch(now time.Time) bool {
	answered := in.s.answered.Load()
	return answered == nil || now.Sub(*answered) < latchWindow || now.Sub(in.agreedAt) < latchWindow
}

// inStream keeps to one stream (SSRC) and its statistics.
func (in *inbound) inStream(h *rtp.Header, now time.Time) bool {
	st := &in.stream
	if st.live && h.SSRC == st.ssrc && st.near(h.SequenceNumber) {
		in.newcomer = runOf{}
		st.add(h.SequenceNumber, h.Timestamp, now)
		return true
	}
	if st.live && now.Sub(st.lastAt) < streamAlive &&
		in.newcomer.add(netip.AddrPort{}, h.SSRC, h.SequenceNumber) < latchPackets {
		return false
	}
	in.newcomer = runOf{}
	in.lost += st.lost()
	jitter := st.jitter
	*st = stream{live: true, ssrc: h.SSRC, generation: st.generation + 1, first: uint32(h.SequenceNumber),
		highest: uint32(h.SequenceNumber), jitter: jitter}
	st.add(h.SequenceNumber, h.Timestamp, now)
	in.keys.restart(in.press)
	in.assembler.restart()
	return true
}

// frame takes one assembled frame: at is when its first sample was heard.
func (in *inbound) frame(f *telephony.Frame, at time.Time) {
	s := in.s
	if in.relayTo != nil && in.relayTo.taps.any() {
		f.Offset = in.relayTo.offset(at)
		in.untold = append(in.untold, untold{*f, in.relayTo, true})
	}
	f.Offset = s.offset(at)
	if s.taps.any() {
		in.untold = append(in.untold, untold{*f, s, false})
	}
	if in.relayTo != nil {
		return
	}
	if in.n == queueFrames {
		in.head = (in.head + 1) % queueFrames
		in.n--
	}
	in.queue[(in.head+in.n)%queueFrames] = *f
	in.n++
	select {
	case in.arrived <- struct{}{}:
	default:
	}
}

// nextFrame takes the oldest frame of the queue. In discontinuous transmission
// it makes the silence that is due, and says how long until more will be.
func (in *inbound) nextFrame(now time.Time) (f telephony.Frame, ok bool, quiet time.Duration) {
	if f, ok = in.queued(); ok {
		return f, true, 0
	}
	quiet = in.silence(now)
	f, ok = in.queued()
	return f, ok, quiet
}

func (in *inbound) silence(now time.Time) (quiet time.Duration) {
	in.telling.Lock()
	defer in.telling.Unlock()
	in.mu.Lock()
	if in.n == 0 && in.relayTo == nil {
		quiet = in.assembler.silence(now)
	}
	in.mu.Unlock()
	in.tell()
	return quiet
}

func (in *inbound) queued() (f telephony.Frame, ok bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.n == 0 {
		return f, false
	}
	f = in.queue[in.head]
	in.head = (in.head + 1) % queueFrames
	in.n--
	return f, true
}

// press takes a key that was told by RFC 4733. The caller holds in.mu.
func (in *inbound) press(d telephony.Digit) { in.pressed(d, in.keys.at, false) }

// pressed tells of a key once. The caller holds in.mu.
func (in *inbound) pressed(d telephony.Digit, at time.Time, byInfo bool) {
	if in.presses.again(d, at, byInfo) {
		return
	}
	select {
	case in.s.digits <- d:
	default:
		in.s.log.Debug("key press dropped: nobody reads the digits")
	}
}

// letGo ends a key press whose end was lost and that nothing follows.
func (in *inbound) letGo(now time.Time) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.closed {
		in.keys.quiet(now, in.press)
	}
}

func (in *inbound) stats() telephony.MediaStats {
	in.mu.Lock()
	defer in.mu.Unlock()
	stats := telephony.MediaStats{
		Lost:      in.lost + in.stream.lost(),
		Jitter:    time.Duration(in.stream.jitter * float64(time.Second) / 8000),
		LostThere: in.report.lost,
		RoundTrip: in.report.roundTrip,
	}
	if in.agreed {
		stats.Codec, stats.Secured = in.remote.Codec.Name(), in.opener != nil && !in.wasPlain
	}
	return stats
}

func (in *inbound) close() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.keys.finish(in.press)
	if in.relayTo != nil {
		in.relayTo.out.unrelay(in.s)
	}
	in.closed, in.relayTo = true, nil
	close(in.s.digits)
}

// runOf counts packets of one sender that follow each other.
type runOf struct {
	from     netip.AddrPort
	ssrc     uint32
	sequence uint16
	n        int
}

func (r *runOf) add(from netip.AddrPort, ssrc uint32, sequence uint16) int {
	if r.n == 0 || r.from != from || r.ssrc != ssrc || sequence != r.sequence+1 {
		r.n = 0
	}
	r.from, r.ssrc, r.sequence = from, ssrc, sequence
	r.n++
	return r.n
}

// stream is the bookkeeping of RFC 3550 appendix A for one SSRC.
type stream struct {
	live           bool
	ssrc           uint32
	generation     uint32 // counts the streams of the leg
	first, highest uint32 // extended sequence numbers
	received       int64
	lastAt         time.Time
	lastTimestamp  uint32
	jitter         float64 // in samples
}

func (st *stream) near(sequence uint16) bool {
	jump := int16(sequence - uint16(st.highest))
	return jump > -maxJump && jump < maxJump
}

func (st *stream) add(sequence uint16, timestamp uint32, now time.Time) {
	if jump := int16(sequence - uint16(st.highest)); jump > 0 {
		st.highest += uint32(jump)
	}
	if st.received > 0 {
		spaced := now.Sub(st.lastAt).Seconds()*8000 - float64(int32(timestamp-st.lastTimestamp))
		// A change of clock is not jitter.
		if d := math.Abs(spaced); d < 8000 {
			st.jitter += (d - st.jitter) / 16
		}
	}
	st.received++
	st.lastAt, st.lastTimestamp = now, timestamp
}

func (st *stream) lost() int64 {
	if !st.live {
		return 0
	}
	return max(0, int64(st.highest-st.first)+1-st.received)
}
