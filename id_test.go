package dialer

import (
	"strings"
	"testing"
	"time"
)

func TestCallIDTime(t *testing.T) {
	before := time.Now().Truncate(time.Millisecond)
	id := NewCallID()
	after := time.Now()
	made, ok := id.Time()
	if !ok || made.Before(before) || made.After(after) {
		t.Errorf("%s was made at %v, %v: want between %v and %v", id, made, ok, before, after)
	}
	// The example of RFC 9562, appendix A.6: 2022-02-22 14:22:22 -05:00.
	made, ok = CallID("cal_01fwhe4ydgfk1shh6w1g60eecf").Time()
	if want := time.Date(2022, 2, 22, 19, 22, 22, 0, time.UTC); !ok || !made.Equal(want) {
		t.Errorf("made at %v, %v, want %v", made, ok, want)
	}
	for _, not := range []string{"", "cal_", string(NewLeadID()), string(id)[:29], string(id) + "0",
		strings.Repeat("cal_", 8), "cal_8" + strings.Repeat("z", 25), "cal_" + strings.Repeat("u", 26), strings.ToUpper(string(id))} {
		if made, ok := CallID(not).Time(); ok {
			t.Errorf("%q is no id of a call, and was made at %v", not, made)
		}
	}
}
