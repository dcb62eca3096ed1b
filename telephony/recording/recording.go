// Package recording writes what is said on a leg to a stereo µ-law WAV file:
// left what was heard from the far end, right what was sent to it.
//
// It never delays audio: frames pass through a bounded queue to the file's own
// goroutine; what does not fit is silence in the file, and counted. It neither
// encrypts nor uploads, and keeps no list of its files.
//
// Entry points: NewRecorder, Recorder.Start, Recording.Stop.
// Goroutines: one for each Recording, from Start until Stop or the leg's end.
package recording

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"dialer/telephony"
)

const (
	// queued is how many frames wait for a slow disk: 2.5 s of both directions.
	queued = 250
	// settle is how long a frame may still come in before its place is written.
	settle = time.Second
)

// A Recorder writes recordings below one folder and nowhere else.
type Recorder struct {
	root *os.Root
	log  *slog.Logger
}

// NewRecorder returns the recorder for a folder, which is made when missing.
func NewRecorder(dir string, log *slog.Logger) (*Recorder, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("recording folder: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("recording folder: %w", err)
	}
	return &Recorder{root: root, log: log}, nil
}

// Close lets go of the folder. Recordings that run go on.
func (r *Recorder) Close() error { return r.root.Close() }

// A Recording is one file being written.
type Recording struct {
	path   string
	log    *slog.Logger
	file   *os.File
	frames chan frame
	missed atomic.Int64
	untap  func()
	once   sync.Once
	stop   chan struct{}
	done   chan struct{}
	size   int64 // valid after done, as is err
	err    error
}

type frame struct {
	telephony.Frame
	sent bool
	at   time.Time
}

// Start records leg to path, relative to the recorder's folder; folders on the
// way are made. A file that exists is never overwritten: that is an error.
func (r *Recorder) Start(leg telephony.Leg, path string) (*Recording, error) {
	if !filepath.IsLocal(path) || filepath.Clean(path) == "." {
		return nil, fmt.Errorf("recording path %q does not lie in the recording folder", path)
	}
	if dir := filepath.Dir(path); dir != "." {
		if err := r.root.MkdirAll(dir, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("start recording: %w", err)
		}
	}
	file, err := r.root.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
	if err != nil {
		return nil, fmt.Errorf("start recording: %w", err)
	}
	t, err := newTrack(file, time.Now())
	if err != nil {
		_ = file.Close()
		_ = r.root.Remove(path)
		return nil, fmt.Errorf("start recording: %w", err)
	}
	rec := &Recording{
		path: path, log: r.log, file: file,
		frames: make(chan frame, queued),
		stop:   make(chan struct{}),
		done:   make(chan struct{}),
	}
	rec.untap = leg.Tap(rec.hear)
	go rec.run(t, leg.Done())
	return rec, nil
}

// hear is called in the path of the audio.
func (r *Recording) hear(f telephony.Frame, sent bool) {
	select {
	case r.frames <- frame{f, sent, time.Now()}:
	default:
		r.missed.Add(1)
	}
}

// Stop ends the recording and returns the size of the file once it is on disk.
// The error is the first one met while writing; what could be written is kept.
// It is idempotent.
func (r *Recording) Stop() (bytes int64, err error) {
	r.once.Do(func() { close(r.stop) })
	<-r.done
	return r.size, r.err
}

// Missed is how many frames did not fit the queue; they are silence in the file.
func (r *Recording) Missed() int64 { return r.missed.Load() }

// run owns the file.
func (r *Recording) run(t *track, ended <-chan struct{}) {
	defer close(r.done)
	every := time.NewTicker(time.Second)
	defer every.Stop()
	for running := true; running; {
		select {
		case f := <-r.frames:
			t.add(f)
		case now := <-every.C:
			t.flush(now.Add(-settle))
		case <-ended:
			running = false
		case <-r.stop:
			running = false
		}
	}
	r.untap()
	for len(r.frames) > 0 {
		t.add(<-r.frames)
	}
	t.finish()
	r.size, r.err = t.size(), t.err
	if err := errors.Join(r.file.Sync(), r.file.Close()); r.err == nil && err != nil {
		r.err = fmt.Errorf("recording %s: %w", r.path, err)
	}
	if missed := r.missed.Load() + t.late; missed > 0 {
		r.log.Warn("recording has gaps", "path", r.path, "frames", missed)
	}
}
