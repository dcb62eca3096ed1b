package simulate

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// A Span is a duration as a scenario writes it: "90s", "1h30m" or 90, which are
// seconds.
type Span time.Duration

// Secs returns a Span of so many seconds, to the millisecond.
func Secs(x float64) Span { return Span(math.Round(x*1000) * float64(time.Millisecond)) }

// Seconds returns s in seconds.
func (s Span) Seconds() float64 { return time.Duration(s).Seconds() }

// mostSpan is a year: what is longer is a mistake.
const mostSpan = 366 * 24 * time.Hour

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Span) UnmarshalText(text []byte) error {
	t := strings.TrimSpace(string(text))
	d, err := time.ParseDuration(t)
	if x, number := strconv.ParseFloat(t, 64); number == nil && math.Abs(x) <= mostSpan.Seconds() {
		d, err = time.Duration(x*float64(time.Second)), nil
	}
	if err != nil || d > mostSpan || d < -mostSpan {
		return fmt.Errorf("%q is not a time such as 90s, 45m or 1h30m", t)
	}
	*s = Span(d)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (s Span) MarshalText() ([]byte, error) {
	d := time.Duration(s)
	number := func(x float64, unit string) ([]byte, error) {
		return []byte(strconv.FormatFloat(x, 'f', -1, 64) + unit), nil
	}
	switch {
	case d%time.Hour == 0 && d != 0:
		return number(d.Hours(), "h")
	case d%time.Minute == 0 && d > 2*time.Minute:
		return []byte(strings.TrimSuffix(d.String(), "0s")), nil
	case d > -time.Second && d < time.Second && d != 0:
		return number(float64(d)/float64(time.Millisecond), "ms")
	}
	return number(d.Seconds(), "s")
}
