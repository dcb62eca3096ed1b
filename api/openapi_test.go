package api

import (
	"flag"
	"net/http"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-chi/chi/v5"
)

var update = flag.Bool("update", false, "write openapi.yaml anew")

func TestContractIsCommitted(t *testing.T) {
	got, err := OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("openapi.yaml", got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Error("openapi.yaml is not what the routes say: run 'go test ./api -run Contract -update' and review the difference")
	}
	for _, trap := range []string{"$schema", "- \"null\"\n    items", "default:\n          type"} {
		if strings.Contains(string(got), trap) {
			t.Errorf("the contract has %q", trap)
		}
	}
}

// TestEveryRouteHasARule walks the router, so that a new route answers nobody
// until somebody has decided who may call it.
func TestEveryRouteHasARule(t *testing.T) {
	s, err := build(Config{})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	err = chi.Walk(s.router, func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		name := method + " " + strings.TrimSuffix(route, "/*")
		seen[name] = true
		if _, ok := rules[name]; !ok {
			t.Errorf("%s has no rule in rules.go", name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range rules {
		if !seen[name] {
			t.Errorf("the rule for %s is for no route", name)
		}
	}
}

// TestNoDefaults: huma would turn an explicit 0 into the default.
func TestNoDefaults(t *testing.T) {
	s, err := build(Config{})
	if err != nil {
		t.Fatal(err)
	}
	for name, schema := range s.api.OpenAPI().Components.Schemas.Map() {
		for field, p := range schema.Properties {
			if p.Default != nil {
				t.Errorf("%s.%s has a default", name, field)
			}
			if p.Type == huma.TypeArray && p.Nullable {
				t.Errorf("%s.%s may be null", name, field)
			}
		}
	}
	for path, item := range s.api.OpenAPI().Paths {
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Patch, item.Delete} {
			if op == nil {
				continue
			}
			for _, p := range op.Parameters {
				if p.Schema != nil && p.Schema.Default != nil && reflect.ValueOf(p.Schema.Default).IsValid() {
					t.Errorf("%s: parameter %s has a default", path, p.Name)
				}
			}
		}
	}
}
