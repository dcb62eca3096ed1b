package telephony

import (
	"math"
	"testing"
)

// Values of ITU-T G.711 tables 1 and 2, scaled to 16 bits.
func TestG711KnownValues(t *testing.T) {
	for b, want := range map[byte]int16{0x00: -32124, 0x80: 32124, 0xff: 0, 0x7f: 0, 0xfe: 8, 0x8f: 16764, 0xf0: 120} {
		if got := DecodeULaw(b); got != want {
			t.Errorf("µ-law %#02x is %d, want %d", b, got, want)
		}
	}
	for b, want := range map[byte]int16{0xd5: 8, 0x55: -8, 0xaa: 32256, 0x2a: -32256, 0xd4: 24, 0x80: 5504} {
		if got := DecodeALaw(b); got != want {
			t.Errorf("A-law %#02x is %d, want %d", b, got, want)
		}
	}
}

func TestG711RoundTrip(t *testing.T) {
	for i := range 256 {
		b := byte(i)
		if got := EncodeALaw(DecodeALaw(b)); got != b {
			t.Errorf("A-law %#02x comes back as %#02x", b, got)
		}
		// Minus zero becomes zero.
		if got := EncodeULaw(DecodeULaw(b)); got != b && b != 0x7f {
			t.Errorf("µ-law %#02x comes back as %#02x", b, got)
		}
	}
	for s := math.MinInt16; s <= math.MaxInt16; s++ {
		in := int16(s)
		// Half a step at each magnitude, and clipping at the top.
		bound := max(20, math.Abs(float64(s))/22)
		if s < -32300 || s > 32300 {
			bound = 700
		}
		for name, out := range map[string]int16{
			"µ-law": DecodeULaw(EncodeULaw(in)), "A-law": DecodeALaw(EncodeALaw(in)),
		} {
			if math.Abs(float64(out)-float64(s)) > bound {
				t.Fatalf("%s: %d comes back as %d", name, s, out)
			}
		}
	}
}

func TestG711Transcode(t *testing.T) {
	for i := range 256 {
		b := byte(i)
		for name, pair := range map[string][2]int16{
			"µ to A": {DecodeULaw(b), DecodeALaw(ULawToALaw(b))},
			"A to µ": {DecodeALaw(b), DecodeULaw(ALawToULaw(b))},
		} {
			if d := math.Abs(float64(pair[0]) - float64(pair[1])); d > max(16, math.Abs(float64(pair[0]))/16) {
				t.Errorf("%s: %#02x is %d, becomes %d", name, b, pair[0], pair[1])
			}
		}
	}
}
