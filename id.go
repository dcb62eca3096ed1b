package dialer

import (
	"crypto/rand"
	"encoding/binary"
	"strings"
	"time"
)

// Ids are text: a short word for the kind, an underscore and 26 characters of
// Crockford base 32 that hold a UUID version 7 (RFC 9562), so that they sort by
// the time of their making and can be read in a log without a lookup.
type (
	// CampaignID names a campaign ("cmp_…").
	CampaignID string
	// ListID names a lead list ("lst_…").
	ListID string
	// LeadID names a lead ("led_…").
	LeadID string
	// CallID names an attempt and the call it became ("cal_…"); it is the
	// user part of the SIP Call-ID.
	CallID string
	// AgentID names an agent ("agt_…").
	AgentID string
	// TrunkID names a trunk ("trk_…").
	TrunkID string
	// UserID names a person who may log in ("usr_…").
	UserID string
	// ImportID names one upload of leads ("imp_…").
	ImportID string
	// KeyID names an API key ("key_…").
	KeyID string
	// SimulationID names a simulation that was asked for ("sim_…").
	SimulationID string
)

// NewCampaignID returns a fresh id.
func NewCampaignID() CampaignID { return CampaignID(newID("cmp")) }

// NewListID returns a fresh id.
func NewListID() ListID { return ListID(newID("lst")) }

// NewLeadID returns a fresh id.
func NewLeadID() LeadID { return LeadID(newID("led")) }

// NewCallID returns a fresh id.
func NewCallID() CallID { return CallID(newID("cal")) }

// Time returns when the id was made, in milliseconds; false means that it is no
// id of a call.
func (id CallID) Time() (time.Time, bool) { return madeAt(string(id), "cal") }

// NewAgentID returns a fresh id.
func NewAgentID() AgentID { return AgentID(newID("agt")) }

// NewTrunkID returns a fresh id.
func NewTrunkID() TrunkID { return TrunkID(newID("trk")) }

// NewUserID returns a fresh id.
func NewUserID() UserID { return UserID(newID("usr")) }

// NewImportID returns a fresh id.
func NewImportID() ImportID { return ImportID(newID("imp")) }

// NewKeyID returns a fresh id.
func NewKeyID() KeyID { return KeyID(newID("key")) }

// NewSimulationID returns a fresh id.
func NewSimulationID() SimulationID { return SimulationID(newID("sim")) }

const crockford = "0123456789abcdefghjkmnpqrstvwxyz"

func newID(kind string) string {
	var b [16]byte
	rand.Read(b[:]) // never fails (Go 1.24 and later abort instead)
	binary.BigEndian.PutUint64(b[:8], uint64(time.Now().UnixMilli())<<16|uint64(binary.BigEndian.Uint16(b[6:8])))
	b[6] = b[6]&0x0f | 0x70
	b[8] = b[8]&0x3f | 0x80
	hi, lo := binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
	out := make([]byte, len(kind)+27)
	copy(out, kind)
	out[len(kind)] = '_'
	for i := len(out) - 1; i > len(kind); i-- {
		out[i] = crockford[lo&31]
		lo = lo>>5 | hi<<59
		hi >>= 5
	}
	return string(out)
}

// madeAt reads the time of an id: the first 48 bits of its UUID, which are the
// first ten characters.
func madeAt(id, kind string) (time.Time, bool) {
	text, ok := strings.CutPrefix(id, kind+"_")
	if !ok || len(text) != 26 || text[0] > '7' {
		return time.Time{}, false
	}
	var ms int64
	for i := range len(text) {
		digit := strings.IndexByte(crockford, text[i])
		if digit < 0 {
			return time.Time{}, false
		}
		if i < 10 {
			ms = ms<<5 | int64(digit)
		}
	}
	return time.UnixMilli(ms).UTC(), true
}
