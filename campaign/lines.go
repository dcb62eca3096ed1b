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

// free is how many attempts may still be committed on some trunks together.
func (l *lines) free(trunks []dialer.TrunkID) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, t := range trunks {
		n += max(0, l.carrier.Capacity(t).Free()-l.taken[t])
	}
	return n
}

// take keeps a channel of the first trunk that has one free, until giveBack. It
// returns "" when none has.
func (l *lines) take(trunks []dialer.TrunkID) dialer.TrunkID {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range trunks {
		if l.carrier.Capacity(t).Free() > l.taken[t] {
			l.taken[t]++
			return t
		}
	}
	return ""
}

func (l *lines) giveBack(trunk dialer.TrunkID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.taken[trunk]--
}
