package siptrunk

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"dialer/telephony"
)

func TestShutdownHangsUpEverything(t *testing.T) {
	p := newRawPeer(t)
	cfg := DefaultConfig()
	cfg.Listen = netip.MustParseAddrPort("127.0.0.1:0")
	e, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	e.SetTrunks([]telephony.Trunk{testTrunk(p)})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	up := dial(t, t.Context(), e, invite())
	p.reply(p.expect("INVITE"), answerSDP)
	leg := up.answered()
	ringing := dial(t, t.Context(), e, invite())
	m := p.expect("INVITE")
	rings := make(chan struct{})
	p.reply(m, reply{status: "180 Ringing", tag: "b"})
	close(rings)
	p.serve.Store(ptr(func(r *rawMessage) {
		switch r.method() {
		case "BYE":
			p.ok(r)
		case "CANCEL":
			p.ok(r)
			p.reply(m, reply{status: "487 Request Terminated", tag: "b"})
		}
	}))
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("Run: %v", err)
		}
	case <-time.After(shutdownWait + patience):
		t.Fatal("Run did not end")
	}
	awaitDone(t, leg)
	if err := ringing.failed(); err.Cause != telephony.CauseCancelled {
		t.Errorf("the ringing call ended with %+v", err)
	}
	if e.ports.InUse() != 0 {
		t.Errorf("%d ports left", e.ports.InUse())
	}
}

// A call that is placed before the socket is served waits for it: sipgo would
// open another socket on our port, and fail.
func TestDialAtOnce(t *testing.T) {
	p := newRawPeer(t)
	for i := range 50 {
		e := startEndpoint(t, nil, testTrunk(p))
		l, _ := e.line("trk_test")
		l.mu.Lock()
		l.rate.tokens = 1 // or Dial would be refused before it could fail
		l.mu.Unlock()
		d := &dialed{t: t, done: make(chan struct{})}
		go func() {
			defer close(d.done)
			d.leg, d.err = e.Dial(t.Context(), invite())
		}()
		m := p.expect("INVITE")
		if m.from != e.Addr() {
			t.Fatalf("call %d came from %s, want %s", i, m.from, e.Addr())
		}
		p.reply(m, reply{status: "486 Busy Here", tag: "x"})
		if err := d.failed(); err.Cause != telephony.CauseBusy {
			t.Fatalf("call %d: %+v", i, err)
		}
	}
}
