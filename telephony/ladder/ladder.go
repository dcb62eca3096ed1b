// Package ladder keeps the SIP of each call: in memory while the call is up, and
// in a store for a while after it. Nothing of it is ever waited for: what cannot
// be kept is left out.
//
// Entry points: New, Recorder.Hear for each message, Recorder.Run, Recorder.Of.
// Goroutines: Run is one.
package ladder

import (
	"bytes"
	"context"
	"hash/maphash"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"dialer"
	"dialer/telephony"
)

// A Store keeps ladders of calls that are over.
type Store interface {
	// SaveLadders keeps parts of ladders; saving a part again changes nothing.
	SaveLadders(ctx context.Context, parts []telephony.Ladder) error
	// Ladders returns the parts of a call's ladder.
	Ladders(ctx context.Context, call dialer.CallID) ([]telephony.Ladder, error)
	// StationLadders returns the parts of the last calls to an agent's phone.
	StationLadders(ctx context.Context, station string, limit int) ([]telephony.Ladder, error)
	// PruneLadders forgets what began before a time.
	PruneLadders(ctx context.Context, before time.Time) error
}

// The limits.
const (
	// Of one call: so many messages from its begin and from its end, and so many
	// bytes of each of both. Of one message.
	headMessages, tailMessages = 40, 40
	mostBytes                  = 64 << 10
	mostMessage                = 16 << 10
	// Of all calls, with those that wait for the store.
	mostMemory = 64 << 20
	// Ladders that a message from outside has begun: the end of a long talk, late
	// answers to calls that are over.
	mostUnasked = 4096

	// linger is how long a ladder waits for more after the end of its call, and
	// quiet how long it waits in a call: it is saved then, and goes on in a
	// second part.
	linger = 5 * time.Second
	quiet  = 15 * time.Minute

	sweepEvery = time.Second
	saveLimit  = 10 * time.Second
	saveAtOnce = 200
	pruneEvery = 10 * time.Minute
)

// A Recorder keeps the SIP of calls. Its methods may be called from many
// goroutines.
type Recorder struct {
	store Store
	keep  time.Duration
	log   *slog.Logger

	seed    maphash.Seed
	shards  [shards]shard
	bytes   atomic.Int64 // of live and over
	unasked atomic.Int64
	lost    atomic.Int64 // messages and ladders that were not kept

	mu   sync.Mutex         // taken before those of the shards; Hear does not take it
	over []telephony.Ladder // wait for the store
}

// A shard has the live ladders of some of the calls. Its mu is held for as long as
// it takes to look through them, and nothing is copied under it but what somebody
// wants to read: the readers of SIP wait for it.
type shard struct {
	mu   sync.Mutex
	live map[dialer.CallID]*track
}

const shards = 64

func (r *Recorder) shard(call dialer.CallID) *shard {
	return &r.shards[maphash.String(r.seed, string(call))%shards]
}

// A track is the ladder of a call that is up.
type track struct {
	head, tail           []telephony.SIPMessage
	headBytes, tailBytes int
	leftOut              int
	last                 time.Time
	up, done             bool // answered; over, as far as can be seen
	unasked              bool
	station              string
}

// New returns a recorder that keeps ladders for a time in a store.
func New(store Store, keep time.Duration, log *slog.Logger) *Recorder {
	r := &Recorder{store: store, keep: keep, log: log, seed: maphash.MakeSeed()}
	for i := range r.shards {
		r.shards[i].live = map[dialer.CallID]*track{}
	}
	return r
}

// Hear takes one message, and waits for nothing but a few microseconds of others
// that look at the same calls. It takes only what belongs to a call.
func (r *Recorder) Hear(m telephony.SIPMessage) {
	h := look(m.Data)
	if h.call == "" {
		return
	}
	m.Data = bytes.Clone(m.Data[:min(len(m.Data), mostMessage)])
	station := ""
	if m.Sent && h.method == "INVITE" && h.status == 0 {
		station = telephony.CalledStation(m.Data)
	}
	s := r.shard(h.call)
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.live[h.call]
	if r.bytes.Load()+int64(len(m.Data)) > mostMemory {
		r.lost.Add(1)
		if t != nil {
			t.leftOut++
		}
		return
	}
	if t == nil {
		if !m.Sent && r.unasked.Add(1) > mostUnasked {
			r.unasked.Add(-1)
			r.lost.Add(1)
			return
		}
		t = &track{unasked: !m.Sent, done: !m.Sent}
		s.live[h.call] = t
	}
	t.follow(h)
	t.last = m.At
	if station != "" {
		t.station = station
	}
	r.bytes.Add(int64(t.add(m)))
}

// follow sees whether the call is over.
func (t *track) follow(h heading) {
	switch {
	case h.method == "INVITE" && h.status == 0:
		t.done = false // the first, or the next carrier's
	case h.method == "INVITE" && h.status >= 200 && h.status < 300:
		t.up, t.done = true, false
	case h.method == "INVITE" && h.status >= 300 && !t.up, h.method == "BYE" && h.status >= 200:
		t.done = true
	}
}

// add keeps a message and returns by how much the ladder has grown.
func (t *track) add(m telephony.SIPMessage) (grown int) {
	n := len(m.Data)
	if len(t.tail) == 0 && t.leftOut == 0 && len(t.head) < headMessages && t.headBytes+n <= mostBytes {
		t.head = append(t.head, m)
		t.headBytes += n
		return n
	}
	t.tail = append(t.tail, m)
	t.tailBytes += n
	grown = n
	for len(t.tail) > tailMessages || t.tailBytes > mostBytes {
		gone := len(t.tail[0].Data)
		t.tail[0] = telephony.SIPMessage{}
		t.tail = t.tail[1:]
		t.tailBytes -= gone
		t.leftOut++
		grown -= gone
	}
	return grown
}

// ladder is the track as it is, with its secrets.
func (t *track) ladder(call dialer.CallID) telephony.Ladder {
	return telephony.Ladder{
		Call: call, Station: t.station, Messages: append(slices.Clone(t.head), t.tail...), LeftOut: t.leftOut, Head: len(t.head),
	}
}

// A heading is what a message is about.
type heading struct {
	call   dialer.CallID
	method string // of the transaction
	status int    // 0 for a request
}

// look reads a heading without taking the message apart. A message of no call of
// ours has none.
func look(data []byte) (h heading) {
	if bytes.HasPrefix(data, []byte("SIP/2.0 ")) && len(data) > 11 {
		for _, c := range data[8:11] {
			h.status = 10*h.status + int(c-'0')
		}
	}
	callID := telephony.SIPHeader(data, "Call-ID", "i")
	id, _, _ := strings.Cut(callID, "@")
	if made, ok := dialer.CallID(id).Time(); !ok || made.IsZero() {
		return heading{}
	}
	h.call = dialer.CallID(id)
	_, method, _ := strings.Cut(telephony.SIPHeader(data, "CSeq", ""), " ")
	h.method = strings.TrimSpace(method)
	return h
}

// Of returns the ladder of a call, up or over; there are no messages when
// nothing is kept of it. Secrets are masked.
func (r *Recorder) Of(ctx context.Context, call dialer.CallID) (telephony.Ladder, error) {
	parts := r.inMemory([]*shard{r.shard(call)}, func(of dialer.CallID, _ string) bool { return of == call })
	stored, err := r.store.Ladders(ctx, call)
	if err != nil && len(parts) == 0 {
		return telephony.Ladder{}, err
	}
	return telephony.JoinLadders(once(append(stored, parts...))), nil
}

// OfStation returns the ladders of the last calls to an agent's phone, newest
// first.
func (r *Recorder) OfStation(ctx context.Context, station string, limit int) ([]telephony.Ladder, error) {
	stored, err := r.store.StationLadders(ctx, station, limit)
	long := map[dialer.CallID]bool{} // of which a part is stored
	for _, p := range stored {
		long[p.Call] = true
	}
	all := make([]*shard, shards)
	for i := range all {
		all[i] = &r.shards[i]
	}
	parts := r.inMemory(all, func(call dialer.CallID, of string) bool { return of == station || long[call] })
	if err != nil && len(parts) == 0 {
		return nil, err
	}
	byCall := map[dialer.CallID][]telephony.Ladder{}
	for _, p := range once(append(stored, parts...)) {
		byCall[p.Call] = append(byCall[p.Call], p)
	}
	var out []telephony.Ladder
	for _, parts := range byCall {
		out = append(out, telephony.JoinLadders(parts))
	}
	slices.SortFunc(out, func(a, b telephony.Ladder) int { return b.Start().Compare(a.Start()) })
	return out[:min(len(out), limit)], nil
}

// once leaves out what is stored and still in memory.
func once(parts []telephony.Ladder) []telephony.Ladder {
	type part struct {
		call  dialer.CallID
		start int64
	}
	seen := map[part]bool{}
	return slices.DeleteFunc(parts, func(l telephony.Ladder) bool {
		key := part{l.Call, l.Start().UnixMicro()}
		again := seen[key]
		seen[key] = true
		return again
	})
}

func (r *Recorder) inMemory(in []*shard, wanted func(call dialer.CallID, station string) bool) (found []telephony.Ladder) {
	r.mu.Lock()
	for _, l := range r.over {
		if wanted(l.Call, l.Station) {
			found = append(found, l)
		}
	}
	for _, s := range in {
		s.mu.Lock()
		for call, t := range s.live {
			if wanted(call, t.station) {
				found = append(found, t.ladder(call))
			}
		}
		s.mu.Unlock()
	}
	r.mu.Unlock()
	for i := range found {
		found[i] = masked(found[i])
	}
	return found
}

// masked is a ladder without its secrets; the messages of l stay as they are.
func masked(l telephony.Ladder) telephony.Ladder {
	l.Messages = slices.Clone(l.Messages)
	for i := range l.Messages {
		l.Messages[i].Data = telephony.MaskSIP(l.Messages[i].Data)
	}
	return l
}

// Lost counts the messages and ladders that were not kept.
func (r *Recorder) Lost() int64 { return r.Stats().Lost }

// Stats is how much is in memory.
type Stats struct {
	Live, Waiting, Bytes int   // calls that are up, ladders that wait for the store
	Lost                 int64 // messages and ladders that were not kept
}

// Stats returns what is in memory now.
func (r *Recorder) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	stats := Stats{Waiting: len(r.over), Bytes: int(r.bytes.Load()), Lost: r.lost.Load()}
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		stats.Live += len(s.live)
		s.mu.Unlock()
	}
	return stats
}
