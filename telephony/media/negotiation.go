package media

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/pion/sdp/v3"

	"dialer/telephony"
)

// A Negotiation is our side of a call's offers and answers (RFC 3264). It keeps
// what must stay as it was from one to the next: session id, payload types, keys
// of SRTP. Its methods may not be called at once.
type Negotiation struct {
	local  netip.AddrPort
	codecs []Codec
	policy telephony.SRTPPolicy

	id, version uint64
	said        []byte // our last description

	profile    string   // of our m= line
	formats    []Format // what we call our codecs, in the order of our preference
	event      uint8    // what we call telephone-event
	eventClock uint32
	mux        bool // RTCP on the port of RTP was agreed
	mki        int  // bytes of MKI in what we send
	secrets    map[string]masterKey
}

// offeredEvent is the payload type that we offer for telephone-event.
const offeredEvent = 101

// NewNegotiation begins one for audio that is heard at local. An empty policy is
// off.
func NewNegotiation(local netip.AddrPort, codecs []Codec, policy telephony.SRTPPolicy) *Negotiation {
	// A session id that fits a signed 64 bit integer with room for versions:
	// some peers refuse larger ones.
	var b [8]byte
	rand.Read(b[:]) // never fails
	id := binary.BigEndian.Uint64(b[:]) >> 3
	n := &Negotiation{
		local: local, codecs: codecs, policy: cmp.Or(policy, telephony.SRTPOff),
		id: id, version: id,
		profile: "RTP/AVP", event: offeredEvent, eventClock: 8000,
		secrets: map[string]masterKey{},
	}
	if policy == telephony.SRTPRequired {
		n.profile = "RTP/SAVP"
	}
	for _, c := range codecs {
		n.formats = append(n.formats, Format{c.PayloadType(), c})
	}
	return n
}

// Offer describes the stream that we want. dir is one of the directions; "" is
// sendrecv. The version grows when it says anything else than what we said last.
func (n *Negotiation) Offer(dir string) []byte {
	m := n.audio(n.profile, n.formats, n.event, n.eventClock)
	if n.policy != telephony.SRTPOff {
		for i, s := range suites {
			n.addCrypto(m, strconv.Itoa(i+1), s.name, s)
		}
	}
	return n.say(finish(m, cmp.Or(dir, SendRecv)))
}

// Insist makes the next Offer one of RTP/SAVP where SRTP was a choice, and
// reports whether it was.
func (n *Negotiation) Insist() bool {
	if n.policy != telephony.SRTPOptional || n.profile != "RTP/AVP" {
		return false
	}
	n.profile = "RTP/SAVP"
	return true
}

// Accept reads the far end's answer to our offer. There may be several of them
// from several forks.
func (n *Negotiation) Accept(answer []byte) (Remote, error) {
	d, err := parse(answer)
	if err != nil {
		return Remote{}, err
	}
	var r Remote
	i, err := d.usable(func(i int) error {
		if r, err = d.remote(i, n.codecs); err == nil {
			r.Crypto, _, err = n.secure(d, i)
		}
		return err
	})
	if err != nil {
		return Remote{}, err
	}
	n.speak(d.profile(i))
	r.Mux = r.Mux && n.mux // it is not the far end's to begin with
	r.DTMFIn = n.event
	// It sends the types that we gave, or those that it goes by itself.
	for _, f := range slices.Clone(r.Formats) {
		for _, ours := range n.formats {
			if ours.Codec == f.Codec {
				r.Formats = append(r.Formats, ours)
			}
		}
	}
	return r, nil
}

// Answer answers the far end's offer (a re-INVITE, a call to us) with the first
// of its codecs that is among ours. dir is what we would do; what the offer
// does not allow is left out. All media but the first usable audio is refused.
func (n *Negotiation) Answer(offer []byte, dir string) ([]byte, Remote, error) {
	d, err := parse(offer)
	if err != nil {
		return nil, Remote{}, err
	}
	var r Remote
	var line cryptoLine
	chosen, err := d.usable(func(i int) error {
		if r, err = d.remote(i, n.codecs); err == nil {
			r.Crypto, line, err = n.secure(d, i)
		}
		return err
	})
	if err != nil {
		return nil, Remote{}, err
	}
	wants := directionOf(cmp.Or(dir, SendRecv))
	r.Send, r.Receive = r.Send && wants.send, r.Receive && wants.receive
	r.Formats = r.Formats[:1] // it may send only what we answer
	n.adopt(d.profile(chosen), r)
	if r.Crypto != nil {
		// Who marks packets with an MKI often wants them marked too.
		n.mki = len(line.keys[0].mki)
		r.Crypto.send = n.secret(line.suite)
	}

	var media []*sdp.MediaDescription
	for i, fields := range d.named {
		m := &sdp.MediaDescription{MediaName: sdp.MediaName{
			Media: fields[0], Protos: strings.Split(fields[2], "/"), Formats: fields[3:],
		}}
		if i == chosen {
			m = n.audio(d.profile(i), r.Formats, r.DTMF, r.DTMFClock)
			if r.Crypto != nil {
				n.addCrypto(m, line.tag, line.name, line.suite)
			}
			finish(m, directionName(r.Send, r.Receive))
		}
		media = append(media, m)
	}
	return n.say(media...), r, nil
}

// adopt takes over what the far end calls things: the meaning of a payload type
// may not change within a call (RFC 3264 section 8.3.2).
func (n *Negotiation) adopt(profile string, r Remote) {
	n.speak(profile)
	n.mux = r.Mux
	if r.DTMF != 0 {
		n.event, n.eventClock = r.DTMF, r.DTMFClock
	}
	for i := range n.formats {
		if n.formats[i].Codec == r.Codec {
			n.formats[i].PayloadType = r.PayloadType
		}
	}
}

// speak offers by the profile that the far end has used, but for one that would
// not insist where we must.
func (n *Negotiation) speak(profile string) {
	if n.policy != telephony.SRTPRequired || profiles[profile] {
		n.profile = profile
	}
}

// secure decides how section i of d is protected, nil when it is not.
func (n *Negotiation) secure(d *description, i int) (*Crypto, cryptoLine, error) {
	wanted := profiles[d.profile(i)]
	if n.policy == telephony.SRTPOff {
		if wanted {
			return nil, cryptoLine{}, errors.New("the SDP wants SRTP, which is off here")
		}
		return nil, cryptoLine{}, nil
	}
	lines, why := cryptoOf(d.MediaDescriptions[i])
	if len(lines) > 0 {
		l := lines[0]
		return &Crypto{suite: l.suite, send: n.secret(l.suite), receive: l.keys}, l, nil
	}
	switch {
	case !wanted && n.policy == telephony.SRTPOptional:
		return nil, cryptoLine{}, nil
	case why != nil:
		return nil, cryptoLine{}, fmt.Errorf("%w: %w", ErrNotSecured, why)
	}
	return nil, cryptoLine{}, fmt.Errorf("%w: no a=crypto", ErrNotSecured)
}

// secret is our key for a suite, the same for the whole call.
func (n *Negotiation) secret(s suite) masterKey {
	k, ok := n.secrets[s.name]
	if !ok {
		k = s.newKey()
		n.secrets[s.name] = k
	}
	if n.mki > 0 {
		k.mki = strings.Repeat("\x00", n.mki-1) + "\x01"
	}
	return k
}

func (n *Negotiation) addCrypto(m *sdp.MediaDescription, tag, name string, s suite) {
	m.WithValueAttribute("crypto", tag+" "+name+" "+n.secret(s).inline())
}

// audio begins our m= section. An event of 0 is none.
func (n *Negotiation) audio(profile string, formats []Format, event uint8, clock uint32) *sdp.MediaDescription {
	m := &sdp.MediaDescription{MediaName: sdp.MediaName{
		Media: "audio", Port: sdp.RangedPort{Value: int(n.local.Port())}, Protos: strings.Split(profile, "/"),
	}}
	add := func(payloadType uint8, encoding string) string {
		pt := strconv.Itoa(int(payloadType))
		m.MediaName.Formats = append(m.MediaName.Formats, pt)
		m.WithValueAttribute("rtpmap", pt+" "+encoding)
		return pt
	}
	for _, f := range formats {
		add(f.PayloadType, f.Codec.Name()+"/8000")
	}
	if event != 0 {
		pt := add(event, fmt.Sprintf("%s/%d", telephoneEvent, clock))
		m.WithValueAttribute("fmtp", pt+" 0-15")
	}
	if n.mux {
		m.WithPropertyAttribute("rtcp-mux")
	}
	return m
}

func finish(m *sdp.MediaDescription, dir string) *sdp.MediaDescription {
	m.WithValueAttribute("ptime", "20")
	return m.WithPropertyAttribute(dir)
}

// say makes the description of these media, with a new version when it is not
// what we said last (RFC 3264 section 8).
func (n *Negotiation) say(media ...*sdp.MediaDescription) []byte {
	body := describe(n.local, n.id, n.version, media)
	if n.said != nil && !slices.Equal(body, n.said) {
		n.version++
		body = describe(n.local, n.id, n.version, media)
	}
	n.said = body
	return body
}

func describe(local netip.AddrPort, id, version uint64, media []*sdp.MediaDescription) []byte {
	addrType := "IP6"
	if local.Addr().Is4() {
		addrType = "IP4"
	}
	d := sdp.SessionDescription{
		Origin: sdp.Origin{
			Username: "-", SessionID: id, SessionVersion: version,
			NetworkType: "IN", AddressType: addrType, UnicastAddress: local.Addr().String(),
		},
		SessionName: "-",
		ConnectionInformation: &sdp.ConnectionInformation{
			NetworkType: "IN", AddressType: addrType, Address: &sdp.Address{Address: local.Addr().String()},
		},
		TimeDescriptions:  []sdp.TimeDescription{{}},
		MediaDescriptions: media,
	}
	b, err := d.Marshal()
	if err != nil {
		panic("media: " + err.Error()) // Marshal only fails on what it is not given here
	}
	return b
}
