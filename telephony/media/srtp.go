package media

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
)

var (
	errForged   = errors.New("the packet is not protected by an agreed key")
	errRepeated = errors.New("the packet's number was used before")
)

// context makes pion's state for one direction. MKI and replay of RTP are dealt
// with here: pion binds the one to the key, and allocates for the other.
func (s suite) context(k masterKey) (*srtp.Context, error) {
	return srtp.CreateContext([]byte(k.key), []byte(k.salt), s.profile, srtp.SRTCPReplayProtection(64))
}

// A seal is the sealer of SRTP: one key of ours and the one SSRC that it is used
// with. Whoever takes another key takes another SSRC, so that no number of a
// packet is ever used twice with both.
type seal struct {
	suite   suite
	key     masterKey
	context *srtp.Context
	header  rtp.Header
	sent    window
}

// newSeal makes the sealer for c. Its MKI may change later, its key may not.
func newSeal(c *Crypto) *seal {
	s := &seal{suite: c.suite, key: c.send}
	// Fails for keys of a wrong length only, which are never made. Then nothing
	// is sent: better silent than plain.
	s.context, _ = s.suite.context(s.key)
	return s
}

func (s *seal) fits(c *Crypto) bool {
	return s.suite == c.suite && s.key.key == c.send.key && s.key.salt == c.send.salt
}

// sealRTP refuses a number that was sealed before: a leg that we relay may repeat
// one with other audio, and two packets under one key stream can both be read.
func (s *seal) sealRTP(plain []byte) ([]byte, error) {
	if s.context == nil || len(plain) < 12 {
		return nil, errForged
	}
	index := s.sent.index(binary.BigEndian.Uint16(plain[2:]))
	if !s.sent.take(index) {
		return nil, errRepeated
	}
	packet, err := s.context.EncryptRTP(plain[:0], plain, &s.header)
	if err != nil {
		return nil, err
	}
	return s.mark(packet, s.suite.tag), nil
}

func (s *seal) sealRTCP(plain []byte) ([]byte, error) {
	if s.context == nil {
		return nil, errForged
	}
	packet, err := s.context.EncryptRTCP(nil, plain, nil)
	if err != nil {
		return nil, err
	}
	return s.mark(packet, s.suite.controlTag()), nil
}

// mark puts the MKI into a packet that ends with a tag of this length.
func (s *seal) mark(packet []byte, tag int) []byte {
	n, mki := len(packet), len(s.key.mki)
	if mki == 0 {
		return packet
	}
	packet = append(packet, s.key.mki...)
	if !s.suite.aead {
		copy(packet[n-tag+mki:], packet[n-tag:n])
		copy(packet[n-tag:], s.key.mki)
	}
	return packet
}

// Bounds on what the far end can make us keep.
const (
	maxOpened = 32 // SSRC of one key
	maxTried  = 32 // packets of unknown SSRC until pion's notes of them are dropped
)

// An unseal is the opener of SRTP: the far end's keys, each with the SSRC that
// it has proved to use. What a stranger sends leaves nothing behind.
type unseal struct {
	suite suite
	keys  []*openKey
	// before opens what is on its way under the keys before these, until the
	// first packet under these comes.
	before *unseal
	// rollovers of each SSRC under the keys before. A far end that changes its
	// key goes on counting (RFC 3711 section 3.3.1) or begins again (as RFC 4568
	// section 7.1.4 has it for a new address): both are tried, and one more, since
	// it may have rolled over in the packets between.
	rollovers map[uint32]uint32
	header    rtp.Header
	heard     uint64 // counts packets
	bare      []byte // a packet without its MKI
	plain     [2048]byte
}

type openKey struct {
	masterKey
	streams map[uint32]*opened // by SSRC
	trial   *srtp.Context      // for an SSRC that has not proved itself
	tried   int
}

type opened struct {
	context *srtp.Context
	got     window
	heard   uint64
	rested  bool // nothing came since a while without SRTP
}

// newUnseal makes the opener for c, after before, which may be nil.
func newUnseal(c *Crypto, before *unseal) *unseal {
	u := &unseal{suite: c.suite, before: before}
	for _, k := range c.receive {
		u.keys = append(u.keys, &openKey{masterKey: k, streams: map[uint32]*opened{}})
	}
	if before != nil {
		before.before = nil // no longer chain
		u.rollovers = map[uint32]uint32{}
		for _, k := range before.keys {
			for ssrc, st := range k.streams {
				u.rollovers[ssrc] = max(u.rollovers[ssrc], uint32(st.got.highest>>16))
			}
		}
	}
	return u
}

// resume goes on after a while of plain RTP, in which the sequence numbers may
// have gone on too.
func (u *unseal) resume() {
	for _, k := range u.keys {
		for _, st := range k.streams {
			st.rested = true
		}
	}
}

func (u *unseal) fits(c *Crypto) bool {
	return u.suite == c.suite && slices.EqualFunc(u.keys, c.receive, func(have *openKey, want masterKey) bool {
		return have.masterKey == want
	})
}

func (u *unseal) openRTP(packet []byte) ([]byte, error) {
	plain, err := u.open(packet)
	switch {
	case err == nil:
		u.before = nil
	case u.before != nil:
		return u.before.open(packet)
	}
	return plain, err
}

// open verifies a packet and returns it in the clear, valid until the next.
func (u *unseal) open(datagram []byte) ([]byte, error) {
	k, packet := u.keyOf(datagram, u.suite.tag)
	if k == nil || len(packet) > len(u.plain) {
		return nil, errForged
	}
	if _, err := u.header.Unmarshal(packet); err != nil {
		return nil, err
	}
	ssrc, sequence := u.header.SSRC, u.header.SequenceNumber
	st := k.streams[ssrc]
	if st == nil || !st.got.started || st.rested {
		return u.meet(k, st, packet)
	}
	index := st.got.index(sequence)
	if !st.got.fresh(index) {
		return nil, errRepeated
	}
	plain, err := st.context.DecryptRTP(u.plain[:0], packet, &u.header)
	if err != nil {
		return nil, err
	}
	st.got.take(index)
	u.heard++
	st.heard = u.heard
	return plain, nil
}

// meet hears the RTP of an SSRC for the first time under a key, or since it has
// rested. st is not nil when its RTCP was heard before.
func (u *unseal) meet(k *openKey, st *opened, packet []byte) ([]byte, error) {
	context, err := u.contextFor(k, st)
	if err != nil {
		return nil, err
	}
	ssrc, sequence := u.header.SSRC, u.header.SequenceNumber
	tries := [3]uint32{} // the first is 0
	n := 1
	if st != nil && st.rested && st.got.started {
		tries[0] = uint32(st.got.highest >> 16)
		tries[1], n = tries[0]+1, 2
	} else if rollover, known := u.rollovers[ssrc]; known {
		tries[1], tries[2], n = rollover, rollover+1, 3
	}
	for _, rollover := range tries[:n] {
		index := uint64(rollover)<<16 | uint64(sequence)
		if st != nil && !st.got.fresh(index) {
			continue
		}
		context.SetROC(ssrc, rollover)
		plain, err := context.DecryptRTP(u.plain[:0], packet, &u.header)
		if err != nil {
			continue
		}
		if st == nil {
			st = u.keep(k, ssrc)
		}
		st.got.take(index)
		st.rested = false
		return plain, nil
	}
	k.tried++
	return nil, errForged
}

func (u *unseal) openRTCP(packet []byte) ([]byte, error) {
	plain, err := u.openControl(packet)
	if err != nil && u.before != nil {
		return u.before.openControl(packet)
	}
	return plain, err
}

func (u *unseal) openControl(datagram []byte) ([]byte, error) {
	k, packet := u.keyOf(datagram, u.suite.controlTag())
	if k == nil || len(packet) < 8 {
		return nil, errForged
	}
	ssrc := binary.BigEndian.Uint32(packet[4:])
	st := k.streams[ssrc]
	context, err := u.contextFor(k, st)
	if err != nil {
		return nil, err
	}
	plain, err := context.DecryptRTCP(nil, packet, nil)
	switch {
	case err != nil:
		k.tried++
	case st == nil:
		u.keep(k, ssrc)
	}
	return plain, err
}

// keyOf finds the key of a packet by its MKI, and the packet without that. tag is
// the length of the packet's tag.
func (u *unseal) keyOf(packet []byte, tag int) (*openKey, []byte) {
	mki := len(u.keys[0].mki)
	if mki == 0 {
		return u.keys[0], packet
	}
	end := len(packet) - mki
	if !u.suite.aead {
		end -= tag
	}
	if end < 8 {
		return nil, nil
	}
	for _, k := range u.keys {
		if k.mki == string(packet[end:end+mki]) {
			u.bare = append(append(u.bare[:0], packet[:end]...), packet[end+mki:]...)
			return k, u.bare
		}
	}
	return nil, nil
}

// contextFor is the stream's context, or one for SSRC that have not proved to
// know the key. pion keeps a note of each, so that one is replaced now and then.
func (u *unseal) contextFor(k *openKey, st *opened) (*srtp.Context, error) {
	if st != nil {
		return st.context, nil
	}
	var err error
	if k.trial == nil || k.tried >= maxTried {
		k.tried = 0
		k.trial, err = u.suite.context(k.masterKey)
	}
	return k.trial, err
}

// keep remembers that ssrc knows the key, in place of the SSRC that has been
// silent for longest when there are many.
func (u *unseal) keep(k *openKey, ssrc uint32) *opened {
	if len(k.streams) >= maxOpened {
		var oldest uint32
		for ssrc, st := range k.streams {
			if o := k.streams[oldest]; o == nil || st.heard < o.heard {
				oldest = ssrc
			}
		}
		delete(k.streams, oldest)
	}
	u.heard++
	st := &opened{context: k.trial, heard: u.heard}
	k.streams[ssrc] = st
	k.trial = nil
	return st
}

// A window remembers the last numbers of one SSRC (RFC 3711 section 3.3.2). A
// number is 48 bits: the sequence number and how often it has rolled over.
type window struct {
	started bool
	highest uint64
	seen    [windowSize / 64]uint64 // bit n: highest-n was seen
}

const windowSize = 128

// index extends a sequence number (RFC 3711 appendix A).
func (w *window) index(sequence uint16) uint64 {
	rollover, last := w.highest>>16, int(w.highest&0xffff)
	switch {
	case !w.started:
	case last < 1<<15 && int(sequence)-last > 1<<15 && rollover > 0:
		rollover--
	case last >= 1<<15 && last-1<<15 > int(sequence):
		rollover++
	}
	return rollover<<16 | uint64(sequence)
}

// fresh reports whether index is neither a repetition nor too old to tell.
func (w *window) fresh(index uint64) bool {
	if !w.started || index > w.highest {
		return true
	}
	behind := w.highest - index
	return behind < windowSize && w.seen[behind/64]>>(behind%64)&1 == 0
}

// take notes index and reports whether it was fresh.
func (w *window) take(index uint64) bool {
	if !w.fresh(index) {
		return false
	}
	if !w.started || index > w.highest {
		ahead := index - w.highest
		switch {
		case !w.started || ahead >= windowSize:
			w.seen = [windowSize / 64]uint64{}
		case ahead >= 64:
			w.seen[1], w.seen[0] = w.seen[0]<<(ahead-64), 0
		default:
			w.seen[1] = w.seen[1]<<ahead | w.seen[0]>>(64-ahead)
			w.seen[0] <<= ahead
		}
		w.started, w.highest = true, index
	}
	behind := w.highest - index
	w.seen[behind/64] |= 1 << (behind % 64)
	return true
}
