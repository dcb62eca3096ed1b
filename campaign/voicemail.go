package campaign

import (
	"context"
	"time"

	"dialer"
	"dialer/telephony"
)

// How a message is left on a machine.
const (
	dropSilence  = 2 * time.Second         // after the greeting, where no beep comes
	dropWait     = 90 * time.Second        // for the message to begin
	dropListen   = 15 * time.Minute        // what a line may claim to have lasted
	dropPoll     = 100 * time.Millisecond  // where no packets come
	dropRestarts = 3                       // then the message plays on whatever is heard
	greetsOn     = 1200 * time.Millisecond // of speech into the message
	shortNoise   = 400 * time.Millisecond  // less is no speech: a click, a cough
)

// A drop decides when the message plays: once the beep has ended, or after the
// greeting and a silence where there is none. A greeting that goes on, or a beep
// into the message, makes it begin anew.
type drop struct {
	far      *farEnd
	playing  bool
	began    time.Duration // the last time, from the answer
	beeps    int           // that were heard by then
	after    string
	restarts int
}

// A step is what a drop wants done.
type step int

const (
	goOn step = iota
	begin
	halt
)

// next says what to do at a time from the answer.
func (d *drop) next(now time.Duration) step {
	f := d.far
	if d.playing {
		if d.restarts < dropRestarts && d.disturbed(now) {
			d.playing = false
			d.restarts++
			return halt
		}
		return goOn
	}
	beeped := f.beeps > d.beeps && f.beep.End >= f.lastVoice
	switch {
	case f.beeping || f.speaking:
		return goOn
	case beeped:
		d.after = "beep"
	case now-max(f.lastVoice, f.beep.End, 0) >= dropSilence:
		d.after = "silence"
	default:
		return goOn
	}
	d.playing, d.began, d.beeps = true, now, f.beeps
	return begin
}

// disturbed reports whether the machine was not listening yet.
func (d *drop) disturbed(now time.Duration) bool {
	f := d.far
	since := max(f.spoke, d.began)
	switch {
	case f.beeping || f.beeps > d.beeps:
		return true
	case f.speaking:
		return now-since >= greetsOn
	}
	return f.lastVoice-since >= shortNoise
}

// leaveMessage waits for the machine to record and plays the campaign's message
// to it. It reports whether all of it was played.
func (a *attempt) leaveMessage() (complete bool) {
	clip := a.r.mailboxClip()
	if clip == nil {
		a.log.Warn("no message is left: it is not loaded")
		return false
	}
	if a.ear == nil {
		a.ear = newHearing(a.s.cfg.NewDetector(a.campaign.Settings.Detection.detector()))
	}
	a.r.enter(a, phaseVoicemail)
	a.ear.limit = dropListen
	d := drop{far: &a.ear.far}
	from := time.Now()
	var p *player
	defer func() {
		if p != nil {
			p.stop()
			a.messageLeft(p)
		}
	}()
	for {
		if !a.hearOn() {
			return false
		}
		if p != nil {
			select {
			case <-p.done:
				return p.err == nil
			default:
			}
		}
		switch d.next(time.Since(a.call.AnsweredAt)) {
		case begin:
			p = a.startMessage(clip, &d)
		case halt:
			p.stop()
			a.messageLeft(p)
			p = nil
		}
		if p == nil && time.Since(from) > dropWait {
			return false
		}
	}
}

// hearOn gives the detector what the leg says next. It reports false once the
// leg or the work on calls has ended.
func (a *attempt) hearOn() bool {
	ctx, cancel := context.WithTimeout(a.calling, dropPoll)
	defer cancel()
	frame, err := a.leg.ReadFrame(ctx)
	if err == nil {
		a.ear.write(&frame)
		return true
	}
	select {
	case <-a.leg.Done():
		return false
	default:
		return a.calling.Err() == nil
	}
}

// A player is a message being played.
type player struct {
	cancel context.CancelFunc
	done   chan struct{}
	played time.Duration // once done
	err    error
}

// stop ends it, and waits for that.
func (p *player) stop() {
	p.cancel()
	<-p.done
}

func (a *attempt) startMessage(clip *telephony.Clip, d *drop) *player {
	ctx, cancel := context.WithCancel(a.calling)
	p := &player{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.played, p.err = telephony.Play(ctx, a.leg, *clip)
	}()
	sha, now := a.campaign.Settings.Detection.Voicemail, time.Now().UTC()
	a.save(func(c *Call) {
		c.Heard.beep(a, d.far.beep)
		c.Heard.Voicemail = Voicemail{SHA: sha, StartedAt: now, After: d.after, Restarts: d.restarts}
	}, dialer.VoicemailStarted{Asset: clip.Name, SHA: sha, After: d.after, Restarts: d.restarts})
	return p
}

// messageLeft notes what the machine has of the message.
func (a *attempt) messageLeft(p *player) {
	now := time.Now().UTC()
	a.save(func(c *Call) {
		v := &c.Heard.Voicemail
		v.EndedAt, v.PlayedMS, v.Complete = now, p.played.Milliseconds(), p.err == nil
	}, dialer.VoicemailEnded{PlayedMS: p.played.Milliseconds(), Complete: p.err == nil})
}
