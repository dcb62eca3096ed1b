package pacing

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// A taped is a dialer with people and agents drawn by chance, and its tape.
type taped struct {
	t        *testing.T
	rand     *rand.Rand
	rec      Recorder
	now      time.Time
	snap     Snapshot
	calls    []*tapedCall
	agents   []*tapedAgent
	decided  []Decision
	parts    [][]byte
	chances  bool
	answered int
	lost     int
}

type tapedCall struct {
	placed, ends time.Time
	live         bool
	chance       float64
}

type tapedAgent struct {
	state string // ready, talking, wrap
	since time.Time
	until time.Time
}

func newTaped(t *testing.T, seed uint64, agents int, chances bool) *taped {
	d := &taped{t: t, rand: rand.New(rand.NewPCG(seed, 3)), now: time.Date(2026, 5, 4, 9, 0, 0, 123_456_789, time.UTC), chances: chances, answered: 300}
	if err := d.rec.Begin(d.now, &Estimator{RingMax: 25 * time.Second}); err != nil {
		t.Fatal(err)
	}
	for range agents {
		d.agents = append(d.agents, &tapedAgent{state: "ready", since: d.now})
	}
	return d
}

func (d *taped) chance(mean time.Duration) time.Duration {
	return time.Duration(d.rand.ExpFloat64() * float64(mean))
}

// step is one look and what happens until the next.
func (d *taped) step(c Config) {
	d.now = d.now.Add(150*time.Millisecond + time.Duration(d.rand.IntN(100_000_000)))
	if d.rand.IntN(3000) == 0 {
		d.rec.RingMax(time.Duration(20+d.rand.IntN(10)) * time.Second)
	}
	kept := d.calls[:0]
	for _, call := range d.calls {
		if d.now.Before(call.ends) {
			kept = append(kept, call)
			continue
		}
		ring := call.ends.Sub(call.placed)
		d.rec.Ended(call.live, ring)
		if !call.live {
			continue
		}
		d.rec.Detected(true)
		d.answered++
		free := false
		for _, a := range d.agents {
			if !free && a.state == "ready" {
				*a, free = tapedAgent{"talking", d.now, d.now.Add(d.chance(time.Minute))}, true
			}
		}
		if !free {
			d.lost++
		}
	}
	d.calls = kept
	s := Snapshot{Now: d.now, Answered: d.answered, Abandoned: d.lost, Cap: c.Cap, Lines: 100, LeadsLeft: 50 + d.rand.IntN(3)}
	for _, a := range d.agents {
		switch {
		case a.state == "talking" && d.now.After(a.until):
			d.rec.Talked(d.now.Sub(a.since))
			*a = tapedAgent{"wrap", d.now, d.now.Add(d.chance(10 * time.Second))}
		case a.state == "wrap" && d.now.After(a.until):
			d.rec.Wrapped(d.now.Sub(a.since), d.rand.IntN(20) == 0)
			*a = tapedAgent{"ready", d.now, time.Time{}}
		}
		switch a.state {
		case "ready":
			s.Ready++
		case "talking":
			s.Talking = append(s.Talking, d.now.Sub(a.since))
		case "wrap":
			s.WrapUp = append(s.WrapUp, d.now.Sub(a.since))
		}
	}
	for _, call := range d.calls {
		s.Ringing = append(s.Ringing, d.now.Sub(call.placed))
		if d.chances {
			s.RingingChance = append(s.RingingChance, call.chance)
		}
	}
	if d.chances {
		for range s.LeadsLeft {
			s.NextChance = append(s.NextChance, d.rand.Float64()*3)
		}
	}
	if err := d.rec.Configure(c); err != nil {
		d.t.Fatal(err)
	}
	dec := d.rec.Decide(s)
	d.decided = append(d.decided, dec)
	for i := range dec.Dial {
		placed := d.now
		if i%2 == 0 {
			placed = d.now.Add(time.Millisecond)
		}
		d.calls = append(d.calls, &tapedCall{placed, placed.Add(3*time.Second + d.chance(8*time.Second)), d.rand.Float64() < 0.3, d.rand.Float64() * 2})
	}
}

// What was decided is decided again, to the last digit, also by pacers that were
// configured anew in the middle and when the tape was cut anywhere.
func TestReplayIsExact(t *testing.T) {
	for name, chances := range map[string]bool{"even": false, "chances": true} {
		t.Run(name, func(t *testing.T) {
			d := newTaped(t, 7, 12, chances)
			configs := []Config{{Mode: Predictive, Cap: 0.03}, {Mode: Predictive, Cap: 0.05, Strict: true}, {Mode: Power, Ratio: 1.5, Cap: 0.03}, {Mode: Predictive, Cap: 0.03}}
			for i := range 3200 {
				d.step(configs[i/800])
				if i%277 == 0 {
					d.parts = append(d.parts, d.rec.Cut())
				}
			}
			d.parts = append(d.parts, d.rec.Cut())
			var player Player
			looks, bytes, dialed := 0, 0, 0
			for _, part := range d.parts {
				bytes += len(part)
				for look, err := range player.Play(part) {
					if err != nil {
						t.Fatal(err)
					}
					pacer, err := New(look.Config)
					if err != nil {
						t.Fatal(err)
					}
					want := d.decided[looks]
					if got := pacer.Decide(look.Snapshot); got != want {
						t.Fatalf("look %d at %s: %+v\nrecorded %+v", looks, look.At, got, want)
					}
					looks++
					dialed += want.Dial
					if look.Number != looks || look.Dial != want.Dial || look.Limit != want.Limit || look.AgentFirst != want.AgentFirst {
						t.Fatalf("look %d is told as %+v, was %+v", looks, look, want)
					}
				}
			}
			if looks != len(d.decided) || dialed < 100 {
				t.Errorf("%d looks of %d, %d calls", looks, len(d.decided), dialed)
			}
			t.Logf("%d looks, %d calls, %.1f bytes a look", looks, dialed, float64(bytes)/float64(looks))
			if !chances && bytes > 15*looks {
				t.Errorf("%d bytes for %d looks", bytes, looks)
			}
		})
	}
}

// The same decisions are made with and without a tape, as far as times are in
// whole milliseconds.
func TestRecorderDecidesAsOthers(t *testing.T) {
	now := time.Date(2026, 5, 4, 9, 0, 0, 0, time.UTC)
	c := Config{Mode: Predictive, Cap: 0.03}
	var plain, kept Recorder
	if err := kept.Begin(now, &Estimator{}); err != nil {
		t.Fatal(err)
	}
	for _, r := range []*Recorder{&plain, &kept} {
		if err := r.Configure(c); err != nil {
			t.Fatal(err)
		}
		r.RingMax(25 * time.Second)
	}
	calls := 0
	for i := range 500 {
		now = now.Add(200 * time.Millisecond)
		ring := time.Duration(i%20) * time.Second
		s := Snapshot{Now: now, Ready: 3, Held: -1, Talking: []time.Duration{time.Duration(i) * time.Second, time.Minute}, Ringing: []time.Duration{ring, 0}, Answered: 400, Lines: math.MaxInt, LeadsLeft: 50}
		plain.Ended(i%3 == 0, ring)
		kept.Ended(i%3 == 0, ring)
		a, b := plain.Decide(s), kept.Decide(s)
		if a != b {
			t.Fatalf("%+v\nwith a tape %+v", a, b)
		}
		calls += a.Dial
	}
	if calls == 0 || plain.Cut() != nil {
		t.Errorf("%d calls", calls)
	}
}

// A tape that is cut short, comes in the wrong order or has other bytes is an
// error or another tape, and nothing worse.
func FuzzTape(f *testing.F) {
	d := newTaped(nil, 5, 4, true)
	for i := range 12 {
		d.step(Config{Mode: Predictive, Cap: 0.03, MaxLinesPerAgent: float64(3 + i/6)})
	}
	whole := d.rec.Cut()
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Fuzz(func(t *testing.T, tape []byte) {
		if len(tape) > 1<<16 {
			return
		}
		var p Player
		looks := 0
		for look, err := range p.Play(tape) {
			if err != nil {
				break
			}
			if looks++; looks > 10 {
				break
			}
			pacer, err := New(look.Config)
			if s := look.Snapshot; err != nil || s.agents()+s.inFlight()+s.LeadsLeft > 2000 {
				continue // a decision for a million agents takes its time
			}
			if d := pacer.Decide(look.Snapshot); d.Dial < 0 || d.Dial > max(look.Snapshot.Lines, 0) {
				t.Fatalf("%+v", d)
			}
		}
	})
}

func TestDamagedTapes(t *testing.T) {
	d := newTaped(t, 5, 4, false)
	for range 30 {
		d.step(Config{Mode: Predictive, Cap: 0.03})
	}
	first := d.rec.Cut()
	d.step(Config{Mode: Predictive, Cap: 0.03})
	second := d.rec.Cut()
	for name, parts := range map[string][][]byte{
		"short":           {first[:len(first)-3]},
		"without a start": {second},
		"begun twice":     {first, first},
		"of the future":   {{tapeBegins, 99}},
		"nonsense":        {append([]byte{}, "not a tape"...)},
	} {
		var p Player
		var last error
		for _, part := range parts {
			for _, err := range p.Play(part) {
				last = err
			}
		}
		if last == nil {
			t.Errorf("%s: no error", name)
		} else if name != "of the future" && !errors.Is(last, errTape) {
			t.Errorf("%s: %v", name, last)
		}
	}
}

// BenchmarkRecorder decides for 500 agents with a tape.
func BenchmarkRecorder(b *testing.B) {
	now := time.Unix(1e9, 0)
	r := rand.New(rand.NewPCG(1, 1))
	s := known()
	s.Ready, s.Lines, s.LeadsLeft = 26, 5000, 1000
	s.Talking, s.WrapUp, s.Ringing = ages(400, time.Second), ages(50, time.Second), ages(500, 50*time.Millisecond)
	for _, all := range [][]time.Duration{s.Talking, s.WrapUp, s.Ringing} {
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	}
	var rec Recorder
	if err := rec.Begin(now, history(2000)); err != nil {
		b.Fatal(err)
	}
	if err := rec.Configure(Config{Mode: Predictive, Cap: 0.03}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		now = now.Add(200 * time.Millisecond)
		s.Now = now
		for _, all := range [][]time.Duration{s.Talking, s.WrapUp, s.Ringing} {
			for j := range all {
				all[j] += 200 * time.Millisecond
			}
			all[i%len(all)] = 0 // one ends, another begins
		}
		rec.Decide(s)
		if i%300 == 0 {
			rec.Cut()
		}
	}
}
