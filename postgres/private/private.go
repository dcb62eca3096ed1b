// Package private runs a PostgreSQL server of our own, from installed server
// programs, for a dialer that was given no database URL. It listens on a Unix
// socket in a folder that only its account may enter, on no port, and dies with
// us. It installs nothing and upgrades nothing.
//
// Entry points: Start, Server.URL, Server.Stop; Await and Find for a second
// process.
// Goroutines: one holds the thread that started the server, since the kernel
// ties the death signal to it, and one copies the server's log.
package private

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// ErrInUse says that another process runs the server of this folder, ErrNoData
// that none has ever run there.
var (
	ErrInUse  = errors.New("another dialer uses this folder")
	ErrNoData = errors.New("there is no database in this folder")
)

// Options say where the server lives.
type Options struct {
	// Dir is the folder of the server: data, socket and lock. It is made when it
	// is not there; its parent need not be.
	Dir string
	// BinDir holds initdb and postgres; empty looks in the usual places.
	BinDir string
	Log    *slog.Logger
}

// Patience with the server.
const (
	startTimeout = 60 * time.Second // recovery after a crash takes its time
	findTimeout  = 10 * time.Second // another process may just be starting
	stopTimeout  = 20 * time.Second
	poll         = 5 * time.Millisecond
)

// socketLimit is the longest path of a Unix socket that every system takes.
const socketLimit = 100

// A Server is a running server.
type Server struct {
	url    string
	log    *slog.Logger
	lock   *os.File
	cmd    *exec.Cmd
	done   chan struct{}
	run    string // folder of the socket
	remove bool   // run is of this start only
	tail   tail
	// stopping: what the server says as it ends is no trouble.
	stopping atomic.Bool
}

// Start starts the server of a folder, having made it at the first time, and
// returns when it takes connections. It repairs what a crash has left.
func Start(ctx context.Context, o Options) (*Server, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("private PostgreSQL: %w", err)
	}
	s, err := start(ctx, dir, o)
	if err != nil {
		return nil, fmt.Errorf("private PostgreSQL in %s: %w", dir, err)
	}
	return s, nil
}

func start(ctx context.Context, dir string, o Options) (s *Server, err error) {
	data := filepath.Join(dir, "data")
	programs, err := findPrograms(o.BinDir, dataVersion(data))
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	lock, err := lockFolder(dir)
	if err != nil {
		return nil, err
	}
	s = &Server{log: o.Log, lock: lock}
	defer func() {
		if err != nil {
			s.release()
		}
	}()
	who, err := chooseAccount(dir)
	if err != nil {
		return s, err
	}
	if err := who.own(dir, 0o700); err != nil {
		return s, err
	}
	if dataVersion(data) == "" {
		if err := initialise(ctx, programs, who, dir, data); err != nil {
			return s, err
		}
		o.Log.Info("private PostgreSQL made", "dir", dir, "version", programs.version, "account", who.name)
	}
	if err := endLeftover(ctx, data, o.Log); err != nil {
		return s, err
	}
	if err := s.socketFolder(dir, who); err != nil {
		return s, err
	}
	for began := time.Now(); ; {
		err := s.launch(ctx, programs, who, dir, data)
		// The children of a server that was killed need a moment to notice.
		if err == nil || !s.tail.has("pre-existing shared memory block") || time.Since(began) > stopTimeout {
			return s, err
		}
		select {
		case <-ctx.Done():
			return s, context.Cause(ctx)
		case <-time.After(20 * poll):
		}
	}
}

// URL is where pgx finds the server.
func (s *Server) URL() string { return s.url }

// Done is closed when the server has ended, by Stop or by itself.
func (s *Server) Done() <-chan struct{} { return s.done }

// Stop ends the server, cleanly if it can be, and gives the folder back.
func (s *Server) Stop() {
	s.stopping.Store(true)
	for _, step := range []struct {
		signal  syscall.Signal
		timeout time.Duration
	}{
		{syscall.SIGINT, stopTimeout}, // ends sessions, writes a checkpoint
		{syscall.SIGQUIT, 5 * time.Second},
		{syscall.SIGKILL, 5 * time.Second},
	} {
		s.cmd.Process.Signal(step.signal)
		select {
		case <-s.done:
			s.release()
			return
		case <-time.After(step.timeout):
			s.log.Warn("private PostgreSQL does not stop", "signal", step.signal)
		}
	}
	s.release()
}

func (s *Server) release() {
	if s.remove {
		os.RemoveAll(s.run)
	}
	s.lock.Close() // gives the lock back
}

// Exists reports whether a folder holds a database.
func Exists(dir string) bool { return dataVersion(filepath.Join(dir, "data")) != "" }

// Await returns when a folder holds a database: one that another process is
// about to make is waited for, 10 s at most. Without any the error is ErrNoData.
func Await(ctx context.Context, dir string) error {
	if !until(ctx, findTimeout, func() bool { return Exists(dir) }) {
		return ErrNoData
	}
	return nil
}

// Find returns the URL of the server that another process runs in a folder. One
// that is starting is waited for, 10 s at most.
func Find(ctx context.Context, dir string) (string, error) {
	data, err := filepath.Abs(filepath.Join(dir, "data"))
	if err != nil {
		return "", err
	}
	var url string
	if !until(ctx, findTimeout, func() bool {
		lines := pidFile(data)
		if !ready(lines) {
			return false
		}
		// The file of a server that was killed stays until the next one starts.
		pid, err := strconv.Atoi(lines[0])
		url = socketURL(lines[4])
		return err == nil && pid > 0 && syscall.Kill(pid, 0) != syscall.ESRCH
	}) {
		return "", fmt.Errorf("private PostgreSQL in %s: no server runs there", dir)
	}
	return url, nil
}

// until asks again and again, and reports whether the answer was yes in time.
func until(ctx context.Context, limit time.Duration, yes func() bool) bool {
	timeout := time.After(limit)
	for !yes() {
		select {
		case <-ctx.Done():
			return false
		case <-timeout:
			return false
		case <-time.After(10 * poll):
		}
	}
	return true
}

func socketURL(folder string) string {
	return "postgres:///postgres?" + url.Values{"host": {folder}, "user": {"dialer"}, "sslmode": {"disable"}}.Encode()
}

// lockFolder keeps two dialers from one folder. The lock goes with the process.
func lockFolder(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, ErrInUse
		}
		return nil, err
	}
	return f, nil
}

// initialise makes the data folder beside its place and moves it there whole.
func initialise(ctx context.Context, p programs, who account, dir, data string) error {
	fresh := data + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, p.initdb, "-D", fresh, "-U", "dialer", "-E", "UTF8", "--no-locale",
		"--auth-local=trust", "--auth-host=reject", "--no-instructions")
	who.run(cmd, dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return os.Rename(fresh, data)
}

// socketFolder makes the folder of the socket, empty: below dir, or a short one
// when that path is too long for a socket.
func (s *Server) socketFolder(dir string, who account) error {
	s.run = filepath.Join(dir, "run")
	if len(s.run)+len("/.s.PGSQL.5432.lock") > socketLimit {
		short, err := os.MkdirTemp("/tmp", "dialer-pg-")
		if err != nil {
			return err
		}
		s.run, s.remove = short, true
	} else if err := os.RemoveAll(s.run); err != nil {
		return err
	}
	if err := os.MkdirAll(s.run, 0o700); err != nil {
		return err
	}
	s.url = socketURL(s.run)
	return who.own(s.run, 0o700)
}

// launch starts the server and waits until it takes connections.
func (s *Server) launch(ctx context.Context, p programs, who account, dir, data string) error {
	s.tail.clear()
	s.done = make(chan struct{})
	s.cmd = exec.Command(p.postgres, "-D", data)
	for _, setting := range []string{
		"listen_addresses=", "unix_socket_directories=" + s.run, "unix_socket_permissions=0700", "port=5432",
		"max_connections=200", "timezone=UTC", "log_timezone=UTC", "jit=off", "autovacuum_naptime=15s",
		"logging_collector=off", "log_destination=stderr", "log_line_prefix=",
		// People's numbers stay out of the log.
		"log_min_error_statement=panic", "log_error_verbosity=terse", "log_parameter_max_length=0",
	} {
		s.cmd.Args = append(s.cmd.Args, "-c", setting)
	}
	who.run(s.cmd, dir)
	s.cmd.SysProcAttr.Pdeathsig = syscall.SIGINT
	s.cmd.SysProcAttr.Setpgid = true // Ctrl-C is for us
	out, err := s.cmd.StderrPipe()
	if err != nil {
		return err
	}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never given back: the thread ends with the server
		if err := s.cmd.Start(); err != nil {
			started <- err
			close(s.done)
			return
		}
		started <- nil
		s.copyLog(out)
		s.cmd.Wait()
		close(s.done)
	}()
	if err := <-started; err != nil {
		return err
	}
	if err := s.awaitReady(ctx, data); err != nil {
		s.cmd.Process.Signal(syscall.SIGQUIT)
		<-s.done
		return err
	}
	return nil
}

func (s *Server) awaitReady(ctx context.Context, data string) error {
	timeout := time.After(startTimeout)
	for {
		if lines := pidFile(data); ready(lines) && lines[0] == strconv.Itoa(s.cmd.Process.Pid) {
			return nil
		}
		select {
		case <-s.done:
			return fmt.Errorf("the server ended at once: %s", s.tail.text())
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timeout:
			return fmt.Errorf("the server was not ready after %v: %s", startTimeout, s.tail.text())
		case <-time.After(poll):
		}
	}
}

func (s *Server) copyLog(out io.Reader) {
	for lines := bufio.NewScanner(out); lines.Scan(); {
		line := lines.Text()
		s.tail.add(line)
		level := slog.LevelDebug
		if strings.HasPrefix(line, "PANIC:") || strings.HasPrefix(line, "FATAL:") && !s.stopping.Load() {
			level = slog.LevelWarn
		}
		s.log.Log(context.Background(), level, "postgres: "+line)
	}
	io.Copy(io.Discard, out) // after a line too long for the scanner
}

// pidFile returns the lines of the server's pid file: pid, data folder, start,
// port, socket folder, …
func pidFile(data string) []string {
	text, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return nil
	}
	return strings.Split(string(text), "\n")
}

// ready reports whether the pid file says "ready" in its eighth line, which the
// server pads.
func ready(lines []string) bool { return len(lines) > 7 && strings.TrimSpace(lines[7]) == "ready" }

// endLeftover sees to a server that an earlier run left: one that lives is on
// its way out, since its parent is dead; the pid file of a dead one is removed,
// lest its number belong to another process by now.
func endLeftover(ctx context.Context, data string, log *slog.Logger) error {
	lines := pidFile(data)
	if len(lines) == 0 {
		return nil
	}
	pid, err := strconv.Atoi(lines[0])
	if err == nil && pid > 0 {
		for began := time.Now(); serves(pid, data); {
			signal, waited := syscall.SIGINT, time.Since(began)
			switch {
			case waited > 2*stopTimeout:
				return fmt.Errorf("the server of an earlier run (process %d) does not end: end it by hand", pid)
			case waited > stopTimeout:
				signal = syscall.SIGQUIT
			}
			syscall.Kill(pid, signal)
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(20 * poll):
			}
		}
	}
	if err := os.Remove(filepath.Join(data, "postmaster.pid")); err == nil {
		log.Warn("private PostgreSQL was not shut down: repairing", "dir", data)
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// serves reports whether a process is a server on data, where each one works.
func serves(pid int, data string) bool {
	cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
	real, _ := filepath.EvalSymlinks(data)
	return err == nil && (cwd == data || cwd == real)
}

// A tail keeps the last lines of the server's log, for errors.
type tail struct {
	mu    sync.Mutex
	lines []string
}

func (t *tail) add(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines = append(t.lines, line)
	if len(t.lines) > 10 {
		t.lines = slices.Delete(t.lines, 0, 1)
	}
}

func (t *tail) clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines = nil
}

func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(t.lines, " / ")
}

func (t *tail) has(words string) bool { return strings.Contains(t.text(), words) }
