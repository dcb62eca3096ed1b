package main

import (
	"encoding/json"
	"fmt"
	"io"

	"dialer/pacing/simulate"
)

func printSimulatedJSON(out io.Writer, all []simulate.Figures) error {
	encoder := json.NewEncoder(out)
	for _, f := range all {
		if err := encoder.Encode(f); err != nil {
			return err
		}
	}
	return nil
}

// printSimulated prints a table and what it says.
func printSimulated(out io.Writer, s *simulate.Scenario, entries []simulate.Entry, all []simulate.Summary) {
	list := ""
	if s.Leads > 0 {
		list = fmt.Sprintf(", %d leads", s.Leads)
	}
	fmt.Fprintf(out, "%g h%s, %d seeds; figures with their standard errors\n\n", s.Hours, list, all[0].Seeds)
	t := tabs(out)
	fmt.Fprintln(t, "policy\tagents\tcap\toccupancy %\tabandoned %\twait s\ttalk min/h\tdials/connect\tover cap\tworst hour %\tfinished h\t")
	for _, s := range all {
		finished := "-"
		if s.Finished > 0 {
			finished = fmt.Sprintf("%.2f", s.Finished/3600)
		}
		fmt.Fprintf(t, "%s\t%d\t%.3g %%\t%.1f ±%.1f\t%.2f ±%.2f\t%.1f ±%.1f\t%.1f ±%.1f\t%.2f ±%.2f\t%d of %d\t%.1f\t%s\t\n",
			s.Policy, s.Agents, 100*s.Cap, 100*s.Utilisation.Value, 100*s.Utilisation.SE, 100*s.AbandonRate.Value, 100*s.AbandonRate.SE,
			s.Wait.Value, s.Wait.SE, s.TalkPerHour.Value, s.TalkPerHour.SE, s.DialsPerConnect.Value, s.DialsPerConnect.SE,
			s.OverCap, s.Seeds, 100*s.WorstHour, finished)
	}
	t.Flush()
	fmt.Fprintln(out)
	for _, line := range simulate.Advice(s, entries, all) {
		fmt.Fprintln(out, line)
	}
}
