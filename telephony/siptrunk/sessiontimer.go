package siptrunk

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"dialer/telephony"
)

// A sessionTimer is a leg's RFC 4028 state: how often one side must refresh the
// session, so that the other finds out when a BYE was lost.
type sessionTimer struct {
	mu        sync.Mutex
	interval  time.Duration // zero: none
	least     time.Duration // the far end's Min-SE, as far as it is known
	ours      bool          // we refresh
	refreshed time.Time     // the last refresh of either side
	tried     time.Time     // ours that may still be in flight, or has failed
	update    bool          // the far end takes UPDATE
}

// The limits of a session interval.
const (
	shortestSession = 90 * time.Second // RFC 4028 section 4
	usualSession    = 30 * time.Minute
	longestSession  = 24 * time.Hour
	// shortestRefresh bounds what a far end can make us send, whatever it asks.
	shortestRefresh = 15 * time.Second
)

// askedSession is the interval to ask a peer for; 0 for none.
func askedSession(o telephony.TrunkOptions) time.Duration {
	if o.SessionSeconds < 0 {
		return 0
	}
	return cmp.Or(time.Duration(o.SessionSeconds)*time.Second, usualSession)
}

func seconds(d time.Duration) string { return strconv.Itoa(int(d / time.Second)) }

// setSession asks for a session interval in an INVITE.
func setSession(req *sip.Request, interval, least time.Duration) {
	req.RemoveHeader("Session-Expires")
	req.RemoveHeader("Min-SE")
	if interval > 0 {
		req.AppendHeader(sip.NewHeader("Session-Expires", seconds(interval)))
		req.AppendHeader(sip.NewHeader("Min-SE", seconds(max(least, shortestSession))))
	}
}

// minSession reads the Min-SE of a 422; 0 when it is missing or beyond reason.
func minSession(res *sip.Response) time.Duration {
	value, _, _ := strings.Cut(headerValues(res, "min-se"), ";")
	n, err := strconv.Atoi(strings.TrimSpace(value))
	if err != nil || n <= 0 || n > int(longestSession/time.Second) {
		return 0
	}
	return time.Duration(n) * time.Second
}

// sessionExpires reads "1800;refresher=uac"; 0 when there is none.
func sessionExpires(msg sip.Message) (interval time.Duration, refresher string) {
	value, params, _ := strings.Cut(headerValues(msg, "session-expires"), ";")
	n, err := strconv.Atoi(strings.TrimSpace(value))
	if err != nil || n <= 0 || n > 1<<24 {
		return 0, ""
	}
	for p := range strings.SplitSeq(params, ";") {
		if name, v, _ := strings.Cut(p, "="); strings.EqualFold(strings.TrimSpace(name), "refresher") {
			refresher = strings.ToLower(strings.TrimSpace(v))
		}
	}
	return time.Duration(n) * time.Second, refresher
}

// init reads the answer to our INVITE; least is what a 422 made us ask for.
func (t *sessionTimer) init(res *sip.Response, least time.Duration) {
	t.mu.Lock()
	t.update = slices.Contains(optionTags(res, "allow"), "update")
	t.least = least
	t.mu.Unlock()
	t.answered(res)
}

// answered takes the interval of a 2xx to our INVITE or refresh. Without one the
// session does not expire (RFC 4028 section 7.2).
func (t *sessionTimer) answered(res *sip.Response) {
	interval, refresher := sessionExpires(res)
	t.set(interval, refresher != "uas") // in a response to us, uac is we
}

func (t *sessionTimer) set(interval time.Duration, ours bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.interval, t.ours, t.refreshed, t.tried = interval, ours, time.Now(), time.Time{}
}

// ask puts the running interval into a request of ours, which refreshes too.
func (t *sessionTimer) ask(req *sip.Request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.interval == 0 {
		return
	}
	refresher := "uas"
	if t.ours {
		refresher = "uac"
	}
	req.AppendHeader(sip.NewHeader("Session-Expires", seconds(t.interval)+";refresher="+refresher))
	req.AppendHeader(sip.NewHeader("Min-SE", seconds(max(t.least, shortestSession))))
}

// tooSmall reports whether the far end asks for an interval that we refuse with
// 422, which only one that knows of session timers understands.
func (t *sessionTimer) tooSmall(req *sip.Request) bool {
	interval, _ := sessionExpires(req)
	return interval > 0 && interval < shortestSession && slices.Contains(optionTags(req, "supported"), "timer")
}

// accept takes the timer of the far end's refresh and writes it into the answer
// (RFC 4028 section 9, table 2).
func (t *sessionTimer) accept(req *sip.Request, res *sip.Response) {
	knows := slices.Contains(optionTags(req, "supported"), "timer") || slices.Contains(optionTags(req, "require"), "timer")
	interval, refresher := sessionExpires(req)
	t.mu.Lock()
	if interval == 0 {
		interval = t.interval // a refresh that does not say so goes on as it was
		if t.ours {
			refresher = "uas"
		}
	}
	t.mu.Unlock()
	if interval == 0 {
		return
	}
	ours := !knows || refresher == "uas" // in a request to us, uas is we
	interval = max(interval, shortestSession)
	t.set(interval, ours)
	refresher = "uac"
	if ours {
		refresher = "uas"
	}
	if knows {
		res.AppendHeader(sip.NewHeader("Require", "timer"))
	}
	res.AppendHeader(sip.NewHeader("Session-Expires", seconds(interval)+";refresher="+refresher))
}

// due says whether to refresh now and whether the session has run out.
func (t *sessionTimer) due(now time.Time) (refresh, expired bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.interval == 0 {
		return false, false
	}
	interval := max(t.interval, shortestSession)
	if t.ours {
		interval = max(t.interval, 2*shortestRefresh)
	}
	age := now.Sub(t.refreshed)
	if age >= interval-min(32*time.Second, interval/3) {
		return false, true
	}
	pause := max(interval/2, shortestRefresh)
	return t.ours && age >= pause && now.Sub(t.tried) >= max(interval/8, shortestRefresh), false
}

// keepSession refreshes the session when it is due and hangs up one that the
// far end no longer refreshes, or in which no refresh of ours succeeds.
func (l *Leg) keepSession(now time.Time) {
	refresh, expired := l.timer.due(now)
	switch {
	case expired:
		l.end(telephony.Network, telephony.CauseNormal, 0, "the session timer ran out", true)
	case refresh:
		l.timer.mu.Lock()
		l.timer.tried = now // not again while this one runs
		l.timer.mu.Unlock()
		l.e.goWork("a session refresh", l.refresh)
	}
}

// refresh tells the far end that we are still there: by UPDATE, else by a
// re-INVITE that changes nothing.
func (l *Leg) refresh() {
	var method sip.RequestMethod
	res, err := l.ask(func() *sip.Request {
		l.timer.mu.Lock()
		method = sip.INVITE
		if l.timer.update {
			method = sip.UPDATE
		}
		l.timer.mu.Unlock()
		req := l.d.build(method, 0)
		l.timer.ask(req)
		if method == sip.INVITE {
			l.mu.Lock()
			setSDP(req, l.sdp.Offer(l.direction))
			l.mu.Unlock()
		}
		return req
	}, func(res *sip.Response) {
		l.timer.answered(res)
		if sdp := sdpOf(res); sdp != nil && method == sip.INVITE {
			l.takeAnswer(sdp)
		}
	})
	if err != nil || res.IsSuccess() {
		return
	}
	l.log.Info("the far end refused a session refresh", "method", string(method), "status", res.StatusCode)
	t := &l.timer
	t.mu.Lock()
	defer t.mu.Unlock()
	switch least := minSession(res); {
	case res.StatusCode == 422 && least > t.interval:
		t.interval, t.least, t.tried = least, least, time.Time{} // at the next look
	case method == sip.UPDATE && (res.StatusCode == 405 || res.StatusCode == 501):
		t.update, t.tried = false, time.Time{}
	}
}
