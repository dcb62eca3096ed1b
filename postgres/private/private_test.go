package private

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// folder is one that the server's account can reach: t.TempDir is 0700.
func folder(t *testing.T) string {
	t.Helper()
	if _, err := programs(""); err != nil {
		t.Skip("SKIPPED, PostgreSQL's server programs are missing:", err)
	}
	dir, err := os.MkdirTemp("", "dialer-pg-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	os.Chmod(dir, 0o755)
	return dir
}

func start(t *testing.T, dir string) *Server {
	t.Helper()
	s, err := Start(t.Context(), Options{Dir: dir, Unsafe: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

func query(t *testing.T, url, sql string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	for before, after, more := strings.Cut(sql, ";"); more; before, after, more = strings.Cut(sql, ";") {
		if _, err := conn.Exec(ctx, before); err != nil {
			t.Fatal(err)
		}
		sql = after
	}
	var out string
	if err := conn.QueryRow(ctx, sql).Scan(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestDataOutlivesAStopAndASecondDialerIsRefused(t *testing.T) {
	dir := folder(t)
	s := start(t, dir)
	query(t, s.URL(), `create table kept as select 'here' as word; select 'made'`)
	if _, err := Start(t.Context(), Options{Dir: dir}); !errors.Is(err, ErrInUse) {
		t.Errorf("second start in the same folder: %v, want ErrInUse", err)
	}
	url, err := Find(dir)
	if err != nil || url != s.URL() {
		t.Errorf("Find = %q, %v; want %q", url, err, s.URL())
	}
	if got := query(t, s.URL(), `show listen_addresses`); got != "" {
		t.Errorf("listens on %q, want the socket only", got)
	}
	s.Stop()
	if got := query(t, start(t, dir).URL(), `select word from kept`); got != "here" {
		t.Errorf("after a restart %q", got)
	}
}

func TestServerKilledIsRepairedAtTheNextStart(t *testing.T) {
	dir := folder(t)
	s, err := Start(t.Context(), Options{Dir: dir}) // safe: what is committed outlives a kill
	if err != nil {
		t.Fatal(err)
	}
	query(t, s.URL(), `create table kept as select 'here' as word; select 'made'`)
	s.cmd.Process.Kill()
	<-s.Exited()
	s.Stop()
	if got := query(t, start(t, dir).URL(), `select word from kept`); got != "here" {
		t.Errorf("after kill -9 %q", got)
	}
}

func TestOtherVersionsDataIsRefusedByName(t *testing.T) {
	dir := folder(t)
	start(t, dir).Stop()
	if err := os.WriteFile(filepath.Join(dir, "data", "PG_VERSION"), []byte("9\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Start(t.Context(), Options{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "PostgreSQL 9 ") || !strings.Contains(err.Error(), "pg_dump") {
		t.Errorf("got %v; want both versions and a remedy", err)
	}
}

func TestInitCutOffIsBegunAgain(t *testing.T) {
	dir := folder(t)
	if err := os.MkdirAll(filepath.Join(dir, "data.new", "base"), 0o700); err != nil {
		t.Fatal(err)
	}
	start(t, dir)
}

func TestMissingProgramsNameTheRemedy(t *testing.T) {
	_, err := programs(t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "initdb") {
		t.Errorf("got %v", err)
	}
	if !strings.Contains(ErrNoPrograms.Error(), "apt-get install postgresql") {
		t.Error("the error does not name the remedy")
	}
}

// TestMain also plays the dialer that is killed: with the variable set it
// starts a server and waits to be ended.
func TestMain(m *testing.M) {
	if dir := os.Getenv("PRIVATE_TEST_DIR"); dir != "" {
		s, err := Start(context.Background(), Options{Dir: dir, Unsafe: true})
		if err != nil {
			os.Stdout.WriteString("error " + err.Error() + "\n")
			os.Exit(1)
		}
		os.Stdout.WriteString(s.URL() + "\n")
		select {}
	}
	os.Exit(m.Run())
}

func TestServerEndsWithAKilledDialer(t *testing.T) {
	dir := folder(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "PRIVATE_TEST_DIR="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 4096)
	n, _ := out.Read(line)
	if !strings.HasPrefix(string(line[:n]), "postgres:") {
		t.Fatalf("child said %q", line[:n])
	}
	cmd.Process.Kill()
	cmd.Wait()
	// The folder's lock went with the dialer; the server's own pid file keeps a
	// second server out until the first has ended.
	s, err := startWithin(t, dir, 15*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	s.Stop()
}

func startWithin(t *testing.T, dir string, limit time.Duration) (*Server, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	return Start(ctx, Options{Dir: dir, Unsafe: true})
}
