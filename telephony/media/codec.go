package media

import (
	"strings"

	"dialer"
	"dialer/telephony"
)

// A Codec is a way to carry audio in RTP. Its value is its static payload type
// (RFC 3551 section 6).
type Codec uint8

// The codecs.
const (
	PCMU Codec = 0 // G.711 µ-law
	PCMA Codec = 8 // G.711 A-law
)

// Name is the codec's encoding name in SDP.
func (c Codec) Name() string {
	if c == PCMA {
		return "PCMA"
	}
	return "PCMU"
}

func (c Codec) String() string { return c.Name() }

// PayloadType is the RTP payload type.
func (c Codec) PayloadType() uint8 { return uint8(c) }

// Encode appends the samples, one byte each, to dst.
func (c Codec) Encode(dst []byte, samples []int16) []byte {
	if c == PCMA {
		for _, s := range samples {
			dst = append(dst, telephony.EncodeALaw(s))
		}
		return dst
	}
	for _, s := range samples {
		dst = append(dst, telephony.EncodeULaw(s))
	}
	return dst
}

// Decode appends the payload, one sample a byte, to dst.
func (c Codec) Decode(dst []int16, payload []byte) []int16 {
	if c == PCMA {
		for _, b := range payload {
			dst = append(dst, telephony.DecodeALaw(b))
		}
		return dst
	}
	for _, b := range payload {
		dst = append(dst, telephony.DecodeULaw(b))
	}
	return dst
}

// transcode appends payload, carried as c, to dst as to carries it.
func (c Codec) transcode(dst, payload []byte, to Codec) []byte {
	switch {
	case c == to:
		return append(dst, payload...)
	case to == PCMA:
		for _, b := range payload {
			dst = append(dst, telephony.ULawToALaw(b))
		}
	default:
		for _, b := range payload {
			dst = append(dst, telephony.ALawToULaw(b))
		}
	}
	return dst
}

// silence is the byte that stands for a zero sample.
func (c Codec) silence() byte {
	if c == PCMA {
		return 0xd5
	}
	return 0xff
}

// Codecs returns the codecs of these names in this order; no names means all.
func Codecs(names []string) ([]Codec, error) {
	if len(names) == 0 {
		return []Codec{PCMU, PCMA}, nil
	}
	codecs := make([]Codec, 0, len(names))
	for _, n := range names {
		switch strings.ToUpper(n) {
		case "PCMU":
			codecs = append(codecs, PCMU)
		case "PCMA":
			codecs = append(codecs, PCMA)
		default:
			return nil, dialer.Fieldf("codecs", "%q is not PCMU or PCMA", n)
		}
	}
	return codecs, nil
}

// sample expands one byte.
func (c Codec) sample(b byte) int16 {
	if c == PCMA {
		return telephony.DecodeALaw(b)
	}
	return telephony.DecodeULaw(b)
}
