package siptrunk

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"dialer/telephony"
	"dialer/telephony/media"
)

// retries is what an INVITE was sent again for.
type retries struct {
	challenges, intervals, redirects int

	session, least time.Duration // what is asked for, and the least that a 422 named
}

// The limits of each: what is refused again will be refused once more.
const (
	maxChallenges = 2
	maxIntervals  = 2
	maxRedirects  = 3
)

// retry sends the INVITE again as its final response asks, and reports whether
// it did.
func (c *call) retry(ctx context.Context, res *sip.Response) bool {
	next, err := c.again(res)
	if isChallenge(res) && (next != nil || err != nil) {
		c.watch.challenged(res.StatusCode, err)
	}
	if err != nil {
		c.log.Warn("the call is not tried again", "status", res.StatusCode, "err", err)
	}
	if next == nil || err != nil {
		return false
	}
	c.forget()
	before := c.invite
	c.invite = next
	if err := c.transact(ctx); err != nil {
		c.log.Warn("cannot send again", "err", err)
		c.forget()
		c.invite = before
		return false
	}
	c.forks = map[string]*fork{} // those of the transaction before are gone
	return true
}

// again makes the INVITE that follows a final response, nil for none.
func (c *call) again(res *sip.Response) (*sip.Request, error) {
	next := func() *sip.Request { return c.e.again(c.invite, c.peer, c.invite.CSeq().SeqNo+1) }
	switch status := res.StatusCode; {
	case isChallenge(res) && c.retries.challenges < maxChallenges:
		c.retries.challenges++
		req := next()
		return req, authorize(c.peer, req, res)
	case (status == 422 || status == 488) && !c.ringingAt.IsZero():
		return nil, nil // the same INVITE would have the same phone ring anew
	case status == 422 && c.retries.intervals < maxIntervals && c.retries.session > 0:
		// RFC 4028 7.3. One that does not say what it wants is asked for none.
		c.retries.intervals++
		c.retries.least = minSession(res)
		c.retries.session = max(c.retries.session, c.retries.least)
		if c.retries.least == 0 {
			c.retries.session = 0
		}
		req := next()
		setSession(req, c.retries.session, c.retries.least)
		return req, nil
	case status == 488 && c.sdp.Insist():
		// The stricter phones and carriers read RTP/AVP as plain, whatever else
		// stands there: they are offered nothing but SRTP.
		req := next()
		req.SetBody(c.sdp.Offer(media.SendRecv))
		return req, nil
	// Also after it has rung: that is what a phone says which is forwarded when
	// nobody answers. It rings no more, and it was its user who named the other.
	case status >= 300 && status < 400 && c.peer.opts.Redirects && c.retries.redirects < maxRedirects:
		c.retries.redirects++
		uri, addr, err := c.redirected(res)
		if err != nil {
			return nil, err
		}
		c.moveTo(addr)
		req := next()
		req.Recipient = uri
		req.SetDestination(addr.String())
		return req, nil
	}
	return nil, nil
}

// redirected returns where a 3xx sends the call: to the best of its Contacts that
// is one of the trunk's own peers and names a number that the trunk may call. Who
// could send us elsewhere could have us call at our cost whom he likes.
func (c *call) redirected(res *sip.Response) (sip.Uri, netip.AddrPort, error) {
	contacts := contactsOf(res)
	for _, uri := range contacts {
		addr, ok := c.line.ownPeer(uri, c.peer.transport)
		if !ok || uri.Scheme != "sip" || len(c.peer.opts.Destinations) > 0 && !c.peer.opts.Allows(readNumber(c.peer.opts, uri.User)) {
			continue
		}
		uri.Headers = nil // a URI may bring headers along; ours stay
		return uri, addr, nil
	}
	return sip.Uri{}, netip.AddrPort{}, fmt.Errorf("redirected to %d places, none of which the trunk may call", len(contacts))
}

// contactsOf returns the Contacts of a redirection, the most preferred first.
func contactsOf(res *sip.Response) []sip.Uri {
	type contact struct {
		uri sip.Uri
		q   float64
	}
	var found []contact
	for _, h := range res.GetHeaders("contact") {
		ch, ok := h.(*sip.ContactHeader)
		if !ok || ch.Address.Wildcard || ch.Address.Host == "" {
			continue
		}
		q := 1.0
		if text, ok := ch.Params.Get("q"); ok {
			if v, err := strconv.ParseFloat(text, 64); err == nil {
				q = v
			}
		}
		found = append(found, contact{*ch.Address.Clone(), q})
	}
	slices.SortStableFunc(found, func(a, b contact) int {
		switch {
		case a.q > b.q:
			return -1
		case a.q < b.q:
			return 1
		}
		return 0
	})
	uris := make([]sip.Uri, len(found))
	for i, f := range found {
		uris[i] = f.uri
	}
	return uris
}

// ownPeer returns the address of a URI when it is that of one of the trunk's
// peers. Names are compared, not looked up.
func (l *line) ownPeer(uri sip.Uri, transport telephony.Transport) (netip.AddrPort, bool) {
	if l == nil || transportOf(uri, transport) != transport {
		return netip.AddrPort{}, false
	}
	at, literal := netip.ParseAddrPort(uriHostPort(uri, transport))
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range targetsOf(l.records, func(int) int { return 0 }) {
		host, port, err := hostAndPort(t.name, t.transport)
		named := err == nil && strings.EqualFold(strings.TrimSuffix(host, "."), strings.TrimSuffix(uri.Host, ".")) &&
			(uri.Port == 0 || uri.Port == int(port))
		if t.transport == transport && (named || literal == nil && t.addr == at) {
			return t.addr, true
		}
	}
	return netip.AddrPort{}, false
}

// moveTo makes another address that of the call's peer.
func (c *call) moveTo(addr netip.AddrPort) {
	c.peer.addr = addr
	c.admit(addr.Addr())
	c.answers = newAnswers(c.e, c.peer)
}

// admit lets the guard pass what a host sends until the call is decided.
func (c *call) admit(hosts ...netip.Addr) {
	for _, host := range hosts {
		c.admitted = append(c.admitted, c.e.sock.peers.add(host))
	}
}
