package telephony

import (
	"context"
	"slices"
	"sync"
	"time"

	"dialer"
	"dialer/telephony/mix"
)

// SetRole changes whom the member hears and who hears it, within a frame.
func (m *Member) SetRole(role Role) { m.change(func() { m.role = role }) }

// Hold takes the member out of the talk without letting it go: it hears nobody
// and nobody hears it, but clips are played to it.
func (m *Member) Hold(on bool) { m.change(func() { m.held = on }) }

func (m *Member) change(f func()) {
	c := m.conference
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
	if m.present {
		c.connect(m)
	}
}

// SetGain makes one member hear another louder or not at all, whatever their
// roles: 1 is as it is, 0 not at all, 4 the most. It holds until one of the two
// changes its role or is held.
func (c *Conference) SetGain(to, from *Member, factor float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if to.present && from.present && factor >= 0 {
		c.mixer.Set(to.id, from.id, int(min(factor*mix.Unity, mix.MaxGain)))
	}
}

// Play plays a clip to some members, in addition to what they hear, and returns
// when it is over, with the length of what was played. It fails with the error
// of ctx, with ErrLegEnded when all of them have left, with ErrConferenceOver, or
// with a Conflict when the conference is full.
func (c *Conference) Play(ctx context.Context, clip Clip, to ...*Member) (played time.Duration, err error) {
	a, err := c.announce(clip, to)
	if err != nil {
		return 0, err
	}
	select {
	case <-a.done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(c.clips, a); i >= 0 {
		c.clips = slices.Delete(c.clips, i, i+1)
		c.mixer.Remove(a.id)
	}
	played = time.Duration(a.played) * time.Second / 8000
	switch {
	case a.played == len(a.samples):
		return played, nil
	case err != nil:
		return played, err
	case c.over:
		return played, ErrConferenceOver
	}
	return played, ErrLegEnded
}

func (c *Conference) announce(clip Clip, to []*Member) (*announcement, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return nil, ErrConferenceOver
	}
	id, ok := c.mixer.Add()
	if !ok {
		return nil, dialer.Errorf(dialer.Conflict, "the conference is full: it takes %d parties", mix.MaxParties)
	}
	a := &announcement{id: id, samples: clip.Samples, to: to, done: make(chan struct{})}
	c.clips = append(c.clips, a)
	for _, m := range to {
		if m.present {
			c.mixer.Set(m.id, id, mix.Unity)
		}
	}
	return a, nil
}

// endClips ends the clips that have been played, or that nobody hears any more.
// The caller holds mu.
func (c *Conference) endClips() {
	c.clips = slices.DeleteFunc(c.clips, func(a *announcement) bool {
		heard := slices.ContainsFunc(a.to, func(m *Member) bool { return m.present })
		if heard && a.played < len(a.samples) {
			return false
		}
		c.mixer.Remove(a.id)
		close(a.done)
		return true
	})
}

// PassDigits presses the keys that a member presses towards those who hear it,
// as far as their legs can (KeySender), until it leaves or ctx ends. Without it a
// member's keys are its leg's owner's: they are no part of the audio. It returns
// nil.
func (c *Conference) PassDigits(ctx context.Context, from *Member) error {
	var pressing sync.WaitGroup
	defer pressing.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-from.left:
			return nil
		case d, ok := <-from.leg.Digits():
			if !ok {
				return nil
			}
			pressing.Wait() // keys come in order
			for _, to := range c.hearing(from) {
				// One who takes no keys, or has just ended, misses them.
				pressing.Go(func() { _ = to.SendDigits(ctx, string(d.Key)) })
			}
		}
	}
}

// hearing are the legs of those who hear a member and take keys.
func (c *Conference) hearing(from *Member) []KeySender {
	c.mu.Lock()
	defer c.mu.Unlock()
	var legs []KeySender
	for _, to := range c.members {
		if k, ok := to.leg.(KeySender); ok && to != from && to.gain(from) > 0 {
			legs = append(legs, k)
		}
	}
	return legs
}
