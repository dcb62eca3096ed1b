package evaluate

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"dialer/amd"
)

// A Share is k of n with its Wilson interval of 95 %.
type Share struct {
	K    int     `json:"k"`
	N    int     `json:"n"`
	Rate float64 `json:"rate"`
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

// NewShare computes the interval of Wilson (1927), which holds for small counts too.
func NewShare(k, n int) Share {
	s := Share{K: k, N: n, High: 1}
	if n == 0 {
		return s
	}
	const z = 1.959964
	p, m := float64(k)/float64(n), float64(n)
	mid := (p + z*z/(2*m)) / (1 + z*z/m)
	half := z / (1 + z*z/m) * math.Sqrt(p*(1-p)/m+z*z/(4*m*m))
	s.Rate, s.Low, s.High = p, max(mid-half, 0), min(mid+half, 1)
	return s
}

// Percentiles are of times in milliseconds.
type Percentiles struct {
	N      int     `json:"n"`
	Median float64 `json:"median_ms"`
	P95    float64 `json:"p95_ms"`
}

func percentiles(times []time.Duration) Percentiles {
	if len(times) == 0 {
		return Percentiles{}
	}
	slices.Sort(times)
	at := func(p float64) float64 {
		return float64(times[int(math.Round(p*float64(len(times)-1)))]) / float64(time.Millisecond)
	}
	return Percentiles{N: len(times), Median: at(0.5), P95: at(0.95)}
}

// A Cell is one label, subtype or noise.
type Cell struct {
	Label    string              `json:"label"`
	Kind     string              `json:"kind,omitempty"`
	Verdicts map[amd.Verdict]int `json:"verdicts"`
	Right    Share               `json:"right"`
}

// A Report is the error of a detector on labelled recordings.
type Report struct {
	Clips    int   `json:"clips"`
	Accuracy Share `json:"accuracy"` // of people and machines

	Confusion []Cell `json:"confusion"`
	Subtypes  []Cell `json:"by_subtype"`
	Noises    []Cell `json:"by_noise"`

	FalsePositives      Share `json:"false_positives"`       // people who would not be connected
	FalsePositivesShort Share `json:"false_positives_short"` // of greetings up to 1.8 s
	FalseLate           Share `json:"false_late"`            // people called machines after their verdict
	Found               Share `json:"machines_found"`
	FoundLate           Share `json:"machines_found_with_late"`
	ScreeningKept       Share `json:"screening_not_human"`
	ToneOnSpeech        Share `json:"tone_on_speech"` // fax, SIT or ringback on people and machines

	HumanAfterGreeting Percentiles `json:"human_after_greeting"`
	HumanSlow          Share       `json:"human_later_than_2s"`
	MachineAfterOnset  Percentiles `json:"machine_after_onset"`

	Beeps        Share       `json:"beeps_found"`
	FalseBeeps   Share       `json:"clips_with_false_beep"`
	BeepLatency  Percentiles `json:"beep_latency"`
	BeepStartErr Percentiles `json:"beep_start_error"`
	BeepEndErr   Percentiles `json:"beep_end_error"`
	outcomes     []Outcome
}

// shortGreeting is the length up to which the greeting of a person is short.
const shortGreeting = 1800 * time.Millisecond

// New folds outcomes into a report.
func New(outcomes []Outcome) *Report {
	r := &Report{Clips: len(outcomes), outcomes: outcomes}
	is := func(label string) func(*Outcome) bool { return func(o *Outcome) bool { return o.Label == label } }
	human, machine := is("human"), is("machine")
	spoken := func(o *Outcome) bool { return human(o) || machine(o) }

	r.Confusion = r.cells(func(*Outcome) string { return "" })
	r.Subtypes = r.cells(func(o *Outcome) string { return o.Subtype })
	r.Noises = r.cells(func(o *Outcome) string { return cmp.Or(o.Noise, "none") })

	r.Accuracy = r.share(spoken, (*Outcome).Right)
	called := func(o *Outcome) bool { return !o.Heard.Verdict.Live() }
	r.FalsePositives = r.share(human, called)
	r.FalsePositivesShort = r.share(func(o *Outcome) bool { return human(o) && o.GreetingEnd-o.SpeechStart <= shortGreeting }, called)
	r.FalseLate = r.share(human, func(o *Outcome) bool { return !called(o) && o.Late >= 0 })
	found := func(o *Outcome) bool { return o.Heard.Verdict == amd.Machine || o.Heard.Verdict == amd.Screening }
	r.Found = r.share(machine, found)
	r.FoundLate = r.share(machine, func(o *Outcome) bool { return found(o) || o.Late >= 0 })
	r.ScreeningKept = r.share(is("screening"), func(o *Outcome) bool { return o.Heard.Verdict != amd.Human })
	r.ToneOnSpeech = r.share(spoken, func(o *Outcome) bool {
		return o.Heard.Verdict == amd.Fax || o.Heard.Verdict == amd.SIT || o.Heard.Verdict == amd.Ringback
	})
	r.measureTimes()
	r.measureBeeps()
	return r
}

func (r *Report) share(of, hit func(*Outcome) bool) Share {
	k, n := 0, 0
	for i := range r.outcomes {
		if o := &r.outcomes[i]; of(o) {
			n++
			if hit(o) {
				k++
			}
		}
	}
	return NewShare(k, n)
}

// cells groups the outcomes by label and a kind of each label.
func (r *Report) cells(kind func(*Outcome) string) []Cell {
	type key struct{ label, kind string }
	cells := map[key]*Cell{}
	right := map[key]int{}
	for i := range r.outcomes {
		o := &r.outcomes[i]
		k := key{o.Label, kind(o)}
		if cells[k] == nil {
			cells[k] = &Cell{Label: k.label, Kind: k.kind, Verdicts: map[amd.Verdict]int{}}
		}
		cells[k].Verdicts[o.Heard.Verdict]++
		if o.Right() {
			right[k]++
		}
	}
	var out []Cell
	for _, k := range slices.SortedFunc(maps.Keys(cells), func(a, b key) int {
		return cmp.Or(cmp.Compare(a.label, b.label), cmp.Compare(a.kind, b.kind))
	}) {
		c := cells[k]
		n := 0
		for _, count := range c.Verdicts {
			n += count
		}
		c.Right = NewShare(right[k], n)
		out = append(out, *c)
	}
	return out
}

func (r *Report) measureTimes() {
	var after, onset []time.Duration
	slow := 0
	for _, o := range r.outcomes {
		switch {
		case o.Label == "human" && o.Heard.Verdict.Live() && o.GreetingEnd >= 0:
			d := o.Heard.Decided - o.GreetingEnd
			after = append(after, d)
			if d > 2*time.Second {
				slow++
			}
		case o.Label == "machine" && o.Heard.Verdict == amd.Machine && o.SpeechStart >= 0:
			onset = append(onset, o.Heard.Decided-o.SpeechStart)
		}
	}
	r.HumanSlow = NewShare(slow, len(after))
	r.HumanAfterGreeting, r.MachineAfterOnset = percentiles(after), percentiles(onset)
}

// SpeechStartKnown is when the label says that speech begins.
func (o *Outcome) SpeechStartKnown() time.Duration { return o.Row.SpeechStart }

func (r *Report) measureBeeps() {
	var latency, start, end []time.Duration
	beeps, found, silent, wrong := 0, 0, 0, 0
	for _, o := range r.outcomes {
		switch o.Label {
		case "human", "machine", "screening", "silence":
		default:
			continue
		}
		if o.BeepStart < 0 {
			silent++
			if o.Beep.Start >= 0 {
				wrong++
			}
			continue
		}
		beeps++
		if o.Beep.Start < 0 || o.Beep.Start > o.BeepEnd || o.Beep.End < o.BeepStart {
			continue
		}
		found++
		latency = append(latency, o.BeepTold-o.BeepStart)
		start = append(start, (o.Beep.Start - o.BeepStart).Abs())
		end = append(end, (o.Beep.End - o.BeepEnd).Abs())
	}
	r.Beeps, r.FalseBeeps = NewShare(found, beeps), NewShare(wrong, silent)
	r.BeepLatency, r.BeepStartErr, r.BeepEndErr = percentiles(latency), percentiles(start), percentiles(end)
}
