package campaign

import (
	"slices"
	"sync"
	"time"

	"dialer"
	"dialer/amd"
	"dialer/compliance"
	"dialer/telephony"
)

// lateLimit is how long after the answer a machine is still listened for.
const lateLimit = 30 * time.Second

// listenOn has the detector hear the person's leg during a talk. What comes of
// news is that a machine is heard now, or, where the detector had no verdict
// yet, the verdict. stop must be called.
func (a *attempt) listenOn() (news <-chan amd.Event, stop func()) {
	set := a.campaign.Settings.Detection
	left := time.Until(a.call.AnsweredAt.Add(lateLimit))
	if a.ear == nil || set.LateMachine == LateOff || a.call.Heard.Agent.Taken() || !a.call.Heard.LateMachineAt.IsZero() || left <= 0 {
		return nil, func() {}
	}
	told := make(chan amd.Event, 4)
	var mu sync.Mutex // a leg may be tapped by one goroutine and then another
	over := false
	end := func() {
		mu.Lock()
		defer mu.Unlock()
		over = true
	}
	a.ear.limit = lateLimit
	untap := sync.OnceFunc(a.leg.Tap(func(f telephony.Frame, sent bool) {
		if sent {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if over {
			return
		}
		a.ear.write(&f)
		for _, e := range a.ear.events {
			if e.Kind == amd.LateMachine || e.Kind == amd.Decided {
				select {
				case told <- e:
				default: // who is told of four does not miss the fifth
				}
			}
		}
	}))
	timer := time.AfterFunc(left, func() { // nobody waits: the tap only costs
		end()
		untap()
	})
	return told, func() {
		timer.Stop()
		end()
		untap()
	}
}

// heardInTalk takes in what the detector has heard during a talk, and reports
// whether the agent is to be freed.
func (a *attempt) heardInTalk(e amd.Event) (free bool) {
	set := a.campaign.Settings.Detection
	if e.Kind == amd.Decided {
		if a.call.Verdict == "" { // mode async
			a.save(func(c *Call) {
				c.Verdict, c.VerdictReason, c.DecidedAt = string(e.Verdict), "heard while an agent had the call", a.heardAt(e.At)
			}, dialer.CallClassified{Verdict: string(e.Verdict), DecidedMS: e.At.Milliseconds(), SpeechStartMS: -1, GreetingEndMS: -1})
		}
		if e.Verdict != amd.Machine && e.Verdict != amd.Screening && e.Verdict != amd.Fax && e.Verdict != amd.SIT {
			return false
		}
	}
	if !a.call.Heard.LateMachineAt.IsZero() {
		return false
	}
	free = set.LateMachine == LateFree
	a.save(func(c *Call) { c.Heard.LateMachineAt = time.Now().UTC() },
		dialer.CallMachineLate{AtMS: e.At.Milliseconds(), Freed: free, By: "amd"})
	a.res.TellMachine("this sounds like an answering machine")
	return free
}

// leftAlone goes on with a call whose agent was freed from a machine, by their
// own word or by the campaign's wish.
func (a *attempt) leftAlone(byAgent bool) Outcome {
	set := a.campaign.Settings
	facts := []dialer.Fact{}
	a.mu.Lock()
	c := &a.call
	c.AnsweredBy, c.AnsweredBySource = compliance.AnsweredByMachine, "amd"
	if byAgent {
		c.AnsweredBySource = "agent"
		if c.Heard.LateMachineAt.IsZero() {
			c.Heard.LateMachineAt = time.Now().UTC()
			facts = append(facts, dialer.CallMachineLate{AtMS: time.Since(c.AnsweredAt).Milliseconds(), Freed: true, By: "agent"})
		}
		if i := slices.IndexFunc(set.Dispositions, func(d Disposition) bool { return d.Machine }); i >= 0 {
			c.Disposition, c.DisposedAt = set.Dispositions[i].Code, time.Now()
			facts = append(facts, dialer.CallDispositioned{Disposition: c.Disposition})
		}
	}
	a.classify(compliance.ClassMachine)
	c.Version++
	a.s.cfg.Store.UpdateCall(*c, facts...)
	a.mu.Unlock()
	a.release("left to a machine")
	does := set.Detection.reaction(amd.Result{Verdict: amd.Machine})
	return a.withoutAgent(amd.Result{Verdict: amd.Machine}, does)
}
