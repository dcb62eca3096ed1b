// Package media carries the audio of call legs: RTP (RFC 3550) over UDP, G.711,
// key presses (RFC 4733), SRTP (RFC 3711), and the SDP that agrees on them (RFC
// 8866, RFC 3264) with the keys (RFC 4568).
//
// It knows nothing of SIP, of calls or of who talks: siptrunk gives it the
// bodies and addresses it was told. It neither mixes nor keeps a play-out
// clock; a packet that comes in leaves at once, so a stall never becomes delay.
//
// Entry points: NewPorts, Ports.Open, Session; Negotiation.
// Goroutines: a Session has none. While one is open, its Ports owns eight a core
// that read all sockets, and one that keeps the reports; a system without epoll
// has one for each socket. All are ended when the last Session is closed.
package media

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"dialer/telephony"
)

// ErrClosed is returned by a Session that has been closed.
var ErrClosed = errors.New("the media session is closed")

// Remote is what was agreed with the far end.
type Remote struct {
	Addr  netip.AddrPort // where it hears, and whence it must send
	Codec Codec          // what we send
	// PayloadType that we send Codec by; 0 means its static one.
	PayloadType uint8
	// Formats is all that the far end may send; empty means Codec alone.
	Formats []Format
	DTMF    uint8 // payload type of telephone-event, 0 when it has none
	// DTMFIn is another one that it may send telephone-event by.
	DTMFIn uint8
	// DTMFClock is the clock rate of telephone-event in Hz; 0 means 8000.
	DTMFClock uint32
	// MaxTime is the longest packet that the far end takes; 0 means any.
	MaxTime time.Duration
	// Control is where the far end hears RTCP when it is not the port above Addr
	// (a=rtcp, RFC 3605). Of a host that is neither that of Addr nor of Sources only
	// the port is believed: nobody makes us send to a third party. Mux: RTP and RTCP share Addr and our port (RFC 5761).
	Control netip.AddrPort
	Mux     bool
	// Crypto is what SRTP goes by, nil for plain RTP.
	Crypto *Crypto
	// Send and Receive are the direction as we see it; both are false on hold.
	Send, Receive bool
	// Sources are networks beside Addr from which RTP is accepted, and to which
	// Control may be.
	Sources []netip.Prefix
}

// payloadType is what we send the codec by.
func (r *Remote) payloadType() uint8 {
	if r.PayloadType != 0 {
		return r.PayloadType
	}
	return r.Codec.PayloadType()
}

// codecOf is what the far end sends by a payload type.
func (r *Remote) codecOf(payloadType uint8) (Codec, bool) {
	for _, f := range r.Formats {
		if f.PayloadType == payloadType {
			return f.Codec, true
		}
	}
	return r.Codec, payloadType == r.payloadType()
}

// maxSamples is the most of audio that goes into one packet.
func (r *Remote) maxSamples() int {
	if r.MaxTime == 0 {
		return maxPayload
	}
	return min(int(r.MaxTime*8000/time.Second), maxPayload)
}

// names tells whether an address is the far end's own, or of a network that is
// trusted beside it.
func (r *Remote) names(addr netip.Addr) bool { return addr == r.Addr.Addr() || r.allows(addr) }

func (r *Remote) allows(addr netip.Addr) bool {
	for _, network := range r.Sources {
		if network.Contains(addr) {
			return true
		}
	}
	return false
}

// isEvent reports whether the far end sends telephone-event by a payload type.
func (r *Remote) isEvent(payloadType uint8) bool {
	return payloadType != 0 && r.DTMF != 0 && (payloadType == r.DTMF || payloadType == r.DTMFIn)
}

// A Session is one leg's RTP. Its methods may be called from any goroutine;
// ReadFrame from one at a time.
type Session struct {
	rtp, rtcp *socket
	local     netip.AddrPort
	log       *slog.Logger
	release   func()
	opened    time.Time
	answered  atomic.Pointer[time.Time]

	in      inbound
	out     outbound
	control control
	digits  chan telephony.Digit
	taps    taps

	lastIn, lastControl             atomic.Int64 // nanoseconds since opened
	packetsIn, packetsOut, rejected atomic.Int64

	closing sync.Once
	closed  chan struct{}
}

// open makes the session of one port and the one above it.
func (p *Ports) open(port uint16, log *slog.Logger) (*Session, error) {
	now := time.Now()
	s := &Session{
		local:  netip.AddrPortFrom(p.bind, port),
		log:    log,
		opened: now,
		digits: make(chan telephony.Digit, 32),
		closed: make(chan struct{}),
	}
	s.in.init(s)
	s.out.init(s)
	s.control.due = now.Add(interval(reportEvery / 2))
	var err error
	if s.rtp, err = p.reader.open(s.local, p.mark(), log, s.receive); err != nil {
		return nil, err
	}
	above := netip.AddrPortFrom(p.bind, port+1)
	if s.rtcp, err = p.reader.open(above, p.mark(), log, s.receiveControl); err != nil {
		s.rtp.close()
		return nil, err
	}
	return s, nil
}

// Local is the address of our RTP socket.
func (s *Session) Local() netip.AddrPort { return s.local }

// SetRemote takes what was agreed: the early answer, the final one, a
// re-INVITE. RTP that comes before the first call is rejected. Sequence and
// time of what we send go on as they were.
func (s *Session) SetRemote(r Remote) {
	r.Addr = netip.AddrPortFrom(r.Addr.Addr().Unmap(), r.Addr.Port())
	if !r.names(r.Control.Addr()) {
		r.Control = netip.AddrPortFrom(r.Addr.Addr(), r.Control.Port())
	}
	s.in.setRemote(r, time.Now())
}

// Answered sets time zero for Frame.Offset. Until then offsets are negative and
// only their differences mean anything.
func (s *Session) Answered(at time.Time) { s.answered.Store(&at) }

// offset places a moment in the leg's media.
func (s *Session) offset(at time.Time) time.Duration {
	if answered := s.answered.Load(); answered != nil {
		return at.Sub(*answered)
	}
	return at.Sub(s.opened) - 24*time.Hour
}

// ReadFrame returns the next 20 ms heard. It fails with the error of ctx or
// with ErrClosed.
func (s *Session) ReadFrame(ctx context.Context) (telephony.Frame, error) {
	if err := ctx.Err(); err != nil {
		return telephony.Frame{}, err
	}
	for {
		f, ok, quiet := s.in.nextFrame(time.Now())
		if ok {
			return f, nil
		}
		// In discontinuous transmission no packet comes to wake us.
		var pause <-chan time.Time
		if quiet > 0 {
			pause = time.After(quiet)
		}
		select {
		case <-s.in.arrived:
		case <-pause:
		case <-ctx.Done():
			return telephony.Frame{}, ctx.Err()
		case <-s.closed:
			return telephony.Frame{}, ErrClosed
		}
	}
}

// WriteFrame sends 20 ms of audio; the caller keeps the pace. A lost frame is
// passed on as a gap. While the leg is on hold, relayed into, or sending
// digits, the frame is dropped: something else has the line.
func (s *Session) WriteFrame(f telephony.Frame) error {
	if s.isClosed() {
		return ErrClosed
	}
	at, sent := s.out.writeFrame(&f, time.Now())
	if sent && s.taps.any() {
		f.Offset = s.offset(at)
		s.taps.hear(f, true)
	}
	return nil
}

// Digits delivers key presses, each once, when the key is let go. It is closed
// by Close.
func (s *Session) Digits() <-chan telephony.Digit { return s.digits }

// Tap hears what ReadFrame hears and, with sent, what is written or relayed to
// the far end. f must not block and may be called from two goroutines at once.
// It may call any method but ReadFrame and Close.
func (s *Session) Tap(f func(fr telephony.Frame, sent bool)) (stop func()) { return s.taps.add(f) }

// Idle is the time since the far end was last heard, or since the port was
// opened when it never was. Once it has sent RTP, its reports count as well: in
// discontinuous transmission a muted far end may send nothing else for minutes.
func (s *Session) Idle() time.Duration {
	last := s.lastIn.Load()
	if last > 0 {
		last = max(last, s.lastControl.Load())
	}
	return time.Since(s.opened) - time.Duration(last)
}

// Stats counts what came and went, and estimates how it sounds.
func (s *Session) Stats() telephony.MediaStats {
	stats := s.in.stats()
	stats.PacketsIn, stats.PacketsOut, stats.Rejected = s.packetsIn.Load(), s.packetsOut.Load(), s.rejected.Load()
	if stats.PacketsIn > 0 {
		stats.MOS = telephony.EstimateMOS(stats.Loss(), stats.Jitter, stats.RoundTrip)
	}
	return stats
}

// Close says goodbye, ends the session and gives its port back. It is idempotent
// and returns when nothing of the session runs any more.
func (s *Session) Close() {
	s.closing.Do(func() {
		close(s.closed)
		s.endReports(time.Now())
		s.rtp.close()
		s.rtcp.close()
		s.in.close()
		s.release()
	})
}

func (s *Session) isClosed() bool {
	select {
	case <-s.closed:
		return true
	default:
		return false
	}
}

// taps is a list that is read for each packet and changed a few times a call.
type taps struct {
	mu   sync.Mutex
	list atomic.Pointer[[]*tap]
}

type tap struct {
	hear func(telephony.Frame, bool)
}

func (t *taps) any() bool {
	l := t.list.Load()
	return l != nil && len(*l) > 0
}

func (t *taps) hear(f telephony.Frame, sent bool) {
	if l := t.list.Load(); l != nil {
		for _, tap := range *l {
			tap.hear(f, sent)
		}
	}
}

func (t *taps) add(f func(telephony.Frame, bool)) (stop func()) {
	added := &tap{hear: f}
	t.change(func(l []*tap) []*tap { return append(l, added) })
	return func() {
		t.change(func(l []*tap) []*tap {
			kept := l[:0]
			for _, other := range l {
				if other != added {
					kept = append(kept, other)
				}
			}
			return kept
		})
	}
}

func (t *taps) change(f func(copied []*tap) []*tap) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var copied []*tap
	if l := t.list.Load(); l != nil {
		copied = append(copied, *l...)
	}
	copied = f(copied)
	t.list.Store(&copied)
}

// newStart returns random first values for what we send (RFC 3550 section 5.1).
// The sequence number is not near its end: an SRTP far end that missed the first
// packets could not know that it has rolled over (RFC 3711 section 3.3.1).
func newStart() (ssrc, timestamp uint32, sequence uint16) {
	return rand.Uint32(), rand.Uint32(), uint16(rand.Uint32() >> 17)
}
