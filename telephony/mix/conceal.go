package mix

const (
	remembered = 640 // samples of what was heard: 80 ms
	// The repeated voice stays as it is for steadyFor and is gone at fadedAfter,
	// when only noise is left (the course of ITU-T G.711 Appendix I).
	steadyFor  = 80
	fadedAfter = 480
	// Less alike than this is no voice: repeating a short stretch of it would
	// buzz.
	voiced = 0.5
)

// A Concealer makes up for lost audio: the last period of the voice is
// repeated, more of its periods as the gap goes on, and fades to noise. It adds
// no delay. The principle is that of ITU-T G.711 Appendix I. The zero value has
// heard nothing.
type Concealer struct {
	Noise Noise // what is left when the voice has faded

	history [remembered]int16 // as played, the newest last

	lost   int               // samples made up since the last that was heard
	seam   bool              // what comes next does not follow what was played
	before [remembered]int16 // history when the gap began
	period int
	cycles int // most periods that are repeated
	jump   int32
}

// Hear takes what was received. Where it follows a gap, its beginning is
// blended with what was made up.
func (c *Concealer) Hear(x []int16) {
	if c.lost > 0 || c.seam {
		if c.lost == 0 {
			c.begin()
		}
		// The longer the gap, the longer the passage.
		var made [steadyFor]int16
		n := min(len(x), len(made), 32+32*(c.lost/80))
		for i := range n {
			made[i] = c.sample(c.lost + i)
		}
		blend(x[:n], made[:n], x[:n])
		c.lost, c.seam = 0, false
	}
	c.remember(x)
}

// Fill makes up what is missing.
func (c *Concealer) Fill(x []int16) {
	if c.lost == 0 {
		c.begin()
	}
	for i := range x {
		x[i] = c.sample(c.lost + i)
	}
	c.lost = min(c.lost+len(x), 1<<30)
	c.seam = false
	c.remember(x)
}

// Splice says that what is heard next does not follow what was played last.
func (c *Concealer) Splice() { c.seam = true }

func (c *Concealer) remember(x []int16) {
	if len(x) > remembered {
		x = x[len(x)-remembered:]
	}
	copy(c.history[:], c.history[len(x):])
	copy(c.history[remembered-len(x):], x)
}

func (c *Concealer) begin() {
	c.before = c.history
	likeness := 0.0
	c.period, likeness = period(c.before[:], remembered-compared, true)
	c.cycles = 1
	if likeness < voiced {
		c.period, c.cycles = longestPeriod, 3
	}
	c.jump = int32(c.before[remembered-1]) - int32(c.before[remembered-1-c.period*c.cycles])
}

// sample is the one made up t samples into the gap.
func (c *Concealer) sample(t int) int16 {
	if t >= fadedAfter {
		return int16(c.Noise.next())
	}
	cycles := min(3, max(c.cycles, 1+t/steadyFor))
	v := c.repeated(cycles, t)
	soft := c.period / 4
	if since := t - (cycles-1)*steadyFor; cycles > c.cycles && since < soft {
		was := c.repeated(cycles-1, t) // another number of periods: no seam here either
		v = (was*int32(soft-since) + v*int32(since)) / int32(soft)
	}
	if t < soft { // the first repetition need not begin where the voice stopped
		v += c.jump * int32(soft-t) / int32(soft)
	}
	if t > steadyFor {
		left := int32(fadedAfter - t)
		v = v * left / (fadedAfter - steadyFor)
		v += int32(c.Noise.next()) * (fadedAfter - steadyFor - left) / (fadedAfter - steadyFor)
	}
	return int16(max(-32768, min(32767, v)))
}

// repeated is the sample at t of the last periods, over and over. The end of
// each round passes into what came before its beginning.
func (c *Concealer) repeated(cycles, t int) int32 {
	length := cycles * c.period
	at := t % length
	v := int32(c.before[remembered-length+at])
	soft := c.period / 4
	if into := at - (length - soft); into >= 0 {
		before := int32(c.before[remembered-2*length+at])
		v = (v*int32(soft-into) + before*int32(into+1)) / int32(soft+1)
	}
	return v
}
