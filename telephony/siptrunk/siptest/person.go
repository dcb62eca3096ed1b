package siptest

import "time"

// person says hello, waits for a voice, and talks.
func (c *call) person() error {
	if _, err := c.wait(c.b.SpeakAfter, nil); err != nil {
		return err
	}
	if err := c.greet(); err != nil {
		return err
	}
	heard, err := c.hello()
	switch {
	case err != nil:
		return err
	case !heard:
		return c.hangUp()
	}
	c.noteHeard()
	began := time.Now()
	// It takes a moment to know a recording from an agent.
	if _, err := c.wait(2*time.Second, c.stream.ear.judged); err != nil {
		return err
	}
	return c.converse(began.Add(c.carrier.scaled(c.b.Talk)))
}

// hello waits for a voice as long as the person's patience lasts and asks
// again from time to time.
func (c *call) hello() (heard bool, err error) {
	const askAgain = 2500 * time.Millisecond
	until := time.Now().Add(c.b.Patience)
	for {
		left := time.Until(until)
		if left <= 0 {
			return false, nil
		}
		if heard, err = c.wait(min(left, askAgain), c.stream.ear.voice); heard || err != nil {
			return heard, err
		}
		if c.b.Audio != "" && time.Until(until) > askAgain {
			c.stream.say(clipSamples("hello-again"))
		}
	}
}

// hearMessage listens to the recording, presses the drawn key, and hangs up
// when it has ended.
func (c *call) hearMessage() error {
	c.note(func(r *CallRecord) { _, _, r.MessageAt, _ = c.stream.ear.state() })
	if c.b.Press != "" {
		if _, err := c.wait(2*time.Second, nil); err != nil {
			return err
		}
		if c.stream.press(c.b.Press[0]) {
			c.note(func(r *CallRecord) { r.Pressed = c.b.Press })
		}
	}
	return c.listenOut(1500*time.Millisecond, time.Minute)
}

// converse takes turns with the agent until the talk is over, or listens when
// it is the recording that speaks.
func (c *call) converse(until time.Time) error {
	// lost is the silence after which a person takes the line for dead.
	const lost = 10 * time.Second
	for {
		if _, _, message, _ := c.stream.ear.state(); !message.IsZero() {
			return c.hearMessage()
		}
		left := time.Until(until)
		if left <= 0 {
			break
		}
		if c.b.Voice != "" {
			speech := clipSamples(c.b.Voice)
			said := min(left, length(speech))
			c.stream.say(speech[:said.Milliseconds()*8])
			if _, err := c.wait(said, nil); err != nil {
				return err
			}
		}
		listen := 2*time.Second + time.Duration(c.random.Int64N(int64(3*time.Second)))
		if _, err := c.wait(max(0, min(time.Until(until), listen)), nil); err != nil {
			return err
		}
		if _, last, _, _ := c.stream.ear.state(); time.Since(last) > lost+length(clipSamples(c.b.Voice)) {
			return c.hangUp()
		}
	}
	if c.b.HangsUp {
		return c.hangUp()
	}
	return c.listenOut(lost, 10*time.Minute)
}

// listenOut is silent and leaves the call to the caller, but hangs up when
// nothing has been heard for quiet, or after longest.
func (c *call) listenOut(quiet, longest time.Duration) error {
	c.stream.hush()
	began := time.Now()
	for time.Since(began) < longest {
		_, last, _, _ := c.stream.ear.state()
		left := quiet - time.Since(last)
		if left <= 0 {
			break
		}
		if _, err := c.wait(left, nil); err != nil {
			return err
		}
	}
	return c.hangUp()
}
