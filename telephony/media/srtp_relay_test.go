package media

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"dialer/telephony"
)

// Between a leg with SRTP and one without, and between two with different keys,
// audio and key presses pass, whatever the codecs.
func TestRelayOfSealedLegs(t *testing.T) {
	for _, pair := range [][2]string{
		{"AES_CM_128_HMAC_SHA1_80", ""},
		{"AEAD_AES_256_GCM", ""},
		{"AES_256_CM_HMAC_SHA1_32", "AEAD_AES_128_GCM"},
	} {
		t.Run(fmt.Sprint(pair), func(t *testing.T) {
			a, _, fa := meet(t, pair[0], telephony.SRTPRequired)
			var b *Session
			var fb *stranger
			next := func() (payloadType uint8, payload string) {
				p := fb.next()
				return p.PayloadType, string(p.Payload)
			}
			speak := func(payloadType uint8, payload []byte) { fb.send(b.Local(), fb.sealed(payloadType, payload)) }
			if pair[1] != "" {
				b, _, fb = meet(t, pair[1], telephony.SRTPRequired)
			} else {
				b = open(t)
				plain := newWire(t, "127.0.0.1:0")
				b.SetRemote(remoteAt(plain.addr, PCMU))
				b.Answered(time.Now())
				sequence := uint16(7)
				next = func() (uint8, string) {
					p := plain.read(t)
					return p.PayloadType, string(p.Payload)
				}
				speak = func(payloadType uint8, payload []byte) {
					sequence++
					if _, err := plain.WriteToUDPAddrPort(packetOf(payloadType, 8, sequence, uint32(sequence)*160, payload), b.Local()); err != nil {
						t.Fatal(err)
					}
				}
			}
			defer a.Relay(b)()
			event := []byte{7, 10, 0, 160}
			for i := range 20 {
				value := int16(1000 + 10*i)
				fa.send(a.Local(), fa.sealed(0, spoken(value)))
				if pt, payload := next(); pt != 0 || payload != string(spoken(value)) {
					t.Fatalf("packet %d arrives as %d bytes of type %d", i, len(payload), pt)
				}
				speak(0, spoken(value))
				if p := fa.next(); string(p.Payload) != string(spoken(value)) {
					t.Fatalf("packet %d back arrives as other audio", i)
				}
			}
			fa.send(a.Local(), fa.sealed(101, event))
			if pt, payload := next(); pt != 101 || payload != string(event) {
				t.Errorf("the key press arrives as %x of type %d", payload, pt)
			}
			speak(101, event)
			if p := fa.next(); p.PayloadType != 101 || string(p.Payload) != string(event) {
				t.Errorf("the key press back arrives as %x of type %d", p.Payload, p.PayloadType)
			}
		})
	}
}

// A plain leg that repeats a sequence number with other audio must not make us
// use a number twice under one key.
func TestRelayNeverSealsANumberTwice(t *testing.T) {
	sealed, _, f := meet(t, "AES_CM_128_HMAC_SHA1_80", telephony.SRTPRequired)
	a := open(t)
	plain := newWire(t, "127.0.0.1:0")
	a.SetRemote(remoteAt(plain.addr, PCMU))
	a.Answered(time.Now())
	defer a.Relay(sealed)()
	for _, p := range []struct {
		sequence uint16
		value    int16
	}{{10, 100}, {11, 200}, {11, 9000}, {10, 9000}, {12, 300}, {12, 300}, {13, 400}} {
		a.receive(packetOf(0, 5, p.sequence, uint32(p.sequence)*160, spoken(p.value)), plain.addr, time.Now())
	}
	var numbers []uint16
	for _, want := range []int16{100, 200, 300, 400} {
		p := f.next()
		if string(p.Payload) != string(spoken(want)) {
			t.Errorf("after %v comes other audio than %d", numbers, want)
		}
		numbers = append(numbers, p.SequenceNumber)
	}
}

// A relayed packet costs what pion's suites cost, and nothing of ours.
func TestRelayAllocations(t *testing.T) {
	plain := func() (*Session, netip.AddrPort, func() []byte) {
		s, w := open(t), newWire(t, "127.0.0.1:0")
		s.SetRemote(remoteAt(w.addr, PCMU))
		sequence := uint16(0)
		return s, w.addr, func() []byte {
			sequence++
			return packetOf(0, 5, sequence, uint32(sequence)*160, spoken(100))
		}
	}
	for _, su := range append([]suite{{name: "plain"}}, suites...) {
		var a *Session
		var from netip.AddrPort
		var next func() []byte
		b, _, _ := plain()
		if su.name == "plain" {
			a, from, next = plain()
		} else {
			var f *stranger
			a, _, f = meet(t, su.name, telephony.SRTPRequired)
			from, next = f.addr, func() []byte { return f.sealed(0, spoken(100)) }
		}
		stop := a.Relay(b)
		const runs = 200
		packets := make([][]byte, 0, 2*runs)
		for range 2 * runs {
			packets = append(packets, next())
		}
		i := 0
		in := testing.AllocsPerRun(runs, func() { a.receive(packets[i], from, time.Now()); i++ })
		stop()
		f := frameOf(100)
		out := testing.AllocsPerRun(runs, func() { _ = a.WriteFrame(f) })
		t.Logf("%-24s %.0f allocations a packet in, %.0f out", su.name, in, out)
		most := map[string]float64{"plain": 0}[su.name]
		if su.name != "plain" {
			most = 2
		}
		if in > most || out > most {
			t.Errorf("%s: %.0f allocations a packet in and %.0f out, want %.0f or fewer", su.name, in, out, most)
		}
	}
}
