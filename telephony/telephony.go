// Package telephony is what the engine knows of telephony: carriers that place
// calls, legs that carry them, causes that end them, and how two legs are
// joined. It knows nothing of SIP; siptrunk and simtrunk stand behind its seams.
//
// Entry points: Carrier.Dial, Stations.Ring, Bridge, Join, Play, Talk, Conference.
// Goroutines: Bridge and Play run in their caller's; a Leg owns its own. Join has
// two where the legs cannot pass packets straight, until they are parted. A
// Conference has a reader for each member that is no Arriver; a Talk, while it is
// supervised, its conference and a watcher for each supervisor, until End.
package telephony

import (
	"context"
	"time"

	"dialer"
)

// FrameDuration is the length of one Frame.
const FrameDuration = 20 * time.Millisecond

// FrameSamples is the number of samples in a Frame at 8 kHz.
const FrameSamples = 160

// A Frame is 20 ms of mono audio at 8 kHz, 16 bit linear.
type Frame struct {
	Samples [FrameSamples]int16
	// Offset is the frame's place in the leg's media, by RTP time, from the
	// answer. Frames from before the answer (early media) are negative.
	Offset time.Duration
	// Lost: the packet never came; the samples are zero. A detector must take
	// it as unknown, not as silence.
	Lost bool
}

// An Invite says whom to call and how.
type Invite struct {
	Call     dialer.CallID // becomes the Call-ID; the caller has committed it
	To, From dialer.Number
	FromName string
	Trunk    dialer.TrunkID
	// Backups are trunks to be tried in this order when Trunk does not take the
	// call: it is down or full, stays silent, or answers 5xx before anything rang.
	Backups []dialer.TrunkID
	// RingTimeout is how long it may ring before CANCEL; zero means 30 s.
	RingTimeout time.Duration
	// Headers are added to the INVITE as given (X-…, P-Asserted-Identity, …).
	Headers map[string]string
	// OnAdmitted, when set, is called once the carrier has taken a channel for
	// the call, before its INVITE. It must not block.
	OnAdmitted func()
	// OnProgress, when set, is told of each provisional response in wire order.
	// It must not block.
	OnProgress func(Progress)
	// OnAnswer, when set, is given what another process needs to end the call
	// (Leg.Dialog) before the answer is acknowledged: a process that dies right
	// after the ACK would leave a call that nobody can end. The ACK waits for it,
	// so it must return within some 300 ms.
	OnAnswer func(dialog []byte)
	// OnEarlyFrame, when set, hears early media (ringback, SIT, announcements).
	// It must not block.
	OnEarlyFrame func(Frame)
}

// Progress is one provisional response.
type Progress struct {
	Status int // 180, 181, 183, …
	Media  bool
	At     time.Time
}

// A Carrier places outbound calls.
type Carrier interface {
	// Dial blocks until the far end answers. A call that is not answered
	// returns a *DialError; cancelling ctx sends CANCEL. Dial never leaves a
	// call up that it does not return: a late 200 is ACKed and BYEd.
	Dial(ctx context.Context, inv Invite) (Leg, error)
	// Capacity tells what a trunk can take now.
	Capacity(trunk dialer.TrunkID) Capacity
}

// Capacity is what a trunk can take now.
type Capacity struct {
	Up       bool
	Why      string // why it is down or full, for people
	Channels int    // the cap
	InUse    int    // legs from INVITE to end
	Tokens   int    // calls that the calls-per-second bucket allows at once
}

// Free is how many calls may be placed now.
func (c Capacity) Free() int {
	if !c.Up {
		return 0
	}
	return max(0, min(c.Channels-c.InUse, c.Tokens))
}

// A PeerState is how one address of a trunk is.
type PeerState struct {
	Address   string     `json:"address" doc:"address:port"`
	Transport Transport  `json:"transport" enum:"udp,tcp,tls"`
	State     PeerWord   `json:"state" enum:"up,down,held,unproven" doc:"held: it asked for no calls for a while; unproven: it gets calls, or one, and has not answered yet"`
	Why       string     `json:"why,omitempty"`
	Until     *time.Time `json:"until,omitempty" doc:"When it gets a call again; absent when that is not known"`
}

// PeerWord is one word on a peer.
type PeerWord string

// The states of a peer.
const (
	PeerUp       PeerWord = "up"
	PeerDown     PeerWord = "down"
	PeerHeld     PeerWord = "held"
	PeerUnproven PeerWord = "unproven"
)

// An OrphanReaper ends calls that an earlier process of this node left up.
type OrphanReaper interface {
	// EndOrphan sends BYE for a dialog saved by Leg.Dialog.
	EndOrphan(ctx context.Context, dialog []byte) error
	// CancelOrphan gives up a call that was placed as inv says and of which no
	// dialog was saved: it may still ring.
	CancelOrphan(ctx context.Context, inv Invite) error
}

// A Leg is one answered call leg. Whoever dialed it hangs it up.
type Leg interface {
	// ReadFrame returns the next 20 ms heard from the far end, at the pace of
	// the packets. Late frames are dropped rather than queued: a reader that
	// stalls finds at most 200 ms waiting. It fails when ctx or the leg ends.
	ReadFrame(ctx context.Context) (Frame, error)
	// WriteFrame sends 20 ms to the far end. The caller keeps the pace.
	WriteFrame(f Frame) error
	// Digits delivers key presses (RFC 4733, once a press). Closed at the end.
	Digits() <-chan Digit
	// Tap hears what ReadFrame hears and, with sent, what is written or
	// relayed to the far end, in relay mode too. f must not block.
	Tap(f func(fr Frame, sent bool)) (stop func())
	// Info says what is known of the leg; its Ended part is filled once Done.
	Info() Info
	// Dialog returns what another process needs to end this call, or nil.
	Dialog() []byte
	// Hangup ends the leg; it is idempotent and returns at once.
	Hangup(Cause)
	// Done is closed when either side has hung up.
	Done() <-chan struct{}
}

// A KeySender is a Leg that can press keys towards the far end.
type KeySender interface {
	SendDigits(ctx context.Context, keys string) error
}

// A Holder is a Leg whose far end can be put on hold.
type Holder interface {
	Hold(ctx context.Context, on bool) error
}

// A Referrer is a Leg whose far end can be sent elsewhere (RFC 3515). It returns
// when the transfer is decided; the leg is then over, or as it was.
type Referrer interface {
	Refer(ctx context.Context, to string) error
}

// An Arriver is a Leg that hands over what it hears as it arrives, to somebody
// who has a play-out buffer: a Conference. ReadFrame waits for packets that may
// yet come, which is a delay of its own.
type Arriver interface {
	// Arrivals makes f hear the audio of each packet in the order of arrival, lost
	// and late ones and copies as they are, until stop. at is its media time and
	// counts from anywhere. f is called by one goroutine at a time; it must not
	// block, nor call the leg, nor keep samples.
	Arrivals(f func(samples []int16, at time.Duration)) (stop func())
}

// A Digit is one key press.
type Digit struct {
	Key      rune // 0-9 * # A-D
	Duration time.Duration
}

// Info is what is known of a leg.
type Info struct {
	Call       dialer.CallID
	Trunk      dialer.TrunkID
	PlacedAt   time.Time // INVITE sent
	RingingAt  time.Time // first 18x, zero if none
	AnsweredAt time.Time // 200 OK
	EndedAt    time.Time // zero while up
	EndedBy    Side
	Cause      Cause
	SIPStatus  int
	Q850       int
	Reason     string
	Media      MediaStats
	// Tries are the peers that were asked, the one that took the call last.
	Tries []Try
	// Attestation is what was said of the caller's right to its number (STIR,
	// RFC 8224): A, B or C, or "" when nothing was.
	Attestation string
}

// A Try is one peer of one trunk that was sent an INVITE.
type Try struct {
	Trunk  dialer.TrunkID `json:"trunk_id"`
	Peer   string         `json:"peer"` // transport:address:port
	At     time.Time      `json:"at"`
	Status int            `json:"sip_status,omitempty"` // final, 0 when there was none
	Why    string         `json:"why,omitempty"`        // why the next one was tried
}

// MediaStats is what is known of the audio of a leg.
type MediaStats struct {
	PacketsIn, PacketsOut, Lost, Rejected int64
	Jitter                                time.Duration
	// LostThere is what the far end reports as lost of what we sent.
	LostThere int64
	// RoundTrip by RTCP (RFC 3550 6.4.1), 0 while unknown.
	RoundTrip time.Duration
	// MOS estimates the quality heard, 1 to 4.4, by the E-model (ITU-T G.107)
	// from loss, jitter and round trip; 0 when nothing was heard.
	MOS   float64
	Codec string // "PCMU", "PCMA"
	// Secured: the audio is SRTP.
	Secured bool
}

// Side is who ended a call.
type Side string

// The sides.
const (
	Caller  Side = "caller"  // we
	Callee  Side = "callee"  // the person or machine
	Network Side = "network" // carrier, timeout, lost media
)

// A Station is an agent's phone.
type Station struct {
	Extension string // the user part it registers with
	URI       string // called here instead when set, "sip:…"
}

// Stations reaches agents' phones. A station's leg stays up for a whole shift.
type Stations interface {
	// Ring calls a phone and returns when it is answered.
	Ring(ctx context.Context, s Station) (Leg, error)
	// Reachable reports whether the phone is registered or has a URI.
	Reachable(s Station) bool
}

// A Clip is audio to be played: 8 kHz, 16 bit linear, mono.
type Clip struct {
	Name    string
	SHA256  string // hex, of the samples as stored
	Samples []int16
}

// Duration is the clip's length.
func (c Clip) Duration() time.Duration {
	return time.Duration(len(c.Samples)) * time.Second / 8000
}
