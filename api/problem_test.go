package api

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dialer"
)

func TestRefusalsAreProblems(t *testing.T) {
	h := open(t)
	big := `{"name":"` + strings.Repeat("x", maxBody) + `"}`
	for name, c := range map[string]struct {
		method, path string
		body         any
		headers      []string
		status       int
		code         string
		location     string
	}{
		"no such route":     {method: "GET", path: "/v1/nothing", status: 404, code: "not_found"},
		"no such method":    {method: "PUT", path: "/v1/campaigns", status: 405, code: "method_not_allowed"},
		"no such campaign":  {method: "GET", path: "/v1/campaigns/cmp_x", status: 404, code: "not_found"},
		"not JSON":          {method: "POST", path: "/v1/campaigns", body: `{"name":`, status: 400, code: "malformed", location: "body"},
		"no body":           {method: "POST", path: "/v1/campaigns", status: 400, code: "malformed"},
		"a list":            {method: "POST", path: "/v1/campaigns", body: `[]`, status: 422, code: "invalid", location: "body"},
		"unknown field":     {method: "POST", path: "/v1/campaigns", body: `{"name":"a","colour":"red"}`, status: 422, code: "invalid", location: "body.colour"},
		"wrong case":        {method: "POST", path: "/v1/campaigns", body: `{"NAME":"a"}`, status: 422, code: "invalid", location: "body.NAME"},
		"a key twice":       {method: "POST", path: "/v1/campaigns", body: `{"name":"a","name":"b"}`, status: 400, code: "malformed", location: "body.name"},
		"two values":        {method: "POST", path: "/v1/campaigns", body: `{"name":"a"} {}`, status: 400, code: "malformed", location: "body"},
		"wrong type":        {method: "POST", path: "/v1/campaigns", body: `{"name":1}`, status: 422, code: "invalid", location: "body.name"},
		"no name":           {method: "POST", path: "/v1/campaigns", body: `{}`, status: 422, code: "invalid", location: "body"},
		"bad hours":         {method: "POST", path: "/v1/campaigns", body: `{"name":"a","hours":"Moonday 9-5"}`, status: 422, code: "invalid", location: "body.hours"},
		"deep":              {method: "POST", path: "/v1/campaigns", body: strings.Repeat("[", 1000), status: 400, code: "malformed", location: "body"},
		"too large":         {method: "POST", path: "/v1/campaigns", body: big, status: 413, code: "too_large"},
		"not JSON's type":   {method: "POST", path: "/v1/campaigns", body: `name=a`, headers: []string{"Content-Type", "application/x-www-form-urlencoded"}, status: 415, code: "unsupported_media_type"},
		"unknown query":     {method: "GET", path: "/v1/campaigns?page=2", status: 422, code: "invalid", location: "query.page"},
		"bad limit":         {method: "GET", path: "/v1/campaigns?limit=0", status: 422, code: "invalid", location: "query.limit"},
		"bad cursor":        {method: "GET", path: "/v1/campaigns?cursor=AAAA", status: 422, code: "invalid", location: "query.cursor"},
		"bad number":        {method: "POST", path: "/v1/dnc", body: `{"number":"12"}`, status: 422, code: "invalid", location: "body.number"},
		"bad trunk":         {method: "POST", path: "/v1/trunks", body: `{"name":"a","address":"sip.example","channels":0,"cps":1}`, status: 422, code: "invalid", location: "body.channels"},
		"weak phone secret": {method: "POST", path: "/v1/agents", body: `{"name":"a","extension":"a","password":"short"}`, status: 422, code: "invalid", location: "body.password"},
	} {
		t.Run(name, func(t *testing.T) {
			h.t = t
			r := h.do(dialer.RoleAdmin, c.method, c.path, c.body, c.headers...)
			p := h.problem(r)
			if p.Status != c.status || p.Code != c.code {
				t.Fatalf("got %d %s, want %d %s: %s", p.Status, p.Code, c.status, c.code, r.body)
			}
			if !strings.HasPrefix(p.Instance, "urn:request:") {
				t.Errorf("instance %q", p.Instance)
			}
			if c.location == "" {
				return
			}
			for _, f := range p.Errors {
				if f.Location == c.location && f.Message != "" {
					return
				}
			}
			t.Errorf("no mistake at %s: %s", c.location, r.body)
		})
	}
}

func TestEveryMistakeAtOnce(t *testing.T) {
	h := open(t)
	p := h.problem(h.do(dialer.RoleManager, http.MethodPost, "/v1/campaigns",
		`{"name":" ","mode":"magic","caller_id":"123","ring_timeout_s":3,"retry":{"busy":{"after_s":-1,"max":2}}}`))
	var places []string
	for _, f := range p.Errors {
		places = append(places, f.Location)
	}
	got := strings.Join(places, " ")
	for _, want := range []string{"body.name", "body.mode", "body.caller_id", "body.ring_timeout_s", "body.retry.busy.after_s"} {
		if !strings.Contains(got, want) {
			t.Errorf("no word of %s in %s", want, got)
		}
	}
	if p.Status != http.StatusUnprocessableEntity || !strings.Contains(p.Detail, "more mistakes") {
		t.Errorf("problem %+v", p)
	}
}

// TestSecretsStayInside plants words in every secret and looks for them in
// every answer.
func TestSecretsStayInside(t *testing.T) {
	h := open(t)
	const canary = "canary-in-the-coal-mine"
	for _, c := range []struct{ method, path, body string }{
		{"POST", "/v1/trunks", `{"name":"a","address":"sip.example.net","username":"u","password":"` + canary + `","channels":1,"cps":1}`},
		{"POST", "/v1/trunks", `{"name":"a","address":"bad address","username":"u","password":"` + canary + `","channels":1,"cps":1}`},
		{"POST", "/v1/trunks", `{"name":"a","password":"` + canary + `","colour":1}`},
		{"POST", "/v1/trunks", `{"name":"a","passwrod":"` + canary + `","address":"a","channels":1,"cps":1}`},
		{"POST", "/v1/trunks", `{"name":"a","password":"` + canary + `"`},
		{"POST", "/v1/trunks", `{"name":"a","password":["` + canary + `"]}`},
		{"POST", "/v1/agents", `{"name":"a","extension":"a","password":"` + canary + `"}`},
		{"POST", "/v1/agents", `{"name":"a","extension":"a","password":"` + canary + strings.Repeat("x", 300) + `"}`},
		{"POST", "/v1/users", `{"name":"a","role":"king","password":"` + canary + `"}`},
		{"POST", "/v1/sessions", `{"name":"a","password":"` + canary + `","x":1}`},
		{"GET", "/v1/trunks", ""},
		{"GET", "/v1/agents", ""},
	} {
		var body any
		if c.body != "" {
			body = c.body
		}
		if r := h.do(dialer.RoleAdmin, c.method, c.path, body); strings.Contains(string(r.body), canary) {
			t.Errorf("%s %s %s gave the secret back: %s", c.method, c.path, c.body, r.body)
		}
	}
	for id, ha1 := range h.db.ha1 {
		if strings.Contains(ha1, canary) || id != "agt_1" && len(ha1) != 32 {
			t.Errorf("agent %s: HA1 %q", id, ha1)
		}
	}
}

func TestInternalErrorsAreNotShown(t *testing.T) {
	h := open(t, func(c *Config) { c.Log = nil })
	h.db.fail = errors.New("pq: password of postgres is hunter2")
	p := h.problem(h.do(dialer.RoleManager, http.MethodGet, "/v1/campaigns/cmp_1", nil))
	if p.Status != 500 || p.Code != "internal" || strings.Contains(p.Detail, "hunter2") {
		t.Errorf("problem %+v", p)
	}
	h.db.fail = dialer.Errorf(dialer.Unavailable, "the database is away")
	if p := h.problem(h.do(dialer.RoleManager, http.MethodGet, "/v1/campaigns/cmp_1", nil)); p.Status != 503 || p.Code != "unavailable" {
		t.Errorf("problem %+v", p)
	}
}

// TestJSONTorture sends every file of the parsing suite to a route that
// creates: what is no JSON is refused, and nothing is an internal error.
func TestJSONTorture(t *testing.T) {
	folder := shared("torture", "json", "test_parsing")
	files, _ := filepath.Glob(filepath.Join(folder, "*.json"))
	if len(files) == 0 {
		t.Skip("SKIPPED: the JSON torture files are not here (", folder, ")")
	}
	h := open(t)
	for _, name := range files {
		data, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		base := filepath.Base(name)
		bodies := map[string][]byte{"bare": data, "inside": append(append([]byte(`{"name":"x","script":`), data...), '}')}
		for how, body := range bodies {
			r := h.do(dialer.RoleManager, http.MethodPost, "/v1/campaigns", body)
			switch {
			case r.StatusCode >= 500:
				t.Errorf("%s %s: %d %s", base, how, r.StatusCode, r.body)
			case r.StatusCode >= 400:
				h.problem(r)
			case strings.HasPrefix(base, "n_"):
				t.Errorf("%s %s was taken: %d", base, how, r.StatusCode)
			}
		}
	}
}

// shared is a path beside the repository.
func shared(elem ...string) string {
	dir, _ := os.Getwd()
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(append([]string{dir, "..", "shared"}, elem...)...)
		}
		up := filepath.Dir(dir)
		if up == dir {
			return ""
		}
		dir = up
	}
}
