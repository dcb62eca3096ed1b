package siptest

import (
	"crypto/sha256"
	"embed"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"

	"dialer/telephony"
)

// The speech is synthesised: see audio/README.md.
//
//go:embed audio/*.wav
var audioFiles embed.FS

// clips holds every clip, decoded at first use; it never changes after.
var clips = sync.OnceValue(func() map[string]telephony.Clip {
	all := map[string]telephony.Clip{}
	entries, err := audioFiles.ReadDir("audio")
	if err != nil {
		panic(err)
	}
	for _, e := range entries {
		data, err := audioFiles.ReadFile("audio/" + e.Name())
		if err != nil {
			panic(err)
		}
		samples, err := decodeWAV(data)
		if err != nil {
			panic(fmt.Sprintf("audio/%s: %v", e.Name(), err))
		}
		name := strings.TrimSuffix(e.Name(), ".wav")
		all[name] = newClip(name, samples)
	}
	for name, samples := range tones() {
		all[name] = newClip(name, samples)
	}
	return all
})

func newClip(name string, samples []int16) telephony.Clip {
	raw, _ := binary.Append(nil, binary.LittleEndian, samples)
	sum := sha256.Sum256(raw)
	return telephony.Clip{Name: name, SHA256: hex.EncodeToString(sum[:]), Samples: samples}
}

// Clip returns the speech or tone of a name, to be read only: see ClipNames.
func Clip(name string) (telephony.Clip, bool) {
	c, ok := clips()[name]
	return c, ok
}

// ClipNames lists all clips: hello-… and business-… of people, voicemail-…,
// announcement-…, person-… and agent-… for talks, abandoned for the message to
// abandoned calls, and the tones sit, beep, fax-ced, fax-cng, ringback, busy.
func ClipNames() []string {
	var names []string
	for name := range clips() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func clipExists(name string) bool { _, ok := Clip(name); return ok }

func clipSamples(name string) []int16 { c, _ := Clip(name); return c.Samples }

// decodeWAV reads a mono µ-law WAV file of 8 kHz, the form of our own files.
func decodeWAV(data []byte) ([]int16, error) {
	if len(data) < 12 || string(data[:4]) != "RIFF" || string(data[8:12]) != "WAVE" {
		return nil, fmt.Errorf("not a WAV file")
	}
	known := false
	for rest := data[12:]; len(rest) >= 8; {
		id, size := string(rest[:4]), int(binary.LittleEndian.Uint32(rest[4:8]))
		if size < 0 || size > len(rest)-8 {
			return nil, fmt.Errorf("chunk %q is cut off", id)
		}
		chunk := rest[8 : 8+size]
		switch {
		case id == "fmt " && size >= 16:
			format, channels := binary.LittleEndian.Uint16(chunk), binary.LittleEndian.Uint16(chunk[2:])
			rate := binary.LittleEndian.Uint32(chunk[4:])
			if format != 7 || channels != 1 || rate != 8000 {
				return nil, fmt.Errorf("not mono µ-law at 8 kHz")
			}
			known = true
		case id == "data" && known:
			samples := make([]int16, len(chunk))
			for i, b := range chunk {
				samples[i] = ulaw.linear[b]
			}
			return samples, nil
		}
		rest = rest[min(len(rest), 8+size+size%2):]
	}
	return nil, fmt.Errorf("no audio found")
}
