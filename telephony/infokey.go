package telephony

import (
	"strconv"
	"strings"
)

// ParseKey reads a key as bodies of SIP INFO name it: 0-9 * # A-D, or by its
// number in RFC 4733 from 10 on.
func ParseKey(text string) (key rune, ok bool) {
	text = strings.TrimSpace(text)
	if n, err := strconv.Atoi(text); err == nil && n >= 10 && n <= 15 {
		return rune("*#ABCD"[n-10]), true
	}
	text = strings.ToUpper(text)
	if len(text) != 1 || !strings.Contains("0123456789*#ABCD", text) {
		return 0, false
	}
	return rune(text[0]), true
}

// InfoField takes apart a line of a body of SIP INFO, "Signal=5" or "d: 5": the
// name in lower case, and where its value begins.
func InfoField(line string) (name string, value int, ok bool) {
	at := strings.IndexAny(line, "=:")
	if at < 0 {
		return "", 0, false
	}
	return strings.ToLower(strings.TrimSpace(line[:at])), at + 1, true
}

// KeyField reports whether the value of a field of INFO is a key: "Signal", or
// "d" in the words of Nortel.
func KeyField(name string) bool { return name == "signal" || name == "d" }
