package campaign

// chances compares leads by how likely a person answers, where the list says so.
// The pacer learns the campaign's mean by itself, so it is told each lead's chance
// in relation to the mean of those that were claimed: a list whose figures are all
// twice too high is as good as a right one.
type chances struct{ n, sum float64 }

// chanceMemory is how many leads the mean is taken of: as many as the pacer
// remembers attempts.
const chanceMemory = 1500

// claimed takes in the probability of a lead that will be called soon.
func (c *chances) claimed(p float64) {
	if !(p > 0) {
		return
	}
	const keep = 1 - 1.0/chanceMemory
	c.n, c.sum = c.n*keep+1, c.sum*keep+min(p, 1)
}

// of is a lead's chance in relation to the mean, 1 when nothing is said of it.
func (c *chances) of(p float64) float64 {
	if !(p > 0) || c.sum <= 0 {
		return 1
	}
	return p * c.n / c.sum
}

// any reports whether the list says anything.
func (c *chances) any() bool { return c.n > 0 }
