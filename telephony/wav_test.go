package telephony

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"dialer"
)

// wav builds a file; sample gives the bytes of sample i of the left channel.
func wav(encoding, channels, rate, bits, n int, sample func(i int) []byte) []byte {
	var data []byte
	for i := range n {
		left := sample(i)
		data = append(data, left...)
		for range channels - 1 {
			data = append(data, make([]byte, len(left))...)
		}
	}
	b := append([]byte("RIFF"), 0, 0, 0, 0)
	b = append(b, "WAVELIST"...)
	b = append(b, 3, 0, 0, 0, 'a', 'b', 'c', 0) // an odd chunk is padded
	b = append(b, "fmt "...)
	b = binary.LittleEndian.AppendUint32(b, 16)
	for _, v := range []int{encoding, channels} {
		b = binary.LittleEndian.AppendUint16(b, uint16(v))
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(rate))
	b = binary.LittleEndian.AppendUint32(b, uint32(rate*channels*bits/8))
	b = binary.LittleEndian.AppendUint16(b, uint16(channels*bits/8))
	b = binary.LittleEndian.AppendUint16(b, uint16(bits))
	b = append(b, "data"...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(data)))
	return append(b, data...)
}

func sine(hz, rate float64) func(i int) int16 {
	return func(i int) int16 { return int16(8000 * math.Sin(2*math.Pi*hz*float64(i)/rate)) }
}

func pcm(f func(i int) int16) func(i int) []byte {
	return func(i int) []byte { return binary.LittleEndian.AppendUint16(nil, uint16(f(i))) }
}

// amplitude of hz in samples at 8 kHz (Goertzel).
func amplitude(samples []int16, hz float64) float64 {
	c := 2 * math.Cos(2*math.Pi*hz/8000)
	var s1, s2 float64
	for _, x := range samples {
		s1, s2 = float64(x)+c*s1-s2, s1
	}
	return 2 * math.Sqrt(max(0, s1*s1+s2*s2-c*s1*s2)) / float64(len(samples))
}

func TestReadWAV(t *testing.T) {
	at8, at16 := sine(440, 8000), sine(440, 16000)
	for name, file := range map[string][]byte{
		"PCM":        wav(1, 1, 8000, 16, 8000, pcm(at8)),
		"stereo":     wav(1, 2, 8000, 16, 8000, pcm(at8)),
		"16 kHz":     wav(1, 1, 16000, 16, 16000, pcm(at16)),
		"µ-law":      wav(7, 1, 8000, 8, 8000, func(i int) []byte { return []byte{EncodeULaw(at8(i))} }),
		"A-law":      wav(6, 2, 8000, 8, 8000, func(i int) []byte { return []byte{EncodeALaw(at8(i))} }),
		"no size":    bytes.Replace(wav(1, 1, 8000, 16, 8000, pcm(at8)), []byte("data\x80\x3e\x00\x00"), []byte("data\x00\x00\x00\x00"), 1),
		"false size": bytes.Replace(wav(1, 1, 8000, 16, 8000, pcm(at8)), []byte("data\x80\x3e\x00\x00"), []byte("data\xff\xff\xff\xff"), 1),
	} {
		c, err := ReadWAV(bytes.NewReader(file), "greeting.wav")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if c.Duration() != time.Second || c.Name != "greeting.wav" || len(c.SHA256) != 64 {
			t.Errorf("%s: %s long, name %q, hash %q", name, c.Duration(), c.Name, c.SHA256)
		}
		if got := amplitude(c.Samples, 440); got < 7700 || got > 8300 {
			t.Errorf("%s: 440 Hz at %.0f, want 8000", name, got)
		}
	}
}

// Speech passes, and what lies above 4 kHz does not fold back into it.
func TestReadWAVLowPass(t *testing.T) {
	for _, c := range []struct {
		hz, at   float64
		min, max float64
	}{
		{300, 300, 7800, 8200}, {3400, 3400, 7600, 8300}, {4600, 3400, 0, 20}, {5000, 3000, 0, 20}, {7000, 1000, 0, 20},
	} {
		clip, err := ReadWAV(bytes.NewReader(wav(1, 1, 16000, 16, 16000, pcm(sine(c.hz, 16000)))), "x")
		if err != nil {
			t.Fatal(err)
		}
		if got := amplitude(clip.Samples[400:7600], c.at); got < c.min || got > c.max {
			t.Errorf("%.0f Hz comes out at %.0f Hz with %.0f, want %.0f to %.0f", c.hz, c.at, got, c.min, c.max)
		}
	}
}

func TestReadWAVRefuses(t *testing.T) {
	good := wav(1, 1, 8000, 16, 100, pcm(sine(440, 8000)))
	zero := func(int) []byte { return []byte{0} }
	for name, c := range map[string]struct {
		file []byte
		says string
	}{
		"empty":       {nil, "not a RIFF"},
		"MP3":         {[]byte("ID3\x04 and so on, long enough"), "not a RIFF"},
		"cut short":   {good[:48], "data chunk"},
		"no samples":  {wav(1, 1, 8000, 16, 0, pcm(sine(440, 8000))), "no audio"},
		"44.1 kHz":    {wav(1, 1, 44100, 16, 100, pcm(sine(440, 8000))), "44100"},
		"8 bit":       {wav(1, 1, 8000, 8, 100, zero), "8 bit"},
		"float":       {wav(3, 1, 8000, 32, 100, func(int) []byte { return make([]byte, 4) }), "encoding 3"},
		"6 channels":  {wav(1, 6, 8000, 16, 100, pcm(sine(440, 8000))), "6 channels"},
		"0 channels":  {bytes.Replace(good, []byte{1, 0, 1, 0}, []byte{1, 0, 0, 0}, 1), "0 channels"},
		"no fmt":      {append([]byte("RIFF\x00\x00\x00\x00WAVEdata\x04\x00\x00\x00"), 1, 2, 3, 4), "fmt"},
		"eleven min.": {wav(7, 1, 8000, 8, 11*60*8000, zero), "11m0s"},
	} {
		_, err := ReadWAV(bytes.NewReader(c.file), "greeting.wav")
		if dialer.CodeOf(err) != dialer.Invalid || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "greeting.wav") {
			t.Errorf("%s: %v; want Invalid that says %q", name, err, c.says)
		}
	}
	if _, err := ReadWAV(bytes.NewReader(nil), ""); err == nil || !strings.HasPrefix(err.Error(), "the audio is not") {
		t.Errorf("without a name: %v", err)
	}
	endless := io.MultiReader(bytes.NewReader(good), zeros{})
	if _, err := ReadWAV(endless, "endless.wav"); dialer.CodeOf(err) != dialer.Invalid {
		t.Errorf("endless: %v, want Invalid", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func FuzzReadWAV(f *testing.F) {
	f.Add(wav(1, 1, 8000, 16, 10, pcm(sine(440, 8000))))
	f.Add(wav(7, 2, 16000, 8, 10, func(int) []byte { return []byte{7} }))
	f.Add([]byte("RIFF\x00\x00\x00\x00WAVEfmt \xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ReadWAV(bytes.NewReader(b), "fuzz.wav")
		if err == nil && (len(c.Samples) == 0 || len(c.Samples) > len(b)) {
			t.Errorf("%d samples from %d bytes", len(c.Samples), len(b))
		}
	})
}
