package simulate

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"

	"gonum.org/v1/gonum/mathext"
)

// A Law draws durations in seconds, never below 0. Two laws with the same fields
// are equal: they are data.
type Law interface {
	Draw(r *rand.Rand) float64
	validate() error
}

// Constant is always the same.
type Constant float64

// Draw implements Law.
func (c Constant) Draw(*rand.Rand) float64 { return float64(c) }

func (c Constant) validate() error { return positive("", float64(c), true) }

// Exponential has the given mean.
type Exponential struct{ Mean float64 }

// Draw implements Law.
func (e Exponential) Draw(r *rand.Rand) float64 { return e.Mean * r.ExpFloat64() }

func (e Exponential) validate() error { return positive("mean", e.Mean, false) }

// Lognormal has the given mean and coefficient of variation.
type Lognormal struct{ Mean, CV float64 }

// Draw implements Law.
func (l Lognormal) Draw(r *rand.Rand) float64 {
	s2 := math.Log(1 + l.CV*l.CV)
	return l.Mean * math.Exp(math.Sqrt(s2)*r.NormFloat64()-s2/2)
}

func (l Lognormal) validate() error {
	return errors.Join(positive("mean", l.Mean, false), positive("cv", l.CV, true))
}

// Gamma has a whole shape; draws beyond Max (0: none) are drawn again.
type Gamma struct {
	Mean  float64
	Shape int
	Max   float64
}

// Draw implements Law.
func (g Gamma) Draw(r *rand.Rand) float64 {
	for {
		x := 0.0
		for range g.Shape {
			x += r.ExpFloat64()
		}
		x *= g.Mean / float64(g.Shape)
		if g.Max <= 0 || x < g.Max {
			return x
		}
	}
}

func (g Gamma) validate() error {
	if g.Shape < 1 || g.Shape > 1000 {
		return fmt.Errorf("shape %d is not between 1 and 1000", g.Shape)
	}
	if err := errors.Join(positive("mean", g.Mean, false), positive("max", g.Max, true)); err != nil {
		return err
	}
	// Draw would go on for ever where next to nothing is below the maximum.
	shape := float64(g.Shape)
	if g.Max > 0 && !(mathext.GammaIncReg(shape, shape*g.Max/g.Mean) >= 0.01) {
		return fmt.Errorf("max %g is too far below the mean %g: not one duration in a hundred is that short", g.Max, g.Mean)
	}
	return nil
}

// Uniform draws between its bounds.
type Uniform struct{ Low, High float64 }

// Draw implements Law.
func (u Uniform) Draw(r *rand.Rand) float64 { return u.Low + (u.High-u.Low)*r.Float64() }

func (u Uniform) validate() error {
	if u.High < u.Low {
		return fmt.Errorf("high %g is below low %g", u.High, u.Low)
	}
	return errors.Join(positive("low", u.Low, true), positive("high", u.High, true))
}

// Mixed draws from one law or another.
type Mixed struct {
	First  Law
	Share  float64 // of First
	Second Law
}

// Draw implements Law.
func (m Mixed) Draw(r *rand.Rand) float64 {
	if r.Float64() < m.Share {
		return m.First.Draw(r)
	}
	return m.Second.Draw(r)
}

func (m Mixed) validate() error {
	if m.First == nil || m.Second == nil {
		return errors.New("a mixed law needs two laws")
	}
	return errors.Join(share("share", m.Share), m.First.validate(), m.Second.validate())
}

// Empirical is a law given by its quantiles at equal distances, the least first
// and the greatest last, as they were measured in a past campaign; between them
// it is linear.
type Empirical struct{ Quantiles []float64 }

// Draw implements Law.
func (e Empirical) Draw(r *rand.Rand) float64 {
	last := len(e.Quantiles) - 1
	at := r.Float64() * float64(last)
	i := min(int(at), last-1)
	return e.Quantiles[i] + (at-float64(i))*(e.Quantiles[i+1]-e.Quantiles[i])
}

func (e Empirical) validate() error {
	if len(e.Quantiles) < 2 {
		return errors.New("an empirical law needs at least two quantiles")
	}
	for i, q := range e.Quantiles {
		if err := positive(fmt.Sprintf("quantile %d", i+1), q, true); err != nil {
			return err
		}
		if i > 0 && q < e.Quantiles[i-1] {
			return fmt.Errorf("quantile %d (%g) is below the one before (%g)", i+1, q, e.Quantiles[i-1])
		}
	}
	return nil
}

// positive checks a duration or a rate.
func positive(name string, x float64, zero bool) error {
	if name != "" {
		name += " "
	}
	switch {
	case math.IsNaN(x):
		return fmt.Errorf("%s%g is not a number", name, x)
	case x < 0 && zero:
		return fmt.Errorf("%s%g is below 0", name, x)
	case x <= 0 && !zero:
		return fmt.Errorf("%s%g is not above 0", name, x)
	case x > 1e6:
		return fmt.Errorf("%s%g is above a million", name, x)
	}
	return nil
}

func share(name string, x float64) error {
	if !(x >= 0 && x <= 1) {
		if name != "" {
			name += " "
		}
		return fmt.Errorf("%s%g is not a share between 0 and 1", name, x)
	}
	return nil
}
