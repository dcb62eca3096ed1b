package siptest

// A law is one of the two codings of ITU-T G.711, by table.
type law struct {
	name   string
	pt     uint8 // static payload type of RFC 3551
	linear [256]int16
	code   [65536]uint8 // by sample+32768
}

var (
	ulaw = newLaw("PCMU", 0, expandUlaw)
	alaw = newLaw("PCMA", 8, expandAlaw)
)

// newLaw inverts expand: each sample gets the code whose value lies nearest.
func newLaw(name string, pt uint8, expand func(uint8) int16) *law {
	l := &law{name: name, pt: pt}
	type level struct {
		value int
		code  uint8
	}
	var levels []level
	for c := range 256 {
		l.linear[c] = expand(uint8(c))
		v := level{int(l.linear[c]), uint8(c)}
		i := len(levels)
		for i > 0 && levels[i-1].value > v.value {
			i--
		}
		levels = append(levels, level{})
		copy(levels[i+1:], levels[i:])
		levels[i] = v
	}
	at := 0
	for s := -32768; s <= 32767; s++ {
		for at+1 < len(levels) && levels[at+1].value-s <= s-levels[at].value {
			at++
		}
		l.code[s+32768] = levels[at].code
	}
	return l
}

func expandUlaw(c uint8) int16 {
	c = ^c
	v := (int16(c&0x0f)<<3+0x84)<<(c>>4&7) - 0x84
	if c&0x80 != 0 {
		return -v
	}
	return v
}

func expandAlaw(c uint8) int16 {
	c ^= 0x55
	v := int16(c&0x0f)<<4 + 8
	if e := c >> 4 & 7; e > 0 {
		v = (v + 0x100) << (e - 1)
	}
	if c&0x80 != 0 {
		return v
	}
	return -v
}

func (l *law) encode(dst []byte, samples []int16) []byte {
	for _, s := range samples {
		dst = append(dst, l.code[int(s)+32768])
	}
	return dst
}

func (l *law) decode(dst []int16, payload []byte) []int16 {
	for _, b := range payload {
		dst = append(dst, l.linear[b])
	}
	return dst
}
