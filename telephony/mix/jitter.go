package mix

import (
	"math"
	"math/bits"
	"time"
)

const (
	// MinDelay and MaxDelay bound how long a Buffer keeps what came without
	// delay before it has been played: 2 to 10 frames.
	MinDelay = 2 * FrameDuration
	MaxDelay = 10 * FrameDuration

	// All the following are samples. The slack is how far what is played lies
	// behind the freshest there could be; the frame itself adds to the delay.
	firstSlack = int64(MinDelay/FrameDuration-1) * FrameSamples
	mostSlack  = int64(MaxDelay/FrameDuration-1) * FrameSamples
	// spare is the slack beside what lateness asks for, for whoever keeps the
	// tick; sparing more than plenty is too much where somebody speaks.
	spare, enough, plenty = 40, 60, 200
	farOff                = 480
	// strange is how far a packet may be from its time; what is further away is
	// of another clock, if strangers packets in a row say so.
	strange   = int64(MaxDelay/FrameDuration) * FrameSamples
	strangers = 3

	ringSize = 4096 // more than strange on both sides of what is played

	// transitFor is how long the fastest packet is remembered; a clock that
	// runs 200 ppm slow is 0.8 ms off by then.
	transitFor = 2 * rate
	// Packets that come within 2 ms were held back together.
	burst = rate / 500
	// Of memory packets, one in rarely may be too late.
	memory, rarely = 512, 200
)

// A Buffer is the play-out buffer of one party: audio goes in by its media time
// whenever it comes, and a frame comes out each tick, whatever came. It plays as
// late as the line's jitter asks for. It waits at once when nothing is there,
// and catches up in silence, or by periods of the voice, where nobody hears it;
// so it also follows a far end whose clock runs fast or slow. What is missing is
// concealed; digital silence, as of a far end that sends nothing while nobody
// speaks, is noise of the line's own level.
//
// The zero value is ready. It is not safe for use by several goroutines.
type Buffer struct {
	ring [ringSize]int16
	have [ringSize / 64]uint64 // samples of ring that are there

	started bool
	play    int64 // the sample to be played next
	newest  int64 // end of the latest that came
	owed    int64 // samples made up while play stood still
	odd     int   // strange packets in a row

	// transit is the arrival of the fastest packet less its own time: now and in
	// the stretch before.
	transit, earlier int64
	transitAt        int64
	cameAt           int64 // the last packet
	late             lateness
	slack            float64 // smoothed
	rest             int     // ticks until the speed may be changed again

	conceal Concealer
	floor   NoiseFloor
	silent  bool
	stats   BufferStats
}

// BufferStats counts frames, but where it says otherwise.
type BufferStats struct {
	Played    int64
	Concealed int64 // wholly or in part, while the far end was heard
	Late      int64 // came after their time
	Shortened int64 // times that the delay was made shorter
	Stretched int64 // times that it was made longer
	Recentred int64 // times that it was set anew: overflow, another clock
}

// Stats counts what happened so far.
func (b *Buffer) Stats() BufferStats { return b.stats }

// Delay is how long audio that came without delay waits at present.
func (b *Buffer) Delay() time.Duration { return durationOf(int64(b.slack)) + FrameDuration }

// Put takes audio that begins at a media time and came now. Both times count
// from anywhere; order, length, copies and gaps do not matter.
func (b *Buffer) Put(x []int16, at, now time.Duration) {
	if len(x) == 0 || len(x) > int(strange) {
		return
	}
	begin, arrived := samplesIn(at), samplesIn(now)
	end := begin + int64(len(x))
	if !b.started {
		b.start(begin, end, arrived)
	}
	if late := arrived - end - b.fastest(); late > strange || late < -strange {
		if b.odd++; b.odd < strangers {
			return
		}
		b.start(begin, end, arrived)
		b.stats.Recentred++
	}
	b.odd = 0
	b.travelled(arrived-end, arrived)
	if arrived-b.cameAt > burst { // what a stall held back is late once
		b.late.add(arrived - end - b.fastest())
	}
	b.cameAt = arrived
	if end <= b.play {
		b.stats.Late++
		return
	}
	// It fits: neither end is further from its time than strange.
	from := max(begin, b.play)
	x = x[from-begin:]
	n := copy(b.ring[from&(ringSize-1):], x)
	copy(b.ring[:], x[n:])
	b.mark(from, end, true)
	b.newest = max(b.newest, end)
}

// start begins with another clock.
func (b *Buffer) start(begin, end, arrived int64) {
	b.have = [ringSize / 64]uint64{}
	b.transit, b.earlier, b.transitAt = arrived-end, math.MaxInt64, arrived
	slack := max(firstSlack, b.late.most()+spare)
	b.play, b.newest, b.owed, b.odd = begin-slack, begin, 0, 0
	b.slack = float64(slack)
	if b.started {
		b.conceal.Splice()
	}
	b.started = true
}

func (b *Buffer) fastest() int64 { return min(b.transit, b.earlier) }

func (b *Buffer) travelled(transit, now int64) {
	if now-b.transitAt > transitFor {
		was := b.fastest()
		b.earlier, b.transit, b.transitAt = b.transit, transit, now
		b.late.sooner(b.fastest() - was)
	}
	b.transit = min(b.transit, transit)
}

// Take plays the next frame; it is called once a tick.
func (b *Buffer) Take(out *Frame, now time.Duration) {
	b.stats.Played++
	if !b.started {
		*out = Frame{}
		return
	}
	b.conceal.Noise.Set(b.floor.RMS(), b.floor.Tilt())
	fresh := samplesIn(now) - b.fastest() // what the fastest packets have brought by now
	b.centre(fresh)
	if !b.adapt(out) && !b.fill(out, fresh) {
		return
	}
	b.silent = b.floor.Hear(out)
	if *out == (Frame{}) {
		b.conceal.Noise.Fill(out[:])
	}
}

// centre keeps the delay below its maximum, and its average.
func (b *Buffer) centre(fresh int64) {
	slack := fresh - b.play - FrameSamples
	if slack > mostSlack+FrameSamples {
		wanted := b.late.most() + FrameSamples + enough
		b.skip(slack - wanted)
		b.owed = 0
		b.conceal.Splice()
		b.stats.Recentred++
		b.slack = float64(wanted)
		return
	}
	b.slack += (float64(slack) - b.slack) / 16 // the tick itself is not even
}

// skip leaves n samples out.
func (b *Buffer) skip(n int64) {
	b.mark(b.play, b.play+min(n, ringSize), false)
	b.play += n
}

// mark notes that samples are there, or not any more.
func (b *Buffer) mark(from, to int64, there bool) {
	for from < to {
		p := from & (ringSize - 1)
		n := min(64-p%64, to-from)
		word := (^uint64(0) >> (64 - n)) << (p % 64)
		if there {
			b.have[p/64] |= word
		} else {
			b.have[p/64] &^= word
		}
		from += n
	}
}

// run is how many samples are there, or missing, from play on, up to most.
func (b *Buffer) run(there bool, most int64) int64 {
	n := int64(0)
	for n < most {
		p := (b.play + n) & (ringSize - 1)
		word := b.have[p/64]
		if there {
			word = ^word
		}
		left := 64 - p%64
		same := min(int64(bits.TrailingZeros64(word>>(p%64))), left)
		n += same
		if same < left {
			break
		}
	}
	return min(n, most)
}

// peek copies what is played next.
func (b *Buffer) peek(x []int16) {
	at := int(b.play & (ringSize - 1))
	n := copy(x, b.ring[at:])
	copy(x[n:], b.ring[:])
}

// fill plays what is there and makes up the rest. It reports whether all of it
// was there.
func (b *Buffer) fill(out *Frame, fresh int64) bool {
	whole := true
	for rest := out[:]; len(rest) > 0; {
		if n := b.run(true, int64(len(rest))); n > 0 {
			b.peek(rest[:n])
			b.skip(n)
			b.conceal.Hear(rest[:n])
			b.owed = 0 // it was late, not lost: the wait stands
			rest = rest[n:]
			continue
		}
		if b.newest > b.play {
			gap := b.run(false, b.newest-b.play)
			// Lost. What was made up while waiting for it stands for it.
			paid := min(gap, b.owed)
			b.owed -= paid
			b.play += paid
			b.slack -= float64(paid)
			if gap -= paid; gap == 0 {
				continue
			}
			whole = false
			n := min(gap, int64(len(rest)))
			b.conceal.Fill(rest[:n])
			b.play += n
			rest = rest[n:]
			continue
		}
		// Late, or lost, or nothing is sent. Wait, unless that makes it too late.
		whole = false
		b.conceal.Fill(rest)
		if n := int64(len(rest)); fresh-b.play <= mostSlack {
			b.owed += n
			b.slack += float64(n)
		} else {
			b.play += n
		}
		break
	}
	if !whole {
		b.stats.Concealed++
	}
	return whole
}

// Ticks between two corrections in silence, within speech, and within speech
// when the delay is far off; and how well the voice must repeat itself for them.
const (
	restSilence, restSpeech, restFar = 2, 8, 3
	wellAlike, farAlike              = 0.7, 0.4
)

// adapt plays a frame a little faster or slower when the delay is not what it
// should be, and reports whether it did.
func (b *Buffer) adapt(out *Frame) bool {
	if b.rest > 0 {
		b.rest--
		return false
	}
	// A packet is there as a whole or not at all: what is played next asks for
	// as much slack as it takes to the end of its packet.
	slack, late := int64(b.slack), b.late.most()
	left := b.newest - b.play - FrameSamples
	need := func(skipped int64) int64 { return late + modulo(left-skipped, FrameSamples) }
	margin, rest, alike := int64(plenty), restSpeech, wellAlike
	switch {
	case b.silent:
		margin, rest, alike = enough, restSilence, -1
	case slack > late+farOff:
		rest, alike = restFar, farAlike
	}
	var x [compared + longestPeriod]int16
	switch all := int64(len(x)); {
	case slack-shortestPeriod >= need(shortestPeriod)+margin && b.run(true, all) == all:
		b.peek(x[:])
		n, likeness := period(x[:], 0, false)
		if likeness < alike || slack-int64(n) < need(int64(n))+margin {
			b.rest = rest
			return false
		}
		blend(out[:], x[:FrameSamples], x[n:n+FrameSamples])
		b.skip(FrameSamples + int64(n))
		b.slack -= float64(n)
		b.stats.Shortened++
	case slack < need(0)+spare && slack+FrameSamples < mostSlack && b.run(true, FrameSamples) == FrameSamples:
		copy(x[:longestPeriod], b.conceal.history[remembered-longestPeriod:])
		b.peek(x[longestPeriod:])
		n, likeness := period(x[:], longestPeriod, true)
		if likeness < alike {
			b.rest = rest
			return false
		}
		blend(out[:], x[longestPeriod:], x[longestPeriod-n:][:FrameSamples])
		b.skip(FrameSamples - int64(n))
		b.slack += float64(n)
		b.stats.Stretched++
	default:
		return false
	}
	b.owed, b.rest = 0, rest
	b.conceal.Hear(out[:])
	return true
}

func modulo(a, n int64) int64 { return (a%n + n) % n }

// lateness is how late packets were, each against the fastest one of its time:
// how often by how much. The last seconds count most.
type lateness struct {
	bins  [MaxDelay/(5*time.Millisecond) + 1]int32
	total int32
}

const binSamples = 40

func (l *lateness) add(late int64) {
	bin := (max(late, 0) + binSamples - 1) / binSamples
	l.bins[min(bin, int64(len(l.bins)-1))]++
	if l.total++; l.total >= memory {
		l.total = 0
		for i := range l.bins {
			l.bins[i] /= 2
			l.total += l.bins[i]
		}
	}
}

// sooner hears that the fastest packets take longer than they did: what seemed
// late was the line.
func (l *lateness) sooner(by int64) {
	n := int(max(0, by) / binSamples)
	if n == 0 {
		return
	}
	for i, count := range l.bins {
		l.bins[i] = 0
		l.bins[max(0, i-n)] += count
	}
}

// most is how late packets are, but for the rarest, in samples.
func (l *lateness) most() int64 {
	tooLate := int32(0)
	for i := len(l.bins) - 1; i > 1; i-- {
		if tooLate += l.bins[i]; tooLate*rarely > l.total {
			return min(int64(i)*binSamples, mostSlack-FrameSamples-enough)
		}
	}
	return binSamples
}
