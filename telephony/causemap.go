package telephony

import (
	"strconv"
	"strings"
)

// CauseOf maps what a SIP peer said, its final status and its Reason header
// (RFC 3326), to a Cause; q850 is the cause value named in the header, 0 when
// there is none. It is the only place where SIP becomes words.
//
// A Q.850 cause comes from the network that rang the phone and is the more
// exact of the two, so it wins when it is known and says something: 16 (normal
// clearing), 31 (normal, unspecified) and values outside the table leave the
// word to the status. A status of 0 is a call that ended by BYE.
func CauseOf(sipStatus int, reasonHeader string) (cause Cause, q850 int) {
	q850 = q850Of(reasonHeader)
	if cause, ok := q850Causes[q850]; ok && sipStatus != 487 {
		return cause, q850
	}
	if cause, ok := statusCauses[sipStatus]; ok {
		return cause, q850
	}
	if sipStatus < 300 {
		return CauseNormal, q850
	}
	return CauseFailed, q850
}

// statusCauses: RFC 3261 section 21, RFC 8197 (607), RFC 8688 (608). What RFC 8224
// adds says something of our trunk and nothing of the number called.
var statusCauses = map[int]Cause{
	403: CauseRejected,
	404: CauseInvalid,
	408: CauseNoAnswer,
	410: CauseInvalid,
	416: CauseInvalid,
	428: CauseFailed, // no Identity header
	436: CauseFailed, // its certificate cannot be fetched
	437: CauseFailed, // its certificate is not trusted
	438: CauseFailed, // its signature is wrong
	480: CauseNoAnswer,
	484: CauseInvalid,
	485: CauseInvalid,
	486: CauseBusy,
	487: CauseCancelled,
	503: CauseCongestion,
	600: CauseBusy,
	603: CauseRejected,
	604: CauseInvalid,
	607: CauseRejected,
	608: CauseRejected,
}

// q850Causes: ITU-T Q.850 table 1; the grouping follows RFC 3398 section 8.2.6.
var q850Causes = map[int]Cause{
	1:  CauseInvalid,     // unallocated number
	2:  CauseInvalid,     // no route to transit network
	3:  CauseInvalid,     // no route to destination
	17: CauseBusy,        // user busy
	18: CauseNoAnswer,    // no user responding
	19: CauseNoAnswer,    // no answer from the user
	20: CauseNoAnswer,    // subscriber absent
	21: CauseRejected,    // call rejected
	22: CauseInvalid,     // number changed
	26: CauseInvalid,     // non-selected user clearing
	27: CauseUnreachable, // destination out of order
	28: CauseInvalid,     // invalid number format
	34: CauseCongestion,  // no circuit available
	38: CauseCongestion,  // network out of order
	41: CauseCongestion,  // temporary failure
	42: CauseCongestion,  // switching equipment congestion
	44: CauseCongestion,  // requested circuit not available
	47: CauseCongestion,  // resource unavailable
	55: CauseRejected,    // incoming calls barred
	57: CauseRejected,    // bearer capability not authorised
	87: CauseRejected,    // user not member of closed user group
}

// q850Of finds "Q.850;cause=N" among the reasons of one or more headers.
func q850Of(header string) int {
	for reason := range strings.SplitSeq(header, ",") {
		protocol, params, _ := strings.Cut(reason, ";")
		if !strings.EqualFold(strings.TrimSpace(protocol), "Q.850") {
			continue
		}
		for param := range strings.SplitSeq(params, ";") {
			name, value, _ := strings.Cut(param, "=")
			if !strings.EqualFold(strings.TrimSpace(name), "cause") {
				continue
			}
			if n, err := strconv.Atoi(strings.TrimSpace(value)); err == nil && n > 0 && n <= 127 {
				return n
			}
		}
	}
	return 0
}
