// Package private runs a PostgreSQL server for one dialer, from the server
// programs that are installed on the machine: in the dialer's own folder, on a
// Unix socket that only the dialer's account can reach, ending with the dialer.
//
// It is not for sharing a database among machines; give the dialer a URL for
// that. Entry points: Start, Find.
//
// Goroutines: one for each server, on its own thread, which waits for it.
package private

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// ErrInUse: another process runs a server in the folder.
var ErrInUse = errors.New("the private database is in use by another dialer")

// Options say where a server lives.
type Options struct {
	// Dir holds everything: data, socket, log. It is made when missing.
	Dir string
	// BinDir holds initdb and postgres; empty looks for the newest.
	BinDir string
	Log    *slog.Logger
	// Unsafe turns fsync off, for tests that throw the data away.
	Unsafe bool
}

// A Server is a running PostgreSQL.
type Server struct {
	url    string
	lock   *os.File
	cmd    *exec.Cmd
	exited chan struct{}
}

// Start starts the server in a folder, making the database there the first
// time. It returns when the server takes connections.
func Start(ctx context.Context, o Options) (_ *Server, err error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("private database: %w", err)
	}
	bin, err := programs(o.BinDir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("private database: %w; make the folder writable or set data_dir", err)
	}
	lock, err := lockFolder(dir)
	if err != nil {
		return nil, err
	}
	s := &Server{lock: lock, exited: make(chan struct{})}
	defer func() {
		if err != nil {
			s.Stop()
		}
	}()
	who, err := account()
	if err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "data")
	if err := initialise(ctx, bin, dir, data, who); err != nil {
		return nil, err
	}
	if err := awaitFormer(ctx, data); err != nil {
		return nil, err
	}
	socket, err := socketFolder(dir, who)
	if err != nil {
		return nil, err
	}
	if err := s.start(bin, dir, data, socket, who, o.Unsafe); err != nil {
		return nil, err
	}
	s.url = urlOf(socket)
	if err := s.await(ctx, socket, dir); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "socket"), []byte(socket), 0o644); err != nil {
		return nil, fmt.Errorf("private database: %w", err)
	}
	o.Log.Info("private database started", "dir", dir)
	return s, nil
}

// URL connects to the server's postgres database as its owner.
func (s *Server) URL() string { return s.url }

// Exited is closed when the server has ended, asked or not.
func (s *Server) Exited() <-chan struct{} { return s.exited }

// Find returns the URL of the server that another process runs in a folder.
func Find(dir string) (string, error) {
	socket, err := os.ReadFile(filepath.Join(dir, "socket"))
	if err != nil {
		return "", fmt.Errorf("the private database of %s is starting or stopping: try again in a moment", dir)
	}
	return urlOf(string(socket)), nil
}

func urlOf(socket string) string {
	return "postgres:///postgres?user=dialer&host=" + socket
}

// Stop ends the server (fast shutdown: connections are closed) and waits.
func (s *Server) Stop() {
	if s.cmd != nil {
		select {
		case <-s.exited:
		default:
			s.cmd.Process.Signal(syscall.SIGINT)
			select {
			case <-s.exited:
			case <-time.After(20 * time.Second):
				s.cmd.Process.Signal(syscall.SIGQUIT)
				<-s.exited
			}
		}
	}
	s.lock.Close()
}

// lockFolder makes sure that one process runs a server in the folder.
func lockFolder(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("private database: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("%w: stop it, or set another data_dir (folder %s)", ErrInUse, dir)
	}
	return f, nil
}

// initialise makes the database the first time, and refuses one that another
// version of PostgreSQL made.
func initialise(ctx context.Context, bin, dir, data string, who *syscall.Credential) error {
	made, err := os.ReadFile(filepath.Join(data, "PG_VERSION"))
	if err == nil {
		have, err := majorVersion(ctx, bin)
		if err != nil {
			return err
		}
		if v := strings.TrimSpace(string(made)); v != have {
			return fmt.Errorf("the database in %s was made by PostgreSQL %s and the installed server is %s: "+
				"install PostgreSQL %s again (apt-get install postgresql-%s), dump with pg_dump, move the folder away, "+
				"start with %s and restore the dump", data, v, have, v, v, have)
		}
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("private database: %w", err)
	}
	// A first start that was cut off leaves a folder without PG_VERSION.
	fresh := data + ".new"
	for _, d := range []string{fresh, data} {
		if err := os.RemoveAll(d); err != nil {
			return fmt.Errorf("private database: %w", err)
		}
	}
	if err := os.Mkdir(fresh, 0o700); err != nil {
		return fmt.Errorf("private database: %w", err)
	}
	if who != nil {
		if err := reachable(dir, who); err != nil {
			return err
		}
		if err := os.Chown(fresh, int(who.Uid), int(who.Gid)); err != nil {
			return fmt.Errorf("private database: %w", err)
		}
	}
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "-D", fresh, "-U", "dialer", "-A", "trust",
		"-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who}
	cmd.Dir = fresh
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("private database: initdb: %w: %s", err, bytes.TrimSpace(out))
	}
	if err := os.Rename(fresh, data); err != nil {
		return fmt.Errorf("private database: %w", err)
	}
	return nil
}

// awaitFormer waits for the server of a dialer that was killed, which is
// shutting down.
func awaitFormer(ctx context.Context, data string) error {
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for {
		text, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
		if err != nil {
			return nil // none runs; postgres itself reports what else is wrong
		}
		first, _, _ := strings.Cut(string(text), "\n")
		name, err := os.ReadFile(filepath.Join("/proc", first, "comm"))
		if err != nil || strings.TrimSpace(string(name)) != "postgres" {
			return nil // left by a server that was killed
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return fmt.Errorf("private database: a former server (process %s) does not end: %w", first, context.Cause(ctx))
		}
	}
}

// start runs the server so that it dies with us: the kernel sends SIGINT (fast
// shutdown) when the thread that started it ends, so a thread is kept for it.
func (s *Server) start(bin, dir, data, socket string, who *syscall.Credential, unsafe bool) error {
	logFile, err := os.OpenFile(filepath.Join(dir, "postgres.log"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("private database: %w", err)
	}
	args := []string{"-D", data, "-k", socket, "-c", "listen_addresses=", "-c", "unix_socket_permissions=0700",
		"-c", "max_connections=100", "-c", "shared_buffers=128MB", "-c", "jit=off"}
	if unsafe {
		args = append(args, "-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")
	}
	cmd := exec.Command(filepath.Join(bin, "postgres"), args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = data, logFile, logFile
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who, Pdeathsig: syscall.SIGINT, Setpgid: true}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			cmd.Wait() // its exit code says nothing that the log does not say better
			logFile.Close()
			close(s.exited)
		}
	}()
	if err := <-started; err != nil {
		logFile.Close()
		return fmt.Errorf("private database: starting postgres: %w", err)
	}
	s.cmd = cmd
	return nil
}

// await returns when the server takes connections.
func (s *Server) await(ctx context.Context, socket, dir string) error {
	file := filepath.Join(socket, ".s.PGSQL.5432")
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for {
		if ready(file) {
			return nil
		}
		select {
		case <-poll.C:
		case <-s.exited:
			out, _ := os.ReadFile(filepath.Join(dir, "postgres.log"))
			return fmt.Errorf("private database: postgres ended at once: %s", lastLines(out))
		case <-ctx.Done():
			return fmt.Errorf("private database: waiting for postgres: %w", context.Cause(ctx))
		}
	}
}

// ready asks for a session and reports whether the server speaks to us; while
// it recovers from a crash it answers with an error that says so.
func ready(file string) bool {
	conn, err := net.Dial("unix", file)
	if err != nil {
		return false
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(2 * time.Second))
	// StartupMessage, protocol 3.0: length, version, user=dialer, end.
	params := "user\x00dialer\x00database\x00postgres\x00\x00"
	msg := append([]byte{0, 0, 0, byte(8 + len(params)), 0, 3, 0, 0}, params...)
	if _, err := conn.Write(msg); err != nil {
		return false
	}
	var kind [1]byte
	_, err = conn.Read(kind[:])
	return err == nil && kind[0] == 'R' // AuthenticationOk
}

func lastLines(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "; ")
}
