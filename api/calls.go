package api

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"math"
	"net/http"
	"path"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"

	"dialer"
	"dialer/campaign"
	"dialer/compliance"
	"dialer/telephony"
)

// CallView is one attempt and its record. Times that are absent did not happen.
type CallView struct {
	ID               dialer.CallID      `json:"id"`
	Campaign         dialer.CampaignID  `json:"campaign_id"`
	List             dialer.ListID      `json:"list_id,omitempty"`
	Lead             dialer.LeadID      `json:"lead_id"`
	Trunk            dialer.TrunkID     `json:"trunk_id"`
	Agent            dialer.AgentID     `json:"agent_id,omitempty"`
	Mode             campaign.Mode      `json:"mode"`
	To               dialer.Number      `json:"to"`
	From             dialer.Number      `json:"from"`
	Attempt          int                `json:"attempt"`
	State            campaign.CallState `json:"state"`
	Outcome          campaign.Outcome   `json:"outcome,omitempty" doc:"What the network saw; when, and only when, ended"`
	Class            compliance.Class   `json:"class,omitempty" doc:"What the attempt counts as in law"`
	Rules            string             `json:"rules,omitempty" doc:"Evidence of the check before the INVITE"`
	AnsweredBy       string             `json:"answered_by,omitempty"`
	AnsweredBySource string             `json:"answered_by_source,omitempty"`
	Verdict          string             `json:"verdict,omitempty"`
	VerdictReason    string             `json:"verdict_reason,omitempty"`
	Heard            campaign.Heard     `json:"heard" doc:"What the detector brought about: codes, late machine, beep, voicemail, draws of samples, label"`

	PlacedAt       *time.Time `json:"placed_at,omitempty"`
	SentAt         *time.Time `json:"sent_at,omitempty"`
	RingingAt      *time.Time `json:"ringing_at,omitempty"`
	AnsweredAt     *time.Time `json:"answered_at,omitempty"`
	SpeechStartAt  *time.Time `json:"speech_start_at,omitempty"`
	GreetingEndAt  *time.Time `json:"greeting_end_at,omitempty"`
	DecidedAt      *time.Time `json:"decided_at,omitempty"`
	ConnectedAt    *time.Time `json:"connected_at,omitempty"`
	MessageStartAt *time.Time `json:"message_start_at,omitempty"`
	MessageEndAt   *time.Time `json:"message_end_at,omitempty"`
	MessageSHA     string     `json:"message_sha256,omitempty"`
	OptOutAt       *time.Time `json:"opt_out_at,omitempty"`
	EndedAt        *time.Time `json:"ended_at,omitempty"`

	TalkMS    int64           `json:"talk_ms"`
	EndedBy   telephony.Side  `json:"ended_by,omitempty"`
	Cause     telephony.Cause `json:"cause,omitempty"`
	SIPStatus int             `json:"sip_status,omitempty"`
	Q850      int             `json:"q850,omitempty"`
	Ghost     bool            `json:"ghost,omitempty" doc:"Answered after we had given up; ended at once"`

	Tries       []telephony.Try `json:"tries,omitempty" doc:"The peers that were asked, the one that took the call last"`
	Attestation string          `json:"attestation,omitempty" doc:"What was said of our right to the caller ID (STIR): A, B or C"`
	Media       *MediaView      `json:"media,omitempty" doc:"The audio of the person's leg, once ended"`
	AgentMedia  *MediaView      `json:"agent_media,omitempty" doc:"The audio of the agent's leg during the talk"`

	Disposition string     `json:"disposition,omitempty"`
	Note        string     `json:"note,omitempty"`
	DisposedAt  *time.Time `json:"disposed_at,omitempty"`
	Recorded    bool       `json:"recorded" doc:"There is a recording"`
}

// MediaView is how the audio of one leg was. "Heard" is what came to us, "sent"
// what we sent, as the far end reports it.
type MediaView struct {
	MOS       float64 `json:"mos,omitempty" doc:"Estimated quality of what was heard (ITU-T G.107): 1 bad, 4.4 clean; absent when nothing was heard"`
	Codec     string  `json:"codec,omitempty" doc:"PCMU or PCMA"`
	Secured   bool    `json:"secured" doc:"The audio was SRTP"`
	LossHeard float64 `json:"loss_heard" doc:"Share of the far end's packets that did not come, 0 to 1"`
	LossSent  float64 `json:"loss_sent" doc:"Share of our packets that the far end says it missed, 0 to 1"`
	JitterMS  float64 `json:"jitter_ms" doc:"Of what was heard (RFC 3550)"`
	TripMS    float64 `json:"round_trip_ms,omitempty" doc:"By RTCP; absent while the far end sends none"`
	In        int64   `json:"packets_heard"`
	Out       int64   `json:"packets_sent"`
	Lost      int64   `json:"lost_heard"`
	LostThere int64   `json:"lost_sent"`
	Rejected  int64   `json:"rejected" doc:"Packets from strangers, broken or not decrypted"`
}

// viewMedia returns nil for a leg that had no audio, either way.
func viewMedia(m telephony.MediaStats) *MediaView {
	if m.PacketsIn+m.PacketsOut+m.Rejected == 0 {
		return nil
	}
	round := func(x, places float64) float64 { return math.Round(x*places) / places }
	ms := func(d time.Duration) float64 { return round(float64(d)/float64(time.Millisecond), 10) }
	return &MediaView{
		MOS: round(m.MOS, 100), Codec: m.Codec, Secured: m.Secured,
		LossHeard: round(m.Loss(), 10_000), LossSent: round(m.LossThere(), 10_000),
		JitterMS: ms(m.Jitter), TripMS: ms(m.RoundTrip),
		In: m.PacketsIn, Out: m.PacketsOut, Lost: m.Lost, LostThere: m.LostThere, Rejected: m.Rejected,
	}
}

// viewTries tells the times as all others are told.
func viewTries(tries []telephony.Try) []telephony.Try {
	out := slices.Clone(tries)
	for i := range out {
		out[i].At = out[i].At.UTC().Truncate(time.Millisecond)
	}
	return out
}

// viewHeard tells the times as all others are told.
func viewHeard(h campaign.Heard) campaign.Heard {
	for _, t := range []*time.Time{
		&h.LateMachineAt, &h.BeepStartAt, &h.BeepEndAt, &h.LabelledAt, &h.Voicemail.StartedAt, &h.Voicemail.EndedAt,
	} {
		*t = t.UTC().Truncate(time.Millisecond)
	}
	return h
}

func viewCall(c campaign.Call) CallView {
	v := CallView{
		ID: c.ID, Campaign: c.Campaign, List: c.List, Lead: c.Lead, Trunk: c.Trunk, Agent: c.Agent, Mode: c.Mode,
		To: c.To, From: c.From, Attempt: c.Attempt, State: c.State, Outcome: c.Outcome, Class: c.Class, Rules: c.Rules,
		AnsweredBy: c.AnsweredBy, AnsweredBySource: c.AnsweredBySource, Verdict: c.Verdict, VerdictReason: c.VerdictReason,
		Heard:    viewHeard(c.Heard),
		PlacedAt: stamp(c.PlacedAt), SentAt: stamp(c.SentAt), RingingAt: stamp(c.RingingAt), AnsweredAt: stamp(c.AnsweredAt),
		SpeechStartAt: stamp(c.SpeechStartAt), GreetingEndAt: stamp(c.GreetingEndAt), DecidedAt: stamp(c.DecidedAt),
		ConnectedAt: stamp(c.ConnectedAt), MessageStartAt: stamp(c.MessageStartAt), MessageEndAt: stamp(c.MessageEndAt),
		MessageSHA: c.MessageSHA, OptOutAt: stamp(c.OptOutAt), EndedAt: stamp(c.EndedAt),
		EndedBy: c.EndedBy, Cause: c.Cause, SIPStatus: c.SIPStatus, Q850: c.Q850, Ghost: c.Ghost,
		Disposition: c.Disposition, Note: c.Note, DisposedAt: stamp(c.DisposedAt), Recorded: c.Recording != "",
		Tries: viewTries(c.Tries), Attestation: c.Attestation, Media: viewMedia(c.Media), AgentMedia: viewMedia(c.AgentMedia),
	}
	if !c.ConnectedAt.IsZero() && !c.EndedAt.IsZero() {
		v.TalkMS = c.EndedAt.Sub(c.ConnectedAt).Milliseconds()
	}
	return v
}

// downloadTime is how long a download of a recording may take.
const downloadTime = 10 * time.Minute

type CallPath struct {
	ID dialer.CallID `path:"id" maxLength:"40"`
}

// Span is a time filter.
type Span struct {
	From time.Time `query:"from" doc:"Placed at or after (RFC 3339)"`
	To   time.Time `query:"to" doc:"Placed before (RFC 3339)"`
}

func (s *Server) routeCalls() {
	tags := []string{"calls"}
	route(s, huma.Operation{
		OperationID: "list-calls", Method: http.MethodGet, Path: "/v1/calls", Summary: "List calls", Tags: tags,
	}, func(ctx context.Context, in *struct {
		Paging
		Span
		Campaign dialer.CampaignID `query:"campaign_id" maxLength:"40"`
		Lead     dialer.LeadID     `query:"lead_id" maxLength:"40"`
		Agent    dialer.AgentID    `query:"agent_id" maxLength:"40"`
		Number   dialer.Number     `query:"number" maxLength:"20" doc:"E.164; write + as %2B"`
		Outcome  campaign.Outcome  `query:"outcome" maxLength:"40"`
		Class    compliance.Class  `query:"class" maxLength:"40"`
		ToLabel  bool              `query:"to_label" doc:"Only calls whose first seconds are kept and that nobody has labelled"`
	}) (*bodyOf[Page[CallView]], error) {
		return s.listCalls(ctx, in.Paging, campaign.CallFilter{
			Campaign: in.Campaign, Lead: in.Lead, Agent: in.Agent, Number: in.Number,
			Outcome: in.Outcome, Class: in.Class, ToLabel: in.ToLabel, From: in.From, To: in.To,
		})
	})
	s.routeLabels(tags)
	route(s, huma.Operation{
		OperationID: "get-call", Method: http.MethodGet, Path: "/v1/calls/{id}", Summary: "Get a call", Tags: tags,
	}, func(ctx context.Context, in *CallPath) (*bodyOf[CallView], error) {
		c, err := s.store.GetCall(ctx, in.ID)
		if err != nil {
			return nil, err
		}
		return &bodyOf[CallView]{viewCall(c)}, nil
	})
	route(s, huma.Operation{
		OperationID: "list-call-events", Method: http.MethodGet, Path: "/v1/calls/{id}/events", Summary: "What happened in a call, in order", Tags: tags,
	}, func(ctx context.Context, in *CallPath) (*bodyOf[Page[EventView]], error) {
		if _, err := s.store.GetCall(ctx, in.ID); err != nil {
			return nil, err
		}
		found, err := s.store.CallEvents(ctx, in.ID)
		if err != nil {
			return nil, err
		}
		out := Page[EventView]{Items: make([]EventView, 0, len(found))}
		for _, e := range found {
			out.Items = append(out.Items, viewEvent(e))
		}
		return &bodyOf[Page[EventView]]{out}, nil
	})
	route(s, huma.Operation{
		OperationID: "get-recording", Method: http.MethodGet, Path: "/v1/calls/{id}/recording", Summary: "Download the recording of a call", Tags: tags,
		Responses: map[string]*huma.Response{"200": {Description: "Stereo WAV: the person left, the agent right", Content: map[string]*huma.MediaType{
			"audio/wav": {Schema: &huma.Schema{Type: "string", Format: "binary"}},
		}}},
	}, s.recording)
}

func (s *Server) listCalls(ctx context.Context, in Paging, f campaign.CallFilter) (*bodyOf[Page[CallView]], error) {
	scope := []string{
		"calls", string(f.Campaign), string(f.Lead), string(f.Agent), string(f.Number), string(f.Outcome), string(f.Class),
		f.From.UTC().Format(time.RFC3339Nano), f.To.UTC().Format(time.RFC3339Nano),
	}
	return page(s, scope, in, func(after string, limit int) ([]campaign.Call, error) {
		return s.store.ListCalls(ctx, f, dialer.CallID(after), limit)
	}, func(c campaign.Call) string { return string(c.ID) }, viewCall)
}

func (s *Server) recording(ctx context.Context, in *CallPath) (*huma.StreamResponse, error) {
	c, err := s.store.GetCall(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return s.audio(ctx, c, c.Recording, "recording")
}

// audio sends a file of the recordings.
func (s *Server) audio(ctx context.Context, c campaign.Call, file, what string) (*huma.StreamResponse, error) {
	name := path.Clean(file)
	if file == "" || s.recordings == nil || !fs.ValidPath(name) {
		return nil, dialer.Errorf(dialer.NotFound, "call %s has no %s", c.ID, what)
	}
	f, err := s.recordings.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, dialer.Errorf(dialer.NotFound, "the %s of call %s is not there any more", what, c.ID)
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	content, seekable := f.(io.ReadSeeker)
	if err != nil || !info.Mode().IsRegular() || !seekable {
		f.Close()
		return nil, errors.Join(err, errors.New("api: a recording is no plain file"))
	}
	s.log.Info(what+" played", "call", c.ID, "by", callerOf(ctx).name())
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		defer f.Close()
		r, w := humachi.Unwrap(hctx)
		w.Header().Set("Content-Type", "audio/wav")
		w.Header().Set("Content-Disposition", `attachment; filename="`+string(c.ID)+`.wav"`)
		http.NewResponseController(w).SetWriteDeadline(time.Now().Add(downloadTime))
		http.ServeContent(w, r, "", info.ModTime(), content)
	}}, nil
}
