package siptest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const frameSamples = 160 // 20 ms at 8 kHz

// A stream is the RTP of one call: what this side says, and an ear for what
// the far side says.
type stream struct {
	conn  *net.UDPConn
	local netip.AddrPort
	ear   *ear
	slot  int // its place in the pacer's round

	mu      sync.Mutex
	session session
	speech  []int16 // still to be said
	digits  []uint8 // events still to be sent
	digit   int     // packets sent of digits[0]
	level   float64
	noise   float64
	loss    float64
	random  *rand.Rand
	seq     uint16
	ssrc    uint32
	base    uint32 // RTP time of the first frame
	started bool
	first   int64 // the pacer's frame at which it started
	event   uint32
	sent    int64
}

// say queues speech.
func (s *stream) say(samples []int16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.speech = append(s.speech[:len(s.speech):len(s.speech)], samples...)
}

// hush drops what is still to be said.
func (s *stream) hush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.speech = nil
}

// press sends a key as an RFC 4733 event, when the far side takes those.
func (s *stream) press(key byte) bool {
	event := slices.Index([]byte("0123456789*#ABCD"), key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if event < 0 || s.session.digitPT == 0 {
		return false
	}
	s.digits = append(s.digits, uint8(event))
	return true
}

// negotiate follows a new offer or answer.
func (s *stream) negotiate(far session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.session = far
	s.ear.follow(far)
}

// tick sends the packet of one frame; frames are numbered by time.
func (s *stream) tick(frame int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.session.law == nil || !s.session.wants {
		return
	}
	var packet [12 + frameSamples]byte
	out := packet[:0]
	marker := byte(0)
	if !s.started {
		s.started, s.first, marker = true, frame, 0x80
	}
	now := s.base + uint32(frame-s.first)*frameSamples
	pt, stamp := s.session.pt, now
	payload := s.frame()
	if len(s.digits) > 0 && s.session.digitPT != 0 {
		// RFC 4733: the time of an event is that of its start; it lasts five
		// frames and its end is sent three times.
		const frames, ends = 5, 3
		if s.digit == 0 {
			s.event, marker = now, 0x80
		}
		s.digit++
		pt, stamp = s.session.digitPT, s.event
		flags := byte(10) // volume -10 dBm0
		if s.digit >= frames {
			flags |= 0x80
		}
		payload = binary.BigEndian.AppendUint16([]byte{s.digits[0], flags}, uint16(min(s.digit, frames)*frameSamples))
		if s.digit == frames+ends-1 {
			s.digits, s.digit = s.digits[1:], 0
		}
	}
	out = append(out, 0x80, marker|pt)
	out = binary.BigEndian.AppendUint16(out, s.seq)
	out = binary.BigEndian.AppendUint32(out, stamp)
	out = binary.BigEndian.AppendUint32(out, s.ssrc)
	out = append(out, payload...)
	s.seq++
	if s.loss > 0 && s.random.Float64() < s.loss {
		return
	}
	if _, err := s.conn.WriteToUDPAddrPort(out, s.session.far); err == nil {
		s.sent++
	}
}

// hiss is white noise at full scale, the line noise of every call.
var hiss = func() (noise [8192]int32) {
	r := rand.New(rand.NewPCG(8, 192))
	for i := range noise {
		noise[i] = int32(r.IntN(1<<16)) - 1<<15
	}
	return noise
}()

// frame encodes the next 20 ms: speech over the noise of the line.
func (s *stream) frame() []byte {
	var mixed [frameSamples]int16
	n := min(len(s.speech), frameSamples)
	level, noise, at := int32(s.level*(1<<15)), int32(s.noise), s.random.IntN(len(hiss)-frameSamples)
	for i := range mixed {
		v := hiss[at+i] * noise
		if i < n {
			v += int32(s.speech[i]) * level
		}
		mixed[i] = int16(max(-32768, min(32767, v>>15)))
	}
	s.speech = s.speech[n:]
	return s.session.law.encode(make([]byte, 0, frameSamples), mixed[:])
}

// listen reads the far side's RTP until the socket is closed.
func (s *stream) listen() {
	buf := make([]byte, 1500)
	for {
		n, _, err := s.conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			s.ear.packet(buf[:n], time.Now())
		}
	}
}

// A pacer sends the next frame of every stream each 20 ms. Streams are spread
// over four slots so that hundreds of packets do not leave in one burst.
type pacer struct {
	mu    sync.Mutex
	slots [4]map[*stream]struct{}
	next  int
}

func newPacer() *pacer {
	p := &pacer{}
	for i := range p.slots {
		p.slots[i] = map[*stream]struct{}{}
	}
	return p
}

func (p *pacer) add(s *stream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.slot = p.next % len(p.slots)
	p.next++
	p.slots[s.slot][s] = struct{}{}
}

func (p *pacer) remove(s *stream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.slots[s.slot], s)
}

// run paces by the clock, not by the ticker: a late tick sends what is due, at
// most 100 ms of it; what is older is left out and the RTP time jumps.
func (p *pacer) run(ctx context.Context) {
	const slot = 20 * time.Millisecond / 4
	ticker := time.NewTicker(slot)
	defer ticker.Stop()
	start, done := time.Now(), int64(0)
	var batch []*stream
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		due := int64(time.Since(start) / slot)
		for done = max(done, due-20); done < due; done++ {
			p.mu.Lock()
			batch = batch[:0]
			for s := range p.slots[done%4] {
				batch = append(batch, s)
			}
			p.mu.Unlock()
			for _, s := range batch {
				s.tick(done / 4)
			}
		}
	}
}

// PortRange is a range of UDP ports for RTP, both ends included.
type PortRange struct{ First, Last uint16 }

// ParsePortRange reads "20000-29999".
func ParsePortRange(text string) (PortRange, error) {
	var r PortRange
	if n, err := fmt.Sscanf(text, "%d-%d", &r.First, &r.Last); err != nil || n != 2 || fmt.Sprintf("%d-%d", r.First, r.Last) != text {
		return PortRange{}, fmt.Errorf("%q is not a port range such as 20000-29999", text)
	}
	return r, r.validate()
}

func (r PortRange) validate() error {
	if r.First < 1024 || r.Last <= r.First {
		return fmt.Errorf("port range %d-%d: give two ports from 1024 up, the lower first", r.First, r.Last)
	}
	return nil
}

// ports hands out the even ports of a range in turn, so that a port rests
// before its next use. A zero range leaves the choice to the system.
type ports struct {
	host   netip.Addr
	within PortRange
	mu     sync.Mutex
	next   int
}

func (p *ports) open() (*net.UDPConn, error) {
	if p.within == (PortRange{}) {
		return net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(p.host, 0)))
	}
	first := (int(p.within.First) + 1) / 2
	count := (int(p.within.Last)+2)/2 - first
	var err error
	for range count {
		p.mu.Lock()
		port := (first + p.next%count) * 2
		p.next++
		p.mu.Unlock()
		var conn *net.UDPConn
		conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(p.host, uint16(port))))
		if err == nil {
			return conn, nil
		}
	}
	return nil, fmt.Errorf("no free RTP port in %d-%d: %w", p.within.First, p.within.Last, err)
}
