package campaign

import (
	"sync"

	"dialer"
)

// record has the talk recorded. Only a goroutine of its own waits for the disk,
// at the begin and at the end: neither the audio nor the agent ever does.
func (a *attempt) record() {
	if !a.campaign.Settings.Recording || a.s.cfg.Record == nil || a.recording != nil {
		return
	}
	over := make(chan struct{})
	a.recording = sync.OnceFunc(func() { close(over) })
	call := a.call
	a.s.calls.Go(func() {
		a.guard(func() {
			stop := a.s.cfg.Record(call, a.leg)
			<-over
			path, bytes, err := stop()
			fact := dialer.RecordingSaved{Path: path, Bytes: bytes}
			if err != nil {
				fact.Failed = err.Error()
			}
			a.saving <- struct{}{}
			defer func() { <-a.saving }()
			a.save(func(c *Call) { c.Recording = path }, fact)
		})
	})
}

// endRecording lets the recording end, once the end of the call is on its way to
// the store: what is saved of the recording must come after it.
func (a *attempt) endRecording() {
	if a.recording != nil {
		a.recording()
	}
}
