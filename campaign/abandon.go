package campaign

import (
	"context"
	"time"

	"dialer"
	"dialer/telephony"
)

// optOutKey is the key that the campaign's message offers for "do not call me
// again" (47 CFR 64.1200(b)(3) asks for one that works during the message).
const optOutKey = '9'

// optOutWait is how long after the message the key is still waited for.
const optOutWait = 4 * time.Second

// notServed is for a person whom no agent takes: they hear the campaign's
// message at once. It begins from memory and waits for nothing.
func (a *attempt) notServed() Outcome {
	select {
	case <-a.leg.Done():
		return a.hungUp()
	default:
	}
	outcome := OutcomeAbandoned
	if !a.call.ConnectedAt.IsZero() {
		outcome = OutcomeConnected
	}
	message := a.r.messageClip()
	if message == nil || a.calling.Err() != nil {
		return outcome
	}
	a.r.enter(a, phaseMessage)
	ctx, cancel := context.WithCancel(a.calling)
	defer cancel()
	optedOut := make(chan struct{})
	listening := make(chan struct{})
	go func() {
		defer close(listening)
		a.awaitOptOut(ctx, optedOut)
	}()

	playing, stop := context.WithCancel(ctx)
	defer stop()
	defer whenClosed(ctx, optedOut, stop)()
	a.messageStarted(message)
	played, err := telephony.Play(playing, a.leg, *message)
	now := time.Now()
	a.save(func(c *Call) { c.MessageEndAt = now },
		dialer.MessageEnded{PlayedMS: played.Milliseconds(), Complete: err == nil})
	if err == nil {
		timer := time.NewTimer(optOutWait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-optedOut:
		case <-a.leg.Done():
		case <-a.calling.Done():
		}
	}
	select {
	case <-a.leg.Done(): // its digits are closed: the last of them is heard
		select {
		case <-listening:
		case <-time.After(endWait):
		}
	default:
	}
	cancel()
	<-listening
	select {
	case <-optedOut:
		a.optOut()
	default:
	}
	return outcome
}

// messageStarted notes the begin, which decides what the call counts as. The
// first frame leaves in the same instant.
func (a *attempt) messageStarted(m *telephony.Clip) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := &a.call
	c.MessageStartAt, c.MessageSHA = time.Now(), a.campaign.Settings.Message
	var facts []dialer.Fact
	if c.ConnectedAt.IsZero() {
		facts = a.classify(a.class())
	}
	facts = append(facts, dialer.MessageStarted{Asset: m.Name, SHA: c.MessageSHA})
	c.Version++
	a.s.cfg.Store.UpdateCall(*c, facts...)
}

// awaitOptOut closes optedOut when the person presses the key.
func (a *attempt) awaitOptOut(ctx context.Context, optedOut chan<- struct{}) {
	digits := a.leg.Digits()
	for {
		select {
		case d, ok := <-digits:
			if !ok {
				return
			}
			if d.Key == optOutKey {
				close(optedOut)
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// optOut keeps the person's wish before the call is released: until it is
// saved, their number is in an open attempt and cannot be called.
func (a *attempt) optOut() {
	now := time.Now()
	a.leg.Hangup(telephony.CauseNormal)
	a.insist("save a do-not-call request", func(ctx context.Context) error {
		return a.s.cfg.Store.AddDNC(ctx, "", a.call.To, "key 9 during the message", now)
	})
	a.save(func(c *Call) { c.OptOutAt = now }, dialer.OptedOut{To: a.call.To, How: "key"})
}
