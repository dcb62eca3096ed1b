package campaign

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"time"

	"dialer"
	"dialer/amd"
)

// Heard is what the detector has brought about in a call beside its verdict.
// Times are UTC; zero did not happen. Its JSON form is stored.
type Heard struct {
	Code  string `json:"code,omitempty"`  // of the verdict: vacant, busy, ced, …
	Early bool   `json:"early,omitempty"` // heard before the answer
	// Reaction that followed the verdict.
	Reaction Reaction `json:"reaction,omitempty"`
	// LateMachineAt is when evidence of a machine came while an agent had the call.
	LateMachineAt time.Time `json:"late_machine_at,omitzero"`
	BeepStartAt   time.Time `json:"beep_start_at,omitzero"` // of the last beep
	BeepEndAt     time.Time `json:"beep_end_at,omitzero"`
	BeepHz        float64   `json:"beep_hz,omitempty"`
	Voicemail     Voicemail `json:"voicemail,omitzero"`

	// Agent is the draw by which a machine verdict goes to an agent, Keep the one
	// by which the first seconds are kept; nil when nothing was drawn.
	Agent *Draw  `json:"agent_draw,omitempty"`
	Keep  *Draw  `json:"keep_draw,omitempty"`
	Kept  string `json:"kept,omitempty"` // file of the seconds, below the recordings

	// Label is what somebody said who listened to the seconds kept.
	Label      string    `json:"label,omitempty"`
	LabelBy    string    `json:"label_by,omitempty"`
	LabelledAt time.Time `json:"labelled_at,omitzero"`
}

// beep notes the last beep of a call.
func (h *Heard) beep(a *attempt, b amd.Beep) {
	if b.Hz > 0 {
		h.BeepStartAt, h.BeepEndAt, h.BeepHz = a.heardAt(b.Start).UTC(), a.heardAt(b.End).UTC(), math.Round(b.Hz)
	}
}

// A Voicemail is a message left on a machine.
type Voicemail struct {
	SHA       string    `json:"sha256"`
	StartedAt time.Time `json:"started_at,omitzero"` // the last time
	EndedAt   time.Time `json:"ended_at,omitzero"`
	PlayedMS  int64     `json:"played_ms"` // of the last time
	Complete  bool      `json:"complete"`
	After     string    `json:"after"`              // beep or silence
	Restarts  int       `json:"restarts,omitempty"` // the greeting went on
}

// A Draw decides about a random sample. It follows from the id of the call, so
// that whoever audits a sample can draw again: Value is the first eight bytes of
// SHA-256 of "PURPOSE:CALL", big endian, modulo a million, and the call is in
// the sample when Value is below Share, both in millionths.
type Draw struct {
	Value int `json:"value"`
	Share int `json:"share"`
}

// Taken reports whether the call is in the sample.
func (d *Draw) Taken() bool { return d != nil && d.Value < d.Share }

// The purposes of draws.
const (
	drawAgent = "agent"
	drawKeep  = "keep"
)

// draw draws for one call; a share of 0 draws nothing.
func draw(purpose string, id dialer.CallID, share float64) *Draw {
	if share <= 0 {
		return nil
	}
	sum := sha256.Sum256([]byte(purpose + ":" + string(id)))
	return &Draw{
		Value: int(binary.BigEndian.Uint64(sum[:8]) % 1_000_000),
		Share: int(math.Round(min(share, 1) * 1_000_000)),
	}
}
