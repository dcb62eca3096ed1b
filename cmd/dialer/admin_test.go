package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A key or a login made in a database that no dialer uses would open nothing.
func TestCredentialsNeedADialersData(t *testing.T) {
	for name, args := range map[string][]string{
		"apikey": {"apikey", "create", "tour", "--role", "admin"},
		"user":   {"user", "add", "ann", "--role", "admin"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "none")
			var out, errs strings.Builder
			tm := &terminal{out: &out, err: &errs, in: strings.NewReader("a-long-password\n"), env: noEnv}
			soon, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond) // in place of the 10 s for one that starts
			defer cancel()
			code := run(soon, tm, append(args, "--data-dir", dir))
			if code != 1 || out.Len() > 0 || !strings.Contains(errs.String(), "there is no dialer data in "+dir+": start the dialer once") {
				t.Errorf("code %d, said %q and %q", code, out.String(), errs.String())
			}
			if _, err := os.Stat(dir); !os.IsNotExist(err) {
				t.Errorf("the folder was made: %v", err)
			}
		})
	}
}
