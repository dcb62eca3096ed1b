package siptrunk

// tortureCase is one message of RFC 4475: what the RFC says of it, in short, and
// the answers that are right. "-" is silence.
type tortureCase struct {
	file, section, says string
	right               []string
}

// rfc4475 are the 49 messages. We take no calls, so 403 is what a good INVITE
// gets, 405 a good MESSAGE, 481 a good request of a dialog that is not ours, and
// 401 a good REGISTER without credentials.
var rfc4475 = []tortureCase{
	{"wsinv", "3.1.1.1", "valid: folded lines, spaces around every separator, short names", []string{"481"}},
	{"intmeth", "3.1.1.2", "valid: every character that a method, a URI and a tag may have", []string{"405", "501"}},
	{"esc01", "3.1.1.3", "valid: escapes in the URI are not decoded", []string{"403"}},
	{"escnull", "3.1.1.4", "valid: an escaped NUL", []string{"401"}},
	{"esc02", "3.1.1.5", "valid: a % in a method is no escape, so this is not REGISTER", []string{"405", "501"}},
	{"lwsdisp", "3.1.1.6", "valid: no space between name and bracket", []string{"200"}},
	{"longreq", "3.1.1.7", "valid: very long values", []string{"403"}},
	{"dblreq", "3.1.1.8", "valid: what follows in the datagram is ignored", []string{"401"}},
	{"semiuri", "3.1.1.9", "valid: a semicolon in the user part", []string{"200"}},
	{"transports", "3.1.1.10", "valid: any transport in a Via", []string{"200"}},
	{"mpart01", "3.1.1.11", "valid: a binary body of several parts", []string{"405"}},
	{"unreason", "3.1.1.12", "valid response: any text as the reason; to no request of ours, so discard", []string{"-"}},
	{"noreason", "3.1.1.13", "valid response: no reason; to no request of ours, so discard", []string{"-"}},
	{"badinv01", "3.1.2.1", "refuse with 400: separators too many", []string{"400"}},
	{"clerr", "3.1.2.2", "refuse with 400: Content-Length beyond the datagram", []string{"400"}},
	{"ncl", "3.1.2.3", "refuse with 400: a negative Content-Length", []string{"400"}},
	{"scalar02", "3.1.2.4", "refuse with 400: a CSeq beyond its range", []string{"400"}},
	{"scalarlg", "3.1.2.5", "response with numbers beyond their range: discard", []string{"-"}},
	{"quotbal", "3.1.2.6", "refuse with 400: a quote that is not closed", []string{"400"}},
	{"ltgtruri", "3.1.2.7", "refuse with 400, or ignore: brackets around the Request-URI", []string{"400", "403"}},
	{"lwsruri", "3.1.2.8", "refuse with 400, or ignore: a space in the Request-URI", []string{"400", "403"}},
	{"lwsstart", "3.1.2.9", "refuse with 400, or ignore: two spaces in the start line", []string{"400", "403"}},
	{"trws", "3.1.2.10", "refuse with 400, or ignore: spaces at the end of the start line", []string{"400", "200"}},
	{"escruri", "3.1.2.11", "refuse with 400, or ignore: headers in the Request-URI", []string{"400", "403"}},
	{"baddate", "3.1.2.12", "refuse with 400, or ignore: a Date that is not GMT", []string{"400", "403"}},
	{"regbadct", "3.1.2.13", "refuse with 400: a Contact with headers and no brackets", []string{"400"}},
	{"badaspec", "3.1.2.14", "refuse with 400, or ignore: spaces within the brackets", []string{"400", "200"}},
	{"baddn", "3.1.2.15", "refuse with 400, or ignore: a name that wants quotes", []string{"400", "200"}},
	{"badvers", "3.1.2.16", "refuse with 505: another version", []string{"505"}},
	{"mismatch01", "3.1.2.17", "refuse with 400: the CSeq has another method", []string{"400"}},
	{"mismatch02", "3.1.2.18", "refuse with 400 or 501: unknown method, and another one in the CSeq", []string{"400", "501"}},
	{"bigcode", "3.1.2.19", "response with a status beyond its range: discard", []string{"-"}},
	{"badbranch", "3.2.1", "refuse with 400, or take it for RFC 2543: a branch of nothing but the cookie", []string{"400", "200"}},
	{"insuf", "3.3.1", "refuse with 400: no From, To and Call-ID", []string{"400"}},
	{"unkscm", "3.3.2", "refuse with 416: a URI of an unknown scheme", []string{"416"}},
	{"novelsc", "3.3.3", "refuse with 416: a URI of a known scheme that is not SIP", []string{"416"}},
	{"unksm2", "3.3.4", "refuse with 400: a registrar wants a SIP address in To", []string{"400"}},
	{"bext01", "3.3.5", "refuse with 420 and Unsupported: extensions that nobody knows", []string{"420"}},
	{"invut", "3.3.6", "refuse with 415 and Accept: a body of an unknown type", []string{"415"}},
	{"regaut01", "3.3.7", "challenge with 401: an unknown scheme of credentials is none", []string{"401"}},
	{"multi01", "3.3.8", "refuse with 400: several of headers that may be there once", []string{"400"}},
	{"mcl01", "3.3.9", "refuse with 400: two different Content-Lengths", []string{"400"}},
	{"bcast", "3.3.10", "response with the Via of another below ours: discard", []string{"-"}},
	{"zeromf", "3.3.11", "who is asked answers, for nothing is forwarded: Max-Forwards 0", []string{"200"}},
	{"cparam01", "3.3.12", "valid: an unknown parameter of a Contact without brackets", []string{"401"}},
	{"cparam02", "3.3.13", "valid: an unknown parameter of the URI in a Contact", []string{"401"}},
	{"regescrt", "3.3.14", "valid: a Contact with headers, in brackets", []string{"401"}},
	{"sdp01", "3.3.15", "refuse with 406: an answer is wanted in a type that nobody knows", []string{"406"}},
	{"inv2543", "3.4.1", "valid: an INVITE of RFC 2543, with no branch and no tag", []string{"403"}},
}
