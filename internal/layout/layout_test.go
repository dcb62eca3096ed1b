package layout

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRepository reads the files themselves: a list from the go command can be
// served from a cache that does not know of a new file.
func TestRepository(t *testing.T) {
	top, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(top, "go.mod")); err != nil {
		t.Fatalf("%s is not the root of the repository: %v", top, err)
	}
	files := 0
	err = filepath.WalkDir(top, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			base := d.Name()
			if p != top && (strings.HasPrefix(base, ".") || base == "testdata" || base == "node_modules") {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(p) != ".go" {
			return nil
		}
		src, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(top, p)
		if err != nil {
			return err
		}
		files++
		for _, fault := range check(filepath.ToSlash(name), src) {
			t.Error(fault)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 10 {
		t.Fatalf("only %d Go files were found below %s", files, top)
	}
}

// TestPlanted shows that each rule catches what it is for.
func TestPlanted(t *testing.T) {
	for _, c := range []struct {
		name, src, want string
	}{
		{"pacing/x.go", `package pacing; import _ "dialer/campaign"`, "may not import"},
		{"pacing/x.go", `package pacing; import _ "dialer"`, "may not import"},
		{"pacing/x.go", `package pacing; import _ "gonum.org/v1/gonum/mathext"`, ""},
		{"pacing/x_test.go", `package pacing; import _ "pgregory.net/rapid"`, ""},
		{"pacing/x.go", `package pacing; import _ "pgregory.net/rapid"`, "may not import"},
		{"pacing/x_test.go", `package pacing_test; import _ "dialer/pacing"`, ""},
		{"amd/x_test.go", `package amd; import _ "dialer/telephony"`, "may not import"},
		{"x.go", `package dialer; import _ "dialer/pacing"`, "may not import"},
		{"agents/x.go", `package agents; import _ "dialer/telephony/siptrunk"`, "may not import"},
		{"campaign/x_test.go", `package campaign; import _ "dialer/telephony/simtrunk"`, ""},
		{"campaign/x.go", `package campaign; import _ "dialer/telephony/simtrunk"`, "may not import"},
		{"api/x.go", `package api; import _ "dialer/postgres"`, "may not import"},
		{"telephony/siptrunk/x.go", `package siptrunk; import _ "github.com/emiago/diago"`, "may not import"},
		{"telephony/siptrunk/x.go", `package siptrunk; import _ "github.com/emiago/sipgo/sip"`, ""},
		{"cmd/dialer/x.go", `package main; import _ "dialer/postgres"`, ""},
		{"billing/x.go", `package billing`, `folder "billing" is not in the table`},
		{"amd/x.go", "package amd; import \"time\"\nvar a = time.Now()", "time.Now in a pure folder"},
		{"amd/x.go", "package amd; import clock \"time\"\nvar a = clock.NewTicker(1)", "time.NewTicker in a pure folder"},
		{"report/x.go", "package report; import . \"time\"\nvar a = Now()", "a clock could hide"},
		{"agents/x.go", "package agents; import \"time\"\nvar a = time.Now()", ""},
		{"agents/call_manager.go", `package agents`, `word "manager"`},
		{"agents/x.go", `package agents; type CallManager struct{}`, "type CallManager"},
		{"agents/x.go", `package agents; const RoleManager = 1`, ""},
		{"internal/utils/x.go", `package utils`, "not in the table"},
		{"agents/x.go", "package agents\n" + strings.Repeat("\n", longest), "more than 550"},
		{"agents/x_test.go", "package agents\n" + strings.Repeat("\n", longest), ""},
		{"postgres/x.go", "package postgres; import \"fmt\"\nfunc f() { db.Exec(ctx, fmt.Sprintf(\"drop %s\", x)) }", "pass values as parameters"},
		{"postgres/x.go", "package postgres; import \"fmt\"\nfunc f() { db.Exec(ctx, \"a\" + fmt.Sprint(x)) }", "pass values as parameters"},
		{"postgres/x.go", "package postgres; import \"fmt\"\nvar s = fmt.Sprintf(\"%d\", 1)", ""},
		{"amd/x.go", `package`, "cannot be parsed"},
	} {
		got := strings.Join(check(c.name, []byte(c.src)), "\n")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %s\n got %q\nwant %q", c.name, c.src, got, c.want)
		}
	}
}
