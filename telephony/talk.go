package telephony

import (
	"context"
	"sync"
)

// A Talk is two legs that hear each other: their packets are passed straight on
// while they are alone, and mixed while supervisors are with them. Either change
// costs a frame or two of what is said; the far ends see one stream.
type Talk struct {
	person, agent Leg

	mu          sync.Mutex
	over        bool
	part        func() // ends what joins them now
	conference  *Conference
	supervisors int
	watching    sync.WaitGroup
}

// NewTalk joins two legs, as Join does, until End, which must be called.
func NewTalk(person, agent Leg) *Talk {
	return &Talk{person: person, agent: agent, part: Join(person, agent)}
}

// Supervise lets a third leg into the talk, as Listen, Whisper or Barge, until
// the member leaves or its leg or the talk ends. It fails with
// ErrConferenceOver after End, or with a Conflict when the talk is full.
func (t *Talk) Supervise(leg Leg, role Role) (*Member, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return nil, ErrConferenceOver
	}
	if t.conference == nil {
		if err := t.confer(); err != nil {
			return nil, err
		}
	}
	m, err := t.conference.Join(leg, role)
	if err != nil {
		t.alone()
		return nil, err
	}
	t.supervisors++
	t.watching.Go(func() {
		<-m.Left()
		t.mu.Lock()
		defer t.mu.Unlock()
		t.supervisors--
		t.alone()
	})
	return m, nil
}

// confer makes a conference of the talk.
func (t *Talk) confer() error {
	c := NewConference()
	t.part()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.part = func() {
		cancel()
		running.Wait()
	}
	for leg, role := range map[Leg]Role{t.person: Person, t.agent: Agent} {
		if _, err := c.Join(leg, role); err != nil {
			return err
		}
	}
	running.Go(func() { _ = c.Run(ctx) })
	t.conference = c
	return nil
}

// alone passes packets straight on again when no supervisor is left.
func (t *Talk) alone() {
	if t.over || t.supervisors > 0 || t.conference == nil {
		return
	}
	t.conference = nil
	t.part()
	t.part = Join(t.person, t.agent)
}

// End parts the legs. They stay up, as do those of the supervisors.
func (t *Talk) End() {
	t.mu.Lock()
	if t.over {
		t.mu.Unlock()
		return
	}
	t.over = true
	t.part()
	t.mu.Unlock()
	t.watching.Wait()
}
