package siptest

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// A Distribution says how a time varies from call to call.
type Distribution struct {
	// Dist is fixed, uniform, gamma or lognormal.
	Dist string `yaml:"dist"`
	// Mean and SD are of the values before Min and Max cut them. A fixed one
	// has a mean only, a uniform one only Min and Max.
	Mean time.Duration `yaml:"mean"`
	SD   time.Duration `yaml:"sd"`
	// Min and Max bound every value; a zero Max is no bound.
	Min time.Duration `yaml:"min"`
	Max time.Duration `yaml:"max"`
}

// Fixed is the distribution that always gives d.
func Fixed(d time.Duration) Distribution { return Distribution{Dist: "fixed", Mean: d} }

// Uniform is the distribution of equally likely times from low to high.
func Uniform(low, high time.Duration) Distribution {
	return Distribution{Dist: "uniform", Min: low, Max: high}
}

// UnmarshalYAML takes "5s", the short form of a fixed time, or a mapping.
func (d *Distribution) UnmarshalYAML(node ast.Node) error {
	var err error
	if _, mapping := node.(ast.MapNode); mapping {
		type plain Distribution
		err = yaml.NodeToValue(node, (*plain)(d), yaml.Strict())
	} else {
		*d = Fixed(0)
		err = yaml.NodeToValue(node, &d.Mean)
	}
	var placed yaml.Error
	if err != nil && !errors.As(err, &placed) {
		return &misplaced{node.GetToken(), err}
	}
	return err
}

// misplaced gives an error of a value its place.
type misplaced struct {
	at  *token.Token
	err error
}

func (e *misplaced) Error() string { return e.err.Error() }

func (d Distribution) zero() bool { return d == Distribution{} }

func (d Distribution) validate() error {
	const longest = 24 * time.Hour
	for _, f := range []struct {
		name  string
		value time.Duration
	}{{"mean", d.Mean}, {"sd", d.SD}, {"min", d.Min}, {"max", d.Max}} {
		if f.value < 0 || f.value > longest {
			return fmt.Errorf("%s %v is not between 0 and 24h", f.name, f.value)
		}
	}
	if d.Max != 0 && d.Max < d.Min {
		return fmt.Errorf("max %v is below min %v", d.Max, d.Min)
	}
	switch d.Dist {
	case "fixed":
		if d.SD != 0 {
			return fmt.Errorf("a fixed time has no sd; use gamma or lognormal")
		}
	case "uniform":
		if d.Max == 0 {
			return fmt.Errorf("a uniform time needs max")
		}
		if d.Mean != 0 || d.SD != 0 {
			return fmt.Errorf("a uniform time has min and max only, no mean and no sd")
		}
	case "gamma", "lognormal":
		if d.Mean == 0 {
			return fmt.Errorf("a %s time needs a mean above 0", d.Dist)
		}
	case "":
		return fmt.Errorf("dist is missing: give fixed, uniform, gamma or lognormal")
	default:
		return fmt.Errorf("dist %q is not fixed, uniform, gamma or lognormal", d.Dist)
	}
	return nil
}

// Draw returns one value.
func (d Distribution) Draw(r *rand.Rand) time.Duration {
	v := d.Mean
	switch {
	case d.Dist == "uniform":
		v = d.Min + time.Duration(r.Float64()*float64(d.Max-d.Min))
	case d.SD == 0:
	case d.Dist == "gamma":
		shape := math.Pow(d.Mean.Seconds()/d.SD.Seconds(), 2)
		v = seconds(gamma(r, shape) * d.Mean.Seconds() / shape)
	case d.Dist == "lognormal":
		variance := math.Log1p(math.Pow(d.SD.Seconds()/d.Mean.Seconds(), 2))
		v = seconds(d.Mean.Seconds() * math.Exp(math.Sqrt(variance)*r.NormFloat64()-variance/2))
	}
	v = max(v, d.Min)
	if d.Max != 0 {
		v = min(v, d.Max)
	}
	return v
}

func seconds(s float64) time.Duration {
	const most = float64(24 * time.Hour)
	return time.Duration(min(s*float64(time.Second), most))
}

// gamma draws from the gamma distribution of scale 1 by the method of
// Marsaglia and Tsang, ACM Transactions on Mathematical Software 26 (2000).
func gamma(r *rand.Rand, shape float64) float64 {
	if shape < 1 {
		return gamma(r, shape+1) * math.Pow(1-r.Float64(), 1/shape)
	}
	d := shape - 1.0/3
	c := 1 / math.Sqrt(9*d)
	for {
		x := r.NormFloat64()
		v := math.Pow(1+c*x, 3)
		if v > 0 && math.Log(1-r.Float64()) < x*x/2+d-d*v+d*math.Log(v) {
			return d * v
		}
	}
}
