package private_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"dialer/postgres/private"
)

// TestMain plays a dialer that is killed: it starts the server of a folder,
// says so and waits for its end.
func TestMain(m *testing.M) {
	dir := os.Getenv("PRIVATE_TEST_DIR")
	if dir == "" {
		os.Exit(m.Run())
	}
	s, err := private.Start(context.Background(), private.Options{Dir: dir})
	if err != nil {
		os.Stderr.WriteString(err.Error())
		os.Exit(1)
	}
	os.Stdout.WriteString(s.URL())
	os.Stdout.Close()
	<-s.Done()
}

func start(t *testing.T, dir string) *private.Server {
	t.Helper()
	s, err := private.Start(t.Context(), private.Options{Dir: dir, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if errors.Is(err, private.ErrNotInstalled) {
		t.Skip("SKIPPED, not tested:", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// query1 runs a statement and returns the text it gives, if any.
func query1(t *testing.T, url, query string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var text string
	if err := conn.QueryRow(t.Context(), query).Scan(&text); err != nil && !errors.Is(err, pgx.ErrNoRows) {
		t.Fatalf("%s: %v", query, err)
	}
	return text
}

// folder is one that the account of the server may reach.
func folder(t *testing.T) string {
	dir, err := os.MkdirTemp("/tmp", "private")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "pg")
}

func TestStartAgain(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	s := start(t, dir)
	query1(t, s.URL(), `CREATE TABLE kept AS SELECT 'yes' AS word`)
	if got := query1(t, s.URL(), `SELECT current_setting('listen_addresses') || current_setting('fsync')`); got != "on" {
		t.Errorf("listen_addresses and fsync are %q, want none and on", got)
	}
	if _, err := private.Start(t.Context(), private.Options{Dir: dir}); !errors.Is(err, private.ErrInUse) {
		t.Errorf("a second start in the folder: %v, want ErrInUse", err)
	}
	if url, err := private.Find(t.Context(), dir); err != nil || url != s.URL() {
		t.Errorf("Find: %q, %v, want %q", url, err, s.URL())
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder has mode %v, %v, want 0700", info.Mode(), err)
	}
	s.Stop()
	soon, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := private.Find(soon, dir); err == nil {
		t.Error("Find found a server that was stopped")
	}
	again := start(t, dir)
	if got := query1(t, again.URL(), `SELECT word FROM kept`); got != "yes" {
		t.Errorf("after a second start the table holds %q", got)
	}
	again.Stop()

	if err := os.WriteFile(filepath.Join(dir, "data", "PG_VERSION"), []byte("11\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = private.Start(t.Context(), private.Options{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "PostgreSQL 11") || !strings.Contains(err.Error(), "pg_dump") {
		t.Errorf("data of another version: %v, want both versions and the remedy", err)
	}
}

func TestKilled(t *testing.T) {
	dir := folder(t)
	for round, victim := range []string{"dialer", "server", "dialer"} {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), "PRIVATE_TEST_DIR="+dir)
		var said, failed strings.Builder
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		child.Stderr = &failed
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 4096)
		for {
			n, err := out.Read(buf)
			said.Write(buf[:n])
			if err != nil {
				break
			}
		}
		if strings.Contains(failed.String(), private.ErrNotInstalled.Error()) {
			t.Skip("SKIPPED, not tested:", failed.String())
		}
		if failed.Len() > 0 || said.Len() == 0 {
			t.Fatalf("round %d: %s", round, failed.String())
		}
		if round == 0 {
			query1(t, said.String(), `CREATE TABLE kept AS SELECT 'yes' AS word`)
		}
		pid := child.Process.Pid
		if victim == "server" {
			text, err := os.ReadFile(filepath.Join(dir, "data", "postmaster.pid"))
			if err != nil {
				t.Fatal(err)
			}
			pid = 0
			for _, c := range strings.SplitN(string(text), "\n", 2)[0] {
				pid = pid*10 + int(c-'0')
			}
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		child.Wait()
		began := time.Now()
		s := start(t, dir)
		if got := query1(t, s.URL(), `SELECT word FROM kept`); got != "yes" {
			t.Errorf("round %d: the table holds %q", round, got)
		}
		t.Logf("killed %s: up again after %v", victim, time.Since(began))
		s.Stop()
	}
}

func TestNothingInstalled(t *testing.T) {
	_, err := private.Start(t.Context(), private.Options{Dir: folder(t), BinDir: t.TempDir()})
	if err == nil {
		t.Fatal("a server was started from an empty folder")
	}
}

func TestLongPath(t *testing.T) {
	t.Parallel()
	s := start(t, filepath.Join(folder(t), strings.Repeat("long", 25)))
	defer s.Stop()
	if got := query1(t, s.URL(), `SELECT 'up'`); got != "up" {
		t.Error(got)
	}
}

// Find and Await are asked before there is anything to find.
func TestStartingServerIsWaitedFor(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	type answer struct {
		url string
		err error
	}
	found := make(chan answer, 1)
	go func() {
		err := private.Await(t.Context(), dir)
		url := ""
		if err == nil {
			url, err = private.Find(t.Context(), dir)
		}
		found <- answer{url, err}
	}()
	s := start(t, dir)
	defer s.Stop()
	if got := <-found; got.err != nil || got.url != s.URL() {
		t.Errorf("found %q, %v, want %q", got.url, got.err, s.URL())
	}
}

func TestFolderWithoutData(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	soon, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := private.Await(soon, dir); !errors.Is(err, private.ErrNoData) {
		t.Errorf("got %v, want ErrNoData", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder was made: %v", err)
	}
}

// A server that is told to end ends the sessions that are left, which is no news.
func TestCleanStopWarnsOfNothing(t *testing.T) {
	t.Parallel()
	var said strings.Builder
	s, err := private.Start(t.Context(), private.Options{Dir: folder(t), Log: slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if errors.Is(err, private.ErrNotInstalled) {
		t.Skip("SKIPPED, not tested:", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), s.URL())
	if err != nil {
		t.Fatal(err)
	}
	s.Stop()
	conn.Close(t.Context())
	if !strings.Contains(said.String(), "FATAL:") {
		t.Errorf("the session was not ended:\n%s", said.String())
	}
	if strings.Contains(said.String(), "level=WARN") {
		t.Errorf("a clean stop warns:\n%s", said.String())
	}
}
