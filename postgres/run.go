package postgres

import (
	"context"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
)

const sqlPurge = `DELETE FROM replays WHERE claimed_at < now() - interval '25 hours'`

// Run saves what is queued and wakes those who wait for events, until ctx ends;
// then it saves what is left and returns. An error means that saves were lost.
func (db *DB) Run(ctx context.Context) error {
	listening, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		db.listen(listening)
	}()
	err := db.saves.run(ctx, db)
	stop()
	<-done
	return err
}

// listen follows the notifications of the log and does the hourly work. Away
// from the database it tries again each second.
func (db *DB) listen(ctx context.Context) {
	away := false
	for ctx.Err() == nil {
		err := db.listenOnce(ctx, &away)
		if ctx.Err() != nil {
			return
		}
		if !away {
			db.log.Warn("database: lost the connection that listens", "error", err)
			away = true
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

func (db *DB) listenOnce(ctx context.Context, away *bool) error {
	conn, err := db.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	listener := conn.Hijack()
	defer listener.Close(context.WithoutCancel(ctx))
	if _, err := listener.Exec(ctx, sqlListen); err != nil {
		return err
	}
	if *away {
		db.log.Info("database: listening again")
		*away = false
	}
	for hourly := time.Now(); ; {
		if !time.Now().Before(hourly) {
			hourly = time.Now().Add(time.Hour)
			if !db.housekeeping(ctx) {
				hourly = time.Now().Add(time.Minute)
			}
		}
		last, err := db.LastEvent(ctx) // what was told while we did not listen
		if err != nil {
			return err
		}
		db.tail.reached(last)
		if err := db.hearUntil(ctx, listener, hourly); err != nil {
			return err
		}
	}
}

// aliveEvery is how often the connections that nobody asks anything are tried.
const aliveEvery = time.Minute

// hearUntil takes notifications until a time. Each minute, however busy the log
// is, it makes sure that its own connection and that of the slot live.
func (db *DB) hearUntil(ctx context.Context, listener *pgx.Conn, end time.Time) error {
	for look := time.Now().Add(db.aliveEvery); time.Now().Before(end); {
		quiet, cancel := context.WithDeadline(ctx, look)
		n, err := listener.WaitForNotification(quiet)
		timedOut := quiet.Err() != nil && ctx.Err() == nil
		cancel()
		switch {
		case timedOut:
			look = time.Now().Add(db.aliveEvery)
			if err := listener.Ping(ctx); err != nil {
				return err
			}
			if err := db.keepSlot(ctx); err != nil {
				return err
			}
		case err != nil:
			return err
		default:
			if seq, err := strconv.ParseInt(n.Payload, 10, 64); err == nil {
				db.tail.reached(seq)
			}
		}
	}
	return nil
}

// keepSlot takes the slot's lock again when its connection was lost. The epoch
// guards what the lock cannot, so nothing else depends on it.
func (db *DB) keepSlot(ctx context.Context) error {
	slot, _ := db.node()
	db.aliveMu.Lock()
	defer db.aliveMu.Unlock()
	if db.alive == nil || db.alive.Ping(ctx) == nil {
		return nil
	}
	db.alive.Close(ctx)
	conn, err := pgx.ConnectConfig(ctx, db.pool.Config().ConnConfig)
	if err != nil {
		return err
	}
	if err := holdSlot(ctx, conn, slot); err != nil {
		conn.Close(ctx)
		return err
	}
	db.alive = conn
	return nil
}

// housekeeping makes the coming partitions and forgets what is old. It reports
// whether it did.
func (db *DB) housekeeping(ctx context.Context) bool {
	if _, err := db.pool.Exec(ctx, sqlMakePartitions, partitionsAhead); err != nil {
		db.log.Error("database: the partitions of the coming days were not made", "error", err)
		return false
	}
	for _, purge := range []string{sqlPurge, sqlPurgeTapes, sqlPurgeSimulations} {
		if _, err := db.pool.Exec(ctx, purge); err != nil {
			db.log.Error("database: old rows were not removed", "error", err)
			return false
		}
	}
	return true
}
