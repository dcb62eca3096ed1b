package siptrunk

import (
	"crypto/hmac"
	"net/netip"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"dialer"
	"dialer/telephony"
)

// ghost tells of a call that was answered when no Dial waited for it any more.
func (e *Endpoint) ghost(id dialer.CallID, at time.Time) {
	e.log.Warn("a call was answered after it was given up; it was hung up", "call", string(id))
	if e.cfg.OnGhost != nil {
		e.cfg.OnGhost(id, at)
	}
}

// strayResponse handles a response that belongs to no transaction. A 2xx to an
// INVITE is a person who has answered: of a live leg it is repeated because the
// ACK was lost, and is ACKed again; any other is hung up, whether it comes long
// after its transaction or for a call of a process that died.
func (e *Endpoint) strayResponse(res *sip.Response) {
	defer e.survive("a stray response")
	if res.IsProvisional() || res.CSeq() == nil || res.CSeq().MethodName != sip.INVITE ||
		res.From() == nil || res.To() == nil || res.CallID() == nil {
		return
	}
	if !res.IsSuccess() {
		e.ackRefusal(res)
		return
	}
	callID, local, remote := res.CallID().Value(), fromTag(res), toTag(res)
	e.mu.Lock()
	leg := e.dialogs[dialogKey(callID, local)]
	e.mu.Unlock()
	if leg != nil && leg.d.tag == remote {
		leg.d.ack(res.CSeq().SeqNo)
		return
	}
	from := sourceOf(res)
	ours, err := e.route.ours(from.Addr())
	if err != nil || !answersUs(res, ours) || !e.namedHere(callID, local) || !e.sock.other.allow(from.Addr(), true, time.Now()) {
		return
	}
	invite := sip.NewRequest(sip.INVITE, res.To().Address)
	invite.AppendHeader(cloneFrom(res.From()))
	id := *res.CallID()
	invite.AppendHeader(&id)
	invite.AppendHeader(&sip.CSeqHeader{SeqNo: res.CSeq().SeqNo, MethodName: sip.INVITE})
	p := peer{name: from.String(), addr: from, ours: ours, transport: transportIn(res)}
	// Back to where it came from: we know nothing of this call that would
	// vouch for its Contact.
	d := e.dialogOf(p, invite, res)
	if !e.firstStray(strayKey(callID, local, remote), time.Now()) {
		d.ack(res.CSeq().SeqNo)
		return
	}
	// In one breath: who has the ACK repeats the answer no more, so that nobody
	// would hang up if this process died between the two.
	e.goEnd("a BYE", func() {
		d.ack(res.CSeq().SeqNo)
		e.sendBye(d, telephony.CauseNormal)
	})
	if leg == nil {
		e.ghost(dialer.CallID(plain(string(callOf(callID)), 64)), time.Now())
	}
}

// answersUs reports whether a response is to a request that left from here
// (RFC 3261 18.1.2).
func answersUs(res *sip.Response, ours netip.Addr) bool {
	return strings.Trim(res.Via().Host, "[]") == ours.String()
}

// namedHere reports whether an INVITE of ours, or of a process before us with the
// same key, had this Call-ID and From tag: the tag is made of both. Whatever else
// somebody answers is no call of ours and nobody's ghost.
func (e *Endpoint) namedHere(callID, tag string) bool {
	return hmac.Equal([]byte(tag), []byte(e.named("tag", callID, 0)))
}

// ackRefusal ends the repeating of a refusal whose transaction is gone: that of
// an INVITE which a process before this one sent.
func (e *Endpoint) ackRefusal(res *sip.Response) {
	from := sourceOf(res)
	if res.Via() == nil || !e.sock.other.allow(from.Addr(), true, time.Now()) {
		return
	}
	req := sip.NewRequest(sip.ACK, res.To().Address)
	req.AppendHeader(res.Via().Clone())
	forwards := sip.MaxForwardsHeader(70)
	req.AppendHeader(&forwards)
	for _, name := range []string{"From", "To", "Call-ID"} {
		sip.CopyHeaders(name, res, req)
	}
	req.AppendHeader(&sip.CSeqHeader{SeqNo: res.CSeq().SeqNo, MethodName: sip.ACK})
	p := peer{name: from.String(), addr: from, transport: transportIn(res)}
	e.aim(req, p.transport, from.String())
	req.SetBody(nil)
	e.send(p, req)
}

func strayKey(callID, local, remote string) string { return dialogKey(callID, local) + "\x00" + remote }

// firstStray reports whether a stray answer is new: it is repeated for 32 s.
func (e *Endpoint) firstStray(key string, now time.Time) bool {
	const memory, most = 40 * time.Second, 4096
	e.mu.Lock()
	defer e.mu.Unlock()
	if at, ok := e.strays[key]; ok && now.Sub(at) < memory {
		return false
	}
	if len(e.strays) >= most {
		for k, at := range e.strays {
			if now.Sub(at) >= memory {
				delete(e.strays, k)
			}
		}
		if len(e.strays) >= most {
			return false
		}
	}
	e.strays[key] = now
	return true
}
