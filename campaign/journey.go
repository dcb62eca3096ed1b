package campaign

import (
	"context"
	"errors"
	"time"

	"dialer"
	"dialer/agents"
	"dialer/amd"
	"dialer/compliance"
	"dialer/telephony"
)

// A stage takes an attempt one step on. An empty outcome means go on; any other
// ends the journey, and the call if one was placed.
type stage func(*attempt) Outcome

// journeys lists, per mode, the stages that an attempt passes through, in order.
// Predictive and power differ only in how many attempts their pacer starts.
var journeys = map[Mode][]stage{
	Predictive:  {dial, detect, reserve, bridge, wrapUp},
	Power:       {dial, detect, reserve, bridge, wrapUp},
	Progressive: {hold, dial, detect, bridge, wrapUp},
	Preview:     {hold, preview, dial, bridge, wrapUp},
}

// holdWait is how long an attempt waits for the agent whom the pacer has seen
// ready; somebody else may have been quicker.
const holdWait = time.Second

// hold reserves an agent before the call is placed.
func hold(a *attempt) Outcome {
	if owner := a.lead.Owner; owner != "" {
		res, err := a.s.cfg.Agents.ReserveAgent(a.dialing, a.campaign.ID, owner, a.call.ID)
		if err != nil {
			return OutcomeCancelled // the lead goes back and is asked for again
		}
		a.take(res)
		return ""
	}
	ctx, cancel := context.WithTimeout(a.dialing, holdWait)
	defer cancel()
	res, err := a.s.cfg.Agents.Reserve(ctx, a.campaign.ID, a.call.ID)
	if err != nil {
		return OutcomeCancelled
	}
	a.take(res)
	return ""
}

// skipRest is how long a lead rests that an agent has seen and not dialed.
const skipRest = time.Hour

// preview shows the lead to the agent and waits for the word to dial.
func preview(a *attempt) Outcome {
	limit := time.Duration(a.campaign.Settings.PreviewLimitS) * time.Second
	ctx, cancel := context.WithTimeout(a.dialing, limit)
	defer cancel()
	dial, err := a.res.Preview(ctx)
	switch {
	case err == nil && dial:
		return ""
	case err == nil:
		a.exclude("skipped", "the agent skipped the lead", skipRest)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		a.exclude("preview-limit", "the agent neither dialed nor skipped in time", skipRest)
	}
	return OutcomeCancelled
}

// dial commits the attempt, places the call and waits for the answer.
func dial(a *attempt) Outcome {
	defer a.r.giveBackLine(a) // the carrier has taken it, or nobody will
	if !a.begin() {
		return OutcomeCancelled
	}
	ctx, cancel := context.WithCancelCause(a.ringing)
	defer cancel(nil)
	if a.res != nil { // without its agent the call has no purpose
		stop := whenClosed(ctx, a.res.Gone(), func() { cancel(errAgentGone) })
		defer stop()
		stop = whenClosed(ctx, a.res.HangupRequested(), func() { cancel(errAgentHungUp) })
		defer stop()
	}
	set := a.campaign.Settings
	before := &early{
		fresh:  func() amd.Detector { return a.s.cfg.NewDetector(set.Detection.detector()) },
		giveUp: func() { cancel(errAnnounced) },
	}
	invite := telephony.Invite{
		Call: a.call.ID, To: a.call.To, From: a.call.From, FromName: set.CallerName, Trunk: a.call.Trunk,
		Backups:     set.backupsOf(a.call.Trunk),
		RingTimeout: time.Duration(set.RingTimeoutS) * time.Second,
		OnAdmitted:  func() { a.r.giveBackLine(a) },
		OnProgress:  a.progress,
		OnAnswer:    a.answering,
	}
	if set.AMD {
		invite.OnEarlyFrame = before.hear
	}
	leg, err := a.s.cfg.Carrier.Dial(ctx, invite)
	if err != nil {
		return a.announced(before, a.unanswered(err))
	}
	a.answered(leg)
	return ""
}

// connectMargin is what is left of the connect deadline once an agent is found,
// for their state to change and the legs to be joined. One found in the last
// instant would come late, and the message, which is in time, would not be heard.
const connectMargin = 30 * time.Millisecond

// reserve waits for an agent until shortly before the connect deadline. Then the
// person hears the campaign's message at once.
func reserve(a *attempt) Outcome {
	a.r.enter(a, phaseWaiting)
	a.save(func(c *Call) { c.State = Queued })
	if a.reserveUntil(a.deadline().Add(-connectMargin)) {
		return ""
	}
	if a.call.Heard.Agent.Taken() { // a machine, which was to be looked at
		return a.withoutAgent(a.heard, a.campaign.Settings.Detection.reaction(a.heard))
	}
	return a.notServed()
}

// bridge joins the person and the agent until one of them has enough. A person
// who loses their agent in the middle gets another one, or the message; if there
// is no other one, the first says what came of the call.
func bridge(a *attempt) Outcome {
	until := a.deadline().Add(-connectMargin)
	for {
		select {
		case <-a.leg.Done():
			return a.hungUp()
		default:
		}
		lost := a.res
		if lost.Talk() == nil {
			switch a.talk() {
			case talkedOut:
				return ""
			case toMachine:
				return a.leftAlone(false)
			case saidMachine:
				return a.leftAlone(true)
			}
			until = time.Now().Add(agentLostWait)
		} else {
			a.release("the agent is gone")
		}
		a.r.enter(a, phaseWaiting)
		if !a.reserveUntil(until) {
			outcome := a.notServed()
			if a.res != nil {
				return "" // the one who was lost wraps up
			}
			return outcome
		}
		lost.Release("the call went to another agent")
	}
}

// agentLostWait is how long a person whose agent was lost waits for another.
const agentLostWait = 2 * time.Second

// An ending is how a talk ended.
type ending int

const (
	talkedOut   ending = iota
	agentLost          // and the person is still there
	toMachine          // the detector heard a machine, and the agent is to be freed
	saidMachine        // the agent said so
)

// talk is one talk with the reserved agent.
func (a *attempt) talk() ending {
	agent := a.res.Leg()
	news, deaf := a.listenOn()
	defer deaf()
	part := telephony.Join(a.leg, agent)
	defer part()
	began, heard := time.Now(), agent.Info().Media
	a.connected(a.res.Agent().ID, began)
	defer func() {
		a.talked += time.Since(began)
		a.mu.Lock()
		defer a.mu.Unlock()
		a.call.AgentMedia = agent.Info().Media.Since(heard) // of the last agent
	}()
	a.record()
	for {
		select {
		case e := <-news:
			if a.heardInTalk(e) {
				return toMachine
			}
			continue
		case <-a.res.MachineSaid():
			return saidMachine
		case <-a.leg.Done():
		case <-agent.Done():
		case <-a.res.HangupRequested():
		case <-a.res.Gone():
		case <-a.calling.Done():
		}
		break
	}
	select {
	case <-a.leg.Done():
		return talkedOut
	default:
	}
	select {
	case <-a.res.HangupRequested():
		return talkedOut
	default:
	}
	if a.calling.Err() != nil {
		return talkedOut
	}
	return agentLost
}

// wrapUp ends the call and waits for what the agent says of it.
func wrapUp(a *attempt) Outcome {
	a.end(OutcomeConnected)
	a.r.enter(a, phaseWrapUp)
	began := time.Now()
	said, ok := a.res.WrapUp(a.calling, time.Duration(a.campaign.Settings.WrapUpLimitS)*time.Second)
	a.r.wrapped(a.call.Agent, time.Since(began))
	if ok {
		a.dispose(said)
	}
	return OutcomeConnected
}

// dispose saves what the agent said. It is not lost while the database is away:
// the attempt waits for it, though the agent is free already.
func (a *attempt) dispose(said agents.Disposition) {
	now := time.Now()
	lead := a.lead
	lead.Owner = a.call.Agent
	next := Recycle(a.campaign.Settings, lead, a.call.Outcome, &said, now)
	facts := []dialer.Fact{dialer.CallDispositioned{Disposition: said.Code, Note: said.Note}}
	d, _ := a.campaign.Settings.Disposition(said.Code)
	switch {
	case d.DNC:
		facts = append(facts, dialer.OptedOut{To: a.call.To, How: "agent"})
		a.insist("save a do-not-call request", func(ctx context.Context) error {
			return a.s.cfg.Store.AddDNC(ctx, "", a.call.To, "agent disposition", now)
		})
	case d.Callback && next.State == Dialable:
		facts = append(facts, dialer.CallbackScheduled{At: next.Due, Own: said.Own})
	}
	if next.State == Done {
		facts = append(facts, dialer.LeadRetired{Why: next.Why})
	}
	a.saving <- struct{}{}
	defer func() { <-a.saving }()
	a.mu.Lock()
	a.call.Version++
	a.call.Disposition, a.call.Note, a.call.DisposedAt = said.Code, said.Note, now
	a.answeredBy(d)
	call := a.call
	a.mu.Unlock()
	a.insist("save a disposition", func(ctx context.Context) error {
		return a.s.cfg.Store.DisposeCall(ctx, call, next, facts...)
	})
}

// answeredBy takes an agent's word for who answered. It goes before the
// detector's: a person whom that had called a machine counts as one from now on.
// The caller holds mu.
func (a *attempt) answeredBy(d Disposition) {
	switch c := &a.call; {
	case d.Unclear:
	case d.Machine:
		c.AnsweredBy, c.AnsweredBySource = compliance.AnsweredByMachine, "agent"
		a.classify(compliance.ClassMachine)
	default:
		c.AnsweredBy, c.AnsweredBySource = compliance.AnsweredByPerson, "agent"
		if c.Class == compliance.ClassMachine {
			a.classify(a.class())
		}
	}
}

// deadline is when the person must hear an agent.
func (a *attempt) deadline() time.Time {
	set := a.campaign.Settings
	start := set.ClockStart.Start(a.times())
	return start.Add(time.Duration(set.ConnectDeadlineMS) * time.Millisecond)
}

// reserveUntil waits for an agent until a time, or not at all when it is past:
// then only one who is ready this moment is taken.
func (a *attempt) reserveUntil(until time.Time) bool {
	ctx, cancel := context.WithTimeout(a.calling, max(time.Until(until), time.Millisecond))
	defer cancel()
	stop := whenClosed(ctx, a.leg.Done(), cancel)
	defer stop()
	res, err := a.s.cfg.Agents.Reserve(ctx, a.campaign.ID, a.call.ID)
	if err != nil {
		return false
	}
	a.take(res)
	return true
}

// take makes the agent's reservation the attempt's own and shows them the lead.
func (a *attempt) take(res agents.Reservation) {
	a.mu.Lock()
	a.res = res
	pop := screenPop(a.campaign, a.call, a.lead)
	a.mu.Unlock()
	a.r.holds(a, true)
	a.s.cfg.Store.Record(dialer.Event{
		At: time.Now(), Campaign: a.campaign.ID, Lead: a.lead.ID, Call: a.call.ID, Agent: res.Agent().ID,
		Fact: dialer.AgentOffered{Mode: string(a.call.Mode), Pop: pop},
	})
	res.Offer(pop)
}

// hungUp is the outcome of a call that the person ended before an agent came.
func (a *attempt) hungUp() Outcome {
	if a.call.ConnectedAt.IsZero() {
		return OutcomeCalleeEarly
	}
	return OutcomeConnected
}

// whenClosed calls f once done is closed, unless stopped or ctx has ended first.
func whenClosed(ctx context.Context, done <-chan struct{}, f func()) (stop func()) {
	quit := make(chan struct{})
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		select {
		case <-done:
			f()
		case <-quit:
		case <-ctx.Done():
		}
	}()
	return func() {
		close(quit)
		<-exited
	}
}
