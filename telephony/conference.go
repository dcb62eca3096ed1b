package telephony

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"dialer"
	"dialer/telephony/mix"
)

// A Role says whom a member of a conference hears and who hears them.
type Role string

// The roles. Everybody hears a Person, an Agent and who has joined in by Barge.
const (
	Person  Role = "person"
	Agent   Role = "agent"
	Listen  Role = "listen"  // a supervisor whom nobody hears
	Whisper Role = "whisper" // a supervisor whom the person does not hear
	Barge   Role = "barge"   // a supervisor whom all hear
)

// hears tells whether one role hears another.
func (to Role) hears(from Role) bool {
	switch from {
	case Listen:
		return false
	case Whisper:
		return to != Person
	}
	return true
}

// ErrConferenceOver is returned once a conference's Run has returned.
var ErrConferenceOver = errors.New("the conference is over")

// A Conference lets any number of legs hear each other, each by its role. Legs
// may come, go and end at any time; the others go on. Its methods may be called
// from any goroutine, but not from a leg's tap.
type Conference struct {
	began time.Time

	mu      sync.Mutex
	mixer   mix.Mixer
	members []*Member // in the order of their joining
	clips   []*announcement
	over    bool
	staying sync.WaitGroup // the members

	heard []heard // of this tick; Run's own
}

// A Member is a leg in a conference.
type Member struct {
	conference *Conference
	leg        Leg
	id         int
	role       Role
	held       bool
	present    bool
	buffer     mix.Buffer
	unhook     func() // ends what fills the buffer; nil before that has begun
	left       chan struct{}
}

// heard is what a leg is to be sent.
type heard struct {
	member *Member
	frame  Frame
}

// announcement is a clip that some members hear.
type announcement struct {
	id      int
	samples []int16
	played  int
	to      []*Member
	done    chan struct{}
}

// NewConference returns a conference without members; Run must be called.
func NewConference() *Conference { return &Conference{began: time.Now()} }

// Run keeps the conference's clock until ctx ends: each 20 ms one frame of each
// member, and one to each. Then all members have left. It returns nil.
func (c *Conference) Run(ctx context.Context) error {
	defer c.end()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for due := time.Now(); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		c.tick()
		// As Play does: a hiccup is made good, what a stall held up is not.
		now := time.Now()
		if now.Sub(due) > playLate {
			due = now
		}
		due = due.Add(FrameDuration)
		timer.Reset(due.Sub(now))
	}
}

func (c *Conference) end() {
	c.mu.Lock()
	c.over = true
	members := c.members
	for _, a := range c.clips {
		close(a.done)
	}
	c.clips = nil
	c.mu.Unlock()
	for _, m := range members {
		m.Leave()
	}
	c.staying.Wait()
}

// tick mixes one frame and sends it.
func (c *Conference) tick() {
	c.mu.Lock()
	now := time.Since(c.began)
	for _, m := range c.members {
		m.buffer.Take(c.mixer.In(m.id), now)
	}
	for _, a := range c.clips {
		in := c.mixer.In(a.id)
		*in = mix.Frame{}
		a.played += copy(in[:], a.samples[a.played:])
	}
	c.mixer.Mix()
	c.heard = c.heard[:0]
	for _, m := range c.members {
		c.heard = append(c.heard, heard{m, Frame{Samples: *c.mixer.Out(m.id)}})
	}
	c.endClips()
	c.mu.Unlock()
	for i := range c.heard {
		h := &c.heard[i]
		if h.member.leg.WriteFrame(h.frame) != nil {
			c.drop(h.member) // the leg has ended
		}
		h.member = nil
	}
}

// Join lets a leg in. The conference reads and writes its frames until it
// leaves; nobody else may. It fails with ErrConferenceOver, or with a Conflict
// when the conference is full.
func (c *Conference) Join(leg Leg, role Role) (*Member, error) {
	m, err := c.add(leg, role)
	if err != nil {
		return nil, err
	}
	unhook := m.hook()
	c.mu.Lock()
	m.unhook = unhook
	gone := !m.present
	c.mu.Unlock()
	if gone {
		unhook()
	}
	return m, nil
}

func (c *Conference) add(leg Leg, role Role) (*Member, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return nil, ErrConferenceOver
	}
	id, ok := c.mixer.Add()
	if !ok {
		return nil, dialer.Errorf(dialer.Conflict, "the conference is full: it takes %d parties", mix.MaxParties)
	}
	m := &Member{conference: c, leg: leg, id: id, role: role, present: true, left: make(chan struct{})}
	c.members = append(c.members, m)
	c.staying.Add(1)
	c.connect(m)
	return m, nil
}

// drop takes a member out without waiting until nothing more is read from it.
func (c *Conference) drop(m *Member) {
	c.mu.Lock()
	if !m.present {
		c.mu.Unlock()
		return
	}
	m.present = false
	i := slices.Index(c.members, m)
	c.members = slices.Concat(c.members[:i], c.members[i+1:])
	c.mixer.Remove(m.id)
	unhook := m.unhook
	c.mu.Unlock()
	// Not under the lock: a packet that comes in this moment waits for it.
	if unhook != nil {
		unhook()
	}
}

// connect sets the gains between a member and the others by their roles.
func (c *Conference) connect(m *Member) {
	for _, other := range c.members {
		c.mixer.Set(m.id, other.id, m.gain(other))
		c.mixer.Set(other.id, m.id, other.gain(m))
	}
}

// gain is how loud m hears another by their roles.
func (m *Member) gain(from *Member) int {
	if m.held || from.held || !m.role.hears(from.role) {
		return 0
	}
	return mix.Unity
}

// hook begins to fill the play-out buffer.
func (m *Member) hook() (unhook func()) {
	if a, ok := m.leg.(Arriver); ok {
		stop := a.Arrivals(m.put)
		return func() {
			stop()
			m.gone()
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	go m.read(ctx)
	return cancel
}

func (m *Member) read(ctx context.Context) {
	defer m.gone()
	defer m.conference.drop(m)
	for {
		f, err := m.leg.ReadFrame(ctx)
		if err != nil {
			return // it has left, or its leg has ended
		}
		if !f.Lost { // the buffer sees what is missing
			m.put(f.Samples[:], f.Offset)
		}
	}
}

func (m *Member) put(samples []int16, at time.Duration) {
	c := m.conference
	c.mu.Lock()
	defer c.mu.Unlock()
	m.buffer.Put(samples, at, time.Since(c.began))
}

// gone says that nothing more is read from the leg.
func (m *Member) gone() {
	close(m.left)
	m.conference.staying.Done()
}

// Leave takes the member out. It is idempotent; one more frame may be on its way
// to the leg, none is read from it any more.
func (m *Member) Leave() {
	m.conference.drop(m)
	<-m.left
}

// Left is closed when the member has left or its leg has ended.
func (m *Member) Left() <-chan struct{} { return m.left }

// Role is what the member is at present.
func (m *Member) Role() Role {
	m.conference.mu.Lock()
	defer m.conference.mu.Unlock()
	return m.role
}
