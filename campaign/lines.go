package campaign

import (
	"sync"

	"dialer"
	"dialer/telephony"
)

// lines keeps campaigns on one trunk from committing attempts to the same free
// channel: the carrier counts a call only from its INVITE on, and an attempt that
// finds no channel then has been spent for nothing.
type lines struct {
	carrier telephony.Carrier

	mu    sync.Mutex
	taken map[dialer.TrunkID]int // by attempts that are being committed
}

// free is how many attempts may still be committed on a trunk.
func (l *lines) free(trunk dialer.TrunkID) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.carrier.Capacity(trunk).Free() - l.taken[trunk]
}

// take keeps a channel until giveBack, if one is free.
func (l *lines) take(trunk dialer.TrunkID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.carrier.Capacity(trunk).Free() <= l.taken[trunk] {
		return false
	}
	l.taken[trunk]++
	return true
}

func (l *lines) giveBack(trunk dialer.TrunkID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.taken[trunk]--
}
