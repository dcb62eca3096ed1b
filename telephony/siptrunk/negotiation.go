package siptrunk

import (
	"crypto/rand"
	"encoding/binary"
	"net/netip"

	"dialer/telephony/media"
)

// A negotiation is our side of a call's offers and answers (RFC 3264). The call
// owns it until it is answered, its leg from then on; the owner guards it.
type negotiation struct {
	local   netip.AddrPort
	codecs  []media.Codec
	id      uint64
	version uint64
}

// newNegotiation begins one for audio that is heard at local.
func newNegotiation(local netip.AddrPort, codecs []media.Codec) *negotiation {
	// A session id that fits a signed 64 bit integer with room for versions:
	// some peers refuse larger ones.
	var b [8]byte
	rand.Read(b[:]) // never fails
	id := binary.BigEndian.Uint64(b[:]) >> 3
	return &negotiation{local: local, codecs: codecs, id: id, version: id}
}

// offer describes what we want, dir is one of media's directions. It is a new
// version when changed says that it differs from what the far end has of us.
func (n *negotiation) offer(dir string, changed bool) []byte {
	if changed {
		n.version++
	}
	return media.Offer(n.local, n.id, n.version, n.codecs, dir)
}

// answer answers an offer of the far end. dir is what we would do; the offer may
// allow less.
func (n *negotiation) answer(sdp []byte, dir string) ([]byte, media.Remote, error) {
	body, remote, err := media.Answer(sdp, n.local, n.id, n.version+1, n.codecs, dir)
	if err == nil {
		n.version++
	}
	return body, remote, err
}

// accept reads the far end's answer to our offer.
func (n *negotiation) accept(sdp []byte) (media.Remote, error) {
	return media.ParseAnswer(sdp, n.codecs)
}
