package siptrunk

import (
	"context"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"dialer"
	"dialer/telephony"
)

// robot answers calls by the last digit of the number:
// 0 answers and waits for BYE, 1 answers and hangs up, 2 is busy, 3 rings until
// it is cancelled, 4 answers in spite of CANCEL.
type robot struct {
	*rawPeer
	mu      sync.Mutex
	ringing map[string]*rawMessage // by Call-ID
	cancels []time.Time
	up      map[string]bool
	seen    map[string]bool
}

func newRobot(t *testing.T) *robot {
	r := &robot{
		rawPeer: newRawPeer(t), ringing: map[string]*rawMessage{}, up: map[string]bool{}, seen: map[string]bool{},
	}
	r.serve.Store(ptr(r.handle))
	return r
}

func (r *robot) handle(m *rawMessage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := m.get("Call-ID")
	if seen := m.get("Via") + m.method(); m.method() != "ACK" {
		if r.seen[seen] { // a repeated request is not a new one
			if m.method() != "INVITE" {
				r.ok(m)
			}
			return
		}
		r.seen[seen] = true
	}
	switch m.method() {
	case "INVITE":
		user, _, _ := strings.Cut(m.uri(), "@")
		r.ringing[id] = m
		if user[len(user)-1] == '2' {
			r.reply(m, reply{status: "486 Busy Here", tag: "b"})
			return
		}
		r.reply(m, reply{status: "180 Ringing", tag: "a1"})
		if c := user[len(user)-1]; c == '0' || c == '1' {
			r.up[id] = true
			r.reply(m, answerSDP)
		}
	case "ACK":
		user, _, _ := strings.Cut(r.ringing[id].uri(), "@")
		if r.up[id] && user[len(user)-1] == '1' {
			delete(r.up, id)
			r.request("BYE", r.ringing[id], "a1", 1, "")
		}
	case "CANCEL":
		r.cancels = append(r.cancels, time.Now())
		r.ok(m)
		user, _, _ := strings.Cut(m.uri(), "@")
		if user[len(user)-1] == '4' {
			r.up[id] = true
			r.reply(r.ringing[id], answerSDP)
			return
		}
		r.reply(r.ringing[id], reply{status: "487 Request Terminated", tag: "a1"})
	case "BYE":
		delete(r.up, id)
		r.ok(m)
	}
}

// left is the number of calls that the far end believes to be up.
func (r *robot) left() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.up)
}

func TestNothingLeaksOver300Calls(t *testing.T) {
	r := newRobot(t)
	e := startEndpoint(t, func(c *Config) { c.RTPHigh = 21999 }, testTrunk(r.rawPeer))
	awaitTokens(t, e, 300)
	before := runtime.NumGoroutine()
	var calls sync.WaitGroup
	outcomes := make(chan string, 300)
	atOnce := make(chan struct{}, 40) // so that no datagram is lost in a kernel's buffer
	for i := range 300 {
		atOnce <- struct{}{}
		calls.Go(func() {
			defer func() { <-atOnce }()
			inv := invite()
			inv.To = "+49301234" + numberFor(i)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			inv.OnProgress = func(telephony.Progress) {
				if i%5 >= 3 {
					cancel()
				}
			}
			leg, err := e.Dial(ctx, inv)
			if err != nil {
				d := err.(*telephony.DialError)
				if d.Ghost {
					outcomes <- "ghost"
					return
				}
				outcomes <- string(d.Cause)
				return
			}
			if i%5 == 0 {
				leg.Hangup(telephony.CauseNormal)
			}
			<-leg.Done()
			if info := leg.Info(); info.Cause != telephony.CauseNormal {
				t.Errorf("call %d ended with %s", i, info.Cause)
			}
			outcomes <- "answered"
		})
	}
	calls.Wait()
	close(outcomes)
	count := map[string]int{}
	for o := range outcomes {
		count[o]++
	}
	if count["answered"] != 120 || count["busy"] != 60 || count["cancelled"] != 60 || count["ghost"] != 60 {
		t.Errorf("outcomes %v", count)
	}
	awaitFree(t, e)
	select {
	case <-e.work.idle():
	case <-time.After(patience):
		t.Fatal("some call's work goes on")
	}
	if n := r.left(); n != 0 {
		t.Errorf("the far end believes %d calls to be up", n)
	}
	for deadline := time.Now().Add(patience); runtime.NumGoroutine() > before+5; {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
		time.Sleep(5 * time.Millisecond) // the runtime has no event for this
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.dialogs) != 0 || len(e.calls) != 0 {
		t.Errorf("%d dialogs and %d calls are kept", len(e.dialogs), len(e.calls))
	}
	e.sock.peers.mu.Lock()
	defer e.sock.peers.mu.Unlock()
	if n := len(e.sock.peers.others); n != 0 {
		t.Errorf("%d hosts are still admitted", n)
	}
}

// numberFor ends with what the robot is to do.
func numberFor(i int) dialer.Number { return dialer.Number(strconv.Itoa(1000+i) + strconv.Itoa(i%5)) }

// Many ringing calls cancelled at once all end, and the CANCELs are paced.
func TestMassCancel(t *testing.T) {
	const n = 1000
	r := newRobot(t)
	e := startEndpoint(t, nil, testTrunk(r.rawPeer))
	awaitTokens(t, e, n)
	ctx, cancel := context.WithCancel(t.Context())
	var ringing, calls sync.WaitGroup
	ringing.Add(n)
	causes := make(chan telephony.Cause, n)
	for i := range n {
		time.Sleep(time.Millisecond) // so that no INVITE is lost in a kernel's buffer
		calls.Go(func() {
			inv := invite()
			inv.To = "+49301234" + numberFor(5*i+3)
			rings := sync.OnceFunc(ringing.Done)
			inv.OnProgress = func(telephony.Progress) { rings() }
			_, err := e.Dial(ctx, inv)
			causes <- err.(*telephony.DialError).Cause
		})
	}
	ringing.Wait()
	cancelled := time.Now()
	cancel()
	calls.Wait()
	if took := time.Since(cancelled); took > 5*time.Second {
		t.Errorf("%d calls took %s to end", n, took)
	}
	close(causes)
	for c := range causes {
		if c != telephony.CauseCancelled {
			t.Errorf("a call ended with %s", c)
		}
	}
	awaitFree(t, e)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.cancels) < n {
		t.Fatalf("%d CANCELs", len(r.cancels))
	}
	if took := r.cancels[len(r.cancels)-1].Sub(r.cancels[0]); took < n/2*time.Second/cancelsPerSecond {
		t.Errorf("%d CANCELs in %s: not paced", len(r.cancels), took)
	}
}
