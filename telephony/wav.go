package telephony

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"dialer"
)

const (
	// maxClip is the longest clip.
	maxClip = 10 * time.Minute
	// maxWAV is the largest file that is read: maxClip at 16 kHz, stereo, 16 bit.
	maxWAV = int64(maxClip/time.Second)*16000*2*2 + 64<<10
	// wavRemedy tells how to make a file that fits.
	wavRemedy = "convert it, for instance with: sox in.wav -r 8000 -c 1 -b 16 out.wav"
)

// The formats of RIFF WAVE that are read.
const (
	wavPCM        = 1
	wavALaw       = 6
	wavULaw       = 7
	wavExtensible = 0xfffe
)

type wavFormat struct {
	encoding, channels, bits int
	rate                     uint32
}

// ReadWAV reads a clip from a RIFF WAVE file at 8 or 16 kHz: 16 bit PCM, µ-law
// or A-law, mono or the left of two channels, at most 10 minutes. What does not
// fit is an Invalid *dialer.Error that says what was found.
func ReadWAV(r io.Reader, name string) (Clip, error) {
	return ReadWAVSide(r, name, 0)
}

// ReadWAVSide is ReadWAV for the left (0) or the right (1) of two channels. A
// mono file has one side, whichever is asked for.
func ReadWAVSide(r io.Reader, name string, side int) (Clip, error) {
	file, err := io.ReadAll(io.LimitReader(r, maxWAV+1))
	if err != nil {
		return Clip{}, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(file)) > maxWAV {
		return Clip{}, wavErrorf(name, "is longer than %s", maxClip)
	}
	if len(file) < 12 || !bytes.Equal(file[:4], []byte("RIFF")) || !bytes.Equal(file[8:12], []byte("WAVE")) {
		return Clip{}, wavErrorf(name, "is not a RIFF WAVE file")
	}
	format, data, err := wavChunks(file[12:])
	if err != nil {
		return Clip{}, wavErrorf(name, "%v", err)
	}
	samples := format.decode(data, min(side, format.channels-1))
	if len(samples) == 0 {
		return Clip{}, wavErrorf(name, "holds no audio")
	}
	if format.rate == 16000 {
		samples = halve(samples)
	}
	c := Clip{Name: name, Samples: samples}
	if c.Duration() > maxClip {
		return Clip{}, wavErrorf(name, "is %s long, more than %s", c.Duration().Round(time.Second), maxClip)
	}
	stored := make([]byte, 0, 2*len(samples))
	for _, s := range samples {
		stored = binary.LittleEndian.AppendUint16(stored, uint16(s))
	}
	sum := sha256.Sum256(stored)
	c.SHA256 = hex.EncodeToString(sum[:])
	return c, nil
}

func wavErrorf(name, format string, args ...any) error {
	if name == "" {
		name = "the audio"
	}
	return dialer.Errorf(dialer.Invalid, "%s %s; %s", name, fmt.Sprintf(format, args...), wavRemedy)
}

// wavChunks finds the format and the data. A data chunk whose size is not true
// (a program that wrote to a pipe or was stopped) ends with the file.
func wavChunks(b []byte) (format wavFormat, data []byte, err error) {
	known := false
	for len(b) >= 8 {
		id, size := string(b[:4]), int64(binary.LittleEndian.Uint32(b[4:]))
		b = b[8:]
		body := b[:min(size, int64(len(b)))]
		switch id {
		case "fmt ":
			if format, err = readWAVFormat(body); err != nil {
				return format, nil, err
			}
			known = true
		case "data":
			if !known {
				return format, nil, errors.New("has no fmt chunk before its data")
			}
			if size == 0 {
				body = b
			}
			return format, body, nil
		}
		b = b[min(size+size%2, int64(len(b))):]
	}
	return format, nil, errors.New("has no data chunk")
}

func readWAVFormat(b []byte) (f wavFormat, err error) {
	if len(b) < 16 {
		return f, errors.New("has a fmt chunk that is too short")
	}
	f = wavFormat{
		encoding: int(binary.LittleEndian.Uint16(b)),
		channels: int(binary.LittleEndian.Uint16(b[2:])),
		rate:     binary.LittleEndian.Uint32(b[4:]),
		bits:     int(binary.LittleEndian.Uint16(b[14:])),
	}
	if f.encoding == wavExtensible && len(b) >= 26 {
		f.encoding = int(binary.LittleEndian.Uint16(b[24:]))
	}
	switch {
	case f.encoding != wavPCM && f.encoding != wavALaw && f.encoding != wavULaw:
		return f, fmt.Errorf("has encoding %d, not PCM (1), A-law (6) or µ-law (7)", f.encoding)
	case f.encoding == wavPCM && f.bits != 16:
		return f, fmt.Errorf("has %d bit PCM, not 16 bit", f.bits)
	case f.encoding != wavPCM && f.bits != 8:
		return f, fmt.Errorf("has %d bit G.711, not 8 bit", f.bits)
	case f.channels != 1 && f.channels != 2:
		return f, fmt.Errorf("has %d channels, not 1 or 2", f.channels)
	case f.rate != 8000 && f.rate != 16000:
		return f, fmt.Errorf("is sampled at %d Hz, not at 8000 or 16000", f.rate)
	}
	return f, nil
}

// decode returns the samples of a channel.
func (f wavFormat) decode(data []byte, channel int) []int16 {
	width := f.bits / 8
	block := width * f.channels
	samples := make([]int16, len(data)/block)
	for i := range samples {
		at := data[i*block+channel*width:]
		switch f.encoding {
		case wavALaw:
			samples[i] = DecodeALaw(at[0])
		case wavULaw:
			samples[i] = DecodeULaw(at[0])
		default:
			samples[i] = int16(binary.LittleEndian.Uint16(at))
		}
	}
	return samples
}

// halve takes 16 kHz down to 8 kHz. What lies above 4 kHz would fold back into
// speech, so a low-pass (windowed sinc, flat to 3.4 kHz, below -60 dB from
// 4.4 kHz on) comes first.
func halve(in []int16) []int16 {
	const (
		half   = 47
		cutoff = 3800.0 / 16000
	)
	var taps [2*half + 1]float64
	sum := 0.0
	for i := range taps {
		x := float64(i - half)
		sinc := 2 * cutoff
		if x != 0 {
			sinc = math.Sin(2*math.Pi*cutoff*x) / (math.Pi * x)
		}
		w := 2 * math.Pi * float64(i) / (2 * half)
		taps[i] = sinc * (0.42 - 0.5*math.Cos(w) + 0.08*math.Cos(2*w)) // Blackman
		sum += taps[i]
	}
	out := make([]int16, (len(in)+1)/2)
	for o := range out {
		y := 0.0
		for i, t := range taps {
			if at := 2*o + i - half; at >= 0 && at < len(in) {
				y += t * float64(in[at])
			}
		}
		out[o] = int16(max(math.MinInt16, min(math.MaxInt16, math.Round(y/sum))))
	}
	return out
}
