package siptrunk

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"dialer/telephony"
	"dialer/telephony/media"
)

// A sessionTimer is a leg's RFC 4028 state. We never ask for one; we keep the
// one that the far end's answer or refresh asks for.
type sessionTimer struct {
	mu        sync.Mutex
	interval  time.Duration // zero: none
	ours      bool          // we refresh
	refreshed time.Time
	update    bool // the far end takes UPDATE
}

// shortestSession is the least interval of RFC 4028 section 4.
const shortestSession = 90 * time.Second

// init reads the answer to our INVITE.
func (t *sessionTimer) init(res *sip.Response) {
	t.update = strings.Contains(strings.ToUpper(headerValues(res, "allow")), "UPDATE")
	interval, refresher := sessionExpires(res)
	t.set(interval, refresher != "uas") // in a response to us, uac is we
}

func (t *sessionTimer) set(interval time.Duration, ours bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.interval, t.ours, t.refreshed = interval, ours, time.Now()
}

// sessionExpires reads "1800;refresher=uac"; 0 when there is none.
func sessionExpires(msg sip.Message) (interval time.Duration, refresher string) {
	value, params, _ := strings.Cut(headerValues(msg, "session-expires", "x"), ";")
	seconds, err := strconv.Atoi(strings.TrimSpace(value))
	if err != nil || seconds <= 0 || seconds > 1<<24 {
		return 0, ""
	}
	for p := range strings.SplitSeq(params, ";") {
		if name, v, _ := strings.Cut(p, "="); strings.EqualFold(strings.TrimSpace(name), "refresher") {
			refresher = strings.ToLower(strings.TrimSpace(v))
		}
	}
	return max(time.Duration(seconds)*time.Second, shortestSession), refresher
}

// accept takes the timer of the far end's refresh and returns the header to
// answer it with, or nil.
func (t *sessionTimer) accept(req *sip.Request) sip.Header {
	interval, refresher := sessionExpires(req)
	if interval == 0 {
		t.mu.Lock()
		t.refreshed = time.Now()
		t.mu.Unlock()
		return nil
	}
	if refresher != "uas" {
		refresher = "uac"
	}
	t.set(interval, refresher == "uas") // in a request to us, uas is we
	return sip.NewHeader("Session-Expires", strconv.Itoa(int(interval/time.Second))+";refresher="+refresher)
}

// due says whether to refresh now and whether the session has run out.
func (t *sessionTimer) due(now time.Time) (refresh, expired bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.interval == 0 {
		return false, false
	}
	age := now.Sub(t.refreshed)
	if t.ours {
		return age >= t.interval/2, false
	}
	return false, age >= t.interval-min(32*time.Second, t.interval/3)
}

// keepSession refreshes the session when it is due and hangs up one that the
// far end no longer refreshes.
func (l *Leg) keepSession(now time.Time) {
	refresh, expired := l.timer.due(now)
	switch {
	case expired:
		l.end(telephony.Network, telephony.CauseNormal, 0, "the session timer ran out", true)
	case refresh:
		l.timer.mu.Lock()
		interval, update := l.timer.interval, l.timer.update
		l.timer.refreshed = now // not again while this one runs
		l.timer.mu.Unlock()
		l.e.goWork("a session refresh", func() { l.refresh(interval, update) })
	}
}

// refresh tells the far end that we are still there: by UPDATE, else by a
// re-INVITE that changes nothing.
func (l *Leg) refresh(interval time.Duration, update bool) {
	l.mu.Lock()
	if l.ended || l.offering || l.answering != nil {
		l.mu.Unlock()
		return // their own request refreshes as well
	}
	l.offering = true
	offer := l.sdp.Offer(media.SendRecv)
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		l.offering = false
		l.mu.Unlock()
	}()
	method := sip.INVITE
	if update {
		method = sip.UPDATE
	}
	req := l.d.build(method, 0)
	req.AppendHeader(sip.NewHeader("Session-Expires", strconv.Itoa(int(interval/time.Second))+";refresher=uac"))
	if method == sip.INVITE {
		setSDP(req, offer)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
	defer cancel()
	res, err := l.d.do(ctx, req)
	switch {
	case err != nil || res.StatusCode == 481 || res.StatusCode == 408:
		l.end(telephony.Network, telephony.CauseUnreachable, 0, "the session refresh was not answered", true)
	case res.IsSuccess():
		if method == sip.INVITE {
			l.d.ack(res.CSeq().SeqNo)
			if sdp := sdpOf(res); sdp != nil {
				l.takeAnswer(sdp)
			}
		}
		if interval, refresher := sessionExpires(res); interval > 0 {
			l.timer.set(interval, refresher != "uas")
		}
	}
}

// takeAnswer applies the far end's answer to an offer of ours.
func (l *Leg) takeAnswer(sdp []byte) {
	l.mu.Lock()
	remote, err := l.sdp.Accept(sdp)
	l.mu.Unlock()
	if err != nil {
		l.log.Warn("SDP answer not usable; the media stays as it was", "err", err)
		return
	}
	l.setRemote(remote)
}

func (l *Leg) setRemote(remote media.Remote) {
	l.session.SetRemote(l.d.peer.audio(remote))
	l.live(remote, time.Now())
}
