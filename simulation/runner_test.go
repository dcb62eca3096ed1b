package simulation

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"dialer"
	"dialer/campaign"
	"dialer/pacing/simulate"
)

// desk is a Store of one process.
type desk struct {
	mu     sync.Mutex
	queue  []Job
	ended  map[dialer.SimulationID]Job
	beats  []float64
	cancel bool // from the first beat on that tells of progress
	fail   int  // so many ends are not saved
	past   PastStore
	change chan struct{}
}

func newDesk(jobs ...Job) *desk {
	return &desk{queue: jobs, ended: map[dialer.SimulationID]Job{}, change: make(chan struct{}, 100)}
}

func (d *desk) CreateSimulation(_ context.Context, j Job) error { return errors.New("not here") }

func (d *desk) ClaimSimulation(context.Context) (*Job, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.queue) == 0 {
		return nil, nil
	}
	j := d.queue[0]
	d.queue = d.queue[1:]
	j.Tries++
	return &j, nil
}

func (d *desk) BeatSimulation(_ context.Context, _ dialer.SimulationID, progress float64) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.beats = append(d.beats, progress)
	d.change <- struct{}{}
	return !d.cancel || progress == 0, nil
}

func (d *desk) EndSimulation(_ context.Context, id dialer.SimulationID, to State, o Outcome) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail > 0 {
		d.fail--
		return errors.New("the database is away")
	}
	// As a database keeps it.
	text, err := json.Marshal(o)
	if err != nil {
		return err
	}
	var kept Outcome
	if err := json.Unmarshal(text, &kept); err != nil {
		return err
	}
	d.ended[id] = Job{ID: id, State: to, Outcome: kept}
	d.change <- struct{}{}
	return nil
}

func (d *desk) GetCampaign(ctx context.Context, id dialer.CampaignID) (campaign.Campaign, error) {
	return d.past.GetCampaign(ctx, id)
}

func (d *desk) PastCalls(ctx context.Context, id dialer.CampaignID, most int) iter.Seq2[campaign.Call, error] {
	return d.past.PastCalls(ctx, id, most)
}

func (d *desk) AgentMoves(ctx context.Context, from, to time.Time, most int) iter.Seq2[dialer.Event, error] {
	return d.past.AgentMoves(ctx, from, to, most)
}

// until runs a Runner until enough jobs have ended, or something else is true.
func (d *desk) until(t *testing.T, enough func() bool) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	over := make(chan struct{})
	go func() {
		defer close(over)
		NewRunner(Config{Store: d, AtOnce: 1, Log: slog.New(slog.DiscardHandler)}).Run(ctx)
	}()
	for {
		d.mu.Lock()
		ok := enough()
		d.mu.Unlock()
		if ok {
			break
		}
		select {
		case <-d.change:
		case <-time.After(time.Minute):
			t.Fatal("nothing came of the simulations in a minute")
		}
	}
	stop()
	<-over
}

// short is a simulation of a moment.
const short = `{"agents":3,"hours":0.2,"seeds":2,"policies":["progressive","predictive"],"leads":60}`

// TestJobsComeToTheFiguresOfTheCommand: what a job comes to is what the command
// prints, twice the same, however often it is begun.
func TestJobsComeToTheFiguresOfTheCommand(t *testing.T) {
	d := newDesk(Job{ID: "sim_1", Settings: []byte(short)}, Job{ID: "sim_2", Settings: []byte(short), Tries: 2})
	d.fail = 1 // the first end is saved at the second attempt
	d.until(t, func() bool { return len(d.ended) == 2 })
	one, two := d.ended["sim_1"], d.ended["sim_2"]
	s, err := Over(simulate.DefaultScenario(), []byte(short))
	if err != nil {
		t.Fatal(err)
	}
	entries, err := s.Entries(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	all, err := simulate.Compare(t.Context(), entries, simulate.Seeds(s.Seeds), 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := Outcome{Scenario: &s, Figures: simulate.FiguresOf(&s, entries, all), Advice: simulate.Advice(&s, entries, all)}
	for _, got := range []Job{one, two} {
		if got.State != Done || !reflect.DeepEqual(got.Outcome, want) {
			t.Errorf("%s came to\n%+v\nnot\n%+v", got.ID, got, want)
		}
	}
}

func TestJobsThatCannotBe(t *testing.T) {
	d := newDesk(
		Job{ID: "sim_large", Settings: []byte(`{"agents":900,"seeds":100}`)},
		Job{ID: "sim_deadly", Settings: []byte(short), Tries: mostTries},
		Job{ID: "sim_after", Settings: []byte(`{"agents":1,"hours":0.01,"seeds":1,"policies":["progressive"]}`)},
	)
	d.until(t, func() bool { return len(d.ended) == 3 })
	for id, want := range map[dialer.SimulationID]string{"sim_large": "the most is 100000", "sim_deadly": "no process has lived"} {
		if j := d.ended[id]; j.State != Failed || !strings.Contains(j.Outcome.Error, want) {
			t.Errorf("%s: %+v", id, j)
		}
	}
	if d.ended["sim_after"].State != Done {
		t.Errorf("the next one: %+v", d.ended["sim_after"])
	}
}

// TestCancelledJobStops: the next beat of a job that is not ours any more ends it,
// and the next job begins.
func TestCancelledJobStops(t *testing.T) {
	long := `{"agents":200,"hours":8,"seeds":2,"policies":["predictive"]}`
	d := newDesk(Job{ID: "sim_long", Settings: []byte(long)}, Job{ID: "sim_next", Settings: []byte(`{"agents":1,"hours":0.01,"seeds":1,"policies":["progressive"]}`)})
	d.cancel = true
	d.until(t, func() bool { return len(d.ended) == 1 })
	if d.ended["sim_next"].State != Done || len(d.beats) == 0 {
		t.Errorf("ended %+v, beats %v", d.ended, d.beats)
	}
	if p := d.beats[len(d.beats)-1]; p <= 0 || p >= 1 {
		t.Errorf("progress of %v when a long job was cancelled", p)
	}
}

// TestRestsChangeNothing: the pacer that leaves the processor to others decides as
// the one without.
func TestRestsChangeNothing(t *testing.T) {
	w := simulate.Base(5, 0.3, 60, 0.3)
	of, err := simulate.ParsePolicy("predictive")
	if err != nil {
		t.Fatal(err)
	}
	var p progress
	p.begin(2, 0.3, true)
	var got [2][]simulate.Summary
	for i, policy := range []simulate.Policy{of, p.watched(t.Context(), of)} {
		got[i], err = simulate.Compare(t.Context(), []simulate.Entry{{World: w, Policy: policy, Warm: true}}, simulate.Seeds(1), 1, p.done)
		if err != nil {
			t.Fatal(err)
		}
	}
	if !reflect.DeepEqual(got[0], got[1]) {
		t.Errorf("with rests %+v, without %+v", got[1], got[0])
	}
	if p.now() != 1 {
		t.Errorf("progress %v at the end", p.now())
	}
}
