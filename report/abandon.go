package report

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"time"

	"dialer"
	"dialer/compliance"
)

// AbandonQuery says what an abandon report is about.
type AbandonQuery struct {
	Campaign dialer.CampaignID
	Name     string    // of the campaign, for people
	From, To time.Time // calls placed in [From, To); zero means no bound
	// Start and Zone give the successive 30-day periods: the start of the calling
	// programme and its own zone. A nil Zone is UTC.
	Start    time.Time
	Zone     *time.Location
	Clock    compliance.ClockStart
	Deadline time.Duration
	Cap      float64 // 0.03 for 3 %
	// Detector is the test of the detector that the campaign uses; zero when none
	// was tested.
	Detector compliance.DetectorTest
	Now      time.Time
}

// An AbandonReport is the evidence for the abandoned-call rate of a campaign.
// Times are UTC, delays milliseconds. Its JSON form is part of the API.
//
// A call was classed with the clock and the deadline of its day, and stays so;
// delays are computed with those of SettingsAsOf.
type AbandonReport struct {
	Campaign    dialer.CampaignID     `json:"campaign_id"`
	Name        string                `json:"campaign_name"`
	From        time.Time             `json:"from,omitzero"`
	To          time.Time             `json:"to,omitzero"`
	GeneratedAt time.Time             `json:"generated_at"`
	Clock       compliance.ClockStart `json:"clock_start"`
	DeadlineMS  int64                 `json:"deadline_ms"`
	Cap         float64               `json:"cap"`
	// SettingsAsOf is when clock, deadline and cap were what is said here. Of
	// ClassedOtherwise calls they would make another class: these ended under
	// other settings.
	SettingsAsOf     time.Time `json:"settings_as_of"`
	ClassedOtherwise int       `json:"classed_under_other_settings"`

	Attempts int          `json:"attempts"`
	Classes  []ClassCount `json:"classes"`
	Total    Rate         `json:"total"`
	Formula  string       `json:"formula"`
	// Conservative is the rate with the persons added whom the detector is
	// estimated to have called machines. All of these are null when the detector
	// was not tested, and the rate also when nobody answered.
	Conservative   *float64 `json:"rate_conservative"`
	FalsePositives *float64 `json:"estimated_false_positives"`
	// ConservativeHigh is the same with the upper end of the 95 % interval of the
	// test, null where that is not known.
	ConservativeHigh *float64                 `json:"rate_conservative_high"`
	Detector         *compliance.DetectorTest `json:"detector_test"`
	Periods          []Period                 `json:"periods"` // successive 30 days

	// Delays of the calls that an agent took; one before the clock's start is 0.
	FromClock  Quantiles `json:"connect_delay_from_clock_ms"`
	FromAnswer Quantiles `json:"connect_delay_from_answer_ms"`

	Ring     []RingCount `json:"ring_times"`
	Messages Messages    `json:"messages"`

	// Each of the lists has the first 10,000 calls, and NotListed counts the rest.
	ShortRings []dialer.CallID `json:"short_rings"` // given up unanswered before 15 s of ringing
	Late       []LateCall      `json:"late_calls"`
	Abandoned  []AbandonedCall `json:"abandoned_calls"`
	NotListed  NotListed       `json:"not_listed"`
}

// mostListed is how many calls each list of a report has.
const mostListed = 10_000

// NotListed counts the calls that the lists of a report have no room for. They
// are in all other figures.
type NotListed struct {
	ShortRings int `json:"short_rings"`
	Late       int `json:"late_calls"`
	Abandoned  int `json:"abandoned_calls"`
}

// A Rate is an abandoned-call rate with what it was computed from. Rate is null
// when nobody answered.
type Rate struct {
	Abandoned int      `json:"abandoned"`
	Answered  int      `json:"answered_person"`
	Rate      *float64 `json:"rate"`
	WithinCap bool     `json:"within_cap"`
}

// String returns "4/133 = 3.0075 %".
func (r Rate) String() string {
	if r.Rate == nil {
		return "no call was answered by a person"
	}
	return fmt.Sprintf("%d/%d = %.4f %%", r.Abandoned, r.Answered, 100**r.Rate)
}

// ClassCount is the number of attempts of one class.
type ClassCount struct {
	Class compliance.Class `json:"class"`
	Count int              `json:"count"`
}

// A Period is one of the successive 30-day periods, [From, To).
type Period struct {
	Index int       `json:"index"`
	From  time.Time `json:"from"`
	To    time.Time `json:"to"`
	Rate
}

// A RingCount is the number of attempts that rang for [FromS, ToS) seconds; ToS
// is 0 for the last, which has no end.
type RingCount struct {
	FromS int `json:"from_s"`
	ToS   int `json:"to_s,omitempty"`
	Count int `json:"count"`
}

// Messages tells of the abandoned-call message: of the calls that were due one,
// how many heard it begin in time, late or not at all.
type Messages struct {
	Due     int     `json:"due"`
	InTime  int     `json:"started_in_time"`
	Late    int     `json:"started_late"`
	Missing int     `json:"missing"`
	Assets  []Asset `json:"assets"`
}

// An Asset is a message that was played, and how often.
type Asset struct {
	Name   string `json:"asset"`
	SHA256 string `json:"sha256"`
	Played int    `json:"played"`
}

// A LateCall reached an agent after the deadline.
type LateCall struct {
	Call    dialer.CallID  `json:"call_id"`
	To      dialer.Number  `json:"to"`
	Agent   dialer.AgentID `json:"agent_id"`
	At      time.Time      `json:"answered_at"`
	DelayMS int64          `json:"delay_ms"`
}

// An AbandonedCall reached no agent.
type AbandonedCall struct {
	Call  dialer.CallID    `json:"call_id"`
	To    dialer.Number    `json:"to"`
	Class compliance.Class `json:"class"`
	At    time.Time        `json:"answered_at"`
}

// shortestRing is how long a call must ring before it is given up (16 CFR
// 310.4(b)(4)(ii)).
const shortestRing = 15 * time.Second

// ringEdges are the bounds of the ring-time histogram in seconds.
var ringEdges = [...]int{0, 5, 10, 15, 20, 25, 30, 45, 60}

// Abandon folds the calls, in any order, into a report. Calls that are still up
// are left out. Its memory does not grow with the calls. An error that calls
// yields ends it and is returned.
func Abandon(q AbandonQuery, calls iter.Seq2[CallFacts, error]) (AbandonReport, error) {
	if q.Zone == nil {
		q.Zone = time.UTC
	}
	f := fold{
		q: q, periods: map[int]*compliance.Tally{}, assets: map[Asset]int{},
		fromClock: delays{}, fromAnswer: delays{}, rings: make([]int, len(ringEdges)),
		r: AbandonReport{
			Campaign: q.Campaign, Name: q.Name, From: q.From.UTC(), To: q.To.UTC(), GeneratedAt: q.Now.UTC(), SettingsAsOf: q.Now.UTC(),
			Clock: q.Clock, DeadlineMS: q.Deadline.Milliseconds(), Cap: q.Cap, Formula: compliance.RateFormula,
			Periods: []Period{}, ShortRings: []dialer.CallID{}, Late: []LateCall{}, Abandoned: []AbandonedCall{},
			Messages: Messages{Assets: []Asset{}},
		},
	}
	for c, err := range calls {
		if err != nil {
			return AbandonReport{}, err
		}
		f.add(c)
	}
	return f.report(), nil
}

// A fold is a report that calls are still added to.
type fold struct {
	q                     AbandonQuery
	r                     AbandonReport
	all                   compliance.Tally
	periods               map[int]*compliance.Tally
	assets                map[Asset]int
	fromClock, fromAnswer delays
	rings                 []int
}

func (f *fold) add(c CallFacts) {
	q, r := f.q, &f.r
	if c.Class == "" || !q.From.IsZero() && c.PlacedAt.Before(q.From) || !q.To.IsZero() && !c.PlacedAt.Before(q.To) {
		return
	}
	r.Attempts++
	f.all.Add(c.Class)
	if !q.Start.IsZero() {
		k := compliance.Period(q.Start, c.PlacedAt, q.Zone)
		if f.periods[k] == nil {
			f.periods[k] = &compliance.Tally{}
		}
		f.periods[k].Add(c.Class)
	}
	if ring, ok := c.ringTime(); ok {
		i, found := slices.BinarySearch(ringEdges[:], int(ring/time.Second))
		if !found {
			i--
		}
		f.rings[i]++
		if c.Times.Answer.IsZero() && c.Class == compliance.ClassNoAnswer && c.EndedBy == compliance.EndedByCaller && ring < shortestRing {
			r.ShortRings = list(r.ShortRings, c.Call, &r.NotListed.ShortRings)
		}
	}
	if c.Class.Answered() && !c.Times.Agent.IsZero() {
		ms := delay(q.Clock.Start(c.Times), c.Times.Agent)
		f.fromClock[ms]++
		f.fromAnswer[delay(c.Times.Answer, c.Times.Agent)]++
		if late := ms > r.DeadlineMS; late != (c.Class == compliance.ClassLate) {
			r.ClassedOtherwise++
		}
	}
	f.count(c)
}

// list appends to a list of calls that is not full, or else counts on.
func list[T any](calls []T, c T, more *int) []T {
	if len(calls) < mostListed {
		return append(calls, c)
	}
	*more++
	return calls
}

func (f *fold) report() AbandonReport {
	r, q := f.r, f.q
	for _, class := range compliance.Classes() {
		r.Classes = append(r.Classes, ClassCount{class, f.all.ByClass[class]})
	}
	r.Total = rateOf(f.all, q.Cap)
	if q.Detector != (compliance.DetectorTest{}) {
		estimate := q.Detector.FalsePositives(f.all)
		r.Detector, r.FalsePositives, r.Conservative = &q.Detector, &estimate, f.all.ConservativeRate(q.Detector)
		if q.Detector.High > 0 {
			r.ConservativeHigh = f.all.ConservativeRate(q.Detector.Highest())
		}
	}
	for k, t := range f.periods {
		r.Periods = append(r.Periods, Period{
			Index: k, Rate: rateOf(*t, q.Cap),
			From: compliance.PeriodStart(q.Start, k, q.Zone).UTC(), To: compliance.PeriodStart(q.Start, k+1, q.Zone).UTC(),
		})
	}
	for i, n := range f.rings {
		bucket := RingCount{FromS: ringEdges[i], Count: n}
		if i+1 < len(ringEdges) {
			bucket.ToS = ringEdges[i+1]
		}
		r.Ring = append(r.Ring, bucket)
	}
	for a, n := range f.assets {
		a.Played = n
		r.Messages.Assets = append(r.Messages.Assets, a)
	}
	r.FromClock, r.FromAnswer = f.fromClock.quantiles(), f.fromAnswer.quantiles()
	r.sort()
	return r
}

// count adds an abandoned or late call, and its message.
func (f *fold) count(c CallFacts) {
	r := &f.r
	if !c.Times.MessageStart.IsZero() {
		f.assets[Asset{Name: c.MessageAsset, SHA256: c.MessageSHA}]++
	}
	switch c.Class {
	case compliance.ClassLate:
		r.Late = list(r.Late, LateCall{
			Call: c.Call, To: c.To, Agent: c.Agent, At: c.Times.Answer.UTC(),
			DelayMS: delay(f.q.Clock.Start(c.Times), c.Times.Agent),
		}, &r.NotListed.Late)
		return
	case compliance.ClassAbandonedMsg:
		r.Messages.InTime++
	case compliance.ClassAbandonedSilent:
		if c.Times.MessageStart.IsZero() {
			r.Messages.Missing++
		} else {
			r.Messages.Late++
		}
	default:
		return
	}
	r.Messages.Due++
	r.Abandoned = list(r.Abandoned, AbandonedCall{Call: c.Call, To: c.To, Class: c.Class, At: c.Times.Answer.UTC()}, &r.NotListed.Abandoned)
}

// sort makes the report the same whatever the order of the calls.
func (r *AbandonReport) sort() {
	slices.Sort(r.ShortRings)
	slices.SortFunc(r.Periods, func(a, b Period) int { return cmp.Compare(a.Index, b.Index) })
	slices.SortFunc(r.Late, func(a, b LateCall) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Call, b.Call)) })
	slices.SortFunc(r.Abandoned, func(a, b AbandonedCall) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Call, b.Call)) })
	slices.SortFunc(r.Messages.Assets, func(a, b Asset) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.SHA256, b.SHA256))
	})
}

func rateOf(t compliance.Tally, limit float64) Rate {
	abandoned, answered, rate := t.Rate()
	return Rate{Abandoned: abandoned, Answered: answered, Rate: rate, WithinCap: t.WithinCap(limit)}
}

// delay in whole milliseconds, as compliance compares it.
func delay(from, to time.Time) int64 { return max(to.UnixMilli()-from.UnixMilli(), 0) }
