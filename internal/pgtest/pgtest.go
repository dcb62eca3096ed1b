// Package pgtest gives each test its own database on a private PostgreSQL: one
// server for each test binary, one database for each test, copied from a
// migrated template. It is for tests only.
//
// Entry points: New; Main where a package wants nothing left behind.
package pgtest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver that goose asks for
	"github.com/pressly/goose/v3"

	"dialer/migrations"
	"dialer/postgres/private"
)

// template is the name of the migrated database.
const template = "migrated"

var (
	server = sync.OnceValues(startServer)
	count  struct {
		sync.Mutex
		n int
	}
)

type running struct {
	*private.Server
	dir string
}

// New returns the URL of a fresh, migrated database, which goes when the test
// ends. Where PostgreSQL is not installed the test is skipped.
func New(t testing.TB) string {
	t.Helper()
	s, err := server()
	if errors.Is(err, private.ErrNotInstalled) {
		t.Skip("SKIPPED, not tested: ", err)
	}
	if err != nil {
		t.Fatal("pgtest: ", err)
	}
	count.Lock()
	count.n++
	name := fmt.Sprintf("test_%d", count.n)
	count.Unlock()
	admin(t, s.URL(), "CREATE DATABASE "+name+" TEMPLATE "+template)
	t.Cleanup(func() { admin(t, s.URL(), "DROP DATABASE "+name+" WITH (FORCE)") })
	return withDatabase(s.URL(), name)
}

// Empty returns the URL of a fresh database without a schema.
func Empty(t testing.TB) string {
	t.Helper()
	u := New(t)
	parsed, err := url.Parse(u)
	if err != nil {
		t.Fatal(err)
	}
	s, _ := server() // New has it
	name := parsed.Path[1:] + "_empty"
	admin(t, s.URL(), "CREATE DATABASE "+name)
	t.Cleanup(func() { admin(t, s.URL(), "DROP DATABASE "+name+" WITH (FORCE)") })
	return withDatabase(s.URL(), name)
}

// Main runs the tests of a package and takes the server away after them; call
// it from TestMain with os.Exit. Without it the next test run does so.
func Main(m *testing.M) int {
	code := m.Run()
	count.Lock()
	defer count.Unlock()
	if count.n == 0 {
		return code
	}
	if s, err := server(); err == nil {
		s.Stop()
		os.RemoveAll(s.dir)
	}
	return code
}

func admin(t testing.TB, url, query string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal("pgtest: ", err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, query); err != nil {
		t.Fatal("pgtest: ", err)
	}
}

func withDatabase(server, name string) string {
	u, err := url.Parse(server)
	if err != nil {
		panic(err) // private made it
	}
	u.Path = "/" + name
	return u.String()
}

// startServer puts the data in memory where it can: with fsync on, as the
// program demands it, a disk would make the tests slow.
func startServer() (*running, error) {
	sweep()
	dir, err := os.MkdirTemp(parent(), fmt.Sprintf("dialer-pgtest-%d-", os.Getpid()))
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := private.Start(ctx, private.Options{Dir: filepath.Join(dir, "pg"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	return &running{s, dir}, prepare(ctx, s.URL())
}

func prepare(ctx context.Context, url string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+template); err != nil {
		return err
	}
	db, err := sql.Open("pgx", withDatabase(url, template))
	if err != nil {
		return err
	}
	defer db.Close()
	provider, err := goose.NewProvider(goose.DialectPostgres, db, migrations.FS)
	if err != nil {
		return err
	}
	if _, err := provider.Up(ctx); err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, "SELECT make_call_partitions(2)")
	return err
}

// parent is where data go: memory if it has room for it.
func parent() string {
	const memory, room = "/dev/shm", 1 << 30
	var st syscall.Statfs_t
	if err := syscall.Statfs(memory, &st); err == nil && st.Bavail*uint64(st.Bsize) > room {
		return memory
	}
	return os.TempDir()
}

// sweep removes what test binaries have left that live no more.
func sweep() {
	left, _ := filepath.Glob(filepath.Join(parent(), "dialer-pgtest-*")) // well formed
	for _, dir := range left {
		var pid int
		if _, err := fmt.Sscanf(filepath.Base(dir), "dialer-pgtest-%d-", &pid); err == nil && syscall.Kill(pid, 0) != nil {
			os.RemoveAll(dir)
		}
	}
}
