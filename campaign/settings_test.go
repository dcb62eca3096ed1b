package campaign

import (
	"slices"
	"strings"
	"testing"

	"dialer"
	"dialer/compliance"
	"dialer/pacing"
	"dialer/telephony"
)

func fieldsOf(list []*dialer.Error) []string {
	var fields []string
	for _, e := range list {
		fields = append(fields, e.Field)
	}
	return fields
}

func TestDefaultsAreValid(t *testing.T) {
	for _, amd := range []bool{false, true} {
		s := Settings{Name: "Spring", AMD: amd}
		if mistakes := s.Validate(); mistakes != nil {
			t.Errorf("amd %v: %v", amd, mistakes)
		}
		d := s.Defaulted()
		want := compliance.FromAnswer
		if amd {
			want = compliance.FromGreetingEnd
		}
		if d.ClockStart != want || d.RingTimeoutS != 25 || *d.AbandonCap != 0.03 || d.ConnectDeadlineMS != 2000 || d.Ratio != 1.5 {
			t.Errorf("amd %v: %+v", amd, d)
		}
		if s.Retry != nil || s.AbandonCap != nil {
			t.Error("Defaulted changed its receiver")
		}
	}
	zero := 0.0
	if got := (Settings{AbandonCap: &zero}).Defaulted(); *got.AbandonCap != 0 {
		t.Errorf("a cap of 0 became %g", *got.AbandonCap)
	}
	closed, err := compliance.ParseHours("closed")
	if err != nil {
		t.Fatal(err)
	}
	if got := (Settings{Hours: closed}).Defaulted(); got.Hours.String() != "closed" {
		t.Errorf("closed hours became %s", got.Hours)
	}
}

func TestValidateTellsEveryMistake(t *testing.T) {
	high := 3.0
	s := Settings{
		Name: " ", Mode: "blast", CallerID: "5550100", CallerName: "A\r\nTo: x", RingTimeoutS: 14, Ratio: 11, AbandonCap: &high,
		ConnectDeadlineMS: 60_000, ClockStart: compliance.FromSpeechStart, Message: "hello.wav", Region: "usa", Zone: "Mars",
		MaxAttempts: 1000, MaxPerDay: -1, WrapUpLimitS: 1, PreviewLimitS: 9999, Script: strings.Repeat("x", 60_000),
		Retry: map[Outcome]RetryRule{"bored": {}, OutcomeBusy: {AfterS: -1, Max: 500}},
		Dispositions: []Disposition{
			{Code: "SALE", Callback: true, DNC: true}, {Code: "SALE"}, {Code: "not good"},
		},
		Trunk: "trk_1", Backups: []dialer.TrunkID{"trk_2", "trk_1", "trk_2", ""},
	}
	got := s.Validate()
	want := []string{
		"/name", "/mode", "/caller_id", "/caller_name", "/ring_timeout_s", "/ratio", "/abandon_cap", "/connect_deadline_ms",
		"/clock_start", "/message_asset", "/region", "/zone", "/max_attempts", "/max_per_day", "/wrap_up_limit_s", "/preview_limit_s",
		"/script", "/retry/bored", "/retry/busy/after_s", "/retry/busy/max", "/backup_trunk_ids/1", "/backup_trunk_ids/2", "/backup_trunk_ids/3", "/dispositions/0", "/dispositions/1/code", "/dispositions/2/code",
	}
	for _, field := range want {
		if !slices.Contains(fieldsOf(got), field) {
			t.Errorf("%s is not told", field)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d mistakes, want %d: %v", len(got), len(want), got)
	}
	for _, e := range got {
		if e.Code != dialer.Invalid || e.Message == "" {
			t.Errorf("%+v", e)
		}
	}
}

func TestReadyToStart(t *testing.T) {
	s := Settings{Name: "Spring", Mode: Predictive}
	if got, want := fieldsOf(s.ReadyToStart(0, nil)), []string{"/trunk_id", "/caller_id", "/message_asset", ""}; !slices.Equal(got, want) {
		t.Errorf("lacks %v, want %v", got, want)
	}
	s.CallerID, s.Message = "+12025550100", strings.Repeat("ab", 32)
	s.Trunk = "trk_a"
	trunk := map[dialer.TrunkID]telephony.Trunk{"trk_a": {Name: "A"}}
	if got := fieldsOf(s.ReadyToStart(1, trunk)); !slices.Equal(got, []string{"/trunk_id"}) {
		t.Errorf("with a disabled trunk it lacks %v", got)
	}
	s.Backups = []dialer.TrunkID{"trk_b", "trk_c"}
	trunk["trk_a"], trunk["trk_b"] = telephony.Trunk{Name: "A", Enabled: true}, telephony.Trunk{Name: "B"}
	if got := fieldsOf(s.ReadyToStart(1, trunk)); !slices.Equal(got, []string{"/backup_trunk_ids/1"}) {
		t.Errorf("without its second backup trunk it lacks %v", got)
	}
	s.Backups = s.Backups[:1] // disabled: its others are used
	if got := s.ReadyToStart(1, trunk); got != nil {
		t.Errorf("it lacks %v", got)
	}
	s.Mode, s.Message = Progressive, ""
	if got := s.ReadyToStart(1, trunk); got != nil {
		t.Errorf("progressive lacks %v", got)
	}
}

// What the pacer is told are the campaign's settings; false positives come off the
// cap where there is a detector only.
func TestSettingsOfThePacer(t *testing.T) {
	limit, none := 0.05, 0.0
	set := Settings{Name: "a", Mode: Predictive, AMD: true, AbandonCap: &limit, Strict: true, FalsePositives: 0.01, MaxLinesPerAgent: 3, MaxBurst: 7}
	if mistakes := set.Validate(); mistakes != nil {
		t.Error(mistakes)
	}
	want := pacing.Config{Mode: pacing.Predictive, Ratio: 1.5, Cap: 0.05, Strict: true, FalsePositives: 0.01, MaxLinesPerAgent: 3, Burst: 7}
	if got := pacingOf(set.Defaulted()); got != want {
		t.Errorf("%+v", got)
	}
	set.AMD = false
	want.Undetected, want.FalsePositives = true, 0
	if got := pacingOf(set.Defaulted()); got != want {
		t.Errorf("without a detector: %+v", got)
	}
	set.AbandonCap = &none
	if got := pacingOf(set.Defaulted()); got.Mode != pacing.Progressive {
		t.Errorf("nobody may be abandoned: %+v", got)
	}
	if got := pacingOf(Settings{Name: "a"}.Defaulted()); got != (pacing.Config{Mode: pacing.Progressive, Ratio: 1.5, Cap: 0.03, Undetected: true}) {
		t.Errorf("by default: %+v", got)
	}
	for field, s := range map[string]Settings{
		"/abandon_window":      {AbandonWindow: "week"},
		"/amd_false_positives": {FalsePositives: 0.03, AMD: true, Mode: Predictive},
		"/max_lines_per_agent": {MaxLinesPerAgent: 0.5},
		"/max_burst":           {MaxBurst: -1},
	} {
		s.Name = "a"
		if got := fieldsOf(s.Validate()); !slices.Equal(got, []string{field}) {
			t.Errorf("%s: %v", field, got)
		}
	}
	for _, bad := range []float64{-0.1, 0.5} {
		if got := fieldsOf(Settings{Name: "a", FalsePositives: bad}.Validate()); !slices.Equal(got, []string{"/amd_false_positives"}) {
			t.Errorf("%g: %v", bad, got)
		}
	}
}
