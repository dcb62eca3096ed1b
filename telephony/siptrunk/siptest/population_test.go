package siptest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestDefaultPopulationHasItsShares(t *testing.T) {
	p := DefaultPopulation()
	const people = 20_000
	got := map[Kind]float64{}
	for i := range people {
		got[p.Behave(7, fmt.Sprintf("+1555%07d", i), 0).Kind] += 100.0 / people
	}
	want := map[Kind]float64{
		Human: 28, Machine: 30, NoAnswer: 24, Busy: 6, Invalid: 4, Fax: 2,
		Announcement: 3, Slow: 1.5, HangUp: 1, Rejected: 0.3, Congestion: 0.2,
	}
	for _, k := range Kinds() {
		if math.Abs(got[k]-want[k]) > 1 {
			t.Errorf("%s: %.1f %%, want %.1f %%", k, got[k], want[k])
		}
	}
}

func TestBehaviourIsRepeatable(t *testing.T) {
	p := DefaultPopulation()
	changed, kept := 0, 0
	for i := range 500 {
		number := fmt.Sprintf("+1555%07d", i)
		first := p.Behave(1, number, 0)
		if again := p.Behave(1, number, 0); again != first {
			t.Fatalf("%s: %+v then %+v", number, first, again)
		}
		second := p.Behave(1, number, 1)
		if permanent(first.Kind) != permanent(second.Kind) || permanent(first.Kind) && first.Kind != second.Kind {
			t.Errorf("%s was %s, then %s", number, first.Kind, second.Kind)
		}
		if second.Kind != first.Kind {
			changed++
		}
		if p.Behave(2, number, 0).Kind == first.Kind {
			kept++
		}
	}
	if changed < 200 || kept > 300 {
		t.Errorf("%d of 500 changed on the second try, %d of 500 were the same under another seed", changed, kept)
	}
}

func TestNumbersPutIntoGroups(t *testing.T) {
	p, err := ParsePopulation("p.yaml", []byte(`
groups:
  - {name: people, kind: human, share: 1}
  - {kind: busy}
  - {kind: fax}
numbers: {"*00": busy, "+1555*": fax, "+15551234500": people}
`))
	if err != nil {
		t.Fatal(err)
	}
	for number, want := range map[string]Kind{
		"+442012345600": Busy, "+15551234567": Fax, "+15551234500": Human, "+15559999900": Fax, "+4477": Human,
	} {
		if got := p.Behave(1, number, 0).Kind; got != want {
			t.Errorf("%s is %s, want %s", number, got, want)
		}
	}
}

func TestPopulationMistakes(t *testing.T) {
	for _, tt := range []struct{ name, yaml, want string }{
		{"empty", "", "p.yaml:1: no groups"},
		{"not a mapping", "- 1\n- 2\n", "p.yaml:1: "},
		{"unknown field", "groups:\n  - kind: human\n    shares: 3\n", `p.yaml:3: unknown field "shares"`},
		{"unknown kind", "groups:\n  - name: x\n    kind: alien\n    share: 1\n", `p.yaml:3: group "x": kind "alien" is not one of human, machine`},
		{"no shares", "groups:\n  - kind: human\n", "p.yaml:2: no group has a share above 0"},
		{"negative share", "groups:\n  - {kind: human, share: 1}\n  - kind: busy\n    share: -1\n", `p.yaml:4: group "busy": share -1`},
		{"share is not a number", "groups:\n  - {kind: human, share: .nan}\n", `share NaN is not between`},
		{"same name", "groups:\n  - {kind: busy, share: 1}\n  - {kind: busy, share: 1}\n", `group "busy" stands here twice`},
		{"no such distribution", "groups:\n  - kind: human\n    share: 1\n    ring: {dist: normal, mean: 3s}\n", `p.yaml:4: group "human": ring: dist "normal" is not fixed`},
		{"gamma without mean", "groups:\n  - kind: human\n    share: 1\n    talk: {dist: gamma, sd: 3s}\n", `p.yaml:4: group "human": talk: a gamma time needs a mean above 0`},
		{"bounds crossed", "groups:\n  - kind: human\n    share: 1\n    ring: {dist: uniform, min: 5s, max: 2s}\n", "max 2s is below min 5s"},
		{"negative time", "groups:\n  - kind: human\n    share: 1\n    ring: -5s\n", "mean -5s is not between 0 and 24h"},
		{"bad time", "groups:\n  - kind: human\n    share: 1\n    ring: {dist: fixed, mean: soon}\n", "p.yaml:4: "},
		{"unknown field in a time", "groups:\n  - kind: human\n    share: 1\n    ring: {dist: fixed, median: 3s}\n", "p.yaml:4: "},
		{"no such audio", "groups:\n  - kind: human\n    share: 1\n    audio: [hello-1, howdy]\n", `p.yaml:4: group "human": there is no audio "howdy"; there are abandoned, agent-1`},
		{"probability", "groups:\n  - kind: human\n    share: 1\n    faults: {rtp_loss: 2}\n", `p.yaml:4: group "human": faults.rtp_loss 2 is not a probability`},
		{"key", "groups:\n  - kind: human\n    share: 1\n    press: \"99\"\n", `press "99" is not one key`},
		{"status", "groups:\n  - kind: busy\n    share: 1\n    status: 200\n", "status 200: give 300 to 699"},
		{"status of one who answers", "groups:\n  - name: x\n    kind: human\n    share: 1\n    status: 404\n", `p.yaml:3: group "x": a human answers`},
		{"cause", "groups:\n  - kind: busy\n    share: 1\n    q850: 300\n", "q850 300 is not between"},
		{"number without group", "groups:\n  - {kind: busy, share: 1}\nnumbers:\n  \"*00\": fax\n", `p.yaml:4: number "*00": there is no group "fax"`},
		{"bad pattern", "groups:\n  - {kind: busy, share: 1}\nnumbers:\n  \"*0*\": busy\n", `number "*0*" is not a number, "*end" or "start*"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParsePopulation("p.yaml", []byte(tt.yaml))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v\nwant %s", err, tt.want)
			}
		})
	}
	_, err := ParsePopulation("p.yaml", []byte("groups:\n  - {kind: alien, share: 1}\n  - {kind: busy, share: -3}\n"))
	if err == nil || strings.Count(err.Error(), "\n") < 1 {
		t.Errorf("want every mistake at once, got %v", err)
	}
	_, err = ParsePopulation("p.yaml", []byte(`groups:
  - kind: human
    shares: 3
    colour: red
    ring: {dist: fixed, median: 3s}
    talk: soon
    hangs_up: often
  - kind: alien
    share: 1
  - {kind: busy, share: -3, faults: {rtp_los: 1}}
  - {kind: fax, share: 1, talk: {dist: fixed, mean: long}}
peoples: 3
numbers: {"*00": nobody}
`))
	if err == nil {
		t.Fatal("taken for good")
	}
	var lines []string
	for line := range strings.Lines(err.Error()) {
		at, _, _ := strings.Cut(line, ": ")
		lines = append(lines, strings.TrimPrefix(at, "p.yaml:"))
	}
	if got, want := strings.Join(lines, " "), "3 4 5 6 7 8 10 10 11 12 13"; got != want {
		t.Errorf("mistakes on lines %s, want %s:\n%v", got, want, err)
	}
	if _, err := LoadPopulation(filepath.Join(t.TempDir(), "none.yaml")); err == nil || !strings.Contains(err.Error(), "none.yaml") {
		t.Errorf("got %v", err)
	}
}

func TestReadmesPopulationIsOne(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```yaml\n")
	example, _, _ := strings.Cut(rest, "```")
	p, err := ParsePopulation("README.md", []byte(example))
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Groups) != 2 || p.Behave(1, "+15550100", 0).Kind != Human {
		t.Errorf("the example reads as %+v", p)
	}
}

func TestDistributionsKeepTheirMeanAndBounds(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, d := range []Distribution{
		Fixed(3 * time.Second),
		Uniform(time.Second, 5*time.Second),
		{Dist: "gamma", Mean: 3 * time.Second, SD: 2 * time.Second},
		{Dist: "gamma", Mean: 3 * time.Second, SD: 6 * time.Second},
		{Dist: "lognormal", Mean: 3 * time.Second, SD: 2 * time.Second},
	} {
		const n = 50_000
		sum := 0.0
		for range n {
			sum += d.Draw(r).Seconds() / n
		}
		if math.Abs(sum-3) > 0.15 {
			t.Errorf("%+v has a mean of %.2f s, want 3", d, sum)
		}
		d.Min, d.Max = 2*time.Second, 4*time.Second
		for range 1000 {
			if v := d.Draw(r); v < d.Min || v > d.Max {
				t.Fatalf("%+v drew %v", d, v)
			}
		}
	}
}

func TestEveryClipIsSpeechOrTone(t *testing.T) {
	for _, name := range ClipNames() {
		c, ok := Clip(name)
		if !ok || len(c.SHA256) != 64 || c.Duration() < 300*time.Millisecond || c.Duration() > 15*time.Second || rms(c.Samples) < loud {
			t.Errorf("%s: %v, level %.0f", name, c.Duration(), rms(c.Samples))
		}
	}
	total := int64(0)
	entries, err := os.ReadDir("audio")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	if total > 900_000 {
		t.Errorf("audio/ has %d bytes, at most 900000", total)
	}
}

func TestOnlyTheMessageIsTakenForTheMessage(t *testing.T) {
	want := contourOf(clipSamples("abandoned"))
	for _, name := range ClipNames() {
		samples := clipSamples(name)
		for _, l := range []*law{ulaw, alaw} {
			heard := l.decode(nil, l.encode(nil, samples))
			c := contourOf(heard)
			if got := len(c) == contourLength && alike(c, want); got != (name == "abandoned") {
				t.Errorf("%s (%s) is the message: %v", name, l.name, got)
			}
		}
	}
}

func TestG711(t *testing.T) {
	// Values of ITU-T G.191's reference: code and its linear value.
	for _, tt := range []struct {
		l     *law
		code  uint8
		value int16
	}{
		{ulaw, 0xff, 0},
		{ulaw, 0x80, 32124},
		{ulaw, 0x00, -32124},
		{ulaw, 0xf0, 120},
		{alaw, 0xd5, 8},
		{alaw, 0x55, -8},
		{alaw, 0xaa, 32256},
		{alaw, 0x2a, -32256},
	} {
		if got := tt.l.linear[tt.code]; got != tt.value {
			t.Errorf("%s %#x is %d, want %d", tt.l.name, tt.code, got, tt.value)
		}
	}
	for _, l := range []*law{ulaw, alaw} {
		for s := -32768; s <= 32767; s += 7 {
			back := int(l.linear[l.code[s+32768]])
			if diff := math.Abs(float64(back - s)); diff > 16+math.Abs(float64(s))/32 && math.Abs(float64(s)) < 32200 {
				t.Fatalf("%s: %d came back as %d", l.name, s, back)
			}
		}
	}
}

func FuzzParsePopulation(f *testing.F) {
	f.Add(defaultPopulation)
	f.Add([]byte("groups: [{kind: human, share: 1, ring: {dist: gamma, mean: 3s, sd: 1s}}]\nnumbers: {\"*0\": human}"))
	f.Add([]byte("groups:\n - &a {kind: busy, share: 1e300}\n - *a\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ParsePopulation("p.yaml", data)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "p.yaml") {
				t.Errorf("error without place: %v", err)
			}
			return
		}
		for attempt := range 3 {
			b := p.Behave(1, "+15550100", attempt)
			if b.Kind == "" || b.Ring < 0 || b.Ring > 24*time.Hour {
				t.Errorf("drew %+v", b)
			}
		}
	})
}

func FuzzSession(f *testing.F) {
	f.Add([]byte("v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\na=sendonly\r\n"))
	f.Add([]byte("m=audio 1 RTP/AVP 96\na=rtpmap:96 pcmu/8000/1\nc=IN IP6 ::1"))
	f.Fuzz(func(t *testing.T, body []byte) {
		s, err := parseSession(body)
		if err != nil {
			return
		}
		again, err := parseSession(s.answer(s.far, 1))
		if err != nil || again.law != s.law || again.pt != s.pt {
			t.Errorf("our answer to %q reads as %+v, %v", body, again, err)
		}
	})
}

func FuzzEar(f *testing.F) {
	f.Add([]byte{0x80, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3})
	f.Add([]byte{0xb1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4, 0, 0, 0, 1, 9, 9, 9, 9, 1})
	f.Fuzz(func(t *testing.T, packet []byte) {
		e := newEar(contourOf(clipSamples("abandoned")))
		e.follow(session{law: ulaw})
		e.open()
		for range 3 {
			e.packet(packet, time.Now())
		}
	})
}
