package private

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// ErrNotInstalled says that there are no server programs; the error that wraps
// it names the command that installs them.
var ErrNotInstalled = errors.New("PostgreSQL's server programs are not installed")

// oldest is the oldest major version that has what our schema uses.
const oldest = 15

// programs are the server programs of one version.
type programs struct {
	initdb, postgres string
	version          string // major
}

// usualFolders hold server programs that are not in PATH, by distribution.
var usualFolders = []string{
	"/usr/lib/postgresql/*/bin",
	"/usr/pgsql-*/bin",
	"/usr/libexec/postgresql*",
	"/opt/homebrew/opt/postgresql@*/bin",
	"/usr/local/opt/postgresql@*/bin",
}

// findPrograms returns the programs for data made by version want, or the newest
// ones when there is no data yet. A server does not open another version's data.
func findPrograms(binDir, want string) (programs, error) {
	var found []programs
	if binDir != "" {
		p, err := programsIn(binDir)
		if err != nil {
			return p, err
		}
		found = append(found, p)
	} else {
		for _, folder := range folders() {
			if p, err := programsIn(folder); err == nil {
				found = append(found, p)
			}
		}
	}
	if len(found) == 0 {
		return programs{}, fmt.Errorf("%w: run `%s`, or give a database URL", ErrNotInstalled, installCommand())
	}
	newest := slices.MaxFunc(found, func(a, b programs) int {
		return cmp.Compare(number(a.version), number(b.version))
	})
	if want == "" {
		if number(newest.version) < oldest {
			return newest, fmt.Errorf("the newest installed PostgreSQL is %s, and %d or later is needed: run `%s`", newest.version, oldest, installCommand())
		}
		return newest, nil
	}
	for _, p := range found {
		if p.version == want {
			return p, nil
		}
	}
	return newest, fmt.Errorf("the data were made by PostgreSQL %s and the server installed is %s, which cannot open them: "+
		"install PostgreSQL %s beside it, or move the data with pg_dump of %s and psql of %s; nothing was changed",
		want, newest.version, want, want, newest.version)
}

func folders() []string {
	var all []string
	if p, err := exec.LookPath("postgres"); err == nil {
		if real, err := filepath.EvalSymlinks(p); err == nil {
			all = append(all, filepath.Dir(real))
		}
	}
	if self, err := os.Executable(); err == nil {
		beside := filepath.Dir(self)
		all = append(all, beside, filepath.Join(beside, "postgresql", "bin"))
	}
	for _, pattern := range usualFolders {
		matches, _ := filepath.Glob(pattern) // the patterns are well formed
		all = append(all, matches...)
	}
	return all
}

var versionText = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

func programsIn(folder string) (programs, error) {
	p := programs{initdb: filepath.Join(folder, "initdb"), postgres: filepath.Join(folder, "postgres")}
	for _, program := range []string{p.initdb, p.postgres} {
		if _, err := os.Stat(program); err != nil {
			return p, err
		}
	}
	out, err := exec.Command(p.postgres, "--version").Output()
	if err != nil {
		return p, fmt.Errorf("%s --version: %w", p.postgres, err)
	}
	m := versionText.FindSubmatch(out)
	if m == nil {
		return p, fmt.Errorf("%s --version said %q, which names no version", p.postgres, out)
	}
	p.version = string(m[1])
	return p, nil
}

// dataVersion is the major version that made a data folder, "" when none did.
func dataVersion(data string) string {
	text, err := os.ReadFile(filepath.Join(data, "PG_VERSION"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

func number(version string) int {
	n, _ := strconv.Atoi(version) // it matched digits
	return n
}

func installCommand() string {
	for _, c := range [][2]string{
		{"apt-get", "apt-get install -y postgresql"},
		{"dnf", "dnf install -y postgresql-server"},
		{"apk", "apk add postgresql"},
		{"pacman", "pacman -S --noconfirm postgresql"},
		{"brew", "brew install postgresql"},
	} {
		if _, err := exec.LookPath(c[0]); err == nil {
			return c[1]
		}
	}
	return "apt-get install -y postgresql"
}
