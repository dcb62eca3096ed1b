package campaign

import (
	"slices"
	"strings"
	"testing"

	"dialer"
	"dialer/amd"
	"dialer/telephony"
)

// A campaign that says nothing connects every doubt and hangs up on no person.
func TestReactionsByDefault(t *testing.T) {
	d := Settings{AMD: true}.Defaulted().Detection
	for v, want := range map[amd.Verdict]Reaction{
		amd.Human: ReactAgent, amd.Unknown: ReactAgent, amd.Silence: ReactAgent, amd.Music: ReactAgent, amd.Screening: ReactAgent,
		amd.Machine: ReactRetry, amd.Fax: ReactRetry, amd.SIT: ReactRetry, amd.Ringback: ReactAgent, "a word of tomorrow": ReactAgent,
	} {
		if got := d.reaction(amd.Result{Verdict: v}); got != want {
			t.Errorf("%s: %s, want %s", v, got, want)
		}
	}
	if got := d.reaction(amd.Result{Verdict: amd.Ringback, Code: amd.Busy}); got != ReactRetry {
		t.Errorf("a busy tone: %s", got)
	}
	if d.Mode != ListenSync || d.Preset != "balanced" || d.AgentShare != 0 || d.KeepShare != 0 || d.Consent || d.LateMachine != LateTell {
		t.Errorf("%+v", d)
	}
	if len(DefaultReactions()) != len(Answerers()) {
		t.Error("a class has no default")
	}
}

func TestDetectionMistakes(t *testing.T) {
	s := Settings{Name: "Spring", AMD: true, Detection: Detection{
		Mode: "later", Preset: "brave", HangupPriceS: 3, Voicemail: "x.wav", LateMachine: "shout", AgentShare: 1.5, KeepShare: -1, KeepSeconds: 99,
		Reactions: map[amd.Verdict]Reaction{"human": ReactHangUp, "unknown": ReactMessage, "machine": "ivr", "fax": ReactMessage, "dog": ReactAgent, "sit": "bark"},
	}}
	want := []string{
		"/detection/mode", "/detection/hangup_price_s", "/detection/preset", "/detection/hangup_price_s", "/detection/reactions/dog",
		"/detection/reactions/fax", "/detection/reactions/human", "/detection/reactions/machine", "/detection/reactions/sit", "/detection/reactions/unknown",
		"/detection/voicemail_asset", "/detection/late_machine", "/detection/agent_share", "/detection/keep_share", "/detection/keep_share", "/detection/keep_seconds",
	}
	got := s.Validate()
	if fields := fieldsOf(got); !slices.Equal(fields, want) {
		t.Errorf("told of %v\nwant    %v", fields, want)
	}
	for _, e := range got {
		if e.Field == "/detection/reactions/machine" && !strings.Contains(e.Message, "does not have") {
			t.Errorf("an IVR: %s", e.Message)
		}
	}
	s.Detection = Detection{KeepShare: 0.1}
	if got := fieldsOf(s.Validate()); !slices.Equal(got, []string{"/detection/keep_share"}) {
		t.Errorf("seconds kept without consent: %v", got)
	}
	s.Detection.Consent, s.Detection.HangupPriceS = true, 600
	if got := s.Validate(); got != nil {
		t.Error(got)
	}
}

// What plays a message needs one, while the detector is on.
func TestMessageOnMachinesNeedsAnAsset(t *testing.T) {
	s := Settings{Name: "Spring", AMD: true, CallerID: "+12025550100", Trunk: "trk_a", Detection: Detection{Reactions: map[amd.Verdict]Reaction{"machine": ReactMessage}}}
	trunks := map[dialer.TrunkID]telephony.Trunk{"trk_a": {Name: "A", Enabled: true}}
	if got := fieldsOf(s.ReadyToStart(1, trunks)); !slices.Equal(got, []string{"/detection/voicemail_asset"}) {
		t.Errorf("it lacks %v", got)
	}
	s.Detection.Voicemail = strings.Repeat("ab", 32)
	if got := s.ReadyToStart(1, trunks); got != nil {
		t.Error(got)
	}
	s.AMD, s.Detection.Voicemail = false, ""
	if got := s.ReadyToStart(1, trunks); got != nil {
		t.Errorf("without the detector: %v", got)
	}
}
