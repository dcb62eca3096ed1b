// Package callbench measures whole calls: processor, memory, delay and loss, of
// the dialer's user agent and, where they can do the same, of diago and sipp.
// docs/performance.md has the figures.
package callbench

import (
	"net"
	"os/exec"
	"strconv"
	"testing"
	"time"
)

func ms(d time.Duration) float64 { return float64(d) / 1e6 }

// transactions is how long SIP remembers what is over (RFC 3261 64*T1), and some.
const transactions = 34 * time.Second

// BenchmarkSignalledCall is the processor's time for a call that is answered and
// hung up at once, at 200 calls a second, against sipp. Ours and diago's open
// the sockets of their audio, sipp and plain sipgo have none.
func BenchmarkSignalledCall(b *testing.B) {
	const calls, rate = 3000, 200
	sipp, err := exec.LookPath("sipp")
	if err != nil {
		b.Skip("NOT MEASURED: sipp is not installed; scripts/setup test installs it")
	}
	for _, role := range []string{"ours", "diago", "sipgo"} {
		b.Run(role, func(b *testing.B) {
			for b.Loop() {
				c := start(b, role, sippUAS(b, sipp))
				c.do("calls 200 %d", rate) // what happens once happens now
				before := c.do("look")
				after := c.do("calls %d %d", calls, rate)
				b.ReportMetric(ms(after.CPU-before.CPU)/calls, "cpu-ms/call")
				b.ReportMetric(float64(after.Mallocs-before.Mallocs)/calls, "allocs/call")
				b.ReportMetric(float64(after.Failed), "failed")
				if role == "ours" && after.Failed > 0 {
					b.Errorf("%d of %d calls failed: %s", after.Failed, calls, after.First)
				}
			}
			b.ReportMetric(0, "ns/op")
		})
	}
	b.Run("sipp", func(b *testing.B) {
		for b.Loop() {
			cmd := exec.Command(sipp, "-sn", "uac", "-d", "0", "-i", "127.0.0.1", sippUAS(b, sipp),
				"-r", strconv.Itoa(rate), "-m", strconv.Itoa(calls), "-nostdin", "-l", "100000")
			cmd.Dir = b.TempDir()
			err := cmd.Run()
			b.ReportMetric(ms(cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())/calls, "cpu-ms/call")
			if err != nil {
				b.ReportMetric(1, "failed")
			}
		}
		b.ReportMetric(0, "ns/op")
	})
}

// sippUAS answers every call.
func sippUAS(b *testing.B, sipp string) (addr string) {
	b.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	addr = conn.LocalAddr().String()
	conn.Close()
	_, port, _ := net.SplitHostPort(addr)
	cmd := exec.Command(sipp, "-sn", "uas", "-i", "127.0.0.1", "-p", port, "-nostdin", "-l", "100000")
	cmd.Dir = b.TempDir()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		cmd.Process.Kill()
		_ = cmd.Wait()
	})
	awaitUDP(b, addr)
	return addr
}

// awaitUDP returns when an address answers OPTIONS with anything.
func awaitUDP(b *testing.B, addr string) {
	b.Helper()
	conn, err := net.Dial("udp4", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		// While nobody listens the kernel answers the one write with an error
		// at the next.
		if _, err := conn.Write([]byte("\r\n\r\n")); err != nil {
			continue
		}
		time.Sleep(20 * time.Millisecond)
		if _, err := conn.Write([]byte("\r\n\r\n")); err == nil {
			return
		}
	}
	b.Fatal("sipp does not listen")
}

// BenchmarkBridgedCall is what 200 bridged calls cost while both ends send.
func BenchmarkBridgedCall(b *testing.B) {
	const calls, window = 200, 10 * time.Second
	for _, role := range []string{"ours", "diago"} {
		b.Run(role, func(b *testing.B) {
			for b.Loop() {
				f := newFar(b, false)
				c := start(b, role, f.addr())
				idle := c.do("look")
				c.do("bridge %d", calls)
				f.streaming.Store(true)
				settle(b, f, 2*calls)
				time.Sleep(transactions) // SIP remembers each INVITE as long
				sent, received := f.sent.Load(), f.received.Load()
				f.delay()
				before := c.do("look")
				began := time.Now()
				time.Sleep(window)
				after := c.do("look")
				took := time.Since(began).Seconds()
				sent, received = f.sent.Load()-sent, f.received.Load()-received
				median, p99 := f.delay()
				b.ReportMetric(ms(after.CPU-before.CPU)/took/calls, "cpu-ms/s/call")
				b.ReportMetric(float64(after.Goroutines-idle.Goroutines)/calls, "goroutines/call")
				b.ReportMetric(float64(after.Heap-idle.Heap)/1024/calls, "kB/call")
				b.ReportMetric(float64(after.Mallocs-before.Mallocs)/took/calls, "allocs/s/call")
				b.ReportMetric(float64(sent-received)/float64(sent)*100, "%lost")
				b.ReportMetric(ms(median), "delay-ms")
				b.ReportMetric(ms(p99), "delay-p99-ms")
				if role == "ours" && after.Failed > 0 {
					b.Errorf("%d calls failed: %s", after.Failed, after.First)
				}
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// settle waits until the far end has n legs.
func settle(b testing.TB, f *far, n int) {
	b.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		f.mu.Lock()
		have := len(f.legs)
		f.mu.Unlock()
		if have >= n {
			return
		}
		if time.Now().After(deadline) {
			b.Fatalf("%d of %d legs are up", have, n)
		}
	}
}

// BenchmarkDelayAfterStalls is the delay over the bridge a second after the
// process has stood still for 300 ms, twice.
func BenchmarkDelayAfterStalls(b *testing.B) {
	for _, role := range []string{"ours", "diago"} {
		b.Run(role, func(b *testing.B) {
			for b.Loop() {
				before, after := stalls(b, role)
				b.ReportMetric(ms(before), "before-ms")
				b.ReportMetric(ms(after), "after-ms")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

func stalls(b testing.TB, role string) (before, after time.Duration) {
	const calls = 30
	f := newFar(b, false)
	c := start(b, role, f.addr())
	c.do("bridge %d", calls)
	f.streaming.Store(true)
	settle(b, f, 2*calls)
	time.Sleep(2 * time.Second)
	f.delay()
	time.Sleep(time.Second)
	before, _ = f.delay()
	for range 2 {
		c.stall(300 * time.Millisecond)
		time.Sleep(time.Second)
	}
	f.delay()
	time.Sleep(500 * time.Millisecond)
	after, _ = f.delay()
	return before, after
}

// TestNoDelayAfterStalls is fault M1: a backlog is not kept as delay.
func TestNoDelayAfterStalls(t *testing.T) {
	if testing.Short() {
		t.Skip("takes six seconds")
	}
	if before, after := stalls(t, "ours"); after < 0 || after > 40*time.Millisecond {
		t.Errorf("a second after two stalls the median delay is %v, %v before", after, before)
	}
}

// Benchmark500Bridges is a minute of 500 calls: what goes in comes out.
func Benchmark500Bridges(b *testing.B) {
	const calls = 500
	for b.Loop() {
		f := newFar(b, false)
		c := start(b, "ours", f.addr())
		c.do("bridge %d", calls)
		settle(b, f, 2*calls)
		time.Sleep(time.Second)
		f.streaming.Store(true)
		before := c.do("look")
		time.Sleep(time.Minute)
		f.streaming.Store(false)
		time.Sleep(time.Second) // what is on its way arrives
		after := c.do("look")
		_, p99 := f.delay()
		b.ReportMetric(float64(f.sent.Load()), "packets")
		b.ReportMetric(float64(f.sent.Load()-f.received.Load()), "lost")
		b.ReportMetric(ms(after.CPU-before.CPU)/60/calls, "cpu-ms/s/call")
		b.ReportMetric(ms(p99), "delay-p99-ms")
		if after.Failed > 0 {
			b.Errorf("%d calls failed: %s", after.Failed, after.First)
		}
	}
	b.ReportMetric(0, "ns/op")
}

// left waits until nothing is left of calls that are over, and returns what is.
func left(c *child, idle sample, limit time.Duration) (goroutines, sockets int) {
	for deadline := time.Now().Add(limit); ; time.Sleep(500 * time.Millisecond) {
		now := c.do("look")
		goroutines, sockets = now.Goroutines-idle.Goroutines, now.Sockets-idle.Sockets
		if goroutines <= 0 && sockets <= 0 || time.Now().After(deadline) {
			return max(0, goroutines), max(0, sockets)
		}
	}
}

// Benchmark10000Calls counts what is left of them. A call's ports are its
// sockets.
func Benchmark10000Calls(b *testing.B) {
	for b.Loop() {
		f := newFar(b, false)
		c := start(b, "ours", f.addr())
		idle := c.do("calls 10 100")
		done := c.do("calls 10000 400")
		time.Sleep(transactions)
		goroutines, sockets := left(c, idle, 15*time.Second)
		b.ReportMetric(float64(goroutines), "goroutines-left")
		b.ReportMetric(float64(sockets), "sockets-left")
		b.ReportMetric(float64(done.Failed), "failed")
		b.ReportMetric(float64(c.do("look").Heap-idle.Heap)/1024, "kB-left")
	}
	b.ReportMetric(0, "ns/op")
}

// Benchmark1000Cancels is how long 1,000 calls that ring take to end when all
// are cancelled at once.
func Benchmark1000Cancels(b *testing.B) {
	const calls = 1000
	for b.Loop() {
		f := newFar(b, true)
		c := start(b, "ours", f.addr())
		c.do("ring %d", calls)
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			f.mu.Lock()
			n := len(f.invites)
			f.mu.Unlock()
			if n == calls || time.Now().After(deadline) {
				break
			}
		}
		done := c.do("end")
		b.ReportMetric(done.Took.Seconds(), "s")
		b.ReportMetric(float64(calls-f.ended.Load()), "still-ringing")
	}
	b.ReportMetric(0, "ns/op")
}
