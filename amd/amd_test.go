package amd

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
	"unsafe"
)

// A sound is a piece of a call for tests.
type sound struct {
	ms    int
	level float64 // peak, of 32767
	hz    []float64
	voice bool // syllables of a buzzing voice and hiss
}

func quiet(ms int) sound                  { return sound{ms: ms} }
func voice(ms int) sound                  { return sound{ms: ms, level: 2500, voice: true} }
func beep(ms int, hz ...float64) sound    { return sound{ms: ms, level: 6000, hz: hz} }
func tones(ms int, hz ...float64) []sound { return []sound{beep(ms, hz...)} }

// play renders sounds over a faint line noise.
func play(sounds ...sound) []int16 {
	r := rand.New(rand.NewPCG(1, 2))
	var out []int16
	for _, s := range sounds {
		for i := range s.ms * 8 {
			t := float64(i) / 8000
			x := 8 * r.NormFloat64()
			switch {
			case s.voice:
				in := math.Mod(t, 0.2) / 0.2
				pitch := 125 + 20*math.Sin(2*math.Pi*t/0.9)
				v := 0.25 * r.NormFloat64()
				for h, weight := range [...]float64{0.5, 1, 0.8, 0.6, 0.3, 0.25, 0.2, 0.15, 0.1, 0.1} {
					v += weight * math.Sin(2*math.Pi*pitch*float64(h+1)*t)
				}
				x += s.level * (0.15 + 0.85*max(math.Sin(math.Pi*min(1, in/0.85)), 0)) * v
			default:
				for _, hz := range s.hz {
					x += s.level / float64(len(s.hz)) * math.Sin(2*math.Pi*hz*t)
				}
			}
			out = append(out, int16(min(max(x, -32767), 32767)))
		}
	}
	return out
}

func TestVerdicts(t *testing.T) {
	sit := func(rest ...sound) []sound {
		return append([]sound{quiet(100)}, append(rest, quiet(100), voice(4000))...)
	}
	var busy []sound
	for range 8 {
		busy = append(busy, beep(500, 480, 620), quiet(500))
	}
	for _, c := range []struct {
		name   string
		sounds []sound
		want   Verdict
		code   Code
		before time.Duration
	}{
		{"hello", []sound{quiet(600), voice(400), quiet(3000)}, Human, "", 2100 * time.Millisecond},
		{"hello at once", []sound{voice(400), quiet(3000)}, Human, "", 1700 * time.Millisecond},
		{"hello? hello?", []sound{quiet(400), voice(350), quiet(500), voice(350), quiet(3000)}, Human, "", 2900 * time.Millisecond},
		{"greeting of a machine", []sound{quiet(300), voice(1700), quiet(200), voice(1900), quiet(250), voice(6000)}, Machine, "", 6500 * time.Millisecond},
		{"short greeting and a beep", []sound{quiet(300), voice(1200), quiet(300), beep(400, 1000), quiet(2000)}, Machine, "", 2300 * time.Millisecond},
		{"a beep alone", []sound{quiet(1000), beep(400, 1000), quiet(3000)}, Machine, "", 2000 * time.Millisecond},
		{"nobody speaks", []sound{quiet(8000)}, Silence, "", 4100 * time.Millisecond},
		{"a click is no word", []sound{quiet(500), voice(40), quiet(6000)}, Silence, "", 4100 * time.Millisecond},
		{"fax answers", append([]sound{quiet(200)}, tones(3000, 2100)...), Fax, CED, 800 * time.Millisecond},
		{"fax calls", append([]sound{quiet(200)}, tones(500, 1100)...), Fax, CNG, 800 * time.Millisecond},
		{"vacant", sit(beep(380, 985.2), beep(274, 1370.6), beep(380, 1776.7)), SIT, Vacant, 1400 * time.Millisecond},
		{"intercept", sit(beep(274, 913.8), beep(274, 1370.6), beep(380, 1776.7)), SIT, Intercept, 1400 * time.Millisecond},
		{"reorder", sit(beep(274, 913.8), beep(380, 1428.5), beep(380, 1776.7)), SIT, ReorderSIT, 1400 * time.Millisecond},
		{"no circuit", sit(beep(380, 985.2), beep(380, 1428.5), beep(380, 1776.7)), SIT, NoCircuit, 1500 * time.Millisecond},
		{"no circuit of another network", sit(beep(380, 913.8), beep(380, 1370.6), beep(380, 1776.7)), SIT, NoCircuit, 1500 * time.Millisecond},
		{"ringback", []sound{quiet(200), beep(2000, 440, 480), quiet(4000), beep(2000, 440, 480)}, Ringback, Ringing, 8100 * time.Millisecond},
		{"European ringback", []sound{quiet(200), beep(1000, 425), quiet(4000), beep(1000, 425), quiet(4000)}, Ringback, Ringing, 8100 * time.Millisecond},
		{"busy tone", busy, Ringback, Busy, 8100 * time.Millisecond},
	} {
		r := hear(New(Config{}), play(c.sounds...))
		if r.Verdict != c.want || r.Code != c.code || r.Decided > c.before || r.Reason == "" {
			t.Errorf("%s: %s %s after %v (%s, %+v), want %s %s before %v", c.name, r.Verdict, r.Code, r.Decided, r.Reason, r.P, c.want, c.code, c.before)
		}
	}
}

// TestTimes: what the law counts from is reported near the truth.
func TestTimes(t *testing.T) {
	r := hear(New(Config{}), play(quiet(600), voice(400), quiet(3000)))
	near := func(name string, got, want time.Duration) {
		t.Helper()
		if d := (got - want).Abs(); d > 60*time.Millisecond {
			t.Errorf("%s at %v, it was at %v", name, got, want)
		}
	}
	near("speech", r.SpeechStart, 600*time.Millisecond)
	near("end of greeting", r.GreetingEnd, time.Second)
	near("last voice", r.LastVoice, time.Second)

	d := New(Config{})
	for hello := play(quiet(600), voice(400), quiet(200)); len(hello) >= frameSize; hello = hello[frameSize:] {
		r, _ = d.Write(hello[:frameSize])
	}
	near("last voice before a verdict", r.LastVoice, time.Second)
	if r.GreetingEnd >= 0 {
		t.Errorf("a pause of 200 ms has ended the greeting: %+v", r)
	}

	r = hear(New(Config{}), play(quiet(6000)))
	if r.SpeechStart >= 0 || r.LastVoice >= 0 || r.GreetingEnd >= 0 {
		t.Errorf("nobody spoke: %+v", r)
	}
}

// TestLostPackets: what was not heard is not silence.
func TestLostPackets(t *testing.T) {
	d := New(Config{})
	var r Result
	done := false
	frames := 0
	for ; !done; frames++ {
		if frames > 1000 {
			t.Fatal("no verdict without any packet")
		}
		r, done = d.Write(nil)
	}
	if r.Verdict != Unknown || r.Decided != 8*time.Second {
		t.Errorf("no packet ever came: %+v", r)
	}

	d = New(Config{})
	hello := play(quiet(600), voice(400))
	for i := 0; i+frameSize <= len(hello); i += frameSize {
		d.Write(hello[i : i+frameSize])
	}
	for i := range 60 { // 1.2 s are lost: no pause was heard
		if r, done = d.Write(nil); done {
			t.Fatalf("lost packet %d ended the greeting: %+v", i, r)
		}
	}
}

func TestConfig(t *testing.T) {
	d := New(Config{InitialSilence: time.Second})
	if r := hear(d, play(quiet(3000))); r.Verdict != Silence || r.Decided != time.Second {
		t.Errorf("%+v", r)
	}
	d = New(Config{MaxAnalysis: time.Second})
	if r := hear(d, play(quiet(500), voice(3000))); r.Verdict != Unknown || r.Decided != time.Second {
		t.Errorf("%+v", r)
	}
}

// TestAfterDone: writing on changes nothing.
func TestAfterDone(t *testing.T) {
	d := New(Config{})
	first := hear(d, play(quiet(600), voice(400), quiet(3000)))
	again, done := d.Write(play(voice(20)))
	if !done || again != first {
		t.Errorf("%+v became %+v", first, again)
	}
}

func TestLive(t *testing.T) {
	for v, want := range map[Verdict]bool{Human: true, Unknown: true, Silence: true, Machine: false, Screening: false, Fax: false, SIT: false, Ringback: false, Music: false} {
		if v.Live() != want {
			t.Errorf("%s goes to an agent: %v", v, v.Live())
		}
	}
}

func TestWriteAllocatesNothing(t *testing.T) {
	frames := play(quiet(200), voice(2000), beep(100, 1000), quiet(100))
	d := New(Config{})
	at := 0
	if n := testing.AllocsPerRun(1000, func() {
		d.Write(frames[at : at+frameSize])
		at = (at + frameSize) % (len(frames) - frameSize)
	}); n != 0 {
		t.Errorf("%v allocations per frame", n)
	}
	if size := unsafe.Sizeof(detector{}); size > 8<<10 {
		t.Errorf("a call takes %d bytes", size)
	}
}

// FuzzWrite: no audio, loss or size of frame panics, hangs or gives a verdict
// without a reason, and listening on does no harm.
func FuzzWrite(f *testing.F) {
	f.Add([]byte{0x7f, 0xff, 0x80, 0x00}, 160, uint64(0))
	f.Add([]byte{}, 0, uint64(0))
	f.Add([]byte{1}, 1, uint64(1<<40))
	f.Add([]byte{0x7f, 0xff, 0x7f, 0xff, 0x80, 0x00, 0x80, 0x00}, 480, uint64(0xf0f0f0f0f0f0f0f0))
	f.Fuzz(func(t *testing.T, pattern []byte, size int, lost uint64) {
		frame := make([]int16, min(max(size, 0), 1000))
		d := New(Config{})
		var first Result
		for i := range 500 {
			for j := range frame {
				if len(pattern) > 1 {
					k := (i*len(frame) + j) * 2 % (len(pattern) - 1)
					frame[j] = int16(pattern[k])<<8 | int16(pattern[k+1])
				}
			}
			in := frame
			if lost>>(i%64)&1 == 1 {
				in = nil
			}
			r, done := d.Write(in)
			for _, e := range d.Events() {
				if e.Kind == "" || e.Start > e.At || e.End > e.At {
					t.Fatalf("%+v", e)
				}
			}
			switch {
			case first.Verdict == "" && done:
				first = r
				if r.Reason == "" || r.Decided != time.Duration(i+1)*frameTime || !(r.P.Human >= 0 && r.P.Human <= 1) ||
					r.SpeechStart > r.Decided || r.LastVoice > r.Decided || r.GreetingEnd > r.LastVoice || r.GreetingEnd >= 0 && r.GreetingEnd < r.SpeechStart {
					t.Fatalf("%+v after %d frames", r, i+1)
				}
			case first.Verdict != "" && (!done || r != first):
				t.Fatalf("%+v became %+v", first, r)
			}
		}
		if first.Verdict == "" || first.Decided > 8*time.Second {
			t.Fatalf("no verdict in 8 s: %+v", first)
		}
	})
}

// FuzzReadModel: whatever is read can listen.
func FuzzReadModel(f *testing.F) {
	f.Add(modelFile)
	f.Add(modelFile[:1000])
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ReadModel(b)
		if err != nil {
			return
		}
		d := New(Config{Model: m})
		for range 10 {
			d.Write(make([]int16, frameSize))
		}
	})
}

func TestModelFile(t *testing.T) {
	m, err := ReadModel(modelFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(m.Append(nil)) != string(modelFile) || len(modelFile) > 1<<20 {
		t.Errorf("%d bytes, and read and written they differ", len(modelFile))
	}
}

// TestPresets: a wrong hang-up that costs more needs more certainty.
func TestPresets(t *testing.T) {
	doubt := func(c Config) float64 { p := newPolicy(c); return p.doubt }
	if !(doubt(Config{Preset: Careful}) < doubt(Config{}) && doubt(Config{}) == doubt(Config{Preset: Balanced}) && doubt(Config{}) < doubt(Config{Preset: Fast})) {
		t.Error("careful, balanced and fast are not in this order")
	}
	if d := doubt(Config{Preset: Fast, HangUpCost: 792 * time.Second}); math.Abs(d-0.01) > 1e-9 {
		t.Errorf("an agent's 8 s against 792 s: %v", d)
	}
	if _, err := ParsePreset("bold"); err == nil {
		t.Error("bold is a preset")
	}
	if p, err := ParsePreset(""); p != Balanced || err != nil {
		t.Error(p, err)
	}
}

func ExampleNew() {
	d := New(Config{})
	samples := play(quiet(600), voice(400), quiet(3000))
	for {
		r, done := d.Write(samples[:frameSize])
		if done {
			fmt.Println(r.Verdict, "because of", r.Reason)
			return
		}
		samples = samples[frameSize:]
	}
	// Output: human because of a greeting and a pause
}

// BenchmarkWrite is what a packet costs while there is no verdict.
func BenchmarkWrite(b *testing.B) {
	frames := play(quiet(200), voice(1000), beep(100, 1000))
	d := New(Config{})
	b.ReportAllocs()
	for i := 0; b.Loop(); i = (i + frameSize) % (len(frames) - frameSize) {
		d.Write(frames[i : i+frameSize])
		d.(*detector).done = false // behind some verdicts the model is not asked
	}
}

// TestEvents: what a message player must know is told when it happens, before
// the verdict and after it.
func TestEvents(t *testing.T) {
	d := New(Config{})
	samples := play(quiet(500), voice(500), quiet(1500), voice(3000), quiet(1200), beep(400, 1000), quiet(1000))
	var kinds []EventKind
	for ; len(samples) >= frameSize; samples = samples[frameSize:] {
		d.Write(samples[:frameSize])
		for _, e := range d.Events() {
			kinds = append(kinds, e.Kind)
			if e.At < e.Start || e.End >= 0 && (e.End < e.Start || e.At < e.End) {
				t.Errorf("%+v", e)
			}
			if (e.Kind == BeepStarted || e.Kind == BeepEnded) && math.Abs(e.Hz-1000) > 20 {
				t.Errorf("a beep of 1000 Hz: %+v", e)
			}
			if want := 7100 * time.Millisecond; e.Kind == BeepEnded && ((e.End-want).Abs() > 60*time.Millisecond || e.At-e.End > 100*time.Millisecond) {
				t.Errorf("the beep ended at %v: %+v", want, e)
			}
		}
	}
	want := []EventKind{SpeechStarted, GreetingEnded, Decided, SpeechStarted, GreetingEnded, BeepStarted, LateMachine, BeepEnded}
	seen := 0
	for _, k := range kinds {
		if seen < len(want) && k == want[seen] {
			seen++
		}
	}
	if seen != len(want) {
		t.Errorf("%q, want among them, in this order, %q", kinds, want)
	}
}

// hear feeds samples and then silence, until done.
func hear(d Detector, samples []int16) Result {
	silence := make([]int16, frameSize)
	for range 1000 {
		frame := silence
		if len(samples) >= frameSize {
			frame, samples = samples[:frameSize], samples[frameSize:]
		}
		if r, done := d.Write(frame); done {
			return r
		}
	}
	return Result{}
}
