package siptrunk

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"dialer/telephony"
)

// odd is a request in which one thing is unusual: lines replace those of the
// same header, and "Name" alone drops it. Start is the whole first line.
func odd(start, body string, lines ...string) func(p *rawPeer, e *Endpoint, n int) string {
	return func(p *rawPeer, e *Endpoint, n int) string {
		method, _, _ := strings.Cut(strings.TrimSpace(start), " ")
		all := []string{
			fmt.Sprintf("Via: SIP/2.0/UDP %s;branch=z9hG4bKodd%d;rport", p.addr(), n),
			"Max-Forwards: 70", "From: <sip:caller@carrier.invalid>;tag=f", "To: <sip:dialer@here.invalid>",
			fmt.Sprintf("Call-ID: odd%d", n), "CSeq: 1 " + method, fmt.Sprintf("Contact: <sip:caller@%s>", p.addr()),
			fmt.Sprintf("Content-Length: %d", len(body)),
		}
		seen := map[string]bool{}
		for _, line := range lines {
			name, _, more := strings.Cut(line, ":")
			key := strings.ToLower(strings.TrimSpace(name))
			if long := longForm[key]; long != "" {
				key = long
			}
			if !seen[key] {
				for i := range all {
					if old, _, _ := strings.Cut(all[i], ":"); strings.EqualFold(old, key) {
						all = append(all[:i], all[i+1:]...)
						break
					}
				}
			}
			seen[key] = true
			if more {
				all = append(all, line)
			}
		}
		text := start + "\r\n" + strings.Join(all, "\r\n") + "\r\n\r\n" + body
		return strings.ReplaceAll(text, "BRANCH", fmt.Sprintf("z9hG4bKodd%d", n))
	}
}

const options = "OPTIONS sip:dialer@here.invalid SIP/2.0"
const invitation = "INVITE sip:dialer@here.invalid SIP/2.0"
const register = "REGISTER sip:here.invalid SIP/2.0"

// TestOddRequests are the tricks that SIP allows, and those that it does not:
// what is valid gets what its plain form would get, what is not is refused with
// the status of RFC 3261.
func TestOddRequests(t *testing.T) {
	long := strings.Repeat("x", 3000)
	for _, tc := range []struct {
		what, want string
		text       func(*rawPeer, *Endpoint, int) string
	}{
		// Unusual, and right.
		{"folded lines", "200", odd(options, "", "From:\r\n <sip:caller@carrier.invalid>\r\n\t;tag=f", "Subject: a\r\n b\r\n\tc")},
		{"spaces around separators", "200", odd(options, "", "From : \"C\"  <sip:c@carrier.invalid>  ;  tag  =  f", "CSeq:   1   OPTIONS")},
		{"a Via in pieces", "200", odd(options, "", "Via: SIP / 2.0 / UDP   127.0.0.1 ; branch = BRANCH ;rport")},
		{"short names", "200", odd(options, "", "f: <sip:c@carrier.invalid>;tag=f", "t: <sip:d@here.invalid>", "i: short", "m: <sip:c@127.0.0.1>", "l: 0")},
		{"names in any case", "200", odd(options, "", "FROM: <sip:c@carrier.invalid>;tag=f", "cSEQ: 1 OPTIONS")},
		{"many values in one line", "200", odd(options, "", "Via: SIP/2.0/UDP 127.0.0.1;branch=BRANCH;rport, SIP/2.0/TCP proxy.invalid;branch=z9hG4bKp")},
		{"an escaped quote in a name", "200", odd(options, "", `From: "a \"b\" \\" <sip:c@carrier.invalid>;tag=f`)},
		{"a comma in a quoted name", "200", odd(options, "", `From: "Doe, Jane" <sip:c@carrier.invalid>;tag=f`, `Contact: "a, b" <sip:x@127.0.0.1>, <sip:y@127.0.0.1>`)},
		{"an escaped NUL", "401", odd(register, "", "To: <sip:a%00b@here.invalid>", "Contact: <sip:%00@127.0.0.1>")},
		{"semicolons and escapes in the user part", "200", odd("OPTIONS sip:a;b=c%40d?e,f@here.invalid SIP/2.0", "")},
		{"an IPv6 address", "200", odd("OPTIONS sip:d@[2001:db8::1]:5080;lr SIP/2.0", "")},
		{"a name next to its bracket", "200", odd(options, "", "From: caller<sip:c@carrier.invalid>;tag=f")},
		{"text of other scripts", "200", odd(options, "", `From: "Ünïcödé Имя" <sip:c@carrier.invalid>;tag=f`, "Subject: 電話")},
		{"long values", "200", odd(options, "", "Subject: "+long, "X-"+long+": y", "From: \""+long+"\" <sip:c@carrier.invalid>;tag="+long[:200])},
		{"seventy proxies", "200", odd(options, "", "Via: SIP/2.0/UDP 127.0.0.1;branch=BRANCH;rport"+strings.Repeat(",SIP/2.0/UDP p.invalid;branch=z9hG4bKp", 69))},
		{"Max-Forwards 0", "200", odd(options, "", "Max-Forwards: 0")},
		{"Max-Forwards with zeros", "200", odd(options, "", "Max-Forwards: 0068")},
		{"no Content-Length over UDP", "200", odd(options, "", "Content-Length")},
		{"octets after the body", "403", odd(invitation, "v=0\r\njunk", "Content-Type: application/sdp", "Content-Length: 3")},
		{"headers that nobody knows", "200", odd(options, "", "X-Odd: ;;,,;;", "!#$%&'*+.^`|~-_9: y", "P-Empty:")},
		{"a date of no zone", "200", odd(options, "", "Date: Fri, 01 Jan 2010 16:00:00 EST")},
		{"an expiry beyond counting", "401", odd(register, "", "Expires: "+strings.Repeat("9", 100))},
		{"RFC 2543: no branch, no tag", "403", odd(invitation, "", "Via: SIP/2.0/UDP 127.0.0.1;rport", "From: <sip:c@carrier.invalid>", "Max-Forwards")},
		{"a branch of nothing but the cookie", "200", odd(options, "", "Via: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK;rport")},
		{"an unknown method", "501", odd("b%4FGUS!* sip:dialer@here.invalid SIP/2.0", "")},
		{"a method we do not serve", "405", odd("MESSAGE sip:dialer@here.invalid SIP/2.0", "hi", "Content-Type: text/plain")},
		{"a challenge of an unknown kind", "401", odd(register, "", "Authorization: Voodoo pins=7")},

		// Wrong.
		{"brackets around the URI", "400", odd("OPTIONS <sip:d@here.invalid> SIP/2.0", "")},
		{"a space in the URI", "400", odd("OPTIONS sip:d@here.invalid; lr SIP/2.0", "")},
		{"two spaces in the start line", "400", odd("OPTIONS  sip:d@here.invalid SIP/2.0", "")},
		{"a space after the version", "400", odd(options+" ", "")},
		{"no version", "400", odd("OPTIONS sip:d@here.invalid", "")},
		{"another version", "505", odd("OPTIONS sip:d@here.invalid SIP/3.0", "")},
		{"another protocol", "400", odd("OPTIONS sip:d@here.invalid HTTP/1.1", "")},
		{"an unknown scheme", "416", odd("OPTIONS gopher:d SIP/2.0", "")},
		{"a telephone number for a URI", "416", odd("OPTIONS tel:+4930123 SIP/2.0", "")},
		{"no scheme", "400", odd("OPTIONS here SIP/2.0", "")},
		{"no host", "400", odd("OPTIONS sip: SIP/2.0", "")},
		{"headers in the URI", "400", odd("OPTIONS sip:d@here.invalid?Route=%3Csip:x%3E SIP/2.0", "")},
		{"a negative length", "400", odd(options, "", "Content-Length: -1")},
		{"a length of letters", "400", odd(options, "", "Content-Length: many")},
		{"a length beyond the datagram", "400", odd(options, "abc", "Content-Length: 4")},
		{"a length beyond 64 bits", "400", odd(options, "", "Content-Length: 99999999999999999999999")},
		{"two lengths", "400", odd(options, "abc", "Content-Length: 3", "Content-Length: 2")},
		{"a CSeq beyond its range", "400", odd(options, "", "CSeq: 4294967296 OPTIONS")},
		{"a CSeq of another method", "400", odd(options, "", "CSeq: 1 INVITE")},
		{"a CSeq of one word", "400", odd(options, "", "CSeq: 1")},
		{"no From", "400", odd(options, "", "From")},
		{"no To", "400", odd(options, "", "To")},
		{"no Call-ID", "400", odd(options, "", "Call-ID")},
		{"no CSeq", "400", odd(options, "", "CSeq")},
		{"two From", "400", odd(options, "", "From: <sip:a@b.invalid>;tag=1", "f: <sip:c@d.invalid>;tag=2")},
		{"two Call-ID", "400", odd(options, "", "Call-ID: a", "i: b")},
		{"two CSeq", "400", odd(options, "", "CSeq: 1 OPTIONS", "CSeq: 2 OPTIONS")},
		{"a quote that is not closed", "400", odd(options, "", `To: "Dialer <sip:d@here.invalid>`)},
		{"a bracket that is not closed", "400", odd(options, "", "To: <sip:d@here.invalid")},
		{"spaces in the brackets", "400", odd(options, "", "To: < sip:d@here.invalid >")},
		{"a comma in a plain name", "400", odd(options, "", "From: Doe, Jane <sip:c@carrier.invalid>;tag=f")},
		{"separators too many", "400", odd(options, "", "Contact: <sip:c@127.0.0.1>;;;")},
		{"a Via of nothing but separators", "400", odd(options, "", "Via: SIP/2.0/UDP 127.0.0.1;;,;,;rport")},
		{"a line that is no header", "400", odd(options, "", "gibberish:x\r\nmore gibberish")},
		{"a Contact with headers and no brackets", "400", odd(register, "", "Contact: sip:c@127.0.0.1?Route=x")},
		{"to register what is not SIP", "400", odd(register, "", "To: <mailto:d@here.invalid>")},
		{"an extension that nobody knows", "420", odd(options, "", "Require: telepathy, timer")},
		{"a body of an unknown type", "415", odd(invitation, "<x/>", "Content-Type: application/mystery")},
		{"an answer in an unknown type", "406", odd(invitation, "", "Accept: text/runes")},
	} {
		t.Run(tc.what, func(t *testing.T) {
			p := newRawPeer(t)
			e := startEndpoint(t, withPhones, testTrunk(p))
			text := tc.text(p, e, 1)
			p.send(e.Addr(), text)
			select {
			case m := <-p.in:
				if m.status() != tc.want {
					t.Fatalf("got %s, want %s, to\n%s", m.start, tc.want, text)
				}
				if tag := m.get("To"); !strings.Contains(tag, "tag=") && strings.Contains(text, "\r\nTo:") {
					t.Errorf("the answer has no tag: To: %s", tag)
				}
			case <-time.After(patience):
				t.Fatalf("no answer to\n%s", text)
			}
			if strings.HasPrefix(text, "INVITE ") || tc.want == "401" {
				return
			}
			// Sent once more, it gets the same answer.
			p.send(e.Addr(), text)
			p.expect(tc.want)
		})
	}
}

// A live call is not lost over what would be refused elsewhere.
func TestOddRequestInACall(t *testing.T) {
	c := up(t, nil)
	c.p.request("OPTIONS", c.invite, "a1", 1, "", "Contact: <sip:callee@"+c.p.addr().String()+">;;", "Content-Length: 0")
	c.p.expect("200")
	c.p.request("BYE", c.invite, "a1", 2, "", "X: y\r\n  folded")
	awaitDone(t, c.leg)
	if info := c.leg.Info(); info.EndedBy != telephony.Callee {
		t.Errorf("ended by %s: %s", info.EndedBy, info.Reason)
	}
}

// What follows is sent to the Via's port but never to its host: that would make
// us send to anybody.
func TestRefusalsGoBack(t *testing.T) {
	from := netip.MustParseAddrPort("192.0.2.7:4711")
	for via, want := range map[string]string{
		"SIP/2.0/UDP 198.51.100.9:5070;branch=z9hG4bK1":       "192.0.2.7:5070",
		"SIP/2.0/UDP 198.51.100.9;branch=z9hG4bK1":            "192.0.2.7:4711",
		"SIP/2.0/UDP 198.51.100.9:5070;rport;branch=z9hG4bK1": "192.0.2.7:4711",
		"SIP/2.0/UDP [2001:db8::1];branch=z9hG4bK1":           "192.0.2.7:4711",
		"SIP/2.0/UDP [2001:db8::1]:5071 ;branch=z9hG4bK1":     "192.0.2.7:5071",
		"SIP/2.0/UDP h:99999;branch=z9hG4bK1":                 "192.0.2.7:4711",
		"SIP / 2.0 / UDP h : 5072 ;x, SIP/2.0/UDP other:1":    "192.0.2.7:4711",
		"": "192.0.2.7:4711",
	} {
		h := readHead([]byte("OPTIONS sip:x SIP/2.0\r\nVia: " + via + "\r\n\r\n"))
		if got := h.sentBy(from).String(); got != want {
			t.Errorf("a refusal to Via %q goes to %s, want %s", via, got, want)
		}
	}
	if got := received("SIP/2.0/UDP h;rport;branch=z9hG4bK1,SIP/2.0/UDP i;rport", from); got !=
		"SIP/2.0/UDP h;rport=4711;received=192.0.2.7;branch=z9hG4bK1,SIP/2.0/UDP i;rport" {
		t.Errorf("Via became %q", got)
	}
}

func FuzzTidy(f *testing.F) {
	f.Add([]byte("OPTIONS sip:x SIP/2.0\r\nVia: SIP / 2.0 / UDP h ; branch = z9hG4bK1\r\nFrom : \"a\\\" ; b\" < sip:a@b > ; tag = 1\r\n\r\nbody ; = "))
	f.Add([]byte("SIP/2.0 200 OK\r\n folded\r\nTo:\r\n\r\n"))
	f.Add([]byte("\r\n\r\nX :\r\n\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		out := tidy(data)
		if len(out) > len(data) {
			t.Fatalf("grew from %d to %d bytes", len(data), len(out))
		}
		again := tidy(out)
		if string(again) != string(out) && untidy(out) {
			h, g := readHead(out), readHead(again)
			for i := range g.fields {
				if i < len(h.fields) && h.fields[i].value != g.fields[i].value {
					t.Fatalf("not the same when tidied again:\n%q\n%q", out, again)
				}
			}
		}
		h := readHead(out)
		h.fault()
		h.sentBy(netip.MustParseAddrPort("192.0.2.1:1"))
	})
}
