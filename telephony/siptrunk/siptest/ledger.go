package siptest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"
)

// A CallRecord is what the carrier knows of one INVITE: the ground truth that
// a dialer's own records are checked against. Times are zero until they come.
type CallRecord struct {
	CallID    string            `json:"call_id"`
	To        string            `json:"to"`
	From      string            `json:"from"`
	Source    string            `json:"source"`
	Headers   map[string]string `json:"headers,omitempty"` // X-… and P-Asserted-Identity
	Attempt   int               `json:"attempt"`           // to this number, from 0
	Group     string            `json:"group"`
	Kind      Kind              `json:"kind"`
	Audio     string            `json:"audio,omitempty"`
	Faults    []string          `json:"faults,omitempty"`
	ArrivedAt time.Time         `json:"arrived_at"`
	RingingAt time.Time         `json:"ringing_at,omitzero"` // first 18x
	// AnsweredAt is when the 200 OK was sent, AckedAt when its ACK came.
	AnsweredAt time.Time `json:"answered_at,omitzero"`
	AckedAt    time.Time `json:"acked_at,omitzero"`
	// GreetingAt and GreetingEndAt enclose the greeting, BeepEndAt ends the
	// beep of a machine.
	GreetingAt    time.Time `json:"greeting_at,omitzero"`
	GreetingEndAt time.Time `json:"greeting_end_at,omitzero"`
	BeepEndAt     time.Time `json:"beep_end_at,omitzero"`
	// HeardAt is the first voice from the caller after the answer, MessageAt
	// when that was recognised as the message to abandoned calls.
	HeardAt     time.Time `json:"heard_at,omitzero"`
	MessageAt   time.Time `json:"message_at,omitzero"`
	Pressed     string    `json:"pressed,omitempty"`
	CancelledAt time.Time `json:"cancelled_at,omitzero"`
	// LateAnswer: the 200 was sent after the CANCEL.
	LateAnswer bool      `json:"late_answer,omitempty"`
	EndedAt    time.Time `json:"ended_at,omitzero"`
	// EndedBy is caller, callee or network; Status the final SIP response.
	EndedBy    string `json:"ended_by,omitempty"`
	Status     int    `json:"status,omitempty"`
	PacketsIn  int64  `json:"packets_in,omitempty"`
	PacketsOut int64  `json:"packets_out,omitempty"`
}

// Open reports whether the call is still up or ringing.
func (r CallRecord) Open() bool { return r.EndedAt.IsZero() }

// An Event is a moment of a call of which the carrier tells.
type Event string

// The events.
const (
	Arrived  Event = "arrived"
	Rang     Event = "ringing"
	Answered Event = "answered"
	Heard    Event = "heard" // the caller's first voice
	Ended    Event = "ended"
)

// Counts sums up what the carrier has seen since it began.
type Counts struct {
	Arrived, Ringing, Talking        int // Ringing and Talking are now
	Answered, Heard, Messages        int
	Cancelled, LateAnswers, Unacked  int
	Ended, RefusedCalls, CallerEnded int
	ByKind                           map[Kind]int
}

// Open is the number of calls that are up or ringing.
func (c Counts) Open() int { return c.Arrived - c.Ended }

// ledger keeps the records and appends them to a file as JSON lines.
type ledger struct {
	file *os.File
	keep int
	tell func(Event, CallRecord)

	mu     sync.Mutex
	calls  []*CallRecord
	counts Counts
	change chan struct{} // closed and replaced at each event
	fail   error
}

func newLedger(path string, keep int, tell func(Event, CallRecord)) (*ledger, error) {
	l := &ledger{keep: keep, tell: tell, counts: Counts{ByKind: map[Kind]int{}}, change: make(chan struct{})}
	if path != "" {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			return nil, fmt.Errorf("opening the ledger: %w", err)
		}
		l.file = f
	}
	return l, nil
}

// add begins a record.
func (l *ledger) add(r *CallRecord) {
	l.mu.Lock()
	l.calls = append(l.calls, r)
	if l.keep > 0 && len(l.calls) > 2*l.keep {
		l.calls = slices.Clone(l.calls[len(l.calls)-l.keep:])
	}
	l.counts.Arrived++
	l.counts.Ringing++
	l.counts.ByKind[r.Kind]++
	now := l.write(Arrived, r)
	l.changed()
	l.mu.Unlock()
	l.announce(Arrived, now)
}

// note changes a record; the moments arrived, answered and ended are written.
func (l *ledger) note(r *CallRecord, e Event, change func(*CallRecord)) {
	l.mu.Lock()
	answered := !r.AnsweredAt.IsZero()
	change(r)
	switch e {
	case Answered:
		l.counts.Answered++
		l.counts.Ringing--
		l.counts.Talking++
	case Heard:
		l.counts.Heard++
	case Ended:
		l.ended(r, answered)
	}
	now := *r
	if e == Answered || e == Ended {
		now = l.write(e, r)
	}
	if e != "" {
		l.changed()
	}
	l.mu.Unlock()
	if e != "" {
		l.announce(e, now)
	}
}

func (l *ledger) ended(r *CallRecord, answered bool) {
	l.counts.Ended++
	if !answered {
		l.counts.Ringing--
		l.counts.RefusedCalls++
	} else {
		l.counts.Talking--
	}
	for _, c := range []struct {
		is bool
		n  *int
	}{
		{!r.CancelledAt.IsZero(), &l.counts.Cancelled},
		{r.LateAnswer, &l.counts.LateAnswers},
		{answered && r.AckedAt.IsZero(), &l.counts.Unacked},
		{answered && r.EndedBy == "caller", &l.counts.CallerEnded},
		{!r.MessageAt.IsZero(), &l.counts.Messages},
	} {
		if c.is {
			*c.n++
		}
	}
}

// write appends a line; the caller holds the lock.
func (l *ledger) write(e Event, r *CallRecord) CallRecord {
	now := *r
	if l.file == nil || l.fail != nil {
		return now
	}
	line, err := json.Marshal(struct {
		Event Event `json:"event"`
		CallRecord
	}{e, now})
	if err == nil {
		// One write a line: after a crash of either side every line is whole.
		_, err = l.file.Write(append(line, '\n'))
	}
	if err != nil {
		l.fail = fmt.Errorf("writing the ledger: %w", err)
	}
	return now
}

func (l *ledger) announce(e Event, r CallRecord) {
	if l.tell != nil {
		l.tell(e, r)
	}
}

// changed wakes those who wait; the caller holds the lock.
func (l *ledger) changed() {
	close(l.change)
	l.change = make(chan struct{})
}

func (l *ledger) await(ctx context.Context, ok func(Counts) bool) error {
	for {
		l.mu.Lock()
		counts, change := l.counts, l.change
		counts.ByKind = maps.Clone(counts.ByKind)
		l.mu.Unlock()
		if ok(counts) {
			return nil
		}
		select {
		case <-change:
		case <-ctx.Done():
			return fmt.Errorf("carrier: %w with %+v", ctx.Err(), counts)
		}
	}
}

func (l *ledger) all() []CallRecord {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]CallRecord, len(l.calls))
	for i, r := range l.calls {
		out[i] = *r
	}
	return out
}

func (l *ledger) sum() Counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.counts
	c.ByKind = maps.Clone(c.ByKind)
	return c
}

// close returns the first error of writing, since a ledger with holes is none.
func (l *ledger) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return l.fail
	}
	err := l.file.Close()
	if l.fail != nil {
		return l.fail
	}
	return err
}
