package telephony

import (
	"bytes"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// mask stands where a secret stood.
const mask = "***"

var (
	digestProof = regexp.MustCompile(`(?i)\b(response|rspauth|cnonce)(\s*=\s*)("[^"]*"?|[^,\s]*)`)
	inlineKey   = regexp.MustCompile(`(?i)(inline:)[^|;\s]*`)
	uriPassword = regexp.MustCompile(`(?i)(sips?:[^:@\s;<>"]+):[^@\s<>"]*@`)
)

// MaskSIP returns a SIP message without what must not be shown or stored: the
// proofs of digest credentials, other credentials as a whole, SRTP keys (RFC
// 4568), passwords in URIs, and the keys that people press. It takes anything, also
// what is cut off or no SIP at all.
func MaskSIP(data []byte) []byte {
	out := make([]byte, 0, len(data))
	name, body, keys := "", false, false
	for first := true; len(data) > 0; first = false {
		end := bytes.IndexByte(data, '\n') + 1
		if end == 0 {
			end = len(data)
		}
		line := data[:end]
		data = data[end:]
		text := bytes.TrimRight(line, "\r\n")
		ending := line[len(text):]
		switch {
		case body:
			text = maskBody(text, keys)
		case len(text) == 0:
			body = true
		case first:
			keys = bytes.HasPrefix(text, []byte("INFO "))
			text = uriPassword.ReplaceAll(text, []byte("$1:"+mask+"@"))
		case text[0] == ' ' || text[0] == '\t': // the header before goes on
			text = maskValue(name, text, true)
		default:
			n := bytes.IndexByte(text, ':')
			if n < 0 {
				break
			}
			name = strings.ToLower(string(bytes.TrimRight(text[:n], " \t")))
			switch value := strings.ToLower(string(text[n+1:])); name {
			case "content-type", "c":
				keys = keys || strings.Contains(value, "dtmf") || strings.Contains(value, "nortelnetworks.digits")
			case "cseq":
				keys = keys || strings.HasSuffix(strings.TrimSpace(value), "info")
			}
			text = append(bytes.Clone(text[:n+1]), maskValue(name, text[n+1:], false)...)
		}
		out = append(append(out, text...), ending...)
	}
	return out
}

// maskValue masks the value of a header, or a further line of it.
func maskValue(name string, value []byte, further bool) []byte {
	switch {
	case name == "www-authenticate" || name == "proxy-authenticate" || name == "identity":
		return value // a challenge and a signature are for everybody
	case name == "authorization" || name == "proxy-authorization":
		scheme := bytes.Fields(value)
		if further || len(scheme) > 0 && strings.EqualFold(string(scheme[0]), "digest") {
			return digestProof.ReplaceAll(value, []byte(`${1}${2}"`+mask+`"`))
		}
		if len(scheme) == 0 {
			return value
		}
		return []byte(" " + string(scheme[0]) + " " + mask)
	case name == "authentication-info" || name == "proxy-authentication-info":
		return digestProof.ReplaceAll(value, []byte(`${1}${2}"`+mask+`"`))
	case secretName(name):
		return []byte(" " + mask)
	}
	return uriPassword.ReplaceAll(value, []byte("$1:"+mask+"@"))
}

// secretName reports whether a header of a carrier's own holds a credential.
func secretName(name string) bool {
	for _, word := range []string{"token", "secret", "password", "passwd", "credential", "apikey", "api-key", "auth-key", "-auth"} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}

// maskBody masks a line of a body; keys tells that it may be one of key presses.
func maskBody(line []byte, keys bool) []byte {
	name, value, field := InfoField(string(line))
	switch {
	case bytes.HasPrefix(line, []byte("k=")):
		return []byte("k=" + mask)
	case len(line) > 9 && strings.EqualFold(string(line[:9]), "a=crypto:"):
		return inlineKey.ReplaceAll(line, []byte("${1}"+mask))
	case field && KeyField(name) && (keys || name == "signal"):
		return append(line[:value:value], mask...)
	case keys && len(bytes.TrimSpace(line)) == 1:
		return []byte(mask) // application/dtmf is nothing but the key
	case keys:
		if _, ok := ParseKey(string(line)); ok {
			return []byte(mask)
		}
	}
	return line
}

// shownText makes a message fit to be shown: valid UTF-8, lines that end with \n,
// and no character that a terminal would obey.
func shownText(data []byte) string {
	var b strings.Builder
	b.Grow(len(data))
	for len(data) > 0 {
		r, n := utf8.DecodeRune(data)
		switch {
		case r == '\r' && len(data) > 1 && data[1] == '\n':
		case r == '\n' || r == '\t':
			b.WriteRune(r)
		case r == utf8.RuneError || unicode.IsControl(r) || unicode.Is(unicode.Cf, r):
			b.WriteRune(utf8.RuneError)
		default:
			b.WriteRune(r)
		}
		data = data[n:]
	}
	return b.String()
}
