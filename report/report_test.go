package report

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"dialer"
	"dialer/compliance"
)

var update = flag.Bool("update", false, "write the golden files anew")

var noon = time.Date(2026, 10, 1, 16, 0, 0, 0, time.UTC)

// call builds the facts of a call from milliseconds after its placing; -1 did
// not happen.
func call(n int, at time.Time, class compliance.Class, ring, answer, greeting, agent, message, end int) CallFacts {
	ms := func(x int) time.Time {
		if x < 0 {
			return time.Time{}
		}
		return at.Add(time.Duration(x) * time.Millisecond)
	}
	c := CallFacts{
		Call: dialer.CallID(fmt.Sprintf("cal_%03d", n)), To: dialer.Number(fmt.Sprintf("+1212555%04d", n)),
		PlacedAt: at, RingingAt: ms(ring), EndedBy: "caller", Class: class,
		Times: compliance.Times{Answer: ms(answer), GreetingEnd: ms(greeting), Agent: ms(agent), MessageStart: ms(message), End: ms(end)},
	}
	if agent >= 0 {
		c.Agent, c.AnsweredBy = "agt_1", "person"
	}
	if message >= 0 {
		c.MessageAsset, c.MessageSHA = "abandon-en.wav", "ab12"
	}
	return c
}

func sample() []CallFacts {
	day31 := noon.AddDate(0, 0, 30)
	return []CallFacts{
		call(1, noon, compliance.ClassConnected, 500, 9_000, 10_400, 10_700, -1, 70_000),
		call(2, noon.Add(time.Minute), compliance.ClassConnected, 500, 7_000, 8_400, 10_400, -1, 90_000), // exactly in time
		call(3, noon.Add(2*time.Minute), compliance.ClassLate, 500, 7_000, 8_400, 10_800, -1, 180_000),
		call(4, noon.Add(3*time.Minute), compliance.ClassAbandonedMsg, 500, 21_000, 22_000, -1, 24_010, 31_000),
		call(5, noon.Add(4*time.Minute), compliance.ClassAbandonedSilent, 500, 12_000, 13_000, -1, -1, 16_000),
		call(6, noon.Add(5*time.Minute), compliance.ClassAbandonedSilent, 500, 12_000, 13_000, -1, 19_000, 26_000),
		call(7, noon.Add(6*time.Minute), compliance.ClassCalleeEarly, 500, 12_000, -1, -1, -1, 12_900),
		call(8, noon.Add(7*time.Minute), compliance.ClassNoAnswer, 500, -1, -1, -1, -1, 25_500),
		call(9, noon.Add(8*time.Minute), compliance.ClassNoAnswer, 500, -1, -1, -1, -1, 14_700), // 14.2 s: vector TSR-7
		call(10, noon.Add(9*time.Minute), compliance.ClassMachine, 500, 6_000, -1, -1, -1, 9_000),
		call(11, noon.Add(10*time.Minute), compliance.ClassBusy, -1, -1, -1, -1, -1, 1_200),
		call(12, day31, compliance.ClassConnected, 500, 6_000, 7_000, 6_500, -1, 60_000), // before the greeting ended
		call(13, day31, "", 500, -1, -1, -1, -1, -1),                                     // still ringing
	}
}

func query() AbandonQuery {
	zone, err := time.LoadLocation("America/New_York")
	if err != nil {
		panic(err)
	}
	return AbandonQuery{
		Campaign: "cmp_1", Name: "=Autumn offer\x1b[2J", Start: noon, Zone: zone,
		Clock: compliance.FromGreetingEnd, Deadline: 2 * time.Second, Cap: 0.03,
		Detector: compliance.DetectorTest{ShareOfMachine: 0.5, Sample: 200, TestedAt: noon, Method: "listening"},
		Now:      noon.AddDate(0, 0, 31),
	}
}

func abandon(t *testing.T, q AbandonQuery, calls []CallFacts) AbandonReport {
	t.Helper()
	r, err := Abandon(q, each(calls))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func each(calls []CallFacts) iter.Seq2[CallFacts, error] {
	return func(yield func(CallFacts, error) bool) {
		for _, c := range calls {
			if !yield(c, nil) {
				return
			}
		}
	}
}

func TestAbandon(t *testing.T) {
	r := abandon(t, query(), sample())
	if r.Attempts != 12 || r.Total.Abandoned != 4 || r.Total.Answered != 8 || *r.Total.Rate != 0.5 || r.Total.WithinCap {
		t.Errorf("%d attempts, %s", r.Attempts, r.Total)
	}
	if *r.FalsePositives != 0.5 || fmt.Sprintf("%.4f", *r.Conservative) != "0.5294" { // 4.5 of 8.5
		t.Errorf("conservative %v with %g false positives", *r.Conservative, *r.FalsePositives)
	}
	sum := 0
	for _, c := range r.Classes {
		sum += c.Count
	}
	if sum != r.Attempts {
		t.Errorf("the classes add up to %d of %d attempts", sum, r.Attempts)
	}
	if want := (Quantiles{Count: 4, P50: 300, P95: 2400, P99: 2400, Max: 2400}); r.FromClock != want {
		t.Errorf("from the greeting %+v, want %+v", r.FromClock, want)
	}
	if want := (Quantiles{Count: 4, P50: 1700, P95: 3800, P99: 3800, Max: 3800}); r.FromAnswer != want {
		t.Errorf("from the answer %+v, want %+v", r.FromAnswer, want)
	}
	if !slices.Equal(r.ShortRings, []dialer.CallID{"cal_009"}) {
		t.Errorf("given up too early: %v", r.ShortRings)
	}
	if m := r.Messages; m.Due != 3 || m.InTime != 1 || m.Late != 1 || m.Missing != 1 ||
		!slices.Equal(m.Assets, []Asset{{"abandon-en.wav", "ab12", 2}}) {
		t.Errorf("messages %+v", m)
	}
	if len(r.Late) != 1 || r.Late[0].Call != "cal_003" || r.Late[0].DelayMS != 2400 {
		t.Errorf("late calls %+v", r.Late)
	}
	if len(r.Abandoned) != 3 || r.Abandoned[0].Call != "cal_004" {
		t.Errorf("abandoned calls %+v", r.Abandoned)
	}
	if len(r.Periods) != 2 || r.Periods[0].Answered != 7 || r.Periods[1].Answered != 1 || r.Periods[1].Abandoned != 0 {
		t.Errorf("periods %+v", r.Periods)
	}
}

// TestPeriodsDecide is vector TSR-3: the whole campaign is within the cap, its
// second period is not.
func TestPeriodsDecide(t *testing.T) {
	var calls []CallFacts
	add := func(day, answered, abandoned int) {
		for i := range answered {
			class := compliance.ClassConnected
			if i < abandoned {
				class = compliance.ClassAbandonedMsg
			}
			calls = append(calls, CallFacts{PlacedAt: noon.AddDate(0, 0, day), Class: class})
		}
	}
	add(0, 5000, 100)
	add(29, 5000, 100)
	add(30, 300, 12)
	r := abandon(t, query(), calls)
	if !r.Total.WithinCap || len(r.Periods) != 2 || !r.Periods[0].WithinCap || r.Periods[1].WithinCap {
		t.Errorf("total %s, periods %v", r.Total, r.Periods)
	}
	if got, want := r.Periods[1].String(), "12/300 = 4.0000 %"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestAbandonOfNothing(t *testing.T) {
	r := abandon(t, AbandonQuery{}, nil)
	if r.Total.Rate != nil || !r.Total.WithinCap {
		t.Errorf("%+v", r.Total)
	}
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), `"rate":null`) || !strings.Contains(string(data), `"late_calls":[]`) {
		t.Errorf("%s", data)
	}
}

func TestAbandonBounds(t *testing.T) {
	q := query()
	q.From, q.To = noon.Add(time.Minute), noon.Add(3*time.Minute)
	if r := abandon(t, q, sample()); r.Attempts != 2 || r.Total.Answered != 2 {
		t.Errorf("[From, To) holds %d attempts, want calls 2 and 3", r.Attempts)
	}
}

// TestOrderDoesNotMatter: the same calls give the same report.
func TestOrderDoesNotMatter(t *testing.T) {
	calls := sample()
	want := abandon(t, query(), calls)
	r := rand.New(rand.NewPCG(1, 1))
	for range 20 {
		r.Shuffle(len(calls), func(i, j int) { calls[i], calls[j] = calls[j], calls[i] })
		if got := abandon(t, query(), calls); !reflect.DeepEqual(got, want) {
			t.Fatalf("\n%+v\n%+v", got, want)
		}
	}
}

func TestGolden(t *testing.T) {
	r := abandon(t, query(), sample())
	for name, write := range map[string]func(*bytes.Buffer) error{
		"abandon.csv": func(b *bytes.Buffer) error { return r.WriteCSV(b) },
		"abandon.txt": func(b *bytes.Buffer) error { return r.WriteText(b) },
	} {
		var got bytes.Buffer
		if err := write(&got); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%s is now (go test ./report -update accepts it)\n%s", file, got.Bytes())
		}
	}
}

func TestCSVIsSafe(t *testing.T) {
	for in, want := range map[string]string{
		"=1+1": "'=1+1", "+1": "'+1", "-5": "'-5", "@x": "'@x", "\tx": "'\tx", "\rx": "'\rx",
		"+12125550123": "+12125550123", "+1212555012x": "'+1212555012x", "": "", "x=1": "x=1",
		"+1234567890123456": "'+1234567890123456",
	} {
		if got := safeCell(in); got != want {
			t.Errorf("safeCell(%q) = %q, want %q", in, got, want)
		}
	}
	q := query()
	q.Name = "=HYPERLINK(\"http://x\")\n\"quoted\""
	var b bytes.Buffer
	if err := abandon(t, q, sample()).WriteCSV(&b); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&b).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		if len(row) != 5 {
			t.Errorf("%q has %d columns", row, len(row))
		}
	}
	if rows[2][2] != "'"+q.Name {
		t.Errorf("the name came out as %q", rows[2][2])
	}
}

func TestQuantiles(t *testing.T) {
	for _, c := range []struct {
		in   delays
		want Quantiles
	}{
		{delays{}, Quantiles{}},
		{delays{7: 1}, Quantiles{1, 7, 7, 7, 7}},
		{delays{7: 50, 9: 45, 11: 5}, Quantiles{100, 7, 9, 11, 11}},
		{delays{7: 49, 9: 46, 11: 4, 13: 1}, Quantiles{100, 9, 9, 11, 13}},
	} {
		if got := c.in.quantiles(); got != c.want {
			t.Errorf("%v: %+v, want %+v", c.in, got, c.want)
		}
	}
	hundred := delays{}
	for i := range 100 {
		hundred[int64(100-i)]++
	}
	if got, want := hundred.quantiles(), (Quantiles{100, 50, 95, 99, 100}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestNotTested: without a test of the detector no rate pretends to have one.
func TestNotTested(t *testing.T) {
	q := query()
	q.Detector = compliance.DetectorTest{}
	r := abandon(t, q, sample())
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"rate_conservative":null`, `"estimated_false_positives":null`, `"detector_test":null`} {
		if !strings.Contains(string(data), want) {
			t.Errorf("no %s in %s", want, data)
		}
	}
	var text, csv bytes.Buffer
	if err := errors.Join(r.WriteText(&text), r.WriteCSV(&csv)); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text.String(), "conservative  not tested") || !strings.Contains(csv.String(), "rate_conservative,not tested") {
		t.Errorf("%s\n%s", &text, &csv)
	}
}

// TestOtherSettings: calls keep their class when the deadline changes, and the
// report says of how many that is true.
func TestOtherSettings(t *testing.T) {
	if r := abandon(t, query(), sample()); r.ClassedOtherwise != 0 || !r.SettingsAsOf.Equal(query().Now) {
		t.Errorf("%d of calls whose settings are the same, as of %v", r.ClassedOtherwise, r.SettingsAsOf)
	}
	q := query()
	q.Deadline = 3 * time.Second
	if r := abandon(t, q, sample()); r.ClassedOtherwise != 1 || len(r.Late) != 1 {
		t.Errorf("%d, want the one that was late for the deadline of its day; late %+v", r.ClassedOtherwise, r.Late)
	}
	q.Clock = compliance.FromAnswer
	q.Deadline = 2 * time.Second
	if r := abandon(t, q, sample()); r.ClassedOtherwise != 1 { // call 2: 3.4 s after the answer
		t.Errorf("%d with another clock", r.ClassedOtherwise)
	}
}

// TestManyCalls: the report of a great many calls is small, and says what it
// left out.
func TestManyCalls(t *testing.T) {
	const calls = 300_000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	r, err := Abandon(query(), func(yield func(CallFacts, error) bool) {
		for i := range calls {
			class := []compliance.Class{compliance.ClassLate, compliance.ClassAbandonedSilent, compliance.ClassConnected}[i%3]
			at := noon.Add(time.Duration(i) * time.Second)
			if !yield(CallFacts{Call: "cal_1", To: "+12125550101", PlacedAt: at, Class: class,
				Times: compliance.Times{Answer: at.Add(time.Second), Agent: at.Add(time.Duration(1000+i%5000) * time.Millisecond)}}, nil) {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if r.Attempts != calls || r.Total.Abandoned != calls/3*2 || r.Messages.Due != calls/3 {
		t.Errorf("%d attempts, %s, %+v", r.Attempts, r.Total, r.Messages)
	}
	if len(r.Late) != mostListed || len(r.Abandoned) != mostListed || r.NotListed != (NotListed{Late: calls/3 - mostListed, Abandoned: calls/3 - mostListed}) {
		t.Errorf("listed %d and %d, not %+v", len(r.Late), len(r.Abandoned), r.NotListed)
	}
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 10<<20 {
		t.Errorf("the report holds %d MB", grown>>20)
	}
	var text bytes.Buffer
	if err := r.WriteText(&text); err != nil || !strings.Contains(text.String(), "90000 more are not listed") {
		t.Errorf("%v: %.200s", err, &text)
	}
	runtime.KeepAlive(r)
}

func TestAbandonBrokenOff(t *testing.T) {
	broken := errors.New("connection reset")
	_, err := Abandon(query(), func(yield func(CallFacts, error) bool) { yield(CallFacts{}, broken) })
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

func ExampleAbandon() {
	calls := []CallFacts{
		{Call: "cal_1", PlacedAt: noon, Class: compliance.ClassConnected},
		{Call: "cal_2", PlacedAt: noon, Class: compliance.ClassAbandonedMsg},
		{Call: "cal_3", PlacedAt: noon, Class: compliance.ClassMachine},
	}
	r, err := Abandon(AbandonQuery{Campaign: "cmp_1", Cap: 0.03}, each(calls))
	fmt.Println(r.Total, r.Total.WithinCap, err)
	// Output: 1/2 = 50.0000 % false <nil>
}
