package telephony

// G.711 (ITU-T G.711, 1988) by table. The tables are built once from the
// companding law itself and never written again.

var (
	ulawLinear [256]int16
	alawLinear [256]int16
	ulawCode   [1 << 14]byte // by the upper 14 bits of a sample
	alawCode   [1 << 13]byte // by the upper 13 bits of a sample
	ulawToALaw [256]byte
	alawToULaw [256]byte
)

func init() {
	for i := range 256 {
		ulawLinear[i] = expandULaw(byte(i))
		alawLinear[i] = expandALaw(byte(i))
	}
	for i := range ulawCode {
		ulawCode[i] = compressULaw(int(int16(uint16(i) << 2)))
	}
	for i := range alawCode {
		alawCode[i] = compressALaw(int(int16(uint16(i) << 3)))
	}
	for i := range 256 {
		ulawToALaw[i] = EncodeALaw(ulawLinear[i])
		alawToULaw[i] = EncodeULaw(alawLinear[i])
	}
}

// EncodeULaw compresses one 16 bit linear sample to µ-law.
func EncodeULaw(s int16) byte { return ulawCode[uint16(s)>>2] }

// EncodeALaw compresses one 16 bit linear sample to A-law.
func EncodeALaw(s int16) byte { return alawCode[uint16(s)>>3] }

// DecodeULaw expands one µ-law byte to a 16 bit linear sample.
func DecodeULaw(b byte) int16 { return ulawLinear[b] }

// DecodeALaw expands one A-law byte to a 16 bit linear sample.
func DecodeALaw(b byte) int16 { return alawLinear[b] }

// ULawToALaw turns one µ-law byte into the nearest A-law byte.
func ULawToALaw(b byte) byte { return ulawToALaw[b] }

// ALawToULaw turns one A-law byte into the nearest µ-law byte.
func ALawToULaw(b byte) byte { return alawToULaw[b] }

// µ-law: 14 bit magnitude + bias 33, eight segments of sixteen steps, all bits
// inverted on the line.
const (
	ulawBias = 33
	ulawClip = 8191 - ulawBias
)

func compressULaw(s int) byte {
	s >>= 2
	sign := byte(0)
	if s < 0 {
		s, sign = -s, 0x80
	}
	s = min(s, ulawClip) + ulawBias
	segment := 0
	for s>>(segment+6) != 0 {
		segment++
	}
	return ^(sign | byte(segment<<4) | byte(s>>(segment+1))&0x0f)
}

func expandULaw(b byte) int16 {
	b = ^b
	s := (int(b&0x0f)<<1+ulawBias)<<(b>>4&7) - ulawBias
	if b&0x80 != 0 {
		s = -s
	}
	return int16(s << 2)
}

// A-law: 13 bit, eight segments of which the first two share a step, even bits
// inverted on the line. Unlike µ-law the sign bit is set for positive samples.
func compressALaw(s int) byte {
	s >>= 3
	sign := byte(0x80)
	if s < 0 {
		s, sign = -s-1, 0
	}
	segment := 0
	for s>>(segment+5) != 0 {
		segment++
	}
	step := s >> max(segment, 1) & 0x0f
	return (sign | byte(segment<<4) | byte(step)) ^ 0x55
}

func expandALaw(b byte) int16 {
	b ^= 0x55
	segment := int(b >> 4 & 7)
	s := int(b&0x0f)<<4 + 8
	if segment > 0 {
		s = (s + 0x100) << (segment - 1)
	}
	if b&0x80 == 0 {
		s = -s
	}
	return int16(s)
}
