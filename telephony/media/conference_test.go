package media

import (
	"context"
	"sync"
	"testing"
	"time"

	"dialer/telephony"
)

// callLeg is a session as a leg of a call.
type callLeg struct{ plainLeg }

func legOf(s *Session) callLeg { return callLeg{plainLeg{s: s}} }

func (l callLeg) Relay(to telephony.Leg) (stop func(), ok bool) {
	return l.s.Relay(to.(callLeg).s), true
}

func (l callLeg) Arrivals(f func([]int16, time.Duration)) (stop func()) { return l.s.Arrivals(f) }

// say makes a phone say a tone, a frame each 20 ms, until the test ends.
func say(t *testing.T, s *Session, hz float64) {
	ctx, cancel := context.WithCancel(context.Background())
	var saying sync.WaitGroup
	t.Cleanup(func() { cancel(); saying.Wait() })
	frames := tone(hz, 50) // a whole second
	saying.Go(func() {
		tick := time.NewTicker(telephony.FrameDuration)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-tick.C:
				_ = s.WriteFrame(frames[i%len(frames)])
			case <-ctx.Done():
				return
			}
		}
	})
}

// Legs of either codec hear each other in a conference over RTP.
func TestConferenceOfBothCodecs(t *testing.T) {
	t.Parallel()
	parties := []struct {
		codec Codec
		hz    float64
	}{{PCMU, 400}, {PCMA, 700}, {PCMA, 1100}}
	c := telephony.NewConference()
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	var ears []*ear
	for _, p := range parties {
		phone, leg := open(t), open(t)
		connect(phone, leg, p.codec)
		say(t, phone, p.hz)
		ears = append(ears, listenTo(phone, false))
		if _, err := c.Join(legOf(leg), telephony.Person); err != nil {
			t.Fatal(err)
		}
	}
	go func() { ran <- c.Run(ctx) }()
	for i, p := range parties {
		heard := ears[i].wait(t, 60)[10:]
		for _, other := range parties {
			got := level(heard, other.hz)
			if other == p && got > 400 {
				t.Errorf("the phone of %.0f Hz hears itself at %.0f", p.hz, got)
			}
			if other != p && (got < 6500 || got > 9500) {
				t.Errorf("the phone of %.0f Hz hears %.0f Hz at %.0f, want 8000", p.hz, other.hz, got)
			}
		}
	}
	cancel()
	if err := <-ran; err != nil {
		t.Error(err)
	}
}

// From the relay to a conference and back: the far end sees one stream, in which
// no packet is missing and no time.
func TestOneStreamAcrossConference(t *testing.T) {
	t.Parallel()
	phone, person, agent, boss, nobody := open(t), open(t), open(t), open(t), open(t)
	connect(phone, person, PCMA)
	connect(boss, nobody, PCMU)
	w := newWire(t, "127.0.0.1:0")
	agent.SetRemote(remoteAt(w.addr, PCMU))
	say(t, phone, 400)

	talk := telephony.NewTalk(legOf(person), legOf(agent))
	defer talk.End()
	last := w.read(t)
	begin, first := time.Now(), last.Timestamp
	expect := func(what string, n int) {
		t.Helper()
		loud := 0
		for range n {
			p := w.read(t)
			if p.SSRC != last.SSRC || p.SequenceNumber != last.SequenceNumber+1 {
				t.Fatalf("%s: SSRC %x, sequence %d after %x, %d", what, p.SSRC, p.SequenceNumber, last.SSRC, last.SequenceNumber)
			}
			if d := int32(p.Timestamp - last.Timestamp); d < 160 || d > 8000 {
				t.Fatalf("%s: timestamp moved by %d", what, d)
			}
			for _, b := range p.Payload {
				if v := telephony.DecodeULaw(b); v > 6000 {
					loud++
					break
				}
			}
			last = p
		}
		if loud < n/2 { // how short the change is, the telephony tests tell: their machine is idle
			t.Errorf("%s: of %d packets %d bear the voice", what, n, loud)
		}
	}
	expect("relay", 20)
	for range 2 {
		m, err := talk.Supervise(legOf(boss), telephony.Listen)
		if err != nil {
			t.Fatal(err)
		}
		expect("conference", 40)
		m.Leave()
		expect("relay again", 20)
	}
	lag := time.Since(begin) - samples(int(last.Timestamp-first))
	if lag.Abs() > 500*time.Millisecond {
		t.Errorf("the stream's time is %s behind the wall's", lag)
	}
}
