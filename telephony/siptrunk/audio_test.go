package siptrunk

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"time"

	"dialer/telephony"
)

// hears waits until a packet with this payload byte comes.
func (r *rtpPeer) hears(t *testing.T, fill byte) {
	t.Helper()
	want := bytes.Repeat([]byte{fill}, 160)
	for deadline := time.After(patience); ; {
		select {
		case b := <-r.got:
			if len(b) == 172 && bytes.Equal(b[12:], want) {
				return
			}
		case <-deadline:
			t.Fatalf("no audio of %#x", fill)
		}
	}
}

func TestEarlyMedia(t *testing.T) {
	p, rtp := newRawPeer(t), newRTPPeer(t)
	e := startEndpoint(t, nil, testTrunk(p))
	early := make(chan telephony.Frame, 1024)
	inv := invite()
	inv.OnEarlyFrame = func(f telephony.Frame) {
		select {
		case early <- f:
		default:
		}
	}
	d := dial(t, t.Context(), e, inv)
	m := p.expect("INVITE")
	p.reply(m, reply{status: "183 Session Progress", tag: "a1", body: sdp(rtp.port())})
	stop := rtp.stream(offeredRTP(t, m), 0x10)
	defer stop()
	select {
	case f := <-early:
		if f.Offset >= 0 {
			t.Errorf("an early frame has offset %s", f.Offset)
		}
	case <-time.After(patience):
		t.Fatal("no early media")
	}
	p.reply(m, reply{status: "200 OK", tag: "a1"}) // the SDP of the 183 holds
	leg := d.answered()
	for len(early) > 0 {
		<-early
	}
	for {
		f, err := leg.ReadFrame(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if f.Offset > 0 && !f.Lost && f.Samples[0] != 0 {
			break
		}
	}
	if len(early) > 0 {
		t.Error("early frames go on after the answer")
	}
	leg.Hangup(telephony.CauseNormal)
	p.ok(p.expect("BYE"))
	if _, err := leg.ReadFrame(t.Context()); err == nil {
		for err == nil { // what was waiting may still be read
			_, err = leg.ReadFrame(t.Context())
		}
	}
}

func TestDigitsOverRTP(t *testing.T) {
	c := up(t, nil)
	to := offeredRTP(t, c.invite)
	for range 5 {
		c.rtp.send(to, 0x10)
	}
	ts := c.rtp.ts
	for i, d := range []uint16{160, 320, 480, 640} {
		c.rtp.packet(to, 101, i == 0, ts, []byte{9, 10, byte(d >> 8), byte(d)})
	}
	for range 3 { // the end is sent three times
		c.rtp.packet(to, 101, false, ts, []byte{9, 0x80 | 10, 800 >> 8, 800 & 0xff})
	}
	select {
	case d := <-c.leg.Digits():
		if d.Key != '9' || d.Duration != 100*time.Millisecond {
			t.Errorf("got %+v", d)
		}
	case <-time.After(patience):
		t.Fatal("no digit")
	}
	sent := make(chan error, 1)
	go func() { sent <- c.leg.SendDigits(t.Context(), "5") }()
	for deadline := time.After(patience); ; {
		select {
		case b := <-c.rtp.got:
			if b[1]&0x7f == 101 && b[12] == 5 && b[13]&0x80 != 0 {
				if err := <-sent; err != nil {
					t.Fatal(err)
				}
				c.end(t, 1)
				return
			}
		case <-deadline:
			t.Fatal("our digit did not come")
		}
	}
}

func TestTwoLegsBridged(t *testing.T) {
	p := newRawPeer(t)
	e := startEndpoint(t, nil, testTrunk(p))
	a, b := upOn(t, e, p), upOn(t, e, p)
	defer a.rtp.stream(offeredRTP(t, a.invite), 0x11)()
	defer b.rtp.stream(offeredRTP(t, b.invite), 0x22)()
	if _, ok := telephony.Leg(a.leg).(telephony.Relayer); !ok {
		t.Fatal("a leg is no Relayer")
	}
	var mu sync.Mutex
	sent := 0
	stopTap := a.leg.Tap(func(_ telephony.Frame, s bool) {
		mu.Lock()
		defer mu.Unlock()
		if s {
			sent++
		}
	})
	defer stopTap()
	ctx, cancel := context.WithCancel(t.Context())
	bridged := make(chan error, 1)
	go func() { bridged <- telephony.Bridge(ctx, a.leg, b.leg) }()
	b.rtp.hears(t, 0x11)
	a.rtp.hears(t, 0x22)
	mu.Lock()
	if sent == 0 {
		t.Error("the tap did not hear what was relayed")
	}
	mu.Unlock()
	cancel()
	if err := <-bridged; err == nil {
		t.Error("Bridge returned nil though ctx had ended")
	}
	if _, ok := a.leg.Relay(foreignLeg{}); ok {
		t.Error("relays to a foreign leg")
	}
	a.end(t, 1)
	b.end(t, 1)
	if in := a.leg.Info().Media.PacketsIn; in == 0 {
		t.Error("no packets counted")
	}
}

type foreignLeg struct{ telephony.Leg }

// A tap may hang up: it runs in the goroutine that Hangup's clean-up waits for.
func TestHangupFromTap(t *testing.T) {
	c := up(t, nil)
	c.leg.Tap(func(telephony.Frame, bool) { c.leg.Hangup(telephony.CauseNormal) })
	defer c.rtp.stream(offeredRTP(t, c.invite), 0x10)()
	c.p.ok(c.p.expect("BYE"))
	awaitDone(t, c.leg)
	awaitFree(t, c.e)
}
