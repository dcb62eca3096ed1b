package simtrunk

import (
	"context"
	"errors"

	"dialer"
	"dialer/telephony"
)

// A Carrier is several trunks, each with its own script and limits. A call that
// its trunk does not take goes to its backups, as telephony.Invite says.
type Carrier map[dialer.TrunkID]*Trunk

// Capacity implements telephony.Carrier.
func (c Carrier) Capacity(id dialer.TrunkID) telephony.Capacity {
	if t, ok := c[id]; ok {
		return t.Capacity(id)
	}
	return telephony.Capacity{Why: "there is no trunk " + string(id)}
}

// Dial implements telephony.Carrier.
func (c Carrier) Dial(ctx context.Context, inv telephony.Invite) (telephony.Leg, error) {
	var tries []telephony.Try
	last := &telephony.DialError{Cause: telephony.CauseNotSent, Reason: "there is no such trunk"}
	for _, id := range append([]dialer.TrunkID{inv.Trunk}, inv.Backups...) {
		t, ok := c[id]
		if !ok {
			continue
		}
		one := inv
		one.Trunk, one.Backups = id, nil
		got, err := t.Dial(ctx, one)
		if err == nil {
			l := got.(*leg)
			l.mu.Lock()
			l.info.Tries = append(tries, l.info.Tries...)
			l.mu.Unlock()
			return l, nil
		}
		var failed *telephony.DialError
		if !errors.As(err, &failed) {
			return nil, err
		}
		if failed.Cause == telephony.CauseNotSent && len(tries) > 0 {
			failed = last // what the carrier said that had it, not that this one is full
		}
		tries = append(tries, failed.Tries...)
		failed.Tries, last = nil, failed
		if !refused(failed) || ctx.Err() != nil {
			break
		}
	}
	last.Tries = tries
	return nil, last
}

// refused reports whether the trunk did not take the call, so that a backup may.
func refused(e *telephony.DialError) bool {
	return e.RingingAt.IsZero() && (e.Cause == telephony.CauseNotSent || e.SIPStatus >= 500 && e.SIPStatus < 600)
}

// try is the one peer that a trunk in memory has.
func (a *attempt) try(status int, why string) []telephony.Try {
	return []telephony.Try{{Trunk: a.inv.Trunk, Peer: "memory", At: a.placed, Status: status, Why: why}}
}

// CancelOrphan implements telephony.OrphanReaper.
func (c Carrier) CancelOrphan(ctx context.Context, inv telephony.Invite) error {
	if t := c[inv.Trunk]; t != nil {
		return t.CancelOrphan(ctx, inv)
	}
	return nil
}

// EndOrphan implements telephony.OrphanReaper.
func (c Carrier) EndOrphan(ctx context.Context, dialog []byte) error {
	for _, t := range c {
		if err := t.EndOrphan(ctx, dialog); err != nil {
			return err
		}
	}
	return nil
}
