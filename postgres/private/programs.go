package private

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// ErrNoPrograms: PostgreSQL's server programs are not installed.
var ErrNoPrograms = errors.New("PostgreSQL's server programs are not installed: " +
	"run \"apt-get install postgresql\" (or your system's package), or set database_url to a server elsewhere")

// programs returns the folder of initdb and postgres: the given one, else the
// newest of the distribution's, else that on the PATH.
func programs(dir string) (string, error) {
	if dir != "" {
		if complete(dir) {
			return dir, nil
		}
		return "", fmt.Errorf("%s does not hold initdb and postgres", dir)
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // fails for a bad pattern only
	more, _ := filepath.Glob("/usr/pgsql-*/bin")
	found = append(found, more...)
	slices.SortFunc(found, func(a, b string) int { return versionIn(b) - versionIn(a) })
	for _, d := range found {
		if complete(d) {
			return d, nil
		}
	}
	if p, err := exec.LookPath("initdb"); err == nil {
		if p, err = filepath.EvalSymlinks(p); err == nil && complete(filepath.Dir(p)) {
			return filepath.Dir(p), nil
		}
	}
	return "", ErrNoPrograms
}

func complete(dir string) bool {
	for _, p := range []string{"initdb", "postgres"} {
		if st, err := os.Stat(filepath.Join(dir, p)); err != nil || st.IsDir() {
			return false
		}
	}
	return true
}

// versionIn finds the number in a folder such as /usr/lib/postgresql/15/bin.
func versionIn(dir string) int {
	n, _ := strconv.Atoi(strings.Trim(filepath.Base(filepath.Dir(dir)), "pgsql-")) // 0 sorts last
	return n
}

// majorVersion asks the server program for its version: "15".
func majorVersion(ctx context.Context, bin string) (string, error) {
	out, err := exec.CommandContext(ctx, filepath.Join(bin, "postgres"), "--version").Output()
	if err != nil {
		return "", fmt.Errorf("private database: postgres --version: %w", err)
	}
	fields := strings.Fields(string(out)) // postgres (PostgreSQL) 15.18 (Debian …)
	if len(fields) < 3 {
		return "", fmt.Errorf("private database: postgres --version said %q", out)
	}
	major, _, _ := strings.Cut(fields[2], ".")
	return strings.TrimRight(major, "abcdefghijklmnopqrstuvwxyz0123456789"[:26]), nil
}

// account is whom the server runs as: PostgreSQL refuses root, so as root an
// account without rights is used. Nil means our own.
func account() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"dialer", "postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil && uid != 0 {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, errors.New("private database: PostgreSQL does not run as root, and there is no account dialer, postgres or nobody: " +
		"add one (useradd --system dialer), or run the dialer as an ordinary user")
}

// socketFolder makes the folder of the Unix socket, whose path has a limit of
// 107 bytes: a short one in the temporary folder when ours is too deep.
func socketFolder(dir string, who *syscall.Credential) (string, error) {
	socket := filepath.Join(dir, "run")
	if len(socket) > 80 {
		sum := sha256.Sum256([]byte(dir))
		socket = filepath.Join(os.TempDir(), "dialer-"+hex.EncodeToString(sum[:6]))
	}
	if err := os.MkdirAll(socket, 0o700); err != nil {
		return "", fmt.Errorf("private database: %w", err)
	}
	st, err := os.Lstat(socket)
	if err != nil || !st.IsDir() {
		return "", fmt.Errorf("private database: %s is not a folder of ours: remove it", socket)
	}
	if who != nil {
		if err := os.Chown(socket, int(who.Uid), int(who.Gid)); err != nil {
			return "", fmt.Errorf("private database: %w", err)
		}
	}
	if err := os.Chmod(socket, 0o700); err != nil {
		return "", fmt.Errorf("private database: %w", err)
	}
	return socket, nil
}

// reachable checks that the server's account can walk to the folder.
func reachable(dir string, who *syscall.Credential) error {
	for d := dir; ; d = filepath.Dir(d) {
		st, err := os.Stat(d)
		if err != nil {
			return fmt.Errorf("private database: %w", err)
		}
		owner, ok := st.Sys().(*syscall.Stat_t)
		switch mode := st.Mode().Perm(); {
		case !ok || mode&0o001 != 0:
		case owner.Uid == who.Uid && mode&0o100 != 0:
		case owner.Gid == who.Gid && mode&0o010 != 0:
		default:
			return fmt.Errorf("private database: the server runs as user id %d, which may not enter %s: "+
				"set data_dir to a folder such as /var/lib/dialer, or run \"chmod o+x %s\"", who.Uid, d, d)
		}
		if d == filepath.Dir(d) {
			return nil
		}
	}
}
