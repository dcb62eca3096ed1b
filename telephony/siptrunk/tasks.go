package siptrunk

import (
	"fmt"
	"sync"
)

// tasks counts the goroutines that Run waits for. Unlike a WaitGroup it may be
// added to while it is being waited for: hanging up starts work of its own.
type tasks struct {
	mu     sync.Mutex
	n      int
	closed bool
	waiter chan struct{}
}

func (t *tasks) add(ending bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed && !ending {
		return false
	}
	t.n++
	return true
}

func (t *tasks) done() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n--
	if t.n == 0 && t.waiter != nil {
		close(t.waiter)
		t.waiter = nil
	}
}

// close refuses work that does not end a call.
func (t *tasks) close() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
}

// over reports whether work that does not end a call is refused.
func (t *tasks) over() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.closed
}

// idle returns a channel that is closed when no work is left.
func (t *tasks) idle() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n == 0 {
		none := make(chan struct{})
		close(none)
		return none
	}
	if t.waiter == nil {
		t.waiter = make(chan struct{})
	}
	return t.waiter
}

// goWork runs f in a goroutine that Run waits for and that cannot take the
// process down: it handles what strangers send. It reports false, and does not
// run f, once the endpoint is shutting down.
func (e *Endpoint) goWork(what string, f func()) bool { return e.spawn(what, false, f) }

// goEnd is goWork for what ends a call, which shutting down needs.
func (e *Endpoint) goEnd(what string, f func()) { e.spawn(what, true, f) }

func (e *Endpoint) spawn(what string, ending bool, f func()) bool {
	if !e.work.add(ending) {
		return false
	}
	go func() {
		defer e.work.done()
		defer e.survive(what)
		f()
	}()
	return true
}

// survive turns a panic into a log line.
func (e *Endpoint) survive(what string) {
	if p := recover(); p != nil {
		e.log.Error("SIP handler panicked", "during", what, "panic", fmt.Sprint(p), "stack", stack())
	}
}
