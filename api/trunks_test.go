package api

import (
	"encoding/json"
	"net/http"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dialer"
	"dialer/internal/storetest"
	"dialer/telephony"
)

func TestTrunkRefusalNamesEveryMistake(t *testing.T) {
	h := open(t)
	got := h.want(422, dialer.RoleAdmin, http.MethodPost, "/v1/trunks",
		`{"name":"c","address":"x.example:99999","username":"u","channels":-1,"cps":1,"codecs":["G729"],"media_sources":["here"]}`)
	for _, field := range []string{"address", "password", "channels", "codecs", "media_sources"} {
		if !strings.Contains(string(got.body), field) {
			t.Errorf("%s is not named in %s", field, got.body)
		}
	}
}

// TestEveryTrunkOption carries each option through the API to a trunk and back.
func TestEveryTrunkOption(t *testing.T) {
	h := open(t)
	sent := TrunkSettings{
		Name: "c", Address: "sip.example.net", Username: "u", Password: "s3cret-s3cret", Realm: "r", FromDomain: "d.example",
		Channels: 3, CPS: 1.5, Codecs: []string{"PCMA"}, MediaSources: []string{"192.0.2.0/24"}, Disabled: true,
		TrunkOptions: storetest.FullTrunkOptions(),
	}
	v := reflect.ValueOf(sent)
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Fatalf("give %s a value here", v.Type().Field(i).Name)
		}
	}
	body, err := json.Marshal(sent)
	if err != nil {
		t.Fatal(err)
	}
	made := into[TrunkView](h, h.want(201, dialer.RoleAdmin, http.MethodPost, "/v1/trunks", string(body)))
	kept := func() TrunkSettings { return settingsOf(h.db.trunks[made.ID]) }
	if d := cmp.Diff(sent, kept()); d != "" {
		t.Errorf("- sent, + kept\n%s", d)
	}
	path := "/v1/trunks/" + string(made.ID)
	shown := h.want(200, dialer.RoleManager, http.MethodGet, path, nil)
	if d := cmp.Diff(sent.TrunkOptions, into[TrunkView](h, shown).TrunkOptions); d != "" {
		t.Errorf("- sent, + shown\n%s", d)
	}
	if strings.Contains(string(shown.body), sent.Password) {
		t.Errorf("the password is shown: %s", shown.body)
	}

	// Each option alone: null brings its default and leaves the others.
	tag := shown.Header.Get("ETag")
	options := reflect.TypeFor[telephony.TrunkOptions]()
	for i := range options.NumField() {
		name, _, _ := strings.Cut(options.Field(i).Tag.Get("json"), ",")
		want := kept()
		reflect.ValueOf(&want.TrunkOptions).Elem().Field(i).SetZero()
		if name == "transport" { // without TLS no CA
			want.CA = ""
		}
		r := h.want(200, dialer.RoleAdmin, http.MethodPatch, path, map[bool]string{false: `{"` + name + `":null}`, true: `{"transport":null,"ca":null}`}[name == "transport"], "If-Match", tag)
		tag = r.Header.Get("ETag")
		if d := cmp.Diff(want, kept()); d != "" {
			t.Errorf("%s: - want, + kept\n%s", name, d)
		}
	}
	if d := cmp.Diff(telephony.TrunkOptions{}, kept().TrunkOptions); d != "" {
		t.Error(d)
	}
	h.want(200, dialer.RoleAdmin, http.MethodPatch, path, `{"headers":{"X-A":"1","X-B":"2"}}`, "If-Match", tag)
	r := h.want(200, dialer.RoleAdmin, http.MethodPatch, path, `{"headers":{"X-A":null}}`, "If-Match", h.want(200, dialer.RoleAdmin, http.MethodGet, path, nil).Header.Get("ETag"))
	if got := into[TrunkView](h, r).Headers; len(got) != 1 || got["X-B"] != "2" {
		t.Errorf("headers %v", got)
	}
}

func TestTrunkOptionMistakesHaveTheirPlaces(t *testing.T) {
	h := open(t)
	got := h.want(422, dialer.RoleAdmin, http.MethodPost, "/v1/trunks", `{"name":"c","address":"sip.example.net","channels":1,"cps":1,
		"transport":"sctp","backups":["a.example","::bad::"],"srtp":"maybe","identity":"x","headers":{"Via":"x","X-Fine":"y"},
		"destinations":["+44","0049"],"prefix":"abc","register":true,"options_seconds":-2}`)
	for _, place := range []string{"transport", "backups.1", "srtp", "identity", "headers.Via", "destinations.1", "prefix", "register", "options_seconds"} {
		if !strings.Contains(string(got.body), `"body.`+place+`"`) {
			t.Errorf("%s is not named in %s", place, got.body)
		}
	}
}

// TestTrunkOptionsAreTold: each has a word in the contract and in the manual.
func TestTrunkOptionsAreTold(t *testing.T) {
	manual, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	options := reflect.TypeFor[telephony.TrunkOptions]()
	for i := range options.NumField() {
		f := options.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Tag.Get("doc") == "" {
			t.Errorf("%s has no doc tag", f.Name)
		}
		if !strings.Contains(string(manual), "\n| `"+name+"` |") {
			t.Errorf("%s is not in docs/configuration.md", name)
		}
	}
}
