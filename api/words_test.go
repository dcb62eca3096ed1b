package api

import (
	"strings"
	"testing"
)

// TestWrongCommandIsToldInPlainWords: who writes a desktop sees what is wrong,
// in no parser's words.
func TestWrongCommandIsToldInPlainWords(t *testing.T) {
	h := open(t)
	c := h.desk()
	for bad, want := range map[string]string{
		`[]`:                         "not a command: the text is not an object {…}",
		`{"id":"1"`:                  "not a command: the JSON ends too early",
		`{"id":7}`:                   "not a command: /id: is not a text in quotes",
		`{"force":"yes"}`:            "not a command: /force: is not true or false",
		`{"callback_at":"tomorrow"}`: "not a command: /callback_at: is not a time as 2026-03-01T09:00:00Z",
		`{"colour":1}`:               "not a command: /colour: is not a known field",
		`{"id":"1","id":"2"}`:        "not a command: /id: is there twice",
	} {
		c.write(bad)
		if m := c.await(map[string]string{"kind": "refused"}); m["reason"] != want {
			t.Errorf("%s: %q, want %q", bad, m["reason"], want)
		}
	}
	for _, bad := range []string{`{`, "x", `{"id" 1}`, "\xff", `"`, `{} {}`, ``} {
		c.write(bad)
		reason, _ := c.await(map[string]string{"kind": "refused"})["reason"].(string)
		for _, word := range []string{"json:", "jsontext", "unmarshal", "Go ", "api."} {
			if strings.Contains(reason, word) {
				t.Errorf("%q: the user is told %q", bad, reason)
			}
		}
	}
}
