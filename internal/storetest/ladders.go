package storetest

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"dialer"
	"dialer/telephony"
)

// part is a part of a ladder that begins at a time.
func part(call dialer.CallID, station string, at time.Time) telephony.Ladder {
	message := func(ms int, sent bool, text string) telephony.SIPMessage {
		return telephony.SIPMessage{
			At: at.Add(time.Duration(ms) * time.Millisecond), Sent: sent, Transport: telephony.TLS, Data: []byte(text),
			Local: netip.MustParseAddrPort("192.0.2.1:5061"), Remote: netip.MustParseAddrPort("[2001:db8::1]:5061"),
		}
	}
	return telephony.Ladder{
		Call: call, Station: station, LeftOut: 7, Head: 1,
		Messages: []telephony.SIPMessage{message(0, true, "INVITE sip:x SIP/2.0\r\nTo: \"Zoë\" <sip:x>\r\n\r\n"), message(20, false, "SIP/2.0 200 OK\r\n\r\n")},
	}
}

// ladders: parts come back as they were, once, in order, by call and by phone,
// until they are too old.
func ladders(t *testing.T, f *fixture) {
	same := func(what string, got []telephony.Ladder, err error, want ...telephony.Ladder) {
		t.Helper()
		if d := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); d != "" || err != nil {
			t.Errorf("%s: %v; - want, + got\n%s", what, err, d)
		}
	}
	first, late := part("cal_1", "", now), part("cal_1", "", now.Add(time.Minute))
	rings := []telephony.Ladder{
		part("cal_2", "anna", now.Add(2*time.Minute)), part("cal_3", "anna", now.Add(3*time.Minute)), part("cal_4", "bert", now.Add(4*time.Minute)),
		part("cal_5", "anna", now.Add(5*time.Minute)),
	}
	end := part("cal_3", "", now.Add(6*time.Minute)) // of a long leg
	for range 2 {                                    // a repetition changes nothing
		if err := f.SaveLadders(f.ctx, append([]telephony.Ladder{late, first, end}, rings...)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := f.Ladders(f.ctx, "cal_1")
	same("the parts of a call", got, err, first, late)
	got, err = f.Ladders(f.ctx, "cal_none")
	same("no call", got, err)
	got, err = f.StationLadders(f.ctx, "anna", 2)
	same("the last two of a phone", got, err, rings[1], rings[3], end)
	got, err = f.StationLadders(f.ctx, "nobody", 2)
	same("a phone that was not called", got, err)
	if err := f.PruneLadders(f.ctx, now.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	got, err = f.Ladders(f.ctx, "cal_1")
	same("after the older part was forgotten", got, err, late)
}
