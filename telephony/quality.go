package telephony

import "time"

// EstimateMOS estimates how well G.711 is heard, 1 (bad) to 4.4 (a clean call), by
// the E-model (ITU-T G.107) with the loss concealment of G.711 Appendix I
// (G.113: Ie 0, Bpl 25.1). loss is the share of packets that did not come, 0 to 1.
func EstimateMOS(loss float64, jitter, roundTrip time.Duration) float64 {
	// One way: half the round trip, a packet, and a jitter buffer of twice the jitter.
	delay := float64(roundTrip/2+FrameDuration+2*jitter) / float64(time.Millisecond)
	r := 93.2 - 0.024*delay
	if delay > 177.3 {
		r -= 0.11 * (delay - 177.3)
	}
	percent := 100 * min(max(loss, 0), 1)
	r -= 95 * percent / (percent + 25.1)
	switch {
	case r <= 6.5: // below, the formula turns up again
		return 1
	case r >= 100:
		return 4.5
	}
	return 1 + 0.035*r + 7e-6*r*(r-60)*(100-r)
}

// Since is what happened between an earlier look at a leg and this one, for a
// leg that outlives the talk: an agent's. Jitter and round trip are those of now.
func (m MediaStats) Since(before MediaStats) MediaStats {
	m.PacketsIn -= before.PacketsIn
	m.PacketsOut -= before.PacketsOut
	m.Lost = max(0, m.Lost-before.Lost) // a late packet takes one back
	m.LostThere = max(0, m.LostThere-before.LostThere)
	m.Rejected -= before.Rejected
	m.MOS = 0
	if m.PacketsIn > 0 {
		m.MOS = EstimateMOS(m.Loss(), m.Jitter, m.RoundTrip)
	}
	return m
}

// Loss is the share of the far end's packets that did not come, 0 to 1.
func (m MediaStats) Loss() float64 { return share(m.Lost, m.PacketsIn+m.Lost) }

// LossThere is the share of our packets that the far end missed, 0 to 1.
func (m MediaStats) LossThere() float64 { return share(m.LostThere, m.PacketsOut) }

func share(part, all int64) float64 {
	if part <= 0 || all <= 0 {
		return 0
	}
	return min(1, float64(part)/float64(all))
}
