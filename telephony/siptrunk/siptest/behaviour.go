package siptest

import (
	"hash/fnv"
	"math/rand/v2"
	"strings"
	"time"
)

// A Behaviour is what one call to one number will meet, drawn in full before
// the phone rings. Its times are not yet divided by the carrier's Speed.
type Behaviour struct {
	Group      string
	Kind       Kind
	PostDial   time.Duration
	Ring       time.Duration
	EarlyMedia bool
	Status     int // the refusal; 0 or 200 answers
	Q850       int

	Audio      string // greeting or announcement; "" says nothing
	Voice      string // what a person says in the talk
	SpeakAfter time.Duration
	Patience   time.Duration
	Talk       time.Duration
	HangsUp    bool   // ends the talk; otherwise waits for the caller's BYE
	Press      string // key pressed on hearing the message, "" none

	BeepHz     float64
	BeepLength time.Duration
	Level      float64 // factor on everything this side says; 0 means 1, the most
	Noise      float64 // peak of the line noise, in steps of 16 bit audio, to 1000

	LateAnswer    bool // answers after the CANCEL
	NoByeAnswer   bool
	NoMedia       bool
	Loss          float64 // share of RTP packets lost
	ResponseDelay time.Duration
	Retransmit    bool
}

// Behave draws the behaviour of a number at its nth attempt, counted from 0:
// the same seed, number and attempt always give the same. A number that is
// invalid, a fax or announced stays so at every attempt; the others may be
// busy now and answer later.
func (p *Population) Behave(seed uint64, number string, attempt int) Behaviour {
	g := p.groupOf(seed, number, attempt)
	r := source(seed, number, "behaviour", attempt)
	chance := func(probability float64) bool { return r.Float64() < probability }
	pick := func(from []string) string {
		if len(from) == 0 {
			return ""
		}
		return from[r.IntN(len(from))]
	}
	b := Behaviour{
		Group: g.Name, Kind: g.Kind, Status: g.Status, Q850: g.Q850,
		EarlyMedia: g.EarlyMedia || g.Kind == Announcement && g.Status != 200,
		PostDial:   g.PostDial.Draw(r),
		Ring:       g.Ring.Draw(r),
		SpeakAfter: g.SpeakAfter.Draw(r),
		Patience:   g.Patience.Draw(r),
		Talk:       g.Talk.Draw(r),
		HangsUp:    chance(g.HangsUp),
		Audio:      pick(g.Audio),
		Voice:      pick([]string{"person-1", "person-2"}),
		BeepHz:     850 + 400*r.Float64(),
		BeepLength: time.Duration(300+r.IntN(300)) * time.Millisecond,
		Level:      0.35 + 0.65*r.Float64(),
		Noise:      2 + 14*r.Float64(),
	}
	if g.Press != "" && (g.PressShare == nil || chance(*g.PressShare)) {
		b.Press = g.Press
	}
	f := g.Faults
	b.LateAnswer = chance(f.Late200AfterCancel)
	b.NoByeAnswer = chance(f.NoByeAnswer)
	b.NoMedia = chance(f.NoMedia)
	if chance(f.RTPLoss) {
		b.Loss = 0.03 + 0.12*r.Float64()
	}
	if chance(f.ResponseDelay) {
		b.ResponseDelay = time.Duration(300+r.IntN(1200)) * time.Millisecond
	}
	b.Retransmit = chance(f.Retransmit)
	return b
}

// faults names the faults drawn, for the ledger.
func (b Behaviour) faults() []string {
	var out []string
	for _, f := range []struct {
		name  string
		drawn bool
	}{
		{"late_200_after_cancel", b.LateAnswer},
		{"no_bye_answer", b.NoByeAnswer},
		{"no_media", b.NoMedia},
		{"rtp_loss", b.Loss > 0},
		{"response_delay", b.ResponseDelay > 0},
		{"retransmit", b.Retransmit},
	} {
		if f.drawn {
			out = append(out, f.name)
		}
	}
	return out
}

// groupOf finds the group by number pattern, else by share.
func (p *Population) groupOf(seed uint64, number string, attempt int) Group {
	best, name := -1, ""
	for pattern, group := range p.Numbers {
		if matches(pattern, number) && len(pattern) > best {
			best, name = len(pattern), group
		}
	}
	for _, g := range p.Groups {
		if best >= 0 && g.Name == name {
			return g
		}
	}
	if g := p.byShare(source(seed, number, "group", 0), true, true); permanent(g.Kind) {
		return g
	}
	return p.byShare(source(seed, number, "moment", attempt), false, true)
}

// byShare draws a group of those that are asked for.
func (p *Population) byShare(r *rand.Rand, permanents, others bool) Group {
	wanted := func(g Group) bool { return permanent(g.Kind) && permanents || !permanent(g.Kind) && others }
	total := 0.0
	for _, g := range p.Groups {
		if wanted(g) {
			total += g.Share
		}
	}
	at, last := r.Float64()*total, Group{}
	for _, g := range p.Groups {
		if !wanted(g) || g.Share == 0 {
			continue
		}
		last = g
		if at -= g.Share; at < 0 {
			break
		}
	}
	return last
}

// permanent kinds belong to the number, not to the moment.
func permanent(k Kind) bool { return k == Invalid || k == Fax || k == Announcement }

func matches(pattern, number string) bool {
	switch {
	case strings.HasPrefix(pattern, "*"):
		return strings.HasSuffix(number, pattern[1:])
	case strings.HasSuffix(pattern, "*"):
		return strings.HasPrefix(number, pattern[:len(pattern)-1])
	}
	return pattern == number
}

func source(seed uint64, number, purpose string, attempt int) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(number))
	h.Write([]byte{0})
	h.Write([]byte(purpose))
	return rand.New(rand.NewPCG(seed^uint64(attempt)*0x9e3779b97f4a7c15, h.Sum64()))
}
