package simulate

import (
	"fmt"
	"math"
	"time"

	"dialer/pacing"
)

// A Limit is what an Adaptive does when more was abandoned than is allowed.
type Limit string

// The limits: back to one line an agent, half the level, or a share of it that
// shrinks towards the end of the day.
const (
	Hard    Limit = "hard"
	Average Limit = "average"
	Tapered Limit = "tapered"
)

// Adaptive paces as open-source dialers do, to compare with: it keeps lines open
// in a ratio to the agents, the level, and moves the level by how many agents
// waited and how many calls. It predicts nothing.
type Adaptive struct {
	Limit     Limit
	MostLevel float64 // 0 means 3
	// Intensity scales the steps of the level; 0 means 1.
	Intensity float64
	// Difference is how many more agents than calls should wait.
	Difference float64
	// ReadyOnly counts only the agents who wait, beside the lines that agents
	// have already.
	ReadyOnly bool
	// Until is the end of the day, for Tapered.
	Until time.Time

	level                          float64
	dialed, moved, minute          time.Time
	ready, waiting, agents, looks  float64
	answered, abandoned            int // a minute ago
	lastAnswered, lastLost, served int
	drops                          float64
}

// What an Adaptive does how often, and from how many calls on it heeds a limit.
const (
	adaptiveDials  = 2500 * time.Millisecond
	adaptiveMoves  = 15 * time.Second
	adaptiveCounts = time.Minute
	limitFrom      = 50
	alarmFrom      = 20
	alarmDrops     = 0.5
)

// Decide implements pacing.Pacer.
func (a *Adaptive) Decide(s pacing.Snapshot) pacing.Decision {
	if a.level == 0 {
		a.level, a.moved, a.minute = 1, s.Now, s.Now
	}
	agents := float64(s.Ready + s.Held + len(s.Talking))
	a.ready, a.waiting = a.ready+float64(s.Ready), a.waiting+float64(s.Waiting)
	a.agents, a.looks = a.agents+agents, a.looks+1
	if s.Now.Sub(a.minute) >= adaptiveCounts {
		a.minute = s.Now
		a.served, a.drops = s.Answered, float64(s.Abandoned)/float64(max(s.Answered, 1))
		a.lastAnswered, a.lastLost = s.Answered-a.answered, s.Abandoned-a.abandoned
		a.answered, a.abandoned = s.Answered, s.Abandoned
	}
	if s.Now.Sub(a.moved) >= adaptiveMoves {
		a.move(s.Now, s.Cap)
	}
	d := pacing.Decision{Limit: "agents", ExpectedFree: float64(s.Ready)}
	if s.Now.Sub(a.dialed) < adaptiveDials {
		return d
	}
	a.dialed = s.Now
	want := a.level * agents
	if a.ReadyOnly {
		want = a.level*float64(s.Ready+s.Held) + float64(len(s.Talking))
	}
	open := len(s.Ringing) + len(s.Detecting) + s.Waiting + len(s.Talking)
	d.Dial = min(max(int(math.Round(want))-open, 0), max(s.Lines, 0), max(s.LeadsLeft, 0))
	d.Reason = fmt.Sprintf("%d lines open at a level of %.2f: dial %d", open, a.level, d.Dial)
	return d
}

// move is the step of the level.
func (a *Adaptive) move(now time.Time, limit float64) {
	a.moved = now
	most, intensity := a.MostLevel, a.Intensity
	if most == 0 {
		most = 3
	}
	if intensity == 0 {
		intensity = 1
	}
	if a.agents > 0 {
		n := a.agents / a.looks
		surplus := (a.ready-a.waiting)/a.looks - a.Difference
		a.level *= 1 + intensity*surplus/n
	}
	a.ready, a.waiting, a.agents, a.looks = 0, 0, 0, 0
	a.level = min(max(a.level, 1), most)
	if a.served >= limitFrom && a.drops > limit {
		switch a.Limit {
		case Average:
			a.level /= 2
		case Tapered:
			a.level *= max(tenths(now, a.Until), 0)
		default:
			a.level = 1
		}
	}
	if a.lastAnswered >= alarmFrom && float64(a.lastLost) > alarmDrops*float64(a.lastAnswered) {
		a.level /= 2
	}
	a.level = min(max(a.level, 1), most)
}

// tenths is the time left as a share, a tenth for each hour: the difference of the
// two times written as hours and minutes, 1730 less 0900, over a thousand.
func tenths(now, until time.Time) float64 {
	clock := func(t time.Time) int {
		if t.IsZero() {
			return 0
		}
		days := int(t.Sub(now.Truncate(24*time.Hour)) / (24 * time.Hour))
		return (days*24+t.Hour())*100 + t.Minute()
	}
	return min(float64(clock(until)-clock(now))/1000, 1)
}
