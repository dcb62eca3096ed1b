package media

import (
	"encoding/base64"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"dialer/telephony"
)

// barrier lets the far end say a value and waits until it is heard, so that all
// that was sent before it has been dealt with. They are as many packets as make
// another stream believed.
func (f *stranger) barrier(s *Session, value int16) {
	f.t.Helper()
	for range latchPackets + 1 {
		f.send(s.Local(), f.sealed(0, spoken(value)))
	}
	want := telephony.DecodeULaw(telephony.EncodeULaw(value))
	for {
		frame, err := s.ReadFrame(soon(f.t))
		if err != nil {
			f.t.Fatalf("waiting for %d: %v", value, err)
		}
		switch got := frame.Samples[80]; {
		case frame.Lost:
		case got == want:
			return
		case got > 5000:
			f.t.Fatalf("heard %d, which must not be heard", got)
		}
	}
}

// What is not sealed by the agreed key, once and by the far end, is never heard
// and moves nothing.
func TestForgedPacketsAreNotHeard(t *testing.T) {
	for _, su := range suites {
		t.Run(su.name, func(t *testing.T) {
			s, _, f := meet(t, su.name, telephony.SRTPRequired)
			f.barrier(s, 1000)
			replayed := f.sealed(0, spoken(1100))
			f.send(s.Local(), replayed)
			hearsValues(t, s, 1000, 1000, 1000, 1100)

			wrong := newStranger(t, su.name)
			wrong.rekey("two")
			wrong.ssrc, wrong.sequence = f.ssrc, f.sequence
			plain := packetOf(0, f.ssrc, f.sequence, uint32(f.sequence)*160, spoken(9000))
			broken := f.sealed(0, spoken(9000))
			f.sequence--
			broken[20] ^= 1
			tag := f.sealed(0, spoken(9000))
			f.sequence--
			tag[len(tag)-1] ^= 1
			reflected := f.datagramOf(s, 9000)
			forged := [][]byte{plain, broken, tag, replayed, reflected, wrong.sealed(0, spoken(9000)), plain[:12], tag[:15]}
			f.send(s.Local(), forged...)
			f.barrier(s, 1200)
			if got := s.Stats().Rejected; got != int64(len(forged)) {
				t.Errorf("%d packets were rejected, want %d", got, len(forged))
			}
		})
	}
}

// What we send and somebody throws back is not heard, even where the far end has
// taken our key for its own.
func TestOurOwnPacketsAreNotHeard(t *testing.T) {
	s, f := open(t), newStranger(t, "AES_CM_128_HMAC_SHA1_80")
	n := NewNegotiation(s.Local(), both, telephony.SRTPRequired)
	f.hear(n.Offer(""))
	f.secret = []byte(n.secrets[f.suite.name].key + n.secrets[f.suite.name].salt)
	f.out = f.context(f.secret)
	r, err := n.Accept(f.body("RTP/SAVP", f.crypto("4")))
	if err != nil {
		t.Fatal(err)
	}
	s.SetRemote(r)
	s.Answered(time.Now())
	for range latchPackets + 1 {
		f.send(s.Local(), f.datagramOf(s, 9000))
	}
	f.barrier(s, 1000)
	if got := s.Stats().Rejected; got != latchPackets+1 {
		t.Errorf("%d packets were rejected, want %d", got, latchPackets+1)
	}
}

// unsealed reports whether a session opens a packet.
func unsealed(s *Session, packet []byte) bool {
	s.in.mu.Lock()
	defer s.in.mu.Unlock()
	_, ok := s.in.unseal(packet)
	return ok
}

// datagramOf is what our side sends of a frame.
func (f *stranger) datagramOf(s *Session, value int16) []byte {
	f.t.Helper()
	if err := s.WriteFrame(frameOf(value)); err != nil {
		f.t.Fatal(err)
	}
	return f.datagram()
}

// A stranger behind the far end's address cannot take the audio to another port:
// it does not know the key.
func TestLatchNeedsTheKey(t *testing.T) {
	s, _, f := meet(t, "AES_CM_128_HMAC_SHA1_80", telephony.SRTPRequired)
	thief := newStranger(t, "AES_CM_128_HMAC_SHA1_80")
	thief.rekey("not")
	for range 2 * latchPackets {
		thief.send(s.Local(), thief.sealed(0, spoken(9000)))
		thief.send(s.Local(), packetOf(0, 77, thief.sequence, 0, spoken(9000)))
	}
	f.barrier(s, 1000)
	if p := f.open(f.datagramOf(s, 3000)); string(p.Payload) != string(spoken(3000)) {
		t.Error("our audio is not what was said")
	}
}

// The far end's key and port may be shown by NAT: with the key it latches.
func TestLatchWithTheKey(t *testing.T) {
	s, _, f := meet(t, "AEAD_AES_128_GCM", telephony.SRTPRequired)
	nat := newWire(t, "127.0.0.1:0")
	f.wire = nat
	for range latchPackets {
		f.send(s.Local(), f.sealed(0, spoken(1000)))
	}
	f.barrier(s, 1000)
	f.open(f.datagramOf(s, 3000))
}

// The count of sealed packets goes on over the wrap of the sequence number, with
// swaps and long losses on the way, in both directions.
func TestRolloverBothWays(t *testing.T) {
	const blocks, perBlock, lost = 20, 300, 15_000 // more than four times around
	for _, su := range suites {
		s, _, f := meet(t, su.name, telephony.SRTPRequired)
		opens := func(p []byte) {
			t.Helper()
			if !unsealed(s, p) {
				t.Fatalf("%s: a packet before number %d was not opened", su.name, f.sequence)
			}
		}
		for range blocks {
			var late []byte
			for i := range perBlock {
				p := f.sealed(0, []byte{0xff})
				switch {
				case i%10 == 3: // lost
				case i%10 == 5:
					late = p
				default:
					opens(p)
				}
				if i%10 == 8 {
					opens(late)
					if unsealed(s, late) {
						t.Fatalf("%s: a repeated packet was opened", su.name)
					}
				}
			}
			f.sequence += lost
		}
		o := &s.out
		for range blocks {
			for range perBlock {
				plain := append(make([]byte, 0, 200), packetOf(0, o.ssrc, o.sequence, 0, []byte{1, 2, 3})...)
				o.sequence++
				b, ok := o.seal(plain)
				if !ok {
					t.Fatalf("%s: packet %d was not sealed", su.name, o.sequence)
				}
				f.open(b)
			}
			o.sequence += lost
		}
	}
}

// Hold and its end keep both keys and their counts; another key of the far end's
// is taken at once, whether it begins to count again or goes on.
func TestKeysOverReoffers(t *testing.T) {
	for _, su := range suites {
		s, n, f := meet(t, su.name, telephony.SRTPOptional)
		f.sequence = 65530
		value := int16(0)
		speak := func(what string) {
			t.Helper()
			value += 100
			f.barrier(s, value)
			if p := f.open(f.datagramOf(s, 3000)); string(p.Payload) != string(spoken(3000)) {
				t.Fatalf("%s, %s: what comes is not what was said", su.name, what)
			}
		}
		reoffer := func(profile string, more ...string) {
			t.Helper()
			in := f.in
			body, r, err := n.Answer(f.body(profile, append(more, f.crypto("5"))...), "")
			if err != nil {
				t.Fatal(err)
			}
			s.SetRemote(r)
			f.hear(body)
			if in != nil {
				f.in = in // our key must be what it was: the stranger goes on with it
			}
		}
		ssrc := s.out.ssrc
		for range 12 { // over the wrap of its sequence
			speak("at first")
		}
		reoffer("RTP/AVP", "a=sendonly")
		f.barrier(s, 60)
		again := f.sealed(0, spoken(60))
		f.send(s.Local(), again)
		f.barrier(s, 4500)
		reoffer("RTP/SAVP")
		if unsealed(s, again) {
			t.Errorf("%s: a packet from before the end of the hold is opened again", su.name)
		}
		speak("after hold")
		reoffer("RTP/AVP", "a=inactive")
		s.receive(f.sealed(0, spoken(7000)), f.addr, time.Now()) // counts, and is not heard
		reoffer("RTP/AVP")
		speak("after a second hold")

		old := f.sealed(0, spoken(70))
		f.rekey("three")
		reoffer("RTP/AVP")
		if !unsealed(s, old) {
			t.Errorf("%s: a packet that was on its way under the key before is not opened", su.name)
		}
		speak("with a new key that begins to count at zero")

		before := f.sequence
		for _, f.sequence = range []uint16{30_000, 60_000, 65_533} {
			speak("before the next key, which rolls over")
		}
		rollover, _ := f.out.ROC(f.ssrc) // which the session need not have seen yet
		f.rekey("four")
		f.out.SetROC(f.ssrc, rollover)
		reoffer("RTP/AVP")
		speak("with a new key that goes on counting")
		if before == f.sequence || s.out.ssrc != ssrc {
			t.Errorf("%s: our stream has changed though our key has not", su.name)
		}
		stale := f.sealed(0, spoken(9000))
		f.rekey("five")
		reoffer("RTP/AVP")
		speak("with the last key")
		f.send(s.Local(), stale)
		speak("after a packet of the key before")
	}
}

// A key of ours that is another, as when the suite changes, comes with another
// SSRC: no number is used twice under one key.
func TestAnotherKeyOfOursIsAnotherStream(t *testing.T) {
	s, n, f := meet(t, "AES_CM_128_HMAC_SHA1_80", telephony.SRTPOptional)
	f.barrier(s, 1000)
	f.open(f.datagramOf(s, 3000))
	first := s.out.ssrc
	secrets := map[string]bool{}
	for i, name := range []string{"AEAD_AES_256_GCM", "AES_CM_128_HMAC_SHA1_80"} {
		g := newStranger(t, name)
		g.wire, g.ssrc = f.wire, uint32(500+i)
		body, r, err := n.Answer(g.body("RTP/AVP", g.crypto("1")), "")
		if err != nil {
			t.Fatal(err)
		}
		s.SetRemote(r)
		g.hear(body)
		secrets[cryptoValue(t, body)] = true
		p := g.open(g.datagramOf(s, 3000))
		if p.SSRC == first {
			t.Errorf("%s: the SSRC stays", name)
		}
		s.out.mu.Lock()
		if report := s.out.compound(nil, nil, false, false, time.Now()); binary.BigEndian.Uint32(report[20:]) != 1 || binary.BigEndian.Uint32(report[24:]) != 160 {
			t.Errorf("%s: after one packet of a stream its report counts %x", name, report[20:28])
		}
		s.out.mu.Unlock()
		first = p.SSRC
	}
	// Through plain and back to the key that was used before.
	_, r, err := n.Answer(f.body("RTP/AVP"), "")
	if err != nil || r.Crypto != nil {
		t.Fatalf("a plain offer: %v, %v", r.Crypto, err)
	}
	s.SetRemote(r)
	if err := s.WriteFrame(frameOf(3000)); err != nil {
		t.Fatal(err)
	}
	plain := f.read(t)
	if string(plain.Payload) != string(spoken(3000)) {
		t.Error("plain audio is not plain")
	}
	g := newStranger(t, "AES_CM_128_HMAC_SHA1_80")
	g.wire, g.ssrc = f.wire, 900
	body, r, err := n.Answer(g.body("RTP/AVP", g.crypto("1")), "")
	if err != nil {
		t.Fatal(err)
	}
	s.SetRemote(r)
	g.hear(body)
	if p := g.open(g.datagramOf(s, 3000)); p.SSRC == plain.SSRC || p.SSRC == first {
		t.Error("the key is used with an SSRC that it was used with before")
	}
	if !secrets[cryptoValue(t, body)] {
		t.Error("our key of a suite has changed within the call")
	}
}

func cryptoValue(t *testing.T, sdp []byte) string {
	t.Helper()
	_, rest, ok := strings.Cut(string(sdp), "a=crypto:")
	if !ok {
		t.Fatalf("no a=crypto in\n%s", sdp)
	}
	line, _, _ := strings.Cut(rest, "\r\n")
	_, key, _ := strings.Cut(line, "inline:")
	return key
}

// MKI is read, chooses the key, and is sent when the far end has it.
func TestMasterKeyIdentifiers(t *testing.T) {
	for _, su := range suites {
		s, f := open(t), newStranger(t, su.name)
		n := NewNegotiation(s.Local(), both, telephony.SRTPRequired)
		second := newStranger(t, su.name)
		second.rekey("second")
		second.ssrc = 4
		line := f.crypto("3") + "|2^31|5:4;inline:" + base64.StdEncoding.EncodeToString(second.secret) + "|1024|262:4"
		body, r, err := n.Answer(f.body("RTP/SAVP", line), "")
		if err != nil {
			t.Fatal(err)
		}
		s.SetRemote(r)
		s.Answered(time.Now())
		ours, ok := strings.CutSuffix(cryptoValue(t, body), "|1:4")
		if !ok {
			t.Fatalf("%s: our key has no MKI of 4 bytes:\n%s", su.name, body)
		}
		secret, _ := base64.StdEncoding.DecodeString(ours)
		f.in = f.context(secret)
		mark := func(b []byte, mki string) []byte {
			at := len(b)
			if !su.aead {
				at -= su.tag
			}
			return []byte(string(b[:at]) + mki + string(b[at:]))
		}
		f.send(s.Local(),
			mark(f.sealed(0, spoken(1000)), "\x00\x00\x00\x05"),
			mark(f.sealed(0, spoken(1100)), "\x00\x00\x00\x05"))
		hearsValues(t, s, 1000, 1100)
		f.send(s.Local(), mark(f.sealed(0, spoken(9000)), "\x00\x00\x00\x06"))      // no such key
		f.send(s.Local(), mark(second.sealed(0, spoken(9000)), "\x00\x00\x00\x05")) // another one's
		second.wire, second.sequence, second.ssrc = f.wire, f.sequence, f.ssrc
		second.barrierMarked(s, mark, "\x00\x00\x01\x06", 1200)

		b := f.datagramOf(s, 3000)
		at := len(b) - 4
		if !su.aead {
			at -= su.tag
		}
		if string(b[at:at+4]) != "\x00\x00\x00\x01" {
			t.Errorf("%s: %x has no MKI at %d", su.name, b, at)
		}
		f.open(append(b[:at:at], b[at+4:]...))
		if got := s.Stats().Rejected; got != 2 {
			t.Errorf("%s: %d packets were rejected, want 2", su.name, got)
		}
	}
}

func (f *stranger) barrierMarked(s *Session, mark func([]byte, string) []byte, mki string, value int16) {
	f.t.Helper()
	for range 3 {
		f.send(s.Local(), mark(f.sealed(0, spoken(value)), mki))
	}
	for {
		frame, err := s.ReadFrame(soon(f.t))
		if err != nil {
			f.t.Fatal(err)
		}
		if frame.Samples[80] == telephony.DecodeULaw(telephony.EncodeULaw(value)) {
			return
		}
		if !frame.Lost {
			f.t.Fatalf("heard %d", frame.Samples[80])
		}
	}
}

// A storm of SSRC that do not know the key leaves nothing behind.
func TestStormOfSSRCIsForgotten(t *testing.T) {
	s, _, f := meet(t, "AES_CM_128_HMAC_SHA1_80", telephony.SRTPRequired)
	f.barrier(s, 1000)
	storm := packetOf(0, 0, 1, 0, make([]byte, 170))
	for i := range 10_000 {
		storm[8], storm[9], storm[10] = byte(i>>16), byte(i>>8), byte(i)
		s.receive(storm, f.addr, time.Now())
	}
	u := s.in.opener.(*unseal)
	if k := u.keys[0]; len(k.streams) != 1 || k.tried > maxTried {
		t.Errorf("%d SSRC are known, %d notes are kept", len(k.streams), k.tried)
	}
	// One that does know it may have many, and the oldest is forgotten.
	for i := range 3 * maxOpened {
		g := *f
		g.ssrc, g.sequence = uint32(i), 1
		s.receive(g.sealed(0, spoken(1)), f.addr, time.Now())
	}
	if n := len(u.keys[0].streams); n != maxOpened {
		t.Errorf("%d SSRC are known, want %d", n, maxOpened)
	}
}

// A while without SRTP ends neither the far end's count nor the memory of what it
// has said: it is heard again, and nothing from before is heard twice.
func TestKeysOverAWhileOfPlainAudio(t *testing.T) {
	for _, su := range suites {
		for _, c := range []struct {
			name string
			on   int // packets that the far end counts meanwhile
		}{{"a pause", 0}, {"half around", 40_000}, {"over the wrap", 66_000}} {
			s, n, f := meet(t, su.name, telephony.SRTPOptional)
			reoffer := func(more ...string) {
				t.Helper()
				_, r, err := n.Answer(f.body("RTP/AVP", more...), "")
				if err != nil {
					t.Fatal(err)
				}
				s.SetRemote(r)
			}
			f.out.SetROC(f.ssrc, 1)
			s.in.opener.(*unseal).rollovers = map[uint32]uint32{f.ssrc: 1} // 22 minutes of call
			old := f.sealed(0, spoken(100))
			if !unsealed(s, old) {
				t.Fatalf("%s: the first packet is not opened", su.name)
			}
			reoffer()
			if s.in.opener != nil {
				t.Fatalf("%s: a plain description leaves the keys", su.name)
			}
			f.out.SetROC(f.ssrc, 1+uint32(int(f.sequence)+c.on)>>16)
			f.sequence += uint16(c.on)
			reoffer(f.crypto("1"))
			if unsealed(s, old) {
				t.Errorf("%s, %s: a packet from before is opened again", su.name, c.name)
			}
			p := f.sealed(0, spoken(100))
			if !unsealed(s, p) || unsealed(s, p) || !unsealed(s, f.sealed(0, spoken(100))) {
				t.Errorf("%s, %s: the far end is not opened again", su.name, c.name)
			}
			if unsealed(s, old) {
				t.Errorf("%s, %s: a packet from before is opened again later", su.name, c.name)
			}
		}
	}
}

// A far end whose sequence rolls over just as it changes its key is heard.
func TestRolloverBetweenKeys(t *testing.T) {
	for _, su := range suites {
		s, n, f := meet(t, su.name, telephony.SRTPRequired)
		f.sequence = 65_534
		if !unsealed(s, f.sealed(0, spoken(100))) {
			t.Fatal("the first packet is not opened")
		}
		f.sealed(0, spoken(100)) // these two are lost
		f.sealed(0, spoken(100))
		f.rekey("two")
		f.out.SetROC(f.ssrc, 1)
		_, r, err := n.Answer(f.body("RTP/SAVP", f.crypto("1")), "")
		if err != nil {
			t.Fatal(err)
		}
		s.SetRemote(r)
		if !unsealed(s, f.sealed(0, spoken(100))) {
			t.Errorf("%s: a packet after the rollover is not opened under the new key", su.name)
		}
	}
}
