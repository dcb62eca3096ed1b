package telephony_test

import (
	"context"
	"errors"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dialer"
	"dialer/telephony"
)

// phone is a leg in memory whose far end says one tone and keeps what it hears.
type phone struct {
	telephony.Leg
	hz     float64
	keys   chan telephony.Digit
	done   chan struct{}
	answer time.Time

	mu      sync.Mutex
	next    int
	heard   []telephony.Frame
	pressed string
}

func newPhone(hz float64) *phone {
	return &phone{hz: hz, keys: make(chan telephony.Digit, 8), done: make(chan struct{}), answer: time.Now()}
}

const loud = 6000

func (p *phone) ReadFrame(ctx context.Context) (f telephony.Frame, err error) {
	p.mu.Lock()
	n := max(p.next, int(time.Since(p.answer)/telephony.FrameDuration))
	p.next = n + 1
	p.mu.Unlock()
	f.Offset = time.Duration(n) * telephony.FrameDuration
	timer := time.NewTimer(time.Until(p.answer.Add(f.Offset + telephony.FrameDuration)))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.done:
		return f, telephony.ErrLegEnded
	case <-ctx.Done():
		return f, ctx.Err()
	}
	for i := range f.Samples {
		f.Samples[i] = int16(loud * math.Sin(2*math.Pi*p.hz*float64(n*telephony.FrameSamples+i)/8000))
	}
	return f, nil
}

func (p *phone) WriteFrame(f telephony.Frame) error {
	select {
	case <-p.done:
		return telephony.ErrLegEnded
	default:
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard = append(p.heard, f)
	return nil
}

func (p *phone) SendDigits(_ context.Context, keys string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pressed += keys
	return nil
}

// took are the keys pressed towards the phone.
func (p *phone) took() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pressed
}

func (p *phone) Digits() <-chan telephony.Digit { return p.keys }
func (p *phone) Done() <-chan struct{}          { return p.done }

// last is what was heard in the last 500 ms.
func (p *phone) last(t *testing.T) []telephony.Frame {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.heard) < 25 {
		t.Fatalf("the phone of %.0f Hz has heard %d frames", p.hz, len(p.heard))
	}
	return p.heard[len(p.heard)-25:]
}

func (p *phone) frames() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.heard)
}

// amplitude of a tone in the frames (Goertzel).
func amplitude(frames []telephony.Frame, hz float64) float64 {
	c := 2 * math.Cos(2*math.Pi*hz/8000)
	var s1, s2 float64
	for _, f := range frames {
		for _, x := range f.Samples {
			s1, s2 = float64(x)+c*s1-s2, s1
		}
	}
	return 2 * math.Sqrt(max(0, s1*s1+s2*s2-c*s1*s2)) / float64(len(frames)*telephony.FrameSamples)
}

// The tones of the parties; each has whole periods in 500 ms.
const (
	personHz, agentHz, bossHz, clipHz = 300.0, 440.0, 620.0, 860.0
)

// hears checks that a phone hears these tones, and none of the others.
func (p *phone) hears(t *testing.T, when string, tones ...float64) {
	t.Helper()
	frames := p.last(t)
	for _, hz := range []float64{personHz, agentHz, bossHz, clipHz} {
		want := 0.0
		for _, tone := range tones {
			if tone == hz {
				want = loud
			}
		}
		if got := amplitude(frames, hz); math.Abs(got-want) > loud/20 {
			t.Errorf("%s: the phone of %.0f Hz hears %.0f Hz at %.0f, want %.0f", when, p.hz, hz, got, want)
		}
	}
}

func clip(length time.Duration) telephony.Clip {
	samples := make([]int16, length*8000/time.Second)
	for i := range samples {
		samples[i] = int16(loud * math.Sin(2*math.Pi*clipHz*float64(i)/8000))
	}
	return telephony.Clip{Samples: samples}
}

// confer runs a conference in a bubble until the test's end.
func confer(t *testing.T, f func(t *testing.T, c *telephony.Conference)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c := telephony.NewConference()
		ended := make(chan error, 1)
		go func() { ended <- c.Run(ctx) }()
		f(t, c)
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func join(t *testing.T, c *telephony.Conference, p *phone, role telephony.Role) *telephony.Member {
	t.Helper()
	m, err := c.Join(p, role)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Each hears those it should hear, nobody else, and never itself.
func TestConferenceWhoHearsWhom(t *testing.T) {
	confer(t, func(t *testing.T, c *telephony.Conference) {
		person, agent, boss := newPhone(personHz), newPhone(agentHz), newPhone(bossHz)
		atPerson := join(t, c, person, telephony.Person)
		join(t, c, agent, telephony.Agent)
		time.Sleep(time.Second)
		person.hears(t, "two alone", agentHz)
		agent.hears(t, "two alone", personHz)

		atBoss := join(t, c, boss, telephony.Listen)
		for _, now := range []struct {
			role                telephony.Role
			person, agent, boss []float64
		}{
			{telephony.Listen, []float64{agentHz}, []float64{personHz}, []float64{personHz, agentHz}},
			{telephony.Whisper, []float64{agentHz}, []float64{personHz, bossHz}, []float64{personHz, agentHz}},
			{telephony.Barge, []float64{agentHz, bossHz}, []float64{personHz, bossHz}, []float64{personHz, agentHz}},
			{telephony.Listen, []float64{agentHz}, []float64{personHz}, []float64{personHz, agentHz}},
		} {
			atBoss.SetRole(now.role)
			time.Sleep(time.Second)
			person.hears(t, string(now.role), now.person...)
			agent.hears(t, string(now.role), now.agent...)
			boss.hears(t, string(now.role), now.boss...)
		}

		atPerson.Hold(true)
		played := make(chan time.Duration)
		go func() {
			n, err := c.Play(t.Context(), clip(1500*time.Millisecond), atPerson)
			if err != nil {
				t.Error(err)
			}
			played <- n
		}()
		time.Sleep(time.Second)
		person.hears(t, "on hold, with music", clipHz)
		agent.hears(t, "with the person on hold")
		boss.hears(t, "with the person on hold", agentHz)
		if n := <-played; n != 1500*time.Millisecond {
			t.Errorf("played %s", n)
		}
		time.Sleep(time.Second)
		person.hears(t, "on hold")

		atPerson.Hold(false)
		atBoss.Leave()
		before := boss.frames()
		time.Sleep(time.Second)
		person.hears(t, "two alone again", agentHz)
		agent.hears(t, "two alone again", personHz)
		if boss.frames() > before+1 {
			t.Error("one who has left is still sent frames")
		}
	})
}

// Three people who hear each other, and gains of their own.
func TestConferenceOfThree(t *testing.T) {
	confer(t, func(t *testing.T, c *telephony.Conference) {
		a, b, d := newPhone(personHz), newPhone(agentHz), newPhone(bossHz)
		atA, atB := join(t, c, a, telephony.Person), join(t, c, b, telephony.Person)
		join(t, c, d, telephony.Person)
		start := a.frames()
		time.Sleep(2 * time.Second)
		a.hears(t, "of three", agentHz, bossHz)
		b.hears(t, "of three", personHz, bossHz)
		d.hears(t, "of three", personHz, agentHz)
		if n := a.frames() - start; n < 99 || n > 101 {
			t.Errorf("%d frames in 2 s", n)
		}
		c.SetGain(atA, atB, 0.5)
		time.Sleep(time.Second)
		if got := amplitude(a.last(t), agentHz); math.Abs(got-loud/2) > loud/20 {
			t.Errorf("with a gain of 0.5 the tone of %d has %.0f", loud, got)
		}
		b.hears(t, "whose gain for the others stays", personHz, bossHz)
	})
}

// A leg may end at any time; the others go on.
func TestConferenceGoesOnWithoutALeg(t *testing.T) {
	confer(t, func(t *testing.T, c *telephony.Conference) {
		a, b, d := newPhone(personHz), newPhone(agentHz), newPhone(bossHz)
		join(t, c, a, telephony.Person)
		gone := join(t, c, b, telephony.Person)
		join(t, c, d, telephony.Person)
		time.Sleep(time.Second)
		close(b.done)
		<-gone.Left()
		gone.Leave()
		gone.SetRole(telephony.Barge)
		time.Sleep(time.Second)
		a.hears(t, "after a leg has ended", bossHz)
		d.hears(t, "after a leg has ended", personHz)
		if n, err := c.Play(t.Context(), clip(time.Second), gone); !errors.Is(err, telephony.ErrLegEnded) {
			t.Errorf("a clip for one who is gone: %s, %v", n, err)
		}
	})
}

// A clip stops with its context, and is heard by those alone who were named.
func TestConferenceAnnouncement(t *testing.T) {
	confer(t, func(t *testing.T, c *telephony.Conference) {
		a, b := newPhone(personHz), newPhone(agentHz)
		join(t, c, a, telephony.Person)
		atB := join(t, c, b, telephony.Agent)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second+time.Millisecond)
		defer cancel()
		n, err := c.Play(ctx, clip(time.Minute), atB)
		if !errors.Is(err, context.DeadlineExceeded) || n < 980*time.Millisecond || n > 1040*time.Millisecond {
			t.Errorf("played %s, %v", n, err)
		}
		a.hears(t, "while another is announced to", agentHz)
		b.hears(t, "announced to", personHz, clipHz)
		time.Sleep(time.Second)
		b.hears(t, "after the announcement", personHz)
	})
}

// Keys are dropped, or passed to those who hear the one who pressed them.
func TestConferenceKeys(t *testing.T) {
	confer(t, func(t *testing.T, c *telephony.Conference) {
		person, agent, boss := newPhone(personHz), newPhone(agentHz), newPhone(bossHz)
		join(t, c, person, telephony.Person)
		atAgent := join(t, c, agent, telephony.Agent)
		atBoss := join(t, c, boss, telephony.Whisper)
		person.keys <- telephony.Digit{Key: '9'}
		passing := make(chan error, 2)
		go func() { passing <- c.PassDigits(t.Context(), atAgent) }()
		go func() { passing <- c.PassDigits(t.Context(), atBoss) }()
		agent.keys <- telephony.Digit{Key: '1'}
		agent.keys <- telephony.Digit{Key: '#'}
		time.Sleep(time.Second)
		boss.keys <- telephony.Digit{Key: '5'}
		time.Sleep(time.Second)
		if a, b, d := person.took(), agent.took(), boss.took(); a != "1#" || b != "5" || d != "1#" {
			t.Errorf("pressed: person %q, agent %q, boss %q", a, b, d)
		}
		atBoss.Leave()
		close(agent.keys)
		for range 2 {
			if err := <-passing; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestConferenceOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c := telephony.NewConference()
		ran := make(chan error, 1)
		go func() { ran <- c.Run(ctx) }()
		m := join(t, c, newPhone(personHz), telephony.Person)
		playing := make(chan error, 1)
		go func() {
			_, err := c.Play(t.Context(), clip(time.Minute), m)
			playing <- err
		}()
		time.Sleep(time.Second)
		cancel()
		if err := <-playing; !errors.Is(err, telephony.ErrConferenceOver) {
			t.Errorf("a clip: %v", err)
		}
		if err := <-ran; err != nil {
			t.Errorf("Run: %v", err)
		}
		<-m.Left()
		if _, err := c.Join(newPhone(agentHz), telephony.Agent); !errors.Is(err, telephony.ErrConferenceOver) {
			t.Errorf("Join: %v", err)
		}
		if _, err := c.Play(t.Context(), clip(time.Second)); !errors.Is(err, telephony.ErrConferenceOver) {
			t.Errorf("Play: %v", err)
		}
	})
	confer(t, func(t *testing.T, c *telephony.Conference) {
		for range 64 {
			join(t, c, newPhone(personHz), telephony.Listen)
		}
		if _, err := c.Join(newPhone(agentHz), telephony.Agent); dialer.CodeOf(err) != dialer.Conflict {
			t.Errorf("the 65th: %v", err)
		}
	})
}

// From a bridge to a conference and back: what is said is missing for two
// frames at most, and each leg is sent a frame every 20 ms.
func TestTalkIsSupervised(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		person, agent, boss := newPhone(personHz), newPhone(agentHz), newPhone(bossHz)
		talk := telephony.NewTalk(person, agent)
		time.Sleep(time.Second)
		person.hears(t, "alone", agentHz)
		agent.hears(t, "alone", personHz)

		atBoss, err := talk.Supervise(boss, telephony.Whisper)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		person.hears(t, "whispered", agentHz)
		agent.hears(t, "whispered", personHz, bossHz)
		boss.hears(t, "whispering", personHz, agentHz)

		second, err := talk.Supervise(newPhone(clipHz), telephony.Listen)
		if err != nil {
			t.Fatal(err)
		}
		second.Leave()
		time.Sleep(time.Second)
		agent.hears(t, "whispered still", personHz, bossHz)
		atBoss.Leave()
		time.Sleep(time.Second)
		person.hears(t, "alone again", agentHz)
		agent.hears(t, "alone again", personHz)

		if _, err := talk.Supervise(boss, telephony.Barge); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		person.hears(t, "barged in", agentHz, bossHz)
		close(boss.done) // who hangs up leaves
		time.Sleep(time.Second)
		agent.hears(t, "after the supervisor hung up", personHz)

		if n := agent.frames(); n < 295 || n > 303 {
			t.Errorf("%d frames in 6 s", n)
		}
		talk.End()
		talk.End()
		silent := 0
		for _, f := range person.heard[1:] {
			if amplitude([]telephony.Frame{f}, 450) < loud/4 {
				silent++
			}
		}
		if silent > 8 {
			t.Errorf("%d frames of silence in four changes", silent)
		}
		if _, err := talk.Supervise(newPhone(bossHz), telephony.Listen); !errors.Is(err, telephony.ErrConferenceOver) {
			t.Errorf("Supervise after the end: %v", err)
		}
		before := agent.frames()
		time.Sleep(time.Second)
		if agent.frames() != before {
			t.Error("legs that were parted hear each other")
		}
	})
}

// The talk ends while it is supervised.
func TestTalkEndsSupervised(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		person, agent, boss := newPhone(personHz), newPhone(agentHz), newPhone(bossHz)
		talk := telephony.NewTalk(person, agent)
		m, err := talk.Supervise(boss, telephony.Listen)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		close(person.done)
		time.Sleep(time.Second)
		boss.hears(t, "after the person hung up", agentHz)
		talk.End()
		<-m.Left()
	})
}
