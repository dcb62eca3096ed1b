package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func noEnv(string) (string, bool) { return "", false }

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	f := filepath.Join(t.TempDir(), "dialer.yaml")
	if err := os.WriteFile(f, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestConfigReportsEveryMistakeWithLineAndRemedy(t *testing.T) {
	f := writeConfig(t, `data_dir: /var/lib/dialer
htpp:
  listen: 127.0.0.1:8080
sip:
  listen: nowhere
  rtp_ports: 5-9
  realm: example
drain: soon
trunks:
  - name: main
    address: sip.example.net
    cps: -1
  - name: main
    address: "bad address"
    chanels: 10
`)
	_, problems := loadConfig(f, noEnv, nil)
	want := []struct {
		path string
		line int
		hint string
	}{
		{"htpp", 2, `did you mean "http"?`},
		{"sip.listen", 5, "address:port"},
		{"sip.rtp_ports", 6, "low-high"},
		{"drain", 8, "correct the value"},
		{"trunks[0].cps", 12, ""},
		{"trunks[1].name", 13, "own name"},
		{"trunks[1].address", 14, ""},
		{"trunks[1].chanels", 15, `did you mean "channels"?`},
	}
	for _, w := range want {
		found := false
		for _, p := range problems {
			if p.Path == w.path && p.Line == w.line && strings.Contains(p.Hint, w.hint) && p.What != "" && p.Hint != "" {
				found = true
			}
		}
		if !found {
			t.Errorf("no problem for %s on line %d with hint %q", w.path, w.line, w.hint)
		}
	}
	if len(problems) != len(want) {
		t.Errorf("%d problems, want %d:", len(problems), len(want))
	}
	if t.Failed() {
		for _, p := range problems {
			t.Log(p)
		}
	}
}

func TestConfigPrecedence(t *testing.T) {
	f := writeConfig(t, "http:\n  listen: 127.0.0.1:1000\nsip:\n  realm: fromfile\nlog:\n  level: warn\n")
	env := func(name string) (string, bool) {
		v, ok := map[string]string{"DIALER_SIP_REALM": "fromenv", "DIALER_HTTP_LISTEN": "127.0.0.1:2000"}[name]
		return v, ok
	}
	l, problems := loadConfig(f, env, map[string]string{"http.listen": "127.0.0.1:3000"})
	if len(problems) != 0 {
		t.Fatal(problems)
	}
	if l.HTTP.Listen != "127.0.0.1:3000" || l.SIP.Realm != "fromenv" || l.Log.Level != "warn" || l.Node != 1 {
		t.Errorf("merged %+v", l.Config)
	}
}

func TestConfigPrintMasksSecretsAndCanBeReadAgain(t *testing.T) {
	f := writeConfig(t, `database_url: postgres://u:hunter2@db/x
http:
  origins: ["https://a.example", "https://b.example"]
trunks:
  - name: main
    address: 192.0.2.1
    username: u
    password: hunter2
    media_sources: [192.0.2.0/24]
`)
	l, problems := loadConfig(f, noEnv, nil)
	if len(problems) != 0 {
		t.Fatal(problems)
	}
	var b strings.Builder
	l.print(&b)
	if strings.Contains(b.String(), "hunter2") {
		t.Errorf("a secret is printed:\n%s", b.String())
	}
	if !strings.Contains(b.String(), "# file, line 5") || !strings.Contains(b.String(), "# default") {
		t.Errorf("sources are missing:\n%s", b.String())
	}
	again, problems := loadConfig(writeConfig(t, strings.ReplaceAll(b.String(), `database_url: "***"`, "database_url: postgres://x@y/z")), noEnv, nil)
	if len(problems) != 0 {
		t.Fatalf("printed configuration does not read back: %v\n%s", problems, b.String())
	}
	if len(again.Trunks) != 1 || again.Trunks[0].Address != "192.0.2.1" || len(again.HTTP.Origins) != 2 {
		t.Errorf("read back %+v", again.Config)
	}
}

func TestConfigMissingFileIsAMistake(t *testing.T) {
	_, problems := loadConfig(filepath.Join(t.TempDir(), "none.yaml"), noEnv, nil)
	if len(problems) != 1 || !strings.Contains(problems[0].What, "does not exist") {
		t.Errorf("got %v", problems)
	}
}

func FuzzConfigFile(f *testing.F) {
	f.Add("http:\n  listen: 1\n")
	f.Add("trunks:\n - name: [a]\n")
	f.Add("a: &x {b: *x}\n")
	f.Fuzz(func(t *testing.T, text string) {
		loadConfig(writeConfig(t, text), noEnv, nil)
	})
}
