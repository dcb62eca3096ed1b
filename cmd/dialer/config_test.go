package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"dialer/internal/storetest"
	"dialer/telephony"
	"dialer/telephony/siptrunk/siptest"
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

// mistakesIn returns "line path" of each problem of a file.
func mistakesIn(t *testing.T, text string) []string {
	t.Helper()
	_, problems := loadConfig(writeConfig(t, text), noEnv, nil)
	var at []string
	for _, p := range problems {
		at = append(at, fmt.Sprintf("%d %s", p.Line, p.Path))
	}
	return at
}

func TestConfigReportsEveryMistakeOfATrunk(t *testing.T) {
	got := mistakesIn(t, `trunks:
  - name: a
    address: "::bad::"
    username: u
    channels: -1
    codecs: [G729]
    media_sources: [here]
  - name: b
    address: x.example:99999
    channels: 0
    cps: 0
  - name: c
    address: sip.example.net
    channels:
`)
	want := []string{"3 trunks[0].address", "2 trunks[0].password", "5 trunks[0].channels", "6 trunks[0].codecs",
		"7 trunks[0].media_sources[0]", "9 trunks[1].address", "10 trunks[1].channels", "11 trunks[1].cps"}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestConfigSyntaxErrorIsOneLineWithARemedy(t *testing.T) {
	for text, want := range map[string]string{
		"node: 1\nhttp:\n\tlisten: x\n":       "use spaces",
		"node: 1\nhttp:\n  listen: \"x\n":     "quotation marks",
		"node: 1\ntrunks:\n  - codecs: [PC\n": "bracket",
		"node: 1\nhttp\n  listen: x\n":        "name: value",
	} {
		_, problems := loadConfig(writeConfig(t, text), noEnv, nil)
		if len(problems) != 1 || problems[0].Line < 2 || strings.Contains(problems[0].String(), "\n") ||
			!strings.HasPrefix(problems[0].String(), "line ") || !strings.Contains(problems[0].Hint, want) {
			t.Errorf("%q: %v; want one line that says %q", text, problems, want)
		}
	}
}

// check runs "dialer config check" on a file.
func check(t *testing.T, text string) (out string, code int) {
	t.Helper()
	var stdout, stderr strings.Builder
	code = run(t.Context(), &terminal{out: &stdout, err: &stderr, env: noEnv}, []string{"config", "check", "--config", writeConfig(t, text)})
	return stdout.String() + stderr.String(), code
}

func TestConfigCheckSeesFoldersThatCannotBe(t *testing.T) {
	file := writeConfig(t, "") // a file where a folder should be
	dir := t.TempDir()
	for text, want := range map[string]string{
		"data_dir: " + file + "/data\n":                       "line 1: data_dir:",
		"data_dir: " + dir + "\nrecordings: " + file + "/r\n": "line 2: recordings:",
		"data_dir: /proc/dialer\n":                            "line 1: data_dir:",
	} {
		out, code := check(t, text)
		if code != 2 || !strings.Contains(out, want) || !strings.Contains(out, ": 1 mistake\n") {
			t.Errorf("%s: code %d\n%s", text, code, out)
		}
	}
	if out, code := check(t, "data_dir: "+dir+"/a/b\nhttp: {listen: 127.0.0.1:5060}\nsip: {listen: 127.0.0.1:5060, tcp: false}\n"); code != 0 {
		t.Errorf("code %d\n%s", code, out)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("the check left %v, %v", left, err)
	}
}

func TestConfigCheckOfSIPOverTLS(t *testing.T) {
	dir := t.TempDir()
	authority, err := siptest.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := authority.IssueFiles(dir, "sip.example.net", time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"tls: {cert: " + cert + ", key: " + key + "}":                              "",
		"tls: {cert: " + cert + "}":                                                "sip.tls: has only one of cert and key",
		"tls: {cert: " + cert + ", key: " + dir + "/none}":                         "sip.tls.cert: open",
		"tls: {cert: " + cert + ", key: " + cert + "}":                             "sip.tls.cert: tls:",
		"tls: {listen: here}":                                                      "sip.tls.listen:",
		"tls: {cert: " + cert + ", key: " + key + ", listen: '[::]:5061'}":         "sip.tls.listen:",
		"tls: {cert: " + cert + ", key: " + key + ", listen: '0.0.0.0:5060'}":      "sip.tls.listen:",
		"listen: 127.0.0.1:8080":                                                   "is also http.listen",
		"tcp: false, tls: {cert: " + cert + ", key: " + key + ", listen: ':5060'}": "",
	} {
		out, code := check(t, "data_dir: "+dir+"\nsip: {"+text+"}\n")
		if (code == 0) != (want == "") || !strings.Contains(out, want) {
			t.Errorf("%s: code %d\n%s", text, code, out)
		}
	}
}

func TestConfigPrintShowsEmptyListsAndTheRecordings(t *testing.T) {
	dir := t.TempDir()
	out, code := check(t, "data_dir: "+dir+"\ntrunks:\n  - {name: a, address: 192.0.2.1}\n")
	for _, want := range []string{"codecs: []", "media_sources: []", "origins: []", `recordings: "` + dir + `/recordings"`, "channels: 30"} {
		if !strings.Contains(out, want) {
			t.Errorf("%s is missing in (code %d)\n%s", want, code, out)
		}
	}
	if _, problems := loadConfig(writeConfig(t, out), noEnv, nil); len(problems) > 0 {
		t.Errorf("does not read back: %v", problems)
	}
}

// TestEveryTrunkOptionOfTheFile carries each option through the file, and through
// what "config check" prints of it.
func TestEveryTrunkOptionOfTheFile(t *testing.T) {
	want := storetest.FullTrunkOptions()
	options, err := json.Marshal(want) // JSON is YAML
	if err != nil {
		t.Fatal(err)
	}
	text := `{"trunks": [{"name": "a", "address": "192.0.2.1", "username": "u", "password": "p", ` + string(options[1:len(options)-1]) +
		`}, {"name": "b", "address": "192.0.2.2", "headers": {"X-B": "2"}}]}`
	for _, what := range []string{"the file", "what is printed of it"} {
		l, problems := loadConfig(writeConfig(t, text), noEnv, nil)
		if len(problems) > 0 {
			t.Fatalf("%s: %v\n%s", what, problems, text)
		}
		if d := cmp.Diff(want, l.Trunks[0].TrunkOptions); d != "" {
			t.Errorf("%s: - want, + got\n%s", what, d)
		}
		if d := cmp.Diff(telephony.TrunkOptions{Headers: map[string]string{"X-B": "2"}}, l.Trunks[1].TrunkOptions, cmpopts.EquateEmpty()); d != "" {
			t.Errorf("%s: - want, + got\n%s", what, d)
		}
		var b strings.Builder
		l.print(&b)
		text = b.String()
	}
}

func TestTrunkOptionMistakesHaveTheirLines(t *testing.T) {
	got := mistakesIn(t, `trunks:
  - name: a
    address: 192.0.2.1
    transport: tls
    ca: |
      no certificate
      at all
    backups:
      - sip2.example.net
      - "::bad::"
    headers:
      X-Fine: "1"
      Via: "2"
    srpt: off
`)
	want := []string{"5 trunks[0].ca", "10 trunks[0].backups[1]", "13 trunks[0].headers.Via", "14 trunks[0].srpt"}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
