package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"time"

	"dialer/pacing"
)

// moment is a time as the replay shows it.
func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

func wholeMS(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

func policyName(c pacing.Config) string {
	switch c.Mode {
	case pacing.Power, pacing.Predictive:
		return fmt.Sprintf("%s at %.3g %%", c.Policy(), 100*c.Cap)
	}
	return c.Policy()
}

// print shows what was told beside what comes of it now, then the totals.
func (r *replay) print(out io.Writer) {
	fmt.Fprintf(out, "from %s to %s: %d decisions on tape, %d told in the log\n", moment(r.from), moment(r.to), r.decisions, len(r.rows))
	for _, s := range r.stretches {
		fmt.Fprintf(out, "  on tape from %s to %s\n", moment(s.from), moment(s.to))
	}
	if len(r.rows) > 0 {
		fmt.Fprintln(out)
		r.table(out)
	}
	if r.decisions > 0 {
		fmt.Fprintln(out)
		t := tabs(out)
		line := func(name string, of int, told func(replayRow) (float64, bool), agreed string) {
			calls := fmt.Sprint(r.calls[of])
			if of == 2 { // its calls were not placed, so it asks for them again each time
				calls = "-"
			}
			fmt.Fprintf(t, "%s\t%s\t%.2f\t%s\t%.1f %%\t%s\t\n", name, calls, r.meanUp(of), r.meanLoss(told), 100*float64(r.agentFirst[of])/float64(r.decisions), agreed)
		}
		fmt.Fprintln(t, "in all\tcalls\tin flight, mean\texpected loss, mean\tagent first\tas recorded\t")
		line("recorded", 0, recordedLoss, "")
		line("replayed", 1, replayedLoss, fmt.Sprintf("%.2f %%", r.agreement()))
		if r.other != nil {
			line(r.otherName, 2, otherLoss, "")
		}
		t.Flush()
	}
	fmt.Fprintln(out)
	for _, n := range r.notes() {
		fmt.Fprintln(out, n)
	}
}

// meanUp is the mean of the calls without an agent that a decision leads to.
func (r *replay) meanUp(of int) float64 { return float64(r.up[of]) / float64(max(r.decisions, 1)) }

func (r *replay) agreement() float64 { return 100 * float64(r.same) / float64(max(r.decisions, 1)) }

func (r *replay) table(out io.Writer) {
	t := tabs(out)
	fmt.Fprint(t, "time\trecorded: dial\tlimit\tfree\tanswers\tloss\tthreshold\treplayed: dial\tlimit\tfree\tanswers\tloss\tthreshold\t")
	if r.other != nil {
		fmt.Fprintf(t, "%s: dial\tlimit\tloss\t", r.otherName)
	}
	fmt.Fprintln(t)
	for _, row := range r.rows {
		d := row.told
		fmt.Fprintf(t, "%s\t%s\t%s\t%.2f\t%.2f\t%.3f\t%.3f\t", row.at.UTC().Format("15:04:05"),
			dialed(d.Dial, d.AgentFirst), d.Limit, d.ExpectedFree, d.ExpectedAnswers, d.ExpectedLoss, d.Threshold)
		if a := row.again; a == nil {
			fmt.Fprint(t, "not on tape\t\t\t\t\t\t")
		} else {
			fmt.Fprintf(t, "%s\t%s\t%.2f\t%.2f\t%.3f\t%.3f\t", dialed(a.Dial, a.AgentFirst), a.Limit, a.ExpectedFree, a.ExpectedAnswers, a.ExpectedLoss, a.Threshold)
		}
		if o := row.otherwise; o != nil {
			fmt.Fprintf(t, "%s\t%s\t%.3f\t", dialed(o.Dial, o.AgentFirst), o.Limit, o.ExpectedLoss)
		} else if r.other != nil {
			fmt.Fprint(t, "\t\t\t")
		}
		fmt.Fprintln(t)
	}
	t.Flush()
}

// dialed marks calls whose agents come first.
func dialed(n int, agentFirst bool) string {
	if agentFirst {
		return fmt.Sprintf("%d held", n)
	}
	return fmt.Sprint(n)
}

func recordedLoss(row replayRow) (float64, bool) { return row.told.ExpectedLoss, row.again != nil }

func replayedLoss(row replayRow) (float64, bool) { return lossOf(row.again) }

func otherLoss(row replayRow) (float64, bool) { return lossOf(row.otherwise) }

func lossOf(d *pacing.Decision) (float64, bool) {
	if d == nil {
		return 0, false
	}
	return d.ExpectedLoss, true
}

// meanLoss is the mean of what was told, or "-".
func (r *replay) meanLoss(of func(replayRow) (float64, bool)) string {
	if mean := r.mean(of); mean != nil {
		return fmt.Sprintf("%.3f", *mean)
	}
	return "-"
}

func (r *replay) mean(of func(replayRow) (float64, bool)) *float64 {
	sum, n := 0.0, 0
	for _, row := range r.rows {
		if x, ok := of(row); ok {
			sum, n = sum+x, n+1
		}
	}
	if n == 0 {
		return nil
	}
	mean := math.Round(sum/float64(n)*1e6) / 1e6
	return &mean
}

// replayedJSON is one decision of a row.
type replayedJSON struct {
	Dial            int     `json:"dial"`
	AgentFirst      bool    `json:"agent_first"`
	Limit           string  `json:"limit"`
	Reason          string  `json:"reason"`
	ExpectedFree    float64 `json:"expected_free"`
	ExpectedAnswers float64 `json:"expected_answers"`
	ExpectedLoss    float64 `json:"expected_loss"`
	Threshold       float64 `json:"threshold"`
	Allowance       float64 `json:"allowance"`
}

func showDecision(d *pacing.Decision) *replayedJSON {
	if d == nil {
		return nil
	}
	four := func(x float64) float64 { return math.Round(x*1e4) / 1e4 }
	return &replayedJSON{
		d.Dial, d.AgentFirst, string(d.Limit), d.Reason,
		four(d.ExpectedFree), four(d.ExpectedAnswers), four(d.ExpectedLoss), four(d.Threshold), four(d.Allowance),
	}
}

// replayTotals is the last line of --json.
type replayTotals struct {
	From       time.Time              `json:"from"`
	To         time.Time              `json:"to"`
	Decisions  int                    `json:"decisions"` // on tape
	Same       int                    `json:"same"`      // as recorded
	Calls      map[string]int         `json:"calls"`     // not of the other policy, which asks again each time
	InFlight   map[string]float64     `json:"in_flight_mean"`
	AgentFirst map[string]int         `json:"agent_first"` // decisions
	MeanLoss   map[string]*float64    `json:"expected_loss_mean"`
	OnTape     []map[string]time.Time `json:"on_tape"`
	Notes      []string               `json:"notes"`
}

func (r *replay) printJSON(out io.Writer) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	for _, row := range r.rows {
		d := row.told
		err := encoder.Encode(struct {
			At       time.Time     `json:"at"`
			Recorded replayedJSON  `json:"recorded"`
			Replayed *replayedJSON `json:"replayed"`
			Other    *replayedJSON `json:"other,omitempty"`
		}{row.at, replayedJSON{
			d.Dial, d.AgentFirst, d.Limit, d.Reason, d.ExpectedFree, d.ExpectedAnswers, d.ExpectedLoss, d.Threshold, d.Allowance,
		}, showDecision(row.again), showDecision(row.otherwise)})
		if err != nil {
			return err
		}
	}
	totals := replayTotals{
		From: wholeMS(r.from), To: wholeMS(r.to), Decisions: r.decisions, Same: r.same, Notes: r.notes(), OnTape: []map[string]time.Time{},
		Calls: map[string]int{}, InFlight: map[string]float64{}, AgentFirst: map[string]int{}, MeanLoss: map[string]*float64{},
	}
	for _, s := range r.stretches {
		totals.OnTape = append(totals.OnTape, map[string]time.Time{"from": wholeMS(s.from), "to": wholeMS(s.to)})
	}
	for i, name := range []string{"recorded", "replayed", "other"} {
		if i == 2 && r.other == nil {
			break
		}
		if i < 2 {
			totals.Calls[name] = r.calls[i]
		}
		totals.InFlight[name], totals.AgentFirst[name] = math.Round(1e4*r.meanUp(i))/1e4, r.agentFirst[i]
		totals.MeanLoss[name] = r.mean([]func(replayRow) (float64, bool){recordedLoss, replayedLoss, otherLoss}[i])
	}
	return encoder.Encode(struct {
		Totals replayTotals `json:"totals"`
	}{totals})
}
