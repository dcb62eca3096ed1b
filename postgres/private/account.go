package private

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// An account is whom the server runs as: ourselves, unless we are root, as whom
// PostgreSQL refuses to run.
type account struct {
	name string
	drop *syscall.Credential // nil: ourselves
}

// accounts are tried in this order when we are root.
var accounts = []string{"dialer", "postgres", "nobody"}

// chooseAccount takes, as root, the owner of a folder that was used before, or
// else the first account that there is, and checks that it can get to the folder.
func chooseAccount(dir string) (account, error) {
	if os.Geteuid() != 0 {
		return account{name: "our own"}, nil
	}
	var found *user.User
	if info, err := os.Stat(filepath.Join(dir, "data")); err == nil {
		if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 {
			found, _ = user.LookupId(strconv.Itoa(int(st.Uid)))
		}
	}
	for _, name := range accounts {
		if found != nil {
			break
		}
		found, _ = user.Lookup(name)
	}
	if found == nil {
		return account{}, fmt.Errorf("PostgreSQL does not run as root and there is none of the accounts %v: add one with `useradd --system dialer`", accounts)
	}
	uid, err1 := strconv.ParseUint(found.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(found.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return account{}, fmt.Errorf("account %s: %w", found.Username, err)
	}
	a := account{found.Username, &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	for parent := filepath.Dir(dir); ; parent = filepath.Dir(parent) {
		if !a.mayEnter(parent) {
			return a, fmt.Errorf("the account %s, as which PostgreSQL has to run, may not enter %s: "+
				"choose a data folder elsewhere, such as /var/lib/dialer, or run as an ordinary user", a.name, parent)
		}
		if parent == filepath.Dir(parent) {
			return a, nil
		}
	}
}

// mayEnter looks at the permission to pass through a folder.
func (a account) mayEnter(dir string) bool {
	info, err := os.Stat(dir)
	if err != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	mode := info.Mode().Perm()
	switch {
	case !ok:
		return true
	case st.Uid == a.drop.Uid:
		return mode&0o100 != 0
	case st.Gid == a.drop.Gid:
		return mode&0o010 != 0
	}
	return mode&0o001 != 0
}

// own gives a folder to the account and to nobody else.
func (a account) own(dir string, mode os.FileMode) error {
	if a.drop != nil {
		if err := os.Chown(dir, int(a.drop.Uid), int(a.drop.Gid)); err != nil {
			return err
		}
	}
	return os.Chmod(dir, mode)
}

// run makes cmd run as the account, in dir, with none of our environment.
func (a account) run(cmd *exec.Cmd, dir string) {
	cmd.Dir = dir
	cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: a.drop}
}
