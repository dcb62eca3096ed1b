package media

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"

	"dialer/telephony"
)

// A stranger is a far end made of pion alone: it reads our SDP by itself and
// seals and opens by itself.
type stranger struct {
	wire
	t        testing.TB
	suite    suite
	secret   []byte
	out, in  *srtp.Context
	ssrc     uint32
	sequence uint16
	clock    uint32
}

func newStranger(t testing.TB, name string) *stranger {
	s, ok := suiteOf(name)
	if !ok {
		t.Fatalf("no suite %s", name)
	}
	f := &stranger{wire: newWire(t, "127.0.0.1:0"), t: t, suite: s, ssrc: 0xabcd, sequence: 100}
	f.rekey("one")
	return f
}

// rekey takes another key and begins to count at zero.
func (f *stranger) rekey(seed string) {
	f.secret = []byte(strings.Repeat(seed, 46))[:f.suite.master+f.suite.salt]
	f.out = f.context(f.secret)
}

func (f *stranger) context(secret []byte) *srtp.Context {
	f.t.Helper()
	c, err := srtp.CreateContext(secret[:f.suite.master], secret[f.suite.master:], f.suite.profile)
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

// crypto is the line of the stranger, under the tag that our offer has.
func (f *stranger) crypto(tag string) string {
	return "a=crypto:" + tag + " " + f.suite.name + " inline:" + base64.StdEncoding.EncodeToString(f.secret)
}

// hear takes our key out of our SDP.
func (f *stranger) hear(sdp []byte) (tag string) {
	f.t.Helper()
	for line := range strings.Lines(string(sdp)) {
		fields := strings.Fields(line)
		if len(fields) == 3 && fields[1] == f.suite.name {
			secret, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(fields[2], "inline:"))
			if err != nil {
				f.t.Fatal(err)
			}
			f.in = f.context(secret)
			return strings.TrimPrefix(fields[0], "a=crypto:")
		}
	}
	f.t.Fatalf("no %s in\n%s", f.suite.name, sdp)
	return ""
}

// body is SDP of the stranger.
func (f *stranger) body(profile string, more ...string) []byte {
	return body(append([]string{"v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "c=IN IP4 127.0.0.1", "t=0 0",
		fmt.Sprintf("m=audio %d %s 0 101", f.addr.Port(), profile), "a=rtpmap:101 telephone-event/8000"}, more...)...)
}

// meet has an answered call between a session of ours and a stranger.
func meet(t testing.TB, name string, policy telephony.SRTPPolicy) (*Session, *Negotiation, *stranger) {
	t.Helper()
	s, f := open(t), newStranger(t, name)
	n := NewNegotiation(s.Local(), both, policy)
	offer := n.Offer("")
	profile := map[telephony.SRTPPolicy]string{telephony.SRTPRequired: "RTP/SAVP", telephony.SRTPOptional: "RTP/AVP"}[policy]
	r, err := n.Accept(f.body(profile, f.crypto(f.hear(offer))))
	if err != nil {
		t.Fatal(err)
	}
	s.SetRemote(r)
	s.Answered(time.Now())
	return s, n, f
}

// sealed is the stranger's next packet.
func (f *stranger) sealed(payloadType uint8, payload []byte) []byte {
	f.t.Helper()
	plain := packetOf(payloadType, f.ssrc, f.sequence, f.clock, payload)
	f.sequence++
	f.clock += telephony.FrameSamples
	b, err := f.out.EncryptRTP(nil, plain, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	return b
}

func (f *stranger) send(to netip.AddrPort, datagrams ...[]byte) {
	f.t.Helper()
	for _, d := range datagrams {
		if _, err := f.WriteToUDPAddrPort(d, to); err != nil {
			f.t.Fatal(err)
		}
	}
}

// next opens the next packet that comes.
func (f *stranger) next() *rtp.Packet {
	f.t.Helper()
	return f.open(f.datagram())
}

func (f *stranger) datagram() []byte {
	f.t.Helper()
	b := make([]byte, 2000)
	_ = f.SetReadDeadline(time.Now().Add(deadline))
	n, err := f.Read(b)
	if err != nil {
		f.t.Fatalf("no packet came: %v", err)
	}
	return b[:n]
}

func (f *stranger) open(datagram []byte) *rtp.Packet {
	f.t.Helper()
	plain, err := f.in.DecryptRTP(nil, datagram, nil)
	if err != nil {
		f.t.Fatalf("what we send cannot be opened: %v", err)
	}
	p := new(rtp.Packet)
	if err := p.Unmarshal(plain); err != nil {
		f.t.Fatal(err)
	}
	return p
}

// hearsValues waits until the session has heard frames of these values and
// nothing else.
func hearsValues(t testing.TB, s *Session, values ...int16) {
	t.Helper()
	for _, want := range values {
		f, err := s.ReadFrame(soon(t))
		if err != nil {
			t.Fatalf("waiting for %d: %v", want, err)
		}
		if got := f.Samples[80]; f.Lost || got != telephony.DecodeULaw(telephony.EncodeULaw(want)) {
			t.Fatalf("heard %d (lost %v), want %d", got, f.Lost, want)
		}
	}
}

func frameOf(value int16) (f telephony.Frame) {
	for i := range f.Samples {
		f.Samples[i] = value
	}
	return f
}

func TestEverySuiteBothWays(t *testing.T) {
	for _, su := range suites {
		for _, policy := range []telephony.SRTPPolicy{telephony.SRTPRequired, telephony.SRTPOptional} {
			t.Run(su.name+"/"+string(policy), func(t *testing.T) {
				s, _, f := meet(t, su.name, policy)
				f.send(s.Local(), f.sealed(0, spoken(1000)), f.sealed(0, spoken(2000)))
				hearsValues(t, s, 1000, 2000)
				event := f.sealed(101, []byte{5, 0x8a, 1, 0x40})
				f.send(s.Local(), event)
				select {
				case d := <-s.Digits():
					if d.Key != '5' {
						t.Errorf("pressed %c, want 5", d.Key)
					}
				case <-time.After(deadline):
					t.Error("the key press never came")
				}
				for range 3 {
					if err := s.WriteFrame(frameOf(3000)); err != nil {
						t.Fatal(err)
					}
					datagram := f.datagram()
					if strings.Contains(string(datagram), string(spoken(3000)[:16])) {
						t.Fatal("the audio goes out in the clear")
					}
					if p := f.open(datagram); string(p.Payload) != string(spoken(3000)) {
						t.Fatal("what we send is not what was said")
					}
				}
			})
		}
	}
}

// SRTCP goes by the same keys.
func TestReportsAreSealed(t *testing.T) {
	for _, su := range suites {
		s, _, f := meet(t, su.name, telephony.SRTPRequired)
		report, err := rtcp.Marshal([]rtcp.Packet{&rtcp.SenderReport{SSRC: f.ssrc, NTPTime: 7}})
		if err != nil {
			t.Fatal(err)
		}
		sealed, err := f.out.EncryptRTCP(nil, report, nil)
		if err != nil {
			t.Fatal(err)
		}
		plain, ok := s.in.unseal(sealed)
		if !ok || string(plain) != string(report) {
			t.Errorf("%s: the far end's report was not opened", su.name)
		}
		if _, ok := s.in.unseal(sealed); ok {
			t.Errorf("%s: a repeated report was taken", su.name)
		}
		sent, ok := s.out.seal(append(make([]byte, 0, 200), report...))
		if !ok {
			t.Fatalf("%s: our report was not sealed", su.name)
		}
		back, err := f.in.DecryptRTCP(nil, sent, nil)
		if err != nil || string(back) != string(report) {
			t.Errorf("%s: our report cannot be opened: %v", su.name, err)
		}
	}
}
