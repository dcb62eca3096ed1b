package telephony

import "testing"

func TestCauseOf(t *testing.T) {
	for _, tc := range []struct {
		status int
		reason string
		want   Cause
		q850   int
	}{
		{0, "", CauseNormal, 0},
		{0, `Q.850;cause=16;text="Normal call clearing"`, CauseNormal, 16},
		{200, "", CauseNormal, 0},
		{300, "", CauseFailed, 0},
		{302, "", CauseFailed, 0},
		{400, "", CauseFailed, 0},
		{401, "", CauseFailed, 0},
		{403, "", CauseRejected, 0},
		{404, "", CauseInvalid, 0},
		{407, "", CauseFailed, 0},
		{408, "", CauseNoAnswer, 0},
		{410, "", CauseInvalid, 0},
		{428, "", CauseFailed, 0},
		{436, "", CauseFailed, 0},
		{437, "", CauseFailed, 0},
		{438, "", CauseFailed, 0},
		{480, "", CauseNoAnswer, 0},
		{480, "Q.850;cause=31", CauseNoAnswer, 31},
		{480, "Q.850;cause=20", CauseNoAnswer, 20},
		{480, "Q.850;cause=17", CauseBusy, 17},
		{484, "", CauseInvalid, 0},
		{486, "", CauseBusy, 0},
		{486, "Q.850;cause=16", CauseBusy, 16},
		{487, "", CauseCancelled, 0},
		{487, "Q.850;cause=19", CauseCancelled, 19},
		{488, "", CauseFailed, 0},
		{500, "", CauseFailed, 0},
		{500, "Q.850;cause=1", CauseInvalid, 1},
		{502, "Q.850;cause=27", CauseUnreachable, 27},
		{503, "", CauseCongestion, 0},
		{503, "Q.850;cause=34", CauseCongestion, 34},
		{503, "q.850 ; cause = 42", CauseCongestion, 42},
		{503, `SIP;cause=580, Q.850;cause=22`, CauseInvalid, 22},
		{503, "Q.850;cause=999", CauseCongestion, 0},
		{503, "Q.850;cause=", CauseCongestion, 0},
		{503, "Q.850", CauseCongestion, 0},
		{503, "SIP;cause=17", CauseCongestion, 0},
		{600, "", CauseBusy, 0},
		{603, "", CauseRejected, 0},
		{603, "Q.850;cause=21", CauseRejected, 21},
		{604, "", CauseInvalid, 0},
		{607, "", CauseRejected, 0},
		{608, "", CauseRejected, 0},
		{699, "", CauseFailed, 0},
	} {
		if cause, q850 := CauseOf(tc.status, tc.reason); cause != tc.want || q850 != tc.q850 {
			t.Errorf("CauseOf(%d, %q) = %s, %d, want %s, %d", tc.status, tc.reason, cause, q850, tc.want, tc.q850)
		}
	}
}

func FuzzCauseOf(f *testing.F) {
	f.Add(486, "Q.850;cause=17;text=\"busy\"")
	f.Add(0, ",;=,Q.850;cause=-1")
	known := map[Cause]bool{
		CauseNormal: true, CauseBusy: true, CauseNoAnswer: true, CauseRejected: true, CauseInvalid: true,
		CauseCongestion: true, CauseUnreachable: true, CauseFailed: true, CauseCancelled: true,
	}
	f.Fuzz(func(t *testing.T, status int, reason string) {
		cause, q850 := CauseOf(status, reason)
		if !known[cause] || q850 < 0 || q850 > 127 {
			t.Errorf("CauseOf(%d, %q) = %q, %d", status, reason, cause, q850)
		}
	})
}
