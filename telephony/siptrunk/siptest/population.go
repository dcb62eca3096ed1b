package siptest

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// A Kind names what a call meets.
type Kind string

// The kinds.
const (
	Human        Kind = "human"        // rings, answers, says hello, talks
	Machine      Kind = "machine"      // greeting, beep, records silence
	Busy         Kind = "busy"         // 486
	NoAnswer     Kind = "no-answer"    // rings until the caller gives up
	Invalid      Kind = "invalid"      // 404
	Fax          Kind = "fax"          // answers with the called tone
	Announcement Kind = "announcement" // SIT and speech as early media, then 404; or 200
	Slow         Kind = "slow"         // a human: late 180, long ring, slow hello
	HangUp       Kind = "hang-up"      // answers and hangs up soon
	Rejected     Kind = "rejected"     // 603
	Congestion   Kind = "congestion"   // 503
)

// Kinds lists every kind.
func Kinds() []Kind {
	return []Kind{
		Human, Machine, Busy, NoAnswer, Invalid, Fax,
		Announcement, Slow, HangUp, Rejected, Congestion,
	}
}

// A Population says who is behind the numbers of a carrier.
type Population struct {
	Groups []Group `yaml:"groups"`
	// Numbers puts numbers into a group by name: "+15550100" is that number,
	// "*00" every number that ends so, "+1555*" every one that begins so. The
	// longest pattern that fits wins; other numbers fall by share.
	Numbers map[string]string `yaml:"numbers"`
}

// A Group is a part of the population that behaves alike. A field that is left
// out takes the default of its kind.
type Group struct {
	Name string `yaml:"name"`
	Kind Kind   `yaml:"kind"`
	// Share is this group's weight beside the others'.
	Share float64 `yaml:"share"`

	// PostDial is the time from INVITE to the first 18x, or to the refusal
	// of a call that never rings.
	PostDial Distribution `yaml:"post_dial"`
	// Ring is the time from ringing to the answer or refusal.
	Ring Distribution `yaml:"ring"`
	// EarlyMedia rings with 183 and ringback in the audio rather than 180.
	EarlyMedia bool `yaml:"early_media"`
	// Status and Q850 replace the kind's own final response and its cause.
	// On an announcement, 200 answers the call and plays it then.
	Status int `yaml:"status"`
	Q850   int `yaml:"q850"`

	// Audio names the greetings or announcements, one drawn for each call.
	Audio []string `yaml:"audio"`
	// SpeakAfter is the time from the answer to the greeting.
	SpeakAfter Distribution `yaml:"speak_after"`
	// Patience is how long a person waits for a voice after the greeting.
	Patience Distribution `yaml:"patience"`
	// Talk is the length of the conversation from the first word heard, the
	// recording time of a machine, the stay of a fax or of one who hangs up.
	Talk Distribution `yaml:"talk"`
	// HangsUp is the probability that the person ends the talk; otherwise
	// they wait for the caller to do so.
	HangsUp float64 `yaml:"hangs_up"`
	// Press is the key pressed on hearing the message played to abandoned
	// calls, PressShare the probability of it (left out: always).
	Press      string   `yaml:"press"`
	PressShare *float64 `yaml:"press_share"`

	Faults Faults `yaml:"faults"`
}

// Faults are probabilities, for each call, of what real networks do wrong.
type Faults struct {
	// Late200AfterCancel answers the INVITE after the CANCEL: a ghost call
	// unless the caller ACKs and BYEs it.
	Late200AfterCancel float64 `yaml:"late_200_after_cancel"`
	// NoByeAnswer never answers the caller's BYE.
	NoByeAnswer float64 `yaml:"no_bye_answer"`
	// NoMedia answers the call and sends no RTP.
	NoMedia float64 `yaml:"no_media"`
	// RTPLoss loses 3 to 15 % of the packets sent.
	RTPLoss float64 `yaml:"rtp_loss"`
	// ResponseDelay holds every response for 0.3 to 1.5 s.
	ResponseDelay float64 `yaml:"response_delay"`
	// Retransmit sends every response twice.
	Retransmit float64 `yaml:"retransmit"`
}

//go:embed population.yaml
var defaultPopulation []byte

// PopulationTemplate is the file of the DefaultPopulation, to start one's own
// from.
func PopulationTemplate() []byte { return slices.Clone(defaultPopulation) }

// DefaultPopulation is a consumer list as a dialer in the field meets it.
func DefaultPopulation() *Population {
	p, err := ParsePopulation("population.yaml", defaultPopulation)
	if err != nil {
		panic(err)
	}
	return p
}

// LoadPopulation reads a population file.
func LoadPopulation(path string) (*Population, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the population: %w", err)
	}
	return ParsePopulation(path, data)
}

// ParsePopulation reads a population in YAML. Its error names every mistake as
// "name:line: what is wrong"; unknown fields are mistakes.
func ParsePopulation(name string, data []byte) (*Population, error) {
	p, found, whole := decode(data)
	if !whole {
		return nil, report(name, found)
	}
	full := p.filled()
	mistakes := full.mistakes()
	if len(mistakes)+len(found) == 0 {
		return full, nil
	}
	file, _ := parser.ParseBytes(data, 0) // decode has taken entries out of its own
	unread := len(found) > 0
	for _, m := range mistakes {
		// What the file lacks as a whole may stand in an entry that was not read.
		if unread && (m.path == "$" || m.path == "$.groups") {
			continue
		}
		found = append(found, placed{lineOf(file, m.path), m.what})
	}
	return nil, report(name, found)
}

// filled returns a copy in which no field is left out.
func (p *Population) filled() *Population {
	full := *p
	full.Groups = slices.Clone(p.Groups)
	for i := range full.Groups {
		full.Groups[i].fillDefaults()
	}
	return &full
}

// Validate reports every mistake in a population that was built in Go.
func (p *Population) Validate() error {
	var all []error
	for _, m := range p.filled().mistakes() {
		all = append(all, fmt.Errorf("population: %s", m.what))
	}
	return errors.Join(all...)
}

// A mistake stands at a path of the file, such as "$.groups[2].share".
type mistake struct{ path, what string }

func (p *Population) mistakes() []mistake {
	var out []mistake
	add := func(path, format string, args ...any) {
		out = append(out, mistake{path, fmt.Sprintf(format, args...)})
	}
	if len(p.Groups) == 0 {
		add("$", "no groups: list at least one under \"groups\"")
		return out
	}
	names := map[string]bool{}
	shares := 0.0
	for i, g := range p.Groups {
		at := fmt.Sprintf("$.groups[%d]", i)
		if names[g.Name] {
			add(at+".name", "group %q stands here twice", g.Name)
		}
		names[g.Name] = true
		shares += max(0, g.Share)
		for _, m := range g.mistakes() {
			add(at+m.path, "group %q: %s", g.Name, m.what)
		}
	}
	if shares <= 0 {
		add("$.groups", "no group has a share above 0")
	}
	for pattern, group := range p.Numbers {
		if strings.Trim(pattern, "*") == "" || strings.Count(pattern, "*") > 1 || strings.Contains(strings.Trim(pattern, "*"), "*") {
			add("$.numbers", "number %q is not a number, \"*end\" or \"start*\"", pattern)
		}
		if !names[group] {
			add("$.numbers", "number %q: there is no group %q", pattern, group)
		}
	}
	slices.SortStableFunc(out, func(a, b mistake) int { return strings.Compare(a.path+a.what, b.path+b.what) })
	return out
}

func (g Group) mistakes() []mistake {
	var out []mistake
	add := func(path, format string, args ...any) {
		out = append(out, mistake{path, fmt.Sprintf(format, args...)})
	}
	if !slices.Contains(Kinds(), g.Kind) {
		add(".kind", "kind %q is not one of %s", g.Kind, joinKinds())
		return out
	}
	if !(g.Share >= 0 && g.Share <= 1e6) {
		add(".share", "share %v is not between 0 and 1000000", g.Share)
	}
	for _, d := range g.distributions() {
		if err := d.value.validate(); err != nil {
			add("."+d.name, "%s: %v", d.name, err)
		}
	}
	for _, c := range g.Audio {
		if !clipExists(c) {
			add(".audio", "there is no audio %q; there are %s", c, strings.Join(ClipNames(), ", "))
		}
	}
	if _, refuses := finalResponses[g.Kind]; !refuses && (g.Status != 0 || g.Q850 != 0) {
		add(".kind", "a %s answers: status and q850 are for kinds that refuse", g.Kind)
	} else if g.Status != 0 && (g.Status < 200 || g.Status > 699 || (g.Status < 300 && (g.Kind != Announcement || g.Status != 200))) {
		add(".status", "status %d: give 300 to 699, or 200 on an announcement", g.Status)
	}
	if g.Q850 < 0 || g.Q850 > 127 {
		add(".q850", "q850 %d is not between 1 and 127", g.Q850)
	}
	if len(g.Press) > 1 || strings.Trim(g.Press, "0123456789*#ABCD") != "" {
		add(".press", "press %q is not one key of 0-9 * # A-D", g.Press)
	}
	for _, f := range g.probabilities() {
		if !(f.value >= 0 && f.value <= 1) {
			add("."+f.name, "%s %v is not a probability between 0 and 1", f.name, f.value)
		}
	}
	return out
}

type named[T any] struct {
	name  string
	value T
}

func (g Group) distributions() []named[Distribution] {
	return []named[Distribution]{
		{"post_dial", g.PostDial}, {"ring", g.Ring}, {"speak_after", g.SpeakAfter},
		{"patience", g.Patience}, {"talk", g.Talk},
	}
}

func (g Group) probabilities() []named[float64] {
	press := 1.0
	if g.PressShare != nil {
		press = *g.PressShare
	}
	return []named[float64]{
		{"hangs_up", g.HangsUp}, {"press_share", press},
		{"faults.late_200_after_cancel", g.Faults.Late200AfterCancel},
		{"faults.no_bye_answer", g.Faults.NoByeAnswer},
		{"faults.no_media", g.Faults.NoMedia},
		{"faults.rtp_loss", g.Faults.RTPLoss},
		{"faults.response_delay", g.Faults.ResponseDelay},
		{"faults.retransmit", g.Faults.Retransmit},
	}
}

func joinKinds() string {
	var s []string
	for _, k := range Kinds() {
		s = append(s, string(k))
	}
	return strings.Join(s, ", ")
}

// lineOf finds the line of a path, or of the nearest part above it that the
// file has: a default that is missing stands nowhere.
func lineOf(file *ast.File, path string) int {
	for file != nil && path != "" {
		if p, err := yaml.PathString(path); err == nil {
			if node, err := p.FilterFile(file); err == nil && node != nil && node.GetToken() != nil {
				return node.GetToken().Position.Line
			}
		}
		cut := strings.LastIndexAny(path, ".[")
		if cut < 0 {
			break
		}
		path = path[:cut]
	}
	return 1
}
