package compliance

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// moments builds Times from milliseconds after the answer; -1 did not happen.
func moments(speech, greeting, agent, message, end int) Times {
	answer := time.Date(2026, 11, 23, 15, 0, 0, 0, time.UTC)
	ms := func(x int) time.Time {
		if x < 0 {
			return time.Time{}
		}
		return answer.Add(time.Duration(x) * time.Millisecond)
	}
	return Times{Answer: answer, SpeechStart: ms(speech), GreetingEnd: ms(greeting), Agent: ms(agent), MessageStart: ms(message), End: ms(end)}
}

func TestClassify(t *testing.T) {
	const deadline = 2 * time.Second
	for _, c := range []struct {
		name      string
		times     Times
		by, ended string
		clock     ClockStart
		want      Class
	}{
		{"TSR-4 late, though a sale", moments(300, 1400, 3800, -1, 183_800), "person", "caller", FromGreetingEnd, ClassLate},
		{"TSR-5 exactly in time", moments(300, 1400, 3400, -1, 60_000), "person", "caller", FromGreetingEnd, ClassConnected},
		{"C2 one millisecond late", moments(300, 1400, 3401, -1, 60_000), "person", "callee", FromGreetingEnd, ClassLate},
		{"C3 Canada counts from the answer", moments(300, 1400, 2300, -1, 60_000), "person", "callee", FromAnswer, ClassLate},
		{"the UK from the start of speech", moments(300, 1400, 2300, -1, 60_000), "person", "callee", FromSpeechStart, ClassConnected},
		{"C5 hung up before the deadline", moments(300, 1400, -1, -1, 2900), "person", "callee", FromGreetingEnd, ClassCalleeEarly},
		{"C6 hung up after it, no message", moments(300, 1400, -1, -1, 3600), "person", "callee", FromGreetingEnd, ClassAbandonedSilent},
		{"hung up at the deadline itself", moments(300, 1400, -1, -1, 3400), "person", "callee", FromGreetingEnd, ClassAbandonedSilent},
		{"we hung up early", moments(300, 1400, -1, -1, 2900), "person", "caller", FromGreetingEnd, ClassAbandonedSilent},
		{"the network did", moments(300, 1400, -1, -1, 2900), "person", "network", FromGreetingEnd, ClassAbandonedSilent},
		{"message in time", moments(300, 1400, -1, 3420, 9000), "person", "caller", FromGreetingEnd, ClassAbandonedMsg},
		{"message much too late", moments(300, 1400, -1, 8000, 9000), "person", "caller", FromGreetingEnd, ClassAbandonedSilent},
		{"REQ-C1 no speech: from the answer", moments(-1, -1, 2001, -1, 9000), "person", "caller", FromGreetingEnd, ClassLate},
		{"REQ-C2 unknown is a person", moments(-1, -1, -1, -1, 9000), "unknown", "caller", FromGreetingEnd, ClassAbandonedSilent},
		{"nothing said of who", moments(-1, -1, 500, -1, 9000), "", "caller", FromGreetingEnd, ClassConnected},
		{"a machine", moments(300, -1, -1, -1, 9000), "machine", "caller", FromGreetingEnd, ClassMachine},
		{"an agent found a machine", moments(300, 1400, 3800, -1, 9000), "machine", "caller", FromGreetingEnd, ClassMachine},
		{"a fax", moments(-1, -1, -1, -1, 9000), "fax", "caller", FromGreetingEnd, ClassMachine},
		{"not answered", Times{}, "person", "caller", FromGreetingEnd, ClassNoAnswer},
		{"no such clock counts from the answer", moments(300, 1400, 2300, -1, 60_000), "person", "caller", "", ClassLate},
	} {
		if got := Classify(c.times, c.by, c.ended, deadline, c.clock); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// TestClassifyFractions: less than a millisecond never decides.
func TestClassifyFractions(t *testing.T) {
	times := moments(300, 1400, 3400, -1, 9000)
	times.Agent = times.Agent.Add(999 * time.Microsecond)
	if got := Classify(times, "person", "caller", 2*time.Second, FromGreetingEnd); got != ClassConnected {
		t.Errorf("2000.999 ms is %s", got)
	}
}

func tally(answered, abandoned int) Tally {
	var t Tally
	t.AddN(ClassConnected, answered-abandoned)
	t.AddN(ClassAbandonedMsg, abandoned)
	return t
}

func TestCap(t *testing.T) {
	for _, c := range []struct {
		id                  string
		abandoned, answered int
		cap                 float64
		within              bool
	}{
		{"TSR-1", 300, 10_000, 0.03, true},
		{"TSR-2 prints as 3.0 %", 4, 133, 0.03, false},
		{"REQ-C4", 3, 100, 0.03, true},
		{"TSR-3 first period", 200, 10_000, 0.03, true},
		{"TSR-3 second period", 12, 300, 0.03, false},
		{"TSR-6", 5, 150, 0.03, false},
		{"R5", 1, 33, 0.03, false},
		{"R8", 120, 2000, 0.05, false},
		{"nobody", 0, 0, 0.03, true},
		{"fraction of a percent", 5, 1000, 0.005, true},
		{"and one more", 6, 1000, 0.005, false},
	} {
		tl := tally(c.answered, c.abandoned)
		if c.id == "R8" { // 120 of 2000 is 6 %
			tl = tally(2000, 120)
		}
		if got := tl.WithinCap(c.cap); got != c.within {
			t.Errorf("%s: %d of %d within %g: %v", c.id, c.abandoned, c.answered, c.cap, got)
		}
	}
}

// TestDenominator is vector TSR-6: machines and calls without an answer do not count.
func TestDenominator(t *testing.T) {
	var tl Tally
	tl.AddN(ClassNoAnswer, 600)
	tl.AddN(ClassMachine, 250)
	tl.AddN(ClassConnected, 140)
	tl.AddN(ClassCalleeEarly, 5)
	tl.AddN(ClassLate, 2)
	tl.AddN(ClassAbandonedMsg, 2)
	tl.AddN(ClassAbandonedSilent, 1)
	abandoned, answered, rate := tl.Rate()
	if abandoned != 5 || answered != 150 || rate == nil || fmt.Sprintf("%.4f", *rate) != "0.0333" || tl.Attempts() != 1000 {
		t.Errorf("%d of %d, %v", abandoned, answered, rate)
	}
	if _, _, rate := (Tally{}).Rate(); rate != nil {
		t.Errorf("nobody answered and the rate is %v, want none", *rate)
	}
}

func TestWarmUp(t *testing.T) {
	if !tally(32, 0).WarmUp(0.03) || tally(33, 0).WarmUp(0.03) {
		t.Error("with a cap of 3 % the first abandonment needs 33 other answers")
	}
	if !tally(1000, 0).WarmUp(0) {
		t.Error("a cap of 0 allows no abandonment")
	}
}

// TestAllowance: that many more may be abandoned, and not one more.
func TestAllowance(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		answered := rapid.IntRange(0, 100_000).Draw(t, "answered")
		abandoned := rapid.IntRange(0, answered/10).Draw(t, "abandoned")
		limit := float64(rapid.IntRange(0, 100).Draw(t, "cap in thousandths")) / 1000
		n := tally(answered, abandoned).Allowance(limit)
		if n >= 0 && !tally(answered+n, abandoned+n).WithinCap(limit) {
			t.Fatalf("%d of %d: %d more breach %g", abandoned, answered, n, limit)
		}
		if n < 0 && tally(answered, abandoned).WithinCap(limit) {
			t.Fatalf("%d of %d is within %g, the allowance is %d", abandoned, answered, limit, n)
		}
		if n+1 >= 0 && tally(answered+n+1, abandoned+n+1).WithinCap(limit) {
			t.Fatalf("%d of %d: even %d more keep %g", abandoned, answered, n+1, limit)
		}
	})
}

// TestPeriods is vector TSR-3: days 1-30 are one period, day 31 begins the next,
// by the calendar of the campaign's zone.
func TestPeriods(t *testing.T) {
	ny := zone(t, "America/New_York")
	start := time.Date(2026, 10, 1, 18, 30, 0, 0, ny)
	for s, want := range map[string]int{
		"2026-10-01 18:30": 0, "2026-10-30 23:59": 0, "2026-10-31 00:00": 1, "2026-11-29 23:59": 1, // DST ends 1 Nov
		"2026-11-30 00:00": 2, "2026-09-30 23:59": -1, "2027-10-01 00:00": 12,
	} {
		when, err := time.ParseInLocation("2006-01-02 15:04", s, ny)
		if err != nil {
			t.Fatal(err)
		}
		got := Period(start, when.UTC(), ny)
		if got != want {
			t.Errorf("%s is in period %d, want %d", s, got, want)
		}
		from, to := PeriodStart(start, got, ny), PeriodStart(start, got+1, ny)
		if when.Before(from) || !when.Before(to) {
			t.Errorf("%s is not in period %d from %v to %v", s, got, from, to)
		}
	}
}

// TestClone is vector TSR-8: periods are counted from the programme's start, so
// a campaign cloned on day 10 with that start is in the same period.
func TestClone(t *testing.T) {
	start := time.Date(2026, 10, 1, 9, 0, 0, 0, time.UTC)
	if a, b := Period(start, start.AddDate(0, 0, 9), time.UTC), Period(start, start, time.UTC); a != b {
		t.Errorf("day 10 is in period %d, day 1 in %d", a, b)
	}
}
