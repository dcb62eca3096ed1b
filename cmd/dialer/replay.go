package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"dialer"
	"dialer/campaign"
	"dialer/pacing"
	"dialer/postgres"
)

type pacingCmd struct {
	Replay replayCmd `cmd:"" help:"Decide a recorded stretch of a campaign again, as it was and by other settings."`
}

// replayCmd decides again what a campaign's pacer has decided.
type replayCmd struct {
	configFlags
	Campaign string    `help:"Id of the campaign (cmp_…)." required:""`
	From     *timeFlag `help:"Since when: 2026-05-04T09:00:00Z, or 90m for so long before --to (1h)." placeholder:"TIME"`
	To       *timeFlag `help:"Until when (now)." placeholder:"TIME"`
	Policy   string    `help:"What else to decide by: ${recordable}." placeholder:"NAME"`
	Cap      *capFlag  `help:"Another cap: 3% or 0.03." placeholder:"SHARE"`
	JSON     bool      `name:"json" help:"One JSON object a told decision, each on a line, then one with the totals."`
}

// A timeFlag is a moment, or so long before another.
type timeFlag struct {
	at     time.Time
	before time.Duration
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (f *timeFlag) UnmarshalText(text []byte) (err error) {
	if f.before, err = time.ParseDuration(string(text)); err == nil && f.before >= 0 {
		return nil
	}
	if f.at, err = time.Parse(time.RFC3339, string(text)); err != nil {
		return fmt.Errorf("%q is not a time such as 2026-05-04T09:00:00Z, and not so long ago such as 90m", text)
	}
	return nil
}

func (f *timeFlag) from(to time.Time, absent time.Duration) time.Time {
	switch {
	case f == nil:
		return to.Add(-absent)
	case f.at.IsZero():
		return to.Add(-f.before)
	}
	return f.at
}

func (c *replayCmd) Run(ctx context.Context, t *terminal) error {
	now := time.Now()
	to := c.To.from(now, 0)
	from := c.From.from(to, time.Hour)
	if !from.Before(to) {
		return errors.New("--from is not before --to")
	}
	other, err := c.other()
	if err != nil {
		return err
	}
	return c.with(ctx, t, false, func(db *postgres.DB) error {
		id := dialer.CampaignID(c.Campaign)
		if _, err := db.GetCampaign(ctx, id); err != nil {
			return err
		}
		told, err := toldDecisions(ctx, db, id, from, to)
		if err != nil {
			return err
		}
		r := replay{from: from, to: to, told: told, other: other, version: version()}
		if err := r.run(db.Tapes(ctx, id, from, to)); err != nil {
			return err
		}
		if c.JSON {
			return r.printJSON(t.out)
		}
		r.print(t.out)
		return nil
	})
}

// other is what --policy and --cap make of recorded settings; nil when neither is
// given.
func (c *replayCmd) other() (func(pacing.Config) pacing.Config, error) {
	if c.Policy == "" && c.Cap == nil {
		return nil, nil
	}
	var policy pacing.Config
	if c.Policy != "" {
		var err error
		if policy, err = pacing.ParsePolicy(c.Policy); err != nil {
			return nil, fmt.Errorf("--policy: %w", err)
		}
	}
	return func(p pacing.Config) pacing.Config {
		if c.Policy != "" {
			p.Mode, p.Ratio, p.Strict = policy.Mode, policy.Ratio, policy.Strict
		}
		if c.Cap != nil {
			p.Cap = float64(*c.Cap)
		}
		return p
	}, nil
}

// toldDecisions reads the decisions in the log, the oldest first.
func toldDecisions(ctx context.Context, db *postgres.DB, id dialer.CampaignID, from, to time.Time) ([]dialer.Event, error) {
	const some = 1000
	var all []dialer.Event
	for after := int64(0); ; {
		found, err := db.ListDecisions(ctx, id, from, to, after, some)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
		if len(found) < some {
			slices.Reverse(all)
			return all, nil
		}
		after = found[some-1].Seq
	}
}

// A replay is a stretch of decisions, decided again.
type replay struct {
	from, to time.Time
	told     []dialer.Event // PacingDecided, in order
	other    func(pacing.Config) pacing.Config
	version  string // of this program

	rows       []replayRow
	decisions  int             // on tape, in the stretch
	same       int             // of them, decided as recorded
	calls      [3]int          // recorded, again, otherwise
	up         [3]int          // calls in flight after each decision, summed
	agentFirst [3]int          // decisions of which each call had its agent
	otherName  string          // of the other policy
	stretches  []stretch       // that are on tape
	versions   map[string]bool // that recorded them
	damage     []string
}

// A replayRow is a told decision beside what comes of it now. again and otherwise
// are nil when it is on no tape.
type replayRow struct {
	at               time.Time
	told             dialer.PacingDecided
	again, otherwise *pacing.Decision
}

type stretch struct{ from, to time.Time }

// replayKey names a decision on a tape.
type replayKey struct {
	tape int64
	look int
}

// run decides again what is on the tapes.
func (r *replay) run(tapes iter.Seq2[campaign.TapePart, error]) error {
	r.versions = map[string]bool{}
	rows := map[replayKey]int{}
	for i, e := range r.told {
		told, _ := e.Fact.(dialer.PacingDecided)
		r.rows = append(r.rows, replayRow{at: e.At, told: told})
		if told.Look > 0 {
			rows[replayKey{told.Tape.UnixMilli(), told.Look}] = i
		}
	}
	var d deck
	for part, err := range tapes {
		if err != nil {
			return err
		}
		if err := d.insert(part); err != nil {
			r.damage = append(r.damage, err.Error())
		}
		if d.broken {
			continue
		}
		for look, err := range d.player.Play(part.Body) {
			if err != nil {
				d.broken = true
				r.damage = append(r.damage, fmt.Sprintf("the tape of %s: %v", moment(part.Began), err))
				break
			}
			if look.At.Before(r.from) || !look.At.Before(r.to) {
				continue
			}
			again, otherwise, err := r.decide(&d, look)
			if err != nil {
				return err
			}
			if i, ok := rows[replayKey{part.Began.UnixMilli(), look.Number}]; ok {
				r.rows[i].again, r.rows[i].otherwise = &again, otherwise
			}
		}
		r.covered(part)
	}
	return nil
}

// decide decides one look again.
func (r *replay) decide(d *deck, look pacing.Look) (again pacing.Decision, otherwise *pacing.Decision, err error) {
	if err := d.configure(look.Config, r.other); err != nil {
		return again, nil, err
	}
	again = d.recorded.Decide(look.Snapshot)
	r.decisions++
	if again.Dial == look.Dial && again.AgentFirst == look.AgentFirst && again.Limit == look.Limit {
		r.same++
	}
	flying := again.Seen.Ringing + again.Seen.Detecting + again.Seen.Waiting
	r.count(0, look.Dial, flying, look.AgentFirst)
	r.count(1, again.Dial, flying, again.AgentFirst)
	if r.other == nil {
		return again, nil, nil
	}
	s := look.Snapshot
	s.Cap = d.otherConfig.Cap
	o := d.otherwise.Decide(s)
	r.count(2, o.Dial, flying, o.AgentFirst)
	r.otherName = policyName(d.otherConfig)
	return again, &o, nil
}

func (r *replay) count(of, dial, flying int, agentFirst bool) {
	r.calls[of] += dial
	r.up[of] += dial + flying
	if agentFirst {
		r.agentFirst[of]++
	}
}

// covered notes that a part of the stretch is on tape.
func (r *replay) covered(part campaign.TapePart) {
	s := stretch{part.From, part.To}
	if s.from.Before(r.from) {
		s.from = r.from
	}
	if s.to.After(r.to) {
		s.to = r.to
	}
	if !s.from.Before(s.to) {
		return
	}
	r.versions[part.Version] = true
	if last := len(r.stretches) - 1; last >= 0 && s.from.Sub(r.stretches[last].to) < 5*time.Second {
		r.stretches[last].to = s.to
		return
	}
	r.stretches = append(r.stretches, s)
}

// notes say what of the replay is not exact, and why.
func (r *replay) notes() []string {
	notes := slices.Clone(r.damage)
	missing, differ := 0, 0
	for _, row := range r.rows {
		switch {
		case row.again == nil:
			missing++
		case !sameAsTold(row):
			differ++
		}
	}
	if missing > 0 {
		notes = append(notes, fmt.Sprintf("%d told decisions cannot be replayed: what they were made of is not kept, or not yet. "+
			"Tapes are saved each minute and kept for 31 days; while the database is away for more than ten minutes none is, and dialers before them kept none.", missing))
	}
	if r.decisions == 0 && len(r.rows) == 0 {
		notes = append(notes, "Nothing was decided in this time: the campaign did not dial.")
	}
	if r.decisions == 0 {
		return notes
	}
	if r.same == r.decisions && differ == 0 {
		notes = append(notes, "The replay is exact: each decision on tape is the one that was recorded.")
	} else {
		why := "it was the same version on another kind of processor, or this is a fault of the dialer: please report it"
		if len(r.versions) != 1 || !r.versions[r.version] {
			names := make([]string, 0, len(r.versions))
			for v := range r.versions {
				names = append(names, cmp.Or(v, "unknown"))
			}
			slices.Sort(names)
			why = fmt.Sprintf("it was recorded by version %s, this is %s", strings.Join(names, ", "), r.version)
		}
		notes = append(notes, fmt.Sprintf("The replay is not exact, %d of %d decisions and %d of %d told ones differ: %s.",
			r.decisions-r.same, r.decisions, differ, len(r.rows)-missing, why))
	}
	if r.other != nil {
		notes = append(notes, "The other policy decides for the floor as it was, one moment at a time; its own calls would have changed what followed. \"dialer simulate\" plays that out.")
	}
	return notes
}

// sameAsTold reports whether a replayed decision is the one in the log, as far as
// that tells.
func sameAsTold(row replayRow) bool {
	d, t := row.again, row.told
	near := func(a, b float64) bool { return a-b < 1e-4 && b-a < 1e-4 }
	return d.Dial == t.Dial && d.AgentFirst == t.AgentFirst && string(d.Limit) == t.Limit &&
		near(d.ExpectedFree, t.ExpectedFree) && near(d.ExpectedAnswers, t.ExpectedAnswers) &&
		near(d.ExpectedLoss, t.ExpectedLoss) && near(d.Threshold, t.Threshold) && near(d.Allowance, t.Allowance)
}

// A deck plays one tape at a time, from its first part on.
type deck struct {
	began               time.Time
	next                int
	broken              bool
	player              *pacing.Player
	config, otherConfig pacing.Config
	recorded, otherwise pacing.Pacer
}

// insert takes the next part; one of another tape begins anew.
func (d *deck) insert(part campaign.TapePart) error {
	if d.player == nil || !d.began.Equal(part.Began) {
		*d = deck{began: part.Began, player: new(pacing.Player)}
	}
	if part.Part != d.next && !d.broken {
		d.broken = true
		return fmt.Errorf("the tape of %s lacks part %d: it cannot be replayed after that", moment(part.Began), d.next)
	}
	d.next++
	return nil
}

// configure makes the pacers of recorded settings, and of the others.
func (d *deck) configure(c pacing.Config, other func(pacing.Config) pacing.Config) (err error) {
	if d.recorded != nil && d.config == c {
		return nil
	}
	d.config = c
	if d.recorded, err = pacing.New(c); err != nil || other == nil {
		return err
	}
	d.otherConfig = other(c)
	if d.otherConfig.Cap == 0 && (d.otherConfig.Mode == pacing.Power || d.otherConfig.Mode == pacing.Predictive) {
		d.otherConfig.Mode = pacing.Progressive // as the engine does: nobody may be abandoned
	}
	d.otherwise, err = pacing.New(d.otherConfig)
	return err
}
