package media

import (
	"context"
	"sync"
	"syscall"
	"testing"
	"time"

	"dialer/telephony"
)

// BenchmarkConferences runs conferences of three legs over RTP in real time and
// gives the CPU time of one for each second of it, and that of a relayed call
// fed by the same packets. The far ends are a bare sink and not counted but for
// their packets' way into the socket.
func BenchmarkConferences(b *testing.B) {
	for name, join := range map[string]func(legs []*Session) (stop func()){
		"relay of 2":      func(legs []*Session) func() { return legs[0].Relay(legs[1]) },
		"conference of 2": func(legs []*Session) func() { return confer(b, legs) },
		"conference of 3": func(legs []*Session) func() { return confer(b, legs) },
	} {
		n := int(name[len(name)-1] - '0')
		b.Run(name, func(b *testing.B) {
			const calls, frames = 20, 100
			sink := newWire(b, "127.0.0.1:0")
			var all []*Session
			var stops []func()
			for range calls {
				legs := make([]*Session, n)
				for i := range legs {
					legs[i] = open(b)
					remote := remoteAt(sink.addr, PCMU)
					legs[i].SetRemote(remote)
					legs[i].Answered(time.Now())
				}
				all = append(all, legs...)
				stops = append(stops, join(legs))
			}
			packet := packetOf(0, 1, 0, 0, spoken(1000))
			b.ResetTimer()
			for b.Loop() {
				before := processTime(b)
				tick := time.NewTicker(telephony.FrameDuration)
				for range frames {
					<-tick.C
					next(packet)
					for _, s := range all {
						s.receive(packet, sink.addr, time.Now())
					}
				}
				tick.Stop()
				b.ReportMetric(float64((processTime(b)-before).Microseconds())/calls/frames*50/1000, "CPU-ms/call-s")
			}
			b.StopTimer()
			for _, stop := range stops {
				stop()
			}
		})
	}
}

func confer(b *testing.B, legs []*Session) (stop func()) {
	c := telephony.NewConference()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = c.Run(ctx) })
	for _, s := range legs {
		if _, err := c.Join(legOf(s), telephony.Person); err != nil {
			b.Fatal(err)
		}
	}
	return func() { cancel(); running.Wait() }
}

func processTime(tb testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Skip(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
