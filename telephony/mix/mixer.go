package mix

import "slices"

// Unity is the gain that leaves a voice as it is; MaxGain is four times as loud.
const (
	Unity   = 1 << gainBits
	MaxGain = 4 * Unity

	gainBits = 12
)

// MaxParties is how many a Mixer takes: with more, sums could overflow.
const MaxParties = 64

// A Mixer gives each party the sum of what the others say, each with a gain of
// its own. It allocates nothing while it mixes. The zero value has no parties;
// it is not safe for use by several goroutines.
type Mixer struct {
	parties []*party // nil where one has left
}

type party struct {
	in, out Frame
	quiet   bool
	gains   []gain // from each party
}

// gain is what it was at the end of the last frame, and what it shall be.
type gain struct{ now, goal int32 }

// Add makes room for a party, which neither hears nor is heard yet. It reports
// !ok when MaxParties are there.
func (m *Mixer) Add() (id int, ok bool) {
	id = slices.Index(m.parties, nil)
	if id < 0 {
		if len(m.parties) == MaxParties {
			return 0, false
		}
		id = len(m.parties)
		m.parties = append(m.parties, nil)
		for _, p := range m.parties[:id] {
			p.gains = append(p.gains, gain{})
		}
	}
	for _, p := range m.parties {
		if p != nil {
			p.gains[id] = gain{}
		}
	}
	m.parties[id] = &party{gains: make([]gain, len(m.parties))}
	return id, true
}

// Remove takes a party out.
func (m *Mixer) Remove(id int) { m.parties[id] = nil }

// Set gives the gain, 0 to MaxGain, with which to hears from. It is reached
// within the next frame, without a click. Nobody hears themselves.
func (m *Mixer) Set(to, from int, g int) {
	if to != from {
		m.parties[to].gains[from].goal = int32(max(0, min(MaxGain, g)))
	}
}

// In is where a party's frame is put before Mix.
func (m *Mixer) In(id int) *Frame { return &m.parties[id].in }

// Out is what a party hears, after Mix.
func (m *Mixer) Out(id int) *Frame { return &m.parties[id].out }

// Mix mixes one frame of each party.
func (m *Mixer) Mix() {
	for _, p := range m.parties {
		if p != nil {
			p.quiet = p.in == (Frame{})
		}
	}
	for _, p := range m.parties {
		if p != nil {
			m.mixFor(p)
		}
	}
}

func (m *Mixer) mixFor(to *party) {
	var sum [FrameSamples]int32
	voices := 0
	for i, from := range m.parties {
		if from == nil {
			continue
		}
		g := &to.gains[i]
		was := g.now
		g.now = g.goal
		if from.quiet || was == 0 && g.goal == 0 {
			continue
		}
		voices++
		add(&sum, &from.in, was, g.goal)
	}
	if voices == 0 {
		to.out = Frame{}
		return
	}
	for i, v := range sum {
		to.out[i] = soft(v)
	}
}

// add adds a voice whose gain goes from was to goal.
func add(sum *[FrameSamples]int32, x *Frame, was, goal int32) {
	switch {
	case was == Unity && goal == Unity:
		for i, v := range x {
			sum[i] += int32(v)
		}
	case was == goal:
		for i, v := range x {
			sum[i] += int32(v) * goal >> gainBits
		}
	default:
		step := goal - was
		for i, v := range x {
			g := was + step*int32(i+1)/FrameSamples
			sum[i] += int32(v) * g >> gainBits
		}
	}
}

// soft limits a sum to 16 bits: up to knee it stays, above it is bent more and
// more, so that two loud voices do not crackle.
func soft(v int32) int16 {
	const knee, room = 28000, 32767 - 28000
	switch {
	case v > knee:
		over := v - knee
		return int16(knee + int64(room)*int64(over)/int64(over+room))
	case v < -knee:
		over := -v - knee
		return int16(-knee - int64(room)*int64(over)/int64(over+room))
	}
	return int16(v)
}
