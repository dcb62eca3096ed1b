package recording

import (
	"encoding/binary"
	"io"
	"time"

	"dialer/telephony"
)

const (
	headerSize = 58 // RIFF, fmt (18 bytes), fact, data
	channels   = 2
	rate       = 8000
	ulawZero   = 0xff

	// astray is how far a frame's own time may be from the clock's before the
	// clock's is taken; pause is the same for frames that carry no time.
	astray = 2 * time.Second
	pause  = 200 * time.Millisecond
	// maxAhead bounds what is kept in memory, whatever times are claimed.
	maxAhead = 10 * rate
)

// output is what a track needs of its file.
type output interface {
	io.Writer
	io.WriterAt
}

// track lays the frames of both directions side by side in order of time.
type track struct {
	out     output
	start   time.Time
	lanes   [channels]lane
	pending []byte // interleaved, from sample written on
	written int64  // samples
	late    int64  // frames whose place had been written
	err     error
}

// lane is one direction.
type lane struct {
	begun  bool
	offset time.Duration // of the last frame
	place  int64         // of the last frame, in samples
	next   int64
}

func newTrack(out output, start time.Time) (*track, error) {
	t := &track{out: out, start: start}
	_, err := out.Write(t.header())
	return t, err
}

func (t *track) header() []byte {
	data := t.written * channels
	h := make([]byte, 0, headerSize)
	h = append(h, "RIFF"...)
	h = binary.LittleEndian.AppendUint32(h, uint32(min(data+headerSize-8, 1<<32-1)))
	h = append(h, "WAVEfmt "...)
	h = binary.LittleEndian.AppendUint32(h, 18)
	h = binary.LittleEndian.AppendUint16(h, 7) // µ-law
	h = binary.LittleEndian.AppendUint16(h, channels)
	h = binary.LittleEndian.AppendUint32(h, rate)
	h = binary.LittleEndian.AppendUint32(h, rate*channels)
	h = binary.LittleEndian.AppendUint16(h, channels)
	h = binary.LittleEndian.AppendUint16(h, 8)
	h = binary.LittleEndian.AppendUint16(h, 0)
	h = append(h, "fact"...)
	h = binary.LittleEndian.AppendUint32(h, 4)
	h = binary.LittleEndian.AppendUint32(h, uint32(t.written))
	h = append(h, "data"...)
	return binary.LittleEndian.AppendUint32(h, uint32(min(data, 1<<32-1)))
}

// add puts a frame in its place.
func (t *track) add(f frame) {
	channel := 0
	if f.sent {
		channel = 1
	}
	place := t.lanes[channel].put(f, t.samplesAt(f.at))
	if place < t.written || place-t.written > maxAhead {
		t.late++
		return
	}
	if f.Lost {
		return // silence is there already
	}
	from := int(place-t.written) * channels
	t.grow(from + telephony.FrameSamples*channels)
	for i, s := range f.Samples {
		t.pending[from+i*channels+channel] = telephony.EncodeULaw(s)
	}
}

// put returns where a frame belongs that came when the clock said now. Frames
// that carry a time keep their distances; the others follow each other.
func (l *lane) put(f frame, now int64) int64 {
	step := f.Offset - l.offset
	place := l.next
	switch {
	case !l.begun:
		place = max(0, now-telephony.FrameSamples)
	case step != 0:
		place = l.place + int64(step*rate/time.Second)
		if distance := place - now; distance > samples(astray) || distance < -samples(astray) {
			place = max(l.next, now-telephony.FrameSamples)
		}
	case now-l.next > samples(pause):
		place = now - telephony.FrameSamples
	}
	l.begun, l.offset, l.place = true, f.Offset, place
	l.next = max(l.next, place+telephony.FrameSamples)
	return place
}

func (t *track) grow(n int) {
	for len(t.pending) < n {
		t.pending = append(t.pending, ulawZero)
	}
}

// flush writes what lies before a moment, and a header that is true for it.
func (t *track) flush(before time.Time) {
	n := int(t.samplesAt(before) - t.written)
	if n <= 0 {
		return
	}
	t.grow(n * channels)
	t.write(n * channels)
}

// finish writes everything.
func (t *track) finish() { t.write(len(t.pending)) }

func (t *track) write(n int) {
	if t.err == nil && n > 0 {
		_, t.err = t.out.Write(t.pending[:n])
	}
	t.pending = append(t.pending[:0], t.pending[n:]...)
	t.written += int64(n / channels)
	if t.err == nil {
		_, t.err = t.out.WriteAt(t.header(), 0)
	}
}

func (t *track) size() int64 { return headerSize + t.written*channels }

func (t *track) samplesAt(at time.Time) int64 { return samples(at.Sub(t.start)) }

func samples(d time.Duration) int64 { return int64(d * rate / time.Second) }
