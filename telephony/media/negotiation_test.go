package media

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtp"

	"dialer/telephony"
)

// version is the session id and version of a description.
func version(t *testing.T, body []byte) (id, version string) {
	t.Helper()
	for line := range strings.Lines(string(body)) {
		if o, ok := strings.CutPrefix(line, "o="); ok {
			fields := strings.Fields(o)
			return fields[1], fields[2]
		}
	}
	t.Fatal("no o= line")
	return "", ""
}

// The version grows by one with each change and only with a change, through
// offers and answers.
func TestVersionOfWhatWeSay(t *testing.T) {
	n := NewNegotiation(netip.MustParseAddrPort("192.0.2.1:4000"), both, telephony.SRTPOptional)
	id, last := version(t, n.Offer(""))
	at := 0
	say := func(what string, body []byte, err error, changed bool) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if changed {
			at++
		}
		gotID, got := version(t, body)
		var from, to uint64
		fmt.Sscan(last, &from)
		fmt.Sscan(got, &to)
		if gotID != id || to != from+uint64(at) {
			t.Errorf("%s: session %s version %s after %d changes of %s", what, gotID, got, at, last)
		}
	}
	answer := func(offer []byte) ([]byte, error) {
		b, _, err := n.Answer(offer, "")
		return b, err
	}
	crypto := "a=crypto:4 AES_CM_128_HMAC_SHA1_80 inline:" + key30
	say("refresh", n.Offer(SendRecv), nil, false)
	say("hold", n.Offer(SendOnly), nil, true)
	say("hold again", n.Offer(SendOnly), nil, false)
	b, err := answer(plain("m=audio 4000 RTP/AVP 0", crypto))
	say("an answer", b, err, true)
	b, err = answer(plain("m=audio 4000 RTP/AVP 0", crypto))
	say("the same answer", b, err, false)
	b, err = answer(plain("m=audio 4000 RTP/AVP 0", crypto, "a=sendonly"))
	say("their hold", b, err, true)
	if _, err := answer(plain("m=audio 4000 RTP/AVP 18")); err == nil {
		t.Error("G.729 was taken")
	}
	b, err = answer(plain("m=audio 4000 RTP/AVP 0", crypto, "a=sendonly"))
	say("after one that was refused", b, err, false)
	say("an offer", n.Offer(""), nil, true)
}

// Whatever two of us offer and answer, both go by the same, and keep to it when
// they offer again.
func TestTwoOfUsAgree(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	policies := []telephony.SRTPPolicy{"", telephony.SRTPOff, telephony.SRTPOptional, telephony.SRTPRequired}
	directions := []string{"", SendRecv, SendOnly, RecvOnly, Inactive}
	pick := func(n int) int { return random.IntN(n) }
	codecs := func() []Codec {
		return [][]Codec{{PCMU}, {PCMA}, {PCMU, PCMA}, {PCMA, PCMU}}[pick(4)]
	}
	for range 2000 {
		ours, theirs := netip.MustParseAddrPort("192.0.2.1:4000"), netip.MustParseAddrPort("[2001:db8::2]:5000")
		pa, pb, ca, cb := policies[pick(4)], policies[pick(4)], codecs(), codecs()
		a, b := NewNegotiation(ours, ca, pa), NewNegotiation(theirs, cb, pb)
		if pick(4) == 0 {
			b.formats[0].PayloadType, b.event = 97, 100
		}
		common := slices.IndexFunc(ca, func(c Codec) bool { return slices.Contains(cb, c) })
		off := func(p telephony.SRTPPolicy) bool { return p == "" || p == telephony.SRTPOff }
		possible := common >= 0 && !(pa == telephony.SRTPRequired && off(pb) || pb == telephony.SRTPRequired && off(pa))
		for round := range 3 {
			from, to := a, b
			if round == 1 {
				from, to = b, a
			}
			dir, want := directions[pick(5)], directions[pick(5)]
			answer, atB, err := to.Answer(from.Offer(dir), want)
			if (err == nil) != possible {
				t.Fatalf("policies %q and %q, codecs %v and %v: %v", pa, pb, ca, cb, err)
			}
			if err != nil {
				break
			}
			atA, err := from.Accept(answer)
			if err != nil {
				t.Fatalf("round %d: %v\n%s", round, err, answer)
			}
			secured := !off(pa) && !off(pb)
			switch {
			case atA.Codec != atB.Codec || atA.PayloadType != atB.PayloadType || atA.DTMF != atB.DTMF || atA.DTMFClock != atB.DTMFClock:
				t.Fatalf("round %d: %+v and %+v", round, atA, atB)
			case atA.Send != atB.Receive || atB.Send != atA.Receive:
				t.Fatalf("round %d, %s to %s: directions differ: %+v and %+v", round, dir, want, atA, atB)
			case (atA.Crypto != nil) != secured || (atB.Crypto != nil) != secured:
				t.Fatalf("round %d, %q and %q: %v and %v", round, pa, pb, atA.Crypto, atB.Crypto)
			case secured && (atA.Crypto.suite != atB.Crypto.suite || atA.Crypto.send != atB.Crypto.receive[0] || atB.Crypto.send != atA.Crypto.receive[0]):
				t.Fatalf("round %d: the keys differ", round)
			}
		}
	}
}

// Payload types may differ by direction: each sends what the other calls it.
func TestPayloadTypesByDirection(t *testing.T) {
	s, w := open(t), newWire(t, "127.0.0.1:0")
	n := NewNegotiation(s.Local(), both, "")
	n.Offer("")
	r, err := n.Accept(body("v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "c=IN IP4 127.0.0.1", "t=0 0",
		fmt.Sprintf("m=audio %d RTP/AVP 97 100", w.addr.Port()), "a=rtpmap:97 PCMU/8000", "a=rtpmap:100 telephone-event/8000"))
	if err != nil {
		t.Fatal(err)
	}
	s.SetRemote(r)
	s.Answered(time.Now())
	send := func(payloadType uint8, sequence uint16, payload []byte) {
		t.Helper()
		if _, err := w.WriteToUDPAddrPort(packetOf(payloadType, 1, sequence, uint32(sequence)*160, payload), s.Local()); err != nil {
			t.Fatal(err)
		}
	}
	send(0, 1, spoken(1000))  // as we call it
	send(97, 2, spoken(2000)) // as it does
	hearsValues(t, s, 1000, 2000)
	for i, pt := range []uint8{101, 100} {
		send(pt, uint16(3+i), []byte{byte(i), 0x80, 1, 0x40})
		select {
		case d := <-s.Digits():
			if d.Key != rune('0'+i) {
				t.Errorf("pressed %c, want %d", d.Key, i)
			}
		case <-time.After(deadline):
			t.Fatalf("telephone-event as %d is not heard", pt)
		}
	}
	if err := s.WriteFrame(frameOf(100)); err != nil {
		t.Fatal(err)
	}
	if p := w.read(t); p.PayloadType != 97 || string(p.Payload) != string(spoken(100)) {
		t.Errorf("we send PCMU as %d, want 97", p.PayloadType)
	}
	go s.SendDigits(soon(t), "5") //nolint:errcheck // its packets are looked at
	if p := w.read(t); p.PayloadType != 100 {
		t.Errorf("we send telephone-event as %d, want 100", p.PayloadType)
	}
}

// A far end that changes its codec within the call is understood before and
// after, and gets what it asks for.
func TestCodecChangeMidCall(t *testing.T) {
	s, n, f := meet(t, "AES_CM_128_HMAC_SHA1_80", telephony.SRTPRequired)
	f.barrier(s, 1000)
	_, r, err := n.Answer([]byte(strings.Replace(string(f.body("RTP/SAVP", f.crypto("1"))), "0 101", "8 101", 1)), "")
	if err != nil {
		t.Fatal(err)
	}
	s.SetRemote(r)
	aLaw := make([]byte, 160)
	for i := range aLaw {
		aLaw[i] = telephony.EncodeALaw(2000)
	}
	// Packets of the old codec that came after the change are missing to the
	// stream; so many later ones end the waiting for them.
	for range reorderWindow + 1 {
		f.send(s.Local(), f.sealed(8, aLaw))
	}
	for {
		frame, err := s.ReadFrame(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		if frame.Samples[80] == telephony.DecodeALaw(aLaw[0]) {
			break
		}
	}
	if p := f.open(f.datagramOf(s, 2000)); p.PayloadType != 8 || string(p.Payload) != string(aLaw) {
		t.Errorf("after the change we send type %d", p.PayloadType)
	}
	f.send(s.Local(), f.sealed(0, spoken(9000)))
	f.barrierALaw(s, 3000)
}

func (f *stranger) barrierALaw(s *Session, value int16) {
	f.t.Helper()
	payload := make([]byte, 160)
	for i := range payload {
		payload[i] = telephony.EncodeALaw(value)
	}
	f.send(s.Local(), f.sealed(8, payload), f.sealed(8, payload), f.sealed(8, payload), f.sealed(8, payload))
	for {
		frame, err := s.ReadFrame(soon(f.t))
		if err != nil {
			f.t.Fatal(err)
		}
		switch got := frame.Samples[80]; {
		case got == telephony.DecodeALaw(payload[0]):
			return
		case got > 5000:
			f.t.Fatalf("heard %d in a codec that was not agreed", got)
		}
	}
}

// Packets are no longer than the far end takes, written or relayed, and their
// numbers and times are as if they had come so.
func TestLongestPacket(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		a, b, w := open(t), open(t), newWire(t, "127.0.0.1:0")
		b.SetRemote(Remote{Addr: w.addr, Codec: PCMU, Send: true, Receive: true, MaxTime: 10 * time.Millisecond})
		read := w.read
		if sealed {
			n := NewNegotiation(b.Local(), both, telephony.SRTPOptional)
			f := newStranger(t, "AEAD_AES_128_GCM")
			f.wire = w
			f.hear(n.Offer(""))
			r, err := n.Accept(f.body("RTP/AVP", f.crypto("2"), "a=maxptime:10"))
			if err != nil {
				t.Fatal(err)
			}
			b.SetRemote(r)
			read = func(testing.TB) *rtp.Packet { return f.next() }
		}
		if err := b.WriteFrame(frameOf(100)); err != nil {
			t.Fatal(err)
		}
		first, second := read(t), read(t)
		if len(first.Payload) != 80 || len(second.Payload) != 80 || second.SequenceNumber != first.SequenceNumber+1 || second.Timestamp != first.Timestamp+80 {
			t.Errorf("a frame goes out as %v and %v", first.Header, second.Header)
		}
		plainFar := newWire(t, "127.0.0.1:0")
		a.SetRemote(remoteAt(plainFar.addr, PCMU))
		stop := a.Relay(b)
		// 30 ms each; the third is lost and the fifth late.
		var last uint32
		var numbers []uint16
		for _, sequence := range []uint16{1, 2, 4, 6, 5, 7} {
			payload := make([]byte, 240)
			a.receive(packetOf(0, 9, sequence, uint32(sequence)*240, payload), plainFar.addr, time.Now())
			if sequence == 5 {
				continue
			}
			for range 3 {
				p := read(t)
				if len(p.Payload) != 80 || last != 0 && (p.Timestamp-last)%80 != 0 {
					t.Errorf("packet %d goes on as %v", sequence, p.Header)
				}
				last = p.Timestamp
				numbers = append(numbers, p.SequenceNumber)
			}
		}
		stop()
		for i := range numbers {
			if i > 0 && int16(numbers[i]-numbers[i-1]) <= 0 {
				t.Errorf("the numbers are %v", numbers)
			}
		}
	}
}

// Where RTCP goes (RFC 3605, RFC 5761).
func TestWhereReportsAreSaidToGo(t *testing.T) {
	for name, c := range map[string]struct {
		line, at string
		mux      bool
	}{
		"by default":        {"a=sendrecv", "invalid AddrPort", false},
		"another port":      {"a=rtcp:4100", "192.0.2.1:4100", false},
		"another address":   {"a=rtcp:4100 IN IP4 192.0.2.7", "192.0.2.7:4100", false},
		"multicast":         {"a=rtcp:4100 IN IP4 224.0.0.1", "192.0.2.1:4100", false},
		"no number":         {"a=rtcp:x", "invalid AddrPort", false},
		"on the audio port": {"a=rtcp-mux", "invalid AddrPort", true},
	} {
		_, r, err := answer(plain("m=audio 4000 RTP/AVP 0", c.line), both, "")
		if err != nil {
			t.Fatal(err)
		}
		if r.Control.String() != c.at || r.Mux != c.mux {
			t.Errorf("%s: %s, mux %v; want %s, %v", name, r.Control, r.Mux, c.at, c.mux)
		}
	}
	// An answer may not begin it.
	if r, err := parseAnswer(plain("m=audio 4000 RTP/AVP 0", "a=rtcp-mux"), both); err != nil || r.Mux {
		t.Errorf("rtcp-mux that we did not offer: %v, %v", r.Mux, err)
	}
}
