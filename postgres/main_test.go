package postgres

import (
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"dialer/internal/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// open returns a database with a registered node and a running writer.
func open(t testing.TB) *DB {
	t.Helper()
	return openAt(t, pgtest.New(t))
}

func openAt(t testing.TB, url string) *DB {
	t.Helper()
	return openWith(t, url, nil)
}

func openWith(t testing.TB, url string, pool func(*pgxpool.Config)) *DB {
	t.Helper()
	db, err := Open(t.Context(), url, quiet(t), func(o *options) { o.pool = pool })
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Register(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- db.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		db.Close()
	})
	return db
}

func quiet(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// TestStatements has the server prepare every statement of the package.
func TestStatements(t *testing.T) {
	db := open(t)
	conn, err := db.pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	for _, query := range []string{sqlStageLeads, sqlStageRejects, sqlStageChanges} {
		if _, err := conn.Exec(t.Context(), query); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || !strings.HasPrefix(spec.Names[0].Name, "sql") {
				return true
			}
			query, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			found++
			if _, err := conn.Conn().Prepare(t.Context(), "", query); err != nil {
				t.Errorf("%s: %s: %v", name, spec.Names[0].Name, err)
			}
			return true
		})
	}
	if found < 70 {
		t.Errorf("only %d statements were found", found)
	}
}
