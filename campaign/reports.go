package campaign

import (
	"time"

	"dialer"
	"dialer/agents"
	"dialer/compliance"
	"dialer/telephony"
)

// What attempts tell their runner. Each of these holds the runner's lock for a
// moment; none of them takes an attempt's.

// enter notes that an attempt has come to a phase.
func (r *runner) enter(a *attempt, p phase) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a.phase, a.since = p, time.Now()
	r.wake()
}

// holds notes whether an attempt has an agent.
func (r *runner) holds(a *attempt, holding bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a.holding = holding
}

// takeLine keeps a channel for an attempt, of the first trunk of its campaign that
// has one free. It returns "" when none has.
func (r *runner) takeLine(a *attempt) dialer.TrunkID {
	r.mu.Lock()
	defer r.mu.Unlock()
	a.line = r.s.lines.take(a.campaign.Settings.Trunks())
	return a.line
}

// giveBackLine ends takeLine; saying it twice is one.
func (r *runner) giveBackLine(a *attempt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a.line != "" {
		r.s.lines.giveBack(a.line)
		a.line = ""
	}
}

// placed notes that the INVITE leaves now.
func (r *runner) placed(a *attempt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a.phase, a.since, a.sent = phaseRinging, time.Now(), true
}

// detected teaches the estimator who has answered; the first word counts.
func (r *runner) detected(a *attempt, live, heard bool) {
	ring := a.call.AnsweredAt.Sub(a.call.SentAt)
	r.mu.Lock()
	defer r.mu.Unlock()
	if a.judged || !a.sent {
		return
	}
	a.judged = true
	r.pacing.Ended(live, ring)
	if heard {
		r.pacing.Detected(live)
	}
}

// classified keeps the legal figures.
func (r *runner) classified(from, to compliance.Class) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.legal.count(from, to, time.Now())
}

// ended teaches the estimator how a call has ended.
func (r *runner) ended(a *attempt, c Call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a.sent && !a.judged {
		a.judged = true
		r.pacing.Ended(c.Ghost, c.EndedAt.Sub(a.since))
	}
	if a.talked > 0 {
		r.pacing.Talked(a.talked)
	}
}

// wrapped teaches the estimator how long a wrap-up took, and whether the agent
// went away after it.
func (r *runner) wrapped(agent dialer.AgentID, d time.Duration) {
	state := r.s.cfg.Agents.State(agent).State
	left := state == agents.NotReady || state == agents.LoggedOut
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pacing.Wrapped(d, left)
}

// left forgets an attempt whose journey is over.
func (r *runner) left(a *attempt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	last := r.attempts[len(r.attempts)-1]
	r.attempts[a.place], last.place = last, a.place
	r.attempts[len(r.attempts)-1] = nil
	r.attempts = r.attempts[:len(r.attempts)-1]
	r.wake()
}

// giveBack returns a lead that was not called: to the hopper, or to the store,
// where that knows better whether it was called or may be.
func (r *runner) giveBack(lead Lead, toStore bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if toStore {
		r.unsure = append(r.unsure, lead.ID)
	} else {
		r.returned = append(r.returned, lead)
	}
	r.wake()
}

// messageClip is the campaign's message, nil when it has none.
func (r *runner) messageClip() *telephony.Clip {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.message.clip
}

// mailboxClip is what is left on machines, nil when there is nothing.
func (r *runner) mailboxClip() *telephony.Clip {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mailbox.clip
}

// giveUpUnanswered cancels those attempts that are not answered yet and that
// which picks, and returns how many.
func (r *runner) giveUpUnanswered(why error, which func(*attempt) bool) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, a := range r.attempts {
		if (a.phase == phaseStarting || a.phase == phaseRinging) && which(a) {
			a.giveUp(why)
			n++
		}
	}
	return n
}

// storeFailed stops dialing until the store answers again.
func (r *runner) storeFailed(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.failed {
		r.log.Warn("the database is away: no new calls", "err", err)
	}
	r.failed = true
	r.trouble = "the database does not answer; calls in progress go on"
}

func (r *runner) setTrouble(why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed {
		return
	}
	if why != r.trouble {
		r.log.Info("dialing", "trouble", why)
	}
	r.trouble = why
}

func (r *runner) troubleNow() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.trouble
}

// excluded remembers the last rule that put a lead aside, for diagnostics.
func (r *runner) excluded(v compliance.Verdict) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.blocked, r.blockAt = v, time.Now()
}

// measure adds up how agents spend their time.
func (r *runner) measure(c agents.Counts, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.load.at.IsZero() {
		d := now.Sub(r.load.at)
		r.load.busy += time.Duration(len(c.Talking)+len(c.WrapUp)) * d
		r.load.idle += time.Duration(c.Ready+c.Reserved) * d
	}
	r.load.at = now
}
