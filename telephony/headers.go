package telephony

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// maxHeaders is how many headers of its own an INVITE may be given, maxHeader how
// long each may be in bytes: a signed Identity (RFC 8224) has about 1,000.
const (
	maxHeaders = 32
	maxHeader  = 4096
)

// ownHeaders are those that an INVITE may not be given: the dialer sets them.
var ownHeaders = []string{
	"via", "v", "from", "f", "to", "t", "call-id", "i", "cseq", "contact", "m", "route", "record-route",
	"max-forwards", "content-type", "c", "content-length", "l", "content-encoding", "e", "allow",
	"supported", "k", "require", "proxy-require", "authorization", "proxy-authorization", "user-agent",
	"session-expires", "x", "min-se",
}

// HeaderMistake says why a header may not be added to an INVITE: it would change
// the request's meaning, or carry a line break into it. It returns "" for one
// that may.
func HeaderMistake(name, value string) string {
	switch {
	case len(name) > 64 || !IsToken(name):
		return fmt.Sprintf("%q is not the name of a header", name)
	case slices.Contains(ownHeaders, strings.ToLower(name)):
		return fmt.Sprintf("header %s is set by the dialer and may not be given", name)
	case !HeaderSafe(value):
		return fmt.Sprintf("header %s has a control character or is longer than %d bytes", name, maxHeader)
	}
	return ""
}

// CheckHeaders refuses a set of headers with the first mistake in it.
func CheckHeaders(headers map[string]string) error {
	if len(headers) > maxHeaders {
		return fmt.Errorf("%d extra headers are too many: at most %d", len(headers), maxHeaders)
	}
	for name, value := range headers {
		if why := HeaderMistake(name, value); why != "" {
			return fmt.Errorf("%s", why)
		}
	}
	return nil
}

// HeaderSafe reports whether a value may stand in a header as it is.
func HeaderSafe(s string) bool {
	return len(s) <= maxHeader && !strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsControl(r) && r != '\t' || r == unicode.ReplacementChar
	})
}

// IsToken reports whether s is a token (RFC 3261 25.1).
func IsToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-.!%*_+`'~", r))
	})
}
