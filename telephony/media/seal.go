package media

// An opener and a sealer stand between a Session and the wire where the packets
// are protected (SRTP and SRTCP, RFC 3711). Without them packets go as they are.
// Both work in place where they can; a slice that is sealed has room for
// maxTrailer more bytes. Neither is called twice at once.
type opener interface {
	openRTP(packet []byte) (plain []byte, err error)
	openRTCP(packet []byte) (plain []byte, err error)
}

type sealer interface {
	sealRTP(plain []byte) (packet []byte, err error)
	sealRTCP(plain []byte) (packet []byte, err error)
}

// maxTrailer is the most that protection adds: a tag of 16 bytes, a master key
// identifier and the index of SRTCP.
const maxTrailer = 16 + 128 + 4

// protect takes the keys of what comes; those that stay keep their state, also
// over a while without any: the far end goes on counting, and what it has said
// before may not be said again.
func (in *inbound) protect(c *Crypto) {
	before, _ := in.opener.(*unseal)
	if before == nil {
		before = in.resting
	}
	switch {
	case c == nil:
		in.opener, in.resting = nil, before
		return
	case before == nil || !before.fits(c):
		in.opener = newUnseal(c, before)
	case in.opener == nil:
		before.resume()
		in.opener = before
	}
	in.resting = nil
}

// protect takes the key of what is sent. With another one begins another stream.
func (o *outbound) protect(c *Crypto) {
	before, _ := o.sealer.(*seal)
	switch {
	case c == nil:
		o.sealer = nil
	case before != nil && before.fits(c):
		before.key.mki = c.send.mki
	default:
		o.sealer = newSeal(c)
		o.ssrc, _, o.sequence = newStart()
		o.relay.live, o.resume, o.packets, o.octets = false, true, 0, 0
	}
}

// unseal undoes the protection of a datagram. The caller holds in.mu.
func (in *inbound) unseal(datagram []byte) (plain []byte, ok bool) {
	if in.opener == nil {
		return datagram, true
	}
	var err error
	if isControl(datagram) {
		plain, err = in.opener.openRTCP(datagram)
	} else {
		plain, err = in.opener.openRTP(datagram)
	}
	return plain, err == nil
}

// seal protects a packet that is ready to leave. The caller holds o.mu.
func (o *outbound) seal(plain []byte) (packet []byte, ok bool) {
	if o.sealer == nil {
		return plain, true
	}
	var err error
	if isControl(plain) {
		packet, err = o.sealer.sealRTCP(plain)
	} else {
		packet, err = o.sealer.sealRTP(plain)
	}
	return packet, err == nil
}

// isControl tells RTCP from RTP by the packet type (RFC 5761 section 4).
func isControl(b []byte) bool { return len(b) > 1 && b[1] >= 192 && b[1] <= 223 }
