package pacing

import (
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
	next   tapeState // kept for its memory, as is seen
	seen   Snapshot
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
	next                       []int32 // thousandths; empty when all are 1000
}

// begun is something that goes on since a time, and below it the chance that goes
// with it in thousandths: one number, since each decision sorts them.
type begun int64

const (
	even       = 1000 // a chance of 1
	chanceBits = 15   // enough for a chance of 20
)

func begunAt(since int64, chance int32) begun { return begun(since<<chanceBits | int64(chance)) }

func (b begun) since() int64  { return int64(b) >> chanceBits }
func (b begun) chance() int32 { return int32(b & (1<<chanceBits - 1)) }

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
	r.next.of(r.began, &s)
	r.look(&r.next)
	r.last, r.next = r.next, r.last
	r.last.snapshot(r.Began(), &r.seen)
	r.seen.Laws = r.Estimator.Laws(&r.seen)
	d := r.pacer.Decide(r.seen)
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

// of makes t what a snapshot is in the terms of a tape.
func (t *tapeState) of(began time.Time, s *Snapshot) {
	t.now, t.cap, t.fresh = max(s.Now.Sub(began).Milliseconds(), 0), s.Cap, 0
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
	list := func(into []begun, ages []time.Duration) []begun {
		into = into[:0]
		for _, age := range ages {
			into = append(into, begunAt(since(age), even))
		}
		slices.Sort(into)
		return into
	}
	t.talking, t.wrapUp, t.detecting = list(t.talking, s.Talking), list(t.wrapUp, s.WrapUp), list(t.detecting, s.Detecting)
	t.ringing = t.ringing[:0]
	for i, age := range s.Ringing {
		at, chance := since(age), thousandths(s.RingingChance, i)
		if at == t.now && chance == even && t.fresh < tapeMostFresh {
			t.fresh++
		} else {
			t.ringing = append(t.ringing, begunAt(at, chance))
		}
	}
	slices.Sort(t.ringing)
	t.next = t.next[:0]
	for i := range s.NextChance {
		t.next = append(t.next, thousandths(s.NextChance, i))
	}
	if !slices.ContainsFunc(t.next, func(c int32) bool { return c != even }) {
		t.next = t.next[:0]
	}
}

func thousandths(chances []float64, i int) int32 {
	return int32(math.Round(chanceOf(chances, i) * even))
}

// snapshot makes s the state as pacers see it, without Laws, in the memory of s.
func (t *tapeState) snapshot(began time.Time, s *Snapshot) {
	ms := time.Millisecond
	*s = Snapshot{
		Now: began.Add(time.Duration(t.now) * ms), Cap: t.cap,
		Talking: s.Talking[:0], WrapUp: s.WrapUp[:0], Detecting: s.Detecting[:0], Ringing: s.Ringing[:0],
		RingingChance: s.RingingChance[:0], NextChance: s.NextChance[:0],
	}
	for i, n := range s.plainCounts() {
		*n = t.counts[i]
	}
	ages := func(into []time.Duration, all []begun) []time.Duration {
		for _, b := range all {
			into = append(into, time.Duration(t.now-b.since())*ms)
		}
		return into
	}
	s.Talking, s.WrapUp, s.Detecting = ages(s.Talking, t.talking), ages(s.WrapUp, t.wrapUp), ages(s.Detecting, t.detecting)
	s.Ringing = ages(s.Ringing, t.ringing)
	for range t.fresh {
		s.Ringing = append(s.Ringing, 0)
	}
	if slices.ContainsFunc(t.ringing, func(b begun) bool { return b.chance() != even }) {
		for _, b := range t.ringing {
			s.RingingChance = append(s.RingingChance, float64(b.chance())/even)
		}
	}
	for _, c := range t.next {
		s.NextChance = append(s.NextChance, float64(c)/even)
	}
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
	r.tape = out
}

// appendDifference tells which of the old are gone, by place, and which are new.
func appendDifference(out []byte, old, now []begun, at int64, chances bool) []byte {
	var gone []int
	var come []begun
	i, j := 0, 0
	for i < len(old) || j < len(now) {
		switch {
		case j == len(now) || i < len(old) && old[i] < now[j]:
			gone = append(gone, i)
			i++
		case i == len(old) || old[i] > now[j]:
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
		out = binary.AppendUvarint(out, uint64(at-b.since()))
		if chances {
			out = binary.AppendUvarint(out, uint64(b.chance()))
		}
	}
	return out
}
