package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"dialer"
)

// groupSize is the most saves in one transaction.
const groupSize = 64

// Patience of the writer.
const (
	groupTimeout = 15 * time.Second
	firstPause   = 50 * time.Millisecond
	longestPause = 2 * time.Second
	flushTimeout = 20 * time.Second
)

// A save is one queued change. apply returns its events; it may run more than
// once, the rounds before the last being rolled back. A refusal is a
// *dialer.Error and undoes nothing else.
type save struct {
	what  string // for the log
	call  dialer.CallID
	apply func(ctx context.Context, tx pgx.Tx) ([]dialer.Event, error)
	done  chan error // told once, when set; has room for one
}

// saves is the queue of saves and their writer. They are committed in the order
// of queueing, in groups, and never while another waits before them. The queue
// has no cap of its own: no call begins while it does not drain, so it is
// bounded by the calls in flight.
type saves struct {
	queueMu sync.Mutex
	queue   []save
	queued  int64 // ever
	written int64 // ever, lost ones included
	closed  bool
	more    chan struct{} // capacity 1: the queue is not empty
	drained chan struct{} // closed and made anew when written grows

	// The writer's own: the number and size of the group under way, whether a
	// commit of it may have happened, and how many of the next saves go alone.
	batch        int64
	size, single int
	unsure       bool
}

func (s *saves) init() {
	s.more, s.drained = make(chan struct{}, 1), make(chan struct{})
}

var errClosed = &dialer.Error{Code: dialer.Unavailable, Message: "the dialer is shutting down"}

// enqueue adds a save; it never blocks.
func (db *DB) enqueue(s save) {
	db.queueMu.Lock()
	defer db.queueMu.Unlock()
	if db.closed {
		db.log.Error("database: a save came after the end and is lost", "save", s.what, "call", s.call)
		if s.done != nil {
			s.done <- errClosed
		}
		return
	}
	db.queue = append(db.queue, s)
	db.queued++
	select {
	case db.more <- struct{}{}:
	default:
	}
}

// Flush waits until everything that is queued now is saved.
func (db *DB) Flush(ctx context.Context) error {
	db.queueMu.Lock()
	target := db.queued
	db.queueMu.Unlock()
	for {
		db.queueMu.Lock()
		written, drained := db.written, db.drained
		db.queueMu.Unlock()
		if written >= target {
			return nil
		}
		select {
		case <-drained:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Backlog is the number of saves that wait: large and growing while the
// database is away.
func (db *DB) Backlog() int {
	db.queueMu.Lock()
	defer db.queueMu.Unlock()
	return int(db.queued - db.written)
}

func (s *saves) run(ctx context.Context, db *DB) error {
	for {
		select {
		case <-ctx.Done():
			return s.flush(db)
		case <-s.more:
		}
		for s.writeNext(ctx, db) {
		}
	}
}

// flush writes what is left at the end, for as long as it is worth the wait.
func (s *saves) flush(db *DB) error {
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	for s.writeNext(ctx, db) {
	}
	s.queueMu.Lock()
	defer s.queueMu.Unlock()
	s.closed = true
	lost := s.queue
	s.queue = nil
	s.wrote(len(lost))
	for _, l := range lost {
		if l.done != nil {
			l.done <- errClosed
		}
	}
	if len(lost) > 0 {
		return fmt.Errorf("postgres: %d saves are lost: the database was away for the last %v", len(lost), flushTimeout)
	}
	return nil
}

// writeNext writes the next group and reports whether that was settled. A group
// whose commit nobody knows of keeps its number and its size until that is known:
// taken apart it would be saved twice. When a save of a
// group is at fault, its saves are written one by one and that one is lost,
// loudly. The queue stays as it is when ctx ends first.
func (s *saves) writeNext(ctx context.Context, db *DB) bool {
	s.queueMu.Lock()
	if s.size == 0 {
		s.size = min(len(s.queue), groupSize)
		if s.single > 0 {
			s.size = 1
		}
		s.batch++
	}
	group := s.queue[:s.size]
	s.queueMu.Unlock()
	if len(group) == 0 {
		return false
	}
	results, err := s.try(ctx, db, group)
	switch {
	case err != nil && ctx.Err() != nil:
		return false
	case err != nil && len(group) > 1:
		s.single, s.size = len(group), 0
		return true
	case err != nil:
		group[0].settle(db, err)
	default:
		for i, one := range group {
			one.settle(db, results[i])
		}
	}
	s.size, s.single = 0, max(0, s.single-1)
	s.queueMu.Lock()
	defer s.queueMu.Unlock()
	n := len(group)
	clear(s.queue[:n])
	s.queue = s.queue[n:]
	s.wrote(n)
	return true
}

func (s *saves) wrote(n int) {
	s.written += int64(n)
	close(s.drained)
	s.drained = make(chan struct{})
}

// settle tells what became of a save.
func (one save) settle(db *DB, err error) {
	if one.done != nil {
		one.done <- err
		return
	}
	var refusal *dialer.Error
	switch {
	case errors.As(err, &refusal):
		db.log.Warn("database: a save was refused", "save", one.what, "call", one.call, "why", err)
	case err != nil:
		db.log.Error("database: a save is lost", "save", one.what, "call", one.call, "error", err)
	}
}

const sqlNextBatch = `UPDATE saved_batches SET batch = $3 WHERE slot = $1 AND epoch = $2 AND batch < $3`

// strikes is how often a group may fail, while the server answers, for a reason
// that the server does not know of.
const strikes = 3

// try commits a group, and again for as long as it fails for reasons that pass.
// The number of the group makes a repetition harmless.
func (s *saves) try(ctx context.Context, db *DB, group []save) (results []error, err error) {
	pause, failed := firstPause, 0
	for {
		results, err = s.once(ctx, db, group)
		if err == nil || errors.Is(err, errFenced) || !passes(err) && !s.unsure {
			return results, err
		}
		if pause == firstPause {
			db.log.Warn("database: saves wait", "waiting", db.Backlog(), "error", err)
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(pause):
		}
		pause = min(2*pause, longestPause)
		var pg *pgconn.PgError
		if !s.unsure && !errors.As(err, &pg) && db.pool.Ping(ctx) == nil {
			if failed++; failed == strikes {
				return results, err
			}
		}
	}
}

func (s *saves) once(ctx context.Context, db *DB, group []save) ([]error, error) {
	// A group that is under way at the end of ctx is finished.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), groupTimeout)
	defer cancel()
	results := make([]error, len(group))
	slot, epoch := db.node()
	known, err := db.inTx(ctx, func(tx pgx.Tx) ([]dialer.Event, error) {
		if slot != 0 {
			tag, err := tx.Exec(ctx, sqlNextBatch, slot, epoch, s.batch)
			if err != nil {
				return nil, err
			}
			if tag.RowsAffected() == 0 {
				return nil, db.repeated(ctx, tx, slot, epoch)
			}
			// An earlier try that is still at its commit would have held us up.
			s.unsure = false
		}
		var all []dialer.Event
		for i, one := range group {
			events, err := one.apply(ctx, tx)
			var refusal *dialer.Error
			switch {
			case errors.As(err, &refusal):
				results[i] = err
			case err != nil:
				return nil, fmt.Errorf("%s: %w", one.what, err)
			}
			all = append(all, events...)
		}
		return all, nil
	})
	if errors.Is(err, errCommitted) {
		s.unsure = false
		return results, nil
	}
	if !known && slot != 0 {
		s.unsure = true
	}
	return results, err
}

var errCommitted = errors.New("the group was committed before")

// repeated says why a group was not taken: it was committed before, or another
// run owns the slot.
func (db *DB) repeated(ctx context.Context, tx pgx.Tx, slot int, epoch int64) error {
	var now int64
	if err := tx.QueryRow(ctx, sqlEpoch, slot).Scan(&now); err != nil {
		return err
	}
	if now != epoch {
		return fmt.Errorf("fenced off: %w", errFenced)
	}
	return errCommitted
}

// passes reports whether an error may be of the kind that ends by waiting: no
// connection, a server that starts or stops, a deadlock.
func passes(err error) bool {
	var refusal *dialer.Error
	if errors.As(err, &refusal) || errors.Is(err, errCommitted) {
		return false
	}
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return true
	}
	switch pg.Code[:2] {
	case "08", "40", "53", "57": // connection, rollback, resources, operator
		return true
	}
	return pg.Code == "25006" || pg.Code == "55P03" // read only, lock not available
}
