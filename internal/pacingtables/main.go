// Command pacingtables measures the pacers in virtual shifts and prints the tables
// of docs/pacing.md; with -plots it draws the plots beside them.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"dialer/pacing/simulate"
)

// A cell is a world with a name by which it can be chosen.
type cell struct {
	name  string // group/agents/answer rate, or group/name
	world simulate.World
	seeds int
	goal  float64 // occupancy in percent; 0: none
	warm  bool
}

func main() {
	cells := flag.String("cells", "", "pattern of the cells to measure, as base/20/0.2, cold/, worlds/ or caps/; default all")
	more := flag.Int("seeds", 1, "times the usual number of seeds")
	plots := flag.String("plots", "", "folder to draw the plots in instead")
	flag.Parse()
	if err := run(*cells, *more, *plots); err != nil {
		fmt.Fprintln(os.Stderr, "pacingtables:", err)
		os.Exit(1)
	}
}

func run(pattern string, more int, plots string) error {
	if plots != "" {
		return draw(plots, more)
	}
	choose, err := regexp.Compile(pattern)
	if err != nil {
		return err
	}
	for _, t := range tables() {
		headed := false
		for _, c := range t.cells {
			if !choose.MatchString(c.name) {
				continue
			}
			if !headed {
				fmt.Printf("\n%s\n\n%s\n", t.title, head(t.policies))
				headed = true
			}
			if err := measure(c, t.policies, more); err != nil {
				return err
			}
		}
	}
	return nil
}

func head(policies []string) string {
	line, rule := "| cell | seeds |", "|---|---|"
	for _, p := range policies {
		line += " " + p + " |"
		rule += "---|"
	}
	return line + " goal | over cap | worst hour | wait s |\n" + rule + "---|---|---|---|"
}

func entries(w simulate.World, policies []string, warm bool) ([]simulate.Entry, error) {
	var all []simulate.Entry
	for _, name := range policies {
		p, err := simulate.ParsePolicy(name)
		if err != nil {
			return nil, err
		}
		all = append(all, simulate.Entry{World: w, Policy: p, Warm: warm})
	}
	return all, nil
}

// measure prints a row; the last policy is the one that is judged.
func measure(c cell, policies []string, more int) error {
	all, err := entries(c.world, policies, c.warm)
	if err != nil {
		return err
	}
	began := time.Now()
	sums, err := simulate.Compare(context.Background(), all, simulate.Seeds(c.seeds*more), 0, nil)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%s: %.1f s\n", c.name, time.Since(began).Seconds())
	line := fmt.Sprintf("| %s | %d |", c.name, c.seeds*more)
	for _, s := range sums {
		line += fmt.Sprintf(" %.1f ±%.1f (%.2f ±%.2f) |", 100*s.Utilisation.Value, 100*s.Utilisation.SE, 100*s.AbandonRate.Value, 100*s.AbandonRate.SE)
	}
	last := sums[len(sums)-1]
	goal := "-"
	if c.goal > 0 {
		goal = fmt.Sprintf("%.1f, %+.1f", c.goal, 100*last.Utilisation.Value-c.goal)
	}
	fmt.Printf("%s %s | %d of %d | %.1f | %.1f |\n", line, goal, last.OverCap, last.Seeds, 100*last.WorstHour, last.Wait.Value)
	return nil
}

// draw writes the plots of docs/pacing.md.
func draw(folder string, more int) error {
	write := func(name string, panels ...simulate.Panel) error {
		f, err := os.Create(filepath.Join(folder, name))
		if err != nil {
			return err
		}
		if err := simulate.Draw(f, panels...); err != nil {
			f.Close()
			return err
		}
		return f.Close()
	}
	compare := func(seeds int, policies []string, worlds ...simulate.World) ([]simulate.Summary, error) {
		var all []simulate.Entry
		for _, w := range worlds {
			e, err := entries(w, policies, false)
			if err != nil {
				return nil, err
			}
			all = append(all, e...)
		}
		return simulate.Compare(context.Background(), all, simulate.Seeds(seeds*more), 0, nil)
	}
	var teams []simulate.World
	for _, n := range []int{5, 10, 20, 50} {
		teams = append(teams, simulate.Base(n, 0.2, 120, 4))
	}
	sums, err := compare(4, []string{"progressive", "power-1.5", "power-2", "power-3", "adaptive-hard", "adaptive-tapered", "predictive"}, teams...)
	if err != nil {
		return err
	}
	if err := write("pacing-occupancy.svg", simulate.Occupancy("5, 10, 20 and 50 agents, 20 % answered, cap 3 %", sums)); err != nil {
		return err
	}
	over := []string{"progressive", "power-2", "adaptive-tapered", "predictive"}
	halved := simulate.Base(20, 0.3, 120, 8)
	halved.Answer.Steps = []simulate.Step{{From: 4 * 3600, Share: 0.15}}
	if sums, err = compare(6, over, halved); err != nil {
		return err
	}
	if err := write("pacing-halved.svg", simulate.OverTime("20 agents, answer rate 30 %, from the fourth hour on 15 %", sums)...); err != nil {
		return err
	}
	lunch := simulate.Base(20, 0.2, 120, 8)
	lunch.Away = []simulate.Away{{Share: 0.5, From: 4 * 3600, To: 4.75 * 3600}}
	if sums, err = compare(6, over, lunch); err != nil {
		return err
	}
	return write("pacing-lunch.svg", simulate.OverTime("20 agents, 20 % answered, half of them at lunch after four hours", sums)...)
}
