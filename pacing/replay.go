package pacing

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"time"
)

// A Look is one decision of a tape: what there was to decide by, and what was
// decided.
type Look struct {
	Number   int // on its tape, from 1
	At       time.Time
	Config   Config
	Snapshot Snapshot // with the Laws as they were

	Dial       int
	AgentFirst bool
	Limit      Limit
}

// A Player reads a tape, part by part from the first on. It learns what was
// learned then; New(Look.Config) decides each Look.Snapshot as it was decided, if
// it is of the same version and runs on a processor of the same kind.
type Player struct {
	estimator Estimator
	began     time.Time
	config    Config
	last      tapeState
	number    int
}

// errTape says that a tape is damaged, or of another kind.
var errTape = errors.New("pacing: the tape is damaged")

// Bounds of what a tape may say: beyond it is not of this world.
const (
	tapeMostFresh = 10_000
	tapeMostTime  = int64(1e12) // milliseconds
)

// Play yields the decisions of the next part. An error ends it; the Player is of
// no use after that, or when the caller has stopped in the middle.
func (p *Player) Play(part []byte) iter.Seq2[Look, error] {
	return func(yield func(Look, error) bool) {
		in := reader{rest: part}
		for len(in.rest) > 0 {
			look, ok := p.item(&in)
			if in.err != nil {
				yield(Look{}, in.err)
				return
			}
			if ok && !yield(look, nil) {
				return
			}
		}
	}
}

// item reads one item, which may be a look.
func (p *Player) item(in *reader) (look Look, ok bool) {
	kind := in.byte()
	if p.began.IsZero() != (kind == tapeBegins) {
		in.fail("its beginning is missing, or comes twice")
		return look, false
	}
	switch kind {
	case tapeBegins:
		p.begin(in)
	case tapeConfig:
		var c Config
		if err := json.Unmarshal(in.text(), &c); err != nil || c.Validate() != nil {
			in.fail("a configuration is none")
		}
		p.config = c
	case tapeRingMax:
		p.estimator.RingMax = in.duration(in.uvarint(uint64(tapeMostTime)))
	case tapeEnded:
		ring, live := in.flagged()
		p.estimator.Ended(live, ring)
	case tapeDetected:
		_, live := in.flagged()
		p.estimator.Detected(live)
	case tapeTalked:
		p.estimator.Talked(in.duration(in.uvarint(uint64(tapeMostTime))))
	case tapeWrapped:
		d, left := in.flagged()
		p.estimator.Wrapped(d, left)
	case tapeLook:
		return p.look(in), true
	default:
		in.fail(fmt.Sprintf("an item is of an unknown kind %d", kind))
	}
	return look, false
}

func (p *Player) begin(in *reader) {
	if v := in.byte(); v != tapeVersion && in.err == nil {
		in.err = fmt.Errorf("pacing: the tape has version %d, this program reads version %d", v, tapeVersion)
		return
	}
	at := in.varint()
	if at < -tapeMostTime*100 || at > tapeMostTime*100 {
		in.fail("its beginning is at no time")
		return
	}
	known, err := ReadEstimator(in.text())
	if err != nil {
		in.fail("what was known at its beginning cannot be read")
		return
	}
	p.began, p.estimator = time.UnixMilli(at).UTC(), known
}

func (p *Player) look(in *reader) Look {
	t := &p.last
	t.now += int64(in.uvarint(uint64(tapeMostTime)))
	if t.now > tapeMostTime {
		in.fail("its time has no end")
	}
	flags := in.uvarint(math.MaxUint64)
	for i := range t.counts {
		if flags&(1<<i) != 0 {
			t.counts[i] = int(in.uvarint(uint64(mostOf(i))))
		}
	}
	if flags&changedCap != 0 {
		t.cap = in.float()
	}
	if flags&changedFresh != 0 {
		t.fresh = int(in.uvarint(tapeMostFresh))
	}
	if flags&changedTalking != 0 {
		t.talking = in.difference(t.talking, t.now, false)
	}
	if flags&changedWrapUp != 0 {
		t.wrapUp = in.difference(t.wrapUp, t.now, false)
	}
	if flags&changedDetecting != 0 {
		t.detecting = in.difference(t.detecting, t.now, false)
	}
	if flags&changedRinging != 0 {
		t.ringing = in.difference(t.ringing, t.now, true)
	}
	if flags&changedNext != 0 {
		t.next = nil
		for range in.several() {
			t.next = append(t.next, int32(in.uvarint(20*even)))
		}
	}
	said, limit := in.uvarint(2*mostCounted), int(in.byte())
	if limit > len(tapeLimits) {
		in.fail("a limit is none")
	}
	if in.err != nil {
		return Look{}
	}
	p.number++
	l := Look{Number: p.number, Config: p.config, Dial: int(said >> 1), AgentFirst: said&1 != 0}
	if limit > 0 {
		l.Limit = tapeLimits[limit-1]
	}
	t.snapshot(p.began, &l.Snapshot)
	l.Snapshot.Laws = p.estimator.Laws(&l.Snapshot)
	l.At = l.Snapshot.Now
	return l
}

// A reader takes a tape apart. Its first error stays, and all that is read after
// it is zero.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) fail(why string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", errTape, why)
	}
	r.rest = nil
}

func (r *reader) byte() byte {
	if len(r.rest) == 0 {
		r.fail("it ends too soon")
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

func (r *reader) uvarint(most uint64) uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 || v > most {
		r.fail("a number is none")
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.rest)
	if n <= 0 {
		r.fail("a number is none")
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *reader) float() float64 {
	if len(r.rest) < 8 {
		r.fail("it ends too soon")
		return 0
	}
	x := math.Float64frombits(binary.LittleEndian.Uint64(r.rest))
	r.rest = r.rest[8:]
	return x
}

func (r *reader) count() int { return int(r.uvarint(mostCounted)) }

// several is how many things follow, each of a byte at least.
func (r *reader) several() int {
	n := r.uvarint(math.MaxUint64)
	if n > uint64(len(r.rest)) {
		r.fail("it ends too soon")
		return 0
	}
	return int(n)
}

func (r *reader) text() []byte {
	n := r.several()
	text := r.rest[:n]
	r.rest = r.rest[n:]
	return text
}

func (r *reader) duration(ms uint64) time.Duration { return time.Duration(ms) * time.Millisecond }

func (r *reader) flagged() (time.Duration, bool) {
	v := r.uvarint(2 * uint64(tapeMostTime))
	return r.duration(v >> 1), v&1 != 0
}

// difference undoes appendDifference.
func (r *reader) difference(old []begun, at int64, chances bool) []begun {
	var now []begun
	from, place := 0, 0
	for range r.several() {
		place += r.count()
		if place < from || place >= len(old) {
			r.fail("it forgets what was not there")
			return nil
		}
		now = append(now, old[from:place]...)
		from = place + 1
	}
	now = append(now, old[from:]...)
	for range r.several() {
		since, chance := at-int64(r.uvarint(uint64(tapeMostTime))), int32(even)
		if chances {
			chance = int32(r.uvarint(20 * even))
		}
		now = append(now, begunAt(since, chance))
	}
	slices.Sort(now)
	return now
}
