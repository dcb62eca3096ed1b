package recording

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"dialer/telephony"
)

// leg is a leg of which only the tap matters.
type leg struct {
	telephony.Leg
	done chan struct{}
	mu   sync.Mutex
	tap  func(telephony.Frame, bool)
}

func newLeg() *leg { return &leg{done: make(chan struct{})} }

func (l *leg) Tap(f func(telephony.Frame, bool)) (stop func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tap = f
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.tap = nil
	}
}

func (l *leg) Done() <-chan struct{} { return l.done }

func (l *leg) say(f telephony.Frame, sent bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tap != nil {
		l.tap(f, sent)
	}
}

func frameOf(v int16, offset time.Duration) telephony.Frame {
	f := telephony.Frame{Offset: offset}
	for i := range f.Samples {
		f.Samples[i] = v
	}
	return f
}

func recorder(t *testing.T) (*Recorder, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "recordings")
	r, err := NewRecorder(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r, dir
}

// audio checks the header and returns both channels.
func audio(t *testing.T, file []byte) (left, right []int16) {
	t.Helper()
	if len(file) < headerSize || string(file[:4]) != "RIFF" || string(file[8:16]) != "WAVEfmt " {
		t.Fatalf("not a WAV file: % x", file[:min(len(file), 16)])
	}
	if got := binary.LittleEndian.Uint32(file[4:]); int(got) > len(file)-8 {
		t.Errorf("RIFF size %d in a file of %d", got, len(file))
	}
	n := int(binary.LittleEndian.Uint32(file[54:]))
	if string(file[50:54]) != "data" || n > len(file)-headerSize {
		t.Fatalf("data size %d in a file of %d", n, len(file))
	}
	for i := headerSize; i < headerSize+n; i += 2 {
		left = append(left, telephony.DecodeULaw(file[i]))
		right = append(right, telephony.DecodeULaw(file[i+1]))
	}
	return left, right
}

// level is the mean magnitude of a stretch, given in seconds.
func level(samples []int16, from, to float64) float64 {
	sum := 0.0
	part := samples[int(from*rate):int(to*rate)]
	for _, s := range part {
		sum += math.Abs(float64(s))
	}
	return sum / float64(len(part))
}

func TestRecordingHoldsBothSides(t *testing.T) {
	r, dir := recorder(t)
	l := newLeg()
	rec, err := r.Start(l, "2026/11/call-1.wav")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		l.say(frameOf(1000, time.Duration(i)*telephony.FrameDuration), false)
		l.say(frameOf(4000, time.Duration(i)*telephony.FrameDuration), true)
	}
	size, err := rec.Stop()
	if err != nil {
		t.Fatal(err)
	}
	l.say(frameOf(9999, 0), false) // after the end: nowhere
	file, err := os.ReadFile(filepath.Join(dir, "2026", "11", "call-1.wav"))
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(file)) != size {
		t.Errorf("Stop says %d bytes, the file has %d", size, len(file))
	}
	left, right := audio(t, file)
	if len(left) != 20*telephony.FrameSamples {
		t.Errorf("%d samples, want %d", len(left), 20*telephony.FrameSamples)
	}
	if a, b := level(left, 0, 0.4), level(right, 0, 0.4); a < 950 || a > 1050 || b < 3900 || b > 4100 {
		t.Errorf("left at %.0f, right at %.0f; want the heard at 1000, the sent at 4000", a, b)
	}
	if again, err := rec.Stop(); again != size || err != nil {
		t.Errorf("Stop again: %d, %v", again, err)
	}
	if clip, err := telephony.ReadWAV(bytes.NewReader(file), "call-1.wav"); err != nil || clip.Duration() != 400*time.Millisecond {
		t.Errorf("the recording cannot be played: %s, %v", clip.Duration(), err)
	}
}

// Frames stand where they were said, whatever is missing, late or without time.
func TestFramesStandInTime(t *testing.T) {
	start := time.Now()
	const f = telephony.FrameDuration
	type said struct {
		value  int16
		sent   bool
		offset time.Duration // RTP time
		at     time.Duration // when it came
	}
	run := func(t *testing.T, all ...said) (left, right []int16) {
		out := &memory{}
		tr, err := newTrack(out, start)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range all {
			tr.add(frame{frameOf(s.value, s.offset), s.sent, start.Add(s.at)})
		}
		tr.finish()
		return audio(t, out.b)
	}
	t.Run("a gap is silence", func(t *testing.T) {
		left, _ := run(t, said{1000, false, 5 * f, f}, said{1000, false, 55 * f, 51 * f})
		if len(left) != 51*160 || level(left, 0.02, 1) != 0 || level(left, 1.0, 1.02) < 900 {
			t.Errorf("%d samples, want speech, 980 ms of silence, speech", len(left))
		}
	})
	t.Run("a burst after a stall is spread", func(t *testing.T) {
		left, _ := run(t, said{1000, false, 0, f}, said{2000, false, f, 10 * f}, said{3000, false, 2 * f, 10 * f})
		if len(left) != 3*160 || level(left, 0.04, 0.06) < 2900 {
			t.Errorf("%d samples, want three frames side by side", len(left))
		}
	})
	t.Run("frames without time follow each other", func(t *testing.T) {
		_, right := run(t, said{1000, true, 0, f}, said{1000, true, 0, 2 * f}, said{1000, true, 0, 3*f + 5e6}, said{1000, true, 0, 100 * f})
		if len(right) != 100*160 || level(right, 0, 0.06) < 900 || level(right, 0.06, 1.98) != 0 {
			t.Errorf("%d samples, want 60 ms of speech, silence, a frame at 2 s", len(right))
		}
	})
	t.Run("both sides side by side", func(t *testing.T) {
		left, right := run(t, said{1000, false, -3 * f, f}, said{2000, true, 90 * f, 26 * f}, said{1000, false, -2 * f, 2 * f})
		if len(left) != 26*160 || level(left, 0, 0.04) < 900 || level(right, 0, 0.5) != 0 || level(right, 0.5, 0.52) < 1900 {
			t.Errorf("%d samples, left %.0f, right %.0f", len(left), level(left, 0, 0.04), level(right, 0.5, 0.52))
		}
	})
	t.Run("a clock that jumps", func(t *testing.T) {
		left, _ := run(t, said{1000, false, 0, f}, said{1000, false, 1000 * time.Hour, 2 * f}, said{1000, false, -1000 * time.Hour, 3 * f},
			said{1000, false, math.MaxInt64, 4 * f}, said{1000, false, math.MinInt64, 5 * f})
		if len(left) < 4*160 || len(left) > 6*160 {
			t.Errorf("%d samples, want about five frames", len(left))
		}
	})
}

// memory is a file.
type memory struct{ b []byte }

func (m *memory) Write(p []byte) (int, error) { m.b = append(m.b, p...); return len(p), nil }
func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	return copy(m.b[off:], p), nil
}

// What is on disk at any second is a valid file: the process may die.
func TestFileIsValidWhileRunning(t *testing.T) {
	out, start := &memory{}, time.Now()
	tr, err := newTrack(out, start)
	if err != nil {
		t.Fatal(err)
	}
	for second := range 5 {
		for i := range 50 {
			at := time.Duration(second*50+i+1) * telephony.FrameDuration
			tr.add(frame{frameOf(1000, at), false, start.Add(at)})
		}
		now := start.Add(time.Duration(second+1) * time.Second)
		tr.flush(now.Add(-settle))
		left, _ := audio(t, out.b)
		if len(left) != second*rate {
			t.Errorf("after %d s the file holds %d samples, want all but the last second", second+1, len(left))
		}
	}
}

// A slow disk costs the recording, never the audio.
func TestSlowDiskNeverDelaysAudio(t *testing.T) {
	// Nobody takes from its queue, as while the disk does not answer.
	stuck := &Recording{frames: make(chan frame, queued)}
	start := time.Now()
	for range queued + 100 {
		stuck.hear(telephony.Frame{}, false)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("the audio was held up for %s", took)
	}
	if stuck.Missed() != 100 {
		t.Errorf("%d frames missed, want 100", stuck.Missed())
	}
}

func TestDiskErrorIsReported(t *testing.T) {
	r, _ := recorder(t)
	l := newLeg()
	rec, err := r.Start(l, "call.wav")
	if err != nil {
		t.Fatal(err)
	}
	_ = rec.file.Close() // as a disk that is gone
	l.say(frameOf(1000, 0), false)
	if _, err := rec.Stop(); err == nil {
		t.Error("a recording that could not be written was reported as written")
	}
}

func TestRecordingEndsWithItsLeg(t *testing.T) {
	r, _ := recorder(t)
	l := newLeg()
	rec, err := r.Start(l, "call.wav")
	if err != nil {
		t.Fatal(err)
	}
	l.say(frameOf(1000, 0), false)
	close(l.done)
	select {
	case <-rec.done:
	case <-time.After(5 * time.Second):
		t.Fatal("the recording goes on after its leg")
	}
	if size, err := rec.Stop(); size != headerSize+2*telephony.FrameSamples || err != nil {
		t.Errorf("%d bytes, %v; want one frame", size, err)
	}
}

func TestPathsStayInTheFolder(t *testing.T) {
	r, dir := recorder(t)
	outside := filepath.Dir(dir)
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"", ".", "..", "../x.wav", "/etc/x.wav", "a/../../x.wav", "link/x.wav", "a\x00b"} {
		if rec, err := r.Start(newLeg(), path); err == nil {
			_, _ = rec.Stop()
			t.Errorf("%q was accepted", path)
		}
	}
	if found, _ := filepath.Glob(filepath.Join(outside, "*.wav")); len(found) > 0 {
		t.Errorf("written outside: %v", found)
	}
	rec, err := r.Start(newLeg(), "a.wav")
	if err != nil {
		t.Fatal(err)
	}
	defer rec.Stop()
	if _, err := r.Start(newLeg(), "a.wav"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a recording was overwritten: %v", err)
	}
}
