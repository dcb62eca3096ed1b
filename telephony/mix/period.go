package mix

import "math"

// Voices repeat themselves 50 to 200 times a second; higher ones do so in
// several of their periods.
const (
	shortestPeriod = 40
	longestPeriod  = 160
	compared       = 160 // samples
)

// period finds the distance at which y, from at on, resembles itself most:
// with back what lies before at, else what lies behind. It returns how much,
// at most 1. y must hold compared samples from at on, and longestPeriod more in
// the direction asked for.
func period(y []int16, at int, back bool) (distance int, likeness float64) {
	direction := 1
	if back {
		direction = -1
	}
	ref := y[at : at+compared]
	distance, best := longestPeriod, math.Inf(-1)
	try := func(d, step int) {
		if l := alike(ref, y[at+direction*d:], step); l > best {
			distance, best = d, l
		}
	}
	// Every other distance by every other sample is enough to find the place.
	for d := shortestPeriod; d <= longestPeriod; d += 2 {
		try(d, 2)
	}
	coarse := distance
	distance, best = coarse, alike(ref, y[at+direction*coarse:], 1)
	for _, d := range [...]int{coarse - 1, coarse + 1} {
		if d >= shortestPeriod && d <= longestPeriod {
			try(d, 1)
		}
	}
	return distance, best
}

// alike is the normalised correlation of a with the beginning of b, by every
// step'th sample.
func alike(a, b []int16, step int) float64 {
	b = b[:len(a)]
	var ab, bb, aa int64
	for i := 0; i < len(a); i += step {
		x, y := int64(a[i]), int64(b[i])
		ab += x * y
		aa += x * x
		bb += y * y
	}
	if aa == 0 || bb == 0 {
		return 0
	}
	return float64(ab) / math.Sqrt(float64(aa)*float64(bb))
}

// blend passes from a to b over the length of dst.
func blend(dst, a, b []int16) {
	n := int32(len(dst))
	for i := range dst {
		w := int32(i) + 1
		dst[i] = int16((int32(a[i])*(n+1-w) + int32(b[i])*w) / (n + 1))
	}
}
