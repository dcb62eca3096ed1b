package simulate

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// A Past is what is known of a campaign that was dialed: what Fit needs of it.
type Past struct {
	Calls []PastCall // ended attempts that were sent, in any order
	Team  PastTeam
	// Settings of the campaign that are those of the world.
	Cap                 float64
	Window, RingTimeout float64 // seconds
	AMD                 bool
}

// A PastEnd is what came of an attempt.
type PastEnd uint8

// The ends of attempts.
const (
	PastRangOut PastEnd = iota
	PastRefused         // busy, invalid, refused by the network
	PastPerson
	PastMachine
)

// A PastCall is an attempt that has ended. Durations are seconds, negative when
// they are not known or did not happen.
type PastCall struct {
	At   time.Time // sent, in the zone in which the team works
	End  PastEnd
	Ring float64 // to the answer, or to the end without one
	// Of who answered: the time to the end of the greeting and to the verdict, and
	// the talk with an agent.
	Greeting, Detect, Talk float64
}

// Least numbers of observations: of a campaign at all, of one law, and of the
// attempts of an hour for an answer rate of its own.
const (
	fitCalls   = 200
	fitPersons = 30
	fitLaws    = 30
	fitHour    = 300
)

// A Fitted is the scenario that a Past comes to, and how it was found: a remark
// for each setting, by its name in the scenario.
type Fitted struct {
	Scenario Scenario
	Remarks  map[string]string
}

// Fit finds the laws of a past campaign. A law of which too little was seen stays
// the default, and its remark says so; with too few calls in all it is an error.
func Fit(p Past) (Fitted, error) {
	f := Fitted{Scenario: DefaultScenario(), Remarks: map[string]string{}}
	s := &f.Scenario
	persons := 0
	for _, c := range p.Calls {
		if c.End == PastPerson {
			persons++
		}
	}
	if len(p.Calls) < fitCalls || persons < fitPersons {
		return f, fmt.Errorf("%d of its calls have ended and %d persons answered: that is too little to find laws in, which takes %d calls and %d persons",
			len(p.Calls), persons, fitCalls, fitPersons)
	}
	s.Cap, s.AMD = p.Cap, p.AMD
	if !(s.Cap > 0) {
		s.Cap = DefaultScenario().Cap
	}
	if p.Window > 0 {
		s.Window = Secs(p.Window)
	}
	f.ends(p.Calls, persons)
	f.rings(p)
	f.answered(p.Calls)
	f.team(&p.Team)
	f.hours(p.Calls, p.Team.Start)
	return f, s.Validate()
}

// ends finds what share of attempts ends how.
func (f *Fitted) ends(calls []PastCall, persons int) {
	var n [4]int
	for _, c := range calls {
		n[c.End]++
	}
	s, all := &f.Scenario, len(calls)
	rest := float64(max(all-persons, 1))
	s.AnswerRate, s.Drift = three(float64(persons)/float64(all)), 0
	s.Machines, s.Busy = three(float64(n[PastMachine])/rest), three(float64(n[PastRefused])/rest)
	if s.Machines+s.Busy > 1 {
		s.Busy = three(1 - s.Machines)
	}
	f.Remarks["answer_rate"] = fmt.Sprintf("of %s calls", count(all))
	f.Remarks["machines"] = fmt.Sprintf("of %s calls that no person answered", count(all-persons))
	f.Remarks["busy"] = f.Remarks["machines"]
}

// rings finds how long it takes to each end.
func (f *Fitted) rings(p Past) {
	s := &f.Scenario
	by := map[PastEnd][]float64{}
	for _, c := range p.Calls {
		if c.Ring >= 0 {
			by[c.End] = append(by[c.End], c.Ring)
		}
	}
	f.law("ring", &s.Ring, by[PastPerson], "answers of persons")
	if len(by[PastMachine]) >= fitLaws {
		f.law("machine_ring", &s.MachineRing, by[PastMachine], "answers of machines")
	}
	if refused := by[PastRefused]; len(refused) >= fitLaws {
		s.BusyAfter = Secs(mean(refused))
		f.Remarks["busy_after"] = fmt.Sprintf("mean of %s calls", count(len(refused)))
	} else {
		f.Remarks["busy_after"] = few(len(refused), "busy and invalid numbers")
	}
	// What rang out did so at the timeout; setting it a little late loses no answer.
	if out := by[PastRangOut]; len(out) >= fitLaws {
		slices.Sort(out)
		s.RingTimeout = Secs(math.Ceil(quantile(out, 0.9)))
		f.Remarks["ring_timeout"] = fmt.Sprintf("nine tenths of %s calls that rang out were shorter", count(len(out)))
	} else if p.RingTimeout > 0 {
		s.RingTimeout = Secs(p.RingTimeout)
		f.Remarks["ring_timeout"] = "as the campaign is set"
	}
	if all := by[PastPerson]; len(all) > 0 {
		if longest := slices.Max(all); longest >= s.RingTimeout.Seconds() {
			s.RingTimeout = Secs(math.Ceil(longest + 0.001))
		}
	}
}

// answered finds the laws of what follows an answer.
func (f *Fitted) answered(calls []PastCall) {
	s := &f.Scenario
	var greeting, detect, talk, machineTalk []float64
	machines, passed := 0, 0
	add := func(to *[]float64, x float64) {
		if x >= 0 {
			*to = append(*to, x)
		}
	}
	for _, c := range calls {
		switch c.End {
		case PastPerson:
			add(&greeting, c.Greeting)
			add(&detect, c.Detect)
			add(&talk, c.Talk)
		case PastMachine:
			add(&detect, c.Detect)
			add(&machineTalk, c.Talk)
			machines++
			if c.Talk >= 0 {
				passed++
			}
		}
	}
	f.law("talk", &s.Talk, talk, "talks")
	f.law("machine_talk", &s.MachineTalk, machineTalk, "machines that agents met")
	f.law("greeting", &s.Greeting, greeting, "greetings")
	if s.AMD {
		f.law("detection", &s.Detection, detect, "detections")
		f.Remarks["false_positives"] = "not to be seen in records: the default"
		if machines >= fitLaws {
			s.FalseNegatives = three(float64(passed) / float64(machines))
			f.Remarks["false_negatives"] = fmt.Sprintf("of %s machines, by what agents said of them", count(machines))
		} else {
			f.Remarks["false_negatives"] = few(machines, "machines")
		}
	}
}

// team finds wrap-up, breaks and shifts.
func (f *Fitted) team(t *PastTeam) {
	s := &f.Scenario
	f.law("wrap", &s.Wrap, t.Wraps, "wrap-ups")
	if t.Breaks >= fitLaws/3 && t.Worked > 0 {
		s.Breaks.Every = Span(time.Duration(t.Worked / float64(t.Breaks) * float64(time.Second)).Round(time.Minute))
		s.Breaks.For = Span(time.Duration(t.Rested / float64(t.Breaks) * float64(time.Second)).Round(time.Second))
		f.Remarks["breaks"] = fmt.Sprintf("%s of them in %.0f hours of work", count(t.Breaks), t.Worked/3600)
	} else {
		f.Remarks["breaks"] = few(t.Breaks, "breaks")
	}
	if len(t.Turns) == 0 {
		f.Remarks["hours"] = "no shift of its agents was found: the default"
		return
	}
	s.Shifts, s.Away = t.Turns, nil
	end := Span(0)
	for _, turn := range t.Turns {
		end = max(end, turn.To)
	}
	s.Hours = end.Seconds() / 3600
	f.Remarks["shifts"] = fmt.Sprintf("as they were on %s, from %s on", t.Start.Format("Mon 2006-01-02"), t.Start.Format("15:04"))
}

// hours gives each hour of the shift an answer rate of its own when enough calls
// were made in several.
func (f *Fitted) hours(calls []PastCall, begin time.Time) {
	s := &f.Scenario
	if len(s.Shifts) == 0 {
		return // nobody knows at what time of the day the shift begins
	}
	start := float64(begin.Hour()*3600 + begin.Minute()*60)
	var n, yes [24]int
	for _, c := range calls {
		h := c.At.Hour()
		n[h]++
		if c.End == PastPerson {
			yes[h]++
		}
	}
	enough, rates := 0, []RateFrom(nil)
	first := int(start) / 3600
	for h := first; h < 24 && float64(h*3600)-start < s.Hours*3600; h++ {
		rate := s.AnswerRate
		if n[h] >= fitHour {
			enough++
			rate = three(float64(yes[h]) / float64(n[h]))
		}
		rates = append(rates, RateFrom{From: Secs(max(float64(h*3600)-start, 0)), Rate: rate})
	}
	if enough >= 2 {
		s.AnswerRates = rates
		f.Remarks["answer_rates"] = fmt.Sprintf("by the hour; at least %d calls for each of %d, the mean for the others", fitHour, enough)
	}
}

// law fits one law, or leaves the default and says so.
func (f *Fitted) law(name string, into *LawText, seen []float64, what string) {
	if len(seen) < fitLaws {
		f.Remarks[name] = few(len(seen), what)
		return
	}
	*into = LawText{LawPart: fitLaw(seen)}
	f.Remarks[name] = fmt.Sprintf("%s %s, mean %.1f s", count(len(seen)), what, mean(seen))
}

func few(n int, what string) string {
	return fmt.Sprintf("%d %s are too few: the default", n, what)
}

// Shapes of fitted laws.
const (
	fitQuantiles = 41
	// fitDistance is how far the shares below any duration may be from those of a
	// lognormal law for that law to be taken (Kolmogorov and Smirnov's distance); of
	// few observations, fitChance over the root of their number, as chance has it in
	// nineteen of twenty.
	fitDistance = 0.04
	fitChance   = 1.36
)

// fitLaw is a lognormal law where one fits, as talks and wrap-ups mostly have
// it, else the quantiles as they are.
func fitLaw(seen []float64) LawPart {
	x := slices.Sorted(slices.Values(seen))
	m := mean(x)
	if x[0] == x[len(x)-1] {
		return LawPart{Law: "constant", Mean: Secs(x[0])}
	}
	if x[0] > 0 {
		log, log2 := 0.0, 0.0
		for _, v := range x {
			l := math.Log(v)
			log, log2 = log+l, log2+l*l
		}
		n := float64(len(x))
		mu := log / n
		sigma := math.Sqrt(max(log2/n-mu*mu, 1e-9))
		far := 0.0
		for i, v := range x {
			below := math.Erfc(-(math.Log(v)-mu)/(sigma*math.Sqrt2)) / 2
			far = max(far, math.Abs(below-float64(i)/n), math.Abs(below-float64(i+1)/n))
		}
		if far <= max(fitDistance, fitChance/math.Sqrt(n)) {
			return LawPart{Law: "lognormal", Mean: Secs(m), CV: three(math.Sqrt(math.Expm1(sigma * sigma)))}
		}
	}
	q := make([]float64, fitQuantiles)
	for i := range q {
		q[i] = quantile(x, float64(i)/(fitQuantiles-1))
	}
	// The last piece is linear to the greatest value, which a single long talk
	// would make: it ends where the mean is that of what was seen.
	last := fitQuantiles - 1
	sum := q[0] / 2
	for _, v := range q[1:last] {
		sum += v
	}
	q[last] = min(max(2*(m*float64(last)-sum), q[last-1]), x[len(x)-1])
	p := LawPart{Law: "empirical"}
	for _, v := range q {
		p.Quantiles = append(p.Quantiles, Secs(v))
	}
	return p
}

// quantile is linear between the values, which are sorted.
func quantile(x []float64, share float64) float64 {
	at := share * float64(len(x)-1)
	i := min(int(at), len(x)-2)
	return x[i] + (at-float64(i))*(x[i+1]-x[i])
}

func mean(x []float64) float64 {
	sum := 0.0
	for _, v := range x {
		sum += v
	}
	return sum / float64(max(len(x), 1))
}

// three rounds to three digits: more are not known.
func three(x float64) float64 { return math.Round(x*1000) / 1000 }

// count writes a number for people.
func count(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", count(n/1000), n%1000)
}
