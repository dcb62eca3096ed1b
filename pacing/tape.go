package pacing

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"
)

// A Recorder learns as an Estimator and decides as a Pacer, and keeps a tape: all
// that went into each decision, in some ten bytes each, so that a Player decides
// the same again. It rounds times to milliseconds and chances to thousandths
// before anything is made of them: what is on the tape is what was decided by.
//
// It is not safe for concurrent use.
type Recorder struct {
	Estimator Estimator // to be read; it is told of calls by the methods below

	config Config
	pacer  Pacer
	began  time.Time // of the tape, by the clock of the snapshots; zero: nothing is kept
	tape   []byte
	looks  int
	last   tapeState
}

// tapeState is what a look is told as a difference to.
type tapeState struct {
	now    int64 // milliseconds since the beginning of the tape, as all times here
	counts [plainCounts]int
	cap    float64
	// Those who began at the same time as now are counted; they are mostly calls
	// that are still being committed.
	fresh                      int
	talking, wrapUp, detecting []begun
	ringing                    []begun
	next                       []int32 // thousandths; nil when all are 1000
}

// begun is something that goes on since a time, and the chance that goes with it
// in thousandths.
type begun struct {
	since  int64
	chance int32
}

const even = 1000 // a chance of 1

// The items of a tape. Each begins with one of these.
const (
	tapeBegins   = 'B' // version, time, JSON of the Estimator
	tapeConfig   = 'C' // JSON
	tapeRingMax  = 'M'
	tapeEnded    = 'E'
	tapeDetected = 'D'
	tapeTalked   = 'T'
	tapeWrapped  = 'W'
	tapeLook     = 'L'
)

// tapeVersion changes when older tapes can no longer be read.
const tapeVersion = 1

// The flags of a look: what has changed. The counts come first.
const (
	changedCap = 1 << (plainCounts + iota)
	changedFresh
	changedTalking
	changedWrapUp
	changedDetecting
	changedRinging
	changedNext
)

// Begin begins a tape with what is known, read back from its JSON: what an
// Estimator does not store of itself is forgotten, as at any warm start.
func (r *Recorder) Begin(now time.Time, known *Estimator) error {
	body, err := json.Marshal(known)
	if err != nil {
		return fmt.Errorf("pacing: beginning a tape: %w", err)
	}
	fresh, err := ReadEstimator(body)
	if err != nil {
		return err
	}
	*r = Recorder{Estimator: fresh, began: now, last: tapeState{}}
	r.tape = append(r.tape, tapeBegins, tapeVersion)
	r.tape = binary.AppendVarint(r.tape, now.UnixMilli())
	r.text(body)
	return nil
}

func (r *Recorder) text(body []byte) {
	r.tape = binary.AppendUvarint(r.tape, uint64(len(body)))
	r.tape = append(r.tape, body...)
}

// Began is when the tape began, in whole milliseconds; zero while there is none.
func (r *Recorder) Began() time.Time { return wholeMilliseconds(r.began) }

func wholeMilliseconds(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return time.UnixMilli(t.UnixMilli()).UTC()
}

// Looks is how many decisions are on the tape.
func (r *Recorder) Looks() int { return r.looks }

// Cut returns what was recorded since the last Cut: the next part of the tape.
func (r *Recorder) Cut() []byte {
	part := r.tape
	r.tape = nil
	return part
}

// Configure changes what decides, from the next decision on.
func (r *Recorder) Configure(c Config) error {
	if r.pacer != nil && r.config == c {
		return nil
	}
	pacer, err := New(c)
	if err != nil {
		return err
	}
	r.pacer, r.config = pacer, c
	if r.kept() {
		body, err := json.Marshal(c)
		if err != nil {
			return fmt.Errorf("pacing: recording a configuration: %w", err)
		}
		r.tape = append(r.tape, tapeConfig)
		r.text(body)
	}
	return nil
}

func (r *Recorder) kept() bool { return !r.began.IsZero() }

// note records what an Estimator is told, and returns the time as it is recorded.
func (r *Recorder) note(item byte, d time.Duration, flags ...bool) time.Duration {
	ms := max(d.Milliseconds(), 0)
	if r.kept() {
		value := uint64(ms)
		for _, f := range flags {
			value <<= 1
			if f {
				value |= 1
			}
		}
		r.tape = binary.AppendUvarint(append(r.tape, item), value)
	}
	return time.Duration(ms) * time.Millisecond
}

// RingMax tells the campaign's ring timeout.
func (r *Recorder) RingMax(d time.Duration) {
	if d != r.Estimator.RingMax {
		r.Estimator.RingMax = r.note(tapeRingMax, d)
	}
}

// Ended is that of Estimator.
func (r *Recorder) Ended(live bool, ring time.Duration) {
	ring = r.note(tapeEnded, ring, live)
	r.Estimator.Ended(live, ring)
}

// Detected is that of Estimator.
func (r *Recorder) Detected(live bool) {
	r.note(tapeDetected, 0, live)
	r.Estimator.Detected(live)
}

// Talked is that of Estimator.
func (r *Recorder) Talked(d time.Duration) { r.Estimator.Talked(r.note(tapeTalked, d)) }

// Wrapped is that of Estimator.
func (r *Recorder) Wrapped(d time.Duration, left bool) {
	d = r.note(tapeWrapped, d, left)
	r.Estimator.Wrapped(d, left)
}

// Decide decides by a snapshot whose Laws are not asked yet. Nothing is decided
// before Configure.
func (r *Recorder) Decide(s Snapshot) Decision {
	if r.pacer == nil {
		return Decision{}
	}
	if !r.kept() {
		s.Laws = r.Estimator.Laws(&s)
		return r.pacer.Decide(s)
	}
	now := stateOf(r.began, &s)
	r.look(&now)
	wall := r.Began()
	s = now.snapshot(wall)
	s.Laws = r.Estimator.Laws(&s)
	d := r.pacer.Decide(s)
	said := uint64(max(d.Dial, 0)) << 1
	if d.AgentFirst {
		said |= 1
	}
	r.tape = binary.AppendUvarint(r.tape, said)
	r.tape = append(r.tape, byte(slices.Index(tapeLimits, d.Limit)+1))
	r.looks++
	return d
}

// tapeLimits are the limits by number, from 1.
var tapeLimits = []Limit{LimitAgents, LimitWarmUp, LimitAllowance, LimitBurst, LimitLinesPerAgent, LimitLines, LimitLeads}

// stateOf is a snapshot in the terms of a tape.
func stateOf(began time.Time, s *Snapshot) tapeState {
	t := tapeState{now: max(s.Now.Sub(began).Milliseconds(), 0), cap: s.Cap}
	for i, n := range s.plainCounts() {
		t.counts[i] = min(max(*n, 0), mostOf(i))
	}
	since := func(age time.Duration) int64 {
		at := s.Now.Sub(began) - age
		ms := at.Milliseconds()
		if at < 0 && time.Duration(ms)*time.Millisecond != at {
			ms-- // down, also before the beginning
		}
		return min(ms, t.now)
	}
	list := func(ages []time.Duration) []begun {
		all := make([]begun, 0, len(ages))
		for _, age := range ages {
			all = append(all, begun{since(age), even})
		}
		slices.SortFunc(all, begun.compare)
		return all
	}
	t.talking, t.wrapUp, t.detecting = list(s.Talking), list(s.WrapUp), list(s.Detecting)
	for i, age := range s.Ringing {
		b := begun{since(age), thousandths(s.RingingChance, i)}
		if b.since == t.now && b.chance == even && t.fresh < tapeMostFresh {
			t.fresh++
		} else {
			t.ringing = append(t.ringing, b)
		}
	}
	slices.SortFunc(t.ringing, begun.compare)
	for i := range s.NextChance {
		t.next = append(t.next, thousandths(s.NextChance, i))
	}
	if !slices.ContainsFunc(t.next, func(c int32) bool { return c != even }) {
		t.next = nil
	}
	return t
}

func (b begun) compare(o begun) int {
	return cmp.Or(cmp.Compare(b.since, o.since), cmp.Compare(b.chance, o.chance))
}

func thousandths(chances []float64, i int) int32 {
	return int32(math.Round(chanceOf(chances, i) * even))
}

// snapshot is the state as pacers see it, without Laws.
func (t *tapeState) snapshot(began time.Time) Snapshot {
	ms := time.Millisecond
	s := Snapshot{Now: began.Add(time.Duration(t.now) * ms), Cap: t.cap}
	for i, n := range s.plainCounts() {
		*n = t.counts[i]
	}
	ages := func(all []begun) []time.Duration {
		out := make([]time.Duration, len(all))
		for i, b := range all {
			out[i] = time.Duration(t.now-b.since) * ms
		}
		return out
	}
	s.Talking, s.WrapUp, s.Detecting = ages(t.talking), ages(t.wrapUp), ages(t.detecting)
	s.Ringing = append(ages(t.ringing), make([]time.Duration, t.fresh)...)
	if slices.ContainsFunc(t.ringing, func(b begun) bool { return b.chance != even }) {
		for _, b := range t.ringing {
			s.RingingChance = append(s.RingingChance, float64(b.chance)/even)
		}
	}
	for _, c := range t.next {
		s.NextChance = append(s.NextChance, float64(c)/even)
	}
	return s
}

// look records how the state differs from that of the last look.
func (r *Recorder) look(t *tapeState) {
	old := &r.last
	var flags uint64
	for i := range t.counts {
		if t.counts[i] != old.counts[i] {
			flags |= 1 << i
		}
	}
	mark := func(flag uint64, changed bool) {
		if changed {
			flags |= flag
		}
	}
	mark(changedCap, math.Float64bits(t.cap) != math.Float64bits(old.cap))
	mark(changedFresh, t.fresh != old.fresh)
	mark(changedTalking, !slices.Equal(t.talking, old.talking))
	mark(changedWrapUp, !slices.Equal(t.wrapUp, old.wrapUp))
	mark(changedDetecting, !slices.Equal(t.detecting, old.detecting))
	mark(changedRinging, !slices.Equal(t.ringing, old.ringing))
	mark(changedNext, !slices.Equal(t.next, old.next))

	out := append(r.tape, tapeLook)
	t.now = max(t.now, old.now)
	out = binary.AppendUvarint(out, uint64(t.now-old.now))
	out = binary.AppendUvarint(out, flags)
	for i, n := range t.counts {
		if flags&(1<<i) != 0 {
			out = binary.AppendUvarint(out, uint64(n))
		}
	}
	if flags&changedCap != 0 {
		out = binary.LittleEndian.AppendUint64(out, math.Float64bits(t.cap))
	}
	if flags&changedFresh != 0 {
		out = binary.AppendUvarint(out, uint64(t.fresh))
	}
	if flags&changedTalking != 0 {
		out = appendDifference(out, old.talking, t.talking, t.now, false)
	}
	if flags&changedWrapUp != 0 {
		out = appendDifference(out, old.wrapUp, t.wrapUp, t.now, false)
	}
	if flags&changedDetecting != 0 {
		out = appendDifference(out, old.detecting, t.detecting, t.now, false)
	}
	if flags&changedRinging != 0 {
		out = appendDifference(out, old.ringing, t.ringing, t.now, true)
	}
	if flags&changedNext != 0 {
		out = binary.AppendUvarint(out, uint64(len(t.next)))
		for _, c := range t.next {
			out = binary.AppendUvarint(out, uint64(c))
		}
	}
	r.tape, r.last = out, *t
}

// appendDifference tells which of the old are gone, by place, and which are new.
func appendDifference(out []byte, old, now []begun, at int64, chances bool) []byte {
	var gone []int
	var come []begun
	i, j := 0, 0
	for i < len(old) || j < len(now) {
		switch {
		case j == len(now) || i < len(old) && old[i].compare(now[j]) < 0:
			gone = append(gone, i)
			i++
		case i == len(old) || old[i].compare(now[j]) > 0:
			come = append(come, now[j])
			j++
		default:
			i, j = i+1, j+1
		}
	}
	out = binary.AppendUvarint(out, uint64(len(gone)))
	from := 0
	for _, place := range gone {
		out = binary.AppendUvarint(out, uint64(place-from))
		from = place
	}
	out = binary.AppendUvarint(out, uint64(len(come)))
	for _, b := range come {
		out = binary.AppendUvarint(out, uint64(at-b.since))
		if chances {
			out = binary.AppendUvarint(out, uint64(b.chance))
		}
	}
	return out
}
