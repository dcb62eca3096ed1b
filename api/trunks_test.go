package api

import (
	"net/http"
	"strings"
	"testing"

	"dialer"
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
