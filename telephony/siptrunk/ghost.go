package siptrunk

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
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
	if !res.IsSuccess() || res.CSeq() == nil || res.CSeq().MethodName != sip.INVITE ||
		res.From() == nil || res.To() == nil || res.CallID() == nil {
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
	if err != nil || !answersUs(res, ours) || !e.sock.other.allow(from.Addr(), time.Now()) {
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
	d.ack(res.CSeq().SeqNo)
	if e.firstStray(dialogKey(callID, local)+"\x00"+remote, time.Now()) {
		e.bye(d, telephony.CauseNormal)
		if leg == nil {
			e.ghost(dialer.CallID(plain(string(callOf(callID)), 64)), time.Now())
		}
	}
}

// answersUs reports whether a response is to a request that left from here
// (RFC 3261 18.1.2).
func answersUs(res *sip.Response, ours netip.Addr) bool {
	return strings.Trim(res.Via().Host, "[]") == ours.String()
}

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

// orphanSkip is added to a saved CSeq: the dead process may have sent more
// requests after it saved the dialog, and a number only has to grow.
const orphanSkip = 1000

// EndOrphan sends BYE for a dialog that Leg.Dialog of an earlier process
// returned. A peer that no longer knows the call (481) is success.
func (e *Endpoint) EndOrphan(ctx context.Context, saved []byte) error {
	var s savedDialog
	if err := json.Unmarshal(saved, &s); err != nil {
		return dialer.Errorf(dialer.Invalid, "this is not a saved dialog: %v", err)
	}
	d := &dialog{e: e, callID: s.CallID, localTag: s.LocalTag, tag: s.RemoteTag, cseq: s.CSeq + orphanSkip, dest: s.Dest}
	d.transport = cmp.Or(s.Transport, telephony.UDP)
	if s.CallID == "" || s.LocalTag == "" || !s.Dest.IsValid() || !headerSafe(s.CallID+s.LocalTag+s.RemoteTag) {
		return dialer.Errorf(dialer.Invalid, "this is not a saved dialog: it lacks a Call-ID, a tag or an address")
	}
	d.local = &sip.FromHeader{DisplayName: s.FromName}
	d.remote = &sip.ToHeader{}
	for text, uri := range map[string]*sip.Uri{s.From: &d.local.Address, s.To: &d.remote.Address, s.Target: &d.target} {
		if err := sip.ParseUri(text, uri); err != nil {
			return dialer.Errorf(dialer.Invalid, "the saved dialog has a bad address: %v", err)
		}
	}
	for _, text := range s.Routes {
		var uri sip.Uri
		if err := sip.ParseUri(text, &uri); err != nil {
			return dialer.Errorf(dialer.Invalid, "the saved dialog has a bad route: %v", err)
		}
		d.routes = append(d.routes, uri)
	}
	d.local.Params.Add("tag", s.LocalTag)
	if s.RemoteTag != "" {
		d.remote.Params.Add("tag", s.RemoteTag)
	}
	ours, err := e.route.ours(s.Dest.Addr())
	if err != nil {
		return fmt.Errorf("siptrunk: orphan %s: %w", callOf(s.CallID), err)
	}
	d.peer = peer{trunk: s.Trunk, name: string(s.Trunk), addr: s.Address, ours: ours, transport: d.transport}
	if l, _ := e.line(s.Trunk); l != nil {
		cfg := l.settings()
		d.peer.username, d.peer.password, d.peer.realm = cfg.Username, cfg.Password, cfg.Realm
		d.peer.tls = tlsPeerOf(cfg, l.nameAt(s.Address, cfg.Address))
	}
	if err := e.sock.await(ctx); err != nil {
		return fmt.Errorf("siptrunk: orphan %s: %w", callOf(s.CallID), err)
	}
	for _, host := range d.hosts() {
		defer e.sock.peers.add(host)()
	}
	req := d.build(sip.BYE, 0)
	req.AppendHeader(reasonHeader(telephony.CauseFailed))
	res, err := d.do(ctx, req)
	if err != nil {
		return fmt.Errorf("siptrunk: orphan %s: BYE: %w", callOf(s.CallID), err)
	}
	if !res.IsSuccess() && res.StatusCode != 481 {
		return fmt.Errorf("siptrunk: orphan %s: BYE was refused with %d %s", callOf(s.CallID), res.StatusCode, res.Reason)
	}
	return nil
}
