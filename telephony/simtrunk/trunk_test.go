package simtrunk_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"dialer"
	"dialer/telephony"
	"dialer/telephony/simtrunk"
)

// The seams this package stands behind.
var (
	_ telephony.Carrier      = (*simtrunk.Trunk)(nil)
	_ telephony.OrphanReaper = (*simtrunk.Trunk)(nil)
	_ telephony.Stations     = (*simtrunk.Stations)(nil)
)

func always(b simtrunk.Behaviour) *simtrunk.Trunk {
	return simtrunk.New(func(telephony.Invite) simtrunk.Behaviour { return b })
}

func dial(t *testing.T, trunk *simtrunk.Trunk, call dialer.CallID) telephony.Leg {
	t.Helper()
	leg, err := trunk.Dial(t.Context(), telephony.Invite{Call: call})
	if err != nil {
		t.Fatalf("dial %s: %v", call, err)
	}
	return leg
}

func TestDial(t *testing.T) {
	const s = time.Second
	tests := map[string]struct {
		b        simtrunk.Behaviour
		timeout  time.Duration // ring timeout
		giveUp   time.Duration // the caller's
		after    time.Duration // when Dial returns
		cause    telephony.Cause
		status   int
		ghost    bool
		answered bool
	}{
		"answers":                     {b: simtrunk.Behaviour{Ring: 7 * s, Answer: true}, after: 7 * s, answered: true},
		"answers at once":             {b: simtrunk.Behaviour{Answer: true}, answered: true},
		"is busy":                     {b: simtrunk.Behaviour{Ring: s, Cause: telephony.CauseBusy}, after: s, cause: telephony.CauseBusy, status: 486},
		"does not exist":              {b: simtrunk.Behaviour{Cause: telephony.CauseInvalid}, cause: telephony.CauseInvalid, status: 404},
		"refuses in its own words":    {b: simtrunk.Behaviour{Cause: telephony.CauseCongestion, Status: 500}, cause: telephony.CauseCongestion, status: 500},
		"rings on":                    {after: 30 * s, cause: telephony.CauseNoAnswer, status: 487},
		"answers too late":            {b: simtrunk.Behaviour{Ring: 21 * s, Answer: true}, timeout: 20 * s, after: 20 * s, cause: telephony.CauseNoAnswer, status: 487},
		"answers in the last instant": {b: simtrunk.Behaviour{Ring: 20 * s, Answer: true}, timeout: 20 * s, after: 20 * s, answered: true},
		"is given up":                 {b: simtrunk.Behaviour{Ring: 7 * s, Answer: true}, giveUp: 3 * s, after: 3 * s, cause: telephony.CauseCancelled, status: 487},
		"answers as it is given up":   {b: simtrunk.Behaviour{Ring: 3 * s, Answer: true, Progress: []simtrunk.Progress{{After: s, Status: 180}, {After: 3 * s, Status: 183}}}, giveUp: 3 * s, after: 3 * s, cause: telephony.CauseCancelled, status: 200, ghost: true},
		"answer crosses the CANCEL":   {b: simtrunk.Behaviour{Ring: 9 * s, Answer: true, AnswerOnCancel: true}, giveUp: 3 * s, after: 3 * s, cause: telephony.CauseCancelled, status: 200, ghost: true},
		"rings out, then answers":     {b: simtrunk.Behaviour{AnswerOnCancel: true}, timeout: 20 * s, after: 20 * s, cause: telephony.CauseNoAnswer, status: 200, ghost: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				trunk := always(tt.b)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				start := time.Now()
				inv := telephony.Invite{Call: "c", RingTimeout: tt.timeout}
				if tt.ghost && tt.b.Ring == tt.giveUp { // to be sure of the order
					inv.OnProgress = func(p telephony.Progress) {
						if p.Status == 183 {
							cancel()
						}
					}
				} else if tt.giveUp > 0 {
					defer time.AfterFunc(tt.giveUp, cancel).Stop()
				}
				leg, err := trunk.Dial(ctx, inv)
				if got := time.Since(start); got != tt.after {
					t.Errorf("Dial took %v, want %v", got, tt.after)
				}
				if tt.answered {
					if err != nil {
						t.Fatal(err)
					}
					info := leg.Info()
					if info.AnsweredAt.Sub(info.PlacedAt) != tt.after || info.RingingAt.IsZero() {
						t.Errorf("times of the leg: %+v", info)
					}
					leg.Hangup(telephony.CauseNormal)
				} else {
					var de *telephony.DialError
					if !errors.As(err, &de) {
						t.Fatalf("got %v, want a DialError", err)
					}
					if de.Cause != tt.cause || de.SIPStatus != tt.status || de.Ghost != tt.ghost {
						t.Errorf("got %s %d ghost %v, want %s %d ghost %v", de.Cause, de.SIPStatus, de.Ghost, tt.cause, tt.status, tt.ghost)
					}
				}
				if got := trunk.Stats(); got.InUse != 0 || got.Placed != 1 {
					t.Errorf("channels left in use: %+v", got)
				}
			})
		})
	}
}

func TestProgressAndEarlyMedia(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		trunk := always(simtrunk.Behaviour{
			Progress: []simtrunk.Progress{{After: time.Second, Status: 180}, {After: 2 * time.Second, Status: 183, Media: true}},
			Early:    simtrunk.Tone(440),
			Ring:     3 * time.Second, Answer: true,
		})
		var statuses []int
		var early []telephony.Frame
		start := time.Now()
		leg, err := trunk.Dial(t.Context(), telephony.Invite{
			Call:         "c",
			OnProgress:   func(p telephony.Progress) { statuses = append(statuses, p.Status) },
			OnEarlyFrame: func(f telephony.Frame) { early = append(early, f) },
		})
		if err != nil {
			t.Fatal(err)
		}
		defer leg.Hangup(telephony.CauseNormal)
		if !slices.Equal(statuses, []int{180, 183}) {
			t.Errorf("provisional responses %v", statuses)
		}
		if got := leg.Info().RingingAt.Sub(start); got != time.Second {
			t.Errorf("rang after %v", got)
		}
		if len(early) != 150 || early[0].Offset != -3*time.Second || early[149].Offset != -telephony.FrameDuration {
			t.Errorf("%d early frames, want 150 from -3 s on", len(early))
		}
	})
}

func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		trunk := always(simtrunk.Behaviour{Answer: true})
		trunk.Limit(3, 2)
		legs := []telephony.Leg{dial(t, trunk, "1"), dial(t, trunk, "2")}
		refused := func(want string) {
			t.Helper()
			_, err := trunk.Dial(t.Context(), telephony.Invite{Call: "x"})
			var de *telephony.DialError
			if !errors.As(err, &de) || de.Cause != telephony.CauseNotSent || de.Reason != want {
				t.Errorf("got %v, want not sent: %s", err, want)
			}
			if c := trunk.Capacity(""); c.Free() != 0 || c.Why != want {
				t.Errorf("capacity %+v, want none: %s", c, want)
			}
		}
		refused("too many calls this second")
		time.Sleep(500 * time.Millisecond)
		legs = append(legs, dial(t, trunk, "3"))
		time.Sleep(time.Minute)
		refused("all channels are in use")
		legs[0].Hangup(telephony.CauseNormal)
		if got := trunk.Capacity("").Free(); got != 1 {
			t.Errorf("%d free after one hung up, want 1", got)
		}
		trunk.SetDown("maintenance")
		refused("maintenance")
		trunk.SetDown("")
		if !trunk.Capacity("").Up {
			t.Error("the trunk is still down")
		}
		for _, l := range legs {
			l.Hangup(telephony.CauseNormal)
		}
		if got := trunk.Stats(); got.InUse != 0 || got.Peak != 3 || got.Placed != 3 || got.Refused != 3 {
			t.Errorf("stats %+v", got)
		}
	})
}

func TestWhoEndsTheCall(t *testing.T) {
	const s = time.Second
	tests := map[string]struct {
		b     simtrunk.Behaviour
		do    func(*simtrunk.Trunk, telephony.Leg)
		after time.Duration
		by    telephony.Side
		cause telephony.Cause
	}{
		"the person, tired of waiting": {b: simtrunk.Behaviour{HangupAfter: 4 * s}, after: 4 * s, by: telephony.Callee, cause: telephony.CauseNormal},
		"the network":                  {b: simtrunk.Behaviour{HangupAfter: 4 * s, LoseAfter: s}, after: s, by: telephony.Network, cause: telephony.CauseMediaLost},
		"we":                           {do: func(_ *simtrunk.Trunk, l telephony.Leg) { l.Hangup(telephony.CauseNormal) }, by: telephony.Caller, cause: telephony.CauseNormal},
		"the test":                     {do: func(tr *simtrunk.Trunk, _ telephony.Leg) { tr.Hangup("c") }, by: telephony.Callee, cause: telephony.CauseNormal},
		"the next process": {do: func(tr *simtrunk.Trunk, l telephony.Leg) {
			_ = tr.EndOrphan(context.Background(), l.Dialog())
		}, by: telephony.Caller, cause: telephony.CauseNormal},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tt.b.Answer = true
				trunk := always(tt.b)
				leg := dial(t, trunk, "c")
				start := time.Now()
				if tt.do != nil {
					tt.do(trunk, leg)
				}
				<-leg.Done()
				info := leg.Info()
				if time.Since(start) != tt.after || info.EndedBy != tt.by || info.Cause != tt.cause || info.EndedAt.IsZero() {
					t.Errorf("after %v: %+v", time.Since(start), info)
				}
				leg.Hangup(telephony.CauseFailed) // too late to matter
				if !reflect.DeepEqual(leg.Info(), info) {
					t.Error("a second hang-up changed how the call ended")
				}
				if _, open := <-leg.Digits(); open {
					t.Error("digits are still open")
				}
				if _, err := leg.ReadFrame(t.Context()); !errors.Is(err, telephony.ErrLegEnded) {
					t.Errorf("reading an ended leg: %v", err)
				}
				if err := leg.WriteFrame(telephony.Frame{}); !errors.Is(err, telephony.ErrLegEnded) {
					t.Errorf("writing to an ended leg: %v", err)
				}
			})
		})
	}
}

func TestFramesComeAtTheirPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leg := dial(t, always(simtrunk.Behaviour{Answer: true, Audio: simtrunk.Tone(440)}), "c")
		defer leg.Hangup(telephony.CauseNormal)
		start := time.Now()
		read := func() telephony.Frame {
			t.Helper()
			f, err := leg.ReadFrame(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return f
		}
		for n := range 50 {
			if f := read(); f.Offset != time.Duration(n)*telephony.FrameDuration {
				t.Fatalf("frame %d has offset %v", n, f.Offset)
			}
		}
		if got := time.Since(start); got != time.Second {
			t.Errorf("50 frames took %v", got)
		}

		time.Sleep(10 * time.Second) // the reader stalls
		stalled := time.Now()
		n := 0
		for {
			f := read()
			if time.Now() != stalled {
				break
			}
			n++
			if behind := time.Since(start) - f.Offset; behind > 240*time.Millisecond {
				t.Fatalf("after a stall a frame is %v old", behind)
			}
		}
		if n > 11 {
			t.Errorf("%d frames were waiting, want at most 200 ms", n)
		}

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := leg.ReadFrame(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("reading with an ended context: %v", err)
		}
	})
}

// A far end that suppresses silence sends few packets, each in its time.
func TestPackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leg := dial(t, always(simtrunk.Behaviour{Answer: true, Packets: []time.Duration{0, 700 * time.Millisecond}}), "c")
		answer := time.Now()
		for _, want := range []time.Duration{0, 700 * time.Millisecond} {
			f, err := leg.ReadFrame(t.Context())
			if err != nil || f.Offset != want || time.Since(answer) != want+telephony.FrameDuration {
				t.Errorf("frame of %v after %v, %v; want that of %v", f.Offset, time.Since(answer), err, want)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if f, err := leg.ReadFrame(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a third frame, of %v, %v", f.Offset, err)
		}
		leg.Hangup(telephony.CauseNormal)
	})
}

func TestReadEndsWithTheLeg(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leg := dial(t, always(simtrunk.Behaviour{Answer: true, HangupAfter: 90 * time.Millisecond}), "c")
		n := 0
		for ; ; n++ {
			if _, err := leg.ReadFrame(t.Context()); err != nil {
				if !errors.Is(err, telephony.ErrLegEnded) {
					t.Error(err)
				}
				break
			}
		}
		if n != 4 {
			t.Errorf("heard %d frames in 90 ms", n)
		}
	})
}

func TestDigits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		trunk := always(simtrunk.Behaviour{Answer: true, Digits: []simtrunk.Press{{After: time.Second, Key: '9'}, {After: 2 * time.Second, Key: '#'}}})
		leg := dial(t, trunk, "c")
		trunk.Press("c", '1')
		trunk.Press("nobody", '1')
		time.AfterFunc(3*time.Second, func() { leg.Hangup(telephony.CauseNormal) })
		var got string
		for d := range leg.Digits() {
			got += string(d.Key)
		}
		if got != "19#" {
			t.Errorf("pressed %q", got)
		}
	})
}

// talk joins a person with an agent's phone until either ends.
func talk(ctx context.Context, person, phone telephony.Leg) error {
	return telephony.Bridge(ctx, person, phone)
}

func TestTalkEndsPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stations := simtrunk.NewStations()
		phone, err := stations.Ring(t.Context(), telephony.Station{Extension: "101"})
		if err != nil {
			t.Fatal(err)
		}
		defer phone.Hangup(telephony.CauseNormal)
		person := dial(t, always(simtrunk.Behaviour{Answer: true, HangupAfter: 3 * time.Second, TalkFor: time.Minute}), "c")
		time.Sleep(2 * time.Second)
		start := time.Now()
		if err := talk(t.Context(), person, phone); err != nil {
			t.Fatal(err)
		}
		if got := time.Since(start); got != time.Minute {
			t.Errorf("they talked for %v, want a minute", got)
		}
		want := []simtrunk.Talk{{Extension: "101", Call: "c", From: start, To: start.Add(time.Minute)}}
		if got := stations.Talks(); !slices.Equal(got, want) {
			t.Errorf("talks %v, want %v", got, want)
		}
		select {
		case <-phone.Done():
			t.Error("the agent's phone went down with the call")
		default:
		}
	})
}

func TestAgentInTwoCallsIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stations := simtrunk.NewStations()
		phone, err := stations.Ring(t.Context(), telephony.Station{Extension: "101"})
		if err != nil {
			t.Fatal(err)
		}
		trunk := always(simtrunk.Behaviour{Answer: true})
		a, b := dial(t, trunk, "a"), dial(t, trunk, "b")
		stop1, _ := a.(telephony.Relayer).Relay(phone)
		if got := stations.InTwoCalls(); got != 0 {
			t.Fatalf("in two calls with one: %d", got)
		}
		stop2, _ := phone.(telephony.Relayer).Relay(b)
		if got := stations.InTwoCalls(); got != 1 {
			t.Errorf("a second person was not seen: %d", got)
		}
		stop1()
		stop2()
		stop2() // harmless
		stop3, _ := phone.(telephony.Relayer).Relay(b)
		stop3()
		if got := stations.InTwoCalls(); got != 1 {
			t.Errorf("one after the other counted as two at once: %d", got)
		}
		if _, ok := a.(telephony.Relayer).Relay(foreign{b}); ok {
			t.Error("a leg of another kind was relayed")
		}
		for _, l := range []telephony.Leg{a, b, phone} {
			l.Hangup(telephony.CauseNormal)
		}
	})
}

// foreign is a leg of another package.
type foreign struct{ telephony.Leg }

func TestTapHearsARelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stations := simtrunk.NewStations()
		phone, err := stations.Ring(t.Context(), telephony.Station{Extension: "101"})
		if err != nil {
			t.Fatal(err)
		}
		person := dial(t, always(simtrunk.Behaviour{Answer: true, Audio: simtrunk.Tone(440)}), "c")
		stop, ok := person.(telephony.Relayer).Relay(phone)
		if !ok {
			t.Fatal("no relay")
		}
		time.Sleep(time.Minute) // nobody listens
		var heard, sent, loud int
		untap := person.Tap(func(f telephony.Frame, toFarEnd bool) {
			if toFarEnd {
				sent++
				return
			}
			heard++
			if f.Samples[5] != 0 {
				loud++
			}
		})
		time.Sleep(time.Second)
		synctest.Wait()
		untap()
		// Up to 200 ms may have waited.
		if heard < 50 || heard > 61 || sent < 50 || sent > 61 || loud != heard {
			t.Errorf("in a second heard %d, of them loud %d, and sent %d", heard, loud, sent)
		}
		before := heard
		time.Sleep(time.Second)
		if heard != before {
			t.Error("a stopped tap still hears")
		}
		stop()
		person.Hangup(telephony.CauseNormal)
		phone.Hangup(telephony.CauseNormal)
	})
}

func TestStations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stations := simtrunk.NewStations()
		stations.AnswerAfter(2 * time.Second)
		one := telephony.Station{Extension: "101"}
		ring := func() (telephony.Leg, telephony.Cause) {
			leg, err := stations.Ring(t.Context(), one)
			var de *telephony.DialError
			if errors.As(err, &de) {
				return nil, de.Cause
			}
			return leg, ""
		}
		leg, _ := ring()
		if leg == nil {
			t.Fatal("no answer")
		}
		if _, cause := ring(); cause != telephony.CauseBusy {
			t.Errorf("a phone in a call: %q", cause)
		}
		stations.SwitchOff("101")
		<-leg.Done()
		if stations.Reachable(one) || stations.Up() != 0 {
			t.Error("a switched-off phone is still there")
		}
		if _, cause := ring(); cause != telephony.CauseUnreachable {
			t.Errorf("a switched-off phone: %q", cause)
		}
		stations.SwitchOn("101")
		leg, _ = ring()
		stations.Hangup("101")
		<-leg.Done()
		if got := leg.Info().EndedBy; got != telephony.Callee {
			t.Errorf("ended by %s", got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := stations.Ring(ctx, one); err == nil || stations.Up() != 0 {
			t.Error("a phone that was given up still answers")
		}
		other := telephony.Station{Extension: "101", URI: "sip:desk@192.0.2.1"}
		stations.SwitchOff("sip:desk@192.0.2.1")
		if stations.Reachable(other) || !stations.Reachable(one) {
			t.Error("a URI is called instead of the extension")
		}
	})
}

// A shift must be cheap: 200 agents, ten minutes, one call after the
// other.
func TestShiftIsCheap(t *testing.T) {
	const shift = 10 * time.Minute
	began := time.Now()
	var calls int
	synctest.Test(t, func(t *testing.T) {
		trunk := always(simtrunk.Behaviour{Ring: 8 * time.Second, Answer: true, TalkFor: time.Minute, Audio: simtrunk.Human(time.Second)})
		stations := simtrunk.NewStations()
		ctx, cancel := context.WithTimeout(t.Context(), shift)
		defer cancel()
		for n := range 200 {
			go func() {
				ctx, cancel := context.WithCancel(ctx) // one for all would be a bottleneck
				defer cancel()
				phone, err := stations.Ring(ctx, telephony.Station{Extension: fmt.Sprint(n)})
				if err != nil {
					t.Error(err)
					return
				}
				defer phone.Hangup(telephony.CauseNormal)
				for k := 0; ctx.Err() == nil; k++ {
					person, err := trunk.Dial(ctx, telephony.Invite{Call: dialer.CallID(fmt.Sprint(n, "-", k))})
					if err != nil {
						return
					}
					for range 30 { // the detector listens
						if _, err := person.ReadFrame(ctx); err != nil {
							break
						}
					}
					_ = talk(ctx, person, phone)
					person.Hangup(telephony.CauseNormal)
				}
			}()
		}
		<-ctx.Done()
		synctest.Wait()
		if trunk.Stats().InUse != 0 || stations.Up() != 0 || stations.InTwoCalls() != 0 {
			t.Errorf("left over: %+v, %d phones, %d in two calls", trunk.Stats(), stations.Up(), stations.InTwoCalls())
		}
		calls = trunk.Stats().Placed
	})
	t.Logf("%d calls in %v", calls, time.Since(began).Round(time.Millisecond))
}
