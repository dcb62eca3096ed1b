package campaign

import (
	"time"

	"dialer"
)

// keepSeconds keeps the first seconds of a random share of answered calls, for
// people who listen to them later and say who it was. Only a goroutine of its
// own waits for the disk.
func (a *attempt) keepSeconds() {
	set := a.campaign.Settings.Detection
	if !set.Consent || a.s.cfg.Keep == nil {
		return
	}
	drawn := draw(drawKeep, a.call.ID, set.KeepShare)
	if drawn == nil {
		return
	}
	a.save(func(c *Call) { c.Heard.Keep = drawn })
	if !drawn.Taken() {
		return
	}
	call := a.call
	a.s.calls.Go(func() {
		a.guard(func() {
			stop := a.s.cfg.Keep(call, a.leg)
			timer := time.NewTimer(time.Duration(set.KeepSeconds) * time.Second)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-a.leg.Done():
			}
			path, bytes, err := stop()
			fact := dialer.CallKept{Path: path, Bytes: bytes}
			if err != nil {
				fact.Failed, path = err.Error(), ""
			}
			<-a.over // what is saved now must come after the end of the call
			a.saving <- struct{}{}
			defer func() { <-a.saving }()
			a.save(func(c *Call) { c.Heard.Kept = path }, fact)
		})
	})
}
