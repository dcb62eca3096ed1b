package siptrunk

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

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

// maxOrphanPeers bounds the peers of one trunk that CancelOrphan asks.
const maxOrphanPeers = 8

// CancelOrphan gives up a call that an earlier process of this node placed over
// inv.Trunk or one of inv.Backups and that may still ring. Its INVITE is named by
// the call, the peer and Config.Key, so a process that knows them can send its
// CANCEL. Who has the call is not known, and a peer that was given up may have it
// as well: all are asked, at once. Whoever answers nevertheless is hung up and
// told to OnGhost. A trunk that knows of no such INVITE is success.
func (e *Endpoint) CancelOrphan(ctx context.Context, inv telephony.Invite) error {
	if why := refuse(inv); why != "" {
		return dialer.Errorf(dialer.Invalid, "%s", why)
	}
	if l, _ := e.line(inv.Trunk); l == nil {
		return dialer.Errorf(dialer.NotFound, "there is no trunk %s", inv.Trunk)
	}
	if err := e.sock.await(ctx); err != nil {
		return fmt.Errorf("siptrunk: orphan %s: %w", inv.Call, err)
	}
	var mu sync.Mutex
	var failed error
	fails := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		failed = errors.Join(failed, err)
	}
	var asking sync.WaitGroup
	for _, id := range trunksOf(inv) {
		l, _ := e.line(id)
		if l == nil || barred(l.settings(), inv) != "" {
			continue // it was not asked
		}
		asking.Go(func() {
			defer e.survive("cancelling a call of the last run")
			targets, err := e.targets(ctx, l)
			if err != nil {
				fails(err)
				return
			}
			targets = targets[:min(len(targets), maxOrphanPeers)]
			cfg := l.settings()
			for _, t := range targets {
				asking.Go(func() {
					defer e.survive("cancelling a call of the last run")
					if err := e.cancelAt(ctx, cfg, t, targets, inv); err != nil {
						fails(fmt.Errorf("%s: %w", t, err))
					}
				})
			}
		})
	}
	asking.Wait()
	if failed != nil {
		return fmt.Errorf("siptrunk: orphan %s: CANCEL: %w", inv.Call, failed)
	}
	return nil
}

// cancelAt cancels what one peer knows of a call. Its last INVITE is asked for
// first: one that was challenged is also known for a while, and rings nobody.
// Where redirections are followed, the call may have begun at another peer.
func (e *Endpoint) cancelAt(ctx context.Context, cfg telephony.Trunk, at target, all []target, inv telephony.Invite) error {
	p, err := e.trunkPeer(cfg, at, inv)
	if err == nil {
		err = e.reach(ctx, &p)
	}
	if err != nil {
		return err
	}
	defer e.sock.peers.add(p.addr.Addr())()
	last := lastInvite(cfg)
	for _, began := range all {
		if !began.same(at) && !cfg.Redirects {
			continue
		}
		callID := e.callID(inv.Call, cfg.ID, route{began.transport, began.addr})
		for cseq := last; cseq > 0; cseq-- {
			if found, err := e.cancelPlaced(ctx, p, callID, cseq); found || err != nil {
				return err
			}
		}
	}
	return nil
}

// lastInvite is the highest CSeq that an INVITE over a trunk may have come to by
// what it was sent again for.
func lastInvite(cfg telephony.Trunk) uint32 {
	last := 1
	if cfg.Username != "" {
		last += maxChallenges
	}
	if askedSession(cfg.TrunkOptions) > 0 {
		last += maxIntervals
	}
	if cfg.SRTP == telephony.SRTPOptional {
		last++ // 488: SRTP alone
	}
	if cfg.Redirects {
		last += maxRedirects
	}
	return uint32(last)
}

// cancelPlaced cancels one INVITE and reports whether the peer knew it. One that
// stays silent is left, like that of an INVITE.
func (e *Endpoint) cancelPlaced(ctx context.Context, p peer, callID string, cseq uint32) (found bool, err error) {
	invite := e.newInvite(p, callID, nil)
	invite.ReplaceHeader(e.via(p, e.named("branch", callID, cseq)))
	invite.CSeq().SeqNo = cseq
	turn := time.NewTimer(e.pace.wait(time.Now()))
	defer turn.Stop()
	select {
	case <-turn.C:
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, e.cfg.NoResponse)
	defer cancel()
	res, err := e.do(ctx, p, e.newCancel(invite))
	return err == nil && res.IsSuccess(), err
}
