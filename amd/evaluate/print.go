package evaluate

import (
	"fmt"
	"io"
	"text/tabwriter"

	"dialer/amd"
)

// columns are the verdicts in the order of the table.
var columns = []amd.Verdict{
	amd.Human, amd.Machine, amd.Screening, amd.Fax, amd.SIT, amd.Ringback, amd.Music, amd.Silence, amd.Unknown,
}

// Print writes the report for people.
func (r *Report) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "%d recordings\n\n", r.Clips)
	table(t, "label", r.Confusion, false)
	fmt.Fprintln(t)
	for _, s := range []struct {
		name string
		of   Share
	}{
		{"accuracy, people and machines", r.Accuracy},
		{"people not connected", r.FalsePositives},
		{"  of greetings up to 1.8 s", r.FalsePositivesShort},
		{"  called late machines", r.FalseLate},
		{"machines found, first verdict", r.Found},
		{"  with late correction", r.FoundLate},
		{"screening not called human", r.ScreeningKept},
		{"tone verdict on speech", r.ToneOnSpeech},
		{"person later than 2 s after greeting", r.HumanSlow},
		{"beeps found", r.Beeps},
		{"recordings with a false beep", r.FalseBeeps},
	} {
		fmt.Fprintf(t, "%s\t%s\n", s.name, s.of)
	}
	fmt.Fprintln(t)
	for _, p := range []struct {
		name string
		of   Percentiles
	}{
		{"person connected after greeting", r.HumanAfterGreeting},
		{"machine found after its first word", r.MachineAfterOnset},
		{"beep noticed after its start", r.BeepLatency},
		{"beep start, error", r.BeepStartErr},
		{"beep end, error", r.BeepEndErr},
	} {
		fmt.Fprintf(t, "%s\tmedian %.0f ms\tp95 %.0f ms\tof %d\n", p.name, p.of.Median, p.of.P95, p.of.N)
	}
	fmt.Fprintln(t)
	table(t, "subtype", r.Subtypes, true)
	fmt.Fprintln(t)
	table(t, "noise", r.Noises, true)
	return t.Flush()
}

// String gives counts, the share and its interval.
func (s Share) String() string {
	if s.N == 0 {
		return "none"
	}
	return fmt.Sprintf("%d of %d\t%.1f %%\t%.1f–%.1f %%", s.K, s.N, 100*s.Rate, 100*s.Low, 100*s.High)
}

func table(w io.Writer, name string, cells []Cell, kinds bool) {
	fmt.Fprint(w, name)
	if kinds {
		fmt.Fprint(w, "\t")
	}
	for _, v := range columns {
		fmt.Fprintf(w, "\t%s", v)
	}
	fmt.Fprint(w, "\tright\t95 %\n")
	for _, c := range cells {
		fmt.Fprint(w, c.Label)
		if kinds {
			fmt.Fprintf(w, "\t%s", c.Kind)
		}
		for _, v := range columns {
			fmt.Fprintf(w, "\t%d", c.Verdicts[v])
		}
		fmt.Fprintf(w, "\t%.1f %%\t%.1f–%.1f %%\n", 100*c.Right.Rate, 100*c.Right.Low, 100*c.Right.High)
	}
}
