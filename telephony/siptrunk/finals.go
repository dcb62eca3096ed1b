package siptrunk

import "time"

// finals remembers how INVITEs were first decided, by branch, as long as a peer
// may repeat that or say another thing. A proxy that forks passes each 2xx on,
// also one behind a refusal (RFC 3261 16.7 step 5); sipgo's transaction is done
// with the refusal and drops it. Only the socket hears both in wire order.
//
// It is guarded by the endpoint's mu.
type finals struct {
	recent, older map[string]bool // refused
	since         time.Time       // recent
}

// finalsLife is at least how long a decision is remembered, at most twice as
// long; maxFinals bounds what is.
const (
	finalsLife = 32 * time.Second // 64*T1
	maxFinals  = 32_768
)

// note takes note of a branch's final response and reports whether the first one
// was a refusal.
func (f *finals) note(branch string, refused bool, now time.Time) bool {
	if was, known := f.first(branch, now); known {
		return was
	}
	if len(f.recent) < maxFinals {
		f.recent[branch] = refused
	}
	return refused
}

// first returns the first decision on a branch.
func (f *finals) first(branch string, now time.Time) (refused, known bool) {
	if age := now.Sub(f.since); f.recent == nil || age >= finalsLife {
		if f.older = f.recent; age >= 2*finalsLife {
			f.older = nil
		}
		f.recent, f.since = map[string]bool{}, now
	}
	if refused, known = f.recent[branch]; !known {
		refused, known = f.older[branch]
	}
	return refused, known
}
