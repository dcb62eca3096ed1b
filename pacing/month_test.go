package pacing

import (
	"encoding/json"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"
)

// A month is a dialer that runs on and on: some hours of twenty agents a day, who
// go home in the evening. It looks once a second and decides every tenth.
type month struct {
	rand      *rand.Rand
	hours     int // of a day's work
	floor     *Floor
	pacer     Pacer
	now       time.Time
	second    int
	todo      map[int][]func()
	free      []uint64
	calls     uint64
	answered  int
	abandoned int
}

func newMonth(t testing.TB, hours int) *month {
	return &month{
		rand: rand.New(rand.NewPCG(1, 1)), hours: hours, floor: NewFloor(25 * time.Second), pacer: pacerOf(t, Config{Mode: Predictive}),
		now: time.Unix(1e9, 0), todo: map[int][]func(){},
	}
}

func (m *month) tell(k Kind, call, agent uint64) {
	m.floor.Observe(Event{At: m.now, Kind: k, Call: call, Agent: agent, Live: true})
}

func (m *month) after(seconds float64, f func()) {
	at := m.second + 1 + int(seconds)
	m.todo[at] = append(m.todo[at], f)
}

// day is one day, and the night until the next one.
func (m *month) day() {
	const team = 20
	morning, home := m.now, m.second+m.hours*3600
	for agent := range uint64(team) {
		m.ready(agent + 1)
	}
	for ; m.second < home+1800; m.second, m.now = m.second+1, m.now.Add(time.Second) {
		for _, f := range m.todo[m.second] {
			f()
		}
		delete(m.todo, m.second)
		switch {
		case m.second >= home: // who talks still is let go after it
			for _, agent := range m.free {
				m.tell(AgentPaused, 0, agent)
			}
			m.free = m.free[:0]
		case m.second%10 == 0:
			d := m.pacer.Decide(m.floor.Snapshot(m.now, Outside{
				Answered: m.answered, Abandoned: m.abandoned, Cap: 0.03, Lines: 1000, LeadsLeft: 1000,
			}))
			for range d.Dial {
				m.dial()
			}
		}
	}
	m.now = morning.Add(24 * time.Hour)
}

func (m *month) ready(agent uint64) {
	m.free = append(m.free, agent)
	m.tell(AgentReady, 0, agent)
}

func (m *month) dial() {
	m.calls++
	id := m.calls
	m.tell(CallPlaced, id, 0)
	if m.rand.Float64() < 0.8 {
		m.after(25, func() { m.tell(CallEnded, id, 0) })
		return
	}
	m.after(6+12*m.rand.Float64(), func() {
		m.tell(CallAnswered, id, 0)
		m.after(1, func() {
			m.answered++
			m.tell(CallClassified, id, 0)
			m.connect(id, 2)
		})
	})
}

// connect gives a person to an agent, or looks again as often.
func (m *month) connect(id uint64, again int) {
	switch {
	case len(m.free) > 0:
		agent := m.free[0]
		m.free = m.free[1:]
		m.tell(CallConnected, id, agent)
		m.after(min(120*m.rand.ExpFloat64(), 1200), func() {
			m.tell(CallEnded, id, 0)
			m.tell(AgentWrapUp, 0, agent)
			m.after(30*m.rand.Float64(), func() { m.ready(agent) })
		})
	case again > 0:
		m.after(0, func() { m.connect(id, again-1) })
	default:
		m.abandoned++
		m.tell(CallEnded, id, 0)
	}
}

// live is how many bytes of the heap are in use.
func live() int {
	var s runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&s)
	return int(s.HeapAlloc)
}

// slack is what the heap may differ by from one evening to another, in bytes: the
// tables of one set of laws, old or new.
const slack = 64 << 10

// run plays days and returns the heap in use after the second and the last of them.
func (m *month) run(t testing.TB, days int) (second, last int) {
	for day := range days {
		m.day()
		if day == 1 {
			second = live()
		}
	}
	last = live()
	if last > second+slack {
		t.Errorf("after day 2 %d kB of the heap are in use, after day %d %d kB", second>>10, days, last>>10)
	}
	f := m.floor
	if len(f.calls)+len(f.order)+len(f.agents)+len(f.team) != 0 || cap(f.order) > 500 || cap(f.team) > 40 {
		t.Errorf("overnight it holds %d calls and %d agents, with room for %d and %d", len(f.calls), len(f.agents), cap(f.order), cap(f.team))
	}
	stored, err := json.Marshal(&f.Estimator)
	if err != nil || len(stored) > 16<<10 {
		t.Errorf("what it has learned takes %d bytes, %v", len(stored), err)
	}
	if rate := float64(m.abandoned) / float64(m.answered); rate > 0.03 || m.calls < uint64(days*m.hours)*500 {
		t.Errorf("%d calls in %d days, %.2f %% of the answered abandoned: that was no month to learn from", m.calls, days, 100*rate)
	}
	return second, last
}

// TestMonth is some short days of BenchmarkMonth.
func TestMonth(t *testing.T) {
	m := newMonth(t, 2)
	second, last := m.run(t, 3)
	t.Logf("%d calls, heap in use %d kB and %d kB", m.calls, second>>10, last>>10)
	s := m.floor.Snapshot(m.now, Outside{Answered: 1000, Cap: 0.03, Lines: 100, LeadsLeft: 100})
	if n := testing.AllocsPerRun(100, func() { m.pacer.Decide(s) }); n > 20 {
		t.Errorf("a decision allocates %g times", n)
	}
}

// BenchmarkMonth fails when the heap in use grows over thirty days.
func BenchmarkMonth(b *testing.B) {
	var second, last int
	for b.Loop() {
		second, last = newMonth(b, 8).run(b, 30)
	}
	b.ReportMetric(float64(second>>10), "KB-day-2")
	b.ReportMetric(float64(last>>10), "KB-day-30")
}
