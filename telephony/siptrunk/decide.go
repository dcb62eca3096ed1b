package siptrunk

import (
	"context"
	"errors"
	"time"

	"github.com/emiago/sipgo/sip"

	"dialer/telephony"
	"dialer/telephony/media"
)

// decide handles the final response and reports whether it became a leg.
func (c *call) decide(res *sip.Response) (leg bool) {
	if !res.IsSuccess() {
		c.attested(res)
		cause, q850 := telephony.CauseOf(res.StatusCode, headerValues(res, "reason"))
		if res.StatusCode == 408 && c.ringingAt.IsZero() {
			cause = telephony.CauseUnreachable
		}
		if wait := retryAfter(res); wait > 0 && res.StatusCode == 503 && c.line != nil {
			c.line.hold(c.target, wait, time.Now())
		}
		reason := plain(res.Reason, 128)
		if c.gaveUp != "" {
			cause, reason = c.gaveUp, c.why
		}
		c.report(c.failed(cause, res.StatusCode, reason, q850))
		return false
	}
	c.pickedUp = true
	if c.gaveUp != "" {
		d := c.confirmed(res)
		c.answers.ack(d, c.invite)
		c.report(c.failed(c.gaveUp, res.StatusCode, c.why+"; answered after that", 0))
		if c.abandoned {
			c.e.ghost(c.id, time.Now())
		}
		c.e.hangUp(d, telephony.CauseNormal, byeWait)
		return false
	}
	return c.answered(res)
}

// confirmed returns the dialog of a 2xx.
func (c *call) confirmed(res *sip.Response) *dialog {
	if f := c.forks[toTag(res)]; f != nil && f.d != nil {
		f.d.confirm(res)
		return f.d
	}
	return c.e.newDialog(c.peer, c.invite, res)
}

// agreed returns what was agreed on with the fork that answers: in its answer,
// before it, or by an UPDATE after that.
func (c *call) agreed(res *sip.Response) (media.Remote, error) {
	f := c.forks[toTag(res)]
	if f != nil && f.remote != nil {
		return *f.remote, nil
	}
	sdp := sdpOf(res)
	if sdp == nil && f != nil {
		sdp = f.sdp
	}
	if sdp == nil {
		return media.Remote{}, errors.New("answered without SDP")
	}
	return c.sdp.Accept(sdp)
}

// answered turns a 2xx into a leg, or ends it when it carries no usable audio.
func (c *call) answered(res *sip.Response) (leg bool) {
	answeredAt := time.Now()
	c.attested(res)
	d := c.confirmed(res)
	defer func() { // also when the SDP makes the parser panic
		if !leg {
			c.answers.ack(d, c.invite)
			c.e.hangUp(d, telephony.CauseFailed, byeWait)
		}
	}()
	c.hush()
	remote, err := c.agreed(res)
	if err != nil {
		c.report(c.failed(telephony.CauseFailed, res.StatusCode, err.Error(), 0))
		return false
	}
	c.session.SetRemote(c.peer.audio(remote))
	c.session.Answered(answeredAt)
	l := c.e.newLeg(c, d, remote, res, answeredAt)
	if c.onAnswer != nil {
		c.onAnswer(l.Dialog())
	}
	c.answers.ack(d, c.invite) // when the leg is known: BYE may follow at once
	if f := c.forks[d.tag]; f != nil && f.gone {
		l.end(telephony.Callee, telephony.CauseNormal, 0, "hung up as it answered", false)
	}
	c.report(result{leg: l})
	return true
}

// cancel sends CANCEL when its turn comes, unless the call is decided first.
func (c *call) cancel() {
	req := c.e.newCancel(c.invite)
	turn := c.e.pace.wait(time.Now())
	c.e.goEnd("a CANCEL", func() {
		if turn > 0 {
			t := time.NewTimer(turn)
			defer t.Stop()
			select {
			case <-c.over:
				return
			case <-t.C:
			}
		}
		if _, err := c.e.do(context.Background(), c.peer, req); err != nil {
			c.log.Debug("CANCEL was not answered", "err", err)
		}
	})
}

// report gives Dial its result; only the first one counts.
func (c *call) report(r any) {
	if c.reported {
		return
	}
	c.reported = true
	switch r := r.(type) {
	case result:
		c.result <- r
	case *telephony.DialError:
		c.result <- result{err: r}
	}
}

func (c *call) failed(cause telephony.Cause, status int, reason string, q850 int) *telephony.DialError {
	return &telephony.DialError{
		Cause: cause, SIPStatus: status, Q850: q850, Reason: reason,
		PlacedAt: c.placedAt, RingingAt: c.ringingAt, EndedAt: time.Now(), Ghost: c.pickedUp, Attestation: c.attestation,
	}
}

func errText(err error) string {
	if err == nil {
		return "the transaction ended"
	}
	return err.Error()
}
