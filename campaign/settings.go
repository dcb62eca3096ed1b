package campaign

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"dialer"
	"dialer/compliance"
	"dialer/telephony"
)

// MinRingTimeout is the least time a phone must ring before a call that nobody
// answers may be ended: 15 seconds or four rings (16 CFR 310.4(b)(4)(ii)).
const MinRingTimeout = 15 * time.Second

// DefaultRetry returns the retry rules of outcomes that a campaign has no rule
// for. Outcomes not named here are not tried again.
func DefaultRetry() map[Outcome]RetryRule {
	const minute, hour = 60, 3600
	return map[Outcome]RetryRule{
		OutcomeBusy:        {AfterS: 5 * minute, Max: 3},
		OutcomeNoAnswer:    {AfterS: hour, Max: 4},
		OutcomeMachine:     {AfterS: 4 * hour, Max: 3},
		OutcomeCongestion:  {AfterS: minute, Max: 5},
		OutcomeFailed:      {AfterS: 5 * minute, Max: 3},
		OutcomeRejected:    {AfterS: 24 * hour, Max: 1},
		OutcomeAbandoned:   {AfterS: 72 * hour, Max: 1},
		OutcomeCancelled:   {AfterS: 10 * minute, Max: 3},
		OutcomeInterrupted: {AfterS: hour, Max: 2},
	}
}

// DefaultDispositions returns the dispositions of a campaign that names none.
func DefaultDispositions() []Disposition {
	return []Disposition{
		{Code: "SALE", Label: "Sale"},
		{Code: "NOT_INTERESTED", Label: "Not interested"},
		{Code: "CALLBACK", Label: "Call back", Callback: true},
		{Code: "DNC", Label: "Do not call again", DNC: true},
		{Code: "ANSWERING_MACHINE", Label: "Answering machine", Machine: true, Retry: &RetryRule{AfterS: 4 * 3600, Max: 3}},
		{Code: "WRONG_NUMBER", Label: "Wrong number"},
		{Code: "NO_CONTACT", Label: "Nobody there, or cut off", Unclear: true, Retry: &RetryRule{AfterS: 3600, Max: 2}},
	}
}

// Defaulted returns s with every zero field set to its default.
func (s Settings) Defaulted() Settings {
	setDefault(&s.Mode, Progressive)
	setDefault(&s.RingTimeoutS, 25)
	setDefault(&s.Ratio, 1.5)
	if s.AbandonCap == nil {
		limit := 0.03
		s.AbandonCap = &limit
	}
	setDefault(&s.AbandonWindow, WindowPeriod)
	setDefault(&s.ConnectDeadlineMS, 2000)
	if s.ClockStart == "" {
		// Without a detector nobody hears when the person spoke.
		s.ClockStart = compliance.FromAnswer
		if s.AMD {
			s.ClockStart = compliance.FromGreetingEnd
		}
	}
	s.Detection = s.Detection.defaulted()
	setDefault(&s.Zone, "UTC")
	if s.Hours.IsZero() {
		s.Hours = compliance.Default
	}
	setDefault(&s.MaxAttempts, 8)
	setDefault(&s.MaxPerDay, 3)
	retry := DefaultRetry()
	maps.Copy(retry, s.Retry)
	s.Retry = retry
	if len(s.Dispositions) == 0 {
		s.Dispositions = DefaultDispositions()
	}
	setDefault(&s.WrapUpLimitS, 60)
	setDefault(&s.PreviewLimitS, 60)
	return s
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Disposition returns the disposition with a code.
func (s Settings) Disposition(code string) (Disposition, bool) {
	i := slices.IndexFunc(s.Dispositions, func(d Disposition) bool { return d.Code == code })
	if i < 0 {
		return Disposition{}, false
	}
	return s.Dispositions[i], true
}

// Validate returns every mistake in s, with the field as a JSON pointer. What a
// campaign lacks only to be started is not a mistake; see ReadyToStart.
func (s Settings) Validate() []*dialer.Error {
	s = s.Defaulted()
	var m mistakes
	m.check(strings.TrimSpace(s.Name) != "", "/name", "is empty: give the campaign a name")
	m.text("/name", s.Name, 100)
	m.check(slices.Contains([]Mode{Preview, Progressive, Power, Predictive}, s.Mode), "/mode",
		"%q is not a mode: use preview, progressive, power or predictive", clip(string(s.Mode), 40))
	m.backups(s)
	m.check(s.CallerID == "" || s.CallerID.Valid(), "/caller_id",
		"%q is not an E.164 number: write it as +, country code and number, such as +12025550143", clip(string(s.CallerID), 40))
	m.text("/caller_name", s.CallerName, 60)
	m.check(time.Duration(s.RingTimeoutS)*time.Second >= MinRingTimeout, "/ring_timeout_s",
		"is %d: a phone must ring at least 15 seconds (16 CFR 310.4(b)(4)(ii))", s.RingTimeoutS)
	m.check(s.RingTimeoutS <= 120, "/ring_timeout_s", "is %d: the most is 120", s.RingTimeoutS)
	m.check(s.Ratio >= 1 && s.Ratio <= 10, "/ratio", "is %g: calls per ready agent are 1 to 10", s.Ratio)
	m.check(*s.AbandonCap >= 0 && *s.AbandonCap <= 0.1, "/abandon_cap",
		"is %g: it is a share from 0 to 0.1; write 0.03 for 3 %%", *s.AbandonCap)
	m.check(s.AbandonWindow == WindowPeriod || s.AbandonWindow == WindowDay, "/abandon_window", "%q is not known: use 30d or day", clip(string(s.AbandonWindow), 40))
	m.check(s.FalsePositives >= 0 && s.FalsePositives <= 0.1, "/amd_false_positives",
		"is %g: it is a share from 0 to 0.1; write 0.01 for 1 %% of the people", s.FalsePositives)
	m.check(s.FalsePositives <= 0 || !s.AMD || !s.Mode.Overdials() || s.FalsePositives < *s.AbandonCap, "/amd_false_positives",
		"is %g, the cap is %g: detection alone would use it up; raise abandon_cap or set amd to false", s.FalsePositives, *s.AbandonCap)
	m.check(s.MaxLinesPerAgent == 0 || s.MaxLinesPerAgent >= 1 && s.MaxLinesPerAgent <= 50, "/max_lines_per_agent",
		"is %g: calls up for each agent at work are 1 to 50, or 0 for no bound", s.MaxLinesPerAgent)
	m.between("/max_burst", s.MaxBurst, 0, 1000)
	m.between("/connect_deadline_ms", s.ConnectDeadlineMS, 500, 10_000)
	m.check(s.ClockStart.Valid(), "/clock_start", "%q is not known: use answer, speech_start or greeting_end", clip(string(s.ClockStart), 40))
	m.check(s.AMD || s.ClockStart == compliance.FromAnswer, "/clock_start",
		"%s is heard only by the detector: set amd to true or clock_start to answer", s.ClockStart)
	m.detection(s)
	m.check(s.Message == "" || isSHA256(s.Message), "/message_asset", "is not the SHA-256 of an uploaded asset: upload the audio and use the id it gets")
	m.check(s.Region == "" || len(s.Region) == 2 && s.Region == strings.ToUpper(s.Region), "/region",
		"%q is not a region: use two capital letters, such as US", clip(s.Region, 40))
	_, err := time.LoadLocation(s.Zone)
	m.check(err == nil && s.Zone != "Local", "/zone", "%q is not an IANA time zone, such as America/New_York", clip(s.Zone, 60))
	m.between("/max_attempts", s.MaxAttempts, 1, 100)
	m.between("/max_per_day", s.MaxPerDay, 1, 100)
	m.between("/wrap_up_limit_s", s.WrapUpLimitS, 5, 1800)
	m.between("/preview_limit_s", s.PreviewLimitS, 5, 500)
	m.text("/script", strings.NewReplacer("\n", "", "\r", "", "\t", "").Replace(s.Script), 50_000)
	for _, o := range slices.Sorted(maps.Keys(s.Retry)) {
		field := "/retry/" + clip(string(o), 40)
		m.check(slices.Contains(Outcomes(), o), field, "is not an outcome; there are %v", Outcomes())
		m.check(o != OutcomeConnected, field, "has no rule: what follows a talk is said by its disposition")
		m.rule(field, s.Retry[o])
	}
	m.dispositions(s.Dispositions)
	return m
}

// ReadyToStart returns what keeps the campaign from being started, after the
// mistakes of Validate. trunks are those that Settings.Trunks names and that
// there are; leads is how many are not done.
func (s Settings) ReadyToStart(leads int, trunks map[dialer.TrunkID]telephony.Trunk) []*dialer.Error {
	m := mistakes(s.Validate())
	s = s.Defaulted()
	trunk, ok := trunks[s.Trunk]
	m.check(ok, "/trunk_id", "names no trunk: create one and set it")
	m.check(!ok || trunk.Enabled, "/trunk_id", "the trunk %q is disabled: enable it or choose another", trunk.Name)
	for i, id := range s.Backups {
		_, ok := trunks[id]
		m.check(ok, backupField(i), "names no trunk: create one, or leave it out")
	}
	m.check(s.CallerID != "", "/caller_id", "is empty: set the number that people see, it must be sent with every call")
	m.check(s.Message != "" || !s.Mode.Overdials(), "/message_asset",
		"is empty: mode %s may leave a person without an agent, who must then hear a message; upload one or use mode progressive", s.Mode)
	m.check(s.Detection.Voicemail != "" || !s.AMD || !s.Detection.leaves(), "/detection/voicemail_asset",
		"is empty: a reaction of detection leaves a message on machines; upload one or use the reaction retry")
	m.check(leads > 0, "", "the campaign has no lead to call: upload a list")
	return m
}

// maxBackups is how many backup trunks a campaign may have.
const maxBackups = 8

func backupField(i int) string { return "/backup_trunk_ids/" + strconv.Itoa(i) }

func (m *mistakes) backups(s Settings) {
	m.check(len(s.Backups) <= maxBackups, "/backup_trunk_ids", "are %d: the most is %d", len(s.Backups), maxBackups)
	m.check(len(s.Backups) == 0 || s.Trunk != "", "/backup_trunk_ids", "are set while trunk_id is empty: set the first trunk there")
	for i, id := range s.Backups {
		m.check(id != "", backupField(i), "is empty: name a trunk, or leave it out")
		m.check(id == "" || id != s.Trunk, backupField(i), "%s is the campaign's first trunk already", clip(string(id), 40))
		m.check(!slices.Contains(s.Backups[:i], id), backupField(i), "%s stands twice", clip(string(id), 40))
	}
}

// Trunks are those that the campaign may call over, in the order of trying.
func (s Settings) Trunks() []dialer.TrunkID {
	if s.Trunk == "" {
		return nil
	}
	return append([]dialer.TrunkID{s.Trunk}, s.Backups...)
}

// backupsOf are the campaign's other trunks, for one that does not take a call.
func (s Settings) backupsOf(trunk dialer.TrunkID) []dialer.TrunkID {
	return slices.DeleteFunc(s.Trunks(), func(t dialer.TrunkID) bool { return t == trunk })
}

// Overdials reports whether the mode places calls for which no agent is held.
func (m Mode) Overdials() bool { return m == Power || m == Predictive }

// mistakes gathers errors about fields.
type mistakes []*dialer.Error

func (m *mistakes) check(ok bool, field, format string, args ...any) {
	if !ok {
		*m = append(*m, dialer.Fieldf(field, format, args...))
	}
}

func (m *mistakes) between(field string, n, low, high int) {
	m.check(low <= n && n <= high, field, "is %d: it must be %d to %d", n, low, high)
}

// text checks what is shown to people or sent in a SIP header.
func (m *mistakes) text(field, s string, most int) {
	m.check(utf8.ValidString(s) && utf8.RuneCountInString(s) <= most, field, "is longer than %d characters, or not UTF-8", most)
	m.check(!strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }), field, "has a control character: leave it out")
}

// maxRetryAfter keeps a typing error from shelving a lead for years.
const maxRetryAfter = 90 * 24 * 3600

func (m *mistakes) rule(field string, r RetryRule) {
	m.between(field+"/after_s", r.AfterS, 0, maxRetryAfter)
	m.between(field+"/max", r.Max, 0, 100)
}

func (m *mistakes) dispositions(list []Disposition) {
	m.check(len(list) <= 100, "/dispositions", "are %d: the most is 100", len(list))
	seen := map[string]bool{}
	for i, d := range list {
		field := "/dispositions/" + strconv.Itoa(i)
		m.check(isCode(d.Code), field+"/code", "%q must be 1 to 40 of A-Z, 0-9 and _", clip(d.Code, 60))
		m.check(!seen[d.Code], field+"/code", "%s stands twice", clip(d.Code, 60))
		seen[d.Code] = true
		m.text(field+"/label", d.Label, 100)
		n := 0
		for _, set := range []bool{d.Retry != nil, d.Callback, d.DNC} {
			if set {
				n++
			}
		}
		m.check(!d.Machine || !d.Unclear, field, "says machine and unclear: choose one")
		m.check(n <= 1, field, "has more than one of retry, callback and dnc: choose one")
		if d.Retry != nil {
			m.rule(field+"/retry", *d.Retry)
		}
	}
}

func isCode(s string) bool {
	return s != "" && len(s) <= 40 && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == ""
}

func isSHA256(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}
