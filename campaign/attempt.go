package campaign

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"dialer"
	"dialer/agents"
	"dialer/amd"
	"dialer/compliance"
	"dialer/telephony"
)

// Why an attempt was given up before its answer.
var (
	errStopped     = errors.New("the campaign was stopped")
	errDraining    = errors.New("the dialer is shutting down")
	errStoodStill  = errors.New("the process stood still")
	errAgentGone   = errors.New("the agent is gone")
	errAgentHungUp = errors.New("the agent gave up")
	errOptedOut    = errors.New("the number may not be called any more")
	errClosed      = errors.New("the dialer closed")
)

// An attempt is one lead on its journey, and the one goroutine that runs it. It
// owns the call record and the person's leg, and holds at most one agent.
type attempt struct {
	s        *Scheduler
	r        *runner
	campaign Campaign // as it was when the attempt started, with defaults
	rules    string   // its rules then
	lead     Lead
	log      *slog.Logger

	// dialing ends when the attempt must not go on unless its INVITE has left,
	// calling when it must end in any case.
	dialing context.Context
	// ringing outlives dialing: a phone that rings already is left to ring, since
	// it must do so for a legal minimum. giveUp ends both.
	ringing context.Context
	giveUp  context.CancelCauseFunc
	unhook  func() bool // from the runner's dialing
	calling context.Context

	mu   sync.Mutex // guards call against progress, and res against the runner
	call Call
	res  agents.Reservation

	leg       telephony.Leg
	begun     bool // the attempt is committed
	ended     bool // and closed
	excluded  bool // a rule has moved the lead
	unknown   bool // whether the attempt is committed is not known
	stale     bool // the lead is not to be called by this runner as it is now
	counted   bool // in the legal figures, as call.Class
	talked    time.Duration
	recording func()        // ends it; nil when there is none
	over      chan struct{} // closed when the end of the call is on its way to the store
	ear       *hearing      // of the detector; nil when there is none
	heard     amd.Result    // its verdict
	forGood   bool          // the lead is not to be tried again, whatever the outcome
	// saving is held while a later version of the call must not be saved: a
	// disposition is refused when it comes second.
	saving chan struct{}

	// Guarded by the runner.
	place   int // in runner.attempts
	phase   phase
	since   time.Time      // of the phase
	judged  bool           // the estimator knows who answered
	holding bool           // an agent is reserved
	sent    bool           // the INVITE has left
	line    dialer.TrunkID // on which a channel is kept for it; "" when none is
}

// run takes the attempt through its journey. Whatever happens, a placed call
// ends exactly once, a lead that was not called goes back and the agent is free.
func (a *attempt) run() {
	outcome := OutcomeFailed
	if !a.guard(func() { outcome = a.journey() }) {
		outcome = OutcomeFailed
	}
	a.guard(func() { a.end(outcome) })
	a.endRecording()
	close(a.over)
	if (!a.begun || a.unknown) && !a.excluded {
		a.r.giveBack(a.lead, a.unknown || a.stale)
	}
	a.guard(func() { a.release("call ended") })
	a.unhook()
	a.giveUp(nil)
	a.r.left(a)
}

// journey passes through the stages until one ends the journey.
func (a *attempt) journey() Outcome {
	for _, next := range journeys[a.call.Mode] {
		if outcome := next(a); outcome != "" {
			return outcome
		}
	}
	return OutcomeFailed
}

// guard does a part of the attempt in which a fault of the program ends the call
// and not the process, which has other calls. It reports whether there was none.
func (a *attempt) guard(part func()) (done bool) {
	defer func() {
		if p := recover(); p != nil {
			a.log.Error("a call failed by a fault of the program: please report it", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			a.s.panicked()
		}
	}()
	part()
	return true
}

// freshness is how old a commit may be when its INVITE leaves. What is older
// was overtaken by a pause of the process: nobody knows what has changed.
const freshness = time.Second

// beginLimit is how long the commit of an attempt may take.
const beginLimit = 2 * time.Second

// begin asks the rules a last time and commits the attempt. It reports whether
// the call may be placed now.
func (a *attempt) begin() bool {
	now := time.Now()
	candidate := a.r.candidate(a.campaign, a.lead)
	candidate.NumberRead = true // before it came into the hopper
	if v := compliance.Check(candidate, now); !v.Allowed {
		a.excludeBy(v)
		return false
	}
	trunk := a.r.takeLine(a)
	if trunk == "" {
		return false // another campaign was quicker
	}
	a.mu.Lock()
	a.call.Trunk = trunk
	a.call.PlacedAt, a.call.Rules, a.call.Version = now.UTC().Truncate(time.Millisecond), a.rules, 1
	call := a.call
	a.mu.Unlock()
	// A commit is not broken off, so that its result is known.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(a.dialing), beginLimit)
	defer cancel()
	err := a.s.cfg.Store.BeginCall(ctx, call, dialer.CallPlaced{
		Trunk: call.Trunk, To: call.To, From: call.From, Attempt: call.Attempt, Rules: call.Rules,
	})
	switch dialer.CodeOf(err) {
	case dialer.Forbidden:
		a.excludeBy(compliance.Verdict{Rule: "dnc", Reason: reasonOf(err)})
		return false
	case dialer.Conflict:
		// The number is in another call, or the campaign was stopped and its
		// runner does not know yet: that is no fault of the lead.
		switch {
		case a.dialing.Err() != nil:
		case a.campaignRuns():
			a.exclude("in-call", reasonOf(err), time.Minute)
		default:
			a.stale = true
			a.s.Wake()
		}
		return false
	}
	a.begun = true
	if err != nil {
		// It may be committed or not. It is never sent; if it was committed,
		// its end is saved behind it, and if not, there is nothing to end.
		a.unknown = true
		a.r.storeFailed(err)
		return false
	}
	if time.Since(now) > freshness {
		a.giveUp(errStoodStill)
	}
	a.r.placed(a)
	return a.dialing.Err() == nil
}

// campaignRuns asks the store, which knows before the runner does.
func (a *attempt) campaignRuns() bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(a.dialing), storeLimit)
	defer cancel()
	open, err := a.s.cfg.Store.OpenCampaigns(ctx)
	return err == nil && slices.ContainsFunc(open, func(c Campaign) bool { return c.ID == a.campaign.ID && c.State == Running })
}

// exclude gives the lead a rest, with the reason.
func (a *attempt) exclude(rule, reason string, rest time.Duration) {
	a.excludeBy(compliance.Verdict{Rule: rule, Reason: reason, NextAt: time.Now().Add(rest)})
}

func (a *attempt) excludeBy(v compliance.Verdict) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(a.calling), storeLimit)
	defer cancel()
	if err := a.s.cfg.Store.ExcludeLead(ctx, a.lead, v, time.Now()); err != nil {
		a.r.storeFailed(err)
		return
	}
	a.excluded = true
}

// progress notes the first sign that it rings. It is called by the carrier.
func (a *attempt) progress(p telephony.Progress) {
	if p.Status < 180 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.call.State != Placed {
		return
	}
	a.call.State, a.call.RingingAt = Ringing, p.At
	a.call.Version++
	a.s.cfg.Store.UpdateCall(a.call, dialer.CallRinging{Status: p.Status})
}

// save changes the call and queues it with its facts.
func (a *attempt) save(change func(*Call), facts ...dialer.Fact) {
	a.mu.Lock()
	defer a.mu.Unlock()
	before := a.call.State
	change(&a.call)
	if a.call.State != before && !CanMove(before, a.call.State) {
		a.log.Error("a call may not move so: please report this as a bug", "from", before, "to", a.call.State)
		a.call.State = before
	}
	a.call.Version++
	a.s.cfg.Store.UpdateCall(a.call, facts...)
}

// unanswered notes how an attempt without an answer ended.
func (a *attempt) unanswered(err error) Outcome {
	var failed *telephony.DialError
	if !errors.As(err, &failed) {
		a.log.Error("the carrier failed", "err", err)
		failed = &telephony.DialError{Cause: telephony.CauseFailed, EndedAt: time.Now()}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	c := &a.call
	if failed.Cause != telephony.CauseNotSent {
		c.SentAt = failed.PlacedAt
	}
	if !failed.RingingAt.IsZero() {
		c.RingingAt = failed.RingingAt
	}
	c.tried(failed.Tries)
	c.Attestation = failed.Attestation
	c.Cause, c.SIPStatus, c.Q850, c.EndedAt, c.Ghost = failed.Cause, failed.SIPStatus, failed.Q850, failed.EndedAt, failed.Ghost
	switch failed.Cause {
	case telephony.CauseBusy, telephony.CauseRejected:
		c.EndedBy = telephony.Callee
	case telephony.CauseNoAnswer, telephony.CauseCancelled, telephony.CauseNotSent:
		c.EndedBy = telephony.Caller
	default:
		c.EndedBy = telephony.Network
	}
	if failed.Ghost {
		// Somebody took the phone and was hung up on: abandoned, by any reading.
		c.AnsweredAt, c.AnsweredBy, c.AnsweredBySource = c.EndedAt, "unknown", "none"
		return OutcomeAbandoned
	}
	return outcomeOf(failed.Cause)
}

// dialogLimit is how long the ACK waits for the database. When that does not
// answer, the call goes on: audio never waits.
const dialogLimit = 300 * time.Millisecond

// answering keeps what ends the call, should this process die after the ACK.
func (a *attempt) answering(dialog []byte) {
	ctx, cancel := context.WithTimeout(a.calling, dialogLimit)
	defer cancel()
	if err := a.s.cfg.Store.SaveDialog(ctx, a.call.ID, dialog); err != nil {
		a.log.Warn("a call could not be ended after a crash: its dialog is not saved yet", "err", err)
	}
}

// answered notes the answer, and what another process needs to end the call.
func (a *attempt) answered(leg telephony.Leg) {
	a.leg = leg
	info := leg.Info()
	a.r.enter(a, phaseDetecting)
	pdd, ring := time.Duration(0), time.Duration(0)
	if !info.RingingAt.IsZero() {
		pdd, ring = info.RingingAt.Sub(info.PlacedAt), info.AnsweredAt.Sub(info.RingingAt)
	}
	a.save(func(c *Call) {
		c.State = Answered
		c.SentAt, c.RingingAt, c.AnsweredAt = info.PlacedAt, info.RingingAt, info.AnsweredAt
		c.SIPStatus, c.Dialog = info.SIPStatus, leg.Dialog()
		c.tried(info.Tries)
		c.Trunk, c.Attestation = cmp.Or(info.Trunk, c.Trunk), info.Attestation
		c.AnsweredBy, c.AnsweredBySource = "unknown", "none"
	}, dialer.CallAnswered{PDDMS: pdd.Milliseconds(), RingMS: ring.Milliseconds()})
}

// connected notes since when person and agent hear each other.
func (a *attempt) connected(agent dialer.AgentID, now time.Time) {
	a.r.detected(a, true, false)
	a.r.enter(a, phaseTalking)
	first := a.call.ConnectedAt.IsZero()
	fact := dialer.CallConnected{AnswerToAgentMS: now.Sub(a.call.AnsweredAt).Milliseconds()}
	if !a.call.DecidedAt.IsZero() {
		fact.VerdictToAgentMS = now.Sub(a.call.DecidedAt).Milliseconds()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	c := &a.call
	c.State, c.Agent = Connected, agent
	var facts []dialer.Fact
	if first { // the second agent after a lost one is not told again
		c.ConnectedAt = now
		facts = append([]dialer.Fact{fact}, a.classify(a.class())...)
	}
	c.Version++
	a.s.cfg.Store.UpdateCall(*c, facts...)
}

// times are the moments of the call that the law looks at.
func (a *attempt) times() compliance.Times {
	c := a.call
	return compliance.Times{
		Answer: c.AnsweredAt, SpeechStart: c.SpeechStartAt, GreetingEnd: c.GreetingEndAt,
		Agent: c.ConnectedAt, MessageStart: c.MessageStartAt, MessageEnd: c.MessageEndAt, End: c.EndedAt,
	}
}

// class is what the call counts as, as far as it has come.
func (a *attempt) class() compliance.Class {
	set := a.campaign.Settings
	deadline := time.Duration(set.ConnectDeadlineMS) * time.Millisecond
	return compliance.Classify(a.times(), a.call.AnsweredBy, string(a.call.EndedBy), deadline, set.ClockStart)
}

// classify sets what the call counts as and keeps the legal figures. The caller
// holds mu. It returns the fact of an abandoned call the first time.
func (a *attempt) classify(class compliance.Class) []dialer.Fact {
	if a.counted && a.call.Class == class {
		return nil
	}
	was := compliance.Class("")
	if a.counted {
		was = a.call.Class
	}
	a.r.classified(was, class)
	a.counted = true
	a.call.Class = class
	if class.Abandoned() && !was.Abandoned() {
		return []dialer.Fact{dialer.CallAbandoned{Class: string(class)}}
	}
	return nil
}

// endWait is how long the end of a leg is waited for before the row is closed.
const endWait = 2 * time.Second

// end closes the call: BYE first, then the row, then what depends on it. It does
// nothing for an attempt that was not committed, and works once; after a fault it
// may be tried again.
func (a *attempt) end(outcome Outcome) {
	if !a.begun || a.ended {
		return
	}
	a.guard(a.hangUp)
	call, next, facts := a.closed(outcome)
	a.s.cfg.Store.EndCall(call, next, facts...)
	a.ended = true
	a.r.ended(a, call)
	a.endRecording()
}

// closed is the call at its end, what becomes of its lead, and the facts.
func (a *attempt) closed(outcome Outcome) (Call, Next, []dialer.Fact) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := &a.call
	if c.EndedAt.IsZero() {
		c.EndedAt = time.Now()
	}
	if a.unknown {
		outcome, c.Cause = OutcomeFailed, telephony.CauseNotSent
	}
	if c.EndedBy == "" {
		c.EndedBy = telephony.Caller
	}
	if c.Cause == "" {
		c.Cause = telephony.CauseNotSent
	}
	if outcome == OutcomeCalleeEarly && c.EndedBy != telephony.Callee {
		outcome = OutcomeFailed // the network, or we, before anybody was there
	}
	var facts []dialer.Fact
	switch {
	case c.AnsweredAt.IsZero():
		facts = a.classify(classOf(outcome))
	case c.ConnectedAt.IsZero() && c.MessageStartAt.IsZero():
		facts = a.classify(a.class())
	}
	if c.Class.Abandoned() && c.ConnectedAt.IsZero() {
		outcome = OutcomeAbandoned
	}
	c.State, c.Outcome = Ended, cmp.Or(c.Outcome, outcome) // the first stands, after a fault
	next := Recycle(a.campaign.Settings, a.lead, c.Outcome, nil, time.Now())
	if a.forGood {
		next = Next{State: Done, Why: string(c.Outcome)}
	}
	if !c.OptOutAt.IsZero() {
		next = Next{State: Done, Why: "dnc"}
	}
	facts = append(facts, dialer.CallEnded{
		Outcome: string(c.Outcome), EndedBy: string(c.EndedBy), SIPStatus: c.SIPStatus, Q850: c.Q850,
		TalkMS: a.talked.Milliseconds(), Class: string(c.Class), Ghost: c.Ghost,
		Trunk: c.Trunk, Tries: len(c.Tries), MOS: hundredths(c.Media.MOS), AgentMOS: hundredths(c.AgentMedia.MOS),
	})
	if next.State == Done {
		facts = append(facts, dialer.LeadRetired{Why: next.Why})
	}
	c.Version++
	return *c, next, facts
}

// hangUp ends the leg and takes over how it ended.
func (a *attempt) hangUp() {
	if a.leg == nil {
		return
	}
	a.leg.Hangup(telephony.CauseNormal)
	timer := time.NewTimer(endWait)
	defer timer.Stop()
	select {
	case <-a.leg.Done():
	case <-timer.C:
	}
	info := a.leg.Info()
	a.mu.Lock()
	defer a.mu.Unlock()
	c := &a.call
	c.EndedAt, c.EndedBy, c.Cause = info.EndedAt, info.EndedBy, info.Cause
	c.Media = info.Media
	if info.SIPStatus != 0 {
		c.SIPStatus = info.SIPStatus
	}
	c.Q850 = info.Q850
	if c.Cause == "" {
		c.Cause = telephony.CauseNormal
	}
}

// release gives the agent back, if one is held.
func (a *attempt) release(reason string) {
	a.mu.Lock()
	res := a.res
	a.res = nil
	a.mu.Unlock()
	if res != nil {
		a.r.holds(a, false)
		res.Release(reason)
	}
}

// insist does something that must not be lost, again and again until it is done,
// is refused, or the process ends. Each try waits as long as a store may.
func (a *attempt) insist(what string, do func(context.Context) error) {
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(a.calling), storeLimit)
		err := do(ctx)
		cancel()
		if err == nil {
			return
		}
		if dialer.CodeOf(err) != "" && dialer.CodeOf(err) != dialer.Unavailable {
			a.log.Error("could not "+what, "err", err)
			return
		}
		a.r.storeFailed(err)
		select {
		case <-time.After(pause):
		case <-a.calling.Done():
			a.log.Error("could not "+what+" before the end", "err", err)
			return
		}
	}
}
