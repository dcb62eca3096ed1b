package api

import (
	"net/http"
	"strconv"
	"strings"
)

// A version is shown as an ETag and must come back in If-Match with each
// change, so that of two managers the second sees what the first did.

func etag(version int) string { return `"` + strconv.Itoa(version) + `"` }

// IfMatch is the header of a change.
type IfMatch struct {
	IfMatch string `header:"If-Match" maxLength:"40" doc:"The ETag of what is changed"`
}

// version returns the version that the client has seen.
func (m IfMatch) version() (int, error) {
	if m.IfMatch == "" {
		return 0, refuse(http.StatusPreconditionRequired, "header.If-Match: is missing: send the ETag of the version that you change")
	}
	n, err := strconv.Atoi(strings.Trim(strings.TrimPrefix(m.IfMatch, "W/"), `"`))
	if err != nil {
		return 0, errVersion()
	}
	return n, nil
}

func errVersion() *Problem {
	return refuse(http.StatusPreconditionFailed, "header.If-Match: it was changed since: read it again, then change it")
}
