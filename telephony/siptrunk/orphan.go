package siptrunk

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/emiago/sipgo/sip"

	"dialer"
	"dialer/telephony"
)

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

// maxOrphanTries bounds the INVITEs of one Dial that CancelOrphan looks for.
const maxOrphanTries = 4

// CancelOrphan gives up a call that an earlier process of this node placed over
// inv.Trunk and that may still ring. Its INVITE is named by the call and
// Config.Key, so a process that knows both can send its CANCEL. Whoever answers
// nevertheless is hung up and told to OnGhost. A trunk that knows of no such
// INVITE is success.
func (e *Endpoint) CancelOrphan(ctx context.Context, inv telephony.Invite) error {
	if why := refuse(inv); why != "" {
		return dialer.Errorf(dialer.Invalid, "%s", why)
	}
	l, _ := e.line(inv.Trunk)
	if l == nil {
		return dialer.Errorf(dialer.NotFound, "there is no trunk %s", inv.Trunk)
	}
	if err := e.sock.await(ctx); err != nil {
		return fmt.Errorf("siptrunk: orphan %s: %w", inv.Call, err)
	}
	targets, err := e.targets(ctx, l)
	if err != nil {
		return fmt.Errorf("siptrunk: orphan %s: %w", inv.Call, err)
	}
	targets = targets[:min(len(targets), maxOrphanTries)]
	cfg := l.settings()
	last := uint32(1)
	if cfg.Username != "" {
		last = 2 // the INVITE that answered a challenge
	}
	var failed error
	for _, t := range targets {
		p, err := e.trunkPeer(cfg, t, inv)
		if err == nil {
			err = e.reach(ctx, &p)
		}
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		leave := e.sock.peers.add(p.addr.Addr())
		for try := range targets {
			for cseq := last; cseq > 0; cseq-- {
				found, err := e.cancelPlaced(ctx, p, e.callID(inv.Call, try+1), cseq)
				if err != nil {
					failed = errors.Join(failed, err)
				}
				if found {
					leave()
					return nil
				}
			}
		}
		leave()
	}
	if failed != nil {
		return fmt.Errorf("siptrunk: orphan %s: CANCEL: %w", inv.Call, failed)
	}
	return nil
}

// cancelPlaced cancels one INVITE and reports whether the peer knew it.
func (e *Endpoint) cancelPlaced(ctx context.Context, p peer, callID string, cseq uint32) (found bool, err error) {
	invite := e.newInvite(p, callID, nil)
	invite.ReplaceHeader(e.via(p, e.named("branch", callID, cseq)))
	invite.CSeq().SeqNo = cseq
	res, err := e.do(ctx, p, e.newCancel(invite))
	return err == nil && res.IsSuccess(), err
}
