package media

import (
	"errors"
	"testing"
	"time"

	"github.com/pion/rtp"

	"dialer"
	"dialer/telephony"
)

func pressed(t *testing.T, s *Session, n int) (digits string) {
	t.Helper()
	for range n {
		select {
		case d := <-s.Digits():
			digits += string(d.Key)
			if d.Duration != digitLength {
				t.Errorf("key %c lasted %s, want %s", d.Key, d.Duration, digitLength)
			}
		case <-time.After(deadline):
			t.Fatalf("%q was heard, %d keys were pressed", digits, n)
		}
	}
	select {
	case d := <-s.Digits():
		t.Errorf("%c was heard once more than it was pressed", d.Key)
	default:
	}
	return digits
}

// Keys pressed on one phone are heard by the leg and, relayed under another
// payload type, by the other phone: each once.
func TestDigitsFromEndToEnd(t *testing.T) {
	c := newCall(t, PCMU, PCMA)
	r := remoteAt(c.legB.Local(), PCMA)
	r.DTMF = 96
	c.phoneB.SetRemote(r)
	r.Addr = c.phoneB.Local()
	c.legB.SetRemote(r)
	defer c.legA.Relay(c.legB)()

	const keys = "119#a"
	if err := c.phoneA.SendDigits(soon(t), keys); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]*Session{"leg": c.legA, "other phone": c.phoneB} {
		if got := pressed(t, s, len(keys)); got != "119#A" {
			t.Errorf("%s heard %q, want 119#A", name, got)
		}
	}
}

// What goes out for one key is as RFC 4733 wants it.
func TestDigitOnTheWire(t *testing.T) {
	t.Parallel()
	s, w := open(t), newWire(t, "127.0.0.1:0")
	s.SetRemote(remoteAt(w.addr, PCMU))
	speak(t, s, tone(400, 1))
	audio := w.read(t)
	if err := s.SendDigits(soon(t), "5"); err != nil {
		t.Fatal(err)
	}
	speak(t, s, tone(400, 1))
	var first *rtp.Packet
	for i := range 7 {
		p := w.read(t)
		if first == nil {
			first = p
		}
		wantEnd, wantDuration := i >= 4, 160*min(i+1, 5)
		duration := int(p.Payload[2])<<8 | int(p.Payload[3])
		if p.PayloadType != 101 || p.Payload[0] != 5 || p.Timestamp != first.Timestamp || p.SSRC != audio.SSRC ||
			p.SequenceNumber != audio.SequenceNumber+1+uint16(i) || p.Marker != (i == 0) ||
			p.Payload[1]&0x80 != 0 != wantEnd || duration != wantDuration {
			t.Errorf("packet %d: %v % x; want end %v, duration %d", i, &p.Header, p.Payload, wantEnd, wantDuration)
		}
	}
	if p := w.read(t); p.PayloadType != 0 || p.SequenceNumber != first.SequenceNumber+7 ||
		int32(p.Timestamp-first.Timestamp) < 800 || !p.Marker {
		t.Errorf("audio after the key: %v", &p.Header)
	}
}

// Whatever payload type and clock each leg has for its key presses, the other
// one gets them by its own; between them the stream goes on without a seam.
func TestPressesAreRelayedInTheOtherLegsTerms(t *testing.T) {
	for name, c := range map[string]struct {
		fromType, toType   uint8
		fromClock, toClock uint32
		duration, want     uint16
	}{
		"another type":        {101, 96, 0, 0, 800, 800},
		"to a faster clock":   {101, 127, 8000, 48000, 800, 4800},
		"to a slower clock":   {97, 101, 48000, 0, 4800, 800},
		"longer than it says": {101, 97, 8000, 48000, 0xff00, 0xffff},
		"not taken there":     {101, 0, 0, 0, 800, 0},
	} {
		t.Run(name, func(t *testing.T) {
			l, out, w := newListener(t), open(t), newWire(t, "127.0.0.1:0")
			r := remoteAt(l.from, PCMU)
			r.DTMF, r.DTMFClock = c.fromType, c.fromClock
			l.SetRemote(r)
			r = remoteAt(w.addr, PCMU)
			r.DTMF, r.DTMFClock = c.toType, c.toClock
			out.SetRemote(r)
			defer l.Relay(out)()
			l.put(1, 0, 1000)
			audio := w.read(t)
			event := []byte{5, 0x80 | 63, byte(c.duration >> 8), byte(c.duration)}
			l.receive(packetOf(c.fromType, 1, 2, 160, event), l.from, l.now)
			sequence := audio.SequenceNumber + 1
			if c.toType != 0 {
				p := w.read(t)
				got := uint16(p.Payload[2])<<8 | uint16(p.Payload[3])
				if p.PayloadType != c.toType || p.SequenceNumber != sequence || p.Timestamp != audio.Timestamp+160 ||
					p.Payload[0] != 5 || p.Payload[1] != 0x80|63 || got != c.want {
					t.Errorf("got %v % x; want type %d, duration %d", &p.Header, p.Payload, c.toType, c.want)
				}
				sequence++
			}
			l.put(3, 1120, 1000)
			if p := w.read(t); p.SequenceNumber != sequence || p.Timestamp != audio.Timestamp+1120 {
				t.Errorf("then %v; want sequence %d and 1120 samples later", &p.Header, sequence)
			}
		})
	}
}

// Keys that we press while the leg is relayed into are part of its one stream.
func TestDigitsDuringRelay(t *testing.T) {
	t.Parallel()
	phone, leg, out, w := open(t), open(t), open(t), newWire(t, "127.0.0.1:0")
	connect(phone, leg, PCMU)
	out.SetRemote(remoteAt(w.addr, PCMU))
	defer leg.Relay(out)()
	speak(t, phone, tone(400, 3))
	last := w.read(t)
	stop, talked := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(talked)
		tick := time.NewTicker(telephony.FrameDuration)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_ = phone.WriteFrame(telephony.Frame{})
			case <-stop:
				return
			}
		}
	}()
	if err := out.SendDigits(soon(t), "19"); err != nil {
		t.Fatal(err)
	}
	events, ends, after := 0, 0, 0
	for after < 5 {
		p := w.read(t)
		if p.SSRC != last.SSRC || p.SequenceNumber != last.SequenceNumber+1 || int32(p.Timestamp-last.Timestamp) < 0 {
			t.Fatalf("%v after %v", &p.Header, &last.Header)
		}
		last = p
		switch {
		case p.PayloadType == 101:
			events++
			if p.Payload[1]&0x80 != 0 {
				ends++
			}
		case events > 0:
			after++
		}
	}
	close(stop)
	<-talked
	if events != 14 || ends != 6 {
		t.Errorf("%d packets of two keys, %d of them ends; want 14 and 6", events, ends)
	}
}

func TestDigitsThatCannotBeSent(t *testing.T) {
	s, w := open(t), newWire(t, "127.0.0.1:0")
	r := remoteAt(w.addr, PCMU)
	s.SetRemote(r)
	if err := s.SendDigits(soon(t), "12x"); dialer.CodeOf(err) != dialer.Invalid {
		t.Errorf("key x: %v, want Invalid", err)
	}
	r.DTMF = 0
	s.SetRemote(r)
	if err := s.SendDigits(soon(t), "12"); !errors.Is(err, ErrNoDigits) {
		t.Errorf("without telephone-event: %v, want ErrNoDigits", err)
	}
	if out := s.Stats().PacketsOut; out != 0 {
		t.Errorf("%d packets were sent all the same", out)
	}
}

// A far end that tells of each press by RFC 4733 and by INFO has pressed once.
func TestPressToldInBothWaysCountsOnce(t *testing.T) {
	type tell struct {
		way   string // "rtp" with the press of 100 ms, or "info"
		key   byte
		after time.Duration
	}
	for name, c := range map[string]struct {
		tells []tell
		want  string
	}{
		"RTP first":                 {[]tell{{"rtp", 5, 0}, {"info", 5, 20e6}}, "5"},
		"INFO first":                {[]tell{{"info", 5, 0}, {"rtp", 5, 20e6}}, "5"},
		"INFO resent":               {[]tell{{"rtp", 5, 0}, {"info", 5, 1100e6}}, "5"},
		"seconds apart":             {[]tell{{"info", 5, 0}, {"rtp", 5, 4e9}}, "55"},
		"two keys, INFO behind":     {[]tell{{"rtp", 1, 0}, {"rtp", 2, 150e6}, {"info", 1, 0}, {"info", 2, 0}}, "12"},
		"the same twice":            {[]tell{{"rtp", 5, 0}, {"info", 5, 10e6}, {"rtp", 5, 150e6}, {"info", 5, 10e6}}, "55"},
		"the same twice, behind":    {[]tell{{"rtp", 5, 0}, {"rtp", 5, 150e6}, {"info", 5, 0}, {"info", 5, 0}}, "55"},
		"by INFO alone":             {[]tell{{"info", 5, 0}, {"info", 5, 100e6}}, "55"},
		"another way in mid-call":   {[]tell{{"rtp", 5, 0}, {"info", 5, 3e9}, {"info", 6, 1e9}}, "556"},
		"the other key in between":  {[]tell{{"info", 1, 0}, {"rtp", 2, 50e6}, {"rtp", 1, 50e6}, {"info", 2, 0}}, "12"},
		"the letters and the signs": {[]tell{{"rtp", 11, 0}, {"info", 11, 0}, {"rtp", 15, 0}, {"info", 15, 0}}, "#D"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newListener(t)
			timestamp := uint32(0)
			for i, tell := range c.tells {
				l.now = l.now.Add(tell.after)
				timestamp += 1600
				if tell.way == "info" {
					l.pressed(telephony.Digit{Key: rune(keys[tell.key]), Duration: 160 * time.Millisecond}, l.now)
				} else {
					l.receive(packetOf(101, 1, uint16(i), timestamp, []byte{tell.key, 0x8a, 3, 0x20}), l.from, l.now)
				}
			}
			got := ""
			for len(l.Digits()) > 0 {
				got += string((<-l.Digits()).Key)
			}
			if got != c.want {
				t.Errorf("%q was pressed, want %q", got, c.want)
			}
		})
	}
}

// Whatever packets of a press are lost or doubled, it counts once.
func TestEachPressCountsOnce(t *testing.T) {
	type event struct {
		timestamp uint32
		key       byte
		end       bool
		duration  uint16
		after     time.Duration // since the packet before
	}
	whole := func(timestamp uint32, key byte) []event {
		return []event{
			{timestamp, key, false, 160, 20e6}, {timestamp, key, false, 320, 20e6}, {timestamp, key, false, 480, 20e6},
			{timestamp, key, true, 640, 20e6}, {timestamp, key, true, 640, 0}, {timestamp, key, true, 640, 0},
		}
	}
	for name, c := range map[string]struct {
		events []event
		clock  uint32
		want   string
		length time.Duration
	}{
		"whole":               {whole(1000, 5), 0, "5", 80e6},
		"twice the same key":  {append(whole(1000, 5), whole(3000, 5)...), 0, "55", 80e6},
		"start lost":          {whole(1000, 5)[3:], 0, "5", 80e6},
		"one end packet left": {append(whole(1000, 5)[:3], whole(1000, 5)[5]), 0, "5", 80e6},
		"only the start":      {append(whole(1000, 5)[:1], whole(9000, 6)...), 0, "56", 0},
		"end lost, next key":  {append(whole(1000, 5)[:3], whole(3000, 6)...), 0, "56", 0},
		"end comes too late":  {append(append(whole(1000, 5)[:3], whole(3000, 6)...), whole(1000, 5)[3:]...), 0, "56", 0},
		"out of order":        {[]event{whole(1000, 5)[3], whole(1000, 5)[1], whole(1000, 5)[2]}, 0, "5", 80e6},
		"another clock":       {[]event{{1000, 11, true, 4800, 20e6}}, 48000, "#", 100e6},
		"timestamp wraps":     {append(whole(1<<32-100, 1), whole(2000, 2)...), 0, "12", 80e6},
		"not a key":           {whole(1000, 16), 0, "", 0},
		"very long": {[]event{
			{1000, 0, false, 0xff00, 20e6}, {1000, 0, false, 0xffff, 20e6},
			{1000 + 0xffff, 0, false, 160, 20e6}, {1000 + 0xffff, 0, true, 320, 20e6},
		}, 0, "0", (0xffff + 320) * time.Second / 8000},
	} {
		t.Run(name, func(t *testing.T) {
			var k keypad
			got := ""
			press := func(d telephony.Digit) {
				got += string(d.Key)
				if c.length != 0 && d.Duration != c.length {
					t.Errorf("%c lasted %s, want %s", d.Key, d.Duration, c.length)
				}
			}
			now := time.Now()
			for _, e := range c.events {
				flags := byte(10)
				if e.end {
					flags |= 0x80
				}
				now = now.Add(e.after)
				k.event(e.timestamp, []byte{e.key, flags, byte(e.duration >> 8), byte(e.duration)}, c.clock, now, press)
			}
			k.quiet(now.Add(time.Second), press)
			if got != c.want {
				t.Errorf("heard %q, want %q", got, c.want)
			}
		})
	}
}

// The end of a press may be lost with everything after it.
func TestPressPendingAtTheEnd(t *testing.T) {
	l := newListener(t)
	l.receive(packetOf(101, 1, 1, 0, []byte{9, 10, 1, 0x40}), l.from, l.now)
	l.Close()
	d, ok := <-l.Digits()
	if !ok || d.Key != '9' {
		t.Errorf("got %q, %v; want 9", d.Key, ok)
	}
}

// A program that reads no digits loses them; the audio goes on.
func TestUnreadDigitsBlockNothing(t *testing.T) {
	l := newListener(t)
	for i := range uint16(500) {
		l.receive(packetOf(101, 1, i, uint32(i)*1600, []byte{1, 0x8a, 1, 0x40}), l.from, l.now)
	}
	if got := l.Stats().PacketsIn; got != 500 {
		t.Errorf("%d packets taken, want 500", got)
	}
}
