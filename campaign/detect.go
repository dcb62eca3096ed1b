package campaign

import (
	"context"
	"time"

	"dialer"
	"dialer/amd"
	"dialer/compliance"
)

// detectMargin is what is left of the connect deadline for an agent when the
// detector is cut short.
const detectMargin = 300 * time.Millisecond

// detectLimit ends a detection whatever is heard, where the connect deadline
// leaves more time. A detector has its verdict before.
const detectLimit = 8 * time.Second

// detect listens until it is clear whether a person has answered. What cannot be
// clear in time is connected: the person counts, not our doubt.
func detect(a *attempt) Outcome {
	set := a.campaign.Settings
	if !set.AMD {
		a.r.detected(a, true, false)
		return ""
	}
	a.ear = newHearing(a.s.cfg.NewDetector(set.Detection.detector()))
	a.keepSeconds()
	if set.Detection.Mode == ListenAsync {
		a.r.detected(a, true, false)
		return "" // see listenOn
	}
	result, heard := a.listen()
	if !heard {
		return a.hungUpEarly(result)
	}
	return a.react(result)
}

// react notes the verdict and does what the campaign wants of such calls.
func (a *attempt) react(result amd.Result) Outcome {
	a.heard = result
	does := a.campaign.Settings.Detection.reaction(result)
	var drawn *Draw
	if does != ReactAgent {
		drawn = draw(drawAgent, a.call.ID, a.campaign.Settings.Detection.AgentShare)
	}
	if drawn.Taken() {
		does = ReactAgent
	}
	a.r.detected(a, does == ReactAgent, true)
	a.verdict(result, does, drawn)
	if does == ReactAgent {
		return ""
	}
	return a.withoutAgent(result, does)
}

// verdict notes one.
func (a *attempt) verdict(result amd.Result, does Reaction, drawn *Draw) {
	ms := func(d time.Duration) int64 { return max(d.Milliseconds(), -1) }
	a.save(func(c *Call) {
		c.AnsweredBy, c.AnsweredBySource = answeredBy(result), "amd"
		c.Verdict, c.VerdictReason = string(result.Verdict), result.Reason
		c.SpeechStartAt, c.GreetingEndAt, c.DecidedAt = a.heardAt(result.SpeechStart), a.heardAt(result.GreetingEnd), time.Now()
		c.Heard.Code, c.Heard.Reaction, c.Heard.Agent = string(result.Code), does, drawn
	}, dialer.CallClassified{
		Verdict: string(result.Verdict), DecidedMS: ms(result.Decided), SpeechStartMS: ms(result.SpeechStart),
		GreetingEndMS: ms(result.GreetingEnd), DetectorReason: result.Reason,
		Code: string(result.Code), Reaction: string(does), Sampled: drawn.Taken(),
	})
}

// withoutAgent ends a call that no agent is to have, with the message first
// where the campaign leaves one.
func (a *attempt) withoutAgent(result amd.Result, does Reaction) Outcome {
	outcome := outcomeOfVerdict(result)
	switch does {
	case ReactMessage:
		a.release("a machine has answered")
		if a.leaveMessage() {
			outcome = OutcomeMessage
		}
	case ReactHangUp:
		a.forGood = true
	}
	return outcome
}

// heardAt is the time of what a detector has heard, zero when it has not.
func (a *attempt) heardAt(d time.Duration) time.Time {
	if d < 0 {
		return time.Time{}
	}
	return a.call.AnsweredAt.Add(d)
}

// listen feeds the detector from the leg. heard is false when the leg ended
// first; the result is then what was known until there. The connect deadline
// ends it even when no packet comes, now or ever.
func (a *attempt) listen() (result amd.Result, heard bool) {
	result = amd.Result{SpeechStart: -1, LastVoice: -1, GreetingEnd: -1}
	for {
		ctx, cancel := context.WithDeadline(a.calling, a.listenUntil(result))
		frame, err := a.leg.ReadFrame(ctx)
		cancel()
		if err != nil {
			select {
			case <-a.leg.Done():
				return result, false
			default:
			}
			if a.calling.Err() != nil {
				return result, false
			}
			return a.undecided(result), true
		}
		done := false
		if result, done = a.ear.write(&frame); done {
			if result.Verdict == amd.Unknown {
				result.GreetingEnd = result.LastVoice
			}
			return result, true
		}
	}
}

// listenUntil is when a verdict must be there: the connect deadline, if nothing
// more is said than was heard so far, less what an agent needs.
func (a *attempt) listenUntil(r amd.Result) time.Time {
	set := a.campaign.Settings
	start := set.ClockStart.Start(compliance.Times{
		Answer: a.call.AnsweredAt, SpeechStart: a.heardAt(r.SpeechStart), GreetingEnd: a.heardAt(r.LastVoice),
	})
	until := start.Add(time.Duration(set.ConnectDeadlineMS)*time.Millisecond - detectMargin)
	if limit := a.call.AnsweredAt.Add(detectLimit); until.After(limit) {
		return limit
	}
	return until
}

// undecided is a verdict of our own when the detector has none in time. The
// greeting may go on: it has lasted until the last voice, and no longer than
// was heard.
func (a *attempt) undecided(r amd.Result) amd.Result {
	r.Verdict, r.Decided, r.Reason = amd.Unknown, time.Since(a.call.AnsweredAt), "no verdict before the connect deadline"
	r.GreetingEnd = r.LastVoice
	if r.SpeechStart < 0 {
		r.Verdict = amd.Silence
	}
	return r
}

// hungUpEarly is a call that ended before it was clear who had answered.
func (a *attempt) hungUpEarly(r amd.Result) Outcome {
	a.r.detected(a, true, true)
	a.save(func(c *Call) {
		c.AnsweredBy, c.AnsweredBySource = "unknown", "amd"
		c.SpeechStartAt, c.GreetingEndAt = a.heardAt(r.SpeechStart), a.heardAt(r.LastVoice)
		if r.SpeechStart >= 0 {
			c.VerdictReason = "hung up while greeting"
		}
	})
	return OutcomeCalleeEarly
}
