package mix

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// heard is what of a talk of n packets is heard in ticks ticks: the place in the
// talk where each frame ends, -1 when it is made up.
func heard(b *Buffer, packets []packet, ticks int) []int64 {
	ends := make([]int64, 0, ticks)
	listen(b, packets, ticks, func(_ int, f *Frame) {
		last, before := int64(f[FrameSamples-1]), int64(f[FrameSamples-2])
		if last-before != 1 || last <= 0 {
			last = -1
		}
		ends = append(ends, last)
	})
	return ends
}

// The four ways in which a buffer that never finds its centre again goes silent
// for ever, one of which is that nothing happens at all.
func TestBufferIsNeverSilentForEver(t *testing.T) {
	const n = 500 // 10 s; what happens happens at 4 s
	for name, happen := range map[string]func([]packet) []packet{
		"stall of 250 ms": func(p []packet) []packet { stall(p, 4*time.Second, 250*time.Millisecond); return p },
		"stall of 1 s":    func(p []packet) []packet { stall(p, 4*time.Second, time.Second); return p },
		"250 ms lost":     func(p []packet) []packet { return append(p[:200:200], p[213:]...) },
		"jump by 50":      func(p []packet) []packet { return jump(p, 50*FrameDuration) },
		"jump by 8":       func(p []packet) []packet { return jump(p, 8*FrameDuration) },
		"jump back by 50": func(p []packet) []packet { return jump(p, -50*FrameDuration) },
		"jump back by 8":  func(p []packet) []packet { return jump(p, -8*FrameDuration) },
		"another clock":   func(p []packet) []packet { return jump(p, 1e6*time.Second) },
		"nothing":         func(p []packet) []packet { return p },
	} {
		t.Run(name, func(t *testing.T) {
			b := &Buffer{}
			ends := heard(b, happen(talk(counting, n, 0)), n)
			made := 0
			for _, end := range ends[300:] { // from 2 s after it on
				if end < 0 {
					made++
				}
			}
			if made > 8 { // the corrections of the delay, a frame each
				t.Errorf("2 s after it %d of %d frames are made up", made, n-300)
			}
			if d := b.Delay(); d > 3*FrameDuration {
				t.Errorf("the delay stays at %s", d)
			}
			// The last frame played is the one that came last but for the delay.
			if last := ends[n-1]; last > 0 {
				behind := durationOf(modulo(int64(counting(n*FrameSamples))-last, again))
				if behind -= 50 * time.Millisecond; behind > 4*FrameDuration {
					t.Errorf("at the end it plays what was said %s ago", behind)
				}
			}
		})
	}
}

func jump(p []packet, by time.Duration) []packet {
	for i := range p[200:] {
		p[200+i].at += by
	}
	return p
}

// Without any trouble every frame is heard.
func TestBufferKeepsPace(t *testing.T) {
	const n = 50 * 300
	b := &Buffer{}
	packets := talk(tone(400, 8000), n, 0)
	frames := 0
	listen(b, packets, n, func(int, *Frame) { frames++ })
	s := b.Stats()
	if frames != n || s.Played != n || s.Concealed > 4 || s.Late != 0 || s.Recentred != 0 || s.Shortened+s.Stretched > 2 {
		t.Errorf("%d frames in %d ticks, %+v", frames, n, s)
	}
}

// A far end whose clock is off is followed without end and without clicks.
func TestBufferFollowsDrift(t *testing.T) {
	for name, skew := range map[string]float64{"fast": 200e-6, "slow": -200e-6} {
		for kind, s := range map[string]sound{"tone": tone(400, 8000), "speech": pauses(tone(200, 8000))} {
			t.Run(name+" "+kind, func(t *testing.T) {
				t.Parallel()
				const n = 50 * 3600
				b := &Buffer{}
				var roughest, last, before float64
				listen(b, talk(s, n, skew), n-100, func(tick int, f *Frame) {
					for _, v := range f {
						if bend := math.Abs(float64(v) - 2*last + before); tick > 10 {
							roughest = max(roughest, bend)
						}
						before, last = last, float64(v)
					}
				})
				stats := b.Stats()
				// 720 ms in an hour, by 5 to 20 ms.
				if moved := stats.Shortened + stats.Stretched; moved < 30 || moved > 240 {
					t.Errorf("corrected %d times: %+v", moved, stats)
				}
				if stats.Recentred > 0 || stats.Concealed > 4 || stats.Late > 0 {
					t.Errorf("drift was not followed: %+v", stats)
				}
				// A click bends the curve by thousands; the tone itself by 8000·(2π·400/8000)².
				if roughest > 1200 {
					t.Errorf("a click: the curve bends by %.0f", roughest)
				}
				if d := b.Delay(); d > 5*FrameDuration {
					t.Errorf("in the end the delay is %s", d)
				}
			})
		}
	}
}

// The delay grows with the jitter, so that next to nothing is late, and shrinks
// when the line is calm again.
func TestBufferAdapts(t *testing.T) {
	const second = 50
	packets := talk(pauses(vowel), 90*second, 0)
	jitter(packets[10*second:40*second], 90*time.Millisecond, 1)
	b := &Buffer{}
	var calm, rough, again time.Duration
	var before, concealed BufferStats
	listen(b, packets, 90*second, func(tick int, _ *Frame) {
		switch tick {
		case 9 * second:
			calm = b.Delay()
		case 15 * second:
			before = b.Stats()
		case 39 * second:
			rough, concealed = b.Delay(), b.Stats()
		case 89 * second:
			again = b.Delay()
		}
	})
	if calm > 3*FrameDuration || rough < 90*time.Millisecond || rough > 7*FrameDuration || again > 3*FrameDuration {
		t.Errorf("delay calm %s, with 90 ms of jitter %s, calm again %s", calm, rough, again)
	}
	if n := concealed.Concealed - before.Concealed; n > 24 { // 2 % of 24 s
		t.Errorf("with 90 ms of jitter %d of 1200 frames were made up", n)
	}
}

// What is lost is made up once, and makes nothing late.
func TestBufferTellsLossFromLateness(t *testing.T) {
	packets := talk(vowel, 1000, 0)
	var kept []packet
	for i, p := range packets {
		if i%20 != 7 && i%200 != 8 { // one, now and then two in a row
			kept = append(kept, p)
		}
	}
	b := &Buffer{}
	var most time.Duration
	listen(b, kept, 990, func(tick int, _ *Frame) { most = max(most, b.Delay()) })
	if lost := int64(len(packets) - len(kept)); b.Stats().Concealed > lost+3 || most > 4*FrameDuration {
		t.Errorf("of %d frames lost %d were made up, the delay went up to %s", lost, b.Stats().Concealed, most)
	}
}

// A silent far end is the noise of its line, not a dead one.
func TestBufferKeepsLineAlive(t *testing.T) {
	hiss := pauses(func(int64) float64 { return 0 })
	packets := talk(hiss, 300, 0)
	for i := 100; i < 200; i++ { // digital silence, as of suppressed silence
		packets[i].samples = &Frame{}
	}
	b := &Buffer{}
	var line, suppressed, nothing []int16
	listen(b, packets[:200], 300, func(tick int, f *Frame) {
		switch {
		case tick > 40 && tick < 90:
			line = append(line, f[:]...)
		case tick > 120 && tick < 190:
			suppressed = append(suppressed, f[:]...)
		case tick > 220: // nothing comes at all
			nothing = append(nothing, f[:]...)
		}
	})
	if a, b, c := rms(line), rms(suppressed), rms(nothing); b < a/2 || b > a*1.5 || c < a/2 || c > a*1.5 {
		t.Errorf("the line's noise is %.1f, for digital silence %.1f, for nothing %.1f", a, b, c)
	}
	quiet := &Buffer{}
	listen(quiet, talk(func(int64) float64 { return 0 }, 100, 0), 100, func(tick int, f *Frame) {
		if *f != (Frame{}) {
			t.Fatalf("frame %d of a line without noise is not silent", tick)
		}
	})
}

// Whatever arrives, a frame comes out each tick, delayed by no more than the
// maximum; and once the line is calm, it is heard as it is said.
func TestBufferWithAnyArrivals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const calm = 500
		n := rapid.IntRange(1, 300).Draw(t, "packets")
		packets := talk(counting, n+calm, rapid.Float64Range(-500e-6, 500e-6).Draw(t, "skew"))
		shift := time.Duration(0)
		rough := packets[:n]
		for i := range rough {
			p := &rough[i]
			switch rapid.IntRange(0, 20).Draw(t, "fate") {
			case 0:
				shift += time.Duration(rapid.Int64Range(-int64(time.Minute), int64(time.Minute)).Draw(t, "jump"))
			case 1:
				p.arrives = 1 << 60 // lost
			case 2, 3:
				p.arrives += time.Duration(rapid.Int64Range(0, int64(2*time.Second)).Draw(t, "late"))
			case 4:
				p.at += time.Duration(rapid.Int64().Draw(t, "nonsense"))
			}
			p.at += shift
		}
		for i := range packets[n:] {
			packets[n+i].at += shift
		}
		if rapid.Bool().Draw(t, "stalls") {
			stall(rough, time.Duration(rapid.Int64Range(0, int64(6*time.Second)).Draw(t, "from")), time.Duration(rapid.Int64Range(0, int64(3*time.Second)).Draw(t, "for")))
		}
		b := &Buffer{}
		frames := 0
		made := 0
		listen(b, packets, n+calm, func(tick int, f *Frame) {
			frames++
			if d := b.Delay(); d > MaxDelay+FrameDuration || d < 0 {
				t.Fatalf("the delay is %s at frame %d", d, tick)
			}
			if tick > n+calm/2 && (f[FrameSamples-1]-f[FrameSamples-2] != 1) {
				made++
			}
		})
		if frames != n+calm {
			t.Fatalf("%d frames in %d ticks", frames, n+calm)
		}
		if made > calm/10 {
			t.Fatalf("5 s after the trouble %d of %d frames are not what was said: %+v", made, calm/2, b.Stats())
		}
	})
}

func TestBufferAllocatesNothing(t *testing.T) {
	b, packets := &Buffer{}, talk(vowel, 3000, 0)
	i := 0
	var f Frame
	if n := testing.AllocsPerRun(1000, func() {
		if i%17 != 3 {
			b.Put(packets[i].samples[:], packets[i].at, packets[i].arrives)
		}
		b.Take(&f, packets[i].arrives)
		i++
	}); n != 0 {
		t.Errorf("%v allocations a frame", n)
	}
}

func BenchmarkBuffer(b *testing.B) {
	for name, lost := range map[string]int{"clean": 0, "lossy": 20} {
		b.Run(name, func(b *testing.B) {
			packets := talk(vowel, 500, 0)
			buffer, f, i := &Buffer{}, Frame{}, 0
			b.ReportAllocs()
			for b.Loop() {
				p := &packets[i%len(packets)]
				now := time.Duration(i) * FrameDuration
				if lost == 0 || i%lost != 0 {
					buffer.Put(p.samples[:], now, now)
				}
				buffer.Take(&f, now)
				i++
			}
		})
	}
}
