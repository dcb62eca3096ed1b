package compliance

import (
	"math"
	"time"

	"dialer"
)

// A Proportion is a share that was counted in a sample, with its 95 % interval
// (Wilson 1927). Share, Low and High are nil while the sample is empty: that is
// no knowledge, and not 0 %.
type Proportion struct {
	Found  int      `json:"found"`
	Sample int      `json:"sample"`
	Share  *float64 `json:"share" nullable:"true"`
	Low    *float64 `json:"low" nullable:"true"`
	High   *float64 `json:"high" nullable:"true"`
}

// z95 is the normal quantile of a two-sided 95 % interval.
const z95 = 1.959963984540054

// NewProportion is found of sample.
func NewProportion(found, sample int) Proportion {
	p := Proportion{Found: found, Sample: sample}
	if sample <= 0 {
		return p
	}
	n := float64(sample)
	share := float64(found) / n
	middle := (share + z95*z95/(2*n)) / (1 + z95*z95/n)
	half := z95 / (1 + z95*z95/n) * math.Sqrt(share*(1-share)/n+z95*z95/(4*n*n))
	low, high := max(middle-half, 0), min(middle+half, 1)
	if found == 0 {
		low = 0
	}
	if found == sample {
		high = 1
	}
	p.Share, p.Low, p.High = &share, &low, &high
	return p
}

// A DetectorCount is how many answered calls of one trunk had one verdict, and
// what is known of who answered them.
type DetectorCount struct {
	Trunk   dialer.TrunkID
	Verdict string
	// Sampled: by draw the call went to an agent, or its first seconds were kept.
	Sampled bool
	// Truth is what an agent said, or whoever listened to the seconds: person,
	// machine or another class; empty while nobody did.
	Truth string
	Late  bool // a machine was noticed while an agent had the call
	Calls int
}

// hungUpOn reports whether a verdict may cost a person their call. Screening is
// not among them: whoever is screened is a person later on.
func (c DetectorCount) hungUpOn() bool {
	return c.Verdict == "machine" || c.Verdict == "fax" || c.Verdict == "sit"
}

// Person reports whether the truth is a person.
func (c DetectorCount) Person() bool { return c.Truth == AnsweredByPerson || c.Truth == "human" }

// DetectorError is what the counts of real calls say of the detector.
type DetectorError struct {
	// FalsePositives are persons among the calls classified machine, fax or
	// announcement of which the truth is known: all that the draws sent to an agent
	// or had labelled, and what agents talked to anyhow.
	FalsePositives Proportion `json:"false_positives"`
	// Unverified are the calls of those classes of which nobody knows the truth.
	// The share of FalsePositives is an estimate for them.
	Unverified int `json:"unverified"`
	// Missed are machines among the calls classified human, by agents' word.
	Missed Proportion `json:"missed_machines"`
	Late   int        `json:"late_machines"`
	// Sampled is how many calls the draws took, Unlabelled how many of these have
	// no label yet.
	Sampled    int `json:"sampled"`
	Unlabelled int `json:"unlabelled"`
}

// ErrorOf adds the counts up.
func ErrorOf(counts []DetectorCount) DetectorError {
	var e DetectorError
	var persons, known, missed, told int
	for _, c := range counts {
		if c.Late {
			e.Late += c.Calls
		}
		if c.Sampled {
			e.Sampled += c.Calls
			if c.Truth == "" {
				e.Unlabelled += c.Calls
			}
		}
		switch {
		case c.hungUpOn() && c.Truth == "":
			e.Unverified += c.Calls
		case c.hungUpOn():
			known += c.Calls
			if c.Person() {
				persons += c.Calls
			}
		case c.Verdict == "human" && c.Truth != "":
			told += c.Calls
			if !c.Person() {
				missed += c.Calls
			}
		}
	}
	e.FalsePositives, e.Missed = NewProportion(persons, known), NewProportion(missed, told)
	return e
}

// Test is the error as a test of the detector that holds for these calls: its
// base is the calls that nobody has verified. It is zero while nothing is known.
func (e DetectorError) Test(at time.Time) DetectorTest {
	p := e.FalsePositives
	if p.Share == nil {
		return DetectorTest{}
	}
	of := e.Unverified
	return DetectorTest{
		ShareOfMachine: *p.Share, Low: *p.Low, High: *p.High, Persons: p.Found, Sample: p.Sample, Of: &of,
		TestedAt: at, Method: "agents' dispositions and labels of a random sample of the campaign's own machine verdicts",
	}
}

// leastSample is how many labelled machine verdicts pacing goes by. With fewer, one
// person more or less would swing the dialing.
const leastSample = 30

// MissRate is the share of persons whom detection takes for machines and nobody
// else notices, P(machine | live); answered is the number of persons that are
// known. It is 0 while fewer than 30 machine verdicts are labelled.
func (e DetectorError) MissRate(answered int) float64 {
	p := e.FalsePositives
	if p.Sample < leastSample {
		return 0
	}
	missed := *p.Share * float64(e.Unverified)
	if all := missed + float64(answered); all > 0 {
		return missed / all
	}
	return 0
}
