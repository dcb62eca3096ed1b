package simulate

// A Result is what came of a shift. Each call dialed has ended as exactly one of
// NoAnswer, Machines, FalsePositives, Abandoned, Connected or Open.
type Result struct {
	Agents int
	Length float64 // seconds; less than the hours of the world when the list was finished

	Dialed         int
	NoAnswer       int // busy, invalid, rang out
	Machines       int // hung up on, or given up for want of an agent
	FalsePositives int // persons taken for machines
	Abandoned      int // persons for whom there was no agent in time
	Connected      int // persons and machines given to agents
	Open           int // had no end yet when the shift was over

	Answered int // persons who answered
	Counted  int // of them abandoned, by the rule of the world on false positives

	// Seconds of agents; Away includes those before and after their work.
	Talk, Wrap, Idle, Away float64

	Decisions int
	Excess    int     // calls that a pacer asked for beyond lines, rate or leads
	WorstHour float64 // greatest abandoned share of any hour
	Finished  float64 // when the last lead was done, in seconds; 0 when it was not
	Slices    []Slice
}

// A Slice is what happened in ten minutes.
type Slice struct {
	Busy, Idle          float64
	Answered, Abandoned int
}

// SliceSeconds is the length of a Slice.
const SliceSeconds = 600

// Utilisation is busy over busy and idle time, breaks left out.
func (r *Result) Utilisation() float64 { return (r.Talk + r.Wrap) / max(r.Talk+r.Wrap+r.Idle, 1e-9) }

// AbandonRate is the share of the persons who answered that was abandoned.
func (r *Result) AbandonRate() float64 { return float64(r.Counted) / float64(max(r.Answered, 1)) }

// An outcome is a person who answered.
type outcome struct {
	at   float64
	lost bool
}

// worst is the greatest share lost in any hour that has passed.
func worst(o []outcome) float64 {
	most, lost, from := 0.0, 0, 0
	for i, x := range o {
		if x.lost {
			lost++
		}
		for o[from].at < x.at-3600 {
			if o[from].lost {
				lost--
			}
			from++
		}
		if x.at >= 3600 || i == len(o)-1 {
			most = max(most, float64(lost)/float64(i-from+1))
		}
	}
	return most
}
