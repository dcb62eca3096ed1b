package memstore

import (
	"context"
	"fmt"
	"slices"
	"time"

	"dialer"
	"dialer/campaign"
)

// A call is a kept call.
type call struct {
	campaign.Call
	epoch int
	// next is where a disposition given before the end sends the lead.
	next *campaign.Next
	// ghostAt is when the call was answered after it had been given up, where
	// that was heard of before the end.
	ghostAt time.Time
	// settled is the epoch that found it orphaned, 0 when none did.
	settled   int
	settledAt time.Time
}

// hangupAgain is how long after its settling an orphan is returned once more to
// each new start: the one before may have died before it hung up.
const hangupAgain = 10 * time.Minute

// stages orders the states of a call.
var stages = []campaign.CallState{
	campaign.Placed, campaign.Ringing, campaign.Answered, campaign.Queued, campaign.Connected, campaign.Ended,
}

// BeginCall implements campaign.Store.
func (s *Store) BeginCall(ctx context.Context, c campaign.Call, facts ...dialer.Fact) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l, ok := s.leads[c.Lead]
	running := s.campaigns[c.Campaign]
	switch {
	case s.onDNC(c.Campaign, c.To) != "":
		return dialer.Errorf(dialer.Forbidden, "%s is on the %s do-not-call list", c.To.Masked(), s.onDNC(c.Campaign, c.To))
	case running == nil || running.State != campaign.Running:
		return dialer.Errorf(dialer.Conflict, "the campaign is not running")
	case !ok || l.State != campaign.Claimed || l.epoch != s.epoch:
		return dialer.Errorf(dialer.Conflict, "the lead is not claimed by this process")
	case s.calls[c.ID] != nil:
		return dialer.Errorf(dialer.Conflict, "the call %s exists", c.ID)
	case s.openLead[c.Lead] != nil:
		return dialer.Errorf(dialer.Conflict, "an attempt to this lead is open")
	case s.openTo[c.To] != nil:
		return dialer.Errorf(dialer.Conflict, "an attempt to this number is open")
	case c.Agent != "" && s.openAgent[c.Agent] != nil:
		return dialer.Errorf(dialer.Conflict, "the agent is in another call")
	}
	l.State = campaign.Calling
	l.Attempts++
	l.Recent = slices.DeleteFunc(l.Recent, func(t time.Time) bool { return c.PlacedAt.Sub(t) > 48*time.Hour })
	l.Recent = append(l.Recent, c.PlacedAt)
	s.shelve(l)
	kept := &call{epoch: s.epoch}
	s.keep(kept, c)
	s.calls[c.ID] = kept
	s.placed = append(s.placed, kept)
	s.open(kept)
	s.appendFacts(c, c.PlacedAt, facts)
	return nil
}

func (s *Store) open(c *call) {
	s.openLead[c.Lead], s.openTo[c.To] = c, c
	if c.Agent != "" {
		s.openAgent[c.Agent] = c
	}
}

func (s *Store) close(c *call) {
	delete(s.openLead, c.Lead)
	delete(s.openTo, c.To)
	s.free(c)
}

// free takes a call's agent out of it, unless another call has them since.
func (s *Store) free(c *call) {
	if s.openAgent[c.Agent] == c {
		delete(s.openAgent, c.Agent)
	}
}

// takes reports whether a save may be applied: the call exists, the version
// grew and the state did not go back.
func (s *Store) takes(kept *call, c campaign.Call, what string) bool {
	switch {
	case kept == nil:
		s.drop("%s of call %s, which was never begun", what, c.ID)
	case c.Version <= kept.Version:
		s.drop("%s of call %s with version %d, not above %d", what, c.ID, c.Version, kept.Version)
	case slices.Index(stages, c.State) < slices.Index(stages, kept.State):
		s.drop("%s of call %s from %s back to %s", what, c.ID, kept.State, c.State)
	default:
		return true
	}
	return false
}

// UpdateCall implements campaign.Store.
func (s *Store) UpdateCall(c campaign.Call, facts ...dialer.Fact) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.calls[c.ID]
	if !s.takes(kept, c, "update") {
		return
	}
	if c.State == campaign.Ended && kept.State != campaign.Ended {
		s.drop("update of call %s to ended: EndCall ends a call", c.ID)
		return
	}
	if c.State != campaign.Ended && c.Agent != kept.Agent {
		// Within one run the call that had the agent has lost them.
		if other := s.openAgent[c.Agent]; c.Agent != "" && other != nil && other.epoch != kept.epoch {
			s.drop("update of call %s: agent %s is in call %s", c.ID, c.Agent, other.ID)
			return
		}
		s.free(kept)
		if c.Agent != "" {
			s.openAgent[c.Agent] = kept
		}
	}
	s.keep(kept, c)
	s.appendFacts(c, time.Now(), facts)
}

// EndCall implements campaign.Store.
func (s *Store) EndCall(c campaign.Call, next campaign.Next, facts ...dialer.Fact) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.calls[c.ID]
	if kept != nil && kept.State == campaign.Ended {
		return // said before, or settled after a restart
	}
	if !s.takes(kept, c, "end") {
		return
	}
	if c.State != campaign.Ended || c.Outcome == "" {
		s.drop("end of call %s with state %q and outcome %q", c.ID, c.State, c.Outcome)
		return
	}
	s.end(kept, c, next)
	s.appendFacts(c, time.Now(), facts)
	s.ghost(kept, time.Now())
}

// MarkGhost saves that a call was answered at a time when it had been given up;
// see campaign.Ghosted. Before the end of the call that waits for it.
func (s *Store) MarkGhost(id dialer.CallID, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.calls[id]
	if kept == nil {
		s.drop("ghost of call %s, which was never begun", id)
		return
	}
	if kept.ghostAt.IsZero() {
		kept.ghostAt = at
	}
	if kept.State == campaign.Ended {
		s.ghost(kept, time.Now())
	}
}

func (s *Store) ghost(kept *call, now time.Time) {
	if kept.Ghost || kept.ghostAt.IsZero() {
		return
	}
	c, facts := campaign.Ghosted(kept.Call, kept.ghostAt)
	s.keep(kept, c)
	s.appendFacts(c, now, facts)
}

// end closes the call and moves its lead.
func (s *Store) end(kept *call, c campaign.Call, next campaign.Next) {
	s.close(kept)
	s.keep(kept, c)
	if kept.next != nil {
		next = *kept.next
	}
	l := s.leads[c.Lead]
	if l == nil {
		return
	}
	if l.ByOutcome == nil {
		l.ByOutcome = map[campaign.Outcome]int{}
	}
	l.ByOutcome[c.Outcome]++
	l.LastOutcome = c.Outcome
	if l.State == campaign.Calling {
		s.move(l, next)
	}
}

func (s *Store) move(l *lead, next campaign.Next) {
	l.State, l.Due, l.Owner, l.Why = next.State, next.Due, next.Owner, next.Why
	s.shelve(l)
}

// DisposeCall implements campaign.Store.
func (s *Store) DisposeCall(_ context.Context, c campaign.Call, next campaign.Next, facts ...dialer.Fact) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.calls[c.ID]
	switch {
	case kept == nil:
		return dialer.Errorf(dialer.NotFound, "there is no call %s", c.ID)
	case kept.Disposition == c.Disposition && kept.Note == c.Note && !kept.DisposedAt.IsZero():
		return nil // said before
	case kept.State != campaign.Ended && kept.State != campaign.Connected:
		return dialer.Errorf(dialer.Conflict, "the call is %s: only a connected or ended call has a disposition", kept.State)
	case c.Version <= kept.Version:
		return dialer.Errorf(dialer.Conflict, "the call was changed meanwhile: read it again")
	}
	said := kept.Call
	said.Version = c.Version
	said.Disposition, said.Note, said.DisposedAt = c.Disposition, c.Note, c.DisposedAt
	said.AnsweredBy, said.AnsweredBySource, said.Class = c.AnsweredBy, c.AnsweredBySource, c.Class
	s.keep(kept, said)
	if kept.State != campaign.Ended {
		kept.next = &next
	} else if l := s.leads[c.Lead]; l != nil && (l.State == campaign.Dialable || l.State == campaign.Done) {
		s.move(l, next)
	}
	s.appendFacts(c, time.Now(), facts)
	return nil
}

// SettleOrphans implements campaign.Store.
func (s *Store) SettleOrphans(_ context.Context, now time.Time) ([]campaign.Call, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.order {
		if l.State == campaign.Claimed && l.epoch != s.epoch {
			l.State = campaign.Dialable
			s.shelve(l)
		}
	}
	var settled []campaign.Call
	for _, kept := range s.placed {
		switch {
		case kept.State != campaign.Ended && kept.epoch != s.epoch:
			c, facts := campaign.Interrupt(kept.Call, now)
			s.end(kept, c, s.afterInterrupt(c, now))
			s.appendFacts(c, now, facts)
			s.ghost(kept, now)
			kept.settled, kept.settledAt = s.epoch, now
			settled = append(settled, c)
		case (len(kept.Dialog) > 0 || kept.MayRing(kept.settledAt)) && kept.settled > 0 && kept.settled < s.epoch && now.Sub(kept.settledAt) < hangupAgain:
			settled = append(settled, kept.Call)
		}
	}
	return settled, nil
}

func (s *Store) afterInterrupt(c campaign.Call, now time.Time) campaign.Next {
	var settings campaign.Settings
	if running := s.campaigns[c.Campaign]; running != nil {
		settings = running.Settings
	}
	var l campaign.Lead
	if kept := s.leads[c.Lead]; kept != nil {
		l = kept.Lead
	}
	return campaign.AfterInterrupt(settings, l, now)
}

// SaveDialog implements campaign.Store.
func (s *Store) SaveDialog(_ context.Context, id dialer.CallID, dialog []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.calls[id]
	if kept == nil || kept.State == campaign.Ended {
		return fmt.Errorf("memstore: call %s is not open", id)
	}
	kept.Dialog = dialog
	return nil
}
