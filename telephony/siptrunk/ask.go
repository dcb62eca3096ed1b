package siptrunk

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/emiago/sipgo/sip"

	"dialer"
	"dialer/telephony"
	"dialer/telephony/media"
)

// errOver is returned by what needs a leg that is up.
var errOver = errors.New("the call is over")

// The limits of a request inside a dialog: of its transaction, and of how often
// it is sent when it meets one of the far end's.
const (
	askWait  = 40 * time.Second
	maxGlare = 5
)

// request sends a request inside the leg's dialog and returns its final
// response. A far end that no longer knows the dialog, or does not answer, has
// ended the call (RFC 3261 12.2.1.2).
func (l *Leg) request(ctx context.Context, req *sip.Request) (*sip.Response, error) {
	res, err := l.d.do(ctx, req)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		l.end(telephony.Network, telephony.CauseUnreachable, 0, fmt.Sprintf("%s was not answered", req.Method), true)
		return nil, fmt.Errorf("%s was not answered: %w", req.Method, err)
	case res.StatusCode == 481 || res.StatusCode == 408:
		reason := fmt.Sprintf("%s was answered with %d", req.Method, res.StatusCode)
		l.end(telephony.Network, telephony.CauseUnreachable, 0, reason, true)
		return nil, errOver
	}
	return res, nil
}

// ask sends a re-INVITE or UPDATE when it is our turn, and again after a glare
// (RFC 3261 14.1). make is called for each try. take is given a 2xx before
// another exchange can begin.
func (l *Leg) ask(make func() *sip.Request, take func(*sip.Response)) (*sip.Response, error) {
	select {
	case l.asking <- struct{}{}:
		defer func() { <-l.asking }()
	case <-l.done:
		return nil, errOver
	}
	for try := 1; ; try++ {
		if !l.beginOffer() {
			return nil, errOver
		}
		res, err := l.offerOnce(make, take)
		var wait time.Duration
		switch {
		case err != nil:
			return nil, err
		case res.StatusCode == 491:
			wait = l.e.glareWait()
		case res.StatusCode == 500 && retryAfter(res) > 0: // ours met one of theirs
			wait = min(retryAfter(res), 10*time.Second)
		}
		if wait == 0 || try == maxGlare {
			return res, nil
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-l.done:
			t.Stop()
			return nil, errOver
		}
	}
}

// beginOffer waits until no re-INVITE of theirs is unfinished and notes that one
// of ours is. It reports false when the leg ends before.
func (l *Leg) beginOffer() bool {
	for {
		l.mu.Lock()
		theirs := l.answering
		if l.ended {
			l.mu.Unlock()
			return false
		}
		if theirs == nil {
			l.offering = true
			l.mu.Unlock()
			return true
		}
		l.mu.Unlock()
		select {
		case <-theirs.acked:
		case <-l.done:
			return false
		}
	}
}

func (l *Leg) offerOnce(make func() *sip.Request, take func(*sip.Response)) (*sip.Response, error) {
	var accepted *sip.Response
	defer func() {
		l.mu.Lock()
		l.offering = false
		l.mu.Unlock()
		if accepted != nil { // last: a re-INVITE of theirs may follow it at once
			l.d.ack(accepted.CSeq().SeqNo)
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), askWait)
	defer cancel()
	req := make()
	res, err := l.request(ctx, req)
	if ctx.Err() != nil {
		l.end(telephony.Network, telephony.CauseUnreachable, 0, fmt.Sprintf("%s was not answered", req.Method), true)
	}
	if err != nil {
		return nil, err
	}
	if res.IsSuccess() {
		if req.IsInvite() {
			accepted = res
		}
		if l.d.retarget(res) {
			l.admit()
		}
		take(res)
	}
	return res, nil
}

// glareWait is how long the owner of the Call-ID waits after a 491.
func glareWait() time.Duration {
	return 2100*time.Millisecond + time.Duration(rand.IntN(191))*10*time.Millisecond
}

// Hold puts the far end on hold, or takes it back: a re-INVITE with sendonly or
// sendrecv. While on hold it hears what is written and need not send. Hold
// returns when the far end has answered; one whose ctx ends first goes on.
func (l *Leg) Hold(ctx context.Context, on bool) error {
	decided := make(chan error, 1)
	if !l.e.goWork("a hold", func() { decided <- l.hold(on) }) {
		return errOver
	}
	select {
	case err := <-decided:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (l *Leg) hold(on bool) error {
	dir := media.SendRecv
	if on {
		dir = media.SendOnly
	}
	l.mu.Lock()
	same := l.direction == dir
	l.mu.Unlock()
	if same {
		return nil
	}
	res, err := l.ask(func() *sip.Request {
		req := l.d.build(sip.INVITE, 0)
		l.mu.Lock()
		offer := l.sdp.Offer(dir)
		l.mu.Unlock()
		l.timer.ask(req)
		setSDP(req, offer)
		return req
	}, func(res *sip.Response) {
		l.mu.Lock()
		l.direction = dir
		l.mu.Unlock()
		l.timer.answered(res)
		if sdp := sdpOf(res); sdp != nil {
			l.takeAnswer(sdp)
		}
	})
	switch {
	case err != nil:
		return fmt.Errorf("hold: %w", err)
	case !res.IsSuccess():
		return dialer.Errorf(dialer.Unavailable, "the far end refused the hold with %d %s", res.StatusCode, plain(res.Reason, 64))
	}
	return nil
}

// takeAnswer applies the far end's answer to an offer of ours.
func (l *Leg) takeAnswer(sdp []byte) {
	l.mu.Lock()
	remote, err := l.sdp.Accept(sdp)
	l.mu.Unlock()
	if errors.Is(err, media.ErrNotSecured) {
		l.end(telephony.Caller, telephony.CauseFailed, 0, err.Error(), true)
		return
	}
	if err != nil {
		l.log.Warn("SDP answer not usable; the media stays as it was", "err", err)
		return
	}
	l.setRemote(remote)
}

func (l *Leg) setRemote(remote media.Remote) {
	if remote.Crypto == nil && l.session.Stats().Secured {
		l.log.Warn("the far end no longer encrypts the audio, as srtp optional allows")
	}
	l.mu.Lock()
	if l.direction == media.SendOnly { // whatever it says: it is on hold
		remote.Receive = false
	}
	l.mu.Unlock()
	l.session.SetRemote(l.d.peer.audio(remote))
	l.live(remote, time.Now())
}
