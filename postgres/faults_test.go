package postgres

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"dialer"
	"dialer/campaign"
	"dialer/internal/pgtest"
	"dialer/internal/storetest"
)

func TestMigrate(t *testing.T) {
	url := pgtest.Empty(t)
	var dbs []*DB
	for range 2 {
		db, err := Open(t.Context(), url, quiet(t))
		check(t, err)
		defer db.Close()
		dbs = append(dbs, db)
	}
	done := make(chan error, 2)
	for _, db := range dbs {
		go func() { done <- db.Migrate(t.Context()) }()
	}
	check(t, <-done)
	check(t, <-done)
	var log bytes.Buffer
	dbs[0].log = slog.New(slog.NewTextHandler(&log, nil))
	check(t, dbs[0].Migrate(t.Context()))
	if log.Len() > 0 {
		t.Errorf("a second start found something to do: %s", log.String())
	}
	var partitions int
	check(t, dbs[0].pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_inherits WHERE inhparent = 'calls'::regclass`).Scan(&partitions))
	if partitions != partitionsAhead+3 { // yesterday, today and the default one too
		t.Errorf("calls has %d partitions", partitions)
	}
	_, err := dbs[0].pool.Exec(t.Context(), `INSERT INTO events (at, kind, data) VALUES (now(), 'x', '{}')`)
	check(t, err)
	for _, query := range []string{`UPDATE events SET kind = 'y'`, `DELETE FROM events`, `TRUNCATE events`} {
		if _, err := dbs[0].pool.Exec(t.Context(), query); err == nil {
			t.Errorf("%s: the log was changed", query)
		}
	}
}

func TestUnsafeServerIsRefused(t *testing.T) {
	url := pgtest.New(t) + "&synchronous_commit=off"
	_, err := Open(t.Context(), url, quiet(t))
	if err == nil || !strings.Contains(err.Error(), "synchronous_commit") {
		t.Errorf("a server that forgets commits: %v", err)
	}
	db, err := Open(t.Context(), url, quiet(t), AllowDataLoss())
	check(t, err)
	db.Close()
	if _, err := Open(t.Context(), "postgres:///x?host=/nowhere", quiet(t)); err == nil {
		t.Error("a database that is not there was opened")
	}
}

func TestOneProcessInASlot(t *testing.T) {
	url := pgtest.New(t)
	first := openAt(t, url)
	second, err := Open(t.Context(), url, quiet(t))
	check(t, err)
	defer second.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := second.Register(ctx, 1); err == nil {
		t.Fatal("two living processes are in one slot")
	}
	// The first lost its lock, as after a long pause: it may claim to be alive
	// and still commits nothing.
	id, list := aList(t, first)
	_, err = first.CreateLead(t.Context(), list, campaign.Lead{Number: "+12125550101"}, noon)
	check(t, err)
	claimed, err := first.ClaimLeads(t.Context(), id, 1, "", noon)
	check(t, err)
	first.aliveMu.Lock()
	first.alive.Close(t.Context())
	first.alive = nil // nor takes it again, which it would do within a minute
	first.aliveMu.Unlock()
	check(t, second.Register(t.Context(), 1))
	c := campaign.Call{ID: storetest.CallID(noon), Version: 1, Campaign: id, List: list, Lead: claimed[0].ID, To: claimed[0].Number,
		From: "+12125550000", Mode: campaign.Power, State: campaign.Placed, PlacedAt: noon}
	wantCode(t, first.BeginCall(t.Context(), c), dialer.Unavailable, "a call of a process that lost its slot")
	first.Record(dialer.Event{Fact: dialer.PacingDecided{Dial: 99}})
	check(t, first.Flush(t.Context()))
	events, err := second.ReadEvents(t.Context(), 0, 100)
	check(t, err)
	for _, e := range events {
		if p, ok := e.Fact.(dialer.PacingDecided); ok && p.Dial == 99 {
			t.Error("a process that lost its slot has written")
		}
	}
}

// cutter cuts connections just after they sent a commit, so that the client
// never hears whether it happened.
type cutter struct {
	armed  atomic.Int32
	begins atomic.Int32 // this many transactions do not even begin
}

type cutConn struct {
	net.Conn
	c   *cutter
	cut atomic.Bool
}

func (c *cutConn) Write(b []byte) (int, error) {
	if c.c.armed.Load() == 0 && bytes.Contains(b, []byte("begin")) && c.c.begins.Load() > 0 {
		c.c.begins.Add(-1)
		return 0, io.ErrClosedPipe
	}
	if bytes.Contains(b, []byte("commit")) {
		for left := c.c.armed.Load(); left > 0; left = c.c.armed.Load() {
			if c.c.armed.CompareAndSwap(left, left-1) {
				c.cut.Store(true)
				break
			}
		}
	}
	return c.Conn.Write(b)
}

func (c *cutConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.cut.Load() {
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

// cuttable opens a database through a cutter.
func cuttable(t *testing.T) (*DB, *cutter) {
	t.Helper()
	var c cutter
	db := openWith(t, pgtest.New(t), func(cfg *pgxpool.Config) {
		dial := cfg.ConnConfig.DialFunc
		cfg.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dial(ctx, network, addr)
			return &cutConn{Conn: conn, c: &c}, err
		}
	})
	return db, &c
}

// TestCommitOfUnknownResult: whatever becomes of a commit, nothing is saved
// twice, nothing is lost, and a call that may not be dialed is not left open.
func TestCommitOfUnknownResult(t *testing.T) {
	db, cut := cuttable(t)
	id, list := aList(t, db)
	for i := range 30 {
		cut.armed.Store(int32(1 + i%3))
		db.Record(dialer.Event{Campaign: id, Fact: dialer.PacingDecided{Dial: i}})
		check(t, db.Flush(t.Context()))
	}
	cut.armed.Store(0)
	events, err := db.ReadEvents(t.Context(), 0, 1000)
	check(t, err)
	next := 0
	for _, e := range events {
		if p, ok := e.Fact.(dialer.PacingDecided); ok {
			if p.Dial != next {
				t.Fatalf("fact %d came, want %d", p.Dial, next)
			}
			next++
		}
	}
	if next != 30 {
		t.Errorf("%d facts are in the log, want 30", next)
	}

	_, err = db.CreateLead(t.Context(), list, campaign.Lead{Number: "+12125550101"}, noon)
	check(t, err)
	claimed, err := db.ClaimLeads(t.Context(), id, 1, "", noon)
	check(t, err)
	c := campaign.Call{ID: storetest.CallID(noon), Version: 1, Campaign: id, List: list, Lead: claimed[0].ID, To: claimed[0].Number,
		From: "+12125550000", Mode: campaign.Power, State: campaign.Placed, PlacedAt: noon}
	cut.armed.Store(1)
	if err := db.BeginCall(t.Context(), c, dialer.CallPlaced{To: c.To}); err == nil || dialer.CodeOf(err) != "" {
		t.Fatalf("a begin of unknown commit: %v, want an error that is no refusal", err)
	}
	check(t, db.Flush(t.Context()))
	var open int
	check(t, db.pool.QueryRow(t.Context(), `SELECT count(*) FROM open_attempts`).Scan(&open))
	if open != 0 {
		t.Error("an attempt that is not dialed is left open")
	}
	if l, err := db.GetLead(t.Context(), "", c.Lead); err != nil || l.State == campaign.Calling {
		t.Errorf("the lead is %s, %v", l.State, err)
	}
}

// TestUnknownCommitStaysTogether: while nobody knows whether a group of saves was
// committed it is not taken apart, however often the database fails after it.
func TestUnknownCommitStaysTogether(t *testing.T) {
	db, cut := cuttable(t)
	held := make(chan struct{})
	db.enqueue(save{what: "hold", apply: func(context.Context, pgx.Tx) ([]dialer.Event, error) {
		<-held
		return nil, nil
	}})
	var once sync.Once
	for i := range 3 {
		db.enqueue(save{what: "fact", apply: func(context.Context, pgx.Tx) ([]dialer.Event, error) {
			once.Do(func() {
				cut.begins.Store(strikes + 1)
				cut.armed.Store(1)
			})
			return []dialer.Event{{Fact: dialer.PacingDecided{Dial: i}}}, nil
		}})
	}
	close(held)
	check(t, db.Flush(t.Context()))
	if left := cut.begins.Load(); left != 0 {
		t.Fatalf("%d of the faults did not happen", left)
	}
	events, err := db.ReadEvents(t.Context(), 0, 100)
	check(t, err)
	if len(events) != 3 {
		t.Errorf("%d facts are in the log, want 3", len(events))
	}
}

// TestCommitAfterItsSettlement: a server may still be at a commit when its
// client has gone and the attempt is being closed.
func TestCommitAfterItsSettlement(t *testing.T) {
	db := open(t)
	id, list := aList(t, db)
	_, err := db.CreateLead(t.Context(), list, campaign.Lead{Number: "+12125550101"}, noon)
	check(t, err)
	claimed, err := db.ClaimLeads(t.Context(), id, 1, "", noon)
	check(t, err)
	c := campaign.Call{ID: storetest.CallID(noon), Version: 1, Campaign: id, List: list, Lead: claimed[0].ID, To: claimed[0].Number,
		From: "+12125550000", Mode: campaign.Power, State: campaign.Placed, PlacedAt: noon}
	row, err := jsonText(rowOf(c))
	check(t, err)
	tx, err := db.pool.Begin(t.Context())
	check(t, err)
	defer tx.Rollback(t.Context())
	check(t, db.place(t.Context(), tx, c, row))
	db.settleUnknown(c)
	flushed := make(chan error, 1)
	go func() { flushed <- db.Flush(t.Context()) }()
	for waits := 0; waits == 0; {
		select {
		case <-flushed:
			t.Fatal("the attempt was settled while its commit was under way")
		default:
		}
		check(t, db.pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted`).Scan(&waits))
	}
	check(t, tx.Commit(t.Context()))
	check(t, <-flushed)
	var open int
	check(t, db.pool.QueryRow(t.Context(), `SELECT count(*) FROM open_attempts`).Scan(&open))
	if l, err := db.GetLead(t.Context(), "", c.Lead); err != nil || open != 0 || l.State == campaign.Calling {
		t.Errorf("%d attempts are open and the lead is %s, %v", open, l.State, err)
	}
}

// TestDatabaseAway: saves wait for the database and keep their order; those who
// wait for events go on by themselves.
func TestDatabaseAway(t *testing.T) {
	url := pgtest.New(t)
	db := openAt(t, url)
	killer, err := Open(t.Context(), url, quiet(t))
	check(t, err)
	defer killer.Close()
	const n = 400
	for i := range n {
		db.Record(dialer.Event{Fact: dialer.PacingDecided{Dial: i}})
		if i%40 == 0 {
			_, err := killer.pool.Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
			check(t, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	check(t, db.Flush(ctx))
	check(t, db.WaitEvents(ctx, n-1))
	events, err := killer.ReadEvents(ctx, 0, 2*n)
	check(t, err)
	if len(events) != n {
		t.Fatalf("%d events, want %d", len(events), n)
	}
	for i, e := range events {
		if e.Fact.(dialer.PacingDecided).Dial != i {
			t.Fatalf("event %d is %+v", i, e.Fact)
		}
	}
	if db.Backlog() != 0 {
		t.Errorf("backlog %d", db.Backlog())
	}
}

// TestLastFlush: what is queued when Run is told to end is saved.
func TestLastFlush(t *testing.T) {
	url := pgtest.New(t)
	db, err := Open(t.Context(), url, quiet(t))
	check(t, err)
	defer db.Close()
	check(t, db.Register(t.Context(), 1))
	for i := range 500 {
		db.Record(dialer.Event{Fact: dialer.PacingDecided{Dial: i}})
	}
	ended, stop := context.WithCancel(t.Context())
	stop()
	check(t, db.Run(ended))
	last, err := db.LastEvent(t.Context())
	check(t, err)
	if last != 500 {
		t.Errorf("%d events were saved, want 500", last)
	}
	done := make(chan error, 1)
	db.enqueue(save{what: "late", done: done})
	wantCode(t, <-done, dialer.Unavailable, "a save after the end")
}

// TestSlotIsKeptWhileBusy: the lock of the slot is taken again after its
// connection was lost, though the log never is quiet.
// The next process of a node names calls as the one before did; another node does
// not.
func TestCallKeyIsKept(t *testing.T) {
	url := pgtest.New(t)
	key := func(slot int) string {
		db, err := Open(t.Context(), url, quiet(t))
		check(t, err)
		defer db.Close()
		check(t, db.Register(t.Context(), slot))
		k, err := db.CallKey(t.Context())
		check(t, err)
		return string(k)
	}
	first := key(1)
	if len(first) != 32 || key(1) != first || key(2) == first {
		t.Error("the key of a node is not its own, or changes with each start")
	}
}

func TestSlotIsKeptWhileBusy(t *testing.T) {
	db, err := Open(t.Context(), pgtest.New(t), quiet(t))
	check(t, err)
	db.aliveEvery = 300 * time.Millisecond
	check(t, db.Register(t.Context(), 1))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- db.Run(ctx) }()
	holders := func() (n int) {
		check(t, db.pool.QueryRow(ctx, `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = $1 AND granted`, lockSlot).Scan(&n))
		return n
	}
	_, err = db.pool.Exec(ctx, `SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory' AND classid = $1`, lockSlot)
	check(t, err)
	for deadline := time.Now().Add(5 * time.Second); holders() == 0; {
		if time.Now().After(deadline) {
			t.Error("nobody holds the slot")
			break
		}
		db.Record(dialer.Event{Fact: dialer.PacingDecided{}}) // and its notification
		check(t, db.Flush(ctx))
	}
	stop()
	check(t, <-ended)
	db.Close()
}

// TestNotifiedAcrossProcesses: a reader in another process is woken, not only
// by its own look once a second.
func TestNotifiedAcrossProcesses(t *testing.T) {
	url := pgtest.New(t)
	writer := openAt(t, url)
	reader, err := Open(t.Context(), url, quiet(t))
	check(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- reader.Run(ctx) }()
	var best time.Duration = time.Hour
	for i := range 10 {
		last, err := reader.LastEvent(t.Context())
		check(t, err)
		began := time.Now()
		writer.Record(dialer.Event{Fact: dialer.PacingDecided{Reason: fmt.Sprint(i)}})
		check(t, reader.WaitEvents(t.Context(), last))
		best = min(best, time.Since(began))
	}
	if best > pollEvents/2 {
		t.Errorf("the quickest of ten wake-ups took %v: no notification came", best)
	}
	stop()
	check(t, <-ended)
	reader.Close()
}
