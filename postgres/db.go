// Package postgres keeps everything in PostgreSQL 15 or later: all SQL of the
// program is here. It is a campaign.Store, a dialer.EventLog and the stores of
// the API. It decides nothing about calls; what must never be is a constraint
// in migrations.
//
// Entry points: Open, DB.Migrate, DB.Register, DB.Run. Goroutines: Run owns the
// writer, which saves what was queued, and the listener, which wakes readers of
// the log. Audio never waits for either.
//
// Each statement is a constant whose name begins with sql; a test has the
// server prepare every one of them.
package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"dialer"
	"dialer/campaign"
	"dialer/migrations"
)

var (
	_ campaign.Store  = (*DB)(nil)
	_ dialer.EventLog = (*DB)(nil)
)

// partitionsAhead is for how many days there are partitions of calls.
const partitionsAhead = 14

// A DB is a connection pool and the queue of saves. Its methods may be called
// from many goroutines.
type DB struct {
	pool *pgxpool.Pool
	bulk *pgxpool.Pool // of imports and reports: however slow, they stop no call
	log  *slog.Logger
	tail tail
	saves
	imports chan struct{} // a place for each import under way
	reports chan struct{} // and for each report

	mu    sync.Mutex
	slot  int
	epoch int64

	aliveMu    sync.Mutex
	alive      *pgx.Conn     // holds the lock of the slot
	aliveEvery time.Duration // see the constant
}

// An Option changes Open.
type Option func(*options)

type options struct {
	mayLoseData bool
	pool        func(*pgxpool.Config) // tests put faults in the way here
}

// AllowDataLoss accepts a server that may lose commits in a crash. It is for
// tests; a dialer that forgets attempts calls people twice.
func AllowDataLoss() Option { return func(o *options) { o.mayLoseData = true } }

const (
	sqlVersion    = `SELECT current_setting('server_version_num')::int`
	sqlDurability = `SELECT name, setting FROM pg_settings
		WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes') AND setting = 'off' ORDER BY name`
	sqlMakePartitions = `SELECT make_call_partitions($1)`
)

// Open connects to the database of a URL or keyword string and checks that the
// server can be relied upon. Whoever opens closes.
func Open(ctx context.Context, url string, log *slog.Logger, opts ...Option) (*DB, error) {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("the database URL cannot be read: %w", err)
	}
	cfg.MinConns = 2
	if cfg.MaxConns < 16 {
		cfg.MaxConns = 16
	}
	cfg.ConnConfig.RuntimeParams["application_name"] = "dialer"
	cfg.ConnConfig.RuntimeParams["timezone"] = "UTC"
	if o.pool != nil {
		o.pool(cfg)
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("the database cannot be used: %w", err)
	}
	few := cfg.Copy()
	few.MinConns, few.MaxConns = 0, mostImports+mostReports+1 // and the past for a simulation
	bulk, err := pgxpool.NewWithConfig(ctx, few)
	if err != nil {
		pool.Close()
		return nil, fmt.Errorf("the database cannot be used: %w", err)
	}
	db := &DB{pool: pool, bulk: bulk, log: log, imports: make(chan struct{}, mostImports), reports: make(chan struct{}, mostReports)}
	db.saves.init()
	db.tail.init()
	if err := db.checkServer(ctx, o); err != nil {
		bulk.Close()
		pool.Close()
		return nil, err
	}
	return db, nil
}

func (db *DB) checkServer(ctx context.Context, o options) error {
	var version int
	if err := db.pool.QueryRow(ctx, sqlVersion).Scan(&version); err != nil {
		return fmt.Errorf("the database does not answer: %w", err)
	}
	if version < 150000 {
		return fmt.Errorf("the database server is PostgreSQL %d: the dialer needs 15 or later", version/10000)
	}
	if o.mayLoseData {
		return nil
	}
	rows, err := db.pool.Query(ctx, sqlDurability)
	if err != nil {
		return fmt.Errorf("reading the server's settings: %w", err)
	}
	off, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s string, err error) {
		var value string
		err = row.Scan(&s, &value)
		return s, err
	})
	if err != nil {
		return fmt.Errorf("reading the server's settings: %w", err)
	}
	if len(off) > 0 {
		return fmt.Errorf("the database server runs with %v off: a power cut would make it forget calls that were placed, "+
			"and people would be called twice; set each of them on in postgresql.conf and reload", off)
	}
	return nil
}

// Close ends every connection. Run must have returned.
func (db *DB) Close() {
	db.aliveMu.Lock()
	if db.alive != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		db.alive.Close(ctx)
		cancel()
		db.alive = nil
	}
	db.aliveMu.Unlock()
	db.bulk.Close()
	db.pool.Close()
}

// Migrate brings the schema up to date and makes the coming days' partitions.
// Of several processes one works and the others wait for it.
func (db *DB) Migrate(ctx context.Context) error {
	conn := stdlib.OpenDBFromPool(db.pool)
	defer conn.Close()
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300), lock.WithUnlockTimeout(1, 10))
	if err != nil {
		return fmt.Errorf("migrating the database: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, conn, migrations.FS, goose.WithSessionLocker(locker))
	if err != nil {
		return fmt.Errorf("migrating the database: %w", err)
	}
	results, err := provider.Up(ctx)
	if err != nil {
		return fmt.Errorf("migrating the database: %w", err)
	}
	for _, r := range results {
		db.log.Info("database migrated", "file", r.Source.Path, "took", r.Duration)
	}
	if _, err := db.pool.Exec(ctx, sqlMakePartitions, partitionsAhead); err != nil {
		return fmt.Errorf("making the partitions of calls: %w", err)
	}
	return nil
}

// Classes of advisory locks: the first of the two keys.
const (
	lockSlot   = 0x6469_0001 // second key: the slot
	lockNumber = 0x6469_0002 // second key: hash of the number
	lockEvents = 0x6469_0003 // second key: 0
	lockOwner  = 0x6469_0004 // second key: the slot; guards its epoch

	lockSimulations = 0x6469_0005 // second key: 0; guards how many wait
)

const (
	sqlTrySlot    = `SELECT pg_try_advisory_lock($1, $2)`
	sqlTakeOwner  = `SELECT pg_advisory_xact_lock($1, $2)`
	sqlShareOwner = `SELECT pg_advisory_xact_lock_shared($1, $2)`
	sqlTakeSlot   = `INSERT INTO nodes (slot, epoch) VALUES ($1, nextval('epochs'))
		ON CONFLICT (slot) DO UPDATE SET epoch = excluded.epoch, started_at = now() RETURNING epoch`
	sqlResetBatch = `INSERT INTO saved_batches (slot, epoch, batch) VALUES ($1, $2, 0)
		ON CONFLICT (slot) DO UPDATE SET epoch = excluded.epoch, batch = 0`
	sqlEpoch = `SELECT epoch FROM nodes WHERE slot = $1`
)

const sqlCallKey = `UPDATE nodes SET call_key = coalesce(call_key, $2) WHERE slot = $1 RETURNING call_key`

// CallKey returns the secret that names the calls of this node, the same at each
// start. Register comes first.
func (db *DB) CallKey(ctx context.Context) ([]byte, error) {
	slot, _ := db.node()
	fresh := make([]byte, 32)
	rand.Read(fresh) // never fails
	var key []byte
	if err := db.pool.QueryRow(ctx, sqlCallKey, slot, fresh).Scan(&key); err != nil {
		return nil, fmt.Errorf("reading the key of node %d: %w", slot, err)
	}
	return key, nil
}

// Register takes a node slot, from 1, for this process and draws its epoch. It
// must come before any claim. A living process in the slot is a Conflict.
func (db *DB) Register(ctx context.Context, slot int) error {
	if slot < 1 {
		return dialer.Errorf(dialer.Invalid, "node slot %d: it must be 1 or more", slot)
	}
	conn, err := pgx.ConnectConfig(ctx, db.pool.Config().ConnConfig)
	if err != nil {
		return fmt.Errorf("registering node %d: %w", slot, err)
	}
	if err := holdSlot(ctx, conn, slot); err != nil {
		conn.Close(ctx)
		return err
	}
	var epoch int64
	_, err = db.inTx(ctx, func(tx pgx.Tx) ([]dialer.Event, error) {
		if _, err := tx.Exec(ctx, sqlTakeOwner, lockOwner, slot); err != nil {
			return nil, err
		}
		if err := tx.QueryRow(ctx, sqlTakeSlot, slot).Scan(&epoch); err != nil {
			return nil, err
		}
		if _, err := tx.Exec(ctx, sqlResetBatch, slot, epoch); err != nil {
			return nil, err
		}
		return logOutAgents(ctx, tx, slot)
	})
	if err != nil {
		conn.Close(ctx)
		return fmt.Errorf("registering node %d: %w", slot, err)
	}
	db.aliveMu.Lock()
	if db.alive != nil {
		db.alive.Close(ctx)
	}
	db.alive = conn
	db.aliveMu.Unlock()
	db.mu.Lock()
	db.slot, db.epoch = slot, epoch
	db.mu.Unlock()
	db.log.Info("node registered", "node", slot, "epoch", epoch)
	return nil
}

// holdSlot takes the session lock that tells a living process from a dead one.
// The server needs a moment to notice a death.
func holdSlot(ctx context.Context, conn *pgx.Conn, slot int) error {
	for deadline := time.Now().Add(5 * time.Second); ; {
		var ours bool
		if err := conn.QueryRow(ctx, sqlTrySlot, lockSlot, slot).Scan(&ours); err != nil {
			return fmt.Errorf("registering node %d: %w", slot, err)
		}
		if ours {
			return nil
		}
		if time.Now().After(deadline) {
			return dialer.Errorf(dialer.Conflict, "another dialer runs as node %d on this database: stop it, or give this one another node slot", slot)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// node returns what Register drew.
func (db *DB) node() (slot int, epoch int64) {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.slot, db.epoch
}

var errFenced = &dialer.Error{Code: dialer.Unavailable, Message: "another process has taken this node's place: this one may dial no more"}

// ours fails when a newer run has the slot. The answer holds to the end of tx.
func (db *DB) ours(ctx context.Context, tx pgx.Tx) error {
	slot, epoch := db.node()
	if slot == 0 {
		return errors.New("postgres: no node slot: Register comes first")
	}
	var batch pgx.Batch
	batch.Queue(sqlShareOwner, lockOwner, slot)
	batch.Queue(sqlEpoch, slot)
	results := tx.SendBatch(ctx, &batch)
	defer results.Close()
	if _, err := results.Exec(); err != nil {
		return err
	}
	var now int64
	if err := results.QueryRow().Scan(&now); err != nil {
		return err
	}
	if now != epoch {
		return errFenced
	}
	return nil
}

// isViolation reports whether err is a broken constraint, and which.
func isViolation(err error, code string) (constraint string, ok bool) {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == code {
		return pg.ConstraintName, true
	}
	return "", false
}

// SQLSTATE of broken constraints.
const (
	uniqueViolation  = "23505"
	foreignViolation = "23503"
)
