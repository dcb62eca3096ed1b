package train

import "math"

// line sends audio over a telephone line: filters, codecs, comfort noise, loss.
func (s *studio) line(sc *scene, x []float64) {
	tilt := s.between(-0.25, 0.35)
	before := 0.0
	for i, v := range x {
		x[i], before = v-tilt*before, v
	}
	if s.chance(0.25) { // a codec that makes noise of the signal (ITU-T P.810)
		q := decibel(-s.between(13, 28))
		for i := range x {
			x[i] += x[i] * q * s.NormFloat64()
		}
	}
	if s.chance(0.15) {
		low := 0.0
		for i := range x {
			low += (x[i] - low) * 0.75
			x[i] = low
		}
	}
	sc.samples = make([]int16, len(x))
	for i, v := range x {
		sc.samples[i] = companded(v)
	}
	if s.chance(0.15) {
		s.gate(sc)
	}
	if s.chance(0.25) {
		s.lose(sc)
	}
}

// companded is a sample after a logarithmic codec of 8 bits: about µ-law.
func companded(v float64) int16 {
	const mu = 255
	v = max(min(v, 1), -1)
	y := math.Copysign(math.Log1p(mu*math.Abs(v))/math.Log1p(mu), v)
	y = math.Round(y*127) / 127
	return int16(32000 * math.Copysign(math.Expm1(math.Abs(y)*math.Log1p(mu))/mu, y))
}

// gate replaces what is not loud by comfort noise or nothing (DTX).
func (s *studio) gate(sc *scene) {
	threshold, comfort := 0.0, 0.0
	for _, v := range sc.samples {
		threshold = max(threshold, math.Abs(float64(v)))
	}
	threshold *= decibel(-s.between(28, 40))
	if s.chance(0.6) {
		comfort = s.between(1, 40)
	}
	hang := 0
	for at := 0; at+packet <= len(sc.samples); at += packet {
		frame := sc.samples[at : at+packet]
		most := 0.0
		for _, v := range frame {
			most = max(most, math.Abs(float64(v)))
		}
		if most > threshold {
			hang = 8
		}
		if hang--; hang >= 0 {
			continue
		}
		for i := range frame {
			frame[i] = int16(comfort * s.NormFloat64())
		}
	}
}

// lose loses packets, alone and in rows. A receiver tells the detector of some of
// them; others it has filled with what came before, or with nothing.
func (s *studio) lose(sc *scene) {
	share, told := s.between(0.005, 0.07), s.IntN(3)
	sc.lost = make([]bool, len(sc.samples)/packet+1)
	for k := 1; (k+1)*packet <= len(sc.samples); k++ {
		if !s.chance(share / 1.6) {
			continue
		}
		for row := 1 + s.IntN(3); row > 0 && (k+1)*packet <= len(sc.samples); row-- {
			frame := sc.samples[k*packet : (k+1)*packet]
			switch told {
			case 0:
				sc.lost[k] = true
			case 1:
				copy(frame, sc.samples[(k-1)*packet:])
			default:
				clear(frame)
			}
			k++
		}
	}
}
