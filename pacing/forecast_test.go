package pacing

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// someday is a floor at a random moment, of a few agents or of hundreds.
func someday(r *rand.Rand) Snapshot {
	team := []int{3, 12, 20, 24, 26, 60, 300}[r.IntN(7)]
	busy := func(n int, mean float64) []time.Duration {
		out := make([]time.Duration, n)
		for i := range out {
			out[i] = time.Duration(mean * r.ExpFloat64() * float64(time.Second))
		}
		return out
	}
	answered := 20 + r.IntN(2000)
	talking := r.IntN(team)
	wrapping := r.IntN(team - talking)
	s := Snapshot{
		Now: time.Unix(1e9, 0), Ready: team - talking - wrapping, Talking: busy(talking, 120), WrapUp: busy(wrapping, 15),
		Ringing: busy(r.IntN(2*team), 9), Detecting: busy(r.IntN(4), 1), Waiting: r.IntN(3) * r.IntN(2),
		Answered: answered, Abandoned: r.IntN(answered/30 + 2), Cap: 0.03, Lines: 1000, LeadsLeft: 1000,
	}
	e := history(100 + r.IntN(3000))
	s.Laws = e.Laws(&s)
	if r.IntN(4) == 0 {
		for range 10 {
			s.RingingChance = append(s.RingingChance, 2*r.Float64())
		}
	}
	return s
}

// TestCountedTogether: what is counted by age, and by a series, is what comes of
// counting each call and each agent alone.
func TestCountedTogether(t *testing.T) {
	for seed := range uint64(20) {
		s := someday(rand.New(rand.NewPCG(seed, 1)))
		var f forecast
		f.look(&s)
		added := 0
		for _, calls := range []int{0, 1, 5, 30} {
			for ; added < calls; added++ {
				f.addCall(1)
			}
			got, want := f.loss(), lossAlone(&s, calls)
			if !(math.Abs(got-want) < 1e-8*(1+want)) {
				t.Fatalf("seed %d, %d calls more: a loss of %.12f, counted alone %.12f", seed, calls, got, want)
			}
		}
	}
}

// lossAlone is forecast.loss, by the book.
func lossAlone(s *Snapshot, calls int) float64 {
	l, sum := s.Laws, 0.0
	doubt := 1 + 1/math.Sqrt(1+l.liveSeen)
	before := certain(s.Waiting)
	for k := range l.ringBy[0] {
		demand, supply := certain(s.Waiting), certain(s.Ready)
		for range s.Detecting {
			demand = demand.and(l.DetectedLive)
		}
		for i, age := range s.Ringing {
			row := l.ringBy[min(int(age.Seconds()+0.5), len(l.ringBy)-1)]
			demand = demand.and(row[k] * doubt * chanceOf(s.RingingChance, i))
		}
		for range calls {
			demand = demand.and(min(l.ringBy[0][k]*doubt, 1))
		}
		for _, age := range s.WrapUp {
			supply = supply.and(l.wrapBy[spanBin(age.Seconds())][k])
		}
		for _, age := range s.Talking {
			supply = supply.and(l.talkBy[spanBin(age.Seconds())][k])
		}
		unknown := func(d plainLaw) float64 { return 2 * (doubt - 1) * (d.mean - float64(s.Waiting)) }
		sum += max(demand.beyond(supply, unknown(demand))-before.beyond(supply, unknown(before)), 0)
		before = demand
	}
	return sum
}

// A plainLaw holds the chance of each number, its mean and its variance.
type plainLaw struct {
	chances        []float64
	mean, variance float64
}

func certain(n int) plainLaw {
	l := plainLaw{chances: make([]float64, n+1), mean: float64(n)}
	l.chances[n] = 1
	return l
}

// and adds an event of chance p.
func (l plainLaw) and(p float64) plainLaw {
	p = min(max(p, 0), 1)
	next := plainLaw{make([]float64, len(l.chances)+1), l.mean + p, l.variance + p*(1-p)}
	for n, c := range l.chances {
		next.chances[n] += c * (1 - p)
		next.chances[n+1] += c * p
	}
	return next
}

// beyond is the mean of what is more than s; unknown is the standard deviation
// that both laws do not hold.
func (l plainLaw) beyond(s plainLaw, unknown float64) float64 {
	if len(l.chances) <= exactUpTo+1 && len(s.chances) <= exactUpTo+1 {
		sum := 0.0
		for d, p := range l.chances {
			for n, q := range s.chances {
				sum += p * q * float64(max(d-n, 0))
			}
		}
		return sum
	}
	m, sd := l.mean-s.mean, math.Sqrt(l.variance+s.variance+unknown*unknown)
	if sd < 1e-6 {
		return max(m, 0)
	}
	z := m / sd
	return sd*math.Exp(-z*z/2)/math.Sqrt(2*math.Pi) + m*math.Erfc(-z/math.Sqrt2)/2
}
