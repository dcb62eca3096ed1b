package siptest

import (
	"errors"
	"fmt"
	"time"

	"github.com/emiago/sipgo/sip"
)

// script plays the drawn behaviour. A nil error means that our side has ended
// the call and its record.
func (c *call) script() error {
	c.respond(sip.StatusTrying, "Trying", nil)
	if _, err := c.wait(c.carrier.scaled(c.b.PostDial), nil); err != nil {
		return err
	}
	switch c.b.Kind {
	case Busy, Invalid, Congestion:
		return c.refuse()
	case NoAnswer, Rejected:
		if err := c.ring(); err != nil {
			return err
		}
		return c.refuse()
	case Announcement:
		return c.announcement()
	}
	if err := c.ring(); err != nil {
		return err
	}
	if err := c.answer(); err != nil {
		return err
	}
	switch c.b.Kind {
	case Machine:
		return c.machine()
	case Fax:
		return c.fax()
	case HangUp:
		if _, err := c.wait(c.carrier.scaled(c.b.Talk), nil); err != nil {
			return err
		}
		return c.hangUp()
	}
	return c.person()
}

// errRefused: the offer could not be taken and the call has been refused.
var errRefused = errors.New("refused")

// ring sends 180, or 183 with ringback, and rings for the drawn time.
func (c *call) ring() error {
	if err := c.alert(c.b.EarlyMedia); err != nil {
		return err
	}
	left := c.carrier.scaled(c.b.Ring)
	if !c.b.EarlyMedia {
		_, err := c.wait(left, nil)
		return err
	}
	ringback := clipSamples("ringback")
	for left > 0 {
		turn := min(left, length(ringback))
		c.stream.say(ringback)
		if _, err := c.wait(turn, nil); err != nil {
			return err
		}
		left -= turn
	}
	c.stream.hush()
	return nil
}

// alert sends the first 18x.
func (c *call) alert(withMedia bool) error {
	status, reason, sdp := sip.StatusRinging, "Ringing", []byte(nil)
	if withMedia {
		var err error
		if sdp, err = c.media(); err != nil {
			return c.decline(err)
		}
		status, reason = sip.StatusSessionInProgress, "Session Progress"
	}
	c.carrier.ledger.note(c.record, Rang, func(r *CallRecord) { r.RingingAt = time.Now() })
	c.respond(status, reason, sdp)
	return nil
}

// answer sends 200 with our SDP.
func (c *call) answer() error {
	sdp, err := c.media()
	if err != nil {
		return c.decline(err)
	}
	c.stream.ear.open()
	c.carrier.ledger.note(c.record, Answered, func(r *CallRecord) { r.AnsweredAt = time.Now() })
	c.respond(sip.StatusOK, "OK", sdp)
	return nil
}

// decline ends a call whose media cannot be had.
func (c *call) decline(why error) error {
	status, reason := sip.StatusNotAcceptableHere, "Not Acceptable Here"
	if !errors.Is(why, errNoCodec) {
		status, reason = sip.StatusServiceUnavailable, "Service Unavailable"
	}
	c.carrier.log.Warn("call without media", "call", c.record.CallID, "error", why)
	c.end("network", status)
	c.respond(status, reason, nil)
	return errRefused
}

// refuse ends the call with the drawn final response.
func (c *call) refuse() error {
	status := c.b.Status
	if status < 300 {
		status = finalResponses[c.b.Kind].status
	}
	var headers []sip.Header
	if c.b.Q850 != 0 {
		headers = append(headers, sip.NewHeader("Reason", fmt.Sprintf("Q.850;cause=%d", c.b.Q850)))
	}
	by := "callee"
	switch c.b.Kind {
	case Invalid, Announcement, Congestion, NoAnswer:
		by = "network"
	}
	c.end(by, status)
	reason := reasons[status]
	if reason == "" {
		reason = "Call Failed"
	}
	c.respond(status, reason, nil, headers...)
	return nil
}

var reasons = map[int]string{
	403: "Forbidden", 404: "Not Found", 408: "Request Timeout", 410: "Gone",
	480: "Temporarily Unavailable", 484: "Address Incomplete", 486: "Busy Here",
	488: "Not Acceptable Here", 500: "Server Internal Error", 503: "Service Unavailable",
	600: "Busy Everywhere", 603: "Decline", 604: "Does Not Exist Anywhere", 607: "Unwanted", 608: "Rejected",
}

// hangUp ends an answered call from our side, once the answer is acknowledged
// (RFC 3261 15).
func (c *call) hangUp() error {
	if _, err := c.wait(2*giveUp, c.acked); err != nil {
		return err
	}
	c.end("callee", sip.StatusOK)
	c.bye()
	return nil
}

// afterCancel is the caller's CANCEL: refused with 487 by the caller of this,
// or, where the fault was drawn, crossed by an answer.
func (c *call) afterCancel() error {
	if !c.b.LateAnswer {
		return errCancelled
	}
	c.note(func(r *CallRecord) { r.LateAnswer = true })
	if err := c.answer(); err != nil {
		return err
	}
	return c.person()
}

// announcement is the network's own voice: as early media before a refusal, or
// after an answer.
func (c *call) announcement() error {
	if c.b.Status == sip.StatusOK {
		if err := c.ring(); err != nil {
			return err
		}
		if err := c.answer(); err != nil {
			return err
		}
	} else if err := c.alert(true); err != nil {
		return err
	}
	if err := c.say(clipSamples("sit")); err != nil {
		return err
	}
	if err := c.greet(); err != nil {
		return err
	}
	if c.b.Status == sip.StatusOK {
		return c.hangUp()
	}
	return c.refuse()
}

// machine greets, beeps and records.
func (c *call) machine() error {
	if _, err := c.wait(c.b.SpeakAfter, nil); err != nil {
		return err
	}
	if err := c.greet(); err != nil {
		return err
	}
	if _, err := c.wait(200*time.Millisecond+time.Duration(c.random.Int64N(int64(600*time.Millisecond))), nil); err != nil {
		return err
	}
	if c.b.BeepHz > 0 {
		if err := c.say(Tone(c.b.BeepHz, c.b.BeepLength)); err != nil {
			return err
		}
		c.note(func(r *CallRecord) { r.BeepEndAt = time.Now() })
	}
	return c.stay(c.carrier.scaled(c.b.Talk))
}

// fax sends the called tone and waits for a calling one that never comes.
func (c *call) fax() error {
	if _, err := c.wait(time.Second, nil); err != nil {
		return err
	}
	c.note(func(r *CallRecord) { r.GreetingAt = time.Now() })
	if err := c.say(clipSamples("fax-ced")); err != nil {
		return err
	}
	c.note(func(r *CallRecord) { r.GreetingEndAt = time.Now() })
	return c.stay(c.carrier.scaled(c.b.Talk))
}

// stay is silent for d, notes what is heard, and hangs up.
func (c *call) stay(d time.Duration) error {
	until := time.Now().Add(d)
	woken, err := c.wait(d, c.stream.ear.voice)
	if err != nil {
		return err
	}
	if woken {
		c.noteHeard()
		if _, err := c.wait(time.Until(until), nil); err != nil {
			return err
		}
	}
	return c.hangUp()
}

// say speaks and waits until it is said.
func (c *call) say(samples []int16) error {
	c.stream.say(samples)
	_, err := c.wait(length(samples), nil)
	return err
}

// greet says the greeting and notes its bounds.
func (c *call) greet() error {
	if c.b.Audio == "" {
		return nil
	}
	c.note(func(r *CallRecord) { r.GreetingAt = time.Now() })
	if err := c.say(clipSamples(c.b.Audio)); err != nil {
		return err
	}
	c.note(func(r *CallRecord) { r.GreetingEndAt = time.Now() })
	return nil
}

func (c *call) noteHeard() {
	first, _, _, _ := c.stream.ear.state()
	c.carrier.ledger.note(c.record, Heard, func(r *CallRecord) { r.HeardAt = first })
}

func length(samples []int16) time.Duration {
	return time.Duration(len(samples)) * time.Second / 8000
}
