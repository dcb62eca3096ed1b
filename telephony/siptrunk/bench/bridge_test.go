package bench

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"dialer"
	"dialer/telephony"
	"dialer/telephony/siptrunk"
)

// carry runs an endpoint until the test ends.
func carry(tb testing.TB, f *farm, calls int) *siptrunk.Endpoint {
	tb.Helper()
	cfg := siptrunk.DefaultConfig()
	cfg.Listen = netip.MustParseAddrPort("127.0.0.1:0")
	cfg.RTPLow, cfg.RTPHigh = 12000, 12000+4*calls+199
	e, err := siptrunk.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	e.SetTrunks([]telephony.Trunk{{
		ID: "trk_1", Name: "farm", Address: f.addr, Channels: 2 * calls, CPS: 10_000, Enabled: true,
	}})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		<-ended
	})
	return e
}

// bridge places two calls and joins them, calls times over.
func bridge(tb testing.TB, e *siptrunk.Endpoint, calls int) {
	tb.Helper()
	for e.Capacity("trk_1").Free() < 2*calls { // the bucket of calls a second fills
		time.Sleep(5 * time.Millisecond)
	}
	legs := make([]telephony.Leg, 2*calls)
	var dialing sync.WaitGroup
	atOnce := make(chan struct{}, 8)
	for i := range legs {
		atOnce <- struct{}{}
		dialing.Go(func() {
			defer func() { <-atOnce }()
			leg, err := e.Dial(context.Background(), telephony.Invite{
				Call: dialer.CallID("cal_" + strconv.Itoa(i)), Trunk: "trk_1", From: "+493012345678",
				To: dialer.Number("+4930" + strconv.Itoa(1000000+i)),
			})
			if err != nil {
				tb.Error(err)
				return
			}
			legs[i] = leg
		})
	}
	dialing.Wait()
	if tb.Failed() {
		tb.FailNow()
	}
	for i := 0; i < len(legs); i += 2 {
		tb.Cleanup(telephony.Join(legs[i], legs[i+1]))
	}
}

// usage is what this process has used so far.
type usage struct {
	at         time.Time
	cpu        time.Duration
	mallocs    uint64
	bytes      uint64 // of heap and stacks that are in use
	goroutines int
}

func measure(collect bool) usage {
	if collect {
		runtime.GC()
		runtime.GC() // what the first one had still to sweep, and pools
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return usage{
		at:      time.Now(),
		cpu:     time.Duration(r.Utime.Nano() + r.Stime.Nano()),
		mallocs: m.Mallocs, bytes: m.HeapAlloc + m.StackInuse,
		goroutines: runtime.NumGoroutine(),
	}
}

// BenchmarkBridge carries bridged calls, both legs real SIP calls to a farm in
// another process, for DIALER_BENCH_SECONDS (10), and says what one of them
// costs this process. It runs once whatever the number of iterations.
func BenchmarkBridge(b *testing.B) {
	for _, calls := range []int{200} {
		b.Run(fmt.Sprintf("calls=%d", calls), func(b *testing.B) { bridged(b, calls, window()) })
	}
}

func window() time.Duration {
	if seconds, err := strconv.Atoi(os.Getenv("DIALER_BENCH_SECONDS")); err == nil && seconds > 0 {
		return time.Duration(seconds) * time.Second
	}
	return 10 * time.Second
}

func bridged(b *testing.B, calls int, window time.Duration) {
	// sipgo keeps every answered INVITE for 64*T1 (RFC 6026): 6.4 s, so that the
	// figures are those of the call.
	t1 := sip.T1
	sip.SetTimers(100*time.Millisecond, sip.T2, sip.T4)
	b.Cleanup(func() { sip.SetTimers(t1, sip.T2, sip.T4) })

	f := startFarm(b)
	e := carry(b, f, calls)
	idle := measure(true)
	bridge(b, e, calls)
	time.Sleep(64*sip.T1 + time.Second)

	f.hush()
	f.speak()
	time.Sleep(time.Second)
	start := measure(true)
	time.Sleep(window)
	end := measure(false)
	h := f.hush()
	up := measure(true)
	if h.Calls != 2*calls {
		b.Fatalf("%d of %d legs are up", h.Calls, 2*calls)
	}
	seconds := end.at.Sub(start.at).Seconds() * float64(calls)
	b.ReportMetric(float64((end.cpu-start.cpu).Microseconds())/1000/seconds, "ms-CPU/call-s")
	b.ReportMetric(float64(end.mallocs-start.mallocs)/seconds, "allocs/call-s")
	b.ReportMetric(float64(up.goroutines-idle.goroutines)/float64(calls), "goroutines/call")
	b.ReportMetric((float64(up.bytes)-float64(idle.bytes))/1024/float64(calls), "KiB/call")
	b.ReportMetric(float64(h.Sent-h.Received), "lost")
	b.ReportMetric(float64(h.Median.Microseconds())/1000, "ms-delay-p50")
	b.ReportMetric(float64(h.P99.Microseconds())/1000, "ms-delay-p99")
	b.ReportMetric(0, "ns/op")
}

// A host that stands still for 300 ms, twice, while 30 calls talk on: afterwards
// the delay is what it was, and nothing is lost but what a stall may cost.
func TestStoppedProcess(t *testing.T) {
	const calls = 30
	f := startFarm(t)
	e := carry(t, f, calls)
	bridge(t, e, calls)
	for range 2 {
		f.stall()
		time.Sleep(time.Second)
		during := f.heard()
		time.Sleep(time.Second)
		after := f.heard()
		t.Logf("delay, median and 99th: %s and %s in the stall and the second after it, %s and %s in the next",
			during.Median, during.P99, after.Median, after.P99)
		if during.Max < 100*time.Millisecond {
			t.Errorf("the longest delay is %s: the process did not stand still", during.Max)
		}
		if after.Received < calls*2*50/2 {
			t.Errorf("%d packets in a second, %d were to come", after.Received, calls*2*50)
		}
		if after.Median > 40*time.Millisecond {
			t.Errorf("a second after the stall the delay is %s", after.Median)
		}
	}
	if h := f.hush(); h.Calls != 2*calls {
		t.Errorf("%d of %d legs are up", h.Calls, 2*calls)
	}
}
