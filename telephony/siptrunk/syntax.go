package siptrunk

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// What the parser accepts and what SIP allows differ both ways. This file reads
// the head of a message by itself: it brings white space into the form that the
// parser understands, finds what RFC 3261 wants refused, and refuses also what
// the parser could not read, with the lines of the request as they came.

// A head is the start line and the header fields of a message, unfolded.
type head struct {
	start  string
	fields []field
	ended  bool // by an empty line
	body   []byte
}

// A field is one header line. Its name is in lower case and in its long form.
type field struct {
	name, value string
	raw         string // the name as it came
}

var longForm = map[string]string{
	"a": "accept-contact", "b": "referred-by", "c": "content-type", "e": "content-encoding", "f": "from",
	"i": "call-id", "k": "supported", "l": "content-length", "m": "contact", "o": "event", "r": "refer-to",
	"s": "subject", "t": "to", "u": "allow-events", "v": "via", "x": "session-expires", "y": "identity",
}

// readHead reads a datagram's head; what has no colon is left out.
func readHead(data []byte) head {
	data = bytes.TrimLeft(data, "\r\n")
	var h head
	text, body, ended := bytes.Cut(data, []byte("\r\n\r\n"))
	h.ended, h.body = ended, body
	start, rest, _ := strings.Cut(string(text), "\r\n")
	h.start = start
	for line := range strings.SplitSeq(rest, "\r\n") {
		if n := len(h.fields); n > 0 && (strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t")) {
			h.fields[n-1].value = strings.Trim(h.fields[n-1].value+" "+strings.Trim(line, " \t"), " \t")
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		name = strings.TrimRight(name, " \t")
		f := field{name: strings.ToLower(name), value: strings.Trim(value, " \t"), raw: name}
		if long := longForm[f.name]; long != "" {
			f.name = long
		}
		h.fields = append(h.fields, f)
	}
	return h
}

// all returns the values of a header.
func (h head) all(name string) []string {
	var values []string
	for _, f := range h.fields {
		if f.name == name {
			values = append(values, f.value)
		}
	}
	return values
}

// method is the request's, or "" of a response.
func (h head) method() string {
	m, _, _ := strings.Cut(h.start, " ")
	if strings.HasPrefix(m, "SIP/") {
		return ""
	}
	return m
}

// tidied are the headers whose white space the parser takes for a part of a
// name, a tag or a host.
var tidied = map[string]bool{
	"via": true, "from": true, "to": true, "contact": true, "route": true, "record-route": true, "cseq": true,
}

// tidy returns a message with the white space that RFC 3261 allows and hardly
// anybody sends taken out of the headers that matter. It never gets longer, and
// a message that has none is returned as it is.
func tidy(data []byte) []byte {
	end := bytes.Index(data, []byte("\r\n\r\n"))
	if end < 0 || !untidy(data[:end]) {
		return data
	}
	h := readHead(data)
	out := make([]byte, 0, len(data))
	out = append(out, h.start...)
	for _, f := range h.fields {
		out = append(out, "\r\n"+f.raw+":"...)
		if tidied[f.name] {
			out = append(out, squeeze(f.value, f.name == "via")...)
		} else {
			out = append(out, f.value...)
		}
	}
	out = append(out, "\r\n\r\n"...)
	return append(out, h.body...)
}

func untidy(head []byte) bool {
	for _, odd := range [...]string{"\r\n ", "\r\n\t", " :", "\t:", " ;", "; ", " =", "= ", "\t;", ";\t", "\t=", "=\t", " /", "/ "} {
		if bytes.Contains(head, []byte(odd)) {
			return true
		}
	}
	return false
}

// A nesting is where a reader of a header's value is: within quotes, within angle
// brackets, behind a backslash.
type nesting struct{ quoted, escaped, angle bool }

// bare takes the next byte and reports whether it stands outside of quotes and
// brackets; these themselves do not.
func (n *nesting) bare(c byte) bool {
	switch {
	case n.escaped:
		n.escaped = false
	case n.quoted:
		n.escaped, n.quoted = c == '\\', c != '"'
	case c == '"':
		n.quoted = true
	case c == '<':
		n.angle = true
	case c == '>':
		n.angle = false
	default:
		return !n.angle
	}
	return false
}

// squeeze drops the white space around separators outside quotes and angle
// brackets, and makes one space of any other run of it.
func squeeze(value string, slashes bool) string {
	var b strings.Builder
	var in nesting
	space := false
	for i := 0; i < len(value); i++ {
		c := value[i]
		switch {
		case !in.bare(c):
		case c == ' ' || c == '\t':
			space = true
			continue
		case c == ';' || c == '=' || c == ',' || c == '/' && slashes:
			b.WriteByte(c)
			for i+1 < len(value) && (value[i+1] == ' ' || value[i+1] == '\t') {
				i++
			}
			space = false
			continue
		}
		if space && b.Len() > 0 {
			b.WriteByte(' ')
		}
		space = false
		b.WriteByte(c)
	}
	return b.String()
}

// fault says what RFC 3261 wants a request refused for that the parser lets
// pass, or could not say: a status and why, or 0.
func (h head) fault() (status int, why string) {
	parts := strings.Split(h.start, " ")
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" {
		return 400, "has a start line that is not method, URI and version"
	}
	uri, version := parts[1], parts[2]
	if !strings.EqualFold(version, "SIP/2.0") {
		if name, _, ok := strings.Cut(version, "/"); ok && strings.EqualFold(name, "SIP") {
			return 505, "is not SIP/2.0"
		}
		return 400, "is not SIP/2.0"
	}
	scheme, _, ok := strings.Cut(uri, ":")
	switch {
	case !ok || strings.ContainsAny(uri, `<>" `):
		return 400, "has a malformed URI"
	case !sipScheme(scheme):
		return 416, "has a URI of another scheme"
	case strings.Contains(uri[strings.LastIndexByte(uri, '@')+1:], "?"):
		return 400, "has headers in its URI"
	}
	if why := h.lengthFault(); why != "" {
		return 400, why
	}
	addresses := slices.Concat(h.all("from"), h.all("to"))
	for _, value := range h.all("contact") {
		addresses = append(addresses, splitValues(value)...)
	}
	for _, value := range addresses {
		if why := addressFault(value); why != "" {
			return 400, why
		}
	}
	if h.method() == "REGISTER" {
		for _, to := range h.all("to") {
			if scheme, _, _ := strings.Cut(addressOf(to), ":"); !sipScheme(scheme) {
				return 400, "registers what is not a SIP address"
			}
		}
	}
	return 0, ""
}

func sipScheme(scheme string) bool {
	return strings.EqualFold(scheme, "sip") || strings.EqualFold(scheme, "sips")
}

// lengthFault says why the end of the message is not known.
func (h head) lengthFault() string {
	first := ""
	for _, text := range h.all("content-length") {
		n, err := strconv.ParseUint(text, 10, 32)
		switch {
		case err != nil:
			return "has a Content-Length that is no number"
		case first != "" && text != first:
			return "has two Content-Lengths"
		case n > uint64(len(h.body)):
			return "is shorter than its Content-Length"
		}
		first = text
	}
	if !h.ended {
		return "has no end of its headers"
	}
	return ""
}

// addressFault says what is wrong with a From, To or one value of a Contact
// (RFC 3261 25.1, name-addr and addr-spec).
func addressFault(value string) string {
	name, rest, bracket := cutOutside(value, '<')
	params := ""
	if bracket {
		uri, after, closed := strings.Cut(rest, ">")
		switch {
		case !closed || strings.ContainsAny(uri, " \t\"<"):
			return "has an address that is not closed or has a space or a quote in it"
		case !strings.HasPrefix(name, `"`) && strings.ContainsAny(name, ",;:@>"):
			return "has a name that wants quotes"
		}
		params = strings.TrimSpace(after)
	} else {
		uri, after, _ := strings.Cut(value, ";")
		if strings.ContainsAny(strings.TrimSpace(uri), "?\" \t,>") {
			return "has an address that wants brackets"
		}
		params = after
	}
	if strings.Contains(params, ";;") || strings.HasSuffix(params, ";") {
		return "has an empty parameter"
	}
	return ""
}

// cutOutside is strings.Cut outside of quoted strings; a quote that is not
// closed hides all that follows.
func cutOutside(s string, sep byte) (before, after string, found bool) {
	var in nesting
	for i := range len(s) {
		outside := !in.quoted
		in.bare(s[i])
		if outside && s[i] == sep {
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

// splitValues parts a header's values at the commas outside of quotes and
// brackets.
func splitValues(value string) (list []string) {
	var in nesting
	begin := 0
	for i := range len(value) {
		if c := value[i]; in.bare(c) && c == ',' {
			list = append(list, strings.TrimSpace(value[begin:i]))
			begin = i + 1
		}
	}
	return append(list, strings.TrimSpace(value[begin:]))
}

// addressOf is the URI of a From, To or Contact.
func addressOf(value string) string {
	if _, rest, ok := strings.Cut(value, "<"); ok {
		uri, _, _ := strings.Cut(rest, ">")
		return uri
	}
	uri, _, _ := strings.Cut(value, ";")
	return strings.TrimSpace(uri)
}

// refusal is the response to a request that need not parse: its Via, From, To,
// Call-ID and CSeq go back as they came (RFC 3261 8.2.6, 8.2.7). Without a Via
// there is none.
func (e *Endpoint) refusal(h head, from netip.AddrPort, status int) string {
	var b strings.Builder
	b.WriteString("SIP/2.0 " + strconv.Itoa(status) + " " + statusText(status) + "\r\n")
	vias := h.all("via")
	if len(vias) == 0 {
		return ""
	}
	for i, via := range vias {
		if i == 0 {
			via = received(via, from)
		}
		b.WriteString("Via: " + via + "\r\n")
	}
	for _, name := range [...]string{"From", "To", "Call-ID", "CSeq"} {
		for i, value := range h.all(strings.ToLower(name)) {
			if i > 0 {
				break
			}
			if name == "To" && !strings.Contains(value, "tag=") {
				value += ";tag=" + e.statelessTag(h)
			}
			b.WriteString(name + ": " + value + "\r\n")
		}
	}
	b.WriteString("Content-Length: 0\r\n\r\n")
	return b.String()
}

// statelessTag is the same for each repetition of a request (RFC 3261 8.2.7).
func (e *Endpoint) statelessTag(h head) string {
	mac := hmac.New(sha256.New, e.key)
	for _, name := range [...]string{"via", "from", "call-id", "cseq"} {
		mac.Write([]byte(strings.Join(h.all(name), ",")))
		mac.Write([]byte{0})
	}
	return lower32.EncodeToString(mac.Sum(nil))[:20]
}

// received fills in an empty rport of a Via (RFC 3581).
func received(via string, from netip.AddrPort) string {
	first, rest, more := strings.Cut(via, ",")
	for _, ask := range [...]string{";rport;", ";rport"} {
		if before, after, ok := strings.Cut(first, ask); ok && !strings.HasPrefix(after, "=") {
			first = before + ";rport=" + strconv.Itoa(int(from.Port())) + ";received=" + from.Addr().String() +
				strings.TrimPrefix(ask, ";rport") + after
			break
		}
	}
	if more {
		return first + "," + rest
	}
	return first
}

// sentBy is where a response over UDP goes: to the port of the Via, but to the
// address that the request came from (RFC 3261 18.2.2).
func (h head) sentBy(from netip.AddrPort) netip.AddrPort {
	vias := h.all("via")
	if len(vias) == 0 || strings.Contains(vias[0], ";rport") {
		return from
	}
	via, _, _ := strings.Cut(squeeze(vias[0], true), ",")
	_, host, _ := strings.Cut(via, " ")
	host, _, _ = strings.Cut(host, ";")
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		if port, err := strconv.ParseUint(host[i+1:], 10, 16); err == nil && port > 0 {
			return netip.AddrPortFrom(from.Addr(), uint16(port))
		}
	}
	return from
}

func statusText(status int) string {
	switch status {
	case 416:
		return "Unsupported URI Scheme"
	case 505:
		return "Version Not Supported"
	}
	return "Bad Request"
}

// legacy reports whether a request is of RFC 2543, whose transactions have no
// name of their own.
func legacy(req *sip.Request) bool {
	branch, _ := req.Via().Params.Get("branch")
	return !strings.HasPrefix(branch, sip.RFC3261BranchMagicCookie) || branch == sip.RFC3261BranchMagicCookie
}
