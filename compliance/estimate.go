package compliance

import "time"

// A DetectorTest is what a test of the answering-machine detector found about
// persons whom it called machines. They are abandoned calls that no event shows,
// so a conservative rate adds an estimate of them. The two figures have different
// bases and at most one is set; mixing them up is the commonest error.
type DetectorTest struct {
	// ShareOfMachine is the share of persons among the calls classified machine.
	ShareOfMachine float64 `json:"fp_share_of_machine,omitempty"`
	// MissRateLive is the share of calls classified machine among the persons.
	MissRateLive float64 `json:"miss_rate_live,omitempty"`

	// Low and High are the 95 % interval of ShareOfMachine, and Persons what was
	// found in the sample; zero when they are not known.
	Low     float64 `json:"fp_share_low,omitempty"`
	High    float64 `json:"fp_share_high,omitempty"`
	Persons int     `json:"persons_found,omitempty"`
	// Of is how many calls classified machine the share holds for, those that
	// nobody has verified; nil means all machines of the tally.
	Of *int `json:"unverified_machines,omitempty"`

	Sample   int       `json:"sample,omitempty"` // calls listened to
	TestedAt time.Time `json:"tested_at,omitzero"`
	Method   string    `json:"method,omitempty"`
}

// FalsePositives estimates the persons among the tally's machines.
func (d DetectorTest) FalsePositives(t Tally) float64 {
	if d.ShareOfMachine > 0 && d.ShareOfMachine <= 1 {
		machines := t.ByClass[ClassMachine]
		if d.Of != nil {
			machines = *d.Of
		}
		return d.ShareOfMachine * float64(machines)
	}
	if d.MissRateLive > 0 && d.MissRateLive < 1 {
		return float64(t.Answered()) * d.MissRateLive / (1 - d.MissRateLive)
	}
	return 0
}

// Highest is the test with the upper end of its interval for its share.
func (d DetectorTest) Highest() DetectorTest {
	d.ShareOfMachine = max(d.ShareOfMachine, d.High)
	return d
}

// ConservativeRate is the rate with the estimated false positives in numerator
// and denominator; nil when nobody answered.
func (t Tally) ConservativeRate(d DetectorTest) *float64 {
	fp := d.FalsePositives(t)
	answered := float64(t.Answered()) + fp
	if answered == 0 {
		return nil
	}
	rate := (float64(t.Abandoned()) + fp) / answered
	return &rate
}
