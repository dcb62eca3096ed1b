package campaign

import (
	"maps"
	"slices"
	"time"

	"dialer/amd"
)

// A ListenMode says when the detector listens.
type ListenMode string

// The modes of listening.
const (
	ListenSync  ListenMode = "sync"  // the verdict decides who gets the call
	ListenAsync ListenMode = "async" // an agent gets the call at once, the detector listens on
)

// A Reaction is what becomes of an answered call of some class.
type Reaction string

// The reactions.
const (
	ReactAgent   Reaction = "agent"   // connect it
	ReactMessage Reaction = "message" // leave the campaign's voicemail message, then hang up
	ReactRetry   Reaction = "retry"   // hang up; the retry rule of the outcome holds
	ReactHangUp  Reaction = "hang_up" // hang up for good: the lead is done
)

// busyTone is the class of an answered leg that is busy; one that rings on may
// still reach somebody.
const busyTone amd.Verdict = "busy"

// Answerers are the classes that a campaign may react to, in the order of
// tables: the verdicts, and "busy" for a Ringback of that code.
func Answerers() []amd.Verdict {
	return []amd.Verdict{
		amd.Human, amd.Machine, amd.Screening, amd.Fax, amd.SIT, amd.Ringback, busyTone, amd.Silence, amd.Music, amd.Unknown,
	}
}

// DefaultReactions returns what a campaign does that says nothing: doubt is
// connected, and so is call screening, which puts a voice through.
func DefaultReactions() map[amd.Verdict]Reaction {
	return map[amd.Verdict]Reaction{
		amd.Human: ReactAgent, amd.Unknown: ReactAgent, amd.Silence: ReactAgent, amd.Music: ReactAgent,
		amd.Screening: ReactAgent, amd.Ringback: ReactAgent,
		amd.Machine: ReactRetry, amd.Fax: ReactRetry, amd.SIT: ReactRetry, busyTone: ReactRetry,
	}
}

// A Late says what happens when evidence of a machine comes while an agent talks.
type Late string

// What a late machine may do.
const (
	LateTell Late = "tell" // the agent is told and decides, with one key
	LateFree Late = "free" // the agent is told and freed, and the reaction to machines follows
	LateOff  Late = "off"  // nobody listens on
)

// A Detection is how a campaign uses the detector, while its AMD is on.
type Detection struct {
	Mode ListenMode `json:"mode,omitempty" enum:"sync,async" doc:"sync: the verdict comes before the agent. async: the agent is connected first and the detector listens on"`
	// Preset is a compromise between people hung up on and agents' seconds;
	// HangupPriceS is one of the campaign's own.
	Preset       amd.Preset `json:"preset,omitempty" enum:"careful,balanced,fast" doc:"How sure a machine verdict must be; doubt connects"`
	HangupPriceS int        `json:"hangup_price_s,omitempty" doc:"Instead of preset: how many agent seconds one wrong hang-up is worth, 10 to 100000"`

	Reactions map[amd.Verdict]Reaction `json:"reactions,omitempty" doc:"agent, message, retry or hang_up for each of human, machine, screening, fax, sit, ringback, busy, silence, music, unknown"`
	// Voicemail is the SHA-256 of the asset that ReactMessage plays.
	Voicemail   string `json:"voicemail_asset,omitempty" doc:"SHA-256 of the message left on machines"`
	LateMachine Late   `json:"late_machine,omitempty" enum:"tell,free,off" doc:"A machine is noticed while an agent has the call: tell the agent, free them too, or do not listen on"`

	// Shares of a random sample; see Sampled and Kept.
	AgentShare  float64 `json:"agent_share,omitempty" doc:"Share of machine verdicts, 0 to 1, that an agent gets to say who it was: measures the error"`
	KeepShare   float64 `json:"keep_share,omitempty" doc:"Share of answered calls, 0 to 1, of which the first seconds are kept for labelling; needs consent"`
	KeepSeconds int     `json:"keep_seconds,omitempty" doc:"How many seconds, 3 to 30"`
	Consent     bool    `json:"consent,omitempty" doc:"The people called have agreed, or the law allows, that their first seconds are kept and used to train the detector"`
}

// defaulted returns d with every zero field set to its default.
func (d Detection) defaulted() Detection {
	setDefault(&d.Mode, ListenSync)
	if d.HangupPriceS == 0 {
		setDefault(&d.Preset, amd.Balanced)
	}
	reactions := DefaultReactions()
	maps.Copy(reactions, d.Reactions)
	d.Reactions = reactions
	setDefault(&d.LateMachine, LateTell)
	setDefault(&d.KeepSeconds, 10)
	return d
}

// Leaves reports whether some class is left the voicemail message.
func (d Detection) leaves() bool {
	return slices.Contains(slices.Collect(maps.Values(d.Reactions)), ReactMessage)
}

// reaction is what becomes of a call with a verdict.
func (d Detection) reaction(r amd.Result) Reaction {
	if does, ok := d.Reactions[answerer(r)]; ok {
		return does
	}
	return ReactAgent // doubt connects
}

// answerer is the class of a verdict.
func answerer(r amd.Result) amd.Verdict {
	if r.Verdict == amd.Ringback && r.Code == amd.Busy {
		return busyTone
	}
	return r.Verdict
}

// detector is how a detector listens for the campaign.
func (d Detection) detector() amd.Config {
	return amd.Config{Preset: d.Preset, HangUpCost: time.Duration(d.HangupPriceS) * time.Second}
}

// detection checks how the detector is used.
func (m *mistakes) detection(s Settings) {
	d := s.Detection
	m.check(d.Mode == ListenSync || d.Mode == ListenAsync, "/detection/mode", "%q is not known: use sync or async", clip(string(d.Mode), 40))
	m.check(d.Preset == "" || d.HangupPriceS == 0, "/detection/hangup_price_s", "is set beside preset: choose one of them")
	m.check(d.Preset == "" || slices.Contains([]amd.Preset{amd.Careful, amd.Balanced, amd.Fast}, d.Preset), "/detection/preset",
		"%q is not known: use careful, balanced or fast", clip(string(d.Preset), 40))
	if d.HangupPriceS != 0 {
		m.between("/detection/hangup_price_s", d.HangupPriceS, 10, 100_000)
	}
	for _, class := range slices.Sorted(maps.Keys(d.Reactions)) {
		m.reaction("/detection/reactions/"+clip(string(class), 40), class, d.Reactions[class])
	}
	m.check(d.Voicemail == "" || isSHA256(d.Voicemail), "/detection/voicemail_asset",
		"is not the SHA-256 of an uploaded asset: upload the audio and use the id it gets")
	m.check(slices.Contains([]Late{LateTell, LateFree, LateOff}, d.LateMachine), "/detection/late_machine",
		"%q is not known: use tell, free or off", clip(string(d.LateMachine), 40))
	m.check(d.Mode != ListenAsync || d.LateMachine != LateOff, "/detection/late_machine", "is off in mode async, which listens to nothing else")
	m.share("/detection/agent_share", d.AgentShare)
	m.share("/detection/keep_share", d.KeepShare)
	m.check(d.KeepShare == 0 || d.Consent, "/detection/keep_share",
		"needs consent: set it once the people called have agreed, or the law allows, that their first seconds are kept")
	m.between("/detection/keep_seconds", d.KeepSeconds, 3, 30)
}

func (m *mistakes) share(field string, share float64) {
	m.check(share >= 0 && share <= 1, field, "is %g: it is a share from 0 to 1; write 0.05 for 5 %%", share)
}

// reaction checks one line of the table.
func (m *mistakes) reaction(field string, class amd.Verdict, r Reaction) {
	if !slices.Contains(Answerers(), class) {
		m.check(false, field, "is no class; there are %v", Answerers())
		return
	}
	doubt := class == amd.Human || class == amd.Unknown
	spoken := class == amd.Machine || class == amd.Screening || class == amd.Silence || class == amd.Music
	switch r {
	case ReactAgent:
	case ReactRetry, ReactHangUp:
		m.check(!doubt, field, "is %s: a person, or who may be one, is connected; use agent", r)
	case ReactMessage:
		m.check(spoken, field, "is message: that is for machine, screening, silence and music")
	case "ivr":
		m.check(false, field, "is ivr, which this dialer does not have: use agent, message, retry or hang_up")
	default:
		m.check(false, field, "%q is not known: use agent, message, retry or hang_up", clip(string(r), 40))
	}
}
