package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/alecthomas/kong"

	"dialer"
	"dialer/pacing"
	"dialer/pacing/simulate"
	"dialer/postgres"
	"dialer/simulation"
)

// simulateCmd runs virtual shifts. What no flag and no scenario says is as in the
// world in which pacers are compared.
type simulateCmd struct {
	configFlags
	Agents     []int        `help:"Agents (10); several teams, as 5,10,20, are compared. With --leads or --talk-hours and without this: the teams around the one that is enough." placeholder:"N,…" group:"Team and shift:"`
	Hours      *float64     `help:"Length of the shift (8), within which a list is to be finished." placeholder:"H" group:"Team and shift:"`
	Leads      *int         `help:"Leads on the list: when is it finished? It never ends otherwise." placeholder:"N" group:"Team and shift:"`
	TalkHours  *float64     `help:"Hours of talk that the team should come to in the shift: how many agents?" placeholder:"H" group:"Team and shift:"`
	AnswerRate *shareFlag   `help:"Share of attempts that a person answers (20%): 0.2 or 20%." placeholder:"SHARE" group:"Calls:"`
	Talk       *secondsFlag `help:"Mean talk (2m): 120 or 2m." placeholder:"TIME" group:"Calls:"`
	Wrap       *secondsFlag `help:"Mean wrap-up (15s)." placeholder:"TIME" group:"Calls:"`
	Ring       *secondsFlag `help:"Mean time to an answer (12s)." placeholder:"TIME" group:"Calls:"`
	Timeout    *secondsFlag `name:"ring-timeout" help:"Longest ring (25s, or twice --ring)." placeholder:"TIME" group:"Calls:"`
	AMD        *switchFlag  `name:"amd" help:"Detection of answering machines (on): on or off." placeholder:"on|off" group:"Calls:"`
	Cap        []capFlag    `help:"Allowed abandoned share (3%): 3% or 0.03; several, as 1%,3%,5%, are compared." placeholder:"SHARE,…" group:"Calls:"`
	Policy     []string     `help:"What to compare: ${policies}. Default: ${compared}." placeholder:"NAME,…" group:"What is run:"`
	Seeds      *int         `help:"Shifts for each policy (4): more make the standard errors smaller." placeholder:"N" group:"What is run:"`
	Warm       bool         `help:"Begin with what a shift before has taught." group:"What is run:"`

	Scenario     string            `help:"What else there is, as YAML: docs/pacing.md. Flags come before it." placeholder:"FILE" group:"From files and campaigns:"`
	FromCampaign dialer.CampaignID `help:"Laws, team and shift of a past campaign, by its records in the database. The scenario and flags come before it." placeholder:"ID" group:"From files and campaigns:"`
	Save         string            `help:"Write the scenario that all this comes to, as YAML, and simulate nothing; - prints it." placeholder:"FILE" group:"From files and campaigns:"`
	JSON         bool              `name:"json" help:"One JSON object a policy, each on a line." group:"Output:"`
	SVG          string            `name:"svg" help:"Plot occupancy against abandoned calls, and both over time." placeholder:"FILE" group:"Output:"`
}

func (c *simulateCmd) Run(t *terminal) error {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	go func() {
		select {
		case <-t.stop:
			cancel(exitError(130))
		case <-ctx.Done():
		}
	}()
	from, err := c.fitted(ctx, t)
	if err != nil {
		return err
	}
	s, err := c.scenario(t, from.Scenario)
	if err != nil {
		return err
	}
	if c.Save != "" {
		return c.save(t.out, &s, from)
	}
	entries, err := s.Entries(ctx, nil)
	if err != nil {
		return err
	}
	bar := progressBar{out: t.err, all: len(entries) * s.Seeds, live: isTerminal(t.err)}
	bar.show()
	all, err := simulate.Compare(ctx, entries, simulate.Seeds(s.Seeds), 0, bar.step)
	bar.clear()
	if err != nil {
		return err
	}
	// First what took long: a plot that cannot be written loses nothing of it.
	if !c.JSON {
		printSimulated(t.out, &s, entries, all)
	} else if err := printSimulatedJSON(t.out, simulate.FiguresOf(&s, entries, all)); err != nil {
		return err
	}
	if c.SVG != "" {
		return writePlot(c.SVG, all)
	}
	return nil
}

// fitted is the scenario of the campaign, or the default one. What was too little to
// find a law in is said.
func (c *simulateCmd) fitted(ctx context.Context, t *terminal) (from simulate.Fitted, err error) {
	if c.FromCampaign == "" {
		return simulate.Fitted{Scenario: simulate.DefaultScenario()}, nil
	}
	err = c.with(ctx, t, false, func(db *postgres.DB) error {
		from, err = simulation.FromCampaign(ctx, db, c.FromCampaign)
		return err
	})
	if c.Save == "" {
		for _, name := range slices.Sorted(maps.Keys(from.Remarks)) {
			fmt.Fprintf(t.err, "%s: %s\n", name, from.Remarks[name])
		}
	}
	return from, err
}

// scenario is what file and flags say, or prints every mistake in them.
func (c *simulateCmd) scenario(t *terminal, base simulate.Scenario) (simulate.Scenario, error) {
	s, l, problems := readScenario(c.Scenario, base)
	if len(problems) == 0 {
		problems = c.apply(&s)
		problems = append(problems, scenarioProblems(&s)...)
	}
	if len(problems) == 0 {
		return s, nil
	}
	for _, p := range problems {
		if p.Line == 0 {
			p.Path = c.flagOf(p.Path)
			p.Line = l.lineOf(p.Path)
		}
		if c.Scenario != "" && p.Path != c.Scenario && p.Line > 0 {
			fmt.Fprintf(t.err, "%s: %s\n", c.Scenario, p)
		} else {
			fmt.Fprintf(t.err, "dialer: %s\n", p)
		}
	}
	return s, exitError(2)
}

// save writes the scenario where it was asked for.
func (c *simulateCmd) save(out io.Writer, s *simulate.Scenario, from simulate.Fitted) error {
	head := ""
	if c.FromCampaign != "" {
		head = "As campaign " + string(c.FromCampaign) + " was; behind each setting stands how it was found."
	}
	if c.Save == "-" {
		return writeScenario(out, s, head, from)
	}
	var b bytes.Buffer
	writeScenario(&b, s, head, from) // a buffer takes all
	if err := os.WriteFile(c.Save, b.Bytes(), 0o644); err != nil {
		return fmt.Errorf("the scenario cannot be written: %w", err)
	}
	return nil
}

// apply puts the flags over the scenario.
func (c *simulateCmd) apply(s *simulate.Scenario) []Problem {
	if len(c.Agents) > 0 {
		s.Shifts, s.Teams = nil, c.Agents
	}
	if len(c.Cap) > 0 {
		s.Caps = nil
		for _, x := range c.Cap {
			s.Caps = append(s.Caps, float64(x))
		}
	}
	if c.AnswerRate != nil {
		s.AnswerRate, s.AnswerRates = float64(*c.AnswerRate), nil
	}
	lasts := func(f *secondsFlag, l *simulate.LawText) {
		if f == nil {
			return
		}
		if l.Law == "lognormal" || l.Law == "gamma" || l.Law == "exponential" || l.Law == "constant" {
			l.Mean = *f
			return
		}
		*l = simulate.LawText{LawPart: simulate.LawPart{Law: "lognormal", Mean: *f, CV: 1}}
	}
	lasts(c.Talk, &s.Talk)
	lasts(c.Wrap, &s.Wrap)
	lasts(c.Ring, &s.Ring)
	if c.Timeout != nil {
		s.RingTimeout = *c.Timeout
	} else if c.Ring != nil {
		s.RingTimeout = max(s.RingTimeout, 2*(*c.Ring))
	}
	if (c.Ring != nil || c.Timeout != nil) && s.Ring.Law == "gamma" {
		s.Ring.Max = s.RingTimeout
	}
	if c.AMD != nil {
		s.AMD = bool(*c.AMD)
	}
	if c.Hours != nil {
		s.Hours = *c.Hours
	}
	if c.Leads != nil {
		s.Leads = *c.Leads
	}
	if c.TalkHours != nil {
		s.TalkHours = *c.TalkHours
	}
	if c.Seeds != nil {
		s.Seeds = *c.Seeds
	}
	if len(c.Policy) > 0 {
		s.Policies = c.Policy
	}
	s.Warm = s.Warm || c.Warm
	if c.Leads != nil && *c.Leads == 0 {
		return []Problem{{Path: "--leads", What: "0 leads are no list", Hint: "leave the flag out for a list without end"}}
	}
	return nil
}

// flagOf names the flag that a path of the scenario came from, or the path.
func (c *simulateCmd) flagOf(path string) string {
	head, _, _ := strings.Cut(path, ".")
	head, _, _ = strings.Cut(head, "[")
	for name, given := range map[string]bool{
		"agents": len(c.Agents) > 0, "teams": len(c.Agents) > 0, "talk_hours": c.TalkHours != nil, "answer_rate": c.AnswerRate != nil, "talk": c.Talk != nil, "wrap": c.Wrap != nil,
		"ring": c.Ring != nil, "ring_timeout": c.Timeout != nil, "cap": len(c.Cap) > 0, "caps": len(c.Cap) > 0, "hours": c.Hours != nil,
		"seeds": c.Seeds != nil, "leads": c.Leads != nil, "policies": len(c.Policy) > 0,
	} {
		if name == head && given {
			switch name {
			case "policies":
				name = "policy"
			case "teams":
				name = "agents"
			case "caps":
				name = "cap"
			}
			return "--" + strings.ReplaceAll(name, "_", "-")
		}
	}
	return path
}

// A shareFlag is a share, also written in percent.
type shareFlag float64

// UnmarshalText implements encoding.TextUnmarshaler.
func (f *shareFlag) UnmarshalText(text []byte) error {
	x, err := parseShare(string(text), 1)
	*f = shareFlag(x)
	return err
}

// A capFlag is a share that cannot be the whole: 3 means 3 %.
type capFlag float64

// UnmarshalText implements encoding.TextUnmarshaler.
func (f *capFlag) UnmarshalText(text []byte) error {
	x, err := parseShare(string(text), math.Nextafter(1, 0))
	*f = capFlag(x)
	return err
}

// parseShare takes numbers above most for percent.
func parseShare(text string, most float64) (float64, error) {
	number, percent := strings.CutSuffix(strings.TrimSpace(text), "%")
	x, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || !(x >= 0 && x <= 100) {
		return 0, fmt.Errorf("%q is not a share such as 3%% or 0.03", text)
	}
	if percent || x > most {
		x /= 100
	}
	return x, nil
}

// A secondsFlag is a time, in seconds when it has no unit.
type secondsFlag = simulate.Span

// A switchFlag is on when it has no value.
type switchFlag bool

// Decode implements kong.MapperValue.
func (f *switchFlag) Decode(ctx *kong.DecodeContext) error {
	*f = true
	next := ctx.Scan.Peek()
	switch strings.ToLower(fmt.Sprint(next.Value)) {
	case "on", "yes", "true", "1":
		ctx.Scan.Pop()
	case "off", "no", "false", "0":
		ctx.Scan.Pop()
		*f = false
	default:
		if next.Type == kong.FlagValueToken {
			return fmt.Errorf("%q is neither on nor off", next.Value)
		}
	}
	return nil
}

// progressBar shows on a terminal how many shifts are done.
type progressBar struct {
	out       io.Writer
	all, done int
	live      bool
}

func (b *progressBar) step() {
	b.done++
	b.show()
}

func (b *progressBar) show() {
	if b.live {
		n := b.done * 30 / max(b.all, 1)
		fmt.Fprintf(b.out, "\r%s%s %d of %d shifts", strings.Repeat("█", n), strings.Repeat("░", 30-n), b.done, b.all)
	}
}

func (b *progressBar) clear() {
	if b.live {
		io.WriteString(b.out, "\r\x1b[2K")
	}
}

func writePlot(file string, all []simulate.Summary) error {
	var b bytes.Buffer
	first := all
	for i, s := range all { // over time is for one team under one cap
		if s.Agents != all[0].Agents || s.Cap != all[0].Cap {
			first = all[:i]
			break
		}
	}
	over := fmt.Sprintf("Occupancy over time, %d agents, cap %s", all[0].Agents, percent(&all[0].Cap))
	panels := append([]simulate.Panel{simulate.Occupancy("Occupancy against abandoned calls", all)}, simulate.OverTime(over, first)...)
	if err := simulate.Draw(&b, panels...); err != nil {
		return err
	}
	if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
		return fmt.Errorf("the plot cannot be written: %w", err)
	}
	return nil
}

// tabs is a table of columns.
func tabs(out io.Writer) *tabwriter.Writer {
	return tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
}

// simulateVars fills in the names of policies in the help.
func simulateVars() kong.Vars {
	var names []string
	for _, p := range simulate.Policies() {
		names = append(names, p.Name)
	}
	return kong.Vars{"recordable": pacing.Policies, "policies": simulate.Names, "compared": strings.Join(names, ",")}
}
