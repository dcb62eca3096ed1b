package media

import (
	"testing"

	"dialer/telephony"
)

// BenchmarkPlayed is what 20 ms of a clip cost: all of it, and the part that a
// clip encoded beforehand would save.
func BenchmarkPlayed(b *testing.B) {
	var f telephony.Frame
	for i := range f.Samples {
		f.Samples[i] = int16(i * 331)
	}
	b.Run("frame", func(b *testing.B) {
		s, far := open(b), open(b)
		connect(s, far, PCMU)
		b.ReportAllocs()
		for b.Loop() {
			if err := s.WriteFrame(f); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding", func(b *testing.B) {
		var payload [telephony.FrameSamples]byte
		b.ReportAllocs()
		for b.Loop() {
			PCMU.Encode(payload[:0], f.Samples[:])
		}
	})
}
